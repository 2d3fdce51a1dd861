//! A reader of replies that follows the rules and nothing else: the judge of every fault.

use std::collections::BTreeMap;

use ambidex_fake_provider::Wire;
use serde_json::Value;

use crate::client::{End, Response};
use crate::readers;

const EVENT_LIMIT: usize = 4 * 1024 * 1024;
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// What a reply says when it is whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    pub reasoning: String,
    pub signatures: Vec<String>,
    /// Id, name, arguments.
    pub calls: Vec<(String, String, String)>,
    pub finish: String,
    pub usage: Value,
}

/// Reads a response; an error says why it is no answer.
pub fn read(wire: Wire, stream: bool, response: &Response) -> Result<Answer, String> {
    if response.status != Some(200) {
        return Err(format!("status {:?}", response.status));
    }
    if response.end != End::Complete {
        return Err(format!("ended with {:?}", response.end));
    }
    if response.body.len() > ANSWER_LIMIT {
        return Err("the answer is over the limit".to_owned());
    }
    let kind = response.header("content-type").unwrap_or_default();
    let wanted = match (wire, stream) {
        (_, false) => "application/json",
        (Wire::Ollama, true) => "application/x-ndjson",
        (_, true) => "text/event-stream",
    };
    if !kind.starts_with(wanted) {
        return Err(format!("content type {kind}"));
    }
    let mut answer = match (wire, stream) {
        (Wire::OpenAi, false) => openai_body(&parse(&response.body)?)?,
        (Wire::Anthropic, false) => anthropic_body(&parse(&response.body)?)?,
        (Wire::OpenAi, true) => openai_stream(&events(&response.body)?)?,
        (Wire::Anthropic, true) => anthropic_stream(&events(&response.body)?)?,
        (Wire::Responses, false) => readers::responses_body(&parse(&response.body)?)?,
        (Wire::Responses, true) => readers::responses_stream(&events(&response.body)?)?,
        (Wire::Gemini, false) => readers::gemini(&[parse(&response.body)?])?,
        (Wire::Gemini, true) => readers::gemini(&parsed(&events(&response.body)?)?)?,
        (Wire::Ollama, false) => readers::ollama(&[parse(&response.body)?])?,
        (Wire::Ollama, true) => readers::ollama(&lines(&response.body)?)?,
    };
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for call in answer.calls {
        match calls.iter().find(|other| other.0 == call.0) {
            None => calls.push(call),
            Some(other) if *other == call => {}
            Some(_) => return Err(format!("two different calls have the id {}", call.0)),
        }
    }
    answer.calls = calls;
    Ok(answer)
}

/// Whether a call may run: the reply was not cut, the tool is known, the arguments are an object.
pub fn runnable(answer: &Answer, call: &(String, String, String)) -> bool {
    let arguments = if call.2.is_empty() { "{}" } else { &call.2 };
    let object = serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object());
    // Formats that do not say that the reply ends for its calls say at least that it was not cut.
    let finishes = ["tool_calls", "tool_use", "completed", "STOP", "stop"];
    call.1 == "read" && object && finishes.contains(&answer.finish.as_str())
}

/// The last finish reasons that say no more than that a reply is whole.
pub fn asks_for_tools(answer: &Answer) -> bool {
    let finishes = ["tool_calls", "tool_use", "completed", "STOP", "stop"];
    !answer.calls.is_empty() && finishes.contains(&answer.finish.as_str())
}

/// The finish reasons of a reply that was cut at the token limit.
pub const CUT: [&str; 4] = ["length", "max_tokens", "max_output_tokens", "MAX_TOKENS"];

/// Events whose data is JSON.
fn parsed(events: &[(String, Vec<u8>)]) -> Result<Vec<Value>, String> {
    events.iter().map(|(_, data)| parse(data)).collect()
}

/// Lines of JSON.
fn lines(body: &[u8]) -> Result<Vec<Value>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines
        .map(|line| match line.len() > EVENT_LIMIT {
            true => Err("a line is over the limit".to_owned()),
            false => parse(line),
        })
        .collect()
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))
}

/// Server-sent events, as the standard has them: event name and data.
pub fn events(body: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut out = Vec::new();
    let (mut name, mut data): (String, Option<Vec<u8>>) = (String::new(), None);
    // A last line without a blank line after it still counts: the vendors' ends are told by their content.
    for line in body.split(|byte| *byte == b'\n').chain([&b""[..]]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if let Some(data) = data.take() {
                if data.len() > EVENT_LIMIT {
                    return Err("an event is over the limit".to_owned());
                }
                out.push((std::mem::take(&mut name), data));
            }
            name.clear();
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => name = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            _ => {}
        }
    }
    Ok(out)
}

pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn openai_body(body: &Value) -> Result<Answer, String> {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        return Err(format!("no message: {body}"));
    }
    let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
    Ok(Answer {
        text: string(&message["content"]) + &string(&message["refusal"]),
        reasoning: string(&message["reasoning_content"]),
        signatures: Vec::new(),
        calls: calls
            .iter()
            .map(|c| (string(&c["id"]), string(&c["function"]["name"]), string(&c["function"]["arguments"])))
            .collect(),
        finish: choice["finish_reason"].as_str().ok_or("no finish reason")?.to_owned(),
        usage: body["usage"].clone(),
    })
}

fn openai_stream(events: &[(String, Vec<u8>)]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let mut calls: BTreeMap<u64, (String, String, String)> = BTreeMap::new();
    for (name, data) in events {
        if data == b"[DONE]" || name == "heartbeat.v9" {
            continue;
        }
        let data = parse(data)?;
        if !data["error"].is_null() {
            return Err(format!("error event {}", data["error"]));
        }
        if data["usage"].is_object() {
            answer.usage = data["usage"].clone();
        }
        let choice = &data["choices"][0];
        let delta = &choice["delta"];
        answer.text += &(string(&delta["content"]) + &string(&delta["refusal"]));
        answer.reasoning += &string(&delta["reasoning_content"]);
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            let call = calls.entry(fragment["index"].as_u64().ok_or("no index")?).or_default();
            call.0 += &string(&fragment["id"]);
            call.1 += &string(&fragment["function"]["name"]);
            call.2 += &string(&fragment["function"]["arguments"]);
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            answer.finish = finish.to_owned();
        }
    }
    if answer.finish.is_empty() {
        return Err("no finish reason".to_owned());
    }
    answer.calls = calls.into_values().collect();
    Ok(answer)
}

fn anthropic_body(body: &Value) -> Result<Answer, String> {
    let blocks = body["content"].as_array().ok_or("no content")?;
    let mut answer = Answer {
        finish: body["stop_reason"].as_str().ok_or("no stop reason")?.to_owned(),
        usage: body["usage"].clone(),
        ..Answer::default()
    };
    for block in blocks {
        match block["type"].as_str().unwrap_or_default() {
            "text" => answer.text += &string(&block["text"]),
            "thinking" => {
                answer.reasoning += &string(&block["thinking"]);
                answer.signatures.push(string(&block["signature"]));
            }
            "tool_use" => {
                answer.calls.push((string(&block["id"]), string(&block["name"]), block["input"].to_string()));
            }
            _ => {}
        }
    }
    Ok(answer)
}

fn anthropic_stream(events: &[(String, Vec<u8>)]) -> Result<Answer, String> {
    let mut answer = Answer::default();
    let mut calls: BTreeMap<u64, (String, String, String)> = BTreeMap::new();
    let mut stopped = false;
    for (name, data) in events {
        if name == "heartbeat.v9" {
            continue;
        }
        let data = parse(data)?;
        let index = data["index"].as_u64().unwrap_or_default();
        match data["type"].as_str().unwrap_or_default() {
            "error" => return Err(format!("error event {}", data["error"])),
            "content_block_start" if data["content_block"]["type"] == "tool_use" => {
                let block = &data["content_block"];
                calls.insert(index, (string(&block["id"]), string(&block["name"]), String::new()));
            }
            "content_block_delta" => {
                let delta = &data["delta"];
                answer.text += &string(&delta["text"]);
                answer.reasoning += &string(&delta["thinking"]);
                if let Some(signature) = delta["signature"].as_str() {
                    answer.signatures.push(signature.to_owned());
                }
                if let Some(fragment) = delta["partial_json"].as_str() {
                    calls.get_mut(&index).ok_or("a fragment without its block")?.2 += fragment;
                }
            }
            "message_delta" => {
                answer.finish = string(&data["delta"]["stop_reason"]);
                answer.usage = data["usage"].clone();
            }
            "message_stop" => stopped = true,
            _ => {}
        }
    }
    if !stopped || answer.finish.is_empty() {
        return Err("no message_stop".to_owned());
    }
    answer.calls = calls.into_values().collect();
    Ok(answer)
}
