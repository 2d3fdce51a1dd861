//! Chat Completions events as chunks.

use std::borrow::Cow;

use ambidex_core::message::ProviderState;
use ambidex_core::{Chunk, Error, ErrorKind, Finish, Usage};
use serde_json::value::RawValue;

use super::FORMAT;
use super::calls::Calls;
use super::event::{CallDelta, Choice, Delta, Event, First};
use super::token::Tokens;
use crate::adapter::{Decoder, Seen, Text, check_depth, malformed, read_json, truncated};
use crate::failure::WireError;

/// Reads one reply.
#[derive(Default)]
pub(super) struct ChatDecoder {
    started: bool,
    id: String,
    next_part: u32,
    text: Option<u32>,
    refusal: Option<u32>,
    reasoning: Option<u32>,
    details: String,
    tokens: Tokens,
    calls: Calls,
    finish: Option<Finish>,
    done: bool,
}

impl Decoder for ChatDecoder {
    fn event(&mut self, _: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        if data.trim_ascii() == b"[DONE]" {
            self.close(out)?;
            return Ok(Seen::End);
        }
        if data.trim_ascii().is_empty() {
            return Ok(Seen::Life);
        }
        self.json(data, out)
    }

    fn end(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.done { Ok(()) } else { self.close(out) }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        self.json(body, out)?;
        if self.finish.is_none() {
            return Err(malformed("the body is JSON, but no reply"));
        }
        self.close(out)
    }
}

impl ChatDecoder {
    fn json(&mut self, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        check_depth(data)?;
        if let Some(seen) = self.token(data, out)? {
            return Ok(seen);
        }
        let event: Event<'_> = read_json(data)
            .map_err(|error| malformed(&format!("an event is not the JSON of this format: {error}")))?;
        if let Some(error) = event.error.filter(|error| error.get() != "null") {
            return Err(WireError::of_json(error.get().as_bytes()).into_error());
        }
        if event.object.as_ref().is_some_and(|object| object.0 == "error") {
            return Err(WireError::of_json(data).into_error());
        }
        if !self.started {
            self.start(&event, out);
        }
        let before = out.len();
        let mut seen = Seen::Life;
        if let Some(usage) = event.usage {
            out.push(Chunk::Usage(Usage::from(usage)));
        }
        if let Some(First(Some(choice))) = event.choices {
            self.choice(choice, out)?;
        }
        if out.len() > before {
            seen = Seen::Content;
        }
        Ok(seen)
    }

    /// The short way, for the events between the first and the last.
    fn token(&mut self, data: &[u8], out: &mut Vec<Chunk>) -> Result<Option<Seen>, Error> {
        let between = self.started && self.finish.is_none();
        let Some(token) = (if between { self.tokens.read(data) } else { None }) else {
            return Ok(None);
        };
        let before = out.len();
        if let Some(text) = token.text {
            self.say(text.0, out);
        }
        if let Some(piece) = token.call {
            self.calls.push(piece, &self.id, &mut self.next_part, out)?;
        }
        self.finished(token.finish.as_ref())?;
        Ok(Some(if out.len() > before { Seen::Content } else { Seen::Life }))
    }

    fn say(&mut self, text: Cow<'_, str>, out: &mut Vec<Chunk>) {
        if !text.is_empty() {
            let part = part(&mut self.text, &mut self.next_part);
            out.push(Chunk::Text { part, text: text.into_owned() });
        }
    }

    fn finished(&mut self, reason: Option<&Text<'_>>) -> Result<(), Error> {
        match reason.map(|reason| &*reason.0) {
            None | Some("") => {}
            Some("error") => {
                return Err(Error::new(
                    ErrorKind::ProviderError,
                    "the provider ended the answer with an error",
                ));
            }
            Some(reason) => self.finish = Some(finish(reason)),
        }
        Ok(())
    }

    fn start(&mut self, event: &Event<'_>, out: &mut Vec<Chunk>) {
        if event.choices.is_none() {
            return;
        }
        self.started = true;
        if let Some(id) = &event.id {
            self.id = id.0.strip_prefix("chatcmpl-").unwrap_or(&id.0).to_owned();
        }
        let model = event.model.as_ref().filter(|model| !model.0.is_empty());
        out.push(Chunk::Start { request_id: None, model: model.map(|model| model.0.to_string()) });
    }

    fn choice(&mut self, choice: Choice<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if let Some(delta) = choice.delta {
            self.delta(delta, out)?;
        }
        self.finished(choice.finish_reason.as_ref())
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if let Some(text) = delta.reasoning_content {
            self.reason("\"reasoning_content\"", text.0.into_owned(), out);
        } else if let Some(text) = delta.reasoning {
            self.reason("\"reasoning\"", text.0.into_owned(), out);
        }
        delta.reasoning_details.iter().flatten().for_each(|detail| self.detail(detail));
        if let Some(content) = delta.content {
            if !content.thinking.is_empty() {
                self.reason("\"\"", content.thinking, out);
            }
            self.say(content.text, out);
        }
        if let Some(refusal) = delta.refusal.filter(|text| !text.0.is_empty()) {
            let part = part(&mut self.refusal, &mut self.next_part);
            out.push(Chunk::Refusal { part, text: refusal.0.into_owned() });
        }
        for piece in delta.tool_calls.into_iter().flatten() {
            self.calls.push(piece, &self.id, &mut self.next_part, out)?;
        }
        if let Some(function) = delta.function_call {
            let piece = CallDelta { index: Some(0), function: Some(function), ..CallDelta::default() };
            self.calls.push(piece, &self.id, &mut self.next_part, out)?;
        }
        Ok(())
    }

    /// `field` is the name, as JSON, under which the text goes back; an empty one does not.
    fn reason(&mut self, field: &str, text: String, out: &mut Vec<Chunk>) {
        if text.is_empty() {
            return;
        }
        let first = self.reasoning.is_none();
        let part = part(&mut self.reasoning, &mut self.next_part);
        out.push(Chunk::Reasoning { part, text });
        if first && field.len() > 2 {
            out.push(Chunk::State { part, state: state(field.to_owned()) });
        }
    }

    fn detail(&mut self, detail: &RawValue) {
        self.details.push(if self.details.is_empty() { '[' } else { ',' });
        self.details.push_str(detail.get());
    }

    /// The end of the stream: a reply with a finish reason is whole.
    fn close(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let Some(mut finish) = self.finish else {
            return Err(truncated("the stream ended without a finish reason"));
        };
        self.done = true;
        if !self.details.is_empty() {
            let part = part(&mut self.reasoning, &mut self.next_part);
            out.push(Chunk::State { part, state: state(std::mem::take(&mut self.details) + "]") });
        }
        for part in [self.reasoning, self.text, self.refusal].into_iter().flatten() {
            out.push(Chunk::PartEnd { part });
        }
        self.calls.finish(out)?;
        // Some servers say `stop` beside calls.
        if finish == Finish::Stop && !self.calls.is_empty() {
            finish = Finish::ToolCalls;
        }
        out.push(Chunk::End(finish));
        Ok(())
    }
}

fn part(slot: &mut Option<u32>, next: &mut u32) -> u32 {
    *slot.get_or_insert_with(|| {
        let part = *next;
        *next += 1;
        part
    })
}

fn state(json: String) -> ProviderState {
    ProviderState { format: FORMAT.to_owned(), json }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "stop" | "stop_sequence" | "end_turn" | "eos" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        _ => Finish::Other,
    }
}
