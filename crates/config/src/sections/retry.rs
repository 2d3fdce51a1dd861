use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::Serialize;

use crate::duration::Duration;
use crate::error::ConfigErrorKind;
use crate::reader::{At, Fields, FromNode};

/// What a timeout may be. Longer waits belong to questions, not to calls.
pub(crate) const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(30 * 86_400);

/// `retry`: the wait before attempt n is random(0, min(cap, base x 2^(n-2))).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// All attempts, the first included; 1 never retries.
    #[schemars(range(min = 1, max = 20))]
    pub attempts: u32,
    pub base: Duration,
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, base: Duration::from_millis(500), cap: Duration::from_secs(20) }
    }
}

impl FromNode for Retry {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const WAITS: RangeInclusive<Duration> = Duration::from_millis(0)..=Duration::from_secs(3600);
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        let attempts = fields.integer_or("attempts", 1..=20, default.attempts);
        let base = fields.duration_or("base", WAITS, default.base);
        let cap = fields.duration_or("cap", WAITS, default.cap);
        if base > cap {
            let message = format!("`{}` waits at least {base}, more than its cap of {cap}", at.path);
            let error = crate::ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("raise cap or lower base"));
        }
        fields.finish();
        Some(Self { attempts, base, cap })
    }
}
