//! Messages events as chunks.

use ambidex_core::{Chunk, Error, Finish, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::block::Block;
use super::event::{Event, Whole, WireUsage};
use crate::adapter::{Decoder, Seen, check_depth, malformed, truncated};
use crate::failure::WireError;

/// Reads one reply.
#[derive(Default)]
pub(super) struct MessagesDecoder {
    blocks: Vec<Block>,
    usage: WireUsage,
    finish: Option<Finish>,
    done: bool,
}

/// The delta of a block that we do not know.
#[derive(Deserialize)]
struct UnknownDelta {
    delta: Map<String, Value>,
}

impl Decoder for MessagesDecoder {
    fn event(&mut self, name: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error> {
        if self.done || data.trim_ascii().is_empty() {
            return Ok(Seen::Life);
        }
        check_depth(data)?;
        // llama.cpp sends the error's fields without the envelope.
        if name == Some(b"error") {
            return Err(error(data));
        }
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| malformed(&format!("an event is not the JSON of this format: {error}")))?;
        let kind = match &event.r#type {
            Some(kind) => kind.0.as_bytes(),
            None => name.unwrap_or_default(),
        };
        match kind {
            b"content_block_delta" => self.delta(event, data, out)?,
            b"content_block_start" => self.start(event, out)?,
            b"content_block_stop" => self.open(event.index)?.stop(out)?,
            b"message_start" => {
                let message = event.message.ok_or_else(|| malformed("`message_start` without a message"))?;
                let model = message.model.filter(|model| !model.0.is_empty());
                out.push(Chunk::Start { request_id: None, model: model.map(|model| model.0.into_owned()) });
                self.count(message.usage, out);
            }
            b"message_delta" => {
                if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.finish = Some(finish(&reason.0));
                }
                self.count(event.usage, out);
            }
            b"message_stop" => {
                self.close(out)?;
                return Ok(Seen::End);
            }
            b"error" => return Err(error(data)),
            _ if event.error.is_some_and(|error| error.get() != "null") => return Err(error(data)),
            _ => return Ok(Seen::Life),
        }
        Ok(Seen::Content)
    }

    fn end(&mut self, _: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.done { Ok(()) } else { Err(truncated("the stream ended without `message_stop`")) }
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        check_depth(body)?;
        let whole: Whole<'_> = serde_json::from_slice(body)
            .map_err(|error| malformed(&format!("the body is not the JSON of this format: {error}")))?;
        let is_error = whole.r#type.is_some_and(|kind| kind.0 == "error");
        if is_error || whole.error.is_some_and(|error| error.get() != "null") {
            return Err(WireError::of_json(body).into_error());
        }
        let (Some(content), Some(reason)) = (whole.content, whole.stop_reason) else {
            return Err(malformed("the body is JSON, but no reply"));
        };
        out.push(Chunk::Start { request_id: None, model: whole.model.map(|model| model.0.into_owned()) });
        for (index, json) in (0..).zip(content) {
            Block::start(index, json, out)?.stop(out)?;
        }
        self.count(whole.usage, out);
        self.finish = Some(finish(&reason.0));
        self.close(out)
    }
}

impl MessagesDecoder {
    fn start(&mut self, event: Event<'_>, out: &mut Vec<Chunk>) -> Result<(), Error> {
        let (Some(index), Some(json)) = (event.index, event.content_block) else {
            return Err(malformed("`content_block_start` without an index or a block"));
        };
        if self.blocks.iter().any(|block| block.index == index) {
            return Err(malformed(&format!("content block {index} began twice")));
        }
        self.blocks.push(Block::start(index, json, out)?);
        Ok(())
    }

    fn delta(&mut self, event: Event<'_>, data: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error> {
        let block = self.open(event.index)?;
        if block.is_opaque() {
            let unknown: UnknownDelta = serde_json::from_slice(data)
                .map_err(|error| malformed(&format!("a delta is not as it should be: {error}")))?;
            block.merge(unknown.delta);
            return Ok(());
        }
        let delta = event.delta.ok_or_else(|| malformed("`content_block_delta` without a delta"))?;
        block.delta(delta, out)
    }

    /// The block under way at this index; blocks may be interleaved.
    fn open(&mut self, index: Option<u32>) -> Result<&mut Block, Error> {
        let open = self.blocks.iter_mut().rev().find(|block| block.open && Some(block.index) == index);
        open.ok_or_else(|| malformed("a piece of a content block that is not under way"))
    }

    fn count(&mut self, usage: Option<WireUsage>, out: &mut Vec<Chunk>) {
        if let Some(usage) = usage {
            self.usage.update(usage);
            out.push(Chunk::Usage(Usage::from(self.usage)));
        }
    }

    fn close(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error> {
        if self.blocks.iter().any(|block| block.open) {
            return Err(truncated("the message stopped while a content block was under way"));
        }
        let finish = self.finish.ok_or_else(|| truncated("the message stopped without a stop reason"))?;
        self.done = true;
        out.push(Chunk::End(finish));
        Ok(())
    }
}

fn error(data: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Id {
        request_id: Option<String>,
    }
    let id = serde_json::from_slice::<Id>(data).ok().and_then(|id| id.request_id);
    WireError::of_json(data).into_error().with_request_id(id)
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "tool_use" => Finish::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "pause_turn" => Finish::Paused,
        "refusal" => Finish::Refusal,
        _ => Finish::Other,
    }
}
