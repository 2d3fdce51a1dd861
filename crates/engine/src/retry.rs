//! When a failed call of a tool is tried again.

use std::time::Duration;

/// Attempts of a tool that may be repeated, where it does not say.
pub(crate) const ATTEMPTS: u32 = 3;
const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(4);

/// How long to wait after the nth failed attempt: full jitter, above what the other side asked for.
/// Nothing where that is too long.
pub(crate) fn wait(attempt: u32, asked: Option<Duration>, left: Option<Duration>) -> Option<Duration> {
    let backoff = BASE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(CAP);
    let wait = match asked {
        Some(asked) if asked > LONGEST => return None,
        Some(asked) => asked + jitter(backoff.max(SPREAD)),
        None => jitter(backoff),
    };
    (left.is_none_or(|left| wait < left)).then_some(wait)
}

/// Uniform between zero and the given time.
fn jitter(longest: Duration) -> Duration {
    // The random bits of a version 4 UUID serve as well as a generator of our own would.
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
