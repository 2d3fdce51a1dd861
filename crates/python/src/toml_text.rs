//! Plain data as a value of TOML: what Python gives goes the way of what a file says, and is checked as that is.

use std::fmt::Write as _;

use serde_json::Value;

/// One line. What is null is left out of tables, as TOML has no null.
pub(crate) fn inline(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// A key or a text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Writing to a text cannot fail.
            letter if letter.is_control() => drop(write!(out, "\\u{:04X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("\"\""),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (at, (key, item)) in map.iter().filter(|(_, item)| !item.is_null()).enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quoted(key));
                out.push_str(" = ");
                write(item, out);
            }
            out.push('}');
        }
    }
}
