//! One fault for people: message, place, source line, caret, remedy.

use std::fmt::Write;

use crate::error::ConfigError;
use crate::redact::redact_line;
use crate::source::SourceKind;

/// With or without terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    #[default]
    Plain,
    Color,
}

/// The longest part of a source line that is shown, in characters.
const WIDTH: usize = 110;

pub(crate) fn render(error: &ConfigError, style: Style) -> String {
    let paint = Paint(style);
    let mut out = format!("{}: {}\n", paint.red("error"), paint.bold(&error.message));
    let line = snippet(error);
    let gutter = line.as_ref().map_or(1, |snippet| snippet.number.len());
    let pad = " ".repeat(gutter);
    let place = match (&error.origin.source.kind, error.origin.line_column()) {
        (SourceKind::Variable(name), _) => format!("environment variable {name}"),
        (SourceKind::Flag, _) => "command line".to_owned(),
        _ => error.origin.to_string(),
    };
    let _ = writeln!(out, "{pad}{} {place}", paint.blue("-->"));
    if let Some(snippet) = line {
        let bar = paint.blue("|");
        let _ = writeln!(out, "{pad} {bar}");
        let _ = writeln!(out, "{} {bar} {}", paint.blue(&snippet.number), snippet.text);
        let carets = paint.red(&"^".repeat(snippet.length));
        let _ = writeln!(out, "{pad} {bar} {}{carets}", " ".repeat(snippet.indent));
    }
    let mut note = |name: &str, text: &str| {
        let _ = writeln!(out, "{pad} {} {name}: {text}", paint.blue("="));
    };
    if let Some(name) = &error.suggestion {
        note("did you mean", name);
    }
    if let Some(allowed) = &error.allowed {
        note("allowed", allowed);
    }
    if let Some(help) = &error.help {
        note("help", help);
    }
    out
}

struct Snippet {
    number: String,
    text: String,
    indent: usize,
    length: usize,
}

fn snippet(error: &ConfigError) -> Option<Snippet> {
    let (line, column) = error.origin.line_column()?;
    let text = error.origin.source.text.lines().nth(line - 1).unwrap_or("");
    let span = &error.origin.span;
    let marked = error.origin.source.text.get(span.clone()).unwrap_or("");
    let marked = marked.lines().next().unwrap_or("").chars().count();
    // A tab would move the caret, so it becomes one blank.
    let plain: Vec<char> = redact_line(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = column - 1;
    let skip = if start > WIDTH * 2 / 3 { start - WIDTH / 3 } else { 0 };
    let mut shown: String = plain.iter().skip(skip).take(WIDTH).collect();
    if plain.len() > skip + WIDTH {
        shown.push('…');
    }
    let indent = start - skip;
    let room = shown.chars().count().saturating_sub(indent).max(1);
    let number = match error.origin.source.kind {
        SourceKind::File(_) | SourceKind::BuiltIn => line.to_string(),
        SourceKind::Variable(_) => "$".to_owned(),
        SourceKind::Flag => ">".to_owned(),
    };
    Some(Snippet { number, text: shown, indent, length: marked.clamp(1, room) })
}

struct Paint(Style);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        match self.0 {
            Style::Plain => text.to_owned(),
            Style::Color => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn blue(&self, text: &str) -> String {
        self.with("1;34", text)
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }
}
