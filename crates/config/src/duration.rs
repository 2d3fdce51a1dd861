//! Durations as people write them: `500ms`, `5s`, `1m30s`, `24h`, `2d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, read and written as text with units `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(StdDuration);

/// Longest unit first, as they must be written.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a number and a unit, such as \"500ms\", \"5s\", \"1m30s\", \"24h\" or \"2d\"")]
pub struct InvalidDuration;

impl Duration {
    pub const fn from_millis(millis: u64) -> Self {
        Self(StdDuration::from_millis(millis))
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Self(StdDuration::from_secs(seconds))
    }

    pub const fn get(self) -> StdDuration {
        self.0
    }
}

impl From<Duration> for StdDuration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl From<StdDuration> for Duration {
    fn from(duration: StdDuration) -> Self {
        Self(duration)
    }
}

/// A decimal point is allowed in a number that stands alone: `1.5s`.
impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let mut rest = text.trim();
        let single = rest.contains('.');
        let mut millis: u64 = 0;
        let mut units = UNITS.as_slice();
        if rest.is_empty() {
            return Err(InvalidDuration);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(InvalidDuration)?;
            let (number, tail) = rest.split_at(digits);
            let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(end);
            let place = units.iter().position(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
            let factor = units[place].1;
            units = &units[place + 1..];
            rest = tail;
            if single {
                return if rest.is_empty() { decimal(number, factor) } else { Err(InvalidDuration) };
            }
            let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
            millis = number
                .checked_mul(factor)
                .and_then(|part| millis.checked_add(part))
                .ok_or(InvalidDuration)?;
        }
        Ok(Self::from_millis(millis))
    }
}

fn decimal(number: &str, factor: u64) -> Result<Duration, InvalidDuration> {
    let number: f64 = number.parse().map_err(|_| InvalidDuration)?;
    let seconds = number * factor as f64 / 1_000.0;
    StdDuration::try_from_secs_f64(seconds).map(Duration).map_err(|_| InvalidDuration)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return f.write_str("0s");
        }
        // Below a minute in one unit: "1500ms" reads better than "1s500ms".
        if millis < 60_000 && !millis.is_multiple_of(1_000) {
            return write!(f, "{millis}ms");
        }
        // Days only where they come out even: "36h" rather than "1d12h".
        for (unit, factor) in UNITS {
            let count = millis / factor;
            if count > 0 && (unit != "d" || millis.is_multiple_of(factor)) {
                write!(f, "{count}{unit}")?;
                millis -= count * factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: 500ms, 5s, 1m30s, 24h, 2d.",
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?(ms|s|m|h|d)|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)\s*$",
            "minLength": 2
        })
    }
}
