//! A reply as Anthropic sends it.

use serde_json::{Value, json};

use crate::reply::{Frame, FrameKind, Reply, ReplyPart, pieces};
use crate::script::Finish;
use crate::signature;

/// The events of a streamed reply.
pub(crate) fn frames(reply: &Reply) -> Vec<Frame> {
    let mut message = envelope(reply, json!([]));
    message["stop_reason"] = Value::Null;
    message["stop_sequence"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut out = vec![
        frame("message_start", FrameKind::Start, json!({"message": message})),
        frame("ping", FrameKind::Ping, json!({})),
    ];
    for (index, part) in reply.parts.iter().enumerate() {
        let (block, deltas) = streamed(part, reply.chunk_chars);
        out.push(frame(
            "content_block_start",
            FrameKind::Content,
            json!({"index": index, "content_block": block}),
        ));
        for delta in deltas {
            out.push(frame(
                "content_block_delta",
                FrameKind::Content,
                json!({"index": index, "delta": delta}),
            ));
        }
        out.push(frame("content_block_stop", FrameKind::BlockStop, json!({"index": index})));
    }
    out.push(frame(
        "message_delta",
        FrameKind::Finish,
        json!({"delta": {"stop_reason": stop_reason(reply.finish), "stop_sequence": stop_sequence(reply.finish)},
            "usage": usage(reply)}),
    ));
    out.push(frame("message_stop", FrameKind::End, json!({})));
    out
}

/// The body of a reply that is not streamed.
pub(crate) fn body(reply: &Reply) -> Value {
    envelope(reply, reply.parts.iter().map(whole).collect())
}

/// A block's start and its deltas.
fn streamed(part: &ReplyPart, chars: usize) -> (Value, Vec<Value>) {
    match part {
        ReplyPart::Text(text) | ReplyPart::Refusal(text) => (
            json!({"type": "text", "text": ""}),
            pieces(text, chars)
                .into_iter()
                .map(|piece| json!({"type": "text_delta", "text": piece}))
                .collect(),
        ),
        ReplyPart::Reasoning(text) => {
            let thinking = pieces(text, chars)
                .into_iter()
                .map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            let signed = json!({"type": "signature_delta", "signature": signature::sign(text)});
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                thinking.chain(std::iter::once(signed)).collect(),
            )
        }
        ReplyPart::Redacted(_) | ReplyPart::Odd(_) => (whole(part), Vec::new()),
        ReplyPart::Call(call) => {
            // The vendor opens every call with an empty fragment.
            let opening = json!({"type": "input_json_delta", "partial_json": ""});
            let rest = pieces(&call.arguments, chars)
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            (
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}),
                std::iter::once(opening).chain(rest).collect(),
            )
        }
    }
}

fn whole(part: &ReplyPart) -> Value {
    match part {
        ReplyPart::Text(text) | ReplyPart::Refusal(text) => json!({"type": "text", "text": text}),
        ReplyPart::Reasoning(text) => {
            json!({"type": "thinking", "thinking": text, "signature": signature::sign(text)})
        }
        ReplyPart::Redacted(text) => json!({"type": "redacted_thinking", "data": signature::redact(text)}),
        // Deep arguments are spliced in later, as text.
        ReplyPart::Call(call) => {
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input()})
        }
        ReplyPart::Odd(value) => value.clone(),
    }
}

fn envelope(reply: &Reply, content: Value) -> Value {
    json!({
        "id": format!("msg_fake{}", reply.number), "type": "message", "role": "assistant",
        "model": reply.model, "content": content,
        "stop_reason": stop_reason(reply.finish), "stop_sequence": stop_sequence(reply.finish),
        "usage": usage(reply),
    })
}

fn frame(event: &'static str, kind: FrameKind, fields: Value) -> Frame {
    let mut data = json!({"type": event});
    if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
        data.extend(fields);
    }
    Frame { event: Some(event), data: data.to_string(), kind }
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::ToolCalls => "tool_use",
        Finish::Length => "max_tokens",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::StopSequence => "stop_sequence",
        Finish::PauseTurn => "pause_turn",
    }
}

fn stop_sequence(finish: Finish) -> Option<&'static str> {
    (finish == Finish::StopSequence).then_some("STOP")
}

fn usage(reply: &Reply) -> Value {
    let usage = reply.usage;
    json!({
        "input_tokens": usage.input.saturating_sub(usage.cached + usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}
