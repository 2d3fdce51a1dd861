//! The inputs of a tool, short (`{ id = "integer" }`) or as a JSON Schema.

use serde_json::{Map, Value as Json, json};

use crate::error::ConfigErrorKind;
use crate::reader::At;
use crate::suggest::nearest;

/// What is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input `{name}`: {problem}")]
pub struct InvalidInput {
    /// The name of the property; empty when the whole table is meant.
    pub name: String,
    pub problem: String,
    /// The nearest type, where the type is unknown.
    pub suggestion: Option<&'static str>,
}

const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "object", "any"];

/// The JSON Schema of an object for a table of inputs.
///
/// A value is a type (`string`, `integer`, `number`, `boolean`, `object`, `any`), a list of one (`string[]`),
/// either with `?` for optional, or a table that is the JSON Schema of the property (`type` may be short,
/// `optional = true` or a `default` makes it optional). A table with `properties`, or with `type = "object"`, is a whole
/// JSON Schema and is taken as it is.
///
/// ```
/// use serde_json::json;
/// let schema = ambidex_config::input_schema(&json!({ "id": "integer", "note": "string?" }))?;
/// assert_eq!(schema["required"], json!(["id"]));
/// assert_eq!(schema["properties"]["note"], json!({ "type": "string" }));
/// # Ok::<(), ambidex_config::InvalidInput>(())
/// ```
///
/// # Errors
/// The first property that is no type and no schema.
pub fn input_schema(input: &Json) -> Result<Json, InvalidInput> {
    let Json::Object(input) = input else {
        return Err(invalid("", "must be a table of names and types"));
    };
    if is_whole_schema(input) {
        return whole_schema(input);
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, value) in input {
        let (schema, optional) = property(name, value)?;
        properties.insert(name.clone(), schema);
        if !optional {
            required.push(Json::String(name.clone()));
        }
    }
    Ok(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    }))
}

fn is_whole_schema(input: &Map<String, Json>) -> bool {
    input.get("properties").is_some_and(Json::is_object)
        || input.get("type").and_then(Json::as_str) == Some("object")
        || input.contains_key("$ref")
}

fn whole_schema(input: &Map<String, Json>) -> Result<Json, InvalidInput> {
    let mut schema = input.clone();
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => {}
        None if !schema.contains_key("type") => {
            schema.insert("type".into(), Json::from("object"));
        }
        _ => return Err(invalid("", "the arguments of a tool are an object: write type = \"object\"")),
    }
    Ok(Json::Object(schema))
}

fn property(name: &str, value: &Json) -> Result<(Json, bool), InvalidInput> {
    match value {
        Json::String(short) => short_type(name, short),
        Json::Object(schema) => {
            let mut schema = schema.clone();
            let mut optional = match schema.remove("optional") {
                None => schema.contains_key("default"),
                Some(Json::Bool(optional)) => optional,
                Some(_) => return Err(invalid(name, "`optional` must be true or false")),
            };
            if let Some(Json::String(short)) = schema.get("type").cloned()
                && short != "array"
                && short != "null"
            {
                let (expanded, by_mark) = short_type(name, &short)?;
                optional |= by_mark;
                schema.remove("type");
                for (key, value) in expanded.as_object().into_iter().flatten() {
                    schema.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            Ok((Json::Object(schema), optional))
        }
        _ => Err(invalid(name, "must be a type, such as \"string\", or a JSON Schema")),
    }
}

fn short_type(name: &str, short: &str) -> Result<(Json, bool), InvalidInput> {
    let trimmed = short.trim();
    let (trimmed, optional) = match trimmed.strip_suffix('?') {
        Some(rest) => (rest, true),
        None => (trimmed, false),
    };
    let (base, list) = match trimmed.strip_suffix("[]") {
        Some(rest) => (rest, true),
        None => (trimmed, false),
    };
    if !TYPES.contains(&base) {
        let problem = format!("{} is no type", crate::toml_text::string(short));
        return Err(InvalidInput { suggestion: nearest(base, TYPES), ..invalid(name, &problem) });
    }
    let one = if base == "any" { json!({}) } else { json!({ "type": base }) };
    Ok((if list { json!({ "type": "array", "items": one }) } else { one }, optional))
}

fn invalid(name: &str, problem: &str) -> InvalidInput {
    InvalidInput { name: name.to_owned(), problem: problem.to_owned(), suggestion: None }
}

/// Reads the inputs at a node; faults are reported at the property they concern, all of them.
pub(crate) fn read(at: &At<'_>) -> Option<Json> {
    let Some(table) = at.node.as_table() else {
        at.report(at.wrong_type("a table of names and types"));
        return None;
    };
    let json = at.node.to_json();
    if json.as_object().is_some_and(is_whole_schema) {
        let read = whole_schema(json.as_object()?);
        return read.map_err(|error| at.report(at.invalid(&error.problem))).ok();
    }
    let mut sound = true;
    for (name, entry) in table {
        let Err(error) = property(name, &entry.node.to_json()) else { continue };
        sound = false;
        let at = At { node: &entry.node, key: &entry.key, path: at.path.key(name), reading: at.reading };
        let message = format!("`{}`: {}", at.path, error.problem);
        let fault = at.error(ConfigErrorKind::InvalidValue, message).suggestion(error.suggestion);
        let of_type = !error.problem.starts_with("`optional`");
        let types = format!("{}; with [] a list, with ? optional", TYPES.join(", "));
        at.report(if of_type { fault.allowed(types) } else { fault });
    }
    if sound { input_schema(&json).ok() } else { None }
}
