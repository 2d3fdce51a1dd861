//! The reader's other formats.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::reader::{Answer, string};

pub fn responses_body(body: &Value) -> Result<Answer, String> {
    let status = body["status"].as_str().ok_or("no status")?;
    let finish = match status {
        "completed" => "completed".to_owned(),
        "incomplete" => string(&body["incomplete_details"]["reason"]),
        other => return Err(format!("status {other}: {}", body["error"])),
    };
    let mut answer = Answer { finish, usage: body["usage"].clone(), ..Answer::default() };
    for item in body["output"].as_array().ok_or("no output")? {
        let texts = |list: &Value, field: &str| -> String {
            list.as_array().into_iter().flatten().map(|part| string(&part[field])).collect()
        };
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                answer.text += &(texts(&item["content"], "text") + &texts(&item["content"], "refusal"));
            }
            "reasoning" => {
                answer.reasoning += &texts(&item["summary"], "text");
                answer.signatures.push(string(&item["encrypted_content"]));
            }
            "function_call" => {
                let call = (string(&item["call_id"]), string(&item["name"]), string(&item["arguments"]));
                answer.calls.push(call);
            }
            _ => {}
        }
    }
    Ok(answer)
}

/// The response at the end, which must be what the deltas said before it.
pub fn responses_stream(events: &[(String, Vec<u8>)]) -> Result<Answer, String> {
    let (mut texts, mut reasoning) = (BTreeMap::<u64, String>::new(), String::new());
    let mut arguments = BTreeMap::<u64, String>::new();
    let mut next = 0;
    for (name, data) in events {
        if name == "heartbeat.v9" {
            continue;
        }
        let data: Value = serde_json::from_slice(data).map_err(|error| format!("not JSON: {error}"))?;
        let kind = data["type"].as_str().ok_or("no type")?;
        if kind != name {
            return Err(format!("event {name} has the type {kind}"));
        }
        if data["sequence_number"] != next {
            return Err(format!("sequence number {} instead of {next}", data["sequence_number"]));
        }
        next += 1;
        let index = data["output_index"].as_u64().unwrap_or_default();
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                *texts.entry(index).or_default() += &string(&data["delta"]);
            }
            "response.reasoning_summary_text.delta" => reasoning += &string(&data["delta"]),
            "response.function_call_arguments.delta" => {
                *arguments.entry(index).or_default() += &string(&data["delta"]);
            }
            "response.output_item.added" if data["item"]["type"] == "function_call" => {
                arguments.entry(index).or_default();
            }
            "response.completed" | "response.incomplete" => {
                let answer = responses_body(&data["response"])?;
                let text: String = texts.into_values().collect();
                let calls: Vec<&String> = answer.calls.iter().map(|call| &call.2).collect();
                if (text, reasoning) != (answer.text.clone(), answer.reasoning.clone())
                    || calls != arguments.values().collect::<Vec<_>>()
                {
                    return Err("the end does not say what the deltas said".to_owned());
                }
                return Ok(answer);
            }
            "error" | "response.failed" => return Err(format!("{data}")),
            _ => {}
        }
    }
    Err("no end of the response".to_owned())
}

pub fn gemini(chunks: &[Value]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    for chunk in chunks {
        if !chunk["error"].is_null() {
            return Err(format!("error {}", chunk["error"]));
        }
        if let Some(reason) = chunk["promptFeedback"]["blockReason"].as_str() {
            return Err(format!("the prompt is blocked: {reason}"));
        }
        if chunk["usageMetadata"].is_object() {
            answer.usage = chunk["usageMetadata"].clone();
        }
        let candidate = &chunk["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            let text = string(&part["text"]);
            match part["thought"] == true {
                true => answer.reasoning += &text,
                false => answer.text += &text,
            }
            if let Some(signature) = part["thoughtSignature"].as_str() {
                answer.signatures.push(signature.to_owned());
            }
            let call = &part["functionCall"];
            if call.is_object() {
                answer.calls.push((string(&call["id"]), string(&call["name"]), arguments(&call["args"])));
            }
        }
        if let Some(finish) = candidate["finishReason"].as_str() {
            answer.finish = finish.to_owned();
        }
    }
    match answer.finish.as_str() {
        "" => Err("no finish reason".to_owned()),
        "MALFORMED_FUNCTION_CALL" => Err("a malformed call".to_owned()),
        _ => Ok(answer),
    }
}

pub fn ollama(lines: &[Value]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let mut done = false;
    for line in lines {
        if !line["error"].is_null() {
            return Err(format!("error {}", line["error"]));
        }
        let message = &line["message"];
        answer.text += &string(&message["content"]);
        answer.reasoning += &string(&message["thinking"]);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let call = (string(&call["id"]), string(&function["name"]), arguments(&function["arguments"]));
            answer.calls.push(call);
        }
        if line["done"] == true {
            done = true;
            answer.finish = string(&line["done_reason"]);
            let counts = ["prompt_eval_count", "eval_count"];
            answer.usage = counts.iter().map(|name| (name.to_string(), line[*name].clone())).collect();
        }
    }
    if done { Ok(answer) } else { Err("not done".to_owned()) }
}

/// Arguments are an object; a string in its place is shown as it is, and nothing is an empty one.
fn arguments(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
