//! What Ollama refuses in a chat request.
//!
//! The server itself is lenient: it ignores fields and options it does not know, and renders a conversation
//! whose tool results are out of place into a prompt that misleads the model. Nobody would see such a mistake,
//! so these are refused here, with words of our own; the types are those of the server's structures.

use serde_json::Value;

use crate::refusal::{Refusal, type_name};

const PARAMETERS: &[&str] = &[
    "_debug_render_only",
    "format",
    "keep_alive",
    "logprobs",
    "messages",
    "model",
    "options",
    "shift",
    "stream",
    "think",
    "tools",
    "top_logprobs",
    "truncate",
];

const INTEGERS: &[&str] = &[
    "draft_num_predict",
    "main_gpu",
    "num_batch",
    "num_ctx",
    "num_gpu",
    "num_keep",
    "num_predict",
    "num_thread",
    "repeat_last_n",
    "seed",
    "top_k",
];
const FLOATS: &[&str] = &[
    "frequency_penalty",
    "min_p",
    "presence_penalty",
    "repeat_penalty",
    "temperature",
    "top_p",
    "typical_p",
];

/// Checks a request's body.
pub(crate) fn check(body: &Value) -> Result<(), Refusal> {
    let Some(fields) = body.as_object() else {
        return Err(mismatch(body, "Go value", "api.ChatRequest"));
    };
    match &body["model"] {
        Value::String(model) if !model.is_empty() => {}
        Value::Null | Value::String(_) => return Err(Refusal::invalid("model is required")),
        other => return Err(field_mismatch(other, "model", "string")),
    }
    if let Some(unknown) = fields.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
        return Err(Refusal::invalid(format!("unknown field {unknown:?}: the server would ignore it")));
    }
    for name in ["stream", "truncate", "shift", "logprobs"] {
        if !matches!(body[name], Value::Null | Value::Bool(_)) {
            return Err(field_mismatch(&body[name], name, "bool"));
        }
    }
    check_think(&body["think"])?;
    check_keep_alive(&body["keep_alive"])?;
    check_options(&body["options"])?;
    match &body["format"] {
        Value::Null | Value::Object(_) => {}
        Value::String(format) if format == "json" || format.is_empty() => {}
        other => {
            return Err(Refusal::invalid(format!(
                "invalid format: {other}; expected \"json\" or a valid JSON Schema object"
            )));
        }
    }
    check_tools(&body["tools"])?;
    match &body["messages"] {
        Value::Array(messages) if !messages.is_empty() => {
            messages.iter().try_for_each(check_message)?;
            check_order(messages)
        }
        Value::Null | Value::Array(_) => {
            Err(Refusal::invalid("messages is empty: the server would only load the model"))
        }
        other => Err(field_mismatch(other, "messages", "[]api.Message")),
    }
}

fn mismatch(got: &Value, place: &str, kind: &str) -> Refusal {
    let name = type_name(got);
    let name = name.strip_prefix("a ").or_else(|| name.strip_prefix("an ")).unwrap_or(name);
    let name = match got {
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        _ => name,
    };
    Refusal::invalid(format!("json: cannot unmarshal {name} into {place} of type {kind}"))
}

fn field_mismatch(got: &Value, field: &str, kind: &str) -> Refusal {
    mismatch(got, &format!("Go struct field ChatRequest.{field}"), kind)
}

fn check_think(think: &Value) -> Result<(), Refusal> {
    match think {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::String(level) if ["high", "medium", "low", "max"].contains(&level.as_str()) => Ok(()),
        Value::String(level) => Err(Refusal::invalid(format!(
            "invalid think value: {level:?} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"
        ))),
        _ => Err(Refusal::invalid(
            "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)",
        )),
    }
}

/// Seconds, or a duration as Go writes it: `5m`, `1h30m`, `-1`.
fn check_keep_alive(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Null | Value::Number(_) => Ok(()),
        Value::String(text) => {
            let rest = text.strip_prefix('-').unwrap_or(text);
            let mut numbers = rest.split(|letter: char| letter.is_ascii_alphabetic() || letter == 'µ');
            let ends = rest == "0" || rest.ends_with(|letter: char| letter.is_ascii_alphabetic());
            let digits = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            if ends && !rest.starts_with(char::is_alphabetic) && numbers.all(digits) {
                return Ok(());
            }
            Err(Refusal::invalid(format!("time: invalid duration {text:?}")))
        }
        _ => Err(Refusal::invalid("Unsupported type: 'keep_alive'")),
    }
}

fn check_options(options: &Value) -> Result<(), Refusal> {
    let options = match options {
        Value::Null => return Ok(()),
        Value::Object(options) => options,
        other => return Err(field_mismatch(other, "options", "map[string]interface {}")),
    };
    for (name, value) in options {
        let (fits, kind) = match name.as_str() {
            name if INTEGERS.contains(&name) => (value.is_i64() || value.is_u64(), "integer"),
            name if FLOATS.contains(&name) => (value.is_number(), "float32"),
            "use_mmap" => (value.is_boolean(), "boolean"),
            "stop" => (value.as_array().is_some_and(|all| all.iter().all(Value::is_string)), "array"),
            _ => {
                return Err(Refusal::invalid(format!(
                    "invalid option provided: {name:?}: the server would ignore it"
                )));
            }
        };
        if !fits {
            return Err(Refusal::invalid(format!("option {name:?} must be of type {kind}")));
        }
    }
    Ok(())
}

fn check_tools(tools: &Value) -> Result<(), Refusal> {
    let tools = match tools {
        Value::Null => return Ok(()),
        Value::Array(tools) => tools,
        other => return Err(field_mismatch(other, "tools", "api.Tools")),
    };
    for (at, tool) in tools.iter().enumerate() {
        if tool["type"] != "function" {
            return Err(Refusal::invalid(format!("tools[{at}].type must be \"function\"")));
        }
        let function = &tool["function"];
        if function["name"].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::invalid(format!("tools[{at}].function.name is missing")));
        }
        let parameters = &function["parameters"];
        if parameters["type"] != "object" {
            return Err(Refusal::invalid(format!("tools[{at}].function.parameters.type must be \"object\"")));
        }
        let place = "tools.function.parameters";
        match &parameters["properties"] {
            Value::Null | Value::Object(_) => {}
            other => {
                return Err(field_mismatch(other, &format!("{place}.properties"), "api.ToolPropertiesMap"));
            }
        }
        match &parameters["required"] {
            Value::Null => {}
            Value::Array(names) if names.iter().all(Value::is_string) => {}
            other => return Err(field_mismatch(other, &format!("{place}.required"), "[]string")),
        }
        for property in parameters["properties"].as_object().into_iter().flat_map(|all| all.values()) {
            match &property["type"] {
                Value::Null | Value::String(_) => {}
                Value::Array(names) if names.iter().all(Value::is_string) => {}
                other => return Err(field_mismatch(other, &format!("{place}.properties.type"), "string")),
            }
        }
    }
    Ok(())
}

fn check_message(message: &Value) -> Result<(), Refusal> {
    if !message.is_object() {
        return Err(field_mismatch(message, "messages", "api.Message"));
    }
    let known = ["content", "images", "role", "thinking", "tool_call_id", "tool_calls", "tool_name"];
    let unknown = message.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str())));
    if let Some(unknown) = unknown {
        return Err(Refusal::invalid(format!(
            "unknown field messages.{unknown}: the server would ignore it"
        )));
    }
    for name in ["content", "role", "thinking", "tool_call_id", "tool_name"] {
        if !matches!(message[name], Value::Null | Value::String(_)) {
            return Err(field_mismatch(&message[name], &format!("messages.{name}"), "string"));
        }
    }
    let role = message["role"].as_str().unwrap_or_default();
    if !["system", "user", "assistant", "tool"].contains(&role) {
        return Err(Refusal::invalid(format!(
            "invalid role: {role:?}, must be one of system, user, assistant or tool"
        )));
    }
    for image in list(&message["images"], "messages.images", "[]api.ImageData")? {
        // The data alone, without a prefix that names its type.
        let is_base64 = |text: &str| {
            text.len().is_multiple_of(4)
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        };
        if !image.as_str().is_some_and(is_base64) {
            return Err(Refusal::invalid("illegal base64 data at input byte 4"));
        }
    }
    for call in list(&message["tool_calls"], "messages.tool_calls", "[]api.ToolCall")? {
        if role != "assistant" {
            return Err(Refusal::invalid(format!("messages.tool_calls in a message of role {role:?}")));
        }
        let function = &call["function"];
        if function["name"].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::invalid("messages.tool_calls.function.name is missing"));
        }
        if !function["arguments"].is_object() {
            let place = "messages.tool_calls.function.arguments";
            return Err(field_mismatch(&function["arguments"], place, "map[string]interface {}"));
        }
        if !matches!(call["id"], Value::Null | Value::String(_)) {
            return Err(field_mismatch(&call["id"], "messages.tool_calls.id", "string"));
        }
    }
    Ok(())
}

fn list<'a>(value: &'a Value, field: &str, kind: &str) -> Result<&'a [Value], Refusal> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(all) => Ok(all),
        other => Err(field_mismatch(other, field, kind)),
    }
}

/// Every call is answered right after it, once, and nothing else is.
fn check_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&Value> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let (id, name) = (&message["tool_call_id"], &message["tool_name"]);
            if id.is_null() && name.is_null() {
                return Err(Refusal::invalid(
                    "a message of role tool has neither tool_name nor tool_call_id",
                ));
            }
            let fits = |call: &&Value| {
                (name.is_null() || call["function"]["name"] == *name) && (id.is_null() || call["id"] == *id)
            };
            match open.iter().position(fits) {
                Some(at) => drop(open.remove(at)),
                None => {
                    return Err(Refusal::invalid(format!(
                        "a tool result of {name} with the id {id} answers no open tool call before it"
                    )));
                }
            }
            continue;
        }
        unanswered(&open)?;
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        open = calls.iter().collect();
    }
    unanswered(&open)
}

fn unanswered(open: &[&Value]) -> Result<(), Refusal> {
    match open.first() {
        None => Ok(()),
        Some(call) => Err(Refusal::invalid(format!(
            "the tool call of {} has no tool result after it",
            call["function"]["name"]
        ))),
    }
}
