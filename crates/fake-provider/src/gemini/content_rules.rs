//! What Gemini refuses in contents: their shape, their order, and the signatures of thoughts.

use serde_json::Value;

use super::rules::{check_fields, invalid, invalid_value, violated};
use crate::memory::Memory;
use crate::refusal::Refusal;
use crate::signature;
use crate::wire::Wire;

/// Of these, a part has exactly one.
const DATA: &[&str] = &[
    "audioTranscription",
    "codeExecutionResult",
    "executableCode",
    "fileData",
    "functionCall",
    "functionResponse",
    "inlineData",
    "text",
    "toolCall",
    "toolResponse",
];

const BESIDE_DATA: &[&str] =
    &["mediaResolution", "partMetadata", "thought", "thoughtSignature", "videoMetadata"];

/// What the vendor takes in place of a signature, for calls that another model made.
const NO_SIGNATURE: &[&str] = &["context_engineering_is_the_way_to_go", "skip_thought_signature_validator"];

fn parts(content: &Value) -> &[Value] {
    content["parts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What one side says before the other does. Contents of the model in a row are one turn, as the vendor's own
/// client sends the pieces of a stream back.
struct Turn<'a> {
    is_model: bool,
    /// The parts, each with the index of its content.
    parts: Vec<(usize, &'a Value)>,
}

impl<'a> Turn<'a> {
    fn all(contents: &'a [Value]) -> Vec<Turn<'a>> {
        let mut turns: Vec<Turn<'a>> = Vec::new();
        for (index, content) in contents.iter().enumerate() {
            let is_model = content["role"] == "model";
            let parts = parts(content).iter().map(|part| (index, part));
            match turns.last_mut() {
                Some(last) if last.is_model && is_model => last.parts.extend(parts),
                _ => turns.push(Turn { is_model, parts: parts.collect() }),
            }
        }
        turns
    }

    fn each(&self, field: &str) -> impl Iterator<Item = &'a Value> {
        self.parts.iter().map(move |(_, part)| &part[field]).filter(|value| !value.is_null())
    }

    fn answers(&self) -> bool {
        self.each("functionResponse").next().is_some()
    }
}

/// The shape of the system instruction.
pub(super) fn check_system(system: &Value) -> Result<(), Refusal> {
    if system.is_null() {
        return Ok(());
    }
    check_fields("systemInstruction", system, &["parts", "role"])?;
    if parts(system).is_empty() {
        return Err(violated("systemInstruction.parts", "contents.parts must not be empty."));
    }
    for (at, part) in parts(system).iter().enumerate() {
        let place = format!("systemInstruction.parts[{at}]");
        check_fields(&place, part, &["text"])?;
        if !part["text"].is_string() {
            return Err(violated(
                &format!("{place}.data"),
                "required oneof field 'data' must have one initialized field",
            ));
        }
    }
    Ok(())
}

/// The shape of every content and part. A part of a kind that no rule knows is taken back as it was sent.
pub(super) fn check_contents(contents: &[Value], memory: &Memory) -> Result<(), Refusal> {
    for (index, content) in contents.iter().enumerate() {
        let place = format!("contents[{index}]");
        check_fields(&place, content, &["parts", "role"])?;
        let role = match content["role"].as_str() {
            Some(role @ ("user" | "model")) => role,
            // A single content needs none.
            None if content["role"].is_null() && contents.len() == 1 => "user",
            _ => return Err(invalid("Please use a valid role: user, model.")),
        };
        if parts(content).is_empty() {
            return Err(violated(&format!("{place}.parts"), "contents.parts must not be empty."));
        }
        for (at, part) in parts(content).iter().enumerate() {
            if !memory.sent_odd(part) {
                check_part(&format!("{place}.parts[{at}]"), role, part)?;
            }
        }
    }
    Ok(())
}

fn check_part(place: &str, role: &str, part: &Value) -> Result<(), Refusal> {
    let known: Vec<&str> = DATA.iter().chain(BESIDE_DATA).copied().collect();
    check_fields(place, part, &known)?;
    let data: Vec<&str> = DATA.iter().copied().filter(|name| !part[*name].is_null()).collect();
    let [data] = data[..] else {
        let why = match data.len() {
            0 => "required oneof field 'data' must have one initialized field",
            _ => "oneof field 'data' is already set. Cannot set more than one of its fields",
        };
        return Err(violated(&format!("{place}.data"), why));
    };
    if let Some(signature) = part.get("thoughtSignature") {
        let is_base64 = |text: &str| {
            let text = text.trim_end_matches('=');
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
        };
        if !signature.as_str().is_some_and(is_base64) {
            return Err(invalid_value(&format!("{place}.thoughtSignature"), "TYPE_BYTES", signature));
        }
    }
    if !matches!(part["thought"], Value::Null | Value::Bool(_)) {
        return Err(invalid_value(&format!("{place}.thought"), "TYPE_BOOL", &part["thought"]));
    }
    let value = &part[data];
    let at = format!("{place}.{data}");
    match data {
        "text" if value.is_string() => Ok(()),
        "text" => Err(invalid_value(&at, "TYPE_STRING", value)),
        "inlineData" => {
            check_fields(&at, value, &["data", "displayName", "mimeType"])?;
            strings(&at, value, &["data", "mimeType"])
        }
        "fileData" => {
            check_fields(&at, value, &["displayName", "fileUri", "mimeType"])?;
            strings(&at, value, &["fileUri"])
        }
        "functionCall" if role != "model" => {
            Err(invalid("Please ensure that function call parts are in contents of the role model."))
        }
        "functionCall" => {
            check_fields(&at, value, &["args", "id", "name"])?;
            strings(&at, value, &["name"])?;
            check_struct(&format!("{at}.args"), &value["args"])
        }
        "functionResponse" if role != "user" => {
            Err(invalid("Please ensure that function response parts are in contents of the role user."))
        }
        "functionResponse" => {
            check_fields(&at, value, &["id", "name", "parts", "response", "scheduling", "willContinue"])?;
            strings(&at, value, &["name"])?;
            if value["response"].is_null() {
                return Err(violated(&format!("{at}.response"), "missing field."));
            }
            check_struct(&format!("{at}.response"), &value["response"])
        }
        _ => Ok(()),
    }
}

fn strings(place: &str, value: &Value, names: &[&str]) -> Result<(), Refusal> {
    for name in names {
        let field = format!("{place}.{name}");
        match &value[*name] {
            Value::String(text) if !text.is_empty() => {}
            Value::Null | Value::String(_) => return Err(violated(&field, "must not be empty.")),
            other => return Err(invalid_value(&field, "TYPE_STRING", other)),
        }
    }
    Ok(())
}

fn check_struct(place: &str, value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Null | Value::Object(_) => Ok(()),
        other => Err(invalid_value(place, "type.googleapis.com/google.protobuf.Struct", other)),
    }
}

/// Calls come after the user or after answers, answers right after their calls, one for each.
pub(super) fn check_order(contents: &[Value]) -> Result<(), Refusal> {
    let turns = Turn::all(contents);
    if turns.first().is_some_and(|turn| turn.each("functionCall").next().is_some()) {
        return Err(invalid(
            "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
        ));
    }
    let mut asked: Vec<&Value> = Vec::new();
    for turn in &turns {
        if turn.answers() || !asked.is_empty() {
            check_answers(&asked, turn)?;
        }
        asked = turn.each("functionCall").collect();
    }
    match turns.last() {
        Some(last) if last.is_model => {
            Err(invalid("Please ensure that multiturn requests end with a user role or a function response."))
        }
        _ => Ok(()),
    }
}

fn check_answers(asked: &[&Value], turn: &Turn<'_>) -> Result<(), Refusal> {
    if asked.is_empty() {
        return Err(invalid(
            "Please ensure that function response turn comes immediately after a function call turn.",
        ));
    }
    let uneven = || {
        Err(invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
        ))
    };
    let given: Vec<&Value> = turn.each("functionResponse").collect();
    // A turn that answers has nothing but answers in it.
    if given.len() != asked.len() || given.len() != turn.parts.len() {
        return uneven();
    }
    let mut open: Vec<&Value> = asked.to_vec();
    for answer in given {
        // An id tells which call is answered. The vendor's own client leaves it out: then the name does.
        let fits = |call: &&Value| {
            call["name"] == answer["name"] && (answer["id"].is_null() || call["id"] == answer["id"])
        };
        match open.iter().position(fits) {
            Some(at) => drop(open.remove(at)),
            None => {
                return Err(invalid(format!(
                    "Please ensure that function response parts match the function call parts of the function call turn: there is no call of {} with the id {}.",
                    answer["name"], answer["id"]
                )));
            }
        }
    }
    Ok(())
}

/// The first call of each step of the current turn carries its signature, and every signature is one that was
/// sent.
pub(super) fn check_signatures(contents: &[Value], memory: &Memory) -> Result<(), Refusal> {
    let turns = Turn::all(contents);
    let current = turns.iter().rposition(|turn| !turn.is_model && !turn.answers()).unwrap_or(0);
    for (number, turn) in turns.iter().enumerate() {
        let mut first = true;
        for &(index, part) in &turn.parts {
            let call = &part["functionCall"];
            let id = call["id"].as_str().unwrap_or_default();
            let sent = memory.thinking(Wire::Gemini, id).and_then(|all| all.first());
            match part["thoughtSignature"].as_str() {
                // Only what this provider never signed may go without.
                Some(other) if NO_SIGNATURE.contains(&other) && sent.is_none() => {}
                Some(other) if !signature::verify_thought(other) => {
                    return Err(invalid("Corrupted thought signature."));
                }
                Some(other) if sent.is_some_and(|sent| sent != other) => {
                    return Err(invalid("Corrupted thought signature."));
                }
                Some(_) => {}
                None if call.is_null() || !first || number < current => {}
                None => {
                    let name = call["name"].as_str().unwrap_or_default();
                    return Err(invalid(format!(
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details.",
                        index + 1
                    )));
                }
            }
            first &= call.is_null();
        }
    }
    Ok(())
}
