//! Lines of `/api/chat` as chunks.

use ambidex_core::message::ProviderState;
use ambidex_core::{Chunk, Error, Finish};
use serde_json::value::RawValue;

use super::FORMAT;
use super::event::{Call, Event};
use crate::adapter::{Decoder, Seen, Text, check_depth, malformed, truncated};
use crate::failure::WireError;

/// Reads one reply.
#[derive(Default)]
pub(super) struct ChatDecoder {
    started: bool,
    /// Tells this reply's calls from those of others: when it was begun.
    stamp: String,
    next_part: u32,
    text: Option<u32>,
    reasoning: Option<u32>,
    calls: usize,
    done: bool,
}

impl Decoder for ChatDecoder {
    fn event(&mut self, _: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        check_depth(data)?;
        self.line(data, out)
    }

    fn end(&mut self, _: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.done { Ok(()) } else { Err(truncated("the stream ended without a line that says `done`")) }
    }

    /// One object, or all lines of a stream that calls itself JSON.
    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        check_depth(body)?;
        for value in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
            let value = value.map_err(|error| malformed(&format!("the body is not JSON: {error}")))?;
            if self.line(value.get().as_bytes(), out)? == Seen::End {
                return Ok(());
            }
        }
        Err(malformed("the body is JSON, but no reply"))
    }
}

impl ChatDecoder {
    fn line(&mut self, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| malformed(&format!("a line is not the JSON of this format: {error}")))?;
        if event.error.is_some_and(|error| error.get() != "null") {
            return Err(WireError::of_json(data).into_error());
        }
        let done = event.done.unwrap_or(false);
        let usage = event.usage();
        if !self.started && (done || event.message.is_some()) {
            self.start(event.model.as_ref(), event.created_at.as_ref(), out);
        }
        let before = out.len();
        if let Some(message) = event.message {
            if let Some(thinking) = message.thinking {
                self.reason(thinking, out);
            }
            if let Some(content) = message.content.filter(|content| !content.0.is_empty()) {
                let part = part(&mut self.text, &mut self.next_part);
                out.push(Chunk::Text { part, text: content.0.into_owned() });
            }
            for call in message.tool_calls.into_iter().flatten() {
                self.call(&call, out)?;
            }
        }
        if done {
            out.extend(usage.map(Chunk::Usage));
            self.close(event.done_reason.as_ref(), out)?;
            return Ok(Seen::End);
        }
        Ok(if out.len() > before { Seen::Content } else { Seen::Life })
    }

    fn start(&mut self, model: Option<&Text<'_>>, created_at: Option<&Text<'_>>, out: &mut Vec<Chunk>) {
        self.started = true;
        if let Some(time) = created_at {
            self.stamp = time.0.chars().filter(char::is_ascii_digit).take(20).collect();
        }
        let model = model.filter(|model| !model.0.is_empty()).map(|model| model.0.to_string());
        out.push(Chunk::Start { request_id: None, model });
    }

    fn reason(&mut self, text: Text<'_>, out: &mut Vec<Chunk>) {
        if text.0.is_empty() {
            return;
        }
        let first = self.reasoning.is_none();
        let part = part(&mut self.reasoning, &mut self.next_part);
        out.push(Chunk::Reasoning { part, text: text.0.into_owned() });
        if first {
            // The field it goes back in; there is no signature.
            let state = ProviderState { format: FORMAT.to_owned(), json: "\"thinking\"".to_owned() };
            out.push(Chunk::State { part, state });
        }
    }

    /// A call comes whole.
    fn call(&mut self, call: &Call<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let name = &*call.function.name.0;
        if name.is_empty() {
            return Err(malformed("a tool call has no name"));
        }
        let given = call.id.as_ref().filter(|id| !id.0.is_empty());
        let id = match given {
            Some(id) => id.0.to_string(),
            None if self.stamp.is_empty() => format!("call_{}", self.calls),
            None => format!("call_{}_{}", self.stamp, self.calls),
        };
        self.calls += 1;
        let part = self.next_part;
        self.next_part += 1;
        out.push(Chunk::ToolCall { part, id, name: name.to_owned() });
        let text = call.function.arguments();
        if !text.is_empty() {
            out.push(Chunk::Arguments { part, text: text.into_owned() });
        }
        out.push(Chunk::PartEnd { part });
        Ok(())
    }

    fn close(&mut self, reason: Option<&Text<'_>>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let finish = match reason.map_or("", |reason| &*reason.0) {
            // Said where there was nothing to answer; our requests always have a message.
            word @ ("load" | "unload") => {
                return Err(malformed(&format!("the server did not answer, it ended with `{word}`")));
            }
            "length" => Finish::Length,
            "content_filter" => Finish::ContentFilter,
            _ if self.calls > 0 => Finish::ToolCalls,
            // Older versions give no reason.
            "" | "stop" => Finish::Stop,
            _ => Finish::Other,
        };
        self.done = true;
        out.extend([self.reasoning, self.text].into_iter().flatten().map(|part| Chunk::PartEnd { part }));
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
