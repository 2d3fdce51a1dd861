//! What Anthropic refuses in the content of messages.

use std::collections::HashSet;

use serde_json::Value;

use super::rules::field;
use crate::memory::Memory;
use crate::refusal::{Refusal, is_name};
use crate::signature;
use crate::wire::Wire;

const BLOCKS: &[&str] = &[
    "container_upload",
    "document",
    "image",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
    "web_fetch_tool_result",
    "web_search_tool_result",
];

/// The shape of every message and block.
pub(super) fn check_messages(messages: &[Value]) -> Result<(), Refusal> {
    let mut ids = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        let place = format!("messages.{index}");
        let may_be_empty = message["role"] == "assistant" && index + 1 == messages.len();
        let empty = || {
            Err(Refusal::invalid(format!(
                "{place}: all messages must have non-empty content except for the optional final assistant message"
            )))
        };
        match &message["content"] {
            Value::String(text) if text.is_empty() && !may_be_empty => return empty(),
            Value::String(text) if text.trim().is_empty() && !may_be_empty => {
                return Err(Refusal::invalid(
                    "messages: text content blocks must contain non-whitespace text",
                ));
            }
            Value::String(_) => {}
            Value::Array(blocks) if blocks.is_empty() && !may_be_empty => return empty(),
            Value::Array(blocks) => {
                for (at, block) in blocks.iter().enumerate() {
                    check_block(message, &place, &format!("{place}.content.{at}"), block)?;
                    if block["type"] == "tool_use"
                        && let Some(id) = block["id"].as_str()
                        && !ids.insert(id)
                    {
                        return Err(Refusal::invalid(format!(
                            "{place}.content.{at}: `tool_use` ids must be unique"
                        )));
                    }
                }
            }
            other => {
                let wanted = "Input should be a valid string or list";
                return Err(field(&format!("{place}.content"), wanted, other));
            }
        }
    }
    Ok(())
}

fn check_block(message: &Value, place: &str, at: &str, block: &Value) -> Result<(), Refusal> {
    let assistant = message["role"] == "assistant";
    let Some(kind) = block["type"].as_str().filter(|kind| BLOCKS.contains(kind)) else {
        if block["type"].is_null() {
            return Err(Refusal::invalid(format!("{at}.type: Field required")));
        }
        let tags = BLOCKS.iter().map(|tag| format!("'{tag}'")).collect::<Vec<_>>().join(", ");
        let got = block["type"].as_str().unwrap_or_default();
        return Err(Refusal::invalid(format!(
            "{at}: Input tag '{got}' found using 'type' does not match any of the expected tags: {tags}"
        )));
    };
    match kind {
        "tool_use" | "thinking" | "redacted_thinking" if !assistant => {
            return Err(Refusal::invalid(format!(
                "{place}: `{kind}` blocks can only be in `assistant` messages"
            )));
        }
        "tool_result" | "image" | "document" if assistant => {
            return Err(Refusal::invalid(format!("{place}: `{kind}` blocks can only be in `user` messages")));
        }
        _ => {}
    }
    match kind {
        "text" => check_text(at, block),
        "image" | "document" => check_source(&format!("{at}.{kind}"), kind, &block["source"]),
        "thinking" => ["thinking", "signature"].iter().try_for_each(|name| {
            let value = &block[*name];
            if value.is_string() {
                return Ok(());
            }
            Err(field(&format!("{at}.thinking.{name}"), "Input should be a valid string", value))
        }),
        "tool_use" => check_tool_use(&format!("{at}.tool_use"), block),
        "tool_result" => check_tool_result(&format!("{at}.tool_result"), block),
        _ => Ok(()),
    }
}

fn check_text(at: &str, block: &Value) -> Result<(), Refusal> {
    match block["text"].as_str() {
        None => Err(field(&format!("{at}.text.text"), "Input should be a valid string", &block["text"])),
        Some("") if !block["cache_control"].is_null() => {
            Err(Refusal::invalid(format!("{at}.text: cache_control cannot be set for empty text blocks")))
        }
        Some("") => Err(Refusal::invalid("messages: text content blocks must be non-empty")),
        Some(text) if text.trim().is_empty() => {
            Err(Refusal::invalid("messages: text content blocks must contain non-whitespace text"))
        }
        Some(_) => Ok(()),
    }
}

fn check_source(at: &str, kind: &str, source: &Value) -> Result<(), Refusal> {
    let place = format!("{at}.source");
    let need = |name: &str| {
        if source[name].is_string() {
            return Ok(());
        }
        Err(field(&format!("{place}.{name}"), "Input should be a valid string", &source[name]))
    };
    match source["type"].as_str() {
        Some("base64") => {
            need("data")?;
            need("media_type")?;
            let media = source["media_type"].as_str().unwrap_or_default();
            let images = ["image/jpeg", "image/png", "image/gif", "image/webp"];
            if kind == "image" && !images.contains(&media) {
                return Err(Refusal::invalid(format!(
                    "{place}.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
                )));
            }
            Ok(())
        }
        Some("url") => need("url"),
        Some("file") => need("file_id"),
        Some("text") if kind == "document" => need("data"),
        Some("content") if kind == "document" => Ok(()),
        _ => Err(field(&place, "Input tag does not match any of the expected tags", &source["type"])),
    }
}

fn check_tool_use(at: &str, block: &Value) -> Result<(), Refusal> {
    match &block["id"] {
        Value::String(id) if is_name(id, usize::MAX) => {}
        Value::String(_) => {
            return Err(Refusal::invalid(format!("{at}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")));
        }
        other => return Err(field(&format!("{at}.id"), "Input should be a valid string", other)),
    }
    match &block["name"] {
        Value::String(name) if name.is_empty() => {
            return Err(Refusal::invalid(format!("{at}.name: String should have at least 1 character")));
        }
        Value::String(name) if name.len() > 200 => {
            return Err(Refusal::invalid(format!("{at}.name: String should have at most 200 characters")));
        }
        Value::String(_) => {}
        other => return Err(field(&format!("{at}.name"), "Input should be a valid string", other)),
    }
    if !block["input"].is_object() {
        return Err(field(&format!("{at}.input"), "Input should be a valid dictionary", &block["input"]));
    }
    Ok(())
}

fn check_tool_result(at: &str, block: &Value) -> Result<(), Refusal> {
    match &block["tool_use_id"] {
        Value::String(id) if is_name(id, usize::MAX) => {}
        Value::String(_) => {
            return Err(Refusal::invalid(format!(
                "{at}.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            )));
        }
        other => return Err(field(&format!("{at}.tool_use_id"), "Input should be a valid string", other)),
    }
    if !matches!(block["is_error"], Value::Null | Value::Bool(_)) {
        return Err(Refusal::invalid(format!("{at}.is_error: Input should be a valid boolean")));
    }
    let empty = match &block["content"] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(blocks) => {
            for (index, inner) in blocks.iter().enumerate() {
                let place = format!("{at}.content.{index}");
                match inner["type"].as_str() {
                    Some("text") => check_text(&place, inner)?,
                    Some(kind @ ("image" | "document")) => {
                        check_source(&format!("{place}.{kind}"), kind, &inner["source"])?;
                    }
                    Some("search_result" | "tool_reference") => {}
                    _ => {
                        return Err(Refusal::invalid(format!(
                            "{place}: Input tag {} found using 'type' does not match any of the expected tags: 'document', 'image', 'search_result', 'text', 'tool_reference'",
                            inner["type"]
                        )));
                    }
                }
            }
            blocks.is_empty()
        }
        _ => return Err(Refusal::invalid(format!("{at}.content: Input should be a valid string or list"))),
    };
    if empty && block["is_error"] == true {
        return Err(Refusal::invalid(format!("{at}: content cannot be empty if `is_error` is true")));
    }
    Ok(())
}

/// Every call is answered once, at the start of the next message, and nothing else is.
pub(super) fn check_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut asked: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut answered: Vec<&str> = Vec::new();
        for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block["type"] == "tool_result") {
            let id = block["tool_use_id"].as_str().unwrap_or_default();
            if !asked.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )));
            }
            if answered.contains(&id) {
                return Err(Refusal::invalid(format!(
                    "messages.{index}.content.{at}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
                )));
            }
            answered.push(id);
        }
        missing(&asked, &answered, index)?;
        let leading = blocks.iter().take_while(|block| block["type"] == "tool_result").count();
        if leading < answered.len() {
            return Err(Refusal::invalid(format!(
                "messages.{index}: Did not find {} `tool_result` block(s) at the beginning of this message. Messages following `tool_use` blocks must begin with a matching number of `tool_result` blocks.",
                answered.len() - leading
            )));
        }
        asked = blocks
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .filter_map(|block| block["id"].as_str())
            .collect();
    }
    missing(&asked, &[], messages.len())
}

fn missing(asked: &[&str], answered: &[&str], index: usize) -> Result<(), Refusal> {
    let open: Vec<&str> = asked.iter().copied().filter(|id| !answered.contains(id)).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        index.saturating_sub(1),
        open.join(", ")
    )))
}

/// Thinking comes back as it was sent: signed, and in front of the calls it led to.
pub(super) fn check_thinking(messages: &[Value], thinks: bool, memory: &Memory) -> Result<(), Refusal> {
    let last_assistant = messages.iter().rposition(|message| message["role"] == "assistant");
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message["role"] == "assistant")
    {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut back: Vec<&str> = Vec::new();
        for (at, block) in blocks.iter().enumerate() {
            let place = format!("messages.{index}.content.{at}");
            match block["type"].as_str() {
                Some("thinking") => {
                    let signed = block["signature"].as_str().unwrap_or_default();
                    if !signature::verify(block["thinking"].as_str().unwrap_or_default(), signed) {
                        return Err(Refusal::invalid(format!(
                            "{place}: Invalid `signature` in `thinking` block"
                        )));
                    }
                    back.push(signed);
                }
                Some("redacted_thinking") => {
                    let data = block["data"].as_str().unwrap_or_default();
                    if !signature::verify_redacted(data) {
                        return Err(Refusal::invalid(format!(
                            "{place}: Invalid `data` in `redacted_thinking` block"
                        )));
                    }
                    back.push(data);
                }
                _ => {}
            }
        }
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
        let Some(wanted) =
            calls.filter_map(|call| memory.thinking(Wire::Anthropic, call["id"].as_str()?)).next()
        else {
            continue;
        };
        if !thinks || Some(index) != last_assistant || back == *wanted {
            continue;
        }
        let first = blocks.first().and_then(|block| block["type"].as_str()).unwrap_or_default();
        if first != "thinking" && first != "redacted_thinking" {
            return Err(Refusal::invalid(format!(
                "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
            )));
        }
        return Err(Refusal::invalid(format!(
            "messages.{index}.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must remain as they were in the original response."
        )));
    }
    Ok(())
}
