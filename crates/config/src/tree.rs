//! The merged tree: every value knows where it was written.

use std::sync::Arc;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::path::KeyPath;
use crate::source::{Origin, Source};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub value: Value,
    pub origin: Origin,
    /// The text of a variable or flag: `4` there may be a number or the name of a model.
    pub raw: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: Origin,
    pub node: Node,
}

pub(crate) type Table = IndexMap<String, Entry>;

impl Node {
    pub fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, raw: None }
    }

    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The string, or the text of a variable or flag that would also parse as something else.
    pub fn as_text(&self) -> Option<&str> {
        match (&self.value, &self.raw) {
            (Value::String(text), _) => Some(text),
            (_, raw) => raw.as_deref(),
        }
    }

    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::String(text) | Value::Datetime(text) => Json::String(text.clone()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(value) => Json::Bool(*value),
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(table) => {
                Json::Object(table.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    /// `None` for null: TOML has none.
    pub fn from_json(json: &serde_json::Value, origin: &Origin) -> Option<Self> {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => return None,
            Json::Bool(value) => Value::Boolean(*value),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Integer(number),
                None => Value::Float(number.as_f64()?),
            },
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => {
                Value::Array(items.iter().filter_map(|item| Self::from_json(item, origin)).collect())
            }
            Json::Object(map) => Value::Table(
                map.iter()
                    .filter_map(|(key, value)| {
                        let node = Self::from_json(value, origin)?;
                        Some((key.clone(), Entry { key: origin.clone(), node }))
                    })
                    .collect(),
            ),
        };
        Some(Self::new(value, origin.clone()))
    }
}

/// The entry at a path of keys.
pub(crate) fn find<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Entry> {
    let (last, parents) = path.split_last()?;
    let mut table = table;
    for key in parents {
        table = table.get(*key)?.node.as_table()?;
    }
    table.get(*last)
}

/// Puts `node` at a path where nothing stands yet; what stands there stays.
pub(crate) fn put_default(table: &mut Table, path: &[&str], node: Node) {
    let Some((first, rest)) = path.split_first() else { return };
    let origin = node.origin.clone();
    if rest.is_empty() {
        table.entry((*first).to_owned()).or_insert(Entry { key: origin, node });
        return;
    }
    let below = table.entry((*first).to_owned()).or_insert_with(|| Entry {
        key: origin.clone(),
        node: Node::new(Value::Table(Table::new()), origin),
    });
    if let Value::Table(table) = &mut below.node.value {
        put_default(table, rest, node);
    }
}

/// Lays `upper` over `lower`. Tables merge key by key, with two exceptions: a table that is one value
/// (a secret, a schema, a body) is replaced whole, and so is an entry whose `kind` changes.
pub(crate) fn merge(lower: &mut Table, upper: Table) {
    merge_at(lower, upper, &mut Vec::new());
}

fn merge_at(lower: &mut Table, upper: Table, path: &mut Vec<String>) {
    for (name, entry) in upper {
        path.push(name.clone());
        match lower.get_mut(&name) {
            Some(Entry { key, node: Node { value: Value::Table(below), origin, .. } })
                if mergeable(below, &entry.node, path) =>
            {
                *key = entry.key;
                *origin = entry.node.origin;
                if let Value::Table(above) = entry.node.value {
                    merge_at(below, above, path);
                }
            }
            _ => {
                lower.insert(name, entry);
            }
        }
        path.pop();
    }
}

fn mergeable(lower: &Table, upper: &Node, path: &[String]) -> bool {
    let Some(upper) = upper.as_table() else { return false };
    let kind = |table: &Table| {
        let entry = table.get("kind").or_else(|| table.get("strategy"))?;
        entry.node.as_text().map(str::to_owned)
    };
    let other_kind =
        path.len() == 2 && kind(upper).is_some_and(|upper| kind(lower).is_some_and(|lower| lower != upper));
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    !other_kind && !one_value(&path)
}

/// Whether the table at a path is one value, shown on one line and replaced whole.
pub(crate) fn is_one_value(path: &KeyPath) -> bool {
    one_value(&path.keys())
}

fn one_value(path: &[&str]) -> bool {
    matches!(
        path,
        ["providers", _, "key" | "proxy"]
            | ["providers" | "tools", _, "headers" | "env", _]
            | ["tools", _, "input" | "body"]
            | ["workflows", _, "input" | "output"]
            | ["agents", _, "output" | "instructions" | "tool_choice"]
            | ["routes", _, "weights"]
            | ["store", "url"]
    )
}

/// A parsed table, its keys in the order of the text.
pub(crate) fn from_toml(table: DeTable<'_>, source: &Arc<Source>, offset: usize) -> Table {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let span = key.span();
            let name = key.into_inner().into_owned();
            let key = source.at(span.start + offset..span.end + offset);
            (name, Entry { key, node: from_toml_value(value, source, offset) })
        })
        .collect()
}

pub(crate) fn from_toml_value(value: Spanned<DeValue<'_>>, source: &Arc<Source>, offset: usize) -> Node {
    let span = value.span();
    let origin = source.at(span.start + offset..span.end + offset);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // Beyond 64 bits: kept as a float, so that a range message can still show its size.
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(value) => Value::Datetime(value.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.into_iter().map(|item| from_toml_value(item, source, offset)).collect())
        }
        DeValue::Table(table) => Value::Table(from_toml(table, source, offset)),
    };
    Node::new(value, origin)
}
