//! A reply as Ollama sends it: lines of JSON.

use serde_json::{Value, json};

use crate::reply::{Frame, FrameKind, Reply, ReplyPart, pieces};
use crate::script::Finish;

/// The lines of a streamed reply.
pub(crate) fn frames(reply: &Reply) -> Vec<Frame> {
    let mut out = Vec::new();
    let mut calls = 0;
    let mut push = |message: Value| out.push(frame(FrameKind::Content, envelope(reply, message, false)));
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) => {
                for piece in pieces(text, reply.chunk_chars) {
                    push(json!({"role": "assistant", "content": piece}));
                }
            }
            ReplyPart::Reasoning(text) => {
                for piece in pieces(text, reply.chunk_chars) {
                    push(json!({"role": "assistant", "content": "", "thinking": piece}));
                }
            }
            ReplyPart::Call(call) => {
                let call = tool_call(&call.id, calls, &call.name, call.input());
                calls += 1;
                push(json!({"role": "assistant", "content": "", "tool_calls": [call]}));
            }
            ReplyPart::Redacted(_) | ReplyPart::Odd(_) => {}
        }
    }
    let end = envelope(reply, json!({"role": "assistant", "content": ""}), true);
    out.push(frame(FrameKind::Finish, end));
    out
}

/// The body of a reply that is not streamed.
pub(crate) fn body(reply: &Reply) -> Value {
    let (mut content, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) | ReplyPart::Refusal(text) => content += text,
            ReplyPart::Reasoning(text) => thinking += text,
            ReplyPart::Call(call) => {
                calls.push(tool_call(&call.id, calls.len(), &call.name, call.input()));
            }
            ReplyPart::Redacted(_) | ReplyPart::Odd(_) => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": content});
    if !thinking.is_empty() {
        message["thinking"] = json!(thinking);
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    envelope(reply, message, true)
}

/// servers before 0.12.10 send no id; an empty one in the script does the same.
fn tool_call(id: &str, index: usize, name: &str, arguments: Value) -> Value {
    let mut call = json!({"function": {"index": index, "name": name, "arguments": arguments}});
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    call
}

fn envelope(reply: &Reply, message: Value, done: bool) -> Value {
    let created = jiff::Timestamp::from_second(reply.created).unwrap_or_default();
    let mut out = json!({
        "model": reply.model, "created_at": created.to_string(), "message": message, "done": done,
    });
    if done {
        out["done_reason"] = json!(match reply.finish {
            Finish::Length => "length",
            Finish::Stop
            | Finish::ToolCalls
            | Finish::ContentFilter
            | Finish::Refusal
            | Finish::StopSequence
            | Finish::PauseTurn => "stop",
        });
        out["total_duration"] = json!(1_000_000_000);
        out["load_duration"] = json!(100_000_000);
        out["prompt_eval_count"] = json!(reply.usage.input);
        out["prompt_eval_duration"] = json!(200_000_000);
        out["eval_count"] = json!(reply.usage.output);
        out["eval_duration"] = json!(700_000_000);
    }
    out
}

fn frame(kind: FrameKind, data: Value) -> Frame {
    Frame { event: None, data: data.to_string(), kind }
}
