//! The wire formats, and the addresses they are spoken at.

use serde::{Deserialize, Serialize};

/// A wire format the provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    OpenAi,
    /// OpenAI Responses, `POST /v1/responses`.
    #[serde(rename = "openai-responses")]
    Responses,
    /// Anthropic Messages, `POST /v1/messages`.
    Anthropic,
    /// Gemini, `POST /v1beta/models/MODEL:streamGenerateContent?alt=sse` and `:generateContent`, also under
    /// `/v1`.
    Gemini,
    /// Ollama's own format, `POST /api/chat`.
    Ollama,
}

impl Wire {
    /// All of them, in a fixed order.
    pub const ALL: [Wire; 5] = [Wire::OpenAi, Wire::Responses, Wire::Anthropic, Wire::Gemini, Wire::Ollama];

    /// A stable name: `openai`, `openai-responses`, `anthropic`, `gemini` or `ollama`.
    pub fn as_str(self) -> &'static str {
        match self {
            Wire::OpenAi => "openai",
            Wire::Responses => "openai-responses",
            Wire::Anthropic => "anthropic",
            Wire::Gemini => "gemini",
            Wire::Ollama => "ollama",
        }
    }

    /// The path a client posts to, with its query. Only Gemini says the model and whether it streams in it.
    pub fn path(self, model: &str, stream: bool) -> String {
        match self {
            Wire::OpenAi => "/v1/chat/completions".to_owned(),
            Wire::Responses => "/v1/responses".to_owned(),
            Wire::Anthropic => "/v1/messages".to_owned(),
            Wire::Gemini if stream => format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            Wire::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Wire::Ollama => "/api/chat".to_owned(),
        }
    }

    /// The response header that carries the vendor's request id, if it has one.
    pub fn request_id_header(self) -> Option<&'static str> {
        match self {
            Wire::OpenAi | Wire::Responses => Some("x-request-id"),
            Wire::Anthropic => Some("request-id"),
            Wire::Gemini | Wire::Ollama => None,
        }
    }

    /// The content type of a streamed reply.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Wire::OpenAi | Wire::Responses | Wire::Anthropic => "text/event-stream; charset=utf-8",
            Wire::Gemini => "text/event-stream",
            Wire::Ollama => "application/x-ndjson",
        }
    }

    /// Whether a stream is lines of JSON instead of server-sent events.
    pub(crate) fn is_lines(self) -> bool {
        self == Wire::Ollama
    }
}

/// What the address of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub wire: Wire,
    /// Gemini's model.
    pub model: Option<&'a str>,
    /// Whether Gemini streams.
    pub stream: Option<bool>,
}

impl<'a> Target<'a> {
    /// The format spoken at this path.
    pub fn of(path: &'a str) -> Option<Target<'a>> {
        let plain = |wire| Some(Target { wire, model: None, stream: None });
        match path {
            "/v1/chat/completions" => return plain(Wire::OpenAi),
            "/v1/responses" => return plain(Wire::Responses),
            "/v1/messages" => return plain(Wire::Anthropic),
            "/api/chat" => return plain(Wire::Ollama),
            _ => {}
        }
        let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
        let (model, method) = rest.rsplit_once(':')?;
        let stream = match method {
            "streamGenerateContent" => true,
            "generateContent" => false,
            _ => return None,
        };
        Some(Target { wire: Wire::Gemini, model: Some(model), stream: Some(stream) })
    }
}
