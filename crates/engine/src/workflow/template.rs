//! Prompts, questions and arguments: texts in MiniJinja, filled in one pass. A value that looks like a template
//! stays what it is.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Ninja, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use super::scope::{self, References, Scope, Seen};

/// Steps that one text may take; endless loops end there.
const FUEL: u64 = 5_000_000;
/// Each text has an environment to itself.
const NAME: &str = "text";

/// A text, ready to be filled in.
#[derive(Clone, Debug)]
pub(super) struct Template {
    text: String,
    environment: Arc<Environment<'static>>,
    /// The expression, where the text is a single `{{ }}`.
    lone: Option<String>,
    references: References,
}

impl Template {
    /// # Errors
    /// What is wrong with it, and in which of its lines.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut environment = environment();
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| said(&error, text))?;
        let template = environment.get_template(NAME).map_err(|error| said(&error, text))?;
        let mut references = References::default();
        let globals: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
        for name in template.undeclared_variables(true) {
            if !globals.contains(&name.as_str()) {
                references.add(name.split('.'));
            }
        }
        let lone = lone(text).filter(|inner| environment.compile_expression(inner).is_ok());
        let lone = lone.map(str::to_owned);
        Ok(Self { text: text.to_owned(), environment: Arc::new(environment), lone, references })
    }

    pub(super) fn references(&self) -> &References {
        &self.references
    }

    /// The expression, where the text is a single `{{ }}`.
    pub(super) fn lone(&self) -> Option<&str> {
        self.lone.as_deref()
    }

    /// # Errors
    /// Why it cannot be filled in.
    pub(super) fn fill(&self, scope: Scope<'_>) -> Result<String, String> {
        // A text without templates is most of what tools are given.
        if !self.text.contains('{') {
            return Ok(self.text.clone());
        }
        let said = |error: minijinja::Error| said(&error, &self.text);
        let template = self.environment.get_template(NAME).map_err(said)?;
        template.render(self.variables(scope)).map_err(said)
    }

    /// Like [`Self::fill`], but a single `{{ }}` keeps the type of its value.
    ///
    /// # Errors
    /// Why it has no value.
    pub(super) fn value(&self, scope: Scope<'_>) -> Result<Value, String> {
        let Some(lone) = &self.lone else { return self.fill(scope).map(Value::String) };
        let said = |error: minijinja::Error| said(&error, lone);
        let expression = self.environment.compile_expression(lone).map_err(said)?;
        let value = expression.eval(self.variables(scope)).map_err(said)?;
        if value.is_undefined() {
            return Err(format!("`{lone}` is not there"));
        }
        json(&value)
    }

    fn variables(&self, scope: Scope<'_>) -> Ninja {
        let seen = scope.look_up(&self.references);
        Ninja::from_pairs(seen.into_iter().map(|(name, seen)| (name, ninja(seen))))
    }
}

/// Arguments: a JSON value in which each text is a template.
#[derive(Clone, Debug)]
pub(super) enum Arguments {
    Plain(Value),
    Template(Template),
    List(Vec<Arguments>),
    Fields(Vec<(String, Arguments)>),
}

impl Arguments {
    /// # Errors
    /// The text that is no template, and why.
    pub(super) fn parse(value: &Value) -> Result<Self, (String, String)> {
        Ok(match value {
            Value::String(text) if text.contains('{') => {
                Self::Template(Template::parse(text).map_err(|why| (text.clone(), why))?)
            }
            Value::Array(list) => Self::List(list.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let field =
                    |(name, value): (&String, &Value)| Self::parse(value).map(|value| (name.clone(), value));
                Self::Fields(fields.iter().map(field).collect::<Result<_, _>>()?)
            }
            other => Self::Plain(other.clone()),
        })
    }

    /// # Errors
    /// The text that cannot be filled in, and why.
    pub(super) fn fill(&self, scope: Scope<'_>) -> Result<Value, (String, String)> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Template(template) => template.value(scope).map_err(|why| (template.text.clone(), why))?,
            Self::List(list) => {
                Value::Array(list.iter().map(|item| item.fill(scope)).collect::<Result<_, _>>()?)
            }
            Self::Fields(fields) => {
                let field =
                    |(name, value): &(String, Self)| value.fill(scope).map(|value| (name.clone(), value));
                Value::Object(fields.iter().map(field).collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    environment
}

/// The inside of a text that is one `{{ }}` and nothing else.
fn lone(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    (!inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%")).then(|| inner.trim())
}

fn said(error: &minijinja::Error, text: &str) -> String {
    let detail = error.detail().map(str::to_owned);
    let what = match error.kind() {
        minijinja::ErrorKind::UndefinedError => {
            // The range is that of the last part of a name with dots.
            let read = error.range().and_then(|range| text.get(..range.end)).map(str::trim_end);
            let of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
            let name = read.map(|read| read.rsplit(|c| !of_name(c)).next().unwrap_or_default());
            match name.filter(|name| !name.is_empty()) {
                Some(name) => format!("`{name}` is not there"),
                None => detail.unwrap_or_else(|| "a value that it uses is not there".into()),
            }
        }
        kind => detail.map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    match error.line().filter(|_| text.contains('\n')) {
        Some(line) => format!("{what} (in line {line} of it)"),
        None => what,
    }
}

fn ninja(seen: Seen) -> Ninja {
    match seen {
        Seen::Plain(value) => of_json(value),
        Seen::Fields(fields) => Ninja::from_pairs(fields.into_iter().map(|(name, seen)| (name, ninja(seen)))),
        Seen::Step(result) => Ninja::from_object(StepResult(result)),
        Seen::Results(results) => Ninja::from_object(Results(results.into_iter().map(ninja).collect())),
    }
}

fn of_json(value: Value) -> Ninja {
    match value {
        Value::Null => Ninja::from(()),
        Value::Bool(value) => value.into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(list) => list.into_iter().map(of_json).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            Ninja::from_pairs(fields.into_iter().map(|(name, value)| (name, of_json(value))))
        }
    }
}

fn json(value: &Ninja) -> Result<Value, String> {
    if let Some(step) = value.downcast_object_ref::<StepResult>() {
        return Ok(step.0.value.clone());
    }
    let unfit = || format!("its value is {}, which no step can take", value.kind());
    Ok(match value.kind() {
        ValueKind::None => Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match value.as_i64() {
            Some(number) if value.is_integer() => number.into(),
            _ => {
                let number: f64 = value.clone().try_into().map_err(|_| unfit())?;
                serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(unfit)?
            }
        },
        ValueKind::String => Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|_| unfit())?;
            Value::Array(items.map(|item| json(&item)).collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let mut fields = Map::new();
            for key in value.try_iter().map_err(|_| unfit())? {
                let item = value.get_item(&key).map_err(|_| unfit())?;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                fields.insert(name, json(&item)?);
            }
            Value::Object(fields)
        }
        _ => return Err(unfit()),
    })
}

/// Reads as a table of its fields, and prints as its text.
#[derive(Debug)]
struct StepResult(scope::Result);

impl Object for StepResult {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Ninja) -> Option<Ninja> {
        self.0.field(key.as_str()?).map(of_json)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.names().into_iter().map(Ninja::from).collect())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text())
    }
}

/// Reads as a list of results, and prints as their texts.
#[derive(Debug)]
struct Results(Vec<Ninja>);

impl Object for Results {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Ninja) -> Option<Ninja> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        f.write_str(&texts.join("\n\n"))
    }
}
