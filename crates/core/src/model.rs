//! The seam to models.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::BoxStream;
use crate::chunk::Chunk;
use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::message::{History, Message, Part};
use crate::tool::ToolSpec;
use crate::usage::Price;

/// Anything that answers a conversation: a provider, a script, a route over other models, a person.
pub trait Model: Send + Sync {
    fn info(&self) -> &ModelInfo;

    /// Answers as a stream. Nothing is sent before the first poll; dropping the stream ends the call
    /// (and closes its connection). Errors come as items of the stream, and an error is the last item.
    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>>;
}

/// What is known about a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The name it is configured under, or `provider:name`.
    pub name: String,
    pub provider: String,
    pub price: Option<Price>,
    pub structured_output: StructuredOutput,
    /// Context window in tokens.
    pub context: Option<u64>,
    pub capabilities: Capabilities,
}

/// What a model can do beside answering text with text. None is unknown, and the unknown is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Capabilities {
    /// Whether it sees images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<bool>,
    /// Whether it calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether a reply may hold several calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
}

impl Capabilities {
    /// What is unknown here is taken from there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            vision: self.vision.or(other.vision),
            tools: self.tools.or(other.tools),
            parallel_tool_calls: self.parallel_tool_calls.or(other.parallel_tool_calls),
            max_output: self.max_output.or(other.max_output),
        }
    }

    /// Refuses what is known to be impossible, before anything is sent.
    ///
    /// # Errors
    /// `unsupported`: images, tools or parallel calls for a model that is known to have none.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::new(ErrorKind::Unsupported, text));
        let offered = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        if self.tools == Some(false) && offered {
            return refuse("the model calls no tools; use one that does, or an agent without tools");
        }
        if self.parallel_tool_calls == Some(false)
            && offered
            && request.settings.parallel_tool_calls == Some(true)
        {
            return refuse("the model calls one tool at a time; take `parallel_tool_calls` out");
        }
        let image = |message: &Arc<Message>| message.parts.iter().any(|part| matches!(part, Part::Image(_)));
        // The history is looked through only where it matters.
        if self.vision == Some(false) && request.history.iter().any(image) {
            return refuse("the model sees no images; use one that does, or leave the image out");
        }
        Ok(())
    }
}

impl ModelInfo {
    pub fn new(name: impl Into<String>, provider: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider: provider.into(),
            price: None,
            structured_output: StructuredOutput::Native,
            context: None,
            capabilities: Capabilities::default(),
        }
    }
}

/// How a model gives output that follows a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StructuredOutput {
    /// The provider enforces a schema, beside tools too.
    Native,
    /// The provider enforces a schema, but not in a request that has tools.
    NativeWithoutTools,
    /// It does not; an output tool takes the schema's place.
    Tool,
}

/// One call of a model. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub instructions: Option<Arc<str>>,
    pub history: History,
    pub tools: Arc<[Arc<ToolSpec>]>,
    pub tool_choice: ToolChoice,
    /// The text of the reply must be JSON of this schema.
    pub output: Option<Arc<OutputSchema>>,
    pub settings: Arc<Settings>,
}

impl Request {
    /// A request of one user message.
    pub fn user(text: impl Into<String>) -> Self {
        Self { history: Arc::new(vec![Message::user(text)]), ..Self::default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    /// This tool must be called.
    Tool(String),
}

/// A JSON Schema (2020-12) that the output must match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputSchema {
    /// Letters, digits, `_` and `-`; 64 at most.
    pub name: String,
    pub schema: Value,
}

/// Settings of a call. What is not set is left to the provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Whether a reply may hold several tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Whether prompts are marked for the provider's cache, where it wants marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<bool>,
    /// Further fields of the request body, sent as they are.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// How much a model should think.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// The provider's word for it, such as `low`, `medium`, `high`.
    Effort(String),
    /// At most this many tokens.
    BudgetTokens(u32),
}
