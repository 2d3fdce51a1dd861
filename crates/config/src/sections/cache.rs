use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Serialize;

use crate::duration::Duration;
use crate::reader::{At, Choice, Fields, FromNode};

/// `[cache]`: replies kept for requests that come again. Those of a person are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    pub kind: CacheKind,
    /// How long a reply is kept.
    pub ttl: Duration,
    /// Replies that are kept, in memory. One longer than 16 KiB counts as several.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub capacity: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Every request goes to its model.
    #[default]
    None,
    /// Only a request that is the same in every word, tool and setting is answered by a kept reply.
    Exact,
}

impl Choice for CacheKind {
    const ALL: &'static [(&'static str, Self)] = &[("none", Self::None), ("exact", Self::Exact)];
}

impl Default for Cache {
    fn default() -> Self {
        Self { kind: CacheKind::None, ttl: Duration::from_secs(3600), capacity: 10_000 }
    }
}

impl FromNode for Cache {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(365 * 86_400);
        let default = Self::default();
        let mut fields =
            Fields::of(at)?.aliases(&[("type", "kind"), ("size", "capacity"), ("max", "capacity")]);
        // Without its kind the other keys would do nothing.
        if !fields.has("kind") && at.node.as_table().is_some_and(|table| !table.is_empty()) {
            fields.missing("kind", "\"exact\"");
        }
        let cache = Self {
            kind: fields.or("kind", default.kind),
            ttl: fields.duration_or("ttl", TTL, default.ttl),
            capacity: fields.integer_or("capacity", 1..=10_000_000, default.capacity),
        };
        fields.finish();
        Some(cache)
    }
}
