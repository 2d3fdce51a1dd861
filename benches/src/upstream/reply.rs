//! Replies as bytes on the wire, made once each: the response's head, then one HTTP chunk per event,
//! with the fields, ids and order that the vendor's own server sends.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use memchr::memmem;
use serde_json::{Value, json};

use crate::Result;
use crate::script::{Script, tokens};

const HEAD: &str = "HTTP/1.1 200 OK\r\n\
    date: Mon, 02 Nov 2026 09:00:00 GMT\r\n\
    content-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\
    connection: keep-alive\r\n\
    cache-control: no-cache\r\n\
    openai-organization: bench\r\n\
    openai-processing-ms: 12\r\n\
    openai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-request-id: req_6f1d2b9c3e8a4750b1c2d3e4f5a60718\r\n\
    \r\n";

/// Bytes of arguments in one event.
const ARGUMENT_PIECE: usize = 9;

pub struct Reply {
    bytes: Vec<u8>,
    /// Where each event ends; the head goes with the first, the body's end with the last.
    ends: Vec<usize>,
    /// How long to wait before the head.
    pub wait: Duration,
}

impl Reply {
    /// The bytes in the pieces they are written in.
    pub fn pieces(&self, events: usize) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.chunks(events).filter_map(move |ends| {
            let end = *ends.last()?;
            let piece: Range<usize> = start..end;
            start = end;
            self.bytes.get(piece)
        })
    }
}

/// The answer to a request that names no script.
pub fn refusal(error: &dyn Display) -> Vec<u8> {
    let body = json!({"error": {"message": error.to_string(), "type": "invalid_request_error"}}).to_string();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// All replies made so far, by script and by how many assistant messages the request holds.
#[derive(Default)]
pub struct Book {
    replies: RwLock<HashMap<(Script, u32), Arc<Reply>>>,
}

impl Book {
    pub fn reply(&self, body: &[u8]) -> Result<Arc<Reply>> {
        let script = Script::parse(model(body)?)?;
        let turn = match script {
            Script::Agent { .. } => assistant_messages(body),
            Script::Chat { .. } | Script::Wait { .. } => 0,
        };
        let key = (script, turn);
        if let Some(reply) = self.replies.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(reply));
        }
        let reply = Arc::new(write(script, turn));
        self.replies.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&reply));
        Ok(reply)
    }
}

// The quotes of a key inside a text are escaped, so only a real key is found.
fn model(body: &[u8]) -> Result<&str> {
    let missing = "a request without a model";
    let key = memmem::find(body, b"\"model\":").ok_or(missing)?;
    let value = body.get(key + b"\"model\":".len()..).ok_or(missing)?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").ok_or(missing)?;
    let end = memchr::memchr(b'"', value).ok_or(missing)?;
    Ok(std::str::from_utf8(value.get(..end).unwrap_or_default())?)
}

fn assistant_messages(body: &[u8]) -> u32 {
    let count = |key: &[u8]| memmem::find_iter(body, key).count();
    u32::try_from(count(b"\"role\":\"assistant\"") + count(b"\"role\": \"assistant\"")).unwrap_or(u32::MAX)
}

fn write(script: Script, turn: u32) -> Reply {
    let mut writer = Writer::new(turn);
    match script {
        Script::Agent { rounds, tools } if turn < rounds => writer.tool_calls(turn, tools),
        Script::Agent { .. } | Script::Chat { .. } | Script::Wait { .. } => {
            writer.text(script.answer_tokens());
        }
    }
    let wait = match script {
        Script::Wait { milliseconds } => Duration::from_millis(milliseconds.into()),
        Script::Agent { .. } | Script::Chat { .. } => Duration::ZERO,
    };
    writer.finish(wait)
}

struct Writer {
    id: String,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Writer {
    fn new(turn: u32) -> Self {
        let id = format!("chatcmpl-DkTqX2vN7yLw0pRzB4mCe8Uh{turn:05}");
        Writer { id, bytes: HEAD.as_bytes().to_vec(), ends: Vec::new() }
    }

    fn text(&mut self, count: u32) {
        self.delta(&json!({"role": "assistant", "content": "", "refusal": null}), Value::Null);
        for token in tokens(count) {
            self.delta(&json!({"content": token}), Value::Null);
        }
        self.delta(&json!({}), json!("stop"));
        self.usage(count);
    }

    fn tool_calls(&mut self, turn: u32, tools: u32) {
        self.delta(&json!({"role": "assistant", "content": null, "refusal": null}), Value::Null);
        for index in 0..tools {
            let id = format!("call_{turn:05}x{index:02}Qm7RtK2vWb9Z");
            let (name, arguments) = if index % 2 == 0 {
                ("read_file", json!({"path": format!("src/part_{turn:04}.rs"), "first_line": turn + 1}))
            } else {
                ("search_files", json!({"text": format!("fn part_{turn:04}"), "folder": "src"}))
            };
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            self.delta(&json!({"tool_calls": [call]}), Value::Null);
            for piece in arguments.to_string().as_bytes().chunks(ARGUMENT_PIECE) {
                let function = json!({"arguments": String::from_utf8_lossy(piece)});
                self.delta(&json!({"tool_calls": [{"index": index, "function": function}]}), Value::Null);
            }
        }
        self.delta(&json!({}), json!("tool_calls"));
        self.usage(tools * 20);
    }

    fn delta(&mut self, delta: &Value, finish_reason: Value) {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.chunk(&json!([choice]), Value::Null);
    }

    fn usage(&mut self, completion_tokens: u32) {
        let usage = json!({
            "prompt_tokens": 210, "completion_tokens": completion_tokens,
            "total_tokens": 210 + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        });
        self.chunk(&json!([]), usage);
    }

    fn chunk(&mut self, choices: &Value, usage: Value) {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 1_793_610_000,
            "model": "bench-2026-11-01", "service_tier": "default",
            "system_fingerprint": "fp_44709d6fcb", "choices": choices, "usage": usage,
        });
        self.event(&chunk.to_string());
    }

    fn event(&mut self, data: &str) {
        let length = "data: ".len() + data.len() + "\n\n".len();
        self.bytes.extend_from_slice(format!("{length:x}\r\ndata: {data}\n\n\r\n").as_bytes());
        self.ends.push(self.bytes.len());
    }

    fn finish(mut self, wait: Duration) -> Reply {
        self.event("[DONE]");
        self.bytes.extend_from_slice(b"0\r\n\r\n");
        if let Some(last) = self.ends.last_mut() {
            *last = self.bytes.len();
        }
        Reply { bytes: self.bytes, ends: self.ends, wait }
    }
}
