//! Requests that go on where a reply ended.

use ambidex_fake_provider::Wire;
use serde_json::{Value, json};

/// Id, name, arguments.
pub type Call = (String, String, String);

/// Adds a reply's calls, and the same result for each, as a client does it. `signature` is the one of Gemini's
/// first call.
pub fn answer(wire: Wire, body: &mut Value, text: &str, calls: &[Call], signature: &str, result: &str) {
    let list = match wire {
        Wire::OpenAi | Wire::Anthropic | Wire::Ollama => "messages",
        Wire::Responses => "input",
        Wire::Gemini => "contents",
    };
    let object = |arguments: &str| serde_json::from_str::<Value>(arguments).unwrap_or_else(|_| json!({}));
    let list = body[list].as_array_mut().unwrap();
    match wire {
        Wire::OpenAi => {
            let asked: Vec<Value> = calls
                .iter()
                .map(|(id, name, arguments)| {
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
                })
                .collect();
            let mut message = json!({"role": "assistant", "content": text});
            if !asked.is_empty() {
                message["tool_calls"] = Value::Array(asked);
            }
            list.push(message);
            list.extend(
                calls.iter().map(|(id, ..)| json!({"role": "tool", "tool_call_id": id, "content": result})),
            );
        }
        Wire::Anthropic => {
            let mut blocks = Vec::new();
            if !text.is_empty() {
                blocks.push(json!({"type": "text", "text": text}));
            }
            blocks.extend(calls.iter().map(|(id, name, arguments)| {
                json!({"type": "tool_use", "id": id, "name": name, "input": object(arguments)})
            }));
            list.push(json!({"role": "assistant", "content": blocks}));
            let results: Vec<Value> = calls
                .iter()
                .map(|(id, ..)| json!({"type": "tool_result", "tool_use_id": id, "content": result}))
                .collect();
            list.push(json!({"role": "user", "content": results}));
        }
        Wire::Responses => {
            if !text.is_empty() {
                list.push(json!({"role": "assistant", "content": [{"type": "output_text", "text": text}]}));
            }
            list.extend(calls.iter().map(|(id, name, arguments)| {
                json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments})
            }));
            list.extend(
                calls
                    .iter()
                    .map(|(id, ..)| json!({"type": "function_call_output", "call_id": id, "output": result})),
            );
        }
        Wire::Gemini => {
            let mut parts = Vec::new();
            if !text.is_empty() {
                parts.push(json!({"text": text}));
            }
            for (at, (id, name, arguments)) in calls.iter().enumerate() {
                let mut part = json!({"functionCall": {"id": id, "name": name, "args": object(arguments)}});
                if at == 0 {
                    part["thoughtSignature"] = json!(signature);
                }
                parts.push(part);
            }
            list.push(json!({"role": "model", "parts": parts}));
            let answers: Vec<Value> = calls
                .iter()
                .map(|(id, name, _)| {
                    json!({"functionResponse": {"id": id, "name": name, "response": {"output": result}}})
                })
                .collect();
            list.push(json!({"role": "user", "parts": answers}));
        }
        Wire::Ollama => {
            let asked: Vec<Value> = calls
                .iter()
                .map(|(id, name, arguments)| {
                    json!({"id": id, "function": {"name": name, "arguments": object(arguments)}})
                })
                .collect();
            list.push(json!({"role": "assistant", "content": text, "tool_calls": asked}));
            list.extend(calls.iter().map(|(id, name, _)| {
                json!({"role": "tool", "tool_call_id": id, "tool_name": name, "content": result})
            }));
        }
    }
}

/// Changes what the user says.
pub fn ask(wire: Wire, body: &mut Value, text: &str) {
    match wire {
        Wire::OpenAi | Wire::Ollama => body["messages"][1]["content"] = json!(text),
        Wire::Anthropic => body["messages"][0]["content"] = json!(text),
        Wire::Responses => body["input"] = json!(text),
        Wire::Gemini => body["contents"][0]["parts"][0]["text"] = json!(text),
    }
}

/// A signature that says that the call was made elsewhere.
pub const ELSEWHERE: &str = "skip_thought_signature_validator";
