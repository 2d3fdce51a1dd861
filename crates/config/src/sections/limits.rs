use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{ConfigError, ConfigErrorKind};
use crate::reader::{At, Fields, FromNode};

/// `limits`: what the provider allows the key, held for all its models together. Absent is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls under way, each until its answer has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub tokens_per_minute: Option<u64>,
    /// Calls that may wait; the next is `busy`. Default: four times as many as are allowed at once or in a minute,
    /// whichever is more, and at least 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub queue: Option<u32>,
}

impl FromNode for Limits {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("rpm", "requests_per_minute"),
            ("tpm", "tokens_per_minute"),
            ("concurrency", "concurrent"),
            ("max_concurrent", "concurrent"),
            ("queue_size", "queue"),
        ]);
        let limits = Self {
            concurrent: fields.integer("concurrent", 1..=100_000),
            requests_per_minute: fields.integer("requests_per_minute", 1..=10_000_000),
            tokens_per_minute: fields.integer("tokens_per_minute", 1..=1_000_000_000_000),
            queue: fields.integer("queue", 0..=10_000_000),
        };
        if let (Some(at), Self { concurrent: None, requests_per_minute: None, tokens_per_minute: None, .. }) =
            (fields.at("queue"), &limits)
        {
            let message = format!("`{}` limits nothing: without a limit no call waits", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("add concurrent, requests_per_minute or tokens_per_minute"));
        }
        fields.finish();
        Some(limits)
    }
}
