use schemars::JsonSchema;
use serde::Serialize;

use crate::reader::{At, Choice, Fields, FromNode};

/// `[approvals]`: what happens before a tool runs, by its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approvals {
    pub read: Approval,
    pub idempotent: Approval,
    pub once: Approval,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    Allow,
    /// At the terminal; without one the run waits.
    Ask,
    Deny,
}

impl Choice for Approval {
    const ALL: &'static [(&'static str, Self)] =
        &[("allow", Self::Allow), ("ask", Self::Ask), ("deny", Self::Deny)];
}

impl Default for Approvals {
    fn default() -> Self {
        Self { read: Approval::Allow, idempotent: Approval::Allow, once: Approval::Ask }
    }
}

impl FromNode for Approvals {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        fields.later(&["rules"]);
        let approvals = Self {
            read: fields.or("read", default.read),
            idempotent: fields.or("idempotent", default.idempotent),
            once: fields.or("once", default.once),
        };
        fields.finish();
        Some(approvals)
    }
}
