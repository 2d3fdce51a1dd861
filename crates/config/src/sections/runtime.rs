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
    /// Whether a sync call under a running event loop is an error instead of a warning. For Python.
    pub strict_sync: bool,
    /// Whether the line that blocks an event loop is named in the log. For Python.
    pub debug_loops: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { sync_workers: 32, strict_sync: false, debug_loops: false }
    }
}

impl FromNode for Runtime {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        fields.later(&["queue_size", "timeout"]);
        let runtime = Self {
            sync_workers: fields.integer_or("sync_workers", 1..=1024, default.sync_workers),
            strict_sync: fields.or("strict_sync", default.strict_sync),
            debug_loops: fields.or("debug_loops", default.debug_loops),
        };
        fields.finish();
        Some(runtime)
    }
}
