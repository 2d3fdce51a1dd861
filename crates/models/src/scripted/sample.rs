//! The smallest useful value that follows a JSON Schema, so that an offline model can give structured
//! output it was never written for.

use serde_json::{Map, Number, Value};

/// How deep references and nested objects are followed.
const DEPTH: usize = 16;

/// A value of the schema: its first example, default or allowed value where it has one, all properties of
/// an object. Patterns and formats are not followed.
pub(super) fn sample(schema: &Value) -> Value {
    at(schema, schema, DEPTH)
}

fn at(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(rules) = schema.as_object().filter(|_| depth > 0) else { return Value::Null };
    let list = |key: &str| rules.get(key).and_then(Value::as_array);
    if let Some(target) = rules.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#')) {
        return root.pointer(target).map_or(Value::Null, |target| at(target, root, depth - 1));
    }
    if let Some(value) = rules.get("const").or_else(|| rules.get("default")) {
        return value.clone();
    }
    if let Some(value) = list("enum").or_else(|| list("examples")).and_then(|values| values.first()) {
        return value.clone();
    }
    if let Some(choice) = list("anyOf").or_else(|| list("oneOf")).and_then(|choices| choices.first()) {
        return at(choice, root, depth - 1);
    }
    if let Some(all) = list("allOf") {
        let mut merged = Map::new();
        for part in all {
            match at(part, root, depth - 1) {
                Value::Object(members) => merged.extend(members),
                other => return other,
            }
        }
        return Value::Object(merged);
    }
    match kind(rules) {
        "object" => object(rules, root, depth),
        "array" => {
            let usual = u64::from(depth > DEPTH / 2);
            let count = rules.get("minItems").and_then(Value::as_u64).unwrap_or(usual).clamp(usual, 64);
            let item = rules.get("items").map_or(Value::Null, |items| at(items, root, depth - 1));
            (0..count).map(|_| item.clone()).collect()
        }
        "string" => text(rules),
        "integer" | "number" => number(rules, 1),
        "boolean" => Value::Bool(true),
        _ => Value::Null,
    }
}

fn kind(rules: &Map<String, Value>) -> &str {
    match rules.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        _ if rules.contains_key("properties") => "object",
        _ => "",
    }
}

fn object(rules: &Map<String, Value>, root: &Value, depth: usize) -> Value {
    let Some(properties) = rules.get("properties").and_then(Value::as_object) else {
        return Value::Object(Map::new());
    };
    let required = rules.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    // Near the bottom only what must be there: a type that holds itself ends where it may.
    let wanted = properties.iter().filter(|(name, _)| depth > DEPTH / 2 || is_required(name));
    wanted.map(|(name, schema)| (name.clone(), at(schema, root, depth - 1))).collect()
}

fn text(rules: &Map<String, Value>) -> Value {
    let size = |key: &str| rules.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let mut text = String::from("example");
    if let Some(least) = size("minLength") {
        text.extend(std::iter::repeat_n('.', least.min(4096).saturating_sub(text.len())));
    }
    if let Some(most) = size("maxLength") {
        text.truncate(most);
    }
    Value::String(text)
}

fn number(rules: &Map<String, Value>, usual: i64) -> Value {
    let bound = |key: &str| rules.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|bound| bound - 1.0));
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let value = (usual as f64).max(least.unwrap_or(f64::MIN)).min(most.unwrap_or(f64::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "a whole number is written as one")]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
