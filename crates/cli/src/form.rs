//! A form made from a JSON Schema: one line for each property, or the whole as JSON.

use serde_json::{Map, Number, Value};

/// Asks for the properties of an object, one after another.
pub struct Form {
    name: String,
    fields: Vec<Field>,
    at: usize,
    filled: Map<String, Value>,
}

struct Field {
    name: String,
    kind: Kind,
    required: bool,
    default: Option<Value>,
    choices: Vec<Value>,
    about: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    /// Anything else is typed as JSON.
    Json,
}

impl Kind {
    fn of(schema: &Value) -> Self {
        match schema["type"].as_str() {
            Some("string") => Self::Text,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            _ => Self::Json,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "yes or no",
            Self::Json => "JSON",
        }
    }
}

impl Form {
    pub fn new(name: &str, schema: &Value) -> Self {
        let required = |field: &str| {
            schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field))
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let mut fields: Vec<_> = properties
            .map(|(name, schema)| Field {
                name: name.clone(),
                kind: Kind::of(schema),
                required: required(name),
                default: schema.get("default").cloned(),
                choices: schema["enum"].as_array().cloned().unwrap_or_default(),
                about: schema["description"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        // What must be said comes first.
        fields.sort_by_key(|field| !field.required);
        Self { name: name.to_owned(), fields, at: 0, filled: Map::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of a form that asks nothing.
    pub fn without_fields(&self) -> Option<Value> {
        self.fields.is_empty().then(|| Value::Object(Map::new()))
    }

    pub fn prompt(&self) -> String {
        match self.fields.get(self.at) {
            Some(field) => field.prompt(),
            None => format!("{} as JSON: ", self.name),
        }
    }

    /// Takes a line; gives the value when it was the last.
    ///
    /// # Errors
    /// What is wrong with it; the same field is asked again.
    pub fn line(&mut self, line: &str) -> Result<Option<Value>, String> {
        let Some(field) = self.fields.get(self.at) else {
            return serde_json::from_str(line)
                .map(Some)
                .map_err(|error| format!("this is not JSON: {error}"));
        };
        if self.at == 0
            && line.starts_with('{')
            && let Ok(whole @ Value::Object(_)) = serde_json::from_str(line)
        {
            return Ok(Some(whole));
        }
        if let Some(value) = field.read(line)? {
            self.filled.insert(field.name.clone(), value);
        }
        self.at += 1;
        let whole = self.at == self.fields.len();
        Ok(whole.then(|| Value::Object(std::mem::take(&mut self.filled))))
    }
}

impl Field {
    fn prompt(&self) -> String {
        let kind = match self.choices.as_slice() {
            [] => self.kind.word().to_owned(),
            choices => choices.iter().map(plain).collect::<Vec<_>>().join(" | "),
        };
        let about = if self.about.is_empty() { String::new() } else { format!("; {}", self.about) };
        let empty = match (&self.default, self.required) {
            (Some(default), _) => format!("; empty: {}", plain(default)),
            (None, false) => "; may stay empty".to_owned(),
            (None, true) => String::new(),
        };
        format!("{} ({kind}{about}{empty}): ", self.name)
    }

    /// The value of a line; nothing for a field that is left out.
    fn read(&self, line: &str) -> Result<Option<Value>, String> {
        if line.is_empty() {
            return match (&self.default, self.required) {
                (Some(default), _) => Ok(Some(default.clone())),
                (None, false) => Ok(None),
                (None, true) => Err(format!("`{}` is needed; an empty text is \"\"", self.name)),
            };
        }
        if !self.choices.is_empty() {
            let chosen = self.choices.iter().find(|choice| plain(choice) == line);
            return chosen.cloned().map(Some).ok_or_else(|| format!("`{line}` is none of these"));
        }
        let wrong = || format!("`{line}` is no {}", self.kind.word());
        match self.kind {
            Kind::Text if line == "\"\"" => Ok(Some(Value::String(String::new()))),
            Kind::Text => Ok(Some(Value::String(line.to_owned()))),
            Kind::Integer => {
                let number: Result<i64, _> = line.parse();
                number.map(|number| Some(number.into())).map_err(|_| wrong())
            }
            Kind::Number => {
                let number = line.parse().ok().and_then(Number::from_f64);
                number.map(|number| Some(Value::Number(number))).ok_or_else(wrong)
            }
            Kind::Boolean => match line.to_lowercase().as_str() {
                "y" | "yes" | "true" => Ok(Some(true.into())),
                "n" | "no" | "false" => Ok(Some(false.into())),
                _ => Err(format!("`{line}` is neither yes nor no")),
            },
            Kind::Json => {
                serde_json::from_str(line).map(Some).map_err(|error| format!("this is not JSON: {error}"))
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
