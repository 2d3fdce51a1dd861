//! Faults that a check beyond this crate finds, put where they were written.

use crate::error::{ConfigError, ConfigErrorKind};
use crate::path::KeyPath;
use crate::source::Origin;
use crate::toml_text;
use crate::tree::{Node, Table, Value};

/// What is wrong with a value, by its path. [`crate::load_with`] says where that is.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(crate) path: KeyPath,
    kind: ConfigErrorKind,
    message: String,
    part: Option<String>,
    suggestion: Option<String>,
    allowed: Option<String>,
    help: Option<String>,
}

impl Fault {
    /// The message follows the path of the key: `workflows.a.steps[0].when` and a colon.
    pub fn new(kind: ConfigErrorKind, message: impl Into<String>) -> Self {
        Self {
            path: KeyPath::default(),
            kind,
            message: message.into(),
            part: None,
            suggestion: None,
            allowed: None,
            help: None,
        }
    }

    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.path = self.path.key(key);
        self
    }

    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.path = self.path.index(index);
        self
    }

    /// The part of the value that is meant: it is looked for in the text as it was written.
    #[must_use]
    pub fn part(mut self, part: impl Into<String>) -> Self {
        self.part = Some(part.into());
        self
    }

    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }

    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into()).filter(|text| !text.is_empty());
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The nearest of the known names becomes the suggestion, and all of them what is allowed.
    #[must_use]
    pub fn known<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Self {
        let near = crate::suggest::nearest(name, known.clone());
        let names: Vec<&str> = known.into_iter().collect();
        self.suggestion(near).allowed(names.join(", "))
    }

    /// What [`Self::key`] and [`Self::index`] made, with what comes before it.
    #[must_use]
    pub fn below(mut self, keys: &[&str]) -> Self {
        let mut path = keys.iter().fold(KeyPath::default(), |path, key| path.key(key));
        path.append(&self.path);
        self.path = path;
        self
    }

    pub(crate) fn into_error(self, root: &Table, above: &Origin) -> ConfigError {
        let (node, key) = find(root, &self.path);
        let origin = match (node, key) {
            (Some(node), Some(key)) if matches!(node.value, Value::Table(_) | Value::Array(_)) => key.clone(),
            (Some(node), _) => part(&node.origin, self.part.as_deref()),
            (None, Some(key)) => key.clone(),
            (None, None) => above.clone(),
        };
        let message = format!("`{}`: {}", self.path, self.message);
        ConfigError {
            allowed: self.allowed,
            suggestion: self.suggestion,
            help: self.help,
            ..ConfigError::new(self.kind, &self.path, message, &origin)
        }
    }
}

/// The value at a path, and the last key on the way to it that is there.
fn find<'a>(root: &'a Table, path: &KeyPath) -> (Option<&'a Node>, Option<&'a Origin>) {
    let (mut node, mut key): (Option<&Node>, Option<&Origin>) = (None, None);
    for (at, segment) in path.segments().enumerate() {
        let next = match segment {
            Ok(name) => {
                let table = if at == 0 { Some(root) } else { node.and_then(Node::as_table) };
                table.and_then(|table| table.get(name)).map(|entry| (&entry.node, &entry.key))
            }
            Err(index) => match node.map(|node| &node.value) {
                Some(Value::Array(items)) => items.get(index).map(|node| (node, &node.origin)),
                _ => None,
            },
        };
        let Some((found, origin)) = next else { return (None, key) };
        (node, key) = (Some(found), Some(origin));
    }
    (node, key)
}

/// Narrows a place to the part of its text that is meant, where it stands there as it is.
fn part(origin: &Origin, part: Option<&str>) -> Origin {
    let written = origin.source.text.get(origin.span.clone()).unwrap_or_default();
    let Some(part) = part.filter(|part| !part.is_empty()) else { return origin.clone() };
    let is_part = |at: usize| {
        let of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let (before, after) = (written[..at].chars().next_back(), written[at + part.len()..].chars().next());
        !before.is_some_and(of_name) && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    let found = written.match_indices(part).map(|(at, _)| at);
    let at = found.clone().find(|at| is_part(*at)).or_else(|| found.clone().next());
    match at {
        Some(at) => {
            let start = origin.span.start + at;
            origin.source.at(start..start + part.len())
        }
        None => origin.clone(),
    }
}

/// A text as TOML writes it, for messages.
pub fn quoted(text: &str) -> String {
    toml_text::string(text)
}
