//! When a failed call of a tool is tried again: as a model's is, but for what the tool says itself.

use std::time::Duration;

use ambidex_core::ToolSpec;
use ambidex_models::RetryPolicy;
use ambidex_models::retry::random;

/// How often a call is tried in all, and how long it waits in between. The tool may be repeated.
pub(crate) fn policy(spec: &ToolSpec) -> RetryPolicy {
    let usual = RetryPolicy::default();
    RetryPolicy {
        attempts: spec.attempts.unwrap_or(usual.attempts),
        base: spec.retry_base_ms.map_or(usual.base, Duration::from_millis),
        cap: spec.retry_cap_ms.map_or(usual.cap, Duration::from_millis),
        ..usual
    }
}

/// How long to wait after the nth failed attempt: full jitter, above what the other side asked for.
/// Nothing where that is too long.
pub(crate) fn wait(
    policy: &RetryPolicy,
    attempt: u32,
    asked: Option<Duration>,
    left: Option<Duration>,
) -> Option<Duration> {
    if asked.is_some_and(|asked| asked > RetryPolicy::LONGEST_WAIT) {
        return None;
    }
    let wait = policy.wait(attempt, asked, random());
    left.is_none_or(|left| wait < left).then_some(wait)
}
