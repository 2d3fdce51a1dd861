//! Output schemas as the vendors accept them. Ours stays the judge: a reply is checked against the
//! schema as the user wrote it.

use ambidex_core::model::OutputSchema;
use serde_json::{Map, Value, json};

/// Where schemas stand inside a schema: by name, as a list, alone.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
const LISTS: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const SINGLE: [&str; 2] = ["items", "not"];

/// Keywords that strict mode refuses.
const NOT_STRICT: [&str; 18] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
];

/// String formats that both vendors know.
const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// The schema for OpenAI's strict mode, with objects closed where the schema leaves that open; none
/// when strict mode cannot say it (optional properties, open maps, some keywords).
pub(crate) fn strict(schema: &Value) -> Option<Value> {
    let mut strict = schema.clone();
    if !is_object(&strict) || strict.get("anyOf").is_some() {
        return None;
    }
    close(&mut strict)?;
    all(&strict, &|fields| {
        let required = |name: &String| {
            let names = fields.get("required").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|known| known.as_str() == Some(name)))
        };
        let complete = fields.get("properties").and_then(Value::as_object);
        let refused = NOT_STRICT.iter().any(|keyword| fields.contains_key(*keyword));
        let mixed = fields.contains_key("$ref") && fields.len() > 1;
        !refused
            && !mixed
            && fields.get("format").and_then(Value::as_str).is_none_or(|format| FORMATS.contains(&format))
            && complete.is_none_or(|properties| properties.keys().all(required))
    })
    .then_some(strict)
}

/// The schema for Anthropic's output format, with objects closed and bounds taken out; none when it
/// cannot say it (open maps, references to itself).
pub(crate) fn bounded(schema: &Value) -> Option<Value> {
    let mut bounded = schema.clone();
    if !bounded.is_object() || has_loop(schema) {
        return None;
    }
    close(&mut bounded)?;
    each(&mut bounded, &mut |fields| {
        const BOUNDS: [&str; 10] = [
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "maxItems",
            "uniqueItems",
            "pattern",
        ];
        for keyword in BOUNDS {
            fields.shift_remove(keyword);
        }
        if fields.get("minItems").and_then(Value::as_u64).is_some_and(|count| count > 1) {
            fields.insert("minItems".to_owned(), json!(1));
        }
        let known = |format: &str| FORMATS.contains(&format) || format == "uri";
        if fields.get("format").and_then(Value::as_str).is_some_and(|format| !known(format)) {
            fields.shift_remove("format");
        }
        if let Some(variants) = fields.shift_remove("oneOf") {
            fields.entry("anyOf").or_insert(variants);
        }
    });
    Some(bounded)
}

/// Closes objects that do not say whether they are open. None where one says it is.
fn close(schema: &mut Value) -> Option<()> {
    let mut open = false;
    each(schema, &mut |fields| {
        let object = is_type(fields.get("type"), "object") || fields.contains_key("properties");
        if object {
            open |= *fields.entry("additionalProperties").or_insert(Value::Bool(false)) != Value::Bool(false);
        }
    });
    (!open).then_some(())
}

/// Whether a schema describes objects.
pub(crate) fn is_object(schema: &Value) -> bool {
    is_type(schema.get("type"), "object")
}

fn is_type(kind: Option<&Value>, name: &str) -> bool {
    match kind {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind.as_str() == Some(name)),
        _ => false,
    }
}

/// Visits the schema and all schemas inside it.
fn each(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(fields) = schema.as_object_mut() else { return };
    visit(fields);
    for keyword in NAMED {
        if let Some(Value::Object(named)) = fields.get_mut(keyword) {
            named.values_mut().for_each(|child| each(child, visit));
        }
    }
    for keyword in LISTS {
        if let Some(Value::Array(list)) = fields.get_mut(keyword) {
            list.iter_mut().for_each(|child| each(child, visit));
        }
    }
    for keyword in SINGLE {
        if let Some(child) = fields.get_mut(keyword) {
            each(child, visit);
        }
    }
}

fn all(schema: &Value, holds: &dyn Fn(&Map<String, Value>) -> bool) -> bool {
    // A schema that is `true` or `false` is none of strict mode's.
    let Some(fields) = schema.as_object() else { return false };
    let named = || NAMED.iter().filter_map(|keyword| fields.get(*keyword)?.as_object()).flat_map(Map::values);
    let lists = || LISTS.iter().filter_map(|keyword| fields.get(*keyword)?.as_array()).flatten();
    let single = || SINGLE.iter().filter_map(|keyword| fields.get(*keyword));
    holds(fields) && named().chain(lists()).chain(single()).all(|child| all(child, holds))
}

/// Whether following references comes back to where it was.
fn has_loop(schema: &Value) -> bool {
    fn visit<'a>(root: &'a Value, value: &'a Value, path: &mut Vec<&'a str>) -> bool {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    let Some(pointer) = target.strip_prefix('#') else { return true };
                    if path.contains(&pointer) {
                        return true;
                    }
                    path.push(pointer);
                    let looped = root.pointer(pointer).is_none_or(|target| visit(root, target, path));
                    path.pop();
                    if looped {
                        return true;
                    }
                }
                let inside =
                    fields.iter().filter(|(name, _)| !["$defs", "definitions"].contains(&name.as_str()));
                inside.into_iter().any(|(_, child)| visit(root, child, path))
            }
            Value::Array(list) => list.iter().any(|child| visit(root, child, path)),
            _ => false,
        }
    }
    visit(schema, schema, &mut vec![""])
}

/// The schema as an instruction, where no format of the provider can hold it.
pub(crate) fn in_words(output: &OutputSchema) -> String {
    format!(
        "Your answer must be JSON alone, without any other text or code fence, that matches this JSON Schema:\n{}",
        output.schema
    )
}
