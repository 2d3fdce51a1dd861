//! What OpenAI refuses in the order of items: calls and their outputs, reasoning and what it led to.

use serde_json::Value;

use super::item_rules::not_kept;
use crate::memory::Memory;
use crate::refusal::Refusal;
use crate::signature;
use crate::wire::Wire;

/// `earlier` are the items that the input continues.
pub(super) fn check(earlier: &[Value], input: &[Value], memory: &Memory) -> Result<(), Refusal> {
    check_calls(earlier, input)?;
    check_encrypted(input, memory)?;
    check_reasoning(input, memory)
}

fn refuse(message: String) -> Refusal {
    Refusal::invalid(message).param("input")
}

/// Every call has one output after it, and no output is without its call.
fn check_calls(earlier: &[Value], input: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    let mut answered: Vec<&str> = Vec::new();
    for item in earlier.iter().chain(input) {
        let id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") if open.contains(&id) => {
                return Err(refuse(format!("Duplicate function call with call_id {id}.")));
            }
            Some("function_call") => {
                answered.retain(|other| *other != id);
                open.push(id);
            }
            Some("function_call_output") => match open.iter().position(|other| *other == id) {
                Some(at) => answered.push(open.remove(at)),
                None if answered.contains(&id) => {
                    return Err(refuse(format!("Duplicate function call output with call_id {id}.")));
                }
                None => {
                    return Err(refuse(format!(
                        "No tool call found for function call output with call_id {id}."
                    )));
                }
            },
            _ => {}
        }
    }
    match open.first() {
        Some(open) => Err(refuse(format!("No tool output found for function call {open}."))),
        None => Ok(()),
    }
}

/// Encrypted content comes back unchanged; without it, the item must be kept by OpenAI.
fn check_encrypted(input: &[Value], memory: &Memory) -> Result<(), Refusal> {
    for item in input.iter().filter(|item| item["type"] == "reasoning") {
        let id = item["id"].as_str();
        let place = id.map(|id| format!(" for item {id}")).unwrap_or_default();
        let unverified = |why: &str| {
            Err(Refusal::invalid(format!("The encrypted content{place} could not be verified. {why}"))
                .code("invalid_encrypted_content"))
        };
        match (item["encrypted_content"].as_str(), id) {
            (Some(content), id) => match signature::decrypt(content) {
                None => {
                    return unverified("Reason: Encrypted content could not be decrypted or parsed.");
                }
                Some(of) if id.is_some_and(|id| id != of) => {
                    return unverified("Reason: Encrypted content item_id did not match the target item id.");
                }
                Some(_) => {}
            },
            (None, Some(id)) if memory.keeps_item(id) => {}
            (None, id) => return Err(not_kept(id.unwrap_or_default())),
        }
    }
    Ok(())
}

/// The id of a reasoning item, by its content where it has none of its own.
fn reasoning_id(item: &Value) -> &str {
    item["id"]
        .as_str()
        .or_else(|| signature::decrypt(item["encrypted_content"].as_str()?))
        .unwrap_or_default()
}

/// Reasoning stands in front of what it led to, and that does not come without it.
///
/// The vendor looks at the ids of items; a call without one is known here by its call id, so that reasoning
/// that got lost is always seen.
fn check_reasoning(input: &[Value], memory: &Memory) -> Result<(), Refusal> {
    for (index, item) in input.iter().enumerate() {
        if item["type"] == "reasoning" {
            let next = input.get(index + 1);
            let follows = next.is_some_and(|next| match next["type"].as_str() {
                Some("function_call_output") => false,
                Some("message") | None => next["role"] == "assistant",
                Some(_) => true,
            });
            if !follows {
                return Err(refuse(format!(
                    "Item '{}' of type 'reasoning' was provided without its required following item.",
                    reasoning_id(item)
                )));
            }
        }
        if item["type"] != "function_call" {
            continue;
        }
        let id = item["id"].as_str().or(item["call_id"].as_str()).unwrap_or_default();
        let needed = memory.thinking(Wire::Responses, id).into_iter().flatten();
        let before = input.get(..index).unwrap_or_default();
        for needed in needed {
            let there = before.iter().any(|item| item["type"] == "reasoning" && reasoning_id(item) == needed);
            if !there {
                return Err(refuse(format!(
                    "Item '{id}' of type 'function_call' was provided without its required 'reasoning' item: '{needed}'."
                )));
            }
        }
    }
    Ok(())
}
