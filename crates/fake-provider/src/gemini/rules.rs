//! What Gemini refuses in a generateContent request.
//!
//! The wording follows the errors people have quoted in public issues.

use serde_json::{Value, json};

use super::{content_rules, tool_rules};
use crate::memory::Memory;
use crate::refusal::Refusal;

const PARAMETERS: &[&str] = &[
    "cachedContent",
    "contents",
    "generationConfig",
    "labels",
    "model",
    "safetySettings",
    "serviceTier",
    "store",
    "systemInstruction",
    "toolConfig",
    "tools",
];

const GENERATION: &[&str] = &[
    "audioTranscriptionConfig",
    "candidateCount",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseFormat",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "seed",
    "speechConfig",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];

/// The request with all names in camel case: as in every Google API they may also have underscores.
pub(crate) fn camel(value: Value) -> Value {
    // What is named by the client.
    const FREE: &[&str] = &[
        "args",
        "default",
        "example",
        "parametersJsonSchema",
        "properties",
        "response",
        "responseJsonSchema",
    ];
    match value {
        Value::Array(all) => all.into_iter().map(camel).collect(),
        Value::Object(fields) => {
            let named = fields.into_iter().map(|(name, value)| {
                let mut words = name.split('_');
                let first = words.next().unwrap_or_default().to_owned();
                let name = words.fold(first, |name, word| {
                    let mut letters = word.chars();
                    let letter = letters.next().map(|letter| letter.to_ascii_uppercase());
                    name + &letter.into_iter().chain(letters).collect::<String>()
                });
                let value = if FREE.contains(&name.as_str()) { value } else { camel(value) };
                (name, value)
            });
            Value::Object(named.collect())
        }
        other => other,
    }
}

/// Checks a request's body.
pub(crate) fn check(body: &Value, memory: &Memory) -> Result<(), Refusal> {
    if !body.is_object() {
        return Err(invalid("Invalid JSON payload received. The request is not an object."));
    }
    check_fields("", body, PARAMETERS)?;
    let contents = match &body["contents"] {
        Value::Null => return Err(violated("contents", "contents is not specified")),
        Value::Array(contents) if contents.is_empty() => {
            return Err(violated("contents", "contents is not specified"));
        }
        Value::Array(contents) => contents,
        other => {
            return Err(invalid_value(
                "contents",
                "type.googleapis.com/google.ai.generativelanguage.v1beta.Content",
                other,
            ));
        }
    };
    content_rules::check_system(&body["systemInstruction"])?;
    content_rules::check_contents(contents, memory)?;
    content_rules::check_order(contents)?;
    content_rules::check_signatures(contents, memory)?;
    tool_rules::check_tools(body)?;
    tool_rules::check_choice(body)?;
    check_generation(&body["generationConfig"])
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "INVALID_ARGUMENT", message)
}

/// A field of the request that breaks a rule of its own.
pub(super) fn violated(field: &str, why: &str) -> Refusal {
    invalid(format!("* GenerateContentRequest.{}: {why}\n", snake(field)))
}

/// A value that does not fit into its field.
pub(super) fn invalid_value(field: &str, kind: &str, got: &Value) -> Refusal {
    let field = snake(field);
    let message = format!("Invalid value at '{field}' ({kind}), {got}");
    payload(&field, message)
}

fn payload(field: &str, message: String) -> Refusal {
    let violation = match field {
        "" => json!({"description": message}),
        _ => json!({"field": field, "description": message}),
    };
    invalid(message)
        .detail(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}))
}

/// Refuses fields of an object that are not known.
pub(super) fn check_fields(place: &str, value: &Value, known: &[&str]) -> Result<(), Refusal> {
    match value {
        Value::Null => Ok(()),
        Value::Object(fields) => match fields.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                let field = snake(place);
                let at = if field.is_empty() { String::new() } else { format!(" at '{field}'") };
                let message = format!(
                    "Invalid JSON payload received. Unknown name \"{unknown}\"{at}: Cannot find field."
                );
                Err(payload(&field, message))
            }
        },
        other => Err(invalid_value(place, "an object", other)),
    }
}

/// `tools[0].functionDeclarations` as the vendor writes it, with underscores.
pub(super) fn snake(place: &str) -> String {
    let mut out = String::new();
    for letter in place.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn check_generation(config: &Value) -> Result<(), Refusal> {
    let place = |name: &str| format!("generationConfig.{name}");
    check_fields("generationConfig", config, GENERATION)?;
    for (name, low, high) in [("temperature", 0.0, 2.0), ("topP", 0.0, 1.0)] {
        match &config[name] {
            Value::Null => {}
            Value::Number(number) if (low..=high).contains(&number.as_f64().unwrap_or(f64::NAN)) => {}
            Value::Number(_) => {
                return Err(violated(
                    &place(name),
                    &format!("{} must be in the range [{low:.1}, {high:.1}].", snake(name)),
                ));
            }
            other => return Err(invalid_value(&place(name), "TYPE_FLOAT", other)),
        }
    }
    for name in ["maxOutputTokens", "candidateCount", "topK", "seed"] {
        match &config[name] {
            Value::Null => {}
            value if value.is_i64() || value.is_u64() => {
                if name != "seed" && value.as_u64().unwrap_or(0) < 1 {
                    return Err(violated(&place(name), &format!("{} must be positive.", snake(name))));
                }
            }
            other => return Err(invalid_value(&place(name), "TYPE_INT32", other)),
        }
    }
    match &config["stopSequences"] {
        Value::Null => {}
        Value::Array(stops) if stops.len() > 5 => {
            return Err(violated(&place("stopSequences"), "at most 5 stop sequences can be specified."));
        }
        Value::Array(stops) => {
            if let Some(wrong) = stops.iter().find(|stop| !stop.is_string()) {
                return Err(invalid_value(&place("stopSequences"), "TYPE_STRING", wrong));
            }
        }
        other => return Err(invalid_value(&place("stopSequences"), "TYPE_STRING", other)),
    }
    check_output(config)?;
    check_thinking(&config["thinkingConfig"])
}

fn check_output(config: &Value) -> Result<(), Refusal> {
    let kind = config["responseMimeType"].as_str();
    if let Some(kind) = kind
        && !["text/plain", "application/json", "text/x.enum"].contains(&kind)
    {
        return Err(violated(
            "generationConfig.responseMimeType",
            "allowed mimetypes are `text/plain`, `application/json`, `application/xml`, `application/yaml` and `text/x.enum`.",
        ));
    }
    let schemas = ["responseSchema", "responseJsonSchema"].map(|name| (name, &config[name]));
    if schemas.iter().all(|(_, schema)| !schema.is_null()) {
        return Err(invalid("Only one of response_schema and response_json_schema can be set."));
    }
    for (name, schema) in schemas {
        let place = format!("generationConfig.{name}");
        if schema.is_null() {
            continue;
        }
        if kind != Some("application/json") && kind != Some("text/x.enum") {
            return Err(violated(&place, "only allowed when `response_mime_type` is `application/json`."));
        }
        if name == "responseSchema" {
            tool_rules::check_schema(&place, schema)?;
        } else {
            crate::schema_rules::check_valid(schema, "").map_err(|why| violated(&place, &why))?;
        }
    }
    Ok(())
}

fn check_thinking(config: &Value) -> Result<(), Refusal> {
    let place = "generationConfig.thinkingConfig";
    check_fields(place, config, &["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
    if !matches!(config["includeThoughts"], Value::Null | Value::Bool(_)) {
        return Err(invalid_value(
            &format!("{place}.includeThoughts"),
            "TYPE_BOOL",
            &config["includeThoughts"],
        ));
    }
    let budget = &config["thinkingBudget"];
    if !budget.is_null() && budget.as_i64().is_none_or(|budget| budget < -1) {
        return Err(invalid_value(&format!("{place}.thinkingBudget"), "TYPE_INT32", budget));
    }
    let level = &config["thinkingLevel"];
    if !level.is_null() {
        if !budget.is_null() {
            return Err(invalid("You can only set only one of thinking budget and thinking level."));
        }
        let known = ["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"];
        if !level.as_str().is_some_and(|level| known.iter().any(|known| known.eq_ignore_ascii_case(level))) {
            let kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.ThinkingConfig.ThinkingLevel";
            return Err(invalid_value(&format!("{place}.thinkingLevel"), kind, level));
        }
    }
    Ok(())
}
