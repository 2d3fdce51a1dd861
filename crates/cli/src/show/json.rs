//! JSON as a person reads it in a terminal.

use serde_json::Value;

use crate::paint::Paint;

/// Indented by two blanks, keys and values in colours where there are some.
pub fn pretty(value: &Value, paint: Paint) -> String {
    let mut out = String::new();
    write(value, 0, paint, &mut out);
    out
}

fn write(value: &Value, depth: usize, paint: Paint, out: &mut String) {
    let indent = "  ".repeat(depth + 1);
    let text = |value: &Value| value.to_string();
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push_str("{\n");
            for (at, (name, field)) in fields.iter().enumerate() {
                let name = text(&Value::String(name.clone()));
                out.push_str(&format!("{indent}{}: ", paint.with("1;34", &name)));
                write(field, depth + 1, paint, out);
                out.push_str(if at + 1 < fields.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}}}", "  ".repeat(depth)));
        }
        Value::Array(items) if !items.is_empty() => {
            out.push_str("[\n");
            for (at, item) in items.iter().enumerate() {
                out.push_str(&indent);
                write(item, depth + 1, paint, out);
                out.push_str(if at + 1 < items.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}]", "  ".repeat(depth)));
        }
        Value::String(_) => out.push_str(&paint.green(&text(value))),
        Value::Number(_) => out.push_str(&paint.cyan(&text(value))),
        Value::Bool(_) | Value::Null => out.push_str(&paint.yellow(&text(value))),
        Value::Object(_) | Value::Array(_) => out.push_str(&text(value)),
    }
}
