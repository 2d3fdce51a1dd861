//! The seam to tools.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BoxFuture;
use crate::context::Context;
use crate::error::Error;

/// Something a model may call: its description and its code together.
pub trait Tool: Send + Sync {
    fn spec(&self) -> &ToolSpec;

    /// Runs it. `arguments` is an object that matched the input schema. Dropping the future stops what
    /// a drop can stop; what it cannot reach listens to `context.token()`.
    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>>;

    /// How long a cancelled call is waited for before its future is dropped. Zero, unless the tool must
    /// clean up outside this process, as one that started a process group must.
    fn cancel_grace(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether polling a call may take long. A call that only waits, for I/O or for a thread, is polled where its
    /// run is, and one that computes gets a task, so that the calls of a turn compute in parallel. Calls that
    /// may compute are timed, and the next one goes by what the last one did.
    fn computes(&self) -> bool {
        !self.blocks()
    }

    /// Whether a call takes a thread for work that blocks. Its driver then reserves one before it records
    /// that the call starts.
    fn blocks(&self) -> bool {
        false
    }
}

impl<T: Tool + ?Sized> Tool for std::sync::Arc<T> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        (**self).call(arguments, context)
    }

    fn cancel_grace(&self) -> Duration {
        (**self).cancel_grace()
    }

    fn computes(&self) -> bool {
        (**self).computes()
    }

    fn blocks(&self) -> bool {
        (**self).blocks()
    }
}

/// What a model is told about a tool, and how its calls are treated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSpec {
    /// Letters, digits, `_` and `-`; 64 at most.
    pub name: String,
    pub description: String,
    /// JSON Schema (2020-12) of the arguments; an object.
    pub input: Value,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default)]
    pub effect: EffectClass,
    /// Never runs beside another tool of its run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Milliseconds; 30 s where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Attempts in all for a `read` or `idempotent` tool whose error says a retry helps; 1 is no retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Milliseconds; what the wait before the second attempt is drawn below, doubled for each further one.
    /// 500 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_base_ms: Option<u64>,
    /// Milliseconds; no wait is drawn above it. 20,000 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_cap_ms: Option<u64>,
    /// Calls of this tool that may run at once in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl ToolSpec {
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// A tool of undeclared effect that takes no arguments; set the rest as fields.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input: serde_json::json!({"type": "object", "properties": {}, "additionalProperties": false}),
            output: None,
            effect: EffectClass::Undeclared,
            exclusive: false,
            timeout_ms: None,
            attempts: None,
            retry_base_ms: None,
            retry_cap_ms: None,
            concurrency: None,
        }
    }

    pub fn timeout(&self) -> Duration {
        self.timeout_ms.map_or(Self::DEFAULT_TIMEOUT, Duration::from_millis)
    }
}

/// What may be done about a call that was in flight when its process died, and whether it may be retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing: repeat.
    Read,
    /// Repeat under the same key.
    Idempotent,
    /// Never repeated without a person's word.
    Once,
    /// Recovered as `once`, approved as `read`.
    #[default]
    Undeclared,
}

impl EffectClass {
    pub fn repeatable(self) -> bool {
        matches!(self, Self::Read | Self::Idempotent)
    }
}

/// What a tool gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolOutput {
    Text(String),
    Json(Value),
}

impl ToolOutput {
    /// What the model reads: text as it is, anything else as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) | Self::Json(Value::String(text)) => text.clone(),
            Self::Json(value) => value.to_string(),
        }
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}
