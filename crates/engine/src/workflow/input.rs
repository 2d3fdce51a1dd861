//! What a workflow is given, held against what it declares.

use ambidex_core::{Error, ErrorKind};
use ambidex_tools::Validator;
use serde_json::{Map, Value};

/// The declared inputs of a workflow.
#[derive(Debug)]
pub(super) struct Inputs {
    workflow: String,
    schema: Value,
    validator: Validator,
}

impl Inputs {
    /// # Errors
    /// The schema is none.
    pub(super) fn new(workflow: &str, schema: &Value) -> Result<Self, Error> {
        let validator = Validator::new(schema);
        let validator =
            validator.map_err(|error| error.context(format!("the input of the workflow `{workflow}`")))?;
        Ok(Self { workflow: workflow.to_owned(), schema: schema.clone(), validator })
    }

    /// Each as `name: type`, those that may be left out with `?`.
    pub(super) fn declared(&self) -> Vec<String> {
        let required = |name: &str| {
            self.schema["required"].as_array().is_some_and(|names| names.iter().any(|given| given == name))
        };
        let one = |(name, schema): (&String, &Value)| {
            let mark = if required(name) { "" } else { "?" };
            format!("{name}{mark}: {}", type_of(schema))
        };
        properties(&self.schema).map(one).collect()
    }

    /// Fills in defaults and checks the rest.
    ///
    /// # Errors
    /// `invalid_request`: all that is missing, unknown, or of another type, and what is declared.
    pub(super) fn take(&self, given: Value) -> Result<Value, Error> {
        let mut given = match given {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            Value::String(task) => match task_input(&self.schema) {
                Some(name) => Map::from_iter([(name, Value::String(task))]),
                None => {
                    let why = "a text was given, and no single input takes one".to_owned();
                    return Err(self.error(&[why]));
                }
            },
            other => {
                return Err(self.error(&[format!("it is a table of names and values, not `{other}`")]));
            }
        };
        for (name, schema) in properties(&self.schema) {
            if let Some(default) = schema.get("default").filter(|_| !given.contains_key(name)) {
                given.insert(name.clone(), default.clone());
            }
        }
        let mut faults = Vec::new();
        for name in self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !given.contains_key(name) {
                faults.push(format!("`{name}` is missing"));
            }
        }
        let known: Vec<&str> = properties(&self.schema).map(|(name, _)| name.as_str()).collect();
        let closed = self.schema["additionalProperties"] == false;
        for name in given.keys().filter(|name| closed && !known.contains(&name.as_str())) {
            let near = ambidex_core::suggest::nearest(name, known.clone());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            faults.push(format!("`{name}` is not declared{near}"));
        }
        let given = Value::Object(given);
        if faults.is_empty()
            && let Err(error) = self.validator.check(&given)
        {
            faults.push(error);
        }
        if faults.is_empty() { Ok(given) } else { Err(self.error(&faults)) }
    }

    fn error(&self, faults: &[String]) -> Error {
        let declared = self.declared();
        let declared = if declared.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("declared are {}", declared.join(", "))
        };
        let text =
            format!("the input of the workflow `{}`: {}; {declared}", self.workflow, faults.join("; "));
        Error::new(ErrorKind::InvalidRequest, text)
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The type of a value as a file writes it.
pub(super) fn type_of(schema: &Value) -> String {
    match schema["type"].as_str() {
        Some("array") => format!("{}[]", type_of(&schema["items"])),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// The input that takes a task in words: `task`, or the only one that is a text and must be given.
pub fn task_input(schema: &Value) -> Option<String> {
    let takes_text = |schema: &Value| matches!(schema["type"].as_str(), Some("string") | None);
    if let Some(task) = schema["properties"].get("task")
        && takes_text(task)
    {
        return Some("task".to_owned());
    }
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|given| given == name))
    };
    let texts = || properties(schema).filter(|(_, schema)| takes_text(schema)).map(|(name, _)| name);
    let mut must: Vec<&String> = texts().filter(|name| required(name)).collect();
    if must.is_empty() {
        must = texts().collect();
    }
    match must.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}
