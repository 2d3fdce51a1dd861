//! What OpenAI refuses in a Responses request.
//!
//! The wording follows the errors people have quoted in public issues.

use serde_json::{Value, json};

use super::{item_rules, thread_rules};
use crate::conversation::text_of;
use crate::memory::Memory;
use crate::openai::refusals::{
    bad_pattern, check_booleans, check_decimals, check_integers, empty_array, missing_or_wrong,
    missing_or_wrong_value, wrong_type,
};
use crate::refusal::{Refusal, is_name};
use crate::schema_rules;

const PARAMETERS: &[&str] = &[
    "access_programs",
    "background",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// What Chat Completions calls otherwise.
const MOVED: &[(&str, &str)] = &[
    ("max_completion_tokens", "max_output_tokens"),
    ("max_tokens", "max_output_tokens"),
    ("messages", "input"),
    ("reasoning_effort", "reasoning.effort"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
];

const INCLUDABLE: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];

/// The tools that OpenAI carries out itself, and those of other shapes.
const OTHER_TOOLS: &[&str] = &[
    "apply_patch",
    "code_interpreter",
    "computer_use_preview",
    "custom",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "shell",
    "web_search",
    "web_search_preview",
];

/// Checks a request's body. Returns the items it continues.
pub(crate) fn check(body: &Value, memory: &Memory) -> Result<Vec<Value>, Refusal> {
    let Some(fields) = body.as_object() else {
        return Err(Refusal::invalid(
            "We could not parse the JSON body of your request: it is not a JSON object.",
        ));
    };
    if let Some(unknown) = fields.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(match MOVED.iter().find(|(old, _)| old == unknown) {
            Some((old, new)) => Refusal::invalid(format!(
                "Unsupported parameter: '{old}'. In the Responses API, this parameter has moved to '{new}'. Try again with the new parameter. See the API documentation for more information: https://platform.openai.com/docs/api-reference/responses/create."
            ))
            .param(*old)
            .code("unsupported_parameter"),
            None => unknown_parameter(unknown),
        });
    }
    match &body["model"] {
        Value::String(model) if !model.is_empty() => {}
        other => return Err(missing_or_wrong("model", "a string", other)),
    }
    check_settings(body)?;
    let earlier = match &body["previous_response_id"] {
        Value::Null => Vec::new(),
        Value::String(_) if !body["conversation"].is_null() => {
            return Err(Refusal::invalid(
                "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only providing one of: 'previous_response_id' or 'conversation'.",
            )
            .code("mutually_exclusive_parameters"));
        }
        Value::String(id) => memory.thread(id).ok_or_else(|| {
            Refusal::invalid(format!("Previous response with id '{id}' not found."))
                .param("previous_response_id")
                .code("previous_response_not_found")
        })?,
        other => return Err(wrong_type("previous_response_id", "a string", other)),
    };
    match &body["input"] {
        Value::String(_) => {}
        Value::Array(items) if items.is_empty() => return Err(empty_array("input")),
        Value::Array(items) => {
            item_rules::check(items, memory)?;
            thread_rules::check(&earlier, items, memory)?;
        }
        Value::Null => {
            return Err(Refusal::invalid(
                "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
            )
            .param("input")
            .code("missing_required_parameter"));
        }
        other => return Err(wrong_type("input", "one of a string or array of objects", other)),
    }
    if body["input"].is_string() {
        thread_rules::check(&earlier, &input(body), memory)?;
    }
    check_tools(body)?;
    check_tool_choice(body)?;
    check_format(body)?;
    Ok(earlier)
}

/// The input as items.
pub(crate) fn input(body: &Value) -> Vec<Value> {
    match &body["input"] {
        Value::Array(items) => items.clone(),
        text => vec![json!({"role": "user", "content": text})],
    }
}

pub(super) fn unknown_parameter(place: &str) -> Refusal {
    Refusal::invalid(format!("Unknown parameter: '{place}'.")).param(place).code("unknown_parameter")
}

fn check_settings(body: &Value) -> Result<(), Refusal> {
    check_booleans(body, &["background", "parallel_tool_calls", "store", "stream"])?;
    check_decimals(body, &[("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0)])?;
    check_integers(body, &[("max_output_tokens", 16), ("max_tool_calls", 1), ("top_logprobs", 0)])?;
    if !matches!(body["instructions"], Value::Null | Value::String(_)) {
        return Err(wrong_type("instructions", "a string", &body["instructions"]));
    }
    match &body["include"] {
        Value::Null => {}
        Value::Array(all) => {
            let wrong = |it: &&Value| it.as_str().is_none_or(|name| !INCLUDABLE.contains(&name));
            if let Some(wrong) = all.iter().find(wrong) {
                let supported = INCLUDABLE.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>();
                return Err(missing_or_wrong_value("include", wrong, &supported.join(", ")));
            }
        }
        other => return Err(wrong_type("include", "an array of strings", other)),
    }
    let options = &body["stream_options"];
    if !options.is_null() && body["stream"] != true {
        return Err(Refusal::invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        )
        .param("stream_options"));
    }
    check_fields("stream_options", options, &["include_obfuscation"])?;
    let reasoning = &body["reasoning"];
    check_fields("reasoning", reasoning, &["context", "effort", "generate_summary", "mode", "summary"])?;
    for (name, values) in [
        ("effort", &["none", "minimal", "low", "medium", "high", "xhigh"][..]),
        ("summary", &["auto", "concise", "detailed"][..]),
    ] {
        let value = &reasoning[name];
        if !value.is_null() && value.as_str().is_none_or(|value| !values.contains(&value)) {
            let supported = values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>();
            return Err(missing_or_wrong_value(&format!("reasoning.{name}"), value, &supported.join(", ")));
        }
    }
    check_fields("text", &body["text"], &["format", "verbosity"])
}

/// Refuses fields of an object that are not known.
pub(super) fn check_fields(place: &str, value: &Value, known: &[&str]) -> Result<(), Refusal> {
    match value {
        Value::Null => Ok(()),
        Value::Object(fields) => match fields.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => Err(unknown_parameter(&format!("{place}.{unknown}"))),
            None => Ok(()),
        },
        other => Err(wrong_type(place, "an object", other)),
    }
}

fn check_tools(body: &Value) -> Result<(), Refusal> {
    let tools = match &body["tools"] {
        Value::Null => return Ok(()),
        Value::Array(tools) => tools,
        other => return Err(wrong_type("tools", "an array of objects", other)),
    };
    let mut names = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        match tool["type"].as_str() {
            Some("function") => {}
            Some(other) if OTHER_TOOLS.contains(&other) => continue,
            _ => {
                let supported = OTHER_TOOLS.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>();
                let supported = format!("'function', {}", supported.join(", "));
                return Err(missing_or_wrong_value(&format!("{place}.type"), &tool["type"], &supported));
            }
        }
        // A tool in the shape of Chat Completions has its name one level deeper.
        let name = match &tool["name"] {
            Value::String(name) if is_name(name, 64) => name,
            Value::String(_) => return Err(bad_pattern(&format!("{place}.name"))),
            other => return Err(missing_or_wrong(&format!("{place}.name"), "a string", other)),
        };
        if names.contains(&name) {
            return Err(Refusal::invalid(format!("Duplicate tool name: '{name}'.")).param(place));
        }
        names.push(name);
        let known = [
            "allowed_callers",
            "async",
            "defer_loading",
            "description",
            "name",
            "output_schema",
            "parameters",
            "strict",
            "type",
        ];
        check_fields(&place, tool, &known)?;
        let refuse = |why: String| {
            Refusal::invalid(format!("Invalid schema for function '{name}': {why}"))
                .param(format!("{place}.parameters"))
                .code("invalid_function_parameters")
        };
        let parameters = &tool["parameters"];
        if !parameters.is_null() {
            schema_rules::check_parameters(parameters).map_err(refuse)?;
            if tool["strict"] == true {
                schema_rules::check_strict(parameters).map_err(refuse)?;
            }
        }
        if !matches!(tool["strict"], Value::Null | Value::Bool(_)) {
            return Err(wrong_type(&format!("{place}.strict"), "a boolean", &tool["strict"]));
        }
    }
    Ok(())
}

fn check_tool_choice(body: &Value) -> Result<(), Refusal> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    match &body["tool_choice"] {
        Value::Null => Ok(()),
        Value::String(choice) if choice == "required" && tools.is_empty() => {
            Err(Refusal::invalid("Tool choice 'required' must be specified with 'tools' parameter.")
                .param("tool_choice"))
        }
        Value::String(choice) if ["none", "auto", "required"].contains(&choice.as_str()) => Ok(()),
        Value::Object(_) => {
            let choice = &body["tool_choice"];
            match choice["type"].as_str() {
                Some("function" | "custom") => {}
                Some("allowed_tools") => return Ok(()),
                Some(other) if OTHER_TOOLS.contains(&other) => return Ok(()),
                _ => {
                    return Err(missing_or_wrong_value(
                        "tool_choice.type",
                        &choice["type"],
                        "'allowed_tools', 'function', and 'custom'",
                    ));
                }
            }
            let Some(name) = choice["name"].as_str() else {
                return Err(missing_or_wrong("tool_choice.name", "a string", &choice["name"]));
            };
            if tools.iter().any(|tool| tool["name"] == name) {
                return Ok(());
            }
            Err(Refusal::invalid(format!("Tool choice '{name}' not found in 'tools' parameter."))
                .param("tool_choice"))
        }
        other => Err(missing_or_wrong_value("tool_choice", other, "'none', 'auto', and 'required'")),
    }
}

fn check_format(body: &Value) -> Result<(), Refusal> {
    let format = &body["text"]["format"];
    match format["type"].as_str() {
        None if format.is_null() => Ok(()),
        Some("text") => Ok(()),
        Some("json_object") => {
            if input(body).iter().any(|item| text_of(item).to_lowercase().contains("json")) {
                return Ok(());
            }
            Err(Refusal::invalid(
                "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.",
            )
            .param("input"))
        }
        Some("json_schema") => {
            let place = "text.format";
            // The shape of Chat Completions has these one level deeper.
            check_fields(place, format, &["description", "name", "schema", "strict", "type"])?;
            let name = match &format["name"] {
                Value::String(name) if is_name(name, 64) => name,
                Value::String(_) => return Err(bad_pattern(&format!("{place}.name"))),
                other => return Err(missing_or_wrong(&format!("{place}.name"), "a string", other)),
            };
            let schema = &format["schema"];
            if !schema.is_object() {
                return Err(missing_or_wrong(&format!("{place}.schema"), "an object", schema));
            }
            let checked = schema_rules::check_parameters(schema).and_then(|()| {
                if format["strict"] == true { schema_rules::check_strict(schema) } else { Ok(()) }
            });
            checked.map_err(|why| {
                Refusal::invalid(format!("Invalid schema for response_format '{name}': {why}"))
                    .param("text.format.schema")
                    .code("invalid_json_schema")
            })
        }
        _ => Err(missing_or_wrong_value(
            "text.format.type",
            &format["type"],
            "'json_object', 'json_schema', and 'text'",
        )),
    }
}
