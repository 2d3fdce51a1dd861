//! What Anthropic refuses in a Messages request.
//!
//! The wording follows the errors people have quoted in public issues.

use std::collections::HashSet;

use serde_json::Value;

use super::block_rules;
use crate::memory::Memory;
use crate::refusal::{Refusal, is_name};
use crate::schema_rules;

const PARAMETERS: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Checks a request's body. `prefill` allows a conversation that ends with the assistant; `memory` knows the
/// thinking that went out before each call, which has to come back.
pub(crate) fn check(body: &Value, prefill: bool, memory: &Memory) -> Result<(), Refusal> {
    let Some(fields) = body.as_object() else {
        return Err(Refusal::invalid("Input should be a valid dictionary or object"));
    };
    match &body["model"] {
        Value::String(model) if !model.is_empty() => {}
        Value::String(_) => return Err(Refusal::invalid("model: String should have at least 1 character")),
        other => return Err(field("model", "Input should be a valid string", other)),
    }
    let max_tokens = match &body["max_tokens"] {
        value if value.as_u64().is_some_and(|tokens| tokens >= 1) => value.as_u64().unwrap_or(1),
        value if value.is_i64() || value.is_u64() => {
            return Err(Refusal::invalid("max_tokens: Input should be greater than or equal to 1"));
        }
        other => return Err(field("max_tokens", "Input should be a valid integer", other)),
    };
    if let Some(unknown) = fields.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(Refusal::invalid(format!("{unknown}: Extra inputs are not permitted")));
    }
    let messages = match &body["messages"] {
        Value::Array(messages) if messages.is_empty() => {
            return Err(Refusal::invalid("messages: at least one message is required"));
        }
        Value::Array(messages) => messages,
        other => return Err(field("messages", "Input should be a valid list", other)),
    };
    check_system(&body["system"])?;
    let thinks = check_thinking(body, max_tokens)?;
    check_numbers(body, thinks)?;
    check_roles(messages, prefill, thinks)?;
    block_rules::check_messages(messages)?;
    block_rules::check_order(messages)?;
    block_rules::check_thinking(messages, thinks, memory)?;
    check_tools(&body["tools"])?;
    check_tool_choice(body, thinks)?;
    check_cache_marks(body)?;
    check_output(body)
}

/// What the API version 2026-10-21 refuses besides.
pub(crate) fn check_2026(body: &Value) -> Result<(), Refusal> {
    if let Some(gone) = ["temperature", "top_p", "top_k"].iter().find(|name| !body[**name].is_null()) {
        return Err(Refusal::invalid(format!("{gone}: Extra inputs are not permitted")));
    }
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "user") {
        for (at, block) in message["content"].as_array().into_iter().flatten().enumerate() {
            if block["citations"].as_array().is_some_and(|all| !all.is_empty()) {
                return Err(Refusal::invalid(format!(
                    "messages.{index}.content.{at}.text.citations: citations are not permitted in user messages"
                )));
            }
        }
    }
    Ok(())
}

/// A field that is missing or of the wrong type.
pub(super) fn field(place: &str, wanted: &str, got: &Value) -> Refusal {
    match got {
        Value::Null => Refusal::invalid(format!("{place}: Field required")),
        _ => Refusal::invalid(format!("{place}: {wanted}")),
    }
}

fn check_system(system: &Value) -> Result<(), Refusal> {
    match system {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(blocks) => {
            for (index, block) in blocks.iter().enumerate() {
                if block["type"] != "text" {
                    return Err(field(
                        &format!("system.{index}.type"),
                        "Input should be 'text'",
                        &block["type"],
                    ));
                }
                match block["text"].as_str() {
                    Some("") => {
                        return Err(Refusal::invalid("system: text content blocks must be non-empty"));
                    }
                    Some(_) => {}
                    None => {
                        let wanted = "Input should be a valid string";
                        return Err(field(&format!("system.{index}.text"), wanted, &block["text"]));
                    }
                }
            }
            Ok(())
        }
        _ => Err(Refusal::invalid("system: Input should be a valid string or list")),
    }
}

/// Whether thinking is on.
fn check_thinking(body: &Value, max_tokens: u64) -> Result<bool, Refusal> {
    let thinking = &body["thinking"];
    match (thinking, thinking["type"].as_str()) {
        (Value::Null, _) | (_, Some("disabled")) => Ok(false),
        (_, Some("adaptive")) => Ok(true),
        (_, Some("enabled")) => match thinking["budget_tokens"].as_u64() {
            None => Err(field(
                "thinking.enabled.budget_tokens",
                "Input should be a valid integer",
                &thinking["budget_tokens"],
            )),
            Some(budget) if budget < 1024 => Err(Refusal::invalid(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            )),
            Some(budget) if budget >= max_tokens => Err(Refusal::invalid(
                "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
            )),
            Some(_) => Ok(true),
        },
        _ => Err(Refusal::invalid(format!(
            "thinking: Input tag {} found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'",
            thinking["type"]
        ))),
    }
}

fn check_numbers(body: &Value, thinks: bool) -> Result<(), Refusal> {
    for name in ["temperature", "top_p"] {
        match &body[name] {
            Value::Null => {}
            Value::Number(number) if !(0.0..=1.0).contains(&number.as_f64().unwrap_or(-1.0)) => {
                return Err(Refusal::invalid(format!("{name}: range: 0..1, but got {number}")));
            }
            Value::Number(_) => {}
            other => return Err(field(name, "Input should be a valid number", other)),
        }
    }
    if thinks && !body["temperature"].is_null() && body["temperature"].as_f64() != Some(1.0) {
        return Err(Refusal::invalid(
            "`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking",
        ));
    }
    if !matches!(body["stream"], Value::Null | Value::Bool(_)) {
        return Err(Refusal::invalid("stream: Input should be a valid boolean"));
    }
    match &body["stop_sequences"] {
        Value::Null => Ok(()),
        Value::Array(stops) => {
            match stops.iter().position(|stop| stop.as_str().is_none_or(|stop| stop.trim().is_empty())) {
                None => Ok(()),
                Some(at) => Err(Refusal::invalid(format!(
                    "stop_sequences.{at}: each stop sequence must contain non-whitespace"
                ))),
            }
        }
        other => Err(field("stop_sequences", "Input should be a valid list", other)),
    }
}

fn check_roles(messages: &[Value], prefill: bool, thinks: bool) -> Result<(), Refusal> {
    for (index, message) in messages.iter().enumerate() {
        match &message["role"] {
            Value::String(role) if role == "user" || role == "assistant" => {}
            Value::String(role) if role == "system" => {
                return Err(Refusal::invalid(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role.",
                ));
            }
            other => {
                let place = format!("messages.{index}.role");
                return Err(field(&place, "Input should be 'user' or 'assistant'", other));
            }
        }
    }
    if messages.first().is_some_and(|message| message["role"] != "user") {
        return Err(Refusal::invalid("messages: first message must use the \"user\" role"));
    }
    let Some(last) = messages.last().filter(|message| message["role"] == "assistant") else { return Ok(()) };
    if !prefill || thinks {
        return Err(Refusal::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let text = match &last["content"] {
        Value::Array(blocks) => blocks.last().and_then(|block| block["text"].as_str()),
        other => other.as_str(),
    };
    if text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err(Refusal::invalid(
            "messages: final assistant content cannot end with trailing whitespace",
        ));
    }
    Ok(())
}

fn check_tools(tools: &Value) -> Result<(), Refusal> {
    let tools = match tools {
        Value::Null => return Ok(()),
        Value::Array(tools) => tools,
        other => return Err(field("tools", "Input should be a valid list", other)),
    };
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = tool["name"].as_str();
        // Tools of the vendor's own have a dated type and no schema.
        if tool["type"].is_null() || tool["type"] == "custom" {
            let place = format!("tools.{index}.custom");
            match name {
                None => {
                    return Err(field(
                        &format!("{place}.name"),
                        "Input should be a valid string",
                        &tool["name"],
                    ));
                }
                Some(name) if is_name(name, 128) => {}
                Some(_) => {
                    return Err(Refusal::invalid(format!(
                        "{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
                    )));
                }
            }
            check_input_schema(&place, tool)?;
        }
        if let Some(name) = name
            && !names.insert(name)
        {
            return Err(Refusal::invalid("tools: Tool names must be unique."));
        }
    }
    Ok(())
}

fn check_input_schema(place: &str, tool: &Value) -> Result<(), Refusal> {
    let schema = &tool["input_schema"];
    let place = format!("{place}.input_schema");
    if !schema.is_object() {
        return Err(field(&place, "Input should be a valid dictionary", schema));
    }
    if schema["type"] != "object" {
        return Err(field(&format!("{place}.type"), "Input should be 'object'", &schema["type"]));
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|key| !schema[*key].is_null()) {
        return Err(Refusal::invalid(format!(
            "{place}: input_schema does not support oneOf, allOf, or anyOf at the top level"
        )));
    }
    let invalid = |why: String| {
        Refusal::invalid(format!(
            "{place}: JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). {why}"
        ))
    };
    schema_rules::check_valid(schema, "").map_err(invalid)?;
    if tool["strict"] == true {
        let refuse = |why| Refusal::invalid(format!("{place}: {why}"));
        schema_rules::check_output_format(schema, "").map_err(refuse)?;
    }
    Ok(())
}

fn check_tool_choice(body: &Value, thinks: bool) -> Result<(), Refusal> {
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(());
    }
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = match &choice["type"] {
        Value::String(kind) if ["auto", "any", "tool", "none"].contains(&kind.as_str()) => kind.as_str(),
        other => {
            return Err(Refusal::invalid(format!(
                "tool_choice: Input tag {other} found using 'type' does not match any of the expected tags: 'any', 'auto', 'none', 'tool'"
            )));
        }
    };
    if tools.is_empty() {
        return Err(Refusal::invalid(
            "tool_choice: tool_choice may only be specified while providing tools.",
        ));
    }
    if kind == "tool" {
        let Some(name) = choice["name"].as_str() else {
            return Err(field("tool_choice.tool.name", "Input should be a valid string", &choice["name"]));
        };
        if !tools.iter().any(|tool| tool["name"] == name) {
            return Err(Refusal::invalid(format!("Tool '{name}' not found in provided tools")));
        }
    }
    if thinks && (kind == "tool" || kind == "any") {
        return Err(Refusal::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(())
}

fn check_cache_marks(body: &Value) -> Result<(), Refusal> {
    fn count(value: &Value) -> usize {
        match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(fields) => {
                let content = fields.get("content").map_or(0, count);
                content + usize::from(fields.get("cache_control").is_some_and(|mark| !mark.is_null()))
            }
            _ => 0,
        }
    }
    let marks = count(&body["system"]) + count(&body["tools"]) + count(&body["messages"]);
    if marks > 4 {
        return Err(Refusal::invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {marks}."
        )));
    }
    Ok(())
}

fn check_output(body: &Value) -> Result<(), Refusal> {
    for (place, format) in [
        ("output_config.format", &body["output_config"]["format"]),
        ("output_format", &body["output_format"]),
    ] {
        if format.is_null() {
            continue;
        }
        if format["type"] != "json_schema" {
            return Err(field(&format!("{place}.type"), "Input should be 'json_schema'", &format["type"]));
        }
        let schema = &format["schema"];
        if !schema.is_object() {
            return Err(field(&format!("{place}.schema"), "Input should be a valid dictionary", schema));
        }
        schema_rules::check_valid(schema, "")
            .and_then(|()| schema_rules::check_output_format(schema, ""))
            .map_err(|why| Refusal::invalid(format!("{place}.schema: {why}")))?;
    }
    Ok(())
}
