//! Requests as Responses: each part of the history an item of the input.

use std::borrow::Cow;

use ambidex_core::message::{
    Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall, ToolResult,
};
use ambidex_core::model::{OutputSchema, Reasoning, ToolChoice};
use ambidex_core::{Error, ErrorKind, Request, Role};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as value};

use super::FORMAT;
use crate::adapter::{Endpoint, Frame};
use crate::fields::{Fields, json, raw, short_id};
use crate::schema;

/// What the vendor accepts at most.
const CALL_ID: usize = 64;
/// Fields of the user that name an input of the vendor's own.
const INPUT_ELSEWHERE: [&str; 3] = ["previous_response_id", "prompt", "conversation"];
/// Families of models that do not reason: the vendor refuses to be asked for their encrypted reasoning.
const NOT_REASONING: [&str; 3] = ["gpt-3.5", "gpt-4", "chatgpt-4o"];

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
    /// What is left out counts as strict, which many schemas cannot be.
    strict: bool,
}

pub(super) fn frame(request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
    let settings = &*request.settings;
    if request.history.is_empty() && !INPUT_ELSEWHERE.iter().any(|name| settings.extra.contains_key(*name)) {
        let text = "the history is empty; this format needs a message of the user";
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    if !settings.stop_sequences.is_empty() && !settings.extra.contains_key("stop") {
        let text =
            "this format has no stop sequences; leave them out, or use the provider's Chat Completions";
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    // The format's schemas are objects; anything else is asked for in words.
    let format = request.output.as_deref().filter(|output| schema::is_object(&output.schema));
    let words = request.output.as_deref().filter(|_| format.is_none()).map(schema::in_words);
    let extra = extra(request, format);

    let mut fields = Fields::new(&extra);
    fields.field("model", &endpoint.model)?;
    let instructions: Vec<&str> =
        request.instructions.as_deref().into_iter().chain(words.as_deref()).collect();
    if !instructions.is_empty() {
        fields.field("instructions", &instructions.join("\n\n"))?;
    }
    fields.optional("max_output_tokens", settings.max_tokens)?;
    fields.optional("temperature", settings.temperature)?;
    fields.optional("top_p", settings.top_p)?;
    if !request.tools.is_empty() {
        match &request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => fields.field("tool_choice", "none")?,
            ToolChoice::Required => fields.field("tool_choice", "required")?,
            ToolChoice::Tool(name) => {
                fields.field("tool_choice", &value!({"type": "function", "name": name}))?;
            }
        }
        fields.optional("parallel_tool_calls", settings.parallel_tool_calls)?;
    }
    // The history is ours; nothing of it needs to stay with the vendor.
    fields.field("store", &false)?;
    if extra.get("store") != Some(&Value::Bool(true)) && reasons(&endpoint.model) {
        fields.field("include", &["reasoning.encrypted_content"])?;
    }
    let mut head = fields.finish()?;
    raw(&mut head, r#","stream":true,"input":["#);
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}") })
}

/// The user's fields, and in those that hold several settings ours beside his.
fn extra(request: &Request, format: Option<&OutputSchema>) -> Map<String, Value> {
    let mut extra = request.settings.extra.clone();
    // What is always ours: it stands behind the other fields.
    extra.shift_remove("input");
    let effort = match &request.settings.reasoning {
        Some(Reasoning::Effort(effort)) => Some(effort.as_str()),
        // The format knows no budget; a word that is near it is better than silence.
        Some(Reasoning::BudgetTokens(tokens)) => Some(crate::openai_chat::effort(*tokens)),
        None => None,
    };
    let ours =
        [("reasoning", "effort", effort.map(Value::from)), ("text", "format", format.map(output_format))];
    for (name, field, ours) in ours {
        let Some(ours) = ours else { continue };
        if let Value::Object(theirs) = extra.entry(name).or_insert_with(|| Value::Object(Map::new())) {
            theirs.entry(field).or_insert(ours);
        }
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().filter_map(|spec| {
            let tool = Tool {
                r#type: "function",
                name: &spec.name,
                description: &spec.description,
                parameters: &spec.input,
                strict: false,
            };
            serde_json::to_value(tool).ok()
        });
        // The vendor's own tools may stand beside ours.
        if let Value::Array(theirs) = extra.entry("tools").or_insert_with(|| Value::Array(vec![])) {
            theirs.splice(0..0, tools);
        }
    }
    extra
}

fn output_format(output: &OutputSchema) -> Value {
    let (schema, strict) = match schema::strict(&output.schema) {
        Some(schema) => (schema, true),
        None => (output.schema.clone(), false),
    };
    value!({"type": "json_schema", "name": output.name, "strict": strict, "schema": schema})
}

fn reasons(model: &str) -> bool {
    // A router puts the vendor before the name.
    let name = model.rsplit('/').next().unwrap_or(model);
    !NOT_REASONING.iter().any(|family| name.starts_with(family))
}

/// Appends the items of a message: each with a comma before it, but for the first.
pub(super) fn message(before: Option<&Message>, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut items = Items { out, first: before.is_none() };
    let empty = items.out.len();
    let role = match message.role {
        Role::System => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    match message.role {
        Role::System => items.text(role, &message.text())?,
        Role::User => user(message, &mut items)?,
        Role::Assistant => assistant(message, &mut items)?,
        Role::Tool => {
            for part in &message.parts {
                if let Part::ToolResult(result) = part {
                    tool_result(result, items.open())?;
                }
            }
            user(message, &mut items)?;
        }
    }
    // A message leaves something behind, also when all it had belongs to another format.
    if items.out.len() == empty { items.text(role, "") } else { Ok(()) }
}

struct Items<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Items<'_> {
    fn open(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    /// Begins a message, up to its content.
    fn message(&mut self, role: &str) -> &mut Vec<u8> {
        let out = self.open();
        raw(out, r#"{"type":"message","role":""#);
        raw(out, role);
        raw(out, r#"","content":"#);
        out
    }

    fn text(&mut self, role: &str, text: &str) -> Result<(), Error> {
        let out = self.message(role);
        json(out, text)?;
        out.push(b'}');
        Ok(())
    }
}

fn user(message: &Message, items: &mut Items<'_>) -> Result<(), Error> {
    let mut shown = message.parts.iter().filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    match (shown.next(), shown.clone().next()) {
        (None, _) => Ok(()),
        (Some(Part::Text { text }), None) => items.text("user", text),
        (Some(first), _) => {
            let out = items.message("user");
            for (index, part) in std::iter::once(first).chain(shown).enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                content(part, out)?;
            }
            raw(out, "]}");
            Ok(())
        }
    }
}

fn content(part: &Part, out: &mut Vec<u8>) -> Result<(), Error> {
    match part {
        Part::Text { text } => json(out, &value!({"type": "input_text", "text": text})),
        Part::Image(Image { media_type, source }) => {
            let url = match source {
                ImageSource::Url(url) => Cow::Borrowed(url.as_str()),
                ImageSource::Base64(data) => Cow::Owned(format!("data:{media_type};base64,{data}")),
            };
            json(out, &value!({"type": "input_image", "image_url": url, "detail": "auto"}))
        }
        _ => Ok(()),
    }
}

fn assistant(message: &Message, items: &mut Items<'_>) -> Result<(), Error> {
    // Reasoning that nothing follows belongs to a reply that was cut; the vendor refuses the request.
    let followed = message.parts.iter().rposition(is_said).map_or(0, |last| last + 1);
    let mut said: Vec<&Part> = Vec::new();
    for part in message.parts.iter().take(followed) {
        match part {
            Part::Text { text } | Part::Refusal { text } if text.is_empty() => {}
            Part::Text { .. } | Part::Refusal { .. } => said.push(part),
            Part::Opaque { state } if state.format == FORMAT => match state.json.strip_prefix('[') {
                Some(_) => flush(&mut said, Some(state), items)?,
                None => {
                    flush(&mut said, None, items)?;
                    raw(items.open(), &state.json);
                }
            },
            Part::Reasoning { state: Some(state), .. } if state.format == FORMAT => {
                flush(&mut said, None, items)?;
                raw(items.open(), &state.json);
            }
            Part::ToolCall(call) => {
                flush(&mut said, None, items)?;
                tool_call(call, items.open())?;
            }
            // They belong to another format, or to another role.
            Part::Reasoning { .. } | Part::Opaque { .. } | Part::Image(_) | Part::ToolResult(_) => {}
        }
    }
    // The marks of a message stand behind its text.
    let mark = message.parts.get(followed).and_then(|part| match part {
        Part::Opaque { state } if is_mark(state) => Some(state),
        _ => None,
    });
    flush(&mut said, mark, items)
}

/// Whether a part is something that reasoning may lead to.
fn is_said(part: &Part) -> bool {
    #[derive(Deserialize)]
    struct Item {
        r#type: String,
    }
    match part {
        Part::Text { text } | Part::Refusal { text } => !text.is_empty(),
        Part::ToolCall(_) => true,
        Part::Opaque { state } if state.format == FORMAT && !is_mark(state) => {
            serde_json::from_str::<Item>(&state.json).is_ok_and(|item| item.r#type != "reasoning")
        }
        _ => false,
    }
}

/// Further fields of a message, such as its phase, kept behind its text.
fn is_mark(state: &ProviderState) -> bool {
    state.format == FORMAT && state.json.starts_with('[')
}

/// Writes what was said as one message.
fn flush(said: &mut Vec<&Part>, mark: Option<&ProviderState>, items: &mut Items<'_>) -> Result<(), Error> {
    let parts = std::mem::take(said);
    if parts.is_empty() {
        return Ok(());
    }
    let out = items.message("assistant");
    match parts.as_slice() {
        [Part::Text { text }] => json(out, text)?,
        parts => {
            for (index, part) in parts.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                match part {
                    Part::Refusal { text } => json(out, &value!({"type": "refusal", "refusal": text}))?,
                    Part::Text { text } => {
                        json(out, &value!({"type": "output_text", "text": text, "annotations": []}))?;
                    }
                    _ => {}
                }
            }
            out.push(b']');
        }
    }
    let fields = mark.and_then(|mark| mark.json.strip_prefix(r#"["message",{"#)?.strip_suffix("}]"));
    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
        out.push(b',');
        raw(out, fields);
    }
    out.push(b'}');
    Ok(())
}

fn tool_call(call: &ToolCall, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"type":"function_call","call_id":"#);
    json(out, &wire_id(&call.id))?;
    raw(out, r#","name":"#);
    json(out, &call.name)?;
    raw(out, r#","arguments":"#);
    let arguments = match &call.arguments {
        Arguments::Json(arguments) => arguments.to_string(),
        Arguments::Invalid { raw, .. } => value!({"_invalid_arguments": raw}).to_string(),
    };
    json(out, &arguments)?;
    let further = call.state.as_ref().filter(|state| state.format == FORMAT);
    let fields = further.and_then(|state| state.json.strip_prefix('{')?.strip_suffix('}'));
    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
        out.push(b',');
        raw(out, fields);
    }
    out.push(b'}');
    Ok(())
}

fn tool_result(result: &ToolResult, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"type":"function_call_output","call_id":"#);
    json(out, &wire_id(&result.call_id))?;
    raw(out, r#","output":"#);
    json(out, &result.text)?;
    out.push(b'}');
    Ok(())
}

/// Ids of another provider may be longer than this one accepts, or missing.
fn wire_id(id: &str) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= CALL_ID {
        return Cow::Borrowed(id);
    }
    Cow::Owned(short_id(id))
}
