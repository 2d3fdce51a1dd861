//! The two wire formats.

use serde::{Deserialize, Serialize};

/// A wire format the provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// OpenAI Chat Completions, `POST /v1/chat/completions`.
    OpenAi,
    /// Anthropic Messages, `POST /v1/messages`.
    Anthropic,
}

impl Wire {
    /// Both, in a fixed order.
    pub const ALL: [Wire; 2] = [Wire::OpenAi, Wire::Anthropic];

    /// A stable name: `openai` or `anthropic`.
    pub fn as_str(self) -> &'static str {
        match self {
            Wire::OpenAi => "openai",
            Wire::Anthropic => "anthropic",
        }
    }

    /// The path a client posts to.
    pub fn path(self) -> &'static str {
        match self {
            Wire::OpenAi => "/v1/chat/completions",
            Wire::Anthropic => "/v1/messages",
        }
    }

    /// The response header that carries the vendor's request id.
    pub fn request_id_header(self) -> &'static str {
        match self {
            Wire::OpenAi => "x-request-id",
            Wire::Anthropic => "request-id",
        }
    }
}
