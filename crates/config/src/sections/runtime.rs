use schemars::JsonSchema;
use serde::Serialize;

use crate::duration::Duration;
use crate::reader::{At, Fields, FromNode};

/// `[runtime]`: limits of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Threads for blocking tools, started on demand.
    #[schemars(range(min = 1, max = 1024))]
    pub sync_workers: u32,
    /// Calls that may wait for a thread before the next is refused as busy.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub queue_size: u32,
    /// For one call of a model outside a run.
    pub timeout: Duration,
}

impl Default for Runtime {
    fn default() -> Self {
        Self { sync_workers: 32, queue_size: 100, timeout: Duration::from_secs(30) }
    }
}

impl FromNode for Runtime {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        fields.later(&["strict_sync"]);
        let runtime = Self {
            sync_workers: fields.integer_or("sync_workers", 1..=1024, default.sync_workers),
            queue_size: fields.integer_or("queue_size", 0..=1_000_000, default.queue_size),
            timeout: fields.duration_or("timeout", super::retry::TIMEOUTS, default.timeout),
        };
        fields.finish();
        Some(runtime)
    }
}
