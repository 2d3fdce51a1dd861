//! How OpenAI words what it refuses, in both of its formats.

use serde_json::Value;

use crate::refusal::{Refusal, type_name};

pub(crate) fn check_booleans(body: &Value, names: &[&str]) -> Result<(), Refusal> {
    match names.iter().find(|name| !matches!(body[**name], Value::Null | Value::Bool(_))) {
        Some(name) => Err(wrong_type(name, "a boolean", &body[*name])),
        None => Ok(()),
    }
}

/// Names with their lowest and highest value.
pub(crate) fn check_decimals(body: &Value, ranges: &[(&str, f64, f64)]) -> Result<(), Refusal> {
    for &(name, low, high) in ranges {
        match &body[name] {
            Value::Null => {}
            Value::Number(number) => {
                let got = number.as_f64().unwrap_or(f64::NAN);
                let (side, bound, sign) =
                    if got > high { ("above maximum", high, "<=") } else { ("below minimum", low, ">=") };
                if !(low..=high).contains(&got) {
                    let message = format!(
                        "Invalid '{name}': decimal {side} value. Expected a value {sign} {bound}, but got {number} instead."
                    );
                    let code = if got > high { "decimal_above_max_value" } else { "decimal_below_min_value" };
                    return Err(Refusal::invalid(message).param(name).code(code));
                }
            }
            other => return Err(wrong_type(name, "a decimal number", other)),
        }
    }
    Ok(())
}

/// Names with their lowest value.
pub(crate) fn check_integers(body: &Value, names: &[(&str, u64)]) -> Result<(), Refusal> {
    for &(name, low) in names {
        match &body[name] {
            Value::Null => {}
            value if value.is_i64() || value.is_u64() => {
                if value.as_u64().unwrap_or(0) < low {
                    return Err(Refusal::invalid(format!(
                        "Invalid '{name}': integer below minimum value. Expected a value >= {low}, but got {value} instead."
                    ))
                    .param(name)
                    .code("integer_below_min_value"));
                }
            }
            other => return Err(wrong_type(name, "an integer", other)),
        }
    }
    Ok(())
}

pub(crate) fn empty_array(place: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid '{place}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    ))
    .param(place)
    .code("empty_array")
}

pub(crate) fn wrong_type(place: &str, wanted: &str, got: &Value) -> Refusal {
    Refusal::invalid(format!(
        "Invalid type for '{place}': expected {wanted}, but got {} instead.",
        type_name(got)
    ))
    .param(place)
    .code("invalid_type")
}

pub(crate) fn missing_or_wrong(place: &str, wanted: &str, got: &Value) -> Refusal {
    match got {
        Value::Null => Refusal::invalid(format!("Missing required parameter: '{place}'."))
            .param(place)
            .code("missing_required_parameter"),
        other => wrong_type(place, wanted, other),
    }
}

pub(crate) fn missing_or_wrong_value(place: &str, got: &Value, supported: &str) -> Refusal {
    match got {
        Value::Null => missing_or_wrong(place, "a string", got),
        other => {
            let shown = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            Refusal::invalid(format!("Invalid value: '{shown}'. Supported values are: {supported}."))
                .param(place)
                .code("invalid_value")
        }
    }
}

pub(crate) fn bad_pattern(place: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid '{place}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
    ))
    .param(place)
    .code("invalid_value")
}
