//! When a server asks to be called again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

/// The wait a response asks for: `retry-after-ms`, else `retry-after` in (fractional) seconds or as
/// an HTTP date against `now`. A time in the past is zero, a value that cannot be read is none, and
/// one too large to count is [`Duration::MAX`]: the caller bounds what it is willing to wait.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(|value| number(value, 1e-3)) {
        return Some(wait);
    }
    let value = text(RETRY_AFTER.as_str())?;
    number(value, 1.0).or_else(|| {
        let at = httpdate::parse_http_date(value).ok()?;
        Some(at.duration_since(now).unwrap_or_default())
    })
}

fn number(text: &str, seconds_per_unit: f64) -> Option<Duration> {
    // Rust also reads `inf`, `nan` and `1e3`; a header has digits, a sign and a point.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+')) {
        return None;
    }
    let seconds = text.parse::<f64>().ok()? * seconds_per_unit;
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}
