//! Values against JSON Schemas: arguments of tools, structured output, answers of people.

use ambidex_core::{Error, ErrorKind};
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, PatternOptions, Retrieve, Uri, ValidationError};
use serde_json::Value;

/// Faults told at once; a model that must mend more starts with these.
const FAULTS: usize = 5;
/// Steps a pattern with look-around may take before it counts as a fault.
const BACKTRACKS: usize = 100_000;
/// Bytes of a quoted value.
const QUOTED: usize = 80;

/// A compiled schema (draft 2020-12 unless it names another). Never touches the network.
pub struct Validator {
    compiled: jsonschema::Validator,
}

impl Validator {
    /// Compiles a schema, once per tool.
    ///
    /// # Errors
    /// `config_invalid`: not a schema, a pattern that is none, or a `$ref` that leaves the document.
    pub fn new(schema: &Value) -> Result<Self, Error> {
        let invalid = |problem: String| Error::new(ErrorKind::ConfigInvalid, problem);
        if !schema.is_object() && !schema.is_boolean() {
            return Err(invalid(format!("a JSON Schema is an object, not {}", quote(schema))));
        }
        let options = jsonschema::options()
            .with_draft(draft(schema))
            .with_retriever(NoRetrieval)
            // A pattern comes from a configuration or a client, the text from a model.
            .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS));
        options.build(schema).map(|compiled| Self { compiled }).map_err(|error| {
            if let Kind::Referencing(problem) = error.kind() {
                return invalid(format!(
                    "the JSON Schema refers to something outside of it, which is never fetched ({}); put it under \
                     `$defs` and refer to `#/$defs/NAME`",
                    shorten(&problem.to_string())
                ));
            }
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            invalid(format!("the JSON Schema cannot be used{place}: {}", shorten(&error.to_string())))
        })
    }

    /// Whether a value matches.
    ///
    /// # Errors
    /// One line per fault, five at most: where, what is wrong, what is expected.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let mut faults = self.compiled.iter_errors(value);
        let mut lines: Vec<String> = faults.by_ref().take(FAULTS).map(|error| line(&error)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        match faults.count() {
            0 => {}
            more => lines.push(format!("and {more} more")),
        }
        lines.dedup();
        Err(lines.join("\n"))
    }
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Validator")
    }
}

/// Refuses every document that is not the schema itself.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("`{uri}` lies outside the schema; put it under `$defs` and refer to `#/$defs/NAME`")
            .into())
    }
}

fn draft(schema: &Value) -> Draft {
    match schema.get("$schema").and_then(Value::as_str) {
        Some(name) if name.contains("draft-07") => Draft::Draft7,
        Some(name) if name.contains("draft-06") => Draft::Draft6,
        Some(name) if name.contains("draft-04") => Draft::Draft4,
        Some(name) if name.contains("2019-09") => Draft::Draft201909,
        _ => Draft::Draft202012,
    }
}

fn line(error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let place = if path.is_empty() { "the value".to_owned() } else { format!("`{path}`") };
    format!("{place}: {}", problem(error))
}

fn problem(error: &ValidationError<'_>) -> String {
    let found = || quote(error.instance());
    match error.kind() {
        Kind::Required { property } => format!("`{}` is missing", property.as_str().unwrap_or("?")),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let names: Vec<_> =
                unexpected.iter().take(FAULTS).map(|name| format!("`{}`", shorten(name))).collect();
            format!("{} not expected; leave it out", names.join(", "))
        }
        Kind::Type { kind } => format!("expected {}, found {}", expected(kind), found()),
        Kind::Enum { options } => format!("expected one of {}, found {}", quote(options), found()),
        Kind::Constant { expected_value } => format!("expected {}, found {}", quote(expected_value), found()),
        Kind::Minimum { limit } => format!("expected at least {limit}, found {}", found()),
        Kind::Maximum { limit } => format!("expected at most {limit}, found {}", found()),
        Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}, found {}", found()),
        Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}, found {}", found()),
        Kind::MultipleOf { multiple_of } => {
            format!("expected a multiple of {multiple_of}, found {}", found())
        }
        Kind::MinLength { limit } => format!("expected at least {limit} characters, found {}", found()),
        Kind::MaxLength { limit } => {
            let length = error.instance().as_str().map_or(0, |text| text.chars().count());
            format!("expected at most {limit} characters, found {length}")
        }
        Kind::MinItems { limit } => format!("expected at least {limit} items"),
        Kind::MaxItems { limit } => format!("expected at most {limit} items"),
        Kind::Pattern { pattern } => format!("expected text that matches {pattern}, found {}", found()),
        Kind::Format { format } => format!("expected the format {format}, found {}", found()),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(error, context),
        Kind::OneOfMultipleValid { .. } => format!("{} fits more than one of the alternatives", found()),
        Kind::FalseSchema => "nothing is allowed here; leave it out".to_owned(),
        _ => shorten(&error.to_string()),
    }
}

/// What the alternatives want, without repeating one.
fn alternatives(error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> String {
    let mut wanted: Vec<String> =
        context.iter().filter_map(|faults| faults.first()).map(problem).take(FAULTS).collect();
    wanted.dedup();
    format!("{} fits none of the alternatives ({})", quote(error.instance()), wanted.join("; "))
}

fn expected(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn quote(value: &Value) -> String {
    match value {
        Value::Object(_) if value.to_string().len() > QUOTED => "an object".to_owned(),
        Value::Array(items) if value.to_string().len() > QUOTED => format!("an array of {}", items.len()),
        _ => shorten(&value.to_string()),
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= 2 * QUOTED {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(2 * QUOTED)])
}
