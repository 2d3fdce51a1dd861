//! Durations as people write them: `250ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let fault =
        || format!("`{text}` is not a duration; write a number and a unit, such as 250ms, 30s, 5m or 2h");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(fault)?;
    let number: u64 = text[..digits].parse().map_err(|_| fault())?;
    let milliseconds = match text[digits..].trim() {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(fault)
}

pub(crate) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| parse(&text).map_err(de::Error::custom)).transpose()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
