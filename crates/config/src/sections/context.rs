use schemars::JsonSchema;
use serde::Serialize;

use crate::reader::{At, Fields, FromNode};

/// Has the older part of a conversation summarised for the model near the limit of its context, also with no
/// key in it (`{}`).
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// The share of the model's context that is full then. Where that is not known, once a prompt was too long.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub compact_at: f64,
    /// The last messages, which stay as they are. So does the message that the run is about.
    #[schemars(range(min = 1, max = 1000))]
    pub keep_last: u32,
    /// The name of a model or a route, or `PROVIDER:NAME`. Default: the agent's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarise_with: Option<String>,
}

impl Default for Context {
    fn default() -> Self {
        Self { compact_at: 0.8, keep_last: 12, summarise_with: None }
    }
}

impl FromNode for Context {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?.aliases(&[("summarize_with", "summarise_with")]);
        let context = Self {
            compact_at: fields.float_or("compact_at", 0.1..=1.0, default.compact_at),
            keep_last: fields.integer_or("keep_last", 1..=1000, default.keep_last),
            summarise_with: fields.optional("summarise_with"),
        };
        fields.finish();
        Some(context)
    }
}
