//! Arguments of tools and inputs of workflows, held against what these declare.

use ambidex_config::{ConfigErrorKind, Fault, Step};
use serde_json::{Map, Value};

use super::names::At;
use super::types::Type;
use super::{Check, Key};
use crate::workflow::expression::Expression;
use crate::workflow::input::type_of;

impl Check<'_> {
    pub(super) fn arguments(&mut self, at: usize, step: &Step, item: Option<&(String, Type)>) {
        for (key, given) in [("args", &step.args), ("input", &step.input)] {
            for (name, value) in given.iter().flatten() {
                self.value(at, key, name, value, item);
            }
        }
        if let Some(tool) = &step.tool {
            let schema = self.facts.tools.get(tool).cloned();
            let schema = schema.or_else(|| self.config.tools.get(tool).map(|tool| tool.input.clone()));
            if let Some(schema) = schema {
                let given = step.args.clone().unwrap_or_default();
                self.held_against(at, "args", ("tool", tool), &given, &schema, item);
            }
        }
        if let Some(flow) = &step.flow
            && let Some(theirs) = self.config.workflows.get(flow)
        {
            let given = step.input.clone().unwrap_or_else(|| {
                let ours = self.workflow.input["properties"].as_object().into_iter().flatten();
                let both = ours.filter(|(name, _)| theirs.input["properties"].get(name.as_str()).is_some());
                both.map(|(name, _)| (name.clone(), format!("{{{{ input.{name} }}}}").into())).collect()
            });
            let key = if step.input.is_some() { "input" } else { "flow" };
            self.held_against(at, key, ("workflow", flow), &given, &theirs.input, item);
        }
    }

    /// The texts of a value.
    fn value(&mut self, at: usize, key: &str, name: &str, value: &Value, item: Option<&(String, Type)>) {
        match value {
            Value::String(text) => {
                self.text(at, text, item, &|fault| Key::Two(key, name).of(at, fault));
            }
            Value::Array(list) => list.iter().for_each(|value| self.value(at, key, name, value, item)),
            Value::Object(fields) => {
                fields.values().for_each(|value| self.value(at, key, name, value, item));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn held_against(
        &mut self,
        at: usize,
        key: &str,
        (what, whose): (&str, &str),
        given: &Map<String, Value>,
        schema: &Value,
        item: Option<&(String, Type)>,
    ) {
        let properties = schema["properties"].as_object();
        let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !given.contains_key(name) {
                let of = type_of(&schema["properties"][name]);
                let message = format!("the {what} `{whose}` needs `{name}` ({of})");
                let fault = Fault::new(ConfigErrorKind::Missing, message);
                let key = if key == "args" && given.is_empty() { "tool" } else { key };
                let of_key = if what == "tool" { "args" } else { "input" };
                self.faults.push(Key::One(key).of(at, fault).help(format!("add it to {of_key}")));
            }
        }
        for (name, value) in given {
            let Some(wanted) = properties.and_then(|properties| properties.get(name)) else {
                if schema["additionalProperties"] == false {
                    let message = format!("the {what} `{whose}` takes no `{name}`");
                    let fault = Fault::new(ConfigErrorKind::UnknownReference, message);
                    self.faults.push(Key::Two(key, name).of(at, fault).known(name, known.iter().copied()));
                }
                continue;
            };
            let found = self.type_of(at, value, item);
            if !found.fits(&Type::of_schema(wanted)) {
                let wanted = Type::of_schema(wanted).words();
                let message = format!(
                    "the {what} `{whose}` wants {wanted} for `{name}`, and is given {}",
                    found.words()
                );
                let fault = Fault::new(ConfigErrorKind::WrongType, message);
                let key = if key == "flow" { Key::One(key) } else { Key::Two(key, name) };
                self.faults.push(key.of(at, fault));
            }
        }
    }

    /// What an argument will be.
    fn type_of(&self, at: usize, value: &Value, item: Option<&(String, Type)>) -> Type {
        match value {
            Value::String(text) if text.contains('{') => {
                let Ok(template) = crate::workflow::template::Template::parse(text) else { return Type::Any };
                let Some(lone) = template.lone() else { return Type::Text };
                // A name with dots reads the same in both languages.
                let is_name = lone.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
                if !is_name || Expression::parse(lone).is_err() {
                    return Type::Any;
                }
                let path: Vec<String> = lone.split('.').map(str::to_owned).collect();
                let names = self.names(At::Before(at), item.cloned());
                match names.look_up(&path) {
                    // A whole result is what the step gave, text or table.
                    Ok(_) if path.len() == 2 && path[0] == "steps" => Type::Any,
                    Ok(of) => of,
                    Err(_) => Type::Any,
                }
            }
            Value::Array(list) => {
                let mut kinds = list.iter().map(|value| self.type_of(at, value, item));
                let first = kinds.next().unwrap_or(Type::Any);
                let same = kinds.all(|kind| kind == first);
                Type::List(Box::new(if same { first } else { Type::Any }))
            }
            other => Type::of_value(other),
        }
    }
}
