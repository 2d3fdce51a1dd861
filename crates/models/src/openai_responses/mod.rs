//! OpenAI Responses, and the servers that speak it.
//!
//! The end of a reply is `response.completed`, `response.incomplete` or `response.failed`. The history is
//! ours: by default the vendor stores nothing, and reasoning goes back encrypted, as it came.

mod decode;
mod encode;
mod event;
mod item;
mod output;

use std::borrow::Cow;

use ambidex_core::message::Message;
use ambidex_core::{Error, Request};

use crate::adapter::{Adapter, Decoder, Endpoint, Frame};

/// The name of this format in caches and provider state.
pub const FORMAT: &str = "openai-responses";

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiResponses;

impl Adapter for OpenAiResponses {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn path(&self, _: &Endpoint) -> Cow<'static, str> {
        Cow::Borrowed("/responses")
    }

    fn frame(&self, request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
        encode::frame(request, endpoint)
    }

    fn message(
        &self,
        _: &Endpoint,
        before: Option<&Message>,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        encode::message(before, message, out)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::ResponsesDecoder::default())
    }
}
