//! What OpenAI refuses in tools, tool choice and response format.

use serde_json::Value;

use super::refusals::{bad_pattern, empty_array, missing_or_wrong, missing_or_wrong_value, wrong_type};
use crate::conversation::text_of;
use crate::refusal::{Refusal, is_name};
use crate::schema_rules;

pub(super) fn check_tools(body: &Value) -> Result<(), Refusal> {
    let tools = match &body["tools"] {
        Value::Null => return Ok(()),
        Value::Array(tools) if tools.is_empty() => return Err(empty_array("tools")),
        Value::Array(tools) => tools,
        other => return Err(wrong_type("tools", "an array of objects", other)),
    };
    if tools.len() > 128 {
        return Err(Refusal::invalid(format!(
            "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length {} instead.",
            tools.len()
        ))
        .param("tools")
        .code("array_above_max_length"));
    }
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        if tool["type"] != "function" {
            return Err(missing_or_wrong_value(
                &format!("{place}.type"),
                &tool["type"],
                "'function' and 'custom'",
            ));
        }
        let function = &tool["function"];
        if !function.is_object() {
            return Err(missing_or_wrong(&format!("{place}.function"), "an object", function));
        }
        let name = match &function["name"] {
            Value::String(name) if is_name(name, 64) => name,
            Value::String(name) if name.len() > 64 => {
                return Err(Refusal::invalid(format!(
                    "Invalid '{place}.function.name': string too long. Expected a string with maximum length 64, but got a string with length {} instead.",
                    name.len()
                ))
                .param(format!("{place}.function.name"))
                .code("string_above_max_length"));
            }
            Value::String(_) => return Err(bad_pattern(&format!("{place}.function.name"))),
            other => return Err(missing_or_wrong(&format!("{place}.function.name"), "a string", other)),
        };
        if let Some(description) = function["description"].as_str()
            && description.chars().count() > 1024
        {
            return Err(Refusal::invalid(format!(
                "Invalid '{place}.function.description': string too long. Expected a string with maximum length 1024, but got a string with length {} instead.",
                description.chars().count()
            ))
            .param(format!("{place}.function.description"))
            .code("string_above_max_length"));
        }
        let parameters = &function["parameters"];
        let refuse = |why: String| {
            Err(Refusal::invalid(format!("Invalid schema for function '{name}': {why}"))
                .param(format!("{place}.function.parameters"))
                .code("invalid_function_parameters"))
        };
        if parameters.is_null() {
            continue;
        }
        if let Err(why) = schema_rules::check_parameters(parameters) {
            return refuse(why);
        }
        if function["strict"] == true
            && let Err(why) = schema_rules::check_strict(parameters)
        {
            return refuse(why);
        }
    }
    Ok(())
}

pub(super) fn check_tool_choice(body: &Value) -> Result<(), Refusal> {
    let without_tools = body["tools"].is_null();
    for name in ["tool_choice", "parallel_tool_calls"] {
        if without_tools && !body[name].is_null() {
            return Err(Refusal::invalid(format!(
                "Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
            ))
            .param(name));
        }
    }
    match &body["tool_choice"] {
        Value::Null => Ok(()),
        Value::String(choice) if ["none", "auto", "required"].contains(&choice.as_str()) => Ok(()),
        Value::Object(_) => {
            let choice = &body["tool_choice"];
            if choice["type"] != "function" {
                return Err(missing_or_wrong_value(
                    "tool_choice.type",
                    &choice["type"],
                    "'allowed_tools', 'function', and 'custom'",
                ));
            }
            let Some(name) = choice["function"]["name"].as_str() else {
                return Err(missing_or_wrong(
                    "tool_choice.function.name",
                    "a string",
                    &choice["function"]["name"],
                ));
            };
            let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
            if tools.iter().any(|tool| tool["function"]["name"] == name) {
                return Ok(());
            }
            Err(Refusal::invalid(format!(
                "Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter."
            ))
            .param("tool_choice"))
        }
        other => Err(missing_or_wrong_value("tool_choice", other, "'none', 'auto', and 'required'")),
    }
}

pub(super) fn check_response_format(body: &Value) -> Result<(), Refusal> {
    let format = &body["response_format"];
    if format.is_null() {
        return Ok(());
    }
    match format["type"].as_str() {
        Some("text") => Ok(()),
        Some("json_object") => {
            let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            if messages.iter().any(|message| text_of(message).to_lowercase().contains("json")) {
                return Ok(());
            }
            Err(Refusal::invalid(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            )
            .param("messages"))
        }
        Some("json_schema") => {
            let inner = &format["json_schema"];
            let place = "response_format.json_schema";
            if !inner.is_object() {
                return Err(missing_or_wrong(place, "an object", inner));
            }
            let name = match &inner["name"] {
                Value::String(name) if is_name(name, 64) => name,
                Value::String(_) => return Err(bad_pattern(&format!("{place}.name"))),
                other => return Err(missing_or_wrong(&format!("{place}.name"), "a string", other)),
            };
            let schema = &inner["schema"];
            if !schema.is_object() {
                return Err(missing_or_wrong(&format!("{place}.schema"), "an object", schema));
            }
            let checked =
                schema_rules::check_parameters(schema).and_then(|()| match inner["strict"] == true {
                    true => schema_rules::check_strict(schema),
                    false => Ok(()),
                });
            checked.map_err(|why| {
                Refusal::invalid(format!("Invalid schema for response_format '{name}': {why}"))
                    .param("response_format")
            })
        }
        _ => Err(missing_or_wrong_value(
            "response_format.type",
            &format["type"],
            "'json_object', 'json_schema', and 'text'",
        )),
    }
}
