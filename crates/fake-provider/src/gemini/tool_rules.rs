//! What Gemini refuses in tools, their choice and their schemas.

use serde_json::Value;

use super::rules::{check_fields, invalid, invalid_value, violated};
use crate::refusal::Refusal;
use crate::schema_rules;

/// What a schema of this format may have: a subset of OpenAPI, not JSON Schema.
const SCHEMA: &[&str] = &[
    "anyOf",
    "default",
    "description",
    "enum",
    "example",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "propertyOrdering",
    "required",
    "title",
    "type",
];

const TYPES: &[&str] = &["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];

const TOOLS: &[&str] = &[
    "codeExecution",
    "computerUse",
    "fileSearch",
    "functionDeclarations",
    "googleMaps",
    "googleSearch",
    "googleSearchRetrieval",
    "mcpServers",
    "urlContext",
];

fn declarations(body: &Value) -> Vec<(String, &Value)> {
    let list = |value: &'_ Value| value.as_array().map(Vec::as_slice).unwrap_or_default().len();
    let mut out = Vec::new();
    for tool in 0..list(&body["tools"]) {
        let all = &body["tools"][tool]["functionDeclarations"];
        for at in 0..list(all) {
            out.push((format!("tools[{tool}].functionDeclarations[{at}]"), &all[at]));
        }
    }
    out
}

pub(super) fn check_tools(body: &Value) -> Result<(), Refusal> {
    match &body["tools"] {
        Value::Null => return Ok(()),
        Value::Array(tools) => {
            for (at, tool) in tools.iter().enumerate() {
                check_fields(&format!("tools[{at}]"), tool, TOOLS)?;
            }
        }
        other => {
            return Err(invalid_value(
                "tools",
                "type.googleapis.com/google.ai.generativelanguage.v1beta.Tool",
                other,
            ));
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (place, declared) in declarations(body) {
        let known = [
            "behavior",
            "description",
            "name",
            "parameters",
            "parametersJsonSchema",
            "response",
            "responseJsonSchema",
        ];
        check_fields(&place, declared, &known)?;
        let name = match declared["name"].as_str() {
            Some(name) if is_name(name) => name,
            _ => {
                return Err(violated(
                    &format!("{place}.name"),
                    "Invalid function name. Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:) or dashes (-), with a maximum length of 64.",
                ));
            }
        };
        if names.contains(&name) {
            return Err(invalid(format!("Duplicate function declaration found: {name}")));
        }
        names.push(name);
        let (own, json) = (&declared["parameters"], &declared["parametersJsonSchema"]);
        if !own.is_null() && !json.is_null() {
            return Err(violated(&place, "only one of parameters and parameters_json_schema can be set."));
        }
        if !own.is_null() {
            check_schema(&format!("{place}.parameters"), own)?;
            if !is_type(own, "OBJECT") {
                return Err(violated(&format!("{place}.parameters.type"), "must be OBJECT."));
            }
        }
        if !json.is_null() {
            let place = format!("{place}.parametersJsonSchema");
            schema_rules::check_parameters(json).map_err(|why| violated(&place, &why))?;
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    begins
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

fn is_type(schema: &Value, name: &str) -> bool {
    schema["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name))
}

/// Checks a schema in the format's own dialect.
pub(super) fn check_schema(place: &str, schema: &Value) -> Result<(), Refusal> {
    check_fields(place, schema, SCHEMA)?;
    let kind = &schema["type"];
    let known = |kind: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind));
    match kind {
        Value::Null if !schema["anyOf"].is_null() => {}
        Value::String(kind) if known(kind) => {}
        other => {
            let wanted = "type.googleapis.com/google.ai.generativelanguage.v1beta.Type";
            return Err(invalid_value(&format!("{place}.type"), wanted, other));
        }
    }
    let properties = match &schema["properties"] {
        Value::Null => None,
        Value::Object(properties) => Some(properties),
        other => return Err(invalid_value(&format!("{place}.properties"), "an object", other)),
    };
    if is_type(schema, "OBJECT") && properties.is_some_and(serde_json::Map::is_empty) {
        return Err(violated(&format!("{place}.properties"), "should be non-empty for OBJECT type"));
    }
    for (name, property) in properties.into_iter().flatten() {
        check_schema(&format!("{place}.properties[{name}]"), property)?;
    }
    for (at, name) in schema["required"].as_array().into_iter().flatten().enumerate() {
        let defined = name.as_str().is_some_and(|name| properties.is_some_and(|all| all.contains_key(name)));
        if !defined {
            return Err(violated(&format!("{place}.required[{at}]"), "property is not defined"));
        }
    }
    match &schema["items"] {
        Value::Null if is_type(schema, "ARRAY") => {
            return Err(violated(&format!("{place}.items"), "missing field."));
        }
        Value::Null => {}
        items => check_schema(&format!("{place}.items"), items)?,
    }
    for (at, choice) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
        check_schema(&format!("{place}.anyOf[{at}]"), choice)?;
    }
    let values = schema["enum"].as_array().into_iter().flatten();
    for (at, value) in values.enumerate() {
        let field = format!("{place}.enum[{at}]");
        match value.as_str() {
            Some("") => return Err(violated(&field, "cannot be empty")),
            Some(_) if is_type(schema, "STRING") => {}
            Some(_) => return Err(violated(&format!("{place}.enum"), "only allowed for STRING type")),
            None => return Err(invalid_value(&field, "TYPE_STRING", value)),
        }
    }
    Ok(())
}

pub(super) fn check_choice(body: &Value) -> Result<(), Refusal> {
    let config = &body["toolConfig"];
    check_fields(
        "toolConfig",
        config,
        &["functionCallingConfig", "includeServerSideToolInvocations", "retrievalConfig"],
    )?;
    let config = &config["functionCallingConfig"];
    if config.is_null() {
        return Ok(());
    }
    let place = "toolConfig.functionCallingConfig";
    check_fields(place, config, &["allowedFunctionNames", "mode"])?;
    let declared = declarations(body);
    if declared.is_empty() {
        return Err(invalid("Function calling config is set without function_declarations."));
    }
    let mode = match config["mode"].as_str() {
        Some(mode @ ("AUTO" | "ANY" | "NONE" | "VALIDATED")) => mode,
        None if config["mode"].is_null() => "AUTO",
        _ => {
            let kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode";
            return Err(invalid_value(&format!("{place}.mode"), kind, &config["mode"]));
        }
    };
    let names = config["allowedFunctionNames"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !names.is_empty() && !["ANY", "VALIDATED"].contains(&mode) {
        return Err(violated(
            &format!("{place}.allowedFunctionNames"),
            "should be set only when function_calling_config.mode is ANY or VALIDATED.",
        ));
    }
    match names.iter().find(|name| !declared.iter().any(|(_, it)| it["name"] == **name)) {
        Some(unknown) => Err(violated(
            &format!("{place}.allowedFunctionNames"),
            &format!("{unknown} is not one of the declared functions."),
        )),
        None => Ok(()),
    }
}
