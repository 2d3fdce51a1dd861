//! OpenAI Chat Completions, and the servers that speak it: llama.cpp, vLLM, Ollama, OpenRouter and others.
//!
//! The end of a reply is a finish reason, then `[DONE]` or a clean end of the body.

mod calls;
mod decode;
mod encode;
mod event;
mod quirks;
mod token;

use std::borrow::Cow;

use ambidex_core::message::Message;
use ambidex_core::{Error, Request};

use crate::adapter::{Adapter, Decoder, Endpoint, Frame};

pub(crate) use encode::effort;
pub use quirks::{Effort, History, KeyHeader, NamedTool, Off, OutputFormat, Quirks, ReasoningBack};

/// The name of this format in caches and provider state.
pub const FORMAT: &str = "openai-chat";

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

impl Adapter for OpenAiChat {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn path(&self, _: &Endpoint) -> Cow<'static, str> {
        Cow::Borrowed("/chat/completions")
    }

    fn dialect(&self, endpoint: &Endpoint) -> &'static str {
        endpoint.quirks.history.dialect
    }

    fn frame(&self, request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
        encode::frame(request, endpoint)
    }

    fn message(
        &self,
        endpoint: &Endpoint,
        before: Option<&Message>,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        encode::message(&endpoint.quirks.history, before, message, out)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::ChatDecoder::default())
    }
}
