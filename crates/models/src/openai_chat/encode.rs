//! Requests as Chat Completions.

use std::borrow::Cow;

use ambidex_core::message::{
    Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall, ToolResult,
};
use ambidex_core::model::{OutputSchema, Reasoning, ToolChoice};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Error, Request, Role};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json as value};

use super::FORMAT;
use super::quirks::{Effort, History, NamedTool, Off, OutputFormat, Quirks, ReasoningBack};
use crate::adapter::{Endpoint, Frame};
use crate::fields::{Fields, json, raw};
use crate::schema;

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

pub(super) fn frame(request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
    let settings = &*request.settings;
    let mut fields = Fields::new(&settings.extra);
    fields.field("model", &endpoint.model)?;
    let quirks = &endpoint.quirks;
    if quirks.stream_options {
        fields.field("stream_options", &value!({"include_usage": true}))?;
    }
    let limit = if quirks.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    fields.optional(limit, settings.max_tokens)?;
    fields.optional("temperature", settings.temperature)?;
    fields.optional("top_p", settings.top_p)?;
    fields.optional(quirks.seed, settings.seed)?;
    if !settings.stop_sequences.is_empty() {
        fields.field("stop", &settings.stop_sequences)?;
    }
    thinking(settings.reasoning.as_ref(), quirks, &mut fields)?;
    if !request.tools.is_empty() {
        let alone = match &request.tool_choice {
            ToolChoice::Tool(name) if quirks.named_tool == NamedTool::Alone => Some(name),
            _ => None,
        };
        let offered = request.tools.iter().filter(|spec| alone.is_none_or(|name| spec.name == *name));
        let tools: Vec<Tool<'_>> = offered.map(|spec| tool(spec)).collect();
        fields.field("tools", &tools)?;
        match &request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => fields.field("tool_choice", "none")?,
            ToolChoice::Required => fields.field("tool_choice", "required")?,
            ToolChoice::Tool(_) if alone.is_some() => fields.field("tool_choice", "required")?,
            ToolChoice::Tool(name) => {
                fields.field("tool_choice", &value!({"type": "function", "function": {"name": name}}))?;
            }
        }
        if quirks.parallel_tool_calls {
            fields.optional("parallel_tool_calls", settings.parallel_tool_calls)?;
        }
    }
    // The format's schemas are objects; anything else is asked for in words.
    let words = match &request.output {
        Some(output) if schema::is_object(&output.schema) => {
            match quirks.output {
                OutputFormat::Schema => fields.field("response_format", &response_format(output))?,
                OutputFormat::Object => fields.field("response_format", &value!({"type": "json_object"}))?,
            }
            (quirks.output == OutputFormat::Object).then(|| schema::in_words(output))
        }
        Some(output) => Some(schema::in_words(output)),
        None => None,
    };
    let mut head = fields.finish()?;
    raw(&mut head, r#","stream":true,"messages":["#);
    let system: Vec<&str> = request.instructions.as_deref().into_iter().chain(words.as_deref()).collect();
    if !system.is_empty() {
        raw(&mut head, r#"{"role":"system","content":"#);
        json(&mut head, &system.join("\n\n"))?;
        head.push(b'}');
        if !request.history.is_empty() {
            head.push(b',');
        }
    }
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}") })
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    let function = Function { name: &spec.name, description: &spec.description, parameters: &spec.input };
    Tool { r#type: "function", function }
}

/// How much thinking is asked for, as this server is told.
fn thinking(reasoning: Option<&Reasoning>, quirks: &Quirks, fields: &mut Fields<'_>) -> Result<(), Error> {
    let Effort { object, off, .. } = quirks.effort;
    let word = match reasoning {
        None => return Ok(()),
        Some(Reasoning::Effort(word)) => quirks.effort.nearest(word),
        Some(Reasoning::BudgetTokens(tokens)) if object => {
            return fields.field("reasoning", &value!({"max_tokens": tokens}));
        }
        // The format knows no budget; a word that is near it is better than silence.
        Some(Reasoning::BudgetTokens(tokens)) => quirks.effort.nearest(effort(*tokens)),
    };
    match (word, off) {
        ("none", Off::Enabled) => fields.field("reasoning", &value!({"enabled": false})),
        ("none", Off::Thinking) => fields.field("thinking", &value!({"type": "disabled"})),
        ("none", Off::Template) => fields.field("chat_template_kwargs", &value!({"enable_thinking": false})),
        (word, _) if object => fields.field("reasoning", &value!({"effort": word})),
        (word, Off::Thinking) => {
            fields.field("thinking", &value!({"type": "enabled"}))?;
            fields.field("reasoning_effort", word)
        }
        (word, _) => fields.field("reasoning_effort", word),
    }
}

/// The word for effort that is near a budget of tokens.
pub(crate) fn effort(budget: u32) -> &'static str {
    match budget {
        0..=2048 => "low",
        2049..=8192 => "medium",
        _ => "high",
    }
}

fn response_format(output: &OutputSchema) -> Value {
    let (schema, strict) = match schema::strict(&output.schema) {
        Some(schema) => (schema, true),
        None => (output.schema.clone(), false),
    };
    value!({"type": "json_schema",
        "json_schema": {"name": output.name, "strict": strict, "schema": schema}})
}

/// Appends a message: each with the comma before it, but for the first.
pub(super) fn message(
    rules: &History,
    before: Option<&Message>,
    message: &Message,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    if before.is_some() {
        out.push(b',');
    }
    match message.role {
        Role::System => plain("system", message, out),
        Role::User => {
            if before.is_some_and(|before| before.role == Role::Tool) {
                after_tool(rules, out);
            }
            user(message.parts.iter(), out)
        }
        Role::Assistant => assistant(rules, message, out),
        Role::Tool => tool_message(rules, message, out),
    }
}

/// What stands between a tool and a user where they may not be neighbours.
fn after_tool(rules: &History, out: &mut Vec<u8>) {
    if rules.narrow {
        raw(out, r#"{"role":"assistant","content":"(continued)"},"#);
    }
}

fn plain(role: &str, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"role":"#);
    json(out, role)?;
    raw(out, r#","content":"#);
    json(out, &message.text())?;
    out.push(b'}');
    Ok(())
}

fn user<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"role":"user","content":"#);
    let mut shown = parts.filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    match (shown.next(), shown.clone().next()) {
        (None, _) => raw(out, r#""""#),
        (Some(Part::Text { text }), None) => json(out, text)?,
        (Some(first), _) => {
            out.push(b'[');
            content_part(first, out)?;
            for part in shown {
                out.push(b',');
                content_part(part, out)?;
            }
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(())
}

fn content_part(part: &Part, out: &mut Vec<u8>) -> Result<(), Error> {
    match part {
        Part::Text { text } => {
            raw(out, r#"{"type":"text","text":"#);
            json(out, text)?;
            out.push(b'}');
        }
        Part::Image(Image { media_type, source }) => {
            raw(out, r#"{"type":"image_url","image_url":{"url":"#);
            match source {
                ImageSource::Url(url) => json(out, url)?,
                ImageSource::Base64(data) => json(out, &format!("data:{media_type};base64,{data}"))?,
            }
            raw(out, "}}");
        }
        _ => {}
    }
    Ok(())
}

fn assistant(rules: &History, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut text = message.text();
    let mut refusal: String = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Refusal { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    if !rules.refusal {
        text.push_str(&std::mem::take(&mut refusal));
    }
    let has_calls = message.tool_calls().next().is_some();
    raw(out, r#"{"role":"assistant","content":"#);
    if text.is_empty() && (has_calls || !refusal.is_empty()) {
        raw(out, "null")
    } else {
        json(out, &text)?
    }
    if !refusal.is_empty() {
        raw(out, r#","refusal":"#);
        json(out, &refusal)?;
    }
    reasoning(rules, message, has_calls, out)?;
    for (index, call) in message.tool_calls().enumerate() {
        raw(out, if index == 0 { r#","tool_calls":["# } else { "," });
        tool_call(rules, call, out)?;
    }
    raw(out, if has_calls { "]}" } else { "}" });
    Ok(())
}

/// Reasoning goes back under the field it came in, where the server takes it there. Plain text only beside
/// tool calls: there its servers want it, elsewhere some refuse it. Signed details always.
fn reasoning(rules: &History, message: &Message, has_calls: bool, out: &mut Vec<u8>) -> Result<(), Error> {
    // A field can be written once; a reply of this format has one part of each.
    let (mut details, mut plain) = (false, false);
    for part in &message.parts {
        let (text, state) = match part {
            Part::Reasoning { text, state: Some(state) } => (text.as_str(), state),
            Part::Opaque { state } => ("", state),
            _ => continue,
        };
        if state.format != FORMAT {
            continue;
        }
        if state.json.starts_with('[') {
            if rules.reasoning == ReasoningBack::AsItCame && !std::mem::replace(&mut details, true) {
                raw(out, r#","reasoning_details":"#);
                raw(out, &state.json);
            }
        } else if has_calls
            && !text.is_empty()
            && takes(rules.reasoning, &state.json)
            && !std::mem::replace(&mut plain, true)
        {
            out.push(b',');
            raw(out, &state.json);
            out.push(b':');
            json(out, text)?;
        }
    }
    if let ReasoningBack::Demanded(field) = rules.reasoning
        && has_calls
        && !plain
    {
        out.push(b',');
        json(out, field)?;
        raw(out, r#":"""#);
    }
    Ok(())
}

/// Whether plain reasoning that came in this field, a name in quotes, may go back in it.
fn takes(rules: ReasoningBack, field: &str) -> bool {
    match rules {
        ReasoningBack::AsItCame => field.starts_with('"'),
        ReasoningBack::Only(name) | ReasoningBack::Demanded(name) => field.trim_matches('"') == name,
        ReasoningBack::Never => false,
    }
}

/// The id of a call as the server takes it. Ids of other providers may be of another form.
fn wire_id<'a>(rules: &History, id: &'a str) -> Cow<'a, str> {
    const LENGTH: usize = 9;
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if !rules.narrow || (id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Cow::Borrowed(id);
    }
    // Two ids that differ must stay different.
    let mut hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut digits = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let digit = usize::try_from(hash % 62).unwrap_or(0);
        digits.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'0')));
        hash /= 62;
    }
    Cow::Owned(digits)
}

fn tool_call(rules: &History, call: &ToolCall, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"id":"#);
    json(out, &*wire_id(rules, &call.id))?;
    raw(out, r#","type":"function","function":{"name":"#);
    json(out, &call.name)?;
    raw(out, r#","arguments":"#);
    let mut arguments = Vec::with_capacity(128);
    match &call.arguments {
        Arguments::Json(it) => json(&mut arguments, it)?,
        Arguments::Invalid { raw, .. } => json(&mut arguments, &value!({"_invalid_arguments": raw}))?,
    }
    json(out, &String::from_utf8_lossy(&arguments))?;
    out.push(b'}');
    let state = call.state.as_ref().filter(|state| state.format == FORMAT);
    if let Some(ProviderState { json, .. }) = state.filter(|_| rules.reasoning == ReasoningBack::AsItCame) {
        raw(out, r#","extra_content":"#);
        raw(out, json);
    }
    out.push(b'}');
    Ok(())
}

/// One wire message per result; what else the message holds follows as the user's.
fn tool_message(rules: &History, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut any = false;
    for part in &message.parts {
        let Part::ToolResult(ToolResult { call_id, text, .. }) = part else { continue };
        if any {
            out.push(b',');
        }
        any = true;
        raw(out, r#"{"role":"tool","tool_call_id":"#);
        json(out, &*wire_id(rules, call_id))?;
        raw(out, r#","content":"#);
        json(out, text)?;
        out.push(b'}');
    }
    let rest = message.parts.iter().filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    if !any || rest.clone().next().is_some() {
        if any {
            out.push(b',');
            after_tool(rules, out);
        }
        user(rest, out)?;
    }
    Ok(())
}
