//! Input schemas: made from types, or from the short form of the configuration.

use ambidex_core::{Error, ErrorKind};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::function::invalid_arguments;

/// The JSON Schema (2020-12) of a type: definitions inline where they do not recur, no members besides the
/// declared ones.
pub fn schema_of<T: JsonSchema + ?Sized>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
        if root.get("type").is_some_and(|kind| kind == "null") {
            // The unit type: a call without arguments is still an object.
            root.insert("properties".to_owned(), json!({}));
            root.insert("type".to_owned(), json!("object"));
        }
        // Beside alternatives or a reference the type is not said, and providers want to see it.
        root.entry("type").or_insert_with(|| json!("object"));
    }
    close(&mut schema);
    schema
}

/// Says of every object with declared members that there are no others. Not within `allOf` or beside
/// alternatives, where the members of one part are not all there are.
fn close(schema: &mut Value) {
    const COMPOSED: [&str; 5] = ["allOf", "anyOf", "oneOf", "$ref", "unevaluatedProperties"];
    let Some(object) = schema.as_object_mut() else { return };
    let declares = object.get("properties").is_some_and(Value::is_object);
    if declares && !COMPOSED.iter().any(|keyword| object.contains_key(*keyword)) {
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for (keyword, value) in object {
        match keyword.as_str() {
            "properties" | "$defs" => {
                if let Some(members) = value.as_object_mut() {
                    members.values_mut().for_each(close);
                }
            }
            "items" | "additionalProperties" => close(value),
            "anyOf" | "oneOf" if !declares => {
                if let Some(alternatives) = value.as_array_mut() {
                    alternatives.iter_mut().for_each(close);
                }
            }
            "prefixItems" => {
                if let Some(items) = value.as_array_mut() {
                    items.iter_mut().for_each(close);
                }
            }
            _ => {}
        }
    }
}

/// Arguments as the type a function takes.
pub(crate) fn arguments<Args: DeserializeOwned>(value: Value) -> Result<Args, Error> {
    // The unit type is written `null`; a call without arguments comes as an empty object.
    let empty = value.as_object().is_some_and(Map::is_empty);
    serde_json::from_value(value).or_else(|error| match empty {
        true => serde_json::from_value(Value::Null).map_err(|_| invalid_arguments(error)),
        false => Err(invalid_arguments(error)),
    })
}

/// The `input` of a tool in a configuration: a JSON Schema (`type = "object"` with `properties`), or a
/// table of names, each with a type (`"string"`, `"integer[]"`, `"number?"` when it may be left out) or
/// with the schema of one value (one with a `default` may be left out).
///
/// # Errors
/// `config_invalid`, naming the argument.
pub fn schema_from(input: &Value) -> Result<Value, Error> {
    let invalid = |problem: String| Error::new(ErrorKind::ConfigInvalid, problem);
    let Some(table) = input.as_object() else {
        return Err(invalid("`input` is a table: names with types, or a JSON Schema".to_owned()));
    };
    if table.get("type").is_some_and(|kind| kind == "object")
        && table.get("properties").is_none_or(Value::is_object)
    {
        let mut schema = input.clone();
        if let Some(object) = schema.as_object_mut() {
            object.entry("additionalProperties").or_insert(Value::Bool(false));
        }
        return Ok(schema);
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, of) in table {
        let (schema, optional) = match of {
            Value::String(word) => short_form(name, word).map_err(invalid)?,
            Value::Object(schema) => (of.clone(), schema.contains_key("default")),
            _ => {
                return Err(invalid(format!(
                    "`input.{name}` is a type such as \"string\", or a JSON Schema"
                )));
            }
        };
        if !optional {
            required.push(Value::String(name.clone()));
        }
        properties.insert(name.clone(), schema);
    }
    Ok(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

/// The schema of a word such as `string[]?`, and whether the argument may be left out.
fn short_form(name: &str, word: &str) -> Result<(Value, bool), String> {
    let (kind, optional) = match word.strip_suffix('?') {
        Some(kind) => (kind, true),
        None => (word, false),
    };
    let (kind, list) = match kind.strip_suffix("[]") {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    if !matches!(kind, "string" | "integer" | "number" | "boolean" | "object") {
        return Err(format!(
            "`input.{name}`: `{word}` is not a type; use string, integer, number, boolean or object, with [] for \
             a list and ? when it may be left out"
        ));
    }
    let schema = json!({"type": kind});
    Ok((if list { json!({"type": "array", "items": schema}) } else { schema }, optional))
}

/// The value of an argument, or the schema's default for it.
pub(crate) fn argument<'a>(arguments: &'a Value, schema: &'a Value, name: &str) -> Option<&'a Value> {
    let given = arguments.get(name).filter(|value| !value.is_null());
    given.or_else(|| schema.get("properties")?.get(name)?.get("default"))
}

/// Whether an argument may be absent, also after defaults.
pub(crate) fn may_be_absent(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.is_some_and(|names| names.iter().any(|required| required == name));
    let default =
        schema.get("properties").and_then(|it| it.get(name)).is_some_and(|it| it.get("default").is_some());
    !required && !default
}

/// The declared arguments.
pub(crate) fn names(schema: &Value) -> impl Iterator<Item = &str> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|it| it.keys().map(String::as_str))
}
