//! A reply as OpenAI sends it over the Responses API.

use serde_json::{Value, json};

use crate::reply::{Call, Frame, FrameKind, Reply, ReplyPart, order, pieces};
use crate::script::Finish;
use crate::signature;

/// One event before it is numbered.
type Event = (&'static str, FrameKind, Value);

/// The id of the response.
pub(crate) fn id(reply: &Reply) -> String {
    format!("resp_fake{}", reply.number)
}

/// The events of a streamed reply.
pub(crate) fn frames(reply: &Reply) -> Vec<Frame> {
    let begun = json!({"response": envelope(reply, "in_progress", Vec::new())});
    let mut out = vec![
        ("response.created", FrameKind::Start, begun.clone()),
        ("response.in_progress", FrameKind::Start, begun),
    ];
    let items = items(reply);
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for (index, (part, item)) in reply.parts.iter().zip(&items).enumerate() {
        let (opening, closing) = streamed(part, item, index, reply.chunk_chars);
        if reply.interleave && matches!(part, ReplyPart::Call(_)) {
            opened.push(opening);
            closed.extend(closing);
        } else {
            out.extend(opening);
            out.extend(closing);
        }
    }
    out.extend(order(opened, reply.interleave));
    out.extend(closed);
    let (event, status) = match status(reply.finish) {
        "completed" => ("response.completed", "completed"),
        other => ("response.incomplete", other),
    };
    out.push((event, FrameKind::Finish, json!({"response": envelope(reply, status, items)})));
    out.into_iter().enumerate().map(|(number, event)| frame(number, event)).collect()
}

/// The body of a reply that is not streamed.
pub(crate) fn body(reply: &Reply) -> Value {
    envelope(reply, status(reply.finish), items(reply))
}

/// The events of a reply that fails: with this code, after what there is of it.
pub(crate) fn failed(reply: &Reply, number: usize, code: &str, message: &str) -> Frame {
    let mut response = envelope(reply, "failed", Vec::new());
    response["error"] = json!({"code": code, "message": message});
    response["usage"] = Value::Null;
    frame(number, ("response.failed", FrameKind::Content, json!({"response": response})))
}

/// Whole items, one for each part.
pub(crate) fn items(reply: &Reply) -> Vec<Value> {
    let last = reply.parts.len().saturating_sub(1);
    let cut = status(reply.finish);
    let item = |(index, part): (usize, &ReplyPart)| {
        // Only the last item of a reply that was cut is not whole.
        let status = if index == last { cut } else { "completed" };
        let id = |kind: &str| format!("{kind}_fake{}x{index}", reply.number);
        match part {
            ReplyPart::Text(text) => message(
                &id("msg"),
                status,
                json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text}),
            ),
            ReplyPart::Refusal(text) => {
                message(&id("msg"), status, json!({"type": "refusal", "refusal": text}))
            }
            ReplyPart::Reasoning(text) => {
                reasoning(&id("rs"), text, json!([{"type": "summary_text", "text": text}]), reply)
            }
            ReplyPart::Redacted(text) => reasoning(&id("rs"), text, json!([]), reply),
            ReplyPart::Call(Call { id: call, name, arguments }) => json!({
                "id": id("fc"), "type": "function_call", "status": status,
                "arguments": arguments, "call_id": call, "name": name,
            }),
            ReplyPart::Odd(value) => value.clone(),
        }
    };
    reply.parts.iter().enumerate().map(item).collect()
}

fn message(id: &str, status: &str, content: Value) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": [content]})
}

fn reasoning(id: &str, text: &str, summary: Value, reply: &Reply) -> Value {
    let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
    if reply.thread.encrypted {
        item["encrypted_content"] = Value::String(signature::encrypt(id, text));
    }
    item
}

/// What opens an item and fills it, and what closes it.
fn streamed(part: &ReplyPart, item: &Value, index: usize, chars: usize) -> (Vec<Event>, Vec<Event>) {
    let id = &item["id"];
    // The place of the one part of an item.
    let at = |list: &str, fields: Value| {
        let mut event = json!({"item_id": id, "output_index": index});
        event[list] = json!(0);
        merged(event, fields)
    };
    let mut begun = item.clone();
    if !begun["status"].is_null() {
        begun["status"] = json!("in_progress");
    }
    let (inner, closing) = match part {
        ReplyPart::Text(text) => {
            begun["content"] = json!([]);
            content(&at, &item["content"][0], "response.output_text", "text", text, chars)
        }
        ReplyPart::Refusal(text) => {
            begun["content"] = json!([]);
            content(&at, &item["content"][0], "response.refusal", "refusal", text, chars)
        }
        ReplyPart::Reasoning(text) => {
            begun["summary"] = json!([]);
            halve(&mut begun["encrypted_content"]);
            summary(&at, text, chars)
        }
        ReplyPart::Redacted(_) => {
            halve(&mut begun["encrypted_content"]);
            (Vec::new(), Vec::new())
        }
        ReplyPart::Call(call) => {
            begun["arguments"] = json!("");
            let at = |fields| merged(json!({"item_id": id, "output_index": index}), fields);
            let deltas =
                pieces(&call.arguments, chars).into_iter().filter(|piece| !piece.is_empty()).map(|piece| {
                    let event = "response.function_call_arguments.delta";
                    (event, FrameKind::Content, at(json!({"delta": piece, "obfuscation": "x7Qk"})))
                });
            let done = at(json!({"arguments": call.arguments, "name": call.name}));
            let done = ("response.function_call_arguments.done", FrameKind::BlockStop, done);
            (deltas.collect(), vec![done])
        }
        ReplyPart::Odd(_) => (Vec::new(), Vec::new()),
    };
    if begun["encrypted_content"].is_null()
        && let Some(begun) = begun.as_object_mut()
    {
        begun.remove("encrypted_content");
    }
    let around = |item: &Value| json!({"output_index": index, "item": item});
    let mut opening = vec![("response.output_item.added", FrameKind::Content, around(&begun))];
    opening.extend(inner);
    let mut closing = closing;
    closing.push(("response.output_item.done", FrameKind::BlockStop, around(item)));
    (opening, closing)
}

/// Encrypted content is whole only when its item is done.
fn halve(value: &mut Value) {
    if let Value::String(text) = value {
        text.truncate(text.len() / 2);
    }
}

fn content(
    at: &dyn Fn(&str, Value) -> Value,
    part: &Value,
    prefix: &str,
    field: &str,
    text: &str,
    chars: usize,
) -> (Vec<Event>, Vec<Event>) {
    let (delta, done) = match prefix {
        "response.refusal" => ("response.refusal.delta", "response.refusal.done"),
        _ => ("response.output_text.delta", "response.output_text.done"),
    };
    let at = |fields| at("content_index", fields);
    let mut empty = part.clone();
    empty[field] = json!("");
    let mut opening = vec![("response.content_part.added", FrameKind::Content, at(json!({"part": empty})))];
    opening.extend(pieces(text, chars).into_iter().map(|piece| {
        let fields = json!({"delta": piece, "logprobs": [], "obfuscation": "x7Qk"});
        (delta, FrameKind::Content, at(fields))
    }));
    let mut whole = json!({"logprobs": []});
    whole[field] = json!(text);
    let closing = vec![
        (done, FrameKind::BlockStop, at(whole)),
        ("response.content_part.done", FrameKind::BlockStop, at(json!({"part": part}))),
    ];
    (opening, closing)
}

fn summary(at: &dyn Fn(&str, Value) -> Value, text: &str, chars: usize) -> (Vec<Event>, Vec<Event>) {
    let at = |fields| at("summary_index", fields);
    let part = |text: &str| json!({"part": {"type": "summary_text", "text": text}});
    let mut opening = vec![("response.reasoning_summary_part.added", FrameKind::Content, at(part("")))];
    opening.extend(pieces(text, chars).into_iter().map(|piece| {
        let fields = json!({"delta": piece, "obfuscation": "x7Qk"});
        ("response.reasoning_summary_text.delta", FrameKind::Content, at(fields))
    }));
    let closing = vec![
        ("response.reasoning_summary_text.done", FrameKind::BlockStop, at(json!({"text": text}))),
        ("response.reasoning_summary_part.done", FrameKind::BlockStop, at(part(text))),
    ];
    (opening, closing)
}

fn merged(mut event: Value, fields: Value) -> Value {
    if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
        event.extend(fields);
    }
    event
}

fn frame(number: usize, (event, kind, fields): Event) -> Frame {
    let data = merged(json!({"type": event, "sequence_number": number}), fields);
    Frame { event: Some(event), data: data.to_string(), kind }
}

fn envelope(reply: &Reply, status: &str, output: Vec<Value>) -> Value {
    let ended = status != "in_progress";
    let reason = match reply.finish {
        Finish::Length => json!({"reason": "max_output_tokens"}),
        Finish::ContentFilter => json!({"reason": "content_filter"}),
        _ => Value::Null,
    };
    json!({
        "id": id(reply), "object": "response", "created_at": reply.created, "status": status,
        "background": false, "error": null,
        "incomplete_details": if status == "incomplete" { reason } else { Value::Null },
        "instructions": null, "max_output_tokens": null, "max_tool_calls": null, "model": reply.model,
        "output": output, "parallel_tool_calls": true, "previous_response_id": reply.thread.previous,
        "prompt_cache_key": null, "reasoning": {"effort": null, "summary": null}, "safety_identifier": null,
        "service_tier": "default", "store": reply.thread.stored, "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
        "usage": if ended { usage(reply) } else { Value::Null }, "user": null, "metadata": {},
    })
}

fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Length | Finish::ContentFilter => "incomplete",
        Finish::Stop | Finish::ToolCalls | Finish::Refusal | Finish::StopSequence | Finish::PauseTurn => {
            "completed"
        }
    }
}

fn usage(reply: &Reply) -> Value {
    let usage = reply.usage;
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    })
}
