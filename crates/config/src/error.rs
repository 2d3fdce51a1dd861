//! What is wrong with a configuration: every fault at once, each with its place and its remedy.

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::render::{Style, render};
use crate::source::Origin;

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigErrorKind {
    /// Not TOML, or a malformed variable or `-c` flag.
    Syntax,
    /// A key, or part of a value, that this version does not know.
    UnknownKey,
    /// A key of another type than allowed.
    WrongType,
    /// A number, duration or size outside its range.
    OutOfRange,
    /// A text that is not one of the allowed ones or not of the allowed form.
    InvalidValue,
    /// A key that must be there and is not.
    Missing,
    /// The name of a model, tool, agent, provider, profile or file that does not exist.
    UnknownReference,
    /// A secret written in plain text.
    PlainSecret,
    /// Known, but not built yet.
    NotSupported,
    /// Two keys that exclude each other or do not fit together.
    Conflict,
    /// A file that cannot be read.
    Unreadable,
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    pub kind: ConfigErrorKind,
    /// The path of the key, such as `agents.writer.tools[1]`; empty when the whole file is meant.
    pub key: String,
    /// What was found and why it is refused, in one sentence. Never holds a secret.
    pub message: String,
    /// What is allowed, where that is a list or a range.
    pub allowed: Option<String>,
    /// The nearest allowed name.
    pub suggestion: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

impl ConfigError {
    pub(crate) fn new(
        kind: ConfigErrorKind,
        key: impl fmt::Display,
        message: String,
        origin: &Origin,
    ) -> Self {
        Self {
            kind,
            key: key.to_string(),
            message,
            allowed: None,
            suggestion: None,
            help: None,
            origin: origin.clone(),
        }
    }

    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into()).filter(|text| !text.is_empty());
        self
    }

    pub(crate) fn suggestion(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One line: `ambidex.toml:3:1: unknown key "modle" ...`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)?;
        match &self.suggestion {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The structured form: kind, key, message, allowed, suggestion, help, source, file, line, column.
impl Serialize for ConfigError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.origin.line_column();
        let mut out = serializer.serialize_struct("ConfigError", 10)?;
        out.serialize_field("kind", &self.kind)?;
        out.serialize_field("key", &self.key)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("allowed", &self.allowed)?;
        out.serialize_field("suggestion", &self.suggestion)?;
        out.serialize_field("help", &self.help)?;
        out.serialize_field("source", &self.origin.source().name)?;
        out.serialize_field("file", &self.origin.file())?;
        out.serialize_field("line", &place.map(|(line, _)| line))?;
        out.serialize_field("column", &place.map(|(_, column)| column))?;
        out.end()
    }
}

/// Every fault of a configuration; at least one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// In the order of sources and lines, each said once.
    pub(crate) fn of(mut errors: Vec<ConfigError>) -> Option<Self> {
        let mut seen: Vec<String> = Vec::new();
        errors.retain(|error| {
            let text = format!("{}|{:?}|{}", error.origin.source.name, error.origin.span, error.message);
            let first = !seen.contains(&text);
            seen.push(text);
            first
        });
        errors.sort_by(|a, b| {
            let place = |error: &ConfigError| (error.origin.source.name.clone(), error.origin.span.start);
            place(a).cmp(&place(b))
        });
        (!errors.is_empty()).then_some(Self(errors))
    }

    pub(crate) fn one(error: ConfigError) -> Self {
        Self(vec![error])
    }

    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// For people: each fault with its source line and a caret below the place.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for error in &self.0 {
            out.push_str(&render(error, style));
            out.push('\n');
        }
        let count = self.0.len();
        out.push_str(&format!(
            "{count} {} in the configuration\n",
            if count == 1 { "error" } else { "errors" }
        ));
        out
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// One line per fault.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
