use schemars::JsonSchema;
use serde::Serialize;

use crate::reader::{At, Fields, FromNode};

/// `[runtime]`: limits of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads for blocking tools, started on demand.
    #[schemars(range(min = 1, max = 1024))]
    pub sync_workers: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { sync_workers: 32 }
    }
}

impl FromNode for Runtime {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        fields.later(&["queue_size", "timeout", "strict_sync"]);
        let runtime =
            Self { sync_workers: fields.integer_or("sync_workers", 1..=1024, default.sync_workers) };
        fields.finish();
        Some(runtime)
    }
}
