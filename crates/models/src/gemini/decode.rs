//! `streamGenerateContent` events as chunks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ambidex_core::{Chunk, Error, ErrorKind, Finish, Usage};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::content::{UNSIGNED, state, text_signature};
use super::event::{Candidate, Event, FunctionCall, PromptFeedback, WirePart, WireUsage};
use crate::adapter::{Decoder, Seen, check_depth, malformed, truncated};
use crate::failure::{WireError, quote};

/// Reads one reply.
#[derive(Default)]
pub(super) struct GeminiDecoder {
    started: bool,
    /// The reply's id, for calls to which the server gave none.
    id: String,
    next_part: u32,
    /// The text or thought under way: pieces without a signature are one part.
    open: Option<Open>,
    calls: usize,
    usage: WireUsage,
    finish: Option<Finish>,
    done: bool,
}

#[derive(Clone, Copy)]
struct Open {
    part: u32,
    thought: bool,
}

impl Decoder for GeminiDecoder {
    fn event(&mut self, _: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        // Some servers copy the end of another format.
        if data.trim_ascii().is_empty() || data.trim_ascii() == b"[DONE]" {
            return Ok(Seen::Life);
        }
        self.json(data, out)
    }

    fn end(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        let Some(finish) = self.finish else {
            return Err(truncated("the stream ended without a finish reason"));
        };
        self.done = true;
        self.close_part(out);
        // The vendor says `STOP` beside calls.
        let calls = finish == Finish::Stop && self.calls > 0;
        out.push(Chunk::End(if calls { Finish::ToolCalls } else { finish }));
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        check_depth(body)?;
        // A server that does not know `alt=sse` gives the events as a list.
        if body.trim_ascii_start().first() == Some(&b'[') {
            let events: Vec<&RawValue> = serde_json::from_slice(body)
                .map_err(|error| malformed(&format!("the body is not the JSON of this format: {error}")))?;
            for event in events {
                self.json(event.get().as_bytes(), out)?;
            }
        } else {
            self.json(body, out)?;
        }
        if self.finish.is_none() {
            return Err(malformed("the body is JSON, but no reply"));
        }
        self.end(out)
    }
}

impl GeminiDecoder {
    fn json(&mut self, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        check_depth(data)?;
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| malformed(&format!("an event is not the JSON of this format: {error}")))?;
        if event.error.is_some_and(|error| error.get() != "null") {
            return Err(WireError::of_json(data).into_error());
        }
        let before = out.len();
        self.start(&event, out);
        if let Some(usage) = event.usage_metadata {
            self.usage.update(usage);
            out.push(Chunk::Usage(Usage::from(self.usage)));
        }
        if let Some(feedback) = &event.prompt_feedback {
            blocked(feedback)?;
        }
        let first = |candidate: &Candidate<'_>| candidate.index.unwrap_or(0) == 0;
        if let Some(candidate) = event.candidates.into_iter().flatten().find(first) {
            self.candidate(candidate, out)?;
        }
        Ok(if out.len() > before { Seen::Content } else { Seen::Life })
    }

    fn start(&mut self, event: &Event<'_>, out: &mut Vec<Chunk>) {
        let known = event.candidates.is_some() || event.usage_metadata.is_some();
        if self.started || !known {
            return;
        }
        self.started = true;
        if let Some(id) = &event.response_id {
            self.id = id.0.clone().into_owned();
        }
        // No header has one.
        let id = Some(&self.id)
            .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
        let model = event.model_version.as_ref().filter(|model| !model.0.is_empty());
        let model = model.map(|model| model.0.to_string());
        out.push(Chunk::Start { request_id: id.cloned(), model });
    }

    fn candidate(&mut self, candidate: Candidate<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let before = out.len();
        for json in candidate.content.into_iter().flat_map(|content| content.parts.unwrap_or_default()) {
            self.part(json, out)?;
        }
        // Where the vendor's own tools run, it says `STOP` in the middle too: what goes on ends again.
        if out.len() > before {
            self.finish = None;
        }
        if let Some(reason) = candidate.finish_reason.filter(|reason| !is_unspecified(&reason.0)) {
            let said = candidate.finish_message.as_ref().map_or("", |text| &*text.0);
            self.finish = Some(finish(&reason.0, said)?);
        }
        Ok(())
    }

    fn part(&mut self, json: &RawValue, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let part: WirePart<'_> = serde_json::from_str(json.get())
            .map_err(|error| malformed(&format!("a part is not as it should be: {error}")))?;
        let signature =
            part.thought_signature.map(RawValue::get).filter(|text| !matches!(*text, "null" | "\"\""));
        match (part.function_call, part.text) {
            (Some(call), _) => self.call(&call, signature, out),
            (None, Some(text)) if !text.0.is_empty() => {
                self.text(text.0, part.thought == Some(true), signature, out);
                Ok(())
            }
            (None, text) => {
                match (text, signature) {
                    // The signature of a whole stream comes with no text at its end.
                    (Some(_), Some(_)) => self.opaque(json.get().to_owned(), out),
                    (None, signature) if is_bare(json)? => {
                        if let Some(signature) = signature {
                            self.opaque(format!(r#"{{"text":"","thoughtSignature":{signature}}}"#), out);
                        }
                    }
                    (None, _) => self.opaque(json.get().to_owned(), out),
                    (Some(_), None) => {}
                }
                Ok(())
            }
        }
    }

    /// A piece without a signature belongs to the part under way. One with a signature is a part of its own:
    /// the vendor wants it back as it came, joined with nothing.
    fn text(&mut self, text: Cow<'_, str>, thought: bool, signature: Option<&str>, out: &mut Vec<Chunk>) {
        let text = text.into_owned();
        let going_on = self.open.filter(|open| open.thought == thought && signature.is_none());
        let part = match going_on {
            Some(open) => open.part,
            None => {
                self.close_part(out);
                let part = self.number();
                self.open = Some(Open { part, thought });
                part
            }
        };
        out.push(if thought { Chunk::Reasoning { part, text } } else { Chunk::Text { part, text } });
        match signature {
            None if thought && going_on.is_none() => {
                out.push(Chunk::State { part, state: state(UNSIGNED.to_owned()) });
            }
            None => {}
            Some(signature) if thought => {
                out.push(Chunk::State { part, state: state(signature.to_owned()) });
                self.close_part(out);
            }
            Some(signature) => {
                self.close_part(out);
                let part = self.number();
                out.push(Chunk::State { part, state: text_signature(signature) });
                out.push(Chunk::PartEnd { part });
            }
        }
    }

    fn call(
        &mut self,
        call: &FunctionCall<'_>,
        signature: Option<&str>,
        out: &mut Vec<Chunk>,
    ) -> Result<(), Error> {
        if call.partial_args.is_some() || call.will_continue == Some(true) {
            return Err(malformed(
                "a call comes in pieces; leave `streamFunctionCallArguments` out of the request",
            ));
        }
        let name = call.name.as_ref().map_or("", |name| &*name.0);
        if name.is_empty() {
            return Err(malformed("a function call without a name"));
        }
        self.close_part(out);
        let part = self.number();
        let id = match call.id.as_ref().filter(|id| !id.0.is_empty()) {
            Some(id) => id.0.to_string(),
            None => format!("call_{}_{}", self.id, self.calls),
        };
        self.calls += 1;
        out.push(Chunk::ToolCall { part, id, name: name.to_owned() });
        // It comes whole: no arguments are none, also when the reply is cut after it.
        let args = call.args.map(RawValue::get).filter(|args| *args != "null").unwrap_or("{}");
        out.push(Chunk::Arguments { part, text: args.to_owned() });
        if let Some(signature) = signature {
            out.push(Chunk::State { part, state: state(signature.to_owned()) });
        }
        out.push(Chunk::PartEnd { part });
        Ok(())
    }

    /// A part that we do not know, kept as it is.
    fn opaque(&mut self, json: String, out: &mut Vec<Chunk>) {
        self.close_part(out);
        let part = self.number();
        out.push(Chunk::State { part, state: state(json) });
        out.push(Chunk::PartEnd { part });
    }

    fn close_part(&mut self, out: &mut Vec<Chunk>) {
        if let Some(Open { part, .. }) = self.open.take() {
            out.push(Chunk::PartEnd { part });
        }
    }

    fn number(&mut self) -> u32 {
        let part = self.next_part;
        self.next_part += 1;
        part
    }
}

/// Whether a part has nothing but what stands beside its content.
fn is_bare(json: &RawValue) -> Result<bool, Error> {
    let fields: BTreeMap<Cow<'_, str>, IgnoredAny> = serde_json::from_str(json.get())
        .map_err(|error| malformed(&format!("a part is not as it should be: {error}")))?;
    Ok(fields.keys().all(|name| matches!(&**name, "text" | "thought" | "thoughtSignature")))
}

fn blocked(feedback: &PromptFeedback<'_>) -> Result<(), Error> {
    let Some(reason) = feedback.block_reason.as_ref().filter(|reason| !is_unspecified(&reason.0)) else {
        return Ok(());
    };
    let said = feedback.block_reason_message.as_ref().map_or("", |text| &*text.0);
    Err(stopped(ErrorKind::ContentFilter, "the provider blocked the prompt", &reason.0, said))
}

fn is_unspecified(reason: &str) -> bool {
    reason.is_empty() || reason.ends_with("_UNSPECIFIED")
}

fn stopped(kind: ErrorKind, what: &str, reason: &str, said: &str) -> Error {
    let (reason, said) = (quote(reason, None), quote(said, None));
    let said = if said.is_empty() { said } else { format!(": \"{said}\"") };
    Error::new(kind, format!("{what} (`{reason}`{said})"))
}

/// # Errors
/// The reason says that what came is no answer.
fn finish(reason: &str, said: &str) -> Result<Finish, Error> {
    let (kind, what) = match reason {
        // The latter is no word of the vendor, but of servers that speak like it.
        "STOP" | "FUNCTION_CALL" => return Ok(Finish::Stop),
        // The latter is the limit of one request, to be continued by a token.
        "MAX_TOKENS" | "CONTINUATION" => return Ok(Finish::Length),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "ESCALATION" => return Ok(Finish::ContentFilter),
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
            (ErrorKind::BadUpstream, "the model's answer could not be read by its own provider")
        }
        "TOO_MANY_TOOL_CALLS" => {
            (ErrorKind::ProviderError, "the provider's own tools were called too often to come to an answer")
        }
        "MISSING_THOUGHT_SIGNATURE" => {
            (ErrorKind::InvalidRequest, "the history lacks a signature that the provider wants back")
        }
        "PUP_LIMITED_DISABLED" => (ErrorKind::Forbidden, "the provider has limited or disabled the account"),
        _ => return Ok(Finish::Other),
    };
    Err(stopped(kind, what, reason, said))
}
