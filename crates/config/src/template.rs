//! Texts with `{placeholders}` that the arguments of a tool call fill.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A text cut at its placeholders.
///
/// `{name}` is a placeholder when `name` is an identifier; `{{name}}` is the text `{name}`.
/// Every other brace stands for itself, so JSON and regular expressions need no escapes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    source: String,
    parts: Vec<TemplatePart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    Text(String),
    /// The name of an input.
    Input(String),
}

impl Template {
    /// Never fails: what is no placeholder is text.
    pub fn parse(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            let tail = &rest[open..];
            if let Some(length) = escaped(tail) {
                text.push_str(&tail[1..length - 1]);
                rest = &tail[length..];
            } else if let Some(name) = placeholder(tail) {
                if !text.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut text)));
                }
                parts.push(TemplatePart::Input(name.to_owned()));
                rest = &tail[name.len() + 2..];
            } else {
                text.push('{');
                rest = &tail[1..];
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(TemplatePart::Text(text));
        }
        Self { source: source.to_owned(), parts }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// The names of its placeholders, in order, repeats included.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Input(name) => Some(name.as_str()),
            TemplatePart::Text(_) => None,
        })
    }
}

/// The name in `{name}...`.
fn placeholder(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find('}')?;
    let name = &inner[..end];
    let first = name.chars().next()?;
    let identifier = (first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    identifier.then_some(name)
}

/// The length of `{{name}}`.
fn escaped(text: &str) -> Option<usize> {
    let name = placeholder(text.strip_prefix('{')?)?;
    let length = name.len() + 4;
    text.get(..length)?.ends_with("}}").then_some(length)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
