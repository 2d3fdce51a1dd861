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

const WHOLE_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    date: Mon, 02 Nov 2026 09:00:00 GMT\r\n\
    content-type: application/json\r\n\
    connection: keep-alive\r\n\
    openai-organization: bench\r\n\
    openai-processing-ms: 12\r\n\
    openai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-request-id: req_6f1d2b9c3e8a4750b1c2d3e4f5a60718\r\n";

/// Bytes of arguments in one event.
const ARGUMENT_PIECE: usize = 9;

pub struct Reply {
    bytes: Vec<u8>,
    /// Where each event ends; the head goes with the first, the body's end with the last. A whole reply is one.
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

/// All replies made so far: by script, by how many assistant messages the request holds, and by whether it
/// asked for a stream.
#[derive(Default)]
pub struct Book {
    replies: RwLock<HashMap<(Script, u32, bool), Arc<Reply>>>,
}

impl Book {
    pub fn reply(&self, body: &[u8], streamed: bool) -> Result<Arc<Reply>> {
        let script = Script::parse(model(body)?)?;
        let turn = match script {
            Script::Agent { .. } => assistant_messages(body),
            Script::Chat { .. } | Script::Wait { .. } => 0,
        };
        let key = (script, turn, streamed);
        if let Some(reply) = self.replies.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(reply));
        }
        let reply = Arc::new(if streamed { write(script, turn) } else { write_whole(script, turn) });
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

/// Whether the request asks for a stream of events and not for one whole reply.
pub fn wants_stream(body: &[u8]) -> bool {
    [&b"\"stream\":true"[..], b"\"stream\": true"].iter().any(|key| memmem::find(body, key).is_some())
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
    writer.finish(wait(script))
}

fn wait(script: Script) -> Duration {
    match script {
        Script::Wait { milliseconds } => Duration::from_millis(milliseconds.into()),
        Script::Agent { .. } | Script::Chat { .. } => Duration::ZERO,
    }
}

/// The same as one JSON body, for a request that asked for no stream.
fn write_whole(script: Script, turn: u32) -> Reply {
    let calls = |tools| (0..tools).map(|index| Call::new(turn, index).whole()).collect::<Vec<_>>();
    let (message, finish_reason, tokens) = match script {
        Script::Agent { rounds, tools } if turn < rounds => {
            (json!({"content": null, "tool_calls": calls(tools)}), "tool_calls", tools * 20)
        }
        Script::Agent { .. } | Script::Chat { .. } | Script::Wait { .. } => {
            let count = script.answer_tokens();
            (json!({"content": tokens(count).collect::<String>()}), "stop", count)
        }
    };
    let mut message = message;
    message["role"] = json!("assistant");
    message["refusal"] = Value::Null;
    message["annotations"] = json!([]);
    let body = json!({
        "id": completion_id(turn), "object": "chat.completion", "created": CREATED, "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
        "usage": usage(tokens), "service_tier": "default", "system_fingerprint": FINGERPRINT,
    })
    .to_string();
    let bytes = format!("{WHOLE_HEAD}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    Reply { ends: vec![bytes.len()], bytes, wait: wait(script) }
}

const CREATED: u64 = 1_793_610_000;
const MODEL: &str = "bench-2026-11-01";
const FINGERPRINT: &str = "fp_44709d6fcb";

fn completion_id(turn: u32) -> String {
    format!("chatcmpl-DkTqX2vN7yLw0pRzB4mCe8Uh{turn:05}")
}

fn usage(completion_tokens: u32) -> Value {
    json!({
        "prompt_tokens": 210, "completion_tokens": completion_tokens,
        "total_tokens": 210 + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

/// The call at one place of a turn: of the two tools in turn, with arguments and an id of its own.
struct Call {
    id: String,
    name: &'static str,
    arguments: String,
}

impl Call {
    fn new(turn: u32, index: u32) -> Self {
        let id = format!("call_{turn:05}x{index:02}Qm7RtK2vWb9Z");
        let (name, arguments) = if index.is_multiple_of(2) {
            ("read_file", json!({"path": format!("src/part_{turn:04}.rs"), "first_line": turn + 1}))
        } else {
            ("search_files", json!({"text": format!("fn part_{turn:04}"), "folder": "src"}))
        };
        Call { id, name, arguments: arguments.to_string() }
    }

    fn whole(self) -> Value {
        let Call { id, name, arguments } = self;
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }
}

struct Writer {
    id: String,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Writer {
    fn new(turn: u32) -> Self {
        Writer { id: completion_id(turn), bytes: HEAD.as_bytes().to_vec(), ends: Vec::new() }
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
            let Call { id, name, arguments } = Call::new(turn, index);
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            self.delta(&json!({"tool_calls": [call]}), Value::Null);
            for piece in arguments.as_bytes().chunks(ARGUMENT_PIECE) {
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
        self.chunk(&json!([]), usage(completion_tokens));
    }

    fn chunk(&mut self, choices: &Value, usage: Value) {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED,
            "model": MODEL, "service_tier": "default",
            "system_fingerprint": FINGERPRINT, "choices": choices, "usage": usage,
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
