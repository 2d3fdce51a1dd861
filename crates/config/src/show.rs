//! `config show`: the effective settings, each with its origin.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::load::Loaded;
use crate::path::KeyPath;
use crate::reader::{At, FromNode, Reading};
use crate::redact::sensitive;
use crate::secret::Secret;
use crate::toml_text;
use crate::tree::{Entry, Node, Table, Value, is_one_value};

/// One effective value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The path of its key.
    pub key: String,
    /// As TOML writes it on one line.
    pub value: String,
    /// `ambidex.toml:3:1`, the name of a variable, a flag, `built-in`.
    pub origin: String,
    /// Of a secret: `set`, `not set`, `found`, `not found`, `on demand`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<&'static str>,
}

/// Sections whose tables have names.
const NAMED: [&str; 6] = ["providers", "models", "tools", "agents", "budgets", "workflows"];

impl Loaded {
    /// Every effective value with its origin, defaults included, in the order of the sections.
    pub fn settings(&self) -> Vec<Setting> {
        self.sections().into_iter().flat_map(|section| section.leaves).map(|leaf| leaf.setting).collect()
    }

    /// The effective settings as TOML that loads again, with the origin of each as a comment on request.
    pub fn show(&self, origins: bool) -> String {
        let mut out = String::new();
        for section in self.sections() {
            if !section.header.is_root() {
                let _ = writeln!(out, "{}[{}]", if out.is_empty() { "" } else { "\n" }, section.header);
            }
            for leaf in section.leaves {
                let mut line = format!("{} = {}", leaf.key, leaf.setting.value);
                let status = leaf.setting.secret.map(|status| format!("({status})"));
                let origin = origins.then_some(leaf.setting.origin);
                let notes: Vec<String> = origin.into_iter().chain(status).collect();
                if !notes.is_empty() {
                    let _ = write!(line, "  # {}", notes.join(" "));
                }
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }

    fn sections(&self) -> Vec<Section> {
        const ORDER: [&str; 10] = [
            "default_agent",
            "store",
            "runtime",
            "providers",
            "models",
            "tools",
            "approvals",
            "budgets",
            "agents",
            "workflows",
        ];
        let root = KeyPath::default();
        let mut sections = vec![Section::new(root.clone())];
        for name in ORDER {
            let Some(entry) = self.tree.get(name) else { continue };
            let path = root.key(name);
            match entry.node.as_table() {
                None => self.leaves(entry, &path, &KeyPath::default().key(name), &mut sections[0]),
                Some(table) if NAMED.contains(&name) => {
                    for (name, entry) in table {
                        sections.extend(self.section(entry, path.key(name)));
                    }
                }
                Some(_) => sections.extend(self.section(entry, path)),
            }
        }
        sections.retain(|section| !section.leaves.is_empty());
        sections
    }

    fn section(&self, entry: &Entry, path: KeyPath) -> Option<Section> {
        let mut section = Section::new(path.clone());
        for (name, entry) in entry.node.as_table()? {
            self.leaves(entry, &path.key(name), &KeyPath::default().key(name), &mut section);
        }
        Some(section)
    }

    fn leaves(&self, entry: &Entry, path: &KeyPath, short: &KeyPath, section: &mut Section) {
        match &entry.node.value {
            Value::Table(table) if !table.is_empty() && !is_one_value(path) => {
                for (name, entry) in table {
                    self.leaves(entry, &path.key(name), &short.key(name), section);
                }
            }
            _ => section.leaves.push(Leaf {
                key: short.to_string(),
                setting: Setting {
                    key: path.to_string(),
                    value: self.value(&entry.node, path),
                    origin: entry.node.origin.to_string(),
                    secret: self.secret_status(entry, path),
                },
            }),
        }
    }

    fn value(&self, node: &Node, path: &KeyPath) -> String {
        // What stands in `extra` is not checked for secrets.
        if path.keys().contains(&"extra") && path.last_key().is_some_and(sensitive) {
            return toml_text::string("***");
        }
        toml_text::value(node)
    }

    fn secret_status(&self, entry: &Entry, path: &KeyPath) -> Option<&'static str> {
        let table = entry.node.as_table()?;
        if !["env", "file", "command"].iter().any(|key| table.contains_key(*key)) || !holds_secret(path) {
            return None;
        }
        let source: Table = table
            .iter()
            .filter(|(key, _)| *key != "prefix")
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        let node = Node::new(Value::Table(source), entry.node.origin.clone());
        let reading = Reading::new(Path::new(""));
        let at = At { node: &node, key: &entry.key, path: path.clone(), reading: &reading };
        Secret::from_node(&at).map(|secret| secret.status(&self.environment))
    }
}

fn holds_secret(path: &KeyPath) -> bool {
    matches!(
        path.keys().as_slice(),
        ["providers", _, "key" | "proxy"] | ["providers" | "tools", _, "headers" | "env", _]
    )
}

struct Section {
    header: KeyPath,
    leaves: Vec<Leaf>,
}

struct Leaf {
    /// Below the header.
    key: String,
    setting: Setting,
}

impl Section {
    fn new(header: KeyPath) -> Self {
        Self { header, leaves: Vec::new() }
    }
}
