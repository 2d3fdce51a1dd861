//! What OpenAI refuses in a Chat Completions request.
//!
//! The wording follows the errors people have quoted in public issues, so that a client that reads them is
//! tested on real ones. `param` is written as the vendor does: `messages.[3].role` for the order of
//! messages, `messages[3].content` for their shape.

use std::collections::HashSet;

use serde_json::Value;

use super::refusals::{
    bad_pattern, check_booleans, check_decimals, check_integers, empty_array, missing_or_wrong,
    missing_or_wrong_value, wrong_type,
};
use super::tool_rules;
use crate::refusal::{Refusal, is_name};

const PARAMETERS: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

const ROLES: &[&str] = &["system", "assistant", "user", "function", "tool", "developer"];

/// Checks a request's body.
pub(crate) fn check(body: &Value) -> Result<(), Refusal> {
    let Some(fields) = body.as_object() else {
        return Err(Refusal::invalid(
            "We could not parse the JSON body of your request: it is not a JSON object.",
        ));
    };
    if let Some(unknown) = fields.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(Refusal::invalid(format!("Unrecognized request argument supplied: {unknown}"))
            .param(unknown.as_str())
            .code("unknown_parameter"));
    }
    match &body["model"] {
        Value::String(model) if !model.is_empty() => {}
        _ => return Err(Refusal::invalid("you must provide a model parameter")),
    }
    let messages = match &body["messages"] {
        Value::Null => {
            return Err(Refusal::invalid("Missing required parameter: 'messages'.")
                .param("messages")
                .code("missing_required_parameter"));
        }
        Value::Array(messages) if messages.is_empty() => return Err(empty_array("messages")),
        Value::Array(messages) => messages,
        other => return Err(wrong_type("messages", "an array of objects", other)),
    };
    check_settings(body)?;
    for (index, message) in messages.iter().enumerate() {
        check_message(index, message)?;
    }
    check_order(messages)?;
    tool_rules::check_tools(body)?;
    tool_rules::check_tool_choice(body)?;
    tool_rules::check_response_format(body)
}

fn check_settings(body: &Value) -> Result<(), Refusal> {
    check_booleans(body, &["stream", "store", "logprobs", "parallel_tool_calls"])?;
    check_decimals(
        body,
        &[
            ("temperature", 0.0, 2.0),
            ("top_p", 0.0, 1.0),
            ("presence_penalty", -2.0, 2.0),
            ("frequency_penalty", -2.0, 2.0),
        ],
    )?;
    check_integers(body, &[("max_tokens", 1), ("max_completion_tokens", 1), ("n", 1)])?;
    if !body["max_tokens"].is_null() && !body["max_completion_tokens"].is_null() {
        return Err(Refusal::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )
        .code("invalid_parameter_combination"));
    }
    if !body["stream_options"].is_null() && body["stream"] != true {
        return Err(Refusal::invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        )
        .param("stream_options"));
    }
    if body["stop"].as_array().is_some_and(|stop| stop.len() > 4) {
        return Err(Refusal::invalid(
            "Invalid 'stop': array too long. Expected an array with maximum length 4.",
        )
        .param("stop")
        .code("array_above_max_length"));
    }
    Ok(())
}

fn check_message(index: usize, message: &Value) -> Result<(), Refusal> {
    let place = format!("messages[{index}]");
    if !message.is_object() {
        return Err(wrong_type(&place, "an object", message));
    }
    let role = match &message["role"] {
        Value::String(role) if ROLES.contains(&role.as_str()) => role.as_str(),
        Value::String(role) => {
            return Err(Refusal::invalid(format!(
                "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
            ))
            .param(format!("{place}.role"))
            .code("invalid_value"));
        }
        Value::Null => {
            return Err(Refusal::invalid(format!("Missing required parameter: '{place}.role'."))
                .param(format!("{place}.role"))
                .code("missing_required_parameter"));
        }
        other => return Err(wrong_type(&format!("{place}.role"), "a string", other)),
    };
    if let Some(name) = message["name"].as_str()
        && !is_name(name, 64)
    {
        return Err(bad_pattern(&format!("{place}.name")));
    }
    let speaks =
        ["tool_calls", "function_call", "refusal", "audio"].iter().any(|key| !message[*key].is_null());
    match &message["content"] {
        Value::String(_) => {}
        Value::Null if role == "assistant" && speaks => {}
        Value::Null => {
            return Err(Refusal::invalid("Invalid value for 'content': expected a string, got null.")
                .param(format!("messages.[{index}].content")));
        }
        Value::Array(parts) if parts.is_empty() => return Err(empty_array(&format!("{place}.content"))),
        Value::Array(parts) => {
            for (at, part) in parts.iter().enumerate() {
                check_part(index, at, role, part)?;
            }
        }
        other => {
            return Err(wrong_type(
                &format!("{place}.content"),
                "one of a string or array of objects",
                other,
            ));
        }
    }
    if role == "tool" && !message["tool_call_id"].is_string() {
        return Err(Refusal::invalid(
            "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.",
        )
        .param(format!("messages.[{index}].tool_call_id")));
    }
    if !message["tool_calls"].is_null() {
        check_calls(&place, role, &message["tool_calls"])?;
    }
    Ok(())
}

fn check_part(index: usize, at: usize, role: &str, part: &Value) -> Result<(), Refusal> {
    let place = format!("messages[{index}].content[{at}]");
    let kind = part["type"].as_str().unwrap_or_default();
    let field = match kind {
        "text" => "text",
        "image_url" | "input_audio" | "file" if role == "user" => kind,
        "refusal" if role == "assistant" => kind,
        "image_url" => {
            return Err(Refusal::invalid(format!(
                "Invalid 'messages[{index}]'. Image URLs are only allowed for messages with role 'user', but this message with role '{role}' contains an image URL."
            ))
            .param(format!("messages[{index}]"))
            .code("invalid_value"));
        }
        _ => {
            let supported = match role {
                "user" => "'text', 'image_url', 'input_audio', and 'file'",
                "assistant" => "'text' and 'refusal'",
                _ => "'text'",
            };
            return Err(Refusal::invalid(format!(
                "Invalid value: '{kind}'. Supported values are: {supported}."
            ))
            .param(format!("{place}.type"))
            .code("invalid_value"));
        }
    };
    let value = &part[field];
    match field {
        "text" | "refusal" if !value.is_string() => {
            Err(missing_or_wrong(&format!("{place}.{field}"), "a string", value))
        }
        "image_url" => match value["url"].as_str() {
            Some(url) if ["http://", "https://", "data:image/"].iter().any(|p| url.starts_with(p)) => Ok(()),
            Some(_) => Err(Refusal::invalid(format!(
                "Invalid '{place}.image_url.url'. Expected a valid URL, but got a value with an invalid format."
            ))
            .param(format!("{place}.image_url.url"))
            .code("invalid_value")),
            None => Err(missing_or_wrong(&format!("{place}.image_url.url"), "a string", &value["url"])),
        },
        "input_audio" | "file" if !value.is_object() => {
            Err(missing_or_wrong(&format!("{place}.{field}"), "an object", value))
        }
        _ => Ok(()),
    }
}

fn check_calls(place: &str, role: &str, calls: &Value) -> Result<(), Refusal> {
    let list = format!("{place}.tool_calls");
    if role != "assistant" {
        return Err(Refusal::invalid(format!(
            "Invalid '{list}': only messages with role 'assistant' can have 'tool_calls'."
        ))
        .param(list));
    }
    let calls = match calls {
        Value::Array(calls) if calls.is_empty() => return Err(empty_array(&list)),
        Value::Array(calls) => calls,
        other => return Err(wrong_type(&list, "an array of objects", other)),
    };
    let mut seen = HashSet::new();
    for (at, call) in calls.iter().enumerate() {
        let place = format!("{list}[{at}]");
        let id = match &call["id"] {
            Value::String(id) => id,
            other => return Err(missing_or_wrong(&format!("{place}.id"), "a string", other)),
        };
        if id.is_empty() {
            return Err(Refusal::invalid(format!(
                "Invalid '{place}.id': empty string. Expected a string with minimum length 1, but got an empty string instead."
            ))
            .param(format!("{place}.id"))
            .code("empty_string"));
        }
        if id.len() > 40 {
            return Err(Refusal::invalid(format!(
                "Invalid '{place}.id': string too long. Expected a string with maximum length 40, but got a string with length {} instead.",
                id.len()
            ))
            .param(format!("{place}.id"))
            .code("string_above_max_length"));
        }
        if !seen.insert(id.as_str()) {
            return Err(Refusal::invalid(format!(
                "Invalid parameter: Duplicate value for 'id' of '{id}' in '{list}'."
            ))
            .param(format!("{place}.id")));
        }
        if call["type"] != "function" {
            return Err(missing_or_wrong_value(&format!("{place}.type"), &call["type"], "'function'"));
        }
        match &call["function"]["name"] {
            Value::String(name) if is_name(name, 64) => {}
            Value::String(_) => return Err(bad_pattern(&format!("{place}.function.name"))),
            other => return Err(missing_or_wrong(&format!("{place}.function.name"), "a string", other)),
        }
        let arguments = &call["function"]["arguments"];
        if !arguments.is_string() {
            return Err(missing_or_wrong(&format!("{place}.function.arguments"), "a string", arguments));
        }
    }
    Ok(())
}

/// Every call is answered right after it, once, and nothing else is.
fn check_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    let mut asked: Vec<&str> = Vec::new();
    let mut answered: Vec<(&str, usize)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            if asked.is_empty() {
                return Err(Refusal::invalid(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                )
                .param(format!("messages.[{index}].role")));
            }
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let param = format!("messages.[{index}].tool_call_id");
            if let Some((_, first)) = answered.iter().find(|(known, _)| *known == id) {
                return Err(Refusal::invalid(format!(
                    "Invalid parameter: Duplicate value for 'tool_call_id' of '{id}', in messages[{first}] and messages[{index}]."
                ))
                .param(param));
            }
            if !asked.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message."
                ))
                .param(param));
            }
            open.retain(|other| *other != id);
            answered.push((id, index));
            continue;
        }
        unanswered(&open, index)?;
        answered.clear();
        asked = message["tool_calls"]
            .as_array()
            .map(|calls| calls.iter().filter_map(|call| call["id"].as_str()).collect())
            .unwrap_or_default();
        open = asked.clone();
    }
    unanswered(&open, messages.len())
}

fn unanswered(open: &[&str], index: usize) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    ))
    .param(format!("messages.[{index}].role")))
}
