//! The layers of a configuration, from the built-in values up to the flags of one command.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use toml::de::{DeTable, DeValue};

use crate::environment::Environment;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::sections::ProviderKind;
use crate::source::{Origin, Source};
use crate::tree::{self, Entry, Node, Table, Value};

/// The prefix of variables that set a key: `AMBIDEX__RUNTIME__SYNC_WORKERS`.
const PREFIX: &str = "AMBIDEX__";
/// No configuration is longer; a wrong file may be.
const LONGEST: u64 = 1024 * 1024;

/// A file, its profiles apart.
pub(crate) struct FileLayer {
    pub root: Table,
    pub profiles: Table,
}

/// What is there without any file: providers, a model that needs no key.
pub(crate) fn built_in(environment: &Environment) -> Table {
    let vendor = |kind: ProviderKind| match kind.default_key() {
        Some(key) => json!({ "kind": kind, "base_url": kind.default_url(), "key": { "env": key } }),
        None => json!({ "kind": kind, "base_url": kind.default_url() }),
    };
    let values = json!({
        "providers": {
            "openai": vendor(ProviderKind::Openai),
            "anthropic": vendor(ProviderKind::Anthropic),
            "gemini": vendor(ProviderKind::Gemini),
            "ollama": vendor(ProviderKind::Ollama),
        },
        "models": { "demo": { "kind": "scripted", "script": "builtin:tour" } }
    });
    let mut root = match Node::from_json(&values, &Source::built_in().at(0..0)) {
        Some(Node { value: Value::Table(table), .. }) => table,
        _ => Table::new(),
    };
    let addresses = [
        ("openai", "OPENAI_BASE_URL"),
        ("anthropic", "ANTHROPIC_BASE_URL"),
        ("gemini", "GOOGLE_GEMINI_BASE_URL"),
        ("ollama", "OLLAMA_HOST"),
    ];
    for (name, variable) in addresses {
        if let Some(text) = environment.get(variable) {
            let source = Source::variable(variable, text);
            let start = variable.len() + 1;
            let url = if name == "ollama" { ollama_url(text) } else { text.to_owned() };
            let node = Node::new(Value::String(url), source.at(start..start + text.len()));
            let keys =
                ["providers", name, "base_url"].map(|key| (key.to_owned(), source.at(0..variable.len())));
            tree::merge(&mut root, nested(&keys, node));
        }
    }
    root
}

/// `OLLAMA_HOST` is made for the server: scheme, host and port may be missing, and the host may stand for all of
/// them.
fn ollama_url(text: &str) -> String {
    const PORT: &str = "11434";
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let given = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
    let (host, port) = match given {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    // With a scheme, the scheme's own port is meant.
    let port = port.or((!text.contains("://")).then_some(PORT));
    match port {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    }
}

pub(crate) fn file(path: &Path, directory: &Path) -> Result<FileLayer, Vec<ConfigError>> {
    let unreadable = |reason: String| {
        let origin = Source::file(path, directory, String::new()).at(0..0);
        let message = format!("cannot read {}: {reason}", path.display());
        let help = "check the path, or write one with `ambidex config init`";
        vec![ConfigError::new(ConfigErrorKind::Unreadable, "", message, &origin).help(help)]
    };
    let plain = |error: std::io::Error| unreadable(crate::sections::plain(&error));
    if std::fs::metadata(path).map_err(plain)?.len() > LONGEST {
        return Err(unreadable(format!("it is longer than {LONGEST} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(plain)?;
    parse(&Source::file(path, directory, text))
}

pub(crate) fn parse(source: &Arc<Source>) -> Result<FileLayer, Vec<ConfigError>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(error, source)).collect());
    }
    let mut root = tree::from_toml(table.into_inner(), source, 0);
    let profiles = match root.shift_remove("profiles") {
        None => Table::new(),
        Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) => table,
        Some(entry) => {
            let message = "`profiles` must be a table of profiles".to_owned();
            let error = ConfigError::new(ConfigErrorKind::WrongType, "profiles", message, &entry.node.origin);
            return Err(vec![error.help("write [profiles.NAME]")]);
        }
    };
    Ok(FileLayer { root, profiles })
}

fn syntax(error: &toml::de::Error, source: &Arc<Source>) -> ConfigError {
    let end = source.text.len();
    let span = error.span().unwrap_or(end..end);
    // At the end of the text there is nothing to point at but the last line.
    let last = source.text.trim_end().len();
    let span = if span.start >= last && span.start >= end { last..last } else { span };
    let message = format!("this is not TOML: {}", error.message().lines().collect::<Vec<_>>().join("; "));
    ConfigError::new(ConfigErrorKind::Syntax, "", message, &source.at(span))
}

/// Lays the `AMBIDEX__A__B` variables over a tree, in the order of their names.
pub(crate) fn variables(root: &mut Table, environment: &Environment, errors: &mut Vec<ConfigError>) {
    for (name, value) in environment.iter() {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let source = Source::variable(name, value);
        let parts: Vec<&str> = path.split("__").collect();
        if parts.iter().any(|part| part.is_empty()) {
            let message = format!("the environment variable {name} has an empty part between its `__`");
            let help = "write AMBIDEX__SECTION__KEY, such as AMBIDEX__RUNTIME__SYNC_WORKERS=8";
            let origin = source.at(0..name.len());
            errors.push(ConfigError::new(ConfigErrorKind::Syntax, "", message, &origin).help(help));
            continue;
        }
        let mut keys: Vec<(String, Origin)> = Vec::new();
        let mut start = PREFIX.len();
        for (part, key) in parts.iter().zip(spelled(root, &parts)) {
            keys.push((key, source.at(start..start + part.len())));
            start += part.len() + 2;
        }
        let node = value_of(value, &source, name.len() + 1);
        tree::merge(root, nested(&keys, node));
    }
}

/// Lays one `-c KEY=VALUE` over a tree.
pub(crate) fn flag(root: &mut Table, text: &str, errors: &mut Vec<ConfigError>) {
    const FLAG: &str = "-c ";
    let source = Source::flag(&format!("{FLAG}{text}"));
    let mut refuse = |message: String, span: Range<usize>| {
        let error = ConfigError::new(ConfigErrorKind::Syntax, "", message, &source.at(span));
        errors.push(error.help("write -c KEY=VALUE, such as -c runtime.sync_workers=8"));
    };
    let Some(equals) = first_equals(text) else {
        return refuse(
            "a `-c` needs a key and a value with `=` between them".into(),
            FLAG.len()..source.text.len(),
        );
    };
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    let document = format!("{key}= 0");
    let whole = FLAG.len()..FLAG.len() + key.len();
    let Ok(parsed) = DeTable::parse(&document) else {
        return refuse(format!("`{}` is not a dotted key", key.trim()), whole);
    };
    let mut keys = Vec::new();
    let mut table = &tree::from_toml(parsed.into_inner(), &source, FLAG.len());
    while let Some((name, entry)) = table.first() {
        keys.push((name.clone(), entry.key.clone()));
        match entry.node.as_table() {
            Some(below) => table = below,
            None => break,
        }
    }
    let node = value_of(value, &source, FLAG.len() + equals + 1);
    tree::merge(root, nested(&keys, node));
}

/// The first `=` outside quotes.
fn first_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

/// A TOML value where the text is one, else the text; readers fall back to the text where the value does not fit.
fn value_of(text: &str, source: &Arc<Source>, offset: usize) -> Node {
    let trimmed = text.trim_start();
    let (offset, text) = (offset + text.len() - trimmed.len(), trimmed.trim_end());
    let origin = source.at(offset..offset + text.len());
    match DeValue::parse(text) {
        Ok(value) => {
            let mut node = tree::from_toml_value(value, source, offset);
            node.raw = Some(text.to_owned());
            node.origin = origin;
            node
        }
        Err(_) => Node::new(Value::String(text.to_owned()), origin),
    }
}

/// Variables have no lower case and no dashes: each part takes the spelling of a key that is there, else lower case.
fn spelled(root: &Table, parts: &[&str]) -> Vec<String> {
    let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let mut table = Some(root);
    let mut keys = Vec::new();
    for part in parts {
        let found = table.and_then(|table| table.iter().find(|(key, _)| fold(key) == fold(part)));
        keys.push(found.map_or_else(|| part.to_ascii_lowercase(), |(key, _)| key.clone()));
        table = found.and_then(|(_, entry)| entry.node.as_table());
    }
    keys
}

/// A tree with one leaf.
fn nested(keys: &[(String, Origin)], leaf: Node) -> Table {
    let mut table = Table::new();
    if let Some(((name, key), rest)) = keys.split_first() {
        let node = match rest {
            [] => leaf,
            rest => Node::new(Value::Table(nested(rest, leaf)), key.clone()),
        };
        table.insert(name.clone(), Entry { key: key.clone(), node });
    }
    table
}
