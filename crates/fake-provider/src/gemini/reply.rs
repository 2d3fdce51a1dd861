//! A reply as Gemini sends it.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::reply::{Frame, FrameKind, Reply, ReplyPart, pieces};
use crate::script::Finish;
use crate::signature;

/// The events of a streamed reply. The format has no event of its own for the end: the last one has a reason.
pub(crate) fn frames(reply: &Reply) -> Vec<Frame> {
    if let Some(ended) = ended_at_once(reply) {
        return vec![frame(FrameKind::Finish, ended)];
    }
    let mut out = Vec::new();
    let mut signed = false;
    for part in &reply.parts {
        for part in parts(part, reply.chunk_chars, &mut signed) {
            out.push(frame(FrameKind::Content, envelope(reply, vec![part], None)));
        }
    }
    let mut last = json!({"text": ""});
    if let Some(signature) = text_signature(reply) {
        last["thoughtSignature"] = json!(signature);
    }
    out.push(frame(FrameKind::Finish, envelope(reply, vec![last], Some(finish(reply.finish)))));
    out
}

/// The body of a reply that is not streamed.
pub(crate) fn body(reply: &Reply) -> Value {
    if let Some(ended) = ended_at_once(reply) {
        return ended;
    }
    let mut signed = false;
    let mut all: Vec<Value> = reply.parts.iter().flat_map(|part| parts(part, 0, &mut signed)).collect();
    if let (Some(signature), Some(last)) = (text_signature(reply), all.last_mut()) {
        last["thoughtSignature"] = json!(signature);
    }
    envelope(reply, all, Some(finish(reply.finish)))
}

/// A reply that has no content at all.
fn ended_at_once(reply: &Reply) -> Option<Value> {
    let mut whole = envelope(reply, Vec::new(), None);
    match reply.fault? {
        Fault::PromptBlocked => {
            if let Some(whole) = whole.as_object_mut() {
                whole.remove("candidates");
            }
            whole["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
        }
        Fault::MalformedCall => {
            whole["candidates"] = json!([{
                "content": {}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0,
                "finishMessage": "Malformed function call: print(default_api.read(path=",
            }]);
        }
        _ => return None,
    }
    Some(whole)
}

/// The first call of a reply carries the signature of the thinking that led to it.
fn parts(part: &ReplyPart, chars: usize, signed: &mut bool) -> Vec<Value> {
    match part {
        ReplyPart::Text(text) => {
            pieces(text, chars).into_iter().map(|piece| json!({"text": piece})).collect()
        }
        ReplyPart::Reasoning(text) => {
            pieces(text, chars).into_iter().map(|piece| json!({"text": piece, "thought": true})).collect()
        }
        ReplyPart::Redacted(_) | ReplyPart::Refusal(_) => Vec::new(),
        ReplyPart::Call(call) => {
            let mut function = json!({"name": call.name});
            // An empty message of protocol buffers is left out.
            if !call.arguments.is_empty() {
                function["args"] = call.input();
            }
            if !call.id.is_empty() {
                function["id"] = json!(call.id);
            }
            let mut part = json!({"functionCall": function});
            if !std::mem::replace(signed, true) {
                part["thoughtSignature"] = json!(signature::thought(&call.id));
            }
            vec![part]
        }
        ReplyPart::Odd(value) => vec![value.clone()],
    }
}

/// A reply without calls carries the signature in its last part.
fn text_signature(reply: &Reply) -> Option<String> {
    let thought = reply.parts.iter().find_map(|part| match part {
        ReplyPart::Reasoning(text) | ReplyPart::Redacted(text) => Some(text),
        _ => None,
    })?;
    reply.calls().next().is_none().then(|| signature::thought(thought))
}

fn envelope(reply: &Reply, parts: Vec<Value>, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({
        "candidates": [candidate], "usageMetadata": usage(reply), "modelVersion": reply.model,
        "responseId": format!("fake{}", reply.number),
    })
}

fn frame(kind: FrameKind, data: Value) -> Frame {
    Frame { event: None, data: data.to_string(), kind }
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::ToolCalls | Finish::StopSequence | Finish::PauseTurn => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
        Finish::Refusal => "PROHIBITED_CONTENT",
    }
}

fn usage(reply: &Reply) -> Value {
    let usage = reply.usage;
    let mut out = json!({
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.input + usage.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
    });
    // Counts of nothing are left out.
    for (name, count) in [("thoughtsTokenCount", usage.reasoning), ("cachedContentTokenCount", usage.cached)]
    {
        if count > 0 {
            out[name] = json!(count);
        }
    }
    out
}
