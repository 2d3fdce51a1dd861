//! When a failed call of a tool is tried again.

use std::time::Duration;

use ambidex_core::ToolSpec;

/// Attempts of a tool that may be repeated, where it does not say.
pub(crate) const ATTEMPTS: u32 = 3;
const BASE_MS: u64 = 500;
const CAP_MS: u64 = 20_000;
const LONGEST: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(4);

/// How long to wait after the nth failed attempt: full jitter, above what the other side asked for.
/// Nothing where that is too long.
pub(crate) fn wait(
    spec: &ToolSpec,
    attempt: u32,
    asked: Option<Duration>,
    left: Option<Duration>,
) -> Option<Duration> {
    let backoff = backoff(spec, attempt);
    let wait = match asked {
        Some(asked) if asked > LONGEST => return None,
        Some(asked) => asked + jitter(backoff.max(SPREAD)),
        None => jitter(backoff),
    };
    (left.is_none_or(|left| wait < left)).then_some(wait)
}

/// The longest wait after the nth failed attempt of this tool, where nothing was asked for.
pub(crate) fn backoff(spec: &ToolSpec, attempt: u32) -> Duration {
    let doubled = 1_u64 << attempt.saturating_sub(1).min(32);
    let base = spec.retry_base_ms.unwrap_or(BASE_MS).saturating_mul(doubled);
    Duration::from_millis(base.min(spec.retry_cap_ms.unwrap_or(CAP_MS)))
}

/// Uniform between zero and the given time.
fn jitter(longest: Duration) -> Duration {
    // The random bits of a version 4 UUID serve as well as a generator of our own would.
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
