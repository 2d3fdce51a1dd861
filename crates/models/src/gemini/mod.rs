//! Gemini `generateContent`: Google's Gemini API (`v1beta`, and `v1` with what it knows), and Vertex AI where
//! the base URL ends with `/publishers/google`.
//!
//! The format has no terminal event: a reply is whole when its body ends cleanly after a finish reason.

mod content;
mod decode;
mod encode;
pub(crate) mod error;
mod event;
mod thinking;

use std::borrow::Cow;
use std::fmt::Write;

use ambidex_core::message::Message;
use ambidex_core::model::StructuredOutput;
use ambidex_core::{Error, Request};
use ambidex_http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use crate::adapter::{Adapter, Decoder, Endpoint, Frame, secret_header};

/// The name of this format in caches and provider state.
pub const FORMAT: &str = "gemini";

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Adapter for Gemini {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn dialect(&self, endpoint: &Endpoint) -> &'static str {
        if is_v1(endpoint) { "gemini-v1" } else { FORMAT }
    }

    fn path(&self, endpoint: &Endpoint) -> Cow<'static, str> {
        let model = endpoint.model.trim_start_matches('/');
        let named = model.starts_with("models/") || model.starts_with("tunedModels/");
        let mut path = String::from(if named { "/" } else { "/models/" });
        for byte in model.bytes() {
            match byte {
                b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'/' => path.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => path.push(char::from(byte)),
                // Writing to a string does not fail.
                _ => drop(write!(path, "%{byte:02X}")),
            }
        }
        path.push_str(":streamGenerateContent?alt=sse");
        Cow::Owned(path)
    }

    fn base_path(&self) -> &'static str {
        "/v1beta"
    }

    fn list_path(&self, _: &Endpoint) -> &'static str {
        "/models?pageSize=1000"
    }

    fn headers(
        &self,
        _: &Endpoint,
        key: Option<&SecretString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        match key {
            Some(key) => Ok(vec![(HeaderName::from_static("x-goog-api-key"), secret_header("", key)?)]),
            None => Ok(vec![]),
        }
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
        content::message(is_v1(endpoint), before, message, out)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::GeminiDecoder::default())
    }
}

/// How a model of this format follows a schema: those before Gemini 3 refuse one beside tools.
pub fn structured_output(model: &str) -> StructuredOutput {
    if is_older(model) { StructuredOutput::NativeWithoutTools } else { StructuredOutput::Native }
}

/// Gemini 1 and 2, and Gemma. A name that is not known is taken for a newer one.
fn is_older(model: &str) -> bool {
    ["gemini-1", "gemini-2", "gemma"].iter().any(|family| model.contains(family)) || model == "gemini-pro"
}

/// Whether requests go to Google's `v1`. Vertex AI has `v1` further in front and knows everything there.
fn is_v1(endpoint: &Endpoint) -> bool {
    endpoint.base_path.rsplit('/').next() == Some("v1")
}
