//! A reply as OpenAI sends it.

use serde_json::{Value, json};

use crate::reply::{Frame, FrameKind, Reply, ReplyPart, order, pieces};
use crate::script::Finish;

/// The events of a streamed reply.
pub(crate) fn frames(reply: &Reply) -> Vec<Frame> {
    let mut out = vec![chunk(
        reply,
        FrameKind::Start,
        json!({"role": "assistant", "content": "", "refusal": null}),
        None,
    )];
    let mut fragments: Vec<Vec<Value>> = Vec::new();
    for part in &reply.parts {
        let field = match part {
            ReplyPart::Text(text) => Some(("content", text)),
            ReplyPart::Reasoning(text) => Some(("reasoning_content", text)),
            ReplyPart::Refusal(text) => Some(("refusal", text)),
            ReplyPart::Redacted(_) | ReplyPart::Odd(_) => None,
            ReplyPart::Call(call) => {
                let index = fragments.len();
                let head = json!({"index": index, "id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": ""}});
                let rest = pieces(&call.arguments, reply.chunk_chars)
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .map(|piece| json!({"index": index, "function": {"arguments": piece}}));
                fragments.push(std::iter::once(head).chain(rest).collect());
                None
            }
        };
        if let Some((field, text)) = field {
            for piece in pieces(text, reply.chunk_chars) {
                out.push(chunk(reply, FrameKind::Content, json!({ field: piece }), None));
            }
        }
    }
    for fragment in order(fragments, reply.interleave) {
        out.push(chunk(reply, FrameKind::Content, json!({"tool_calls": [fragment]}), None));
    }
    out.push(chunk(reply, FrameKind::Finish, json!({}), Some(finish(reply.finish))));
    if reply.include_usage {
        let mut data = envelope(reply, json!([]));
        data["usage"] = usage(reply);
        out.push(Frame { event: None, data: data.to_string(), kind: FrameKind::Usage });
    }
    out.push(Frame { event: None, data: "[DONE]".to_owned(), kind: FrameKind::End });
    out
}

/// The body of a reply that is not streamed.
pub(crate) fn body(reply: &Reply) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut append = |field: &str, text: &str| {
        let so_far = message[field].as_str().unwrap_or_default().to_owned();
        message[field] = Value::String(so_far + text);
    };
    for part in &reply.parts {
        match part {
            ReplyPart::Text(text) => append("content", text),
            ReplyPart::Reasoning(text) => append("reasoning_content", text),
            ReplyPart::Refusal(text) => append("refusal", text),
            ReplyPart::Redacted(_) | ReplyPart::Call(_) | ReplyPart::Odd(_) => {}
        }
    }
    let calls: Vec<Value> = reply
        .calls()
        .map(|call| {
            json!({"id": call.id, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments}})
        })
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    json!({
        "id": format!("chatcmpl-fake{}", reply.number), "object": "chat.completion", "created": reply.created,
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish(reply.finish)}],
        "usage": usage(reply), "service_tier": "default", "system_fingerprint": "fp_fake",
    })
}

fn chunk(reply: &Reply, kind: FrameKind, delta: Value, finish: Option<&str>) -> Frame {
    let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    Frame { event: None, data: envelope(reply, choices).to_string(), kind }
}

fn envelope(reply: &Reply, choices: Value) -> Value {
    let mut data = json!({
        "id": format!("chatcmpl-fake{}", reply.number), "object": "chat.completion.chunk",
        "created": reply.created, "model": reply.model, "service_tier": "default",
        "system_fingerprint": "fp_fake", "choices": choices,
    });
    if reply.include_usage {
        data["usage"] = Value::Null;
    }
    data
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Refusal | Finish::StopSequence | Finish::PauseTurn => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length => "length",
        Finish::ContentFilter => "content_filter",
    }
}

fn usage(reply: &Reply) -> Value {
    let usage = reply.usage;
    json!({
        "prompt_tokens": usage.input, "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}
