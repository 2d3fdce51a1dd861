//! The seam to wire formats: requests to bytes, events to chunks. Without state of its own, clock or I/O.

use std::borrow::Cow;
use std::fmt;

use ambidex_core::message::Message;
use ambidex_core::{Chunk, Error, ErrorKind, Request};
use ambidex_http::{HeaderName, HeaderValue};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::openai_chat::Quirks;

/// What an endpoint understands, beyond its format.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The provider's id of the model.
    pub model: String,
    /// The path of the base URL, such as `/v1`.
    pub base_path: String,
    /// Sent where a format demands a limit and the request sets none.
    pub max_tokens: u32,
    /// Context window in tokens, where the user set one.
    pub context: Option<u64>,
    /// Chat Completions: what this server does in its own way.
    pub quirks: Quirks,
}

/// The body around the messages. It stays the same while instructions, tools and settings do.
#[derive(Clone, Debug)]
pub struct Frame {
    pub head: Bytes,
    pub tail: Bytes,
}

/// One wire format.
pub trait Adapter: Send + Sync {
    /// The name under which messages are cached and provider state is kept.
    fn format(&self) -> &'static str;

    /// The name under which messages for this endpoint are cached: endpoints that share it get the same
    /// bytes.
    fn dialect(&self, _endpoint: &Endpoint) -> &'static str {
        self.format()
    }

    /// How the body of a streamed reply is cut into events.
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// Below the base URL, with its query where it has one.
    fn path(&self, endpoint: &Endpoint) -> Cow<'static, str>;

    /// Where the provider's models are listed, below the base URL, with its query where it has one.
    fn list_path(&self, _endpoint: &Endpoint) -> &'static str {
        "/models"
    }

    /// The path of a base URL that has none.
    fn base_path(&self) -> &'static str {
        "/v1"
    }

    /// The headers the format asks for, the key among them, marked as sensitive. Without a word of the format
    /// it is the key alone, as its vendor wants it.
    ///
    /// # Errors
    /// `config_invalid` when the key has characters that no header can carry.
    fn headers(
        &self,
        endpoint: &Endpoint,
        key: Option<&SecretString>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        key.map(|key| endpoint.quirks.key.with(key)).transpose().map(|header| header.into_iter().collect())
    }

    /// Everything but the history.
    ///
    /// # Errors
    /// `invalid_request` for what the format cannot say, `unsupported` for what the endpoint cannot do.
    fn frame(&self, request: &Request, endpoint: &Endpoint) -> Result<Frame, Error>;

    /// Appends one message of the history to the body. The result may depend on the message before it and
    /// on the endpoint's [`dialect`](Self::dialect), under which it is cached, and on nothing else.
    ///
    /// # Errors
    /// `unsupported` for what the format cannot say, `internal` when it cannot be written.
    fn message(
        &self,
        endpoint: &Endpoint,
        before: Option<&Message>,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), Error>;

    /// Reads one reply.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// How a body is cut into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// A line of JSON each.
    Lines,
}

/// Reads the events of one reply.
pub trait Decoder: Send {
    /// Takes one event and appends its chunks.
    ///
    /// # Errors
    /// `bad_upstream` for what is no event of the format, and the error that an error event carries.
    fn event(&mut self, event: Option<&[u8]>, data: &[u8], out: &mut Vec<Chunk>) -> Result<Seen, Error>;

    /// The body ended cleanly. Appends the end where a clean end after the finish reason is one.
    ///
    /// # Errors
    /// `stream_truncated` when the terminal event is missing.
    fn end(&mut self, out: &mut Vec<Chunk>) -> Result<(), Error>;

    /// A whole reply in one JSON body, from a server that does not stream.
    ///
    /// # Errors
    /// `bad_upstream` when it is no whole reply, or the error it carries.
    fn whole(&mut self, body: &[u8], out: &mut Vec<Chunk>) -> Result<(), Error>;
}

/// What an event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The model went on.
    Content,
    /// A ping, or something this version does not know: only a sign of life.
    Life,
    /// The terminal event.
    End,
}

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// OpenAI Chat Completions and everything compatible with it.
    #[serde(rename = "openai")]
    OpenAiChat,
    /// OpenAI Responses.
    #[serde(rename = "openai-responses")]
    OpenAiResponses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// Ollama `/api/chat`.
    Ollama,
}

impl Format {
    /// The adapter of this format.
    pub fn adapter(self) -> &'static dyn Adapter {
        match self {
            Self::OpenAiChat => &crate::openai_chat::OpenAiChat,
            Self::OpenAiResponses => &crate::openai_responses::OpenAiResponses,
            Self::Anthropic => &crate::anthropic::Anthropic,
            Self::Gemini => &crate::gemini::Gemini,
            Self::Ollama => &crate::ollama::Ollama,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.adapter().format())
    }
}

/// A header with a secret in it.
pub(crate) fn secret_header(before: &str, key: &SecretString) -> Result<HeaderValue, Error> {
    let text = format!("{before}{}", key.expose_secret().trim());
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        let text =
            "the key has characters that a header cannot carry; check where it comes from for line breaks";
        Error::new(ErrorKind::ConfigInvalid, text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text borrowed from an event's bytes where it has no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

pub(crate) fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::BadUpstream, format!("the answer is malformed: {what}"))
}

pub(crate) fn truncated(what: &str) -> Error {
    Error::new(ErrorKind::StreamTruncated, format!("the answer is not whole: {what}"))
}

/// Reads an event's JSON. Whether it is UTF-8 is looked at once for the whole of it: string by string costs more.
pub(crate) fn read_json<'a, T: Deserialize<'a>>(data: &'a [u8]) -> serde_json::Result<T> {
    match str::from_utf8(data) {
        Ok(text) => serde_json::from_str(text),
        // Harmless in a field that nobody reads.
        Err(_) => serde_json::from_slice(data),
    }
}

/// Levels of JSON an event may have.
const MAX_DEPTH: usize = 64;
/// Events below this many bytes are not looked at: no depth they can reach does harm.
const DEPTH_CHECKED_FROM: usize = 1024;

/// Refuses JSON that is nested too deeply, before anything walks it.
pub(crate) fn check_depth(json: &[u8]) -> Result<(), Error> {
    if json.len() < DEPTH_CHECKED_FROM {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(malformed(&format!("JSON nested deeper than {MAX_DEPTH} levels")));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
