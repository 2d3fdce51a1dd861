//! Placeholders and inputs of a tool must meet: each placeholder is an input, each input is used.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::error::{ConfigError, ConfigErrorKind};
use crate::path::KeyPath;
use crate::reader::{At, Fields, Reading};
use crate::suggest::nearest;
use crate::template::Template;
use crate::tree::{Node, Value};

pub(crate) fn check(fields: &mut Fields<'_>, input: &Json, http: bool) {
    let places: &[&'static str] =
        if http { &["url", "headers", "query", "body"] } else { &["command", "stdin"] };
    let inputs: Vec<&str> =
        input["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut used = BTreeSet::new();
    for place in places {
        if let Some(at) = fields.at(place) {
            visit(at.node, &at.path, &mut |node, path| {
                let Some(template) = parse(node, path, at.reading) else { return };
                for name in template.inputs() {
                    used.insert(name.to_owned());
                    if !inputs.contains(&name) {
                        at.report(undeclared(name, &inputs, node, path));
                    } else if *place == "command" && template.parts().len() > 1 && may_be_absent(input, name)
                    {
                        at.report(partial(name, node, path));
                    }
                }
            });
        }
    }
    for name in inputs.iter().filter(|name| !used.contains(**name)) {
        if let Some(at) = fields.at("input") {
            let where_used = places.join(", ");
            let message = format!("the input `{name}` is used nowhere in {where_used}");
            let origin = input_key(&at, name).unwrap_or(at.key);
            let path = at.path.key(name);
            let error = ConfigError::new(ConfigErrorKind::Conflict, path, message, origin);
            at.report(error.help(format!("write {{{name}}} where it belongs, or remove it")));
        }
    }
}

fn undeclared(name: &str, inputs: &[&str], node: &Node, path: &KeyPath) -> ConfigError {
    let message = format!("`{path}`: the placeholder {{{name}}} is no input of this tool");
    let mut error = ConfigError::new(ConfigErrorKind::UnknownReference, path, message, &node.origin)
        .suggestion(nearest(name, inputs.iter().copied()))
        .allowed(inputs.join(", "));
    if error.suggestion.is_none() {
        error = error.help(format!(
            "add input = {{ {name} = \"string\" }}, or write {{{{{name}}}}} for the text itself"
        ));
    }
    error
}

/// Where the input's key stands, in a short table or in the properties of a schema.
fn input_key<'a>(at: &At<'a>, name: &str) -> Option<&'a crate::source::Origin> {
    let table = at.node.as_table()?;
    let properties = table.get("properties").and_then(|entry| entry.node.as_table());
    Some(&properties.unwrap_or(table).get(name)?.key)
}

/// An argument that is one placeholder is left out with its value; a part of one cannot be.
fn partial(name: &str, node: &Node, path: &KeyPath) -> ConfigError {
    let message =
        format!("`{path}`: the input `{name}` may be left out, but is only a part of this argument");
    ConfigError::new(ConfigErrorKind::Conflict, path, message, &node.origin)
        .help("give the input a default, or an argument of its own")
}

fn may_be_absent(input: &Json, name: &str) -> bool {
    let required =
        input["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name));
    !required && input["properties"][name].get("default").is_none()
}

/// The template in a node that is a text; reports a malformed one.
pub(crate) fn parse(node: &Node, path: &KeyPath, reading: &Reading) -> Option<Template> {
    match Template::parse(node.as_text()?) {
        Ok(template) => Some(template),
        Err(problem) => {
            let message = format!("`{path}` is invalid: {problem}");
            let error = ConfigError::new(ConfigErrorKind::InvalidValue, path, message, &node.origin);
            reading.report(error.help("write {name} for an input, {{ and }} for the braces themselves"));
            None
        }
    }
}

fn visit(node: &Node, path: &KeyPath, found: &mut impl FnMut(&Node, &KeyPath)) {
    match &node.value {
        Value::String(_) => found(node, path),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &path.index(index), found);
            }
        }
        // The parts of a secret are no templates.
        Value::Table(table) => {
            let secret = path.keys().contains(&"headers") && path.keys().len() > 3;
            for (name, entry) in table.iter().filter(|_| !secret) {
                visit(&entry.node, &path.key(name), found);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}
