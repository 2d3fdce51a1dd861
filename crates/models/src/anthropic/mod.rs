//! Anthropic Messages, and the servers that speak it.
//!
//! The end of a reply is `message_stop`, with a stop reason before it and no block left open.

mod block;
mod decode;
mod encode;
mod event;

use std::borrow::Cow;

use ambidex_core::message::Message;
use ambidex_core::{Error, Request};
use ambidex_http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::adapter::{Adapter, Decoder, Endpoint, Frame, secret_header};

/// The name of this format in caches and provider state.
pub const FORMAT: &str = "anthropic";

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Anthropic;

impl Adapter for Anthropic {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn path(&self, _: &Endpoint) -> Cow<'static, str> {
        Cow::Borrowed("/messages")
    }

    fn list_path(&self, _: &Endpoint) -> &'static str {
        "/models?limit=1000"
    }

    fn headers(
        &self,
        _: &Endpoint,
        key: Option<&SecretString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        let version = HeaderName::from_static("anthropic-version");
        let mut headers = vec![(version, HeaderValue::from_static("2023-06-01"))];
        if let Some(key) = key {
            headers.push((HeaderName::from_static("x-api-key"), secret_header("", key)?));
        }
        Ok(headers)
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
        Box::new(decode::MessagesDecoder::default())
    }
}
