//! Turns the merged tree into typed values. A fault is noted and reading goes on, so all are found.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Serialize;

use crate::duration::Duration;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::path::KeyPath;
use crate::redact::sensitive;
use crate::size::Size;
use crate::source::Origin;
use crate::suggest::nearest;
use crate::tree::{Node, Table, Value};

/// What one reading of a tree gathers beside the values.
pub(crate) struct Reading {
    errors: RefCell<Vec<ConfigError>>,
    defaults: RefCell<Vec<(KeyPath, serde_json::Value)>>,
    /// Where relative paths of variables and flags start.
    directory: PathBuf,
}

impl Reading {
    pub fn new(directory: &Path) -> Self {
        Self { errors: RefCell::default(), defaults: RefCell::default(), directory: directory.to_owned() }
    }

    pub fn report(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    /// The faults, and every default that was used with its path.
    pub fn finish(self) -> (Vec<ConfigError>, Vec<(KeyPath, serde_json::Value)>) {
        (self.errors.into_inner(), self.defaults.into_inner())
    }
}

/// One value in the tree: the value, where its key stands, its path.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub node: &'a Node,
    pub key: &'a Origin,
    pub path: KeyPath,
    pub reading: &'a Reading,
}

/// Read from a node; `None` after the fault was reported.
pub(crate) trait FromNode: Sized {
    fn from_node(at: &At<'_>) -> Option<Self>;
}

/// One of a few names.
pub(crate) trait Choice: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];
    /// Names of the public surface that this version does not have.
    const LATER: &'static [&'static str] = &[];
}

impl<'a> At<'a> {
    /// A fault of the value.
    pub fn error(&self, kind: ConfigErrorKind, message: impl Into<String>) -> ConfigError {
        ConfigError::new(kind, &self.path, message.into(), &self.node.origin)
    }

    pub fn report(&self, error: ConfigError) {
        self.reading.report(error);
    }

    pub fn wrong_type(&self, expected: &str) -> ConfigError {
        let message = format!("`{}` must be {expected}, found {}", self.path, self.found());
        let error = self.error(ConfigErrorKind::WrongType, message);
        match &self.node.value {
            // A number or a truth value that was quoted by mistake.
            Value::String(text) if !expected.contains("text") && plain_scalar(text) => {
                error.help(format!("write {text} without quotes"))
            }
            _ => error,
        }
    }

    pub fn invalid(&self, reason: impl Display) -> ConfigError {
        let message = format!("`{}` is invalid: {reason}", self.path);
        self.error(ConfigErrorKind::InvalidValue, message)
    }

    pub fn not_supported(&self, what: impl Display) -> ConfigError {
        self.error(ConfigErrorKind::NotSupported, format!("{what} is not supported by this version"))
    }

    /// The value in words; a likely secret is not repeated.
    pub fn found(&self) -> String {
        let secret = self.path.last_key().is_some_and(sensitive);
        match &self.node.value {
            Value::String(_) if secret => "a text".to_owned(),
            Value::String(text) => format!("the text {}", crate::toml_text::string(text)),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Boolean(value) => format!("{value}"),
            Value::Datetime(_) => "a date".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    pub fn text(&self) -> Option<&'a str> {
        let text = self.node.as_text();
        if text.is_none() {
            self.report(self.wrong_type("a text"));
        }
        text
    }

    /// The elements of a list.
    pub fn items(&self, of: &str) -> Option<Vec<At<'a>>> {
        let Value::Array(items) = &self.node.value else {
            self.report(self.wrong_type(&format!("a list of {of}")));
            return None;
        };
        let item = |(index, node): (usize, &'a Node)| At {
            node,
            key: &node.origin,
            path: self.path.index(index),
            reading: self.reading,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A path, relative to the folder of the file that names it.
    pub fn resolve(&self, path: &str) -> PathBuf {
        // Collected anew, "." and a last "/" are gone.
        self.folder().join(path).components().collect()
    }

    /// The folder of the file that holds the value.
    pub fn folder(&self) -> &Path {
        self.node.origin.source().folder().unwrap_or(&self.reading.directory)
    }

    fn in_range<T: PartialOrd + Display>(&self, value: T, range: &RangeInclusive<T>) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (range.start(), range.end());
        let message = format!("`{}` must be from {low} to {high}, found {value}", self.path);
        self.report(self.error(ConfigErrorKind::OutOfRange, message).allowed(format!("{low} to {high}")));
        None
    }

    pub fn integer<N: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<N> {
        match self.node.value {
            Value::Integer(number) => {
                self.in_range(number, &range).and_then(|number| N::try_from(number).ok())
            }
            // Beyond 64 bits.
            Value::Float(number) if number.abs() >= 9e18 => {
                self.in_range(number, &(*range.start() as f64..=*range.end() as f64));
                None
            }
            _ => {
                self.report(self.wrong_type("a whole number"));
                None
            }
        }
    }

    pub fn float(&self, range: RangeInclusive<f64>) -> Option<f64> {
        match self.node.value {
            Value::Integer(number) => self.in_range(number as f64, &range),
            Value::Float(number) => self.in_range(number, &range),
            _ => {
                self.report(self.wrong_type("a number"));
                None
            }
        }
    }

    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let Some(text) = self.node.as_text() else {
            let mut error = self.wrong_type("a duration");
            if let Value::Integer(number) = self.node.value {
                error = error.help(format!("write the unit, such as \"{number}s\" or \"{number}ms\""));
            }
            self.report(error);
            return None;
        };
        match text.parse::<Duration>() {
            Ok(duration) => self.in_range(duration, &range),
            Err(reason) => {
                let message = format!("`{}` must be a duration, found {}", self.path, self.found());
                self.report(self.error(ConfigErrorKind::InvalidValue, message).help(reason.to_string()));
                None
            }
        }
    }

    pub fn size(&self, range: RangeInclusive<Size>) -> Option<Size> {
        let parsed = match (&self.node.value, self.node.as_text()) {
            (Value::Integer(bytes), _) => u64::try_from(*bytes).map(Size::from_bytes).ok(),
            (_, Some(text)) => text.parse().ok(),
            _ => {
                self.report(self.wrong_type("a size"));
                return None;
            }
        };
        if let Some(size) = parsed {
            return self.in_range(size, &range);
        }
        let message = format!("`{}` must be a size, found {}", self.path, self.found());
        let help = crate::size::InvalidSize.to_string();
        self.report(self.error(ConfigErrorKind::InvalidValue, message).help(help));
        None
    }
}

/// The keys of one table. Every key that is asked for becomes known; `finish` reports the rest.
pub(crate) struct Fields<'a> {
    at: At<'a>,
    table: &'a Table,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
    aliases: &'static [(&'static str, &'static str)],
}

impl<'a> Fields<'a> {
    pub fn of(at: &At<'a>) -> Option<Self> {
        let Some(table) = at.node.as_table() else {
            at.report(at.wrong_type("a table"));
            return None;
        };
        Some(Self { at: at.clone(), table, known: Vec::new(), later: Vec::new(), aliases: &[] })
    }

    /// Names that other tools use for keys of ours.
    pub fn aliases(mut self, aliases: &'static [(&'static str, &'static str)]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Keys of the public surface that this version does not have.
    pub fn later(&mut self, keys: &[&'static str]) {
        self.later.extend(keys);
    }

    pub fn here(&self) -> &At<'a> {
        &self.at
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn at(&mut self, key: &'static str) -> Option<At<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.table.get(key)?;
        Some(At { node: &entry.node, key: &entry.key, path: self.at.path.key(key), reading: self.at.reading })
    }

    pub fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        self.at(key).and_then(|at| T::from_node(&at))
    }

    /// `example` completes the remedy: `write model = "demo"`.
    pub fn required<T: FromNode>(&mut self, key: &'static str, example: &str) -> Option<T> {
        match self.at(key) {
            Some(at) => T::from_node(&at),
            None => {
                self.missing(key, example);
                None
            }
        }
    }

    pub fn missing(&self, key: &str, example: &str) {
        let message = format!("`{}` needs the key `{key}`", self.at.path);
        let error = ConfigError::new(ConfigErrorKind::Missing, self.at.path.key(key), message, self.at.key);
        self.at.report(error.help(format!("add {key} = {example}")));
    }

    pub fn or<T: FromNode + Serialize>(&mut self, key: &'static str, default: T) -> T {
        let read = self.at(key).map(|at| T::from_node(&at));
        self.otherwise(key, read, default)
    }

    pub fn integer<N: TryFrom<i64>>(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<N> {
        self.at(key).and_then(|at| at.integer(range))
    }

    pub fn integer_or<N: TryFrom<i64> + Serialize>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        default: N,
    ) -> N {
        let read = self.at(key).map(|at| at.integer(range));
        self.otherwise(key, read, default)
    }

    pub fn float(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        self.at(key).and_then(|at| at.float(range))
    }

    pub fn float_or(&mut self, key: &'static str, range: RangeInclusive<f64>, default: f64) -> f64 {
        let read = self.at(key).map(|at| at.float(range));
        self.otherwise(key, read, default)
    }

    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.at(key).and_then(|at| at.duration(range))
    }

    pub fn duration_or(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let read = self.at(key).map(|at| at.duration(range));
        self.otherwise(key, read, default)
    }

    pub fn size_or(&mut self, key: &'static str, range: RangeInclusive<Size>, default: Size) -> Size {
        let read = self.at(key).map(|at| at.size(range));
        self.otherwise(key, read, default)
    }

    /// A table of its own, read even where it is absent, so that its defaults are shown.
    pub fn section<T: FromNode>(&mut self, key: &'static str, default: T) -> T {
        self.section_by(key, T::from_node).unwrap_or(default)
    }

    /// The same, read by a function.
    pub fn section_by<T>(&mut self, key: &'static str, read: impl Fn(&At<'_>) -> Option<T>) -> Option<T> {
        if let Some(at) = self.at(key) {
            return read(&at);
        }
        let origin = crate::source::Source::built_in().at(0..0);
        let node = Node::new(Value::Table(Table::new()), origin);
        read(&At { node: &node, key: &node.origin, path: self.at.path.key(key), reading: self.at.reading })
    }

    /// Notes the default where the key is absent; after a fault it only stands in.
    fn otherwise<T: Serialize>(&self, key: &str, read: Option<Option<T>>, default: T) -> T {
        match read {
            Some(Some(value)) => value,
            Some(None) => default,
            None => {
                if let Ok(json) = serde_json::to_value(&default) {
                    self.at.reading.defaults.borrow_mut().push((self.at.path.key(key), json));
                }
                default
            }
        }
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for (name, entry) in self.table {
            if self.known.contains(&name.as_str()) {
                continue;
            }
            let path = self.at.path.key(name);
            let error = if self.later.contains(&name.as_str()) {
                let message = format!("`{path}` is not supported by this version");
                ConfigError::new(ConfigErrorKind::NotSupported, path, message, &entry.key)
                    .help("remove it; this version would ignore it")
            } else {
                let place =
                    if self.at.path.is_root() { String::new() } else { format!(" in `{}`", self.at.path) };
                let message = format!("unknown key `{}`{place}", crate::toml_text::key(name));
                let alias = self.aliases.iter().find(|(alias, _)| alias == name).map(|(_, key)| *key);
                let near = alias.or_else(|| nearest(name, self.known.iter().chain(&self.later).copied()));
                ConfigError::new(ConfigErrorKind::UnknownKey, path, message, &entry.key)
                    .suggestion(near)
                    .allowed(self.known.join(", "))
            };
            self.at.report(error);
        }
    }
}

impl FromNode for String {
    fn from_node(at: &At<'_>) -> Option<Self> {
        at.text().map(str::to_owned)
    }
}

impl FromNode for bool {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if let Value::Boolean(value) = at.node.value {
            return Some(value);
        }
        at.report(at.wrong_type("true or false"));
        None
    }
}

impl FromNode for Vec<String> {
    fn from_node(at: &At<'_>) -> Option<Self> {
        Some(at.items("texts")?.iter().filter_map(|item| item.text().map(str::to_owned)).collect())
    }
}

impl<T: FromNode> FromNode for IndexMap<String, T> {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let Some(table) = at.node.as_table() else {
            at.report(at.wrong_type("a table"));
            return None;
        };
        let entries = table.iter().filter_map(|(name, entry)| {
            let at = At { node: &entry.node, key: &entry.key, path: at.path.key(name), reading: at.reading };
            T::from_node(&at).map(|value| (name.clone(), value))
        });
        Some(entries.collect())
    }
}

/// Whether an unquoted text would be a number or a truth value.
fn plain_scalar(text: &str) -> bool {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && text.parse::<f64>().is_ok();
    number || text == "true" || text == "false"
}

impl<T: Choice> FromNode for T {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
        let Some(text) = at.node.as_text() else {
            at.report(at.wrong_type("a text").allowed(names.join(", ")));
            return None;
        };
        if let Some((_, value)) = T::ALL.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let error = if T::LATER.contains(&text) {
            at.not_supported(format_args!("`{} = {}`", at.path, crate::toml_text::string(text)))
        } else {
            let message = format!("`{}` cannot be {}", at.path, crate::toml_text::string(text));
            let near = nearest(text, names.iter().chain(T::LATER).copied());
            at.error(ConfigErrorKind::InvalidValue, message).suggestion(near)
        };
        at.report(error.allowed(names.join(", ")));
        None
    }
}
