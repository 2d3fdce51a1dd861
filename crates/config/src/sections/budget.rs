use schemars::JsonSchema;
use serde::Serialize;

use crate::duration::Duration;
use crate::error::ConfigErrorKind;
use crate::reader::{At, Fields, FromNode};
use crate::suggest::nearest;

/// `[budgets]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    pub run: Budget,
}

/// `[budgets.run]`: what one run may use; reached, it pauses and asks. Absent is unlimited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.000_001, max = 1_000_000.0))]
    pub usd: Option<f64>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tool_calls: Option<u64>,
    /// Time at work; waiting for a person does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
}

impl FromNode for Budgets {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let run = fields.optional("run").unwrap_or_default();
        for (name, entry) in at.node.as_table().into_iter().flatten().filter(|(name, _)| *name != "run") {
            let message = format!("`{}` is not supported by this version", at.path.key(name));
            let error = crate::ConfigError::new(
                ConfigErrorKind::NotSupported,
                at.path.key(name),
                message,
                &entry.key,
            );
            at.report(error.suggestion(nearest(name, ["run"])).allowed("run"));
        }
        Some(Self { run })
    }
}

impl FromNode for Budget {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let budget = Self {
            usd: fields.float("usd", 0.000_001..=1_000_000.0),
            tokens: fields.integer("tokens", 1..=1_000_000_000_000),
            tool_calls: fields.integer("tool_calls", 1..=1_000_000),
            wall: fields.duration("wall", super::retry::TIMEOUTS),
        };
        fields.finish();
        Some(budget)
    }
}
