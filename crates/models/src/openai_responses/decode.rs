//! Responses events as chunks.

use ambidex_core::{Chunk, Error, ErrorKind, Finish, Usage};
use serde_json::value::RawValue;

use super::event::{Event, Response};
use super::item::Source;
use super::output::{Output, Place};
use crate::adapter::{Decoder, Seen, check_depth, malformed, truncated};
use crate::failure::WireError;

/// Reads one reply.
#[derive(Default)]
pub(super) struct ResponsesDecoder {
    output: Output,
    started: bool,
    has_model: bool,
    done: bool,
}

impl Decoder for ResponsesDecoder {
    fn event(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        if self.done || data.trim_ascii().is_empty() {
            return Ok(Seen::Life);
        }
        // Of gateways that translate another format.
        if data.trim_ascii() == b"[DONE]" {
            return Err(truncated("the stream ended with `[DONE]`, without `response.completed`"));
        }
        check_depth(data)?;
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| malformed(&format!("an event is not the JSON of this format: {error}")))?;
        let kind = match event.r#type.get() {
            "" => name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default(),
            kind => kind,
        };
        self.take(kind, &event, data, out)
    }

    fn end(&mut self, _: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.done { Ok(()) } else { Err(truncated("the stream ended without `response.completed`")) }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        check_depth(body)?;
        let json: &RawValue = serde_json::from_slice(body)
            .map_err(|error| malformed(&format!("the body is not JSON: {error}")))?;
        self.close(json, "", out)
    }
}

impl ResponsesDecoder {
    fn take(
        &mut self,
        kind: &str,
        event: &Event<'_>,
        data: &[u8],
        out: &mut Vec<Chunk>,
    ) -> Result<Seen, Error> {
        let place = Place { index: event.output_index.0, id: event.item_id.get() };
        let content = event.content_index.0.unwrap_or(0);
        let summary = (Source::Summary, event.summary_index.0.unwrap_or(0));
        let raw = (Source::Raw, content);
        let (delta, text) = (event.delta.get(), event.text.get());
        let output = &mut self.output;
        match kind {
            "response.output_text.delta" => output.say(place, (content, false), delta, false, out)?,
            "response.function_call_arguments.delta" => output.argue(place, delta, false, out)?,
            "response.reasoning_summary_text.delta" => output.reason(place, summary, delta, false, out)?,
            "response.reasoning_text.delta" => output.reason(place, raw, delta, false, out)?,
            "response.refusal.delta" => output.say(place, (content, true), delta, false, out)?,
            "response.output_text.done" => output.say(place, (content, false), text, true, out)?,
            "response.function_call_arguments.done" => {
                output.argue(place, event.arguments.get(), true, out)?;
            }
            "response.reasoning_summary_text.done" => output.reason(place, summary, text, true, out)?,
            "response.reasoning_text.done" => output.reason(place, raw, text, true, out)?,
            "response.refusal.done" => output.say(place, (content, true), event.refusal.get(), true, out)?,
            "response.output_item.added" => output.add(event.output_index.0, item(event)?, out)?,
            "response.output_item.done" => output.finish(event.output_index.0, item(event)?, out)?,
            // The same again, or what is not kept.
            "response.content_part.added"
            | "response.content_part.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.output_text.annotation.added" => {}
            "response.created" => {
                self.start(event.response, out)?;
                return Ok(Seen::Life);
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response =
                    event.response.ok_or_else(|| malformed(&format!("`{kind}` without a response")))?;
                self.close(response, kind.strip_prefix("response.").unwrap_or_default(), out)?;
                return Ok(Seen::End);
            }
            "error" => return Err(WireError::of_json(data).into_error()),
            _ if event.error.is_some_and(is_there) => return Err(WireError::of_json(data).into_error()),
            _ => return Ok(Seen::Life),
        }
        Ok(Seen::Content)
    }

    fn start(&mut self, response: Option<&RawValue>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.started, true)
            && let Some(json) = response
        {
            self.model(&read(json)?, out);
        }
        Ok(())
    }

    fn model(&mut self, response: &Response<'_>, out: &mut Vec<Chunk>) {
        let model = response.model.get();
        if !self.has_model && !model.is_empty() {
            self.has_model = true;
            out.push(Chunk::Start { request_id: None, model: Some(model.to_owned()) });
        }
    }

    /// The reply as it is in the end. Its status counts before the event's name: some servers call every
    /// end `response.completed`.
    fn close(&mut self, json: &RawValue, name: &str, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let response = read(json)?;
        let status = if response.status.get().is_empty() { name } else { response.status.get() };
        let failed = response.error.is_some_and(is_there);
        if failed || matches!(status, "failed" | "cancelled") {
            return Err(failure(json, failed, status));
        }
        let reason = response.incomplete_details.as_ref().map_or("", |details| details.reason.get());
        let cut = match status {
            "completed" => None,
            "incomplete" if reason == "content_filter" => Some(Finish::ContentFilter),
            // A reason that we do not know: what is cut is not whole.
            "incomplete" => Some(Finish::Length),
            "in_progress" | "queued" => {
                let text = "the response is still under way; leave `background` out of `extra`";
                return Err(malformed(text).retryable(false));
            }
            _ => return Err(malformed("the body is JSON, but no reply")),
        };
        self.model(&response, out);
        self.output.settle(response.output.as_deref().unwrap_or_default(), out)?;
        let has_calls = self.output.close(cut.is_some(), out)?;
        out.extend(response.usage.map(|usage| Chunk::Usage(Usage::from(usage))));
        self.done = true;
        let whole = if has_calls { Finish::ToolCalls } else { Finish::Stop };
        out.push(Chunk::End(cut.unwrap_or(whole)));
        Ok(())
    }
}

fn item<'a>(event: &Event<'a>) -> Result<&'a RawValue, Error> {
    event.item.ok_or_else(|| malformed(&format!("`{}` without an item", event.r#type.get())))
}

fn read(json: &RawValue) -> Result<Response<'_>, Error> {
    serde_json::from_str(json.get())
        .map_err(|error| malformed(&format!("a response is not as it should be: {error}")))
}

fn is_there(json: &RawValue) -> bool {
    json.get() != "null"
}

fn failure(json: &RawValue, told: bool, status: &str) -> Error {
    if told {
        return WireError::of_json(json.get().as_bytes()).into_error();
    }
    let text = format!("the provider ended the answer as `{status}`, without saying why");
    Error::new(ErrorKind::ProviderError, text)
}
