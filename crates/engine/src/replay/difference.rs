//! Where a run wants something else than was recorded, for people to read.

use std::fmt;

use ambidex_core::effect::EffectId;
use serde_json::Value;

/// Places shown of one difference.
const PLACES: usize = 8;
/// Lines shown of a text, of each side.
const LINES: usize = 4;
/// Characters shown of a value.
const LONGEST: usize = 100;
/// Characters shown before the place where two texts part.
const BEFORE: usize = 20;

/// One thing that a run wants and did not want when it was recorded, or wants otherwise, or does not want any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The effect it is about; none where it is about how the run stands.
    pub effect: Option<EffectId>,
    /// In a line.
    pub what: String,
    /// Place by place, in text.
    pub places: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(effect) = &self.effect {
            write!(f, "{effect}: ")?;
        }
        f.write_str(&self.what)?;
        for place in self.places.iter().take(PLACES) {
            for line in place.lines() {
                write!(f, "\n  {line}")?;
            }
        }
        match self.places.len().saturating_sub(PLACES) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// A place and what differs in it.
pub(super) type Place = (String, String);

/// Where two pieces of plain data differ.
pub(super) fn compare(place: &str, recorded: &Value, now: &Value, places: &mut Vec<Place>) {
    match (recorded, now) {
        _ if recorded == now => {}
        (Value::Object(recorded), Value::Object(now)) => {
            let names = recorded.keys().chain(now.keys().filter(|name| !recorded.contains_key(*name)));
            for name in names {
                let inner = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                match (recorded.get(name), now.get(name)) {
                    (Some(recorded), Some(now)) => compare(&inner, recorded, now, places),
                    (recorded, now) => one_sided(inner, recorded, now, places),
                }
            }
        }
        (Value::Array(recorded), Value::Array(now)) => {
            for index in 0..recorded.len().max(now.len()) {
                let inner = format!("{place}[{index}]");
                match (recorded.get(index), now.get(index)) {
                    (Some(recorded), Some(now)) => compare(&inner, recorded, now, places),
                    (recorded, now) => one_sided(inner, recorded, now, places),
                }
            }
        }
        (Value::String(recorded), Value::String(now)) => {
            places.push((place.to_owned(), texts(recorded, now)));
        }
        _ => places.push((place.to_owned(), format!("recorded {}, now {}", short(recorded), short(now)))),
    }
}

fn one_sided(place: String, recorded: Option<&Value>, now: Option<&Value>, places: &mut Vec<Place>) {
    let text = match (recorded, now) {
        (Some(value), _) => format!("recorded {}, and not there now", short(value)),
        (None, Some(value)) => format!("not recorded, now {}", short(value)),
        (None, None) => return,
    };
    places.push((place, text));
}

/// Two texts: the lines that differ, or from shortly before where they part.
fn texts(recorded: &str, now: &str) -> String {
    if recorded.contains('\n') || now.contains('\n') {
        return lines(recorded, now);
    }
    let same = recorded.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let start = same.saturating_sub(BEFORE);
    let shown = |text: &str| {
        let rest: String = text.chars().skip(start).collect();
        let quoted = short(&Value::String(rest));
        if start > 0 { format!("…{quoted}") } else { quoted }
    };
    format!("recorded {}, now {}", shown(recorded), shown(now))
}

fn lines(recorded: &str, now: &str) -> String {
    let (recorded, now): (Vec<_>, Vec<_>) = (recorded.lines().collect(), now.lines().collect());
    let same = recorded.iter().zip(&now).take_while(|(a, b)| a == b).count();
    let behind = |side: &[&str]| side.len() - same;
    let same_end = recorded.iter().rev().zip(now.iter().rev()).take_while(|(a, b)| a == b).count();
    let same_end = same_end.min(behind(&recorded)).min(behind(&now));
    let mut text = format!("from line {}", same + 1);
    for (sign, side) in [('-', &recorded), ('+', &now)] {
        let changed = side.get(same..side.len() - same_end).unwrap_or_default();
        for line in changed.iter().take(LINES) {
            text.push_str(&format!("\n  {sign} {}", cut(line)));
        }
        if changed.len() > LINES {
            text.push_str(&format!("\n  {sign} … and {} lines more", changed.len() - LINES));
        }
    }
    text
}

/// A value in a line.
pub(super) fn short(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
