//! One line each for a call, a retry, the end.

use ambidex_core::Usage;
use ambidex_core::event::StepKind;
use serde_json::Value;

use crate::console::{columns, one_line};
use crate::paint::Paint;

use super::number::{counted, dollars, grouped, seconds};

/// Columns of the arguments of a call.
const ARGUMENTS: usize = 64;

/// A finished call: `✓ read_file  README.md  3 ms`, and below it why it failed.
pub fn tool(name: &str, args: &str, ok: bool, output: &str, time: f64, paint: Paint, width: usize) -> String {
    let mark = if ok { paint.green("✓") } else { paint.red("✗") };
    let time = seconds(time);
    let room = width.saturating_sub(columns(name) + time.len() + 8).min(ARGUMENTS);
    let args = one_line(args, room);
    let gap = if args.is_empty() { "" } else { "  " };
    let mut line = format!("  {mark} {}{gap}{args}  {}", paint.bold(&one_line(name, 40)), paint.dim(&time));
    if !ok {
        let output = match output.split_once(": ") {
            Some((code, message)) if code == message => message,
            _ => output,
        };
        let why = one_line(output, width.saturating_sub(6));
        line.push_str(&format!("\n    {}", paint.red(&why)));
    }
    line
}

/// The name of a node whose step people want to see: `drafts[2]` of `drafts#0[2]`.
pub fn step_name(id: &str, kind: StepKind) -> Option<String> {
    let shown = matches!(kind, StepKind::Agent | StepKind::Graph | StepKind::Wait);
    let (name, rest) = id.rsplit_once('#').filter(|_| shown)?;
    let item = rest.find('[').map_or("", |at| &rest[at..]);
    Some(format!("{name}{item}"))
}

/// A finished step of a graph: `✓ plan  3 ms`.
pub fn step(name: String, ok: bool, time: f64, paint: Paint) -> String {
    let mark = if ok { paint.green("✓") } else { paint.red("✗") };
    format!("  {mark} {}  {}", paint.bold(&one_line(&name, 60)), paint.dim(&seconds(time)))
}

/// What a call is about, short: the only argument's value, else `name=value` for each.
pub fn arguments(args: &Value) -> String {
    match args {
        Value::Object(fields) if fields.len() == 1 => fields.values().map(value).collect(),
        Value::Object(fields) => {
            let shown: Vec<_> =
                fields.iter().map(|(name, field)| format!("{name}={}", value(field))).collect();
            shown.join(" ")
        }
        other => value(other),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains(char::is_whitespace) => format!("{text:?}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `3 calls · 2 tools · 1,234 in / 210 out tokens · $0.0021 · 3.2 s`.
pub fn summary(usage: &Usage, (calls, what): (u64, &str), tools: u64, time: f64) -> String {
    let mut parts = vec![counted(calls, what)];
    if tools > 0 {
        parts.push(counted(tools, "tool call"));
    }
    let about = if usage.estimated { "~" } else { "" };
    let cached = match usage.cached_input_tokens {
        0 => String::new(),
        cached => format!(" ({} cached)", grouped(cached)),
    };
    let (input, output) = (grouped(usage.input_tokens), grouped(usage.output_tokens));
    parts.push(format!("{about}{input} in{cached} / {about}{output} out tokens"));
    if let Some(usd) = usage.usd {
        parts.push(format!("{}{}", if usd > 0.0 { about } else { "" }, dollars(usd)));
    }
    parts.push(seconds(time));
    parts.join(" · ")
}
