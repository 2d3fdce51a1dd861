//! What the details of a Google error say beyond its status.

use std::time::Duration;

use serde_json::Value;

/// The details that change what is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Details {
    /// A quota of the day is used up, or there is none: waiting for a minute does not help.
    pub quota_spent: bool,
    pub key_invalid: bool,
    pub retry_delay: Option<Duration>,
}

impl Details {
    /// Reads the `details` of an `error`.
    pub(crate) fn of(error: &Value) -> Self {
        let mut all = Self::default();
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            let kind = text(detail, "@type");
            match kind.rsplit('/').next().unwrap_or_default() {
                "google.rpc.RetryInfo" => all.retry_delay = delay(text(detail, "retryDelay")),
                "google.rpc.ErrorInfo" => all.key_invalid |= text(detail, "reason") == "API_KEY_INVALID",
                "google.rpc.QuotaFailure" => {
                    let violations = detail.get("violations").and_then(Value::as_array);
                    all.quota_spent |= violations.into_iter().flatten().any(is_lasting);
                }
                _ => {}
            }
        }
        // It is given beside a quota of the day too.
        all.retry_delay = all.retry_delay.filter(|_| !all.quota_spent);
        all
    }
}

fn is_lasting(violation: &Value) -> bool {
    text(violation, "quotaId").contains("PerDay")
        || text(violation, "quotaMetric").ends_with("_per_day")
        || text(violation, "quotaValue") == "0"
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A duration as Protocol Buffers write it: `36s`, `20.044661790s`.
fn delay(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}
