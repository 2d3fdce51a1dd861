//! Votes, and how they become one value.

use ambidex_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use super::member::{Failure, MemberOutput, failures, lookup};
use super::{Merge, Reduce};

/// Fields of the result that are not the one that is voted on.
pub(super) const RESERVED: &[&str] = &["text", "voted", "votes", "failed"];
/// The result's field where whole answers are voted on.
const WHOLE: &str = "value";

/// A member whose output has no vote in it counts as failed.
///
/// # Errors
/// `output_invalid`: too few have voted.
pub(super) fn vote(merge: &Merge, members: &[MemberOutput]) -> Result<Value, Error> {
    let mut failed = failures(members);
    let mut votes: Vec<(&MemberOutput, Value)> = Vec::with_capacity(members.len());
    for member in members.iter().filter(|member| member.failed.is_none()) {
        match ballot(merge, member) {
            Ok(value) => votes.push((member, value)),
            Err(message) => {
                let code = ErrorKind::OutputInvalid.code().to_owned();
                failed.push(Failure { author: member.author.clone(), code, message });
            }
        }
    }
    let all_numbers = votes.iter().all(|(_, value)| value.is_number());
    let reduce = merge.reduce.unwrap_or(if all_numbers { Reduce::Median } else { Reduce::Majority });
    votes.retain(|(member, value)| {
        let wanted = match reduce {
            Reduce::Median | Reduce::Mean | Reduce::Min | Reduce::Max | Reduce::Sum => {
                (!value.is_number()).then_some("a number")
            }
            Reduce::All | Reduce::Any => (!value.is_boolean()).then_some("true or false"),
            Reduce::Majority => None,
        };
        if let Some(wanted) = wanted {
            let code = ErrorKind::OutputInvalid.code().to_owned();
            let message = format!("its vote is {value}, and should be {wanted}");
            failed.push(Failure { author: member.author.clone(), code, message });
        }
        wanted.is_none()
    });
    let needed = merge.at_least.unwrap_or(1) as usize;
    if votes.len() < needed {
        let why: Vec<_> =
            failed.iter().map(|failure| format!("{}: {}", failure.author, failure.message)).collect();
        let text = format!(
            "merge: {} of {} members voted, and {needed} have to: {}",
            votes.len(),
            members.len(),
            why.join("; ")
        );
        return Err(Error::new(ErrorKind::OutputInvalid, text));
    }
    let values: Vec<&Value> = votes.iter().map(|(_, value)| value).collect();
    let winner = reduced(reduce, &values);
    let shown: Vec<_> =
        votes.iter().map(|(member, value)| json!({ "author": member.author, "value": value })).collect();
    let text = winner.as_str().map_or_else(|| winner.to_string(), str::to_owned);
    let mut result = Map::new();
    put(&mut result, merge.field.as_deref().unwrap_or(WHOLE), winner);
    result.insert("text".into(), text.into());
    result.insert("voted".into(), votes.len().into());
    result.insert("votes".into(), shown.into());
    result.insert("failed".into(), serde_json::to_value(failed).unwrap_or_default());
    Ok(Value::Object(result))
}

fn ballot(merge: &Merge, member: &MemberOutput) -> Result<Value, String> {
    let Some(field) = &merge.field else {
        let text = member.text.trim();
        return Ok(member.output.clone().unwrap_or_else(|| match text.parse::<serde_json::Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::from(text),
        }));
    };
    let Some(Value::Object(output)) = member.data() else {
        return Err(format!("its output is no object with a field `{field}`"));
    };
    match lookup(&output, field) {
        Some(value) if !value.is_null() => Ok(value.clone()),
        _ => Err(format!("its output has no field `{field}`")),
    }
}

fn reduced(reduce: Reduce, votes: &[&Value]) -> Value {
    let numbers = || votes.iter().filter_map(|value| value.as_f64()).collect::<Vec<_>>();
    match reduce {
        Reduce::Median => median(&numbers()).map(number).unwrap_or_default(),
        Reduce::Mean => mean(&numbers()).map(number).unwrap_or_default(),
        Reduce::Min => number(numbers().into_iter().fold(f64::INFINITY, f64::min)),
        Reduce::Max => number(numbers().into_iter().fold(f64::NEG_INFINITY, f64::max)),
        Reduce::Sum => number(numbers().into_iter().sum()),
        Reduce::Majority => majority(votes),
        Reduce::All => votes.iter().all(|value| **value == true).into(),
        Reduce::Any => votes.iter().any(|value| **value == true).into(),
    }
}

fn majority(votes: &[&Value]) -> Value {
    let count = |vote: &Value| votes.iter().filter(|other| **other == vote).count();
    let mut best: Option<(&Value, usize)> = None;
    for vote in votes {
        let many = count(vote);
        if best.is_none_or(|(_, most)| many > most) {
            best = Some((vote, many));
        }
    }
    best.map(|(vote, _)| vote.clone()).unwrap_or_default()
}

/// Of the two in the middle their mean; nothing of nothing.
pub(super) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, upper))
}

#[expect(clippy::cast_precision_loss, reason = "a list of votes is far shorter than 2^52")]
pub(super) fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Whole numbers stay whole.
#[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
pub(super) fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

/// Sets a field of a field, by a path with dots.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let mut inner = Map::new();
            put(&mut inner, rest, value);
            object.insert(first.to_owned(), Value::Object(inner));
        }
    }
}
