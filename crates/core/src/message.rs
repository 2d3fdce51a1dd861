//! Messages and their parts. Immutable once made, shared by `Arc`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Append-only. A request holds the same `Arc`, so handing history to a model copies nothing.
pub type History = Arc<Vec<Arc<Message>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    Image(Image),
    /// What the model thought. Sent back only in the wire format it came from.
    Reasoning {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<ProviderState>,
    },
    /// The model's words where it declined to answer.
    Refusal {
        text: String,
    },
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    /// A part of a provider that we do not know; kept in its place and sent back verbatim.
    Opaque {
        state: ProviderState,
    },
}

/// Provider data kept verbatim: the wire format it belongs to and its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderState {
    pub format: String,
    pub json: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Such as `image/png`.
    pub media_type: String,
    pub source: ImageSource,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Base64, standard alphabet, padded.
    Base64(Arc<str>),
    Url(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// The provider's call id: wire data only, never our key.
    pub id: String,
    pub name: String,
    pub arguments: Arguments,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ProviderState>,
}

/// A tool call where it stands in its message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlacedCall {
    message: Arc<Message>,
    part: usize,
}

impl PlacedCall {
    /// The calls of a message, in their order.
    pub fn all(message: &Arc<Message>) -> impl Iterator<Item = Self> {
        let calls = message.parts.iter().enumerate().filter(|(_, part)| matches!(part, Part::ToolCall(_)));
        calls.map(|(part, _)| Self { message: message.clone(), part })
    }

    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    pub fn get(&self) -> Option<&ToolCall> {
        match self.message.parts.get(self.part) {
            Some(Part::ToolCall(call)) => Some(call),
            _ => None,
        }
    }
}

/// Arguments as they were after the reply's end: JSON, or text that is none and is never run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    Json(Value),
    Invalid { raw: String, reason: String },
}

impl Arguments {
    /// Parses the whole text of a finished call, strictly. An empty text is `{}`.
    pub fn parse(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self::Json(Value::Object(serde_json::Map::new()));
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Self::Json(Value::Object(object)),
            Ok(_) => Self::invalid(text, "the arguments are not a JSON object"),
            Err(error) => Self::invalid(text, &format!("the arguments are not JSON: {error}")),
        }
    }

    pub fn invalid(raw: &str, reason: &str) -> Self {
        Self::Invalid { raw: raw.to_owned(), reason: reason.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResult {
    /// The provider's id of the call this answers.
    pub call_id: String,
    pub name: String,
    /// What the model reads.
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

impl Message {
    pub fn new(role: Role, parts: Vec<Part>) -> Arc<Self> {
        Arc::new(Self { role, parts })
    }

    pub fn system(text: impl Into<String>) -> Arc<Self> {
        Self::new(Role::System, vec![Part::text(text)])
    }

    pub fn user(text: impl Into<String>) -> Arc<Self> {
        Self::new(Role::User, vec![Part::text(text)])
    }

    pub fn assistant(text: impl Into<String>) -> Arc<Self> {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    pub fn tool_result(call: &ToolCall, text: impl Into<String>, failed: bool) -> Arc<Self> {
        let result =
            ToolResult { call_id: call.id.clone(), name: call.name.clone(), text: text.into(), failed };
        Self::new(Role::Tool, vec![Part::ToolResult(result)])
    }

    /// The text parts, one after another.
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

impl Part {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}
