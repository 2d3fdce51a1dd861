//! What both vendors refuse in a JSON Schema.

use serde_json::Value;

const TYPES: &[&str] = &["string", "number", "integer", "boolean", "object", "array", "null"];
/// Keywords that strict mode does not know.
const NOT_STRICT: &[&str] =
    &["allOf", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf", "then"];
/// Levels of objects strict mode takes.
const STRICT_DEPTH: usize = 10;

/// Checks the schema of a tool's input or of a response: an object at the top, valid all the way down.
pub(crate) fn check_parameters(schema: &Value) -> Result<(), String> {
    let Some(fields) = schema.as_object() else {
        return Err(format!("{schema} is not of type 'object', 'boolean'."));
    };
    if schema["type"] != "object" {
        let got = schema["type"].as_str().unwrap_or("None");
        return Err(format!("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'."));
    }
    if let Some(key) =
        ["oneOf", "anyOf", "allOf", "enum", "not"].iter().find(|key| fields.contains_key(**key))
    {
        return Err(format!(
            "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level, but it has '{key}'."
        ));
    }
    check_valid(schema, "")
}

/// Whether a schema is one at all: known types, properties that are schemas, required names in an array.
pub(crate) fn check_valid(schema: &Value, context: &str) -> Result<(), String> {
    let Some(fields) = schema.as_object() else {
        return match schema {
            Value::Bool(_) => Ok(()),
            other => Err(format!("In context=({context}), {other} is not of type 'object', 'boolean'.")),
        };
    };
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    let bad_type = |got: &Value| {
        Err(format!(
            "In context=({context}), {got} is not valid under any of the given schemas: 'type' must be one of {TYPES:?}."
        ))
    };
    match &schema["type"] {
        Value::Null => {}
        name if known(name) => {}
        Value::Array(names) if !names.is_empty() && names.iter().all(known) => {}
        other => return bad_type(other),
    }
    if schema["type"] == "array" && !fields.contains_key("items") && !fields.contains_key("prefixItems") {
        return Err(format!("In context=({context}), array schema missing items."));
    }
    for key in ["required", "enum"] {
        match fields.get(key) {
            None => {}
            Some(Value::Array(names)) if key == "enum" || names.iter().all(Value::is_string) => {}
            Some(other) => {
                return Err(format!(
                    "In context=({context}), '{key}' is {other}, not an array of the right type."
                ));
            }
        }
    }
    children(schema, context, &mut |child, context| check_valid(child, context))
}

/// The rules of strict mode: every object closed, every property required, few keywords.
pub(crate) fn check_strict(schema: &Value) -> Result<(), String> {
    strict(schema, "", 0)
}

fn strict(schema: &Value, context: &str, depth: usize) -> Result<(), String> {
    let Some(fields) = schema.as_object() else {
        return Err(format!("In context=({context}), schemas of true or false are not permitted."));
    };
    if let Some(key) = NOT_STRICT.iter().find(|key| fields.contains_key(**key)) {
        return Err(format!("In context=({context}), '{key}' is not permitted."));
    }
    if fields.contains_key("$ref") && fields.len() > 1 {
        let others: Vec<&String> = fields.keys().filter(|key| *key != "$ref").collect();
        return Err(format!("In context=({context}), $ref cannot have keywords {others:?}."));
    }
    let is_object = is_type(schema, "object");
    if is_object {
        if depth >= STRICT_DEPTH {
            return Err(format!("In context=({context}), schema exceeds {STRICT_DEPTH} levels of nesting."));
        }
        if schema["additionalProperties"] != false {
            return Err(format!(
                "In context=({context}), 'additionalProperties' is required to be supplied and to be false."
            ));
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names = schema["properties"].as_object().into_iter().flat_map(|all| all.keys());
        if let Some(missing) = names.find(|name| !required.iter().any(|known| known == name.as_str())) {
            return Err(format!(
                "In context=({context}), 'required' is required to be supplied and to be an array including every key in properties. Missing '{missing}'."
            ));
        }
        let properties = &schema["properties"];
        if let Some(extra) =
            required.iter().filter_map(Value::as_str).find(|name| properties[*name].is_null())
        {
            return Err(format!(
                "In context=({context}), 'required' is required to be supplied and to be an array including every key in properties. Extra required key '{extra}' supplied."
            ));
        }
    }
    let depth = depth + usize::from(is_object);
    children(schema, context, &mut |child, context| strict(child, context, depth))
}

/// Anthropic's rules for an output format: closed objects and no bounds on numbers, strings and arrays.
pub(crate) fn check_output_format(schema: &Value, context: &str) -> Result<(), String> {
    if !schema.is_object() {
        return Err(format!("In context=({context}), the schema must be an object."));
    }
    if is_type(schema, "object") && schema["additionalProperties"] != false {
        return Err("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    for (kind, keys) in [
        ("integer", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"][..]),
        ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"][..]),
        ("string", &["minLength", "maxLength"][..]),
        ("array", &["maxItems", "uniqueItems"][..]),
    ] {
        let found: Vec<&str> = keys.iter().copied().filter(|key| !schema[*key].is_null()).collect();
        if is_type(schema, kind) && !found.is_empty() {
            return Err(format!("For '{kind}' type, properties {} are not supported", found.join(", ")));
        }
    }
    children(schema, context, &mut |child, context| check_output_format(child, context))
}

fn is_type(schema: &Value, name: &str) -> bool {
    let kind = &schema["type"];
    kind == name || kind.as_array().is_some_and(|names| names.iter().any(|other| other == name))
}

/// Calls `visit` with every schema directly inside this one.
fn children(
    schema: &Value,
    context: &str,
    visit: &mut dyn FnMut(&Value, &str) -> Result<(), String>,
) -> Result<(), String> {
    let inside = |step: &str| {
        if context.is_empty() { format!("'{step}'") } else { format!("{context}, '{step}'") }
    };
    for key in ["properties", "$defs", "definitions", "patternProperties"] {
        match &schema[key] {
            Value::Null => {}
            Value::Object(named) => {
                for (name, child) in named {
                    visit(child, &format!("{}, '{name}'", inside(key)))?;
                }
            }
            other => return Err(format!("In context=({context}), '{key}' is {other}, not an object.")),
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        match &schema[key] {
            Value::Null => {}
            Value::Array(list) => {
                for (index, child) in list.iter().enumerate() {
                    visit(child, &format!("{}, '{index}'", inside(key)))?;
                }
            }
            other => return Err(format!("In context=({context}), '{key}' is {other}, not an array.")),
        }
    }
    for key in ["items", "not"] {
        if !schema[key].is_null() {
            visit(&schema[key], &inside(key))?;
        }
    }
    if schema["additionalProperties"].is_object() {
        visit(&schema["additionalProperties"], &inside("additionalProperties"))?;
    }
    Ok(())
}
