//! Ollama's own interface, `/api/chat`: a line of JSON for each piece of the reply.
//!
//! The end of a reply is the line with `done: true`. Calls have no ids in older versions, so ids are made
//! here; results are sent back with the tool's name too. Without `truncate: false` and `shift: false` the
//! server drops the oldest messages of a prompt that is too long and says nothing.

mod decode;
mod encode;
mod event;

use std::borrow::Cow;

use ambidex_core::message::Message;
use ambidex_core::{Error, Request};
use ambidex_http::{HeaderName, HeaderValue, header};
use secrecy::SecretString;

use crate::adapter::{Adapter, Decoder, Endpoint, Frame, Framing, secret_header};

/// The name of this format in caches and provider state.
pub const FORMAT: &str = "ollama";
/// Where a server listens unless it was told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:11434";

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Ollama;

impl Adapter for Ollama {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn path(&self, endpoint: &Endpoint) -> Cow<'static, str> {
        // Both forms of the address are in use.
        Cow::Borrowed(if endpoint.base_path.ends_with("/api") { "/chat" } else { "/api/chat" })
    }

    fn list_path(&self, endpoint: &Endpoint) -> &'static str {
        if endpoint.base_path.ends_with("/api") { "/tags" } else { "/api/tags" }
    }

    fn base_path(&self) -> &'static str {
        ""
    }

    fn headers(
        &self,
        _: &Endpoint,
        key: Option<&SecretString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/x-ndjson"))];
        if let Some(key) = key {
            headers.push((header::AUTHORIZATION, secret_header("Bearer ", key)?));
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
        Box::new(decode::ChatDecoder::default())
    }
}
