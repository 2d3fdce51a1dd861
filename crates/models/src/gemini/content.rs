//! Messages as contents and parts.
//!
//! Neighbours of one kind are one content there, so a message's bytes are either the next parts of the content
//! under way or close it and open the next; the tail closes the last.

use ambidex_core::message::{
    Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall, ToolResult,
};
use ambidex_core::{Error, ErrorKind, Role};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json as value};

use super::FORMAT;
use crate::fields::{json, raw};

/// What the vendor wants where a call has no signature because another model made it. Gemini 3 and later
/// refuse a message whose first call has none.
const FOREIGN_CALL: &str = r#""skip_thought_signature_validator""#;

/// The signature of the text before it: text has no place for provider state.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSignature<'a> {
    #[serde(borrow, rename = "thoughtSignature")]
    signature: &'a RawValue,
}

/// Provider state for the signature of the text before it.
pub(super) fn text_signature(signature: &str) -> ProviderState {
    state(format!(r#"{{"thoughtSignature":{signature}}}"#))
}

pub(super) fn state(json: String) -> ProviderState {
    ProviderState { format: FORMAT.to_owned(), json }
}

fn signature_of(part: &Part) -> Option<&str> {
    let Part::Opaque { state } = part else { return None };
    let signature = serde_json::from_str::<TextSignature<'_>>(ours(state)?).ok()?;
    Some(signature.signature.get())
}

/// The JSON of state that belongs to this format.
fn ours(state: &ProviderState) -> Option<&str> {
    (state.format == FORMAT).then_some(state.json.as_str())
}

/// A content under way. Answers of tools are one of their own: the vendor counts its parts against the calls.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Answers,
    User,
}

impl Kind {
    fn of(role: Role, part: &Part) -> Self {
        match (role, part) {
            (Role::Assistant, _) => Self::Model,
            (_, Part::ToolResult(_)) => Self::Answers,
            (Role::System | Role::User | Role::Tool, _) => Self::User,
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Answers | Self::User => "user",
        }
    }
}

/// What a message holds where nothing of it can be said: a content must not be empty.
fn empty() -> Part {
    Part::text("(empty)")
}

/// The parts that are sent, in their order: answers stand before anything else the user says.
fn sent(v1: bool, message: &Message) -> impl Iterator<Item = &Part> {
    let of = move |answers: bool| {
        message
            .parts
            .iter()
            .filter(move |part| matches!(part, Part::ToolResult(_)) == answers && is_sent(v1, part))
    };
    of(true).chain(of(false))
}

fn is_sent(v1: bool, part: &Part) -> bool {
    match part {
        Part::Text { text } | Part::Refusal { text } => !text.is_empty(),
        // They are of another model, or of the other version, which alone can read them.
        Part::Reasoning { .. } | Part::Opaque { .. } if v1 => false,
        Part::Reasoning { text, state: Some(state) } => {
            ours(state).is_some_and(|json| json != UNSIGNED || !text.is_empty())
        }
        Part::Reasoning { state: None, .. } => false,
        Part::Opaque { state } => ours(state).is_some(),
        Part::Image(_) | Part::ToolCall(_) | Part::ToolResult(_) => true,
    }
}

/// Appends a message. `v1` leaves out or refuses what that version does not know.
///
/// # Errors
/// `unsupported` for what `v1` cannot say.
pub(super) fn message(
    v1: bool,
    before: Option<&Message>,
    message: &Message,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let empty = empty();
    let open = before.map(|before| Kind::of(before.role, sent(v1, before).last().unwrap_or(&empty)));
    let foreign = !message.parts.iter().any(is_signed);
    let mut parts = Parts { out, open, role: message.role, v1, foreign };
    let mut all = sent(v1, message).peekable();
    if all.peek().is_none() {
        return parts.part(&empty, None);
    }
    while let Some(part) = all.next() {
        // A signature goes back on the very text it came with.
        let signature = match part {
            Part::Text { .. } => all.peek().and_then(|next| signature_of(next)),
            _ => None,
        };
        if signature.is_some() {
            all.next();
        }
        parts.part(part, signature)?;
    }
    Ok(())
}

/// Whether a part has a signature of this format.
fn is_signed(part: &Part) -> bool {
    match part {
        Part::Reasoning { state: Some(state), .. } | Part::ToolCall(ToolCall { state: Some(state), .. }) => {
            ours(state).is_some_and(|json| json != UNSIGNED)
        }
        Part::Opaque { state } => ours(state).is_some_and(|json| json.contains("\"thoughtSignature\"")),
        _ => false,
    }
}

/// The state of a thought without a signature: it says that the thought is one of this format.
pub(super) const UNSIGNED: &str = "null";

struct Parts<'a> {
    out: &'a mut Vec<u8>,
    open: Option<Kind>,
    role: Role,
    v1: bool,
    /// No part of the message has a signature, and no call of it was written yet.
    foreign: bool,
}

impl Parts<'_> {
    /// Opens the next part, in the content it belongs to.
    fn open(&mut self, kind: Kind) {
        if self.open == Some(kind) {
            self.out.push(b',');
            return;
        }
        raw(self.out, if self.open.is_some() { r#"]},{"role":""# } else { r#"{"role":""# });
        raw(self.out, kind.role());
        raw(self.out, r#"","parts":["#);
        self.open = Some(kind);
    }

    fn part(&mut self, part: &Part, signature: Option<&str>) -> Result<(), Error> {
        self.open(Kind::of(self.role, part));
        match part {
            Part::Text { text } if self.role == Role::System => {
                self.text(&format!("<system>\n{text}\n</system>"), false, None)
            }
            Part::Text { text } => self.text(text, false, signature),
            Part::Refusal { text } => self.text(text, false, None),
            Part::Image(Image { source: ImageSource::Url(_), .. }) if self.v1 => {
                Err(beyond_v1("images by their address"))
            }
            Part::Image(image) => json(self.out, &image_part(image)),
            Part::Reasoning { text, state } => {
                let signature = state.as_ref().and_then(ours).filter(|json| *json != UNSIGNED);
                self.text(text, true, signature)
            }
            Part::Opaque { state } => {
                if let Some(signature) = signature_of(part) {
                    return self.text("", false, Some(signature));
                }
                raw(self.out, &state.json);
                Ok(())
            }
            Part::ToolCall(_) | Part::ToolResult(_) if self.v1 => Err(beyond_v1("tool calls")),
            Part::ToolCall(call) => self.call(call),
            Part::ToolResult(result) => json(self.out, &result_part(result)),
        }
    }

    fn text(&mut self, text: &str, thought: bool, signature: Option<&str>) -> Result<(), Error> {
        let out = &mut *self.out;
        raw(out, r#"{"text":"#);
        json(out, text)?;
        if thought {
            raw(out, r#","thought":true"#);
        }
        end(out, signature);
        Ok(())
    }

    fn call(&mut self, call: &ToolCall) -> Result<(), Error> {
        let foreign = std::mem::take(&mut self.foreign).then_some(FOREIGN_CALL);
        let signature = call.state.as_ref().and_then(ours).or(foreign);
        let out = &mut *self.out;
        raw(out, r#"{"functionCall":{"#);
        if !call.id.is_empty() {
            raw(out, r#""id":"#);
            json(out, &call.id)?;
            out.push(b',');
        }
        raw(out, r#""name":"#);
        json(out, &call.name)?;
        raw(out, r#","args":"#);
        match &call.arguments {
            Arguments::Json(args @ Value::Object(_)) => json(out, args)?,
            Arguments::Json(other) => json(out, &value!({"_invalid_arguments": other}))?,
            Arguments::Invalid { raw, .. } => json(out, &value!({"_invalid_arguments": raw}))?,
        }
        out.push(b'}');
        end(out, signature);
        Ok(())
    }
}

/// The error for what `v1` does not know.
pub(super) fn beyond_v1(what: &str) -> Error {
    let text =
        format!("version v1 of the Gemini API does not know {what}; let `base_url` end with `/v1beta`");
    Error::new(ErrorKind::Unsupported, text)
}

fn end(out: &mut Vec<u8>, signature: Option<&str>) {
    if let Some(signature) = signature {
        raw(out, r#","thoughtSignature":"#);
        raw(out, signature);
    }
    out.push(b'}');
}

fn result_part(result: &ToolResult) -> Value {
    let key = if result.failed { "error" } else { "output" };
    let mut response = value!({"name": result.name, "response": {key: result.text}});
    if let Some(fields) = response.as_object_mut().filter(|_| !result.call_id.is_empty()) {
        fields.shift_insert(0, "id".to_owned(), Value::from(result.call_id.as_str()));
    }
    value!({"functionResponse": response})
}

fn image_part(image: &Image) -> Value {
    match &image.source {
        ImageSource::Base64(data) => {
            value!({"inlineData": {"mimeType": image.media_type, "data": &**data}})
        }
        ImageSource::Url(url) => value!({"fileData": {"mimeType": image.media_type, "fileUri": url}}),
    }
}
