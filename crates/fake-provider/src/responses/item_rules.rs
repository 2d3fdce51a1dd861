//! What OpenAI refuses in the shape of an input item.

use std::collections::HashSet;

use serde_json::Value;

use super::rules::check_fields;
use crate::memory::Memory;
use crate::openai::refusals::{
    bad_pattern, empty_array, missing_or_wrong, missing_or_wrong_value, wrong_type,
};
use crate::refusal::{Refusal, is_name};

/// Items of tools that OpenAI carries out itself, which come back as they were sent.
const OTHER_ITEMS: &[&str] = &[
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "computer_call",
    "computer_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "shell_call",
    "shell_call_output",
    "web_search_call",
];

/// The shape of every item.
pub(super) fn check(items: &[Value], memory: &Memory) -> Result<(), Refusal> {
    let mut ids = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let place = format!("input[{index}]");
        if !item.is_object() {
            return Err(wrong_type(&place, "an object", item));
        }
        match item["type"].as_str() {
            None if item["type"].is_null() => check_message(&place, item)?,
            Some("message") => check_message(&place, item)?,
            Some("function_call") => check_call(&place, item)?,
            Some("function_call_output") => check_output(&place, item)?,
            Some("reasoning") => check_reasoning(&place, item)?,
            Some("item_reference") => check_reference(&place, item, memory)?,
            Some(other) if OTHER_ITEMS.contains(&other) => {}
            _ if memory.sent_odd(item) => {}
            _ => {
                let supported =
                    "'message', 'function_call', 'function_call_output', 'reasoning', and 'item_reference'";
                return Err(missing_or_wrong_value(&place, &item["type"], supported));
            }
        }
        if let Some(id) = item["id"].as_str()
            && !ids.insert(id)
        {
            return Err(Refusal::invalid(format!(
                "Duplicate item found with id {id}. Remove duplicate items from your input and try again."
            ))
            .param("input"));
        }
    }
    Ok(())
}

fn check_id(place: &str, item: &Value, prefix: &str) -> Result<(), Refusal> {
    match &item["id"] {
        Value::Null => Ok(()),
        Value::String(id) if id.starts_with(prefix) && id.len() <= 64 => Ok(()),
        Value::String(id) if id.starts_with(prefix) => Err(Refusal::invalid(format!(
            "Invalid '{place}.id': string too long. Expected a string with maximum length 64, but got a string with length {} instead.",
            id.len()
        ))
        .param(format!("{place}.id"))
        .code("string_above_max_length")),
        Value::String(id) => Err(Refusal::invalid(format!(
            "Invalid '{place}.id': '{id}'. Expected an ID that begins with '{prefix}'."
        ))
        .param(format!("{place}.id"))
        .code("invalid_value")),
        other => Err(wrong_type(&format!("{place}.id"), "a string", other)),
    }
}

fn check_status(place: &str, item: &Value) -> Result<(), Refusal> {
    match item["status"].as_str() {
        Some("in_progress" | "completed" | "incomplete") => Ok(()),
        None if item["status"].is_null() => Ok(()),
        _ => Err(missing_or_wrong_value(
            &format!("{place}.status"),
            &item["status"],
            "'in_progress', 'completed', and 'incomplete'",
        )),
    }
}

fn check_message(place: &str, item: &Value) -> Result<(), Refusal> {
    check_fields(place, item, &["content", "id", "phase", "role", "status", "type"])?;
    check_status(place, item)?;
    let role = match item["role"].as_str() {
        Some(role @ ("user" | "system" | "developer" | "assistant")) => role,
        _ => {
            return Err(missing_or_wrong_value(
                &format!("{place}.role"),
                &item["role"],
                "'assistant', 'system', 'developer', and 'user'",
            ));
        }
    };
    if role == "assistant" {
        check_id(place, item, "msg")?;
    }
    match &item["content"] {
        Value::String(_) => Ok(()),
        Value::Array(parts) if parts.is_empty() => Err(empty_array(&format!("{place}.content"))),
        Value::Array(parts) => {
            let check = |(at, part)| check_part(&format!("{place}.content[{at}]"), role, part);
            parts.iter().enumerate().try_for_each(check)
        }
        other => {
            Err(missing_or_wrong(&format!("{place}.content"), "one of an array of objects or string", other))
        }
    }
}

fn check_part(place: &str, role: &str, part: &Value) -> Result<(), Refusal> {
    let text = |name: &str| {
        let value = &part[name];
        if value.is_string() {
            return Ok(());
        }
        Err(missing_or_wrong(&format!("{place}.{name}"), "a string", value))
    };
    match (role, part["type"].as_str()) {
        ("assistant", Some("output_text")) => {
            check_fields(place, part, &["annotations", "logprobs", "text", "type"])?;
            text("text")
        }
        ("assistant", Some("refusal")) => {
            check_fields(place, part, &["refusal", "type"])?;
            text("refusal")
        }
        ("assistant", _) => Err(missing_or_wrong_value(place, &part["type"], "'output_text' and 'refusal'")),
        (_, Some("input_text" | "input_image" | "input_file")) => check_input_part(place, part),
        _ => Err(missing_or_wrong_value(
            place,
            &part["type"],
            "'input_text', 'input_image', 'output_text', 'refusal', 'input_file', 'computer_screenshot', and 'summary_text'",
        )),
    }
}

fn check_input_part(place: &str, part: &Value) -> Result<(), Refusal> {
    let has = |name: &str| part[name].is_string();
    match part["type"].as_str() {
        Some("input_text") => {
            check_fields(place, part, &["prompt_cache_breakpoint", "text", "type"])?;
            if has("text") {
                return Ok(());
            }
            Err(missing_or_wrong(&format!("{place}.text"), "a string", &part["text"]))
        }
        Some("input_image") => {
            let known = ["detail", "file_id", "image_url", "prompt_cache_breakpoint", "type"];
            check_fields(place, part, &known)?;
            let url = part["image_url"].as_str();
            let valid =
                |url: &str| ["http://", "https://", "data:image/"].iter().any(|it| url.starts_with(it));
            if has("file_id") || url.is_some_and(valid) {
                return Ok(());
            }
            let place = format!("{place}.image_url");
            match url {
                Some(_) => Err(Refusal::invalid(format!(
                    "Invalid '{place}'. Expected a valid URL, but got a value with an invalid format."
                ))
                .param(place)
                .code("invalid_value")),
                // An object with a url is the shape of Chat Completions.
                None => Err(missing_or_wrong(&place, "an image URL", &part["image_url"])),
            }
        }
        Some("input_file") => {
            let known =
                ["detail", "file_data", "file_id", "file_url", "filename", "prompt_cache_breakpoint", "type"];
            check_fields(place, part, &known)?;
            if ["file_data", "file_id", "file_url"].iter().any(|name| has(name)) {
                return Ok(());
            }
            Err(missing_or_wrong(&format!("{place}.file_id"), "a string", &part["file_id"]))
        }
        _ => {
            Err(missing_or_wrong_value(place, &part["type"], "'input_text', 'input_image', and 'input_file'"))
        }
    }
}

fn check_call(place: &str, item: &Value) -> Result<(), Refusal> {
    let known = ["arguments", "async", "call_id", "caller", "id", "name", "namespace", "status", "type"];
    check_fields(place, item, &known)?;
    check_id(place, item, "fc")?;
    check_status(place, item)?;
    check_call_id(place, item)?;
    match &item["name"] {
        Value::String(name) if is_name(name, 128) => {}
        Value::String(_) => return Err(bad_pattern(&format!("{place}.name"))),
        other => return Err(missing_or_wrong(&format!("{place}.name"), "a string", other)),
    }
    let arguments = &item["arguments"];
    if !arguments.is_string() {
        return Err(missing_or_wrong(&format!("{place}.arguments"), "a string", arguments));
    }
    Ok(())
}

fn check_call_id(place: &str, item: &Value) -> Result<(), Refusal> {
    let place = format!("{place}.call_id");
    match &item["call_id"] {
        Value::String(id) if id.is_empty() => Err(Refusal::invalid(format!(
            "Invalid '{place}': empty string. Expected a string with minimum length 1, but got an empty string instead."
        ))
        .param(place)
        .code("empty_string")),
        Value::String(id) if id.len() > 64 => Err(Refusal::invalid(format!(
            "Invalid '{place}': string too long. Expected a string with maximum length 64, but got a string with length {} instead.",
            id.len()
        ))
        .param(place)
        .code("string_above_max_length")),
        Value::String(_) => Ok(()),
        other => Err(missing_or_wrong(&place, "a string", other)),
    }
}

fn check_output(place: &str, item: &Value) -> Result<(), Refusal> {
    check_fields(place, item, &["call_id", "caller", "id", "output", "status", "type"])?;
    check_status(place, item)?;
    check_call_id(place, item)?;
    match &item["output"] {
        Value::String(_) => Ok(()),
        Value::Array(parts) => {
            let check = |(at, part)| check_input_part(&format!("{place}.output[{at}]"), part);
            parts.iter().enumerate().try_for_each(check)
        }
        other => {
            Err(missing_or_wrong(&format!("{place}.output"), "one of an array of objects or string", other))
        }
    }
}

fn check_reasoning(place: &str, item: &Value) -> Result<(), Refusal> {
    check_fields(place, item, &["content", "encrypted_content", "id", "status", "summary", "type"])?;
    check_id(place, item, "rs")?;
    check_status(place, item)?;
    let Some(summary) = item["summary"].as_array() else {
        return Err(missing_or_wrong(&format!("{place}.summary"), "an array of objects", &item["summary"]));
    };
    for (at, part) in summary.iter().enumerate() {
        let place = format!("{place}.summary[{at}]");
        if part["type"] != "summary_text" {
            return Err(missing_or_wrong_value(&format!("{place}.type"), &part["type"], "'summary_text'"));
        }
        if !part["text"].is_string() {
            return Err(missing_or_wrong(&format!("{place}.text"), "a string", &part["text"]));
        }
    }
    match &item["encrypted_content"] {
        Value::Null | Value::String(_) => Ok(()),
        other => Err(wrong_type(&format!("{place}.encrypted_content"), "a string", other)),
    }
}

fn check_reference(place: &str, item: &Value, memory: &Memory) -> Result<(), Refusal> {
    match item["id"].as_str() {
        Some(id) if memory.keeps_item(id) => Ok(()),
        Some(id) => Err(not_kept(id)),
        None => Err(missing_or_wrong(&format!("{place}.id"), "a string", &item["id"])),
    }
}

/// An item that is only named, but not kept.
pub(super) fn not_kept(id: &str) -> Refusal {
    Refusal::new(
        404,
        "invalid_request_error",
        format!(
            "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
        ),
    )
    .param("input")
}
