//! Requests as Messages.
//!
//! Neighbours of one wire role are one message there, so a message's bytes are either the next blocks of
//! the message under way or close it and open the next; the tail closes the last.

use std::borrow::Cow;

use ambidex_core::message::{Arguments, Image, ImageSource, Message, Part, ToolResult};
use ambidex_core::model::{Reasoning, ToolChoice};
use ambidex_core::{Error, ErrorKind, Request, Role};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json as value};

use super::FORMAT;
use crate::adapter::{Endpoint, Frame};
use crate::fields::{Fields, json, raw, short_id};
use crate::schema;

const CACHE: &str = "cache_control";

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct TextBlock<'a> {
    r#type: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    r#type: &'static str,
}

pub(super) fn frame(request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
    if request.history.is_empty() {
        let text = "the history is empty; this format needs a message of the user";
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    let settings = &*request.settings;
    let mut fields = Fields::new(&settings.extra);
    fields.field("model", &endpoint.model)?;
    fields.field("max_tokens", &max_tokens(request, endpoint))?;
    // Marks pay where a prompt is sent again, as every agent with tools does.
    let cached = settings.prompt_cache.unwrap_or(!request.tools.is_empty());
    let mark = cached.then_some(CacheControl { r#type: "ephemeral" });
    // Marks the last block, whichever it is: the breakpoint moves on with the history.
    fields.optional(CACHE, mark)?;

    let words = request.output.as_deref().filter(|output| schema::bounded(&output.schema).is_none());
    let words = words.map(schema::in_words);
    let mut system: Vec<TextBlock<'_>> = request
        .instructions
        .as_deref()
        .into_iter()
        .chain(words.as_deref())
        .filter(|text| !text.trim().is_empty())
        .map(|text| TextBlock { r#type: "text", text, cache_control: None })
        .collect();
    let has_system = !system.is_empty();
    if let Some(last) = system.last_mut() {
        // Covers the tools too: they stand before it.
        last.cache_control = mark;
        fields.field("system", &system)?;
    }
    if !request.tools.is_empty() {
        let mut tools: Vec<Tool<'_>> = request
            .tools
            .iter()
            .map(|spec| Tool {
                name: &spec.name,
                description: &spec.description,
                input_schema: &spec.input,
                cache_control: None,
            })
            .collect();
        if let Some(last) = tools.last_mut().filter(|_| !has_system) {
            last.cache_control = mark;
        }
        fields.field("tools", &tools)?;
        fields.optional("tool_choice", tool_choice(request))?;
    }
    fields.optional("temperature", settings.temperature)?;
    fields.optional("top_p", settings.top_p)?;
    if !settings.stop_sequences.is_empty() {
        fields.field("stop_sequences", &settings.stop_sequences)?;
    }
    thinking(request, &mut fields)?;

    let mut head = fields.finish()?;
    raw(&mut head, r#","stream":true,"messages":["#);
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}]}") })
}

/// The limit the format demands. A thinking budget is part of it, so the default comes on top of one.
fn max_tokens(request: &Request, endpoint: &Endpoint) -> u32 {
    request.settings.max_tokens.unwrap_or_else(|| match request.settings.reasoning {
        Some(Reasoning::BudgetTokens(budget)) => budget.saturating_add(endpoint.max_tokens),
        _ => endpoint.max_tokens,
    })
}

fn tool_choice(request: &Request) -> Option<Value> {
    let mut choice = match &request.tool_choice {
        ToolChoice::None => return Some(value!({"type": "none"})),
        ToolChoice::Auto if request.settings.parallel_tool_calls.is_none() => return None,
        ToolChoice::Auto => value!({"type": "auto"}),
        ToolChoice::Required => value!({"type": "any"}),
        ToolChoice::Tool(name) => value!({"type": "tool", "name": name}),
    };
    if let (Some(parallel), Some(fields)) = (request.settings.parallel_tool_calls, choice.as_object_mut()) {
        fields.insert("disable_parallel_tool_use".to_owned(), Value::Bool(!parallel));
    }
    Some(choice)
}

/// Thinking, effort and output format. The vendor refuses thinking beside a forced tool; the forced
/// tool wins.
fn thinking(request: &Request, fields: &mut Fields<'_>) -> Result<(), Error> {
    let forced = !request.tools.is_empty()
        && matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
    let mut config = serde_json::Map::new();
    match &request.settings.reasoning {
        Some(Reasoning::Effort(effort)) if effort == "none" => {
            fields.field("thinking", &value!({"type": "disabled"}))?;
        }
        Some(Reasoning::Effort(effort)) => {
            config.insert("effort".to_owned(), Value::String(effort.clone()));
            if !forced {
                fields.field("thinking", &value!({"type": "adaptive"}))?;
            }
        }
        Some(Reasoning::BudgetTokens(budget)) if !forced => {
            fields.field("thinking", &value!({"type": "enabled", "budget_tokens": budget}))?;
        }
        _ => {}
    }
    if let Some(schema) = request.output.as_deref().and_then(|output| schema::bounded(&output.schema)) {
        config.insert("format".to_owned(), value!({"type": "json_schema", "schema": schema}));
    }
    if config.is_empty() { Ok(()) } else { fields.field("output_config", &config) }
}

fn wire_role(role: Role) -> &'static str {
    match role {
        Role::Assistant => "assistant",
        Role::System | Role::User | Role::Tool => "user",
    }
}

pub(super) fn message(before: Option<&Message>, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let role = wire_role(message.role);
    let mut blocks = Blocks { out, first: false };
    match before.map(|before| wire_role(before.role)) {
        Some(open) if open == role => {}
        open => {
            if open.is_some() {
                raw(blocks.out, "]},");
            }
            raw(blocks.out, r#"{"role":""#);
            raw(blocks.out, role);
            raw(blocks.out, r#"","content":["#);
            blocks.first = true;
        }
    }
    let before = blocks.out.len();
    // The vendor wants results before anything else the user says.
    let is_result = |part: &&Part| matches!(part, Part::ToolResult(_));
    for part in
        message.parts.iter().filter(is_result).chain(message.parts.iter().filter(|part| !is_result(part)))
    {
        block(message.role, part, &mut blocks)?;
    }
    // A message must hold something, also when all it had belongs to another format.
    if blocks.out.len() == before {
        blocks.text("(empty)")?;
    }
    Ok(())
}

struct Blocks<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Blocks<'_> {
    fn open(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        json(self.open(), &TextBlock { r#type: "text", text, cache_control: None })
    }
}

fn block(role: Role, part: &Part, blocks: &mut Blocks<'_>) -> Result<(), Error> {
    match part {
        // Blank text is refused.
        Part::Text { text } | Part::Refusal { text } if text.trim().is_empty() => Ok(()),
        Part::Text { text } if role == Role::System => blocks.text(&format!("<system>\n{text}\n</system>")),
        Part::Text { text } | Part::Refusal { text } => blocks.text(text),
        Part::Image(image) => json(blocks.open(), &image_block(image)),
        Part::Reasoning { text, state: Some(state) } if state.format == FORMAT => {
            let out = blocks.open();
            raw(out, r#"{"type":"thinking","thinking":"#);
            json(out, text)?;
            raw(out, r#","signature":"#);
            raw(out, &state.json);
            out.push(b'}');
            Ok(())
        }
        Part::Opaque { state } if state.format == FORMAT => {
            raw(blocks.open(), &state.json);
            Ok(())
        }
        // They belong to another format, or are not signed: this one refuses them.
        Part::Reasoning { .. } | Part::Opaque { .. } => Ok(()),
        Part::ToolCall(call) => {
            let invalid;
            let input = match &call.arguments {
                Arguments::Json(input @ Value::Object(_)) => input,
                Arguments::Json(other) => {
                    invalid = value!({"_invalid_arguments": other});
                    &invalid
                }
                Arguments::Invalid { raw, .. } => {
                    invalid = value!({"_invalid_arguments": raw});
                    &invalid
                }
            };
            let block = ToolUse { r#type: "tool_use", id: &wire_id(&call.id), name: &call.name, input };
            json(blocks.open(), &block)
        }
        Part::ToolResult(result) => json(blocks.open(), &tool_result(result)),
    }
}

#[derive(Serialize)]
struct ToolUse<'a> {
    r#type: &'static str,
    id: &'a str,
    name: &'a str,
    input: &'a Value,
}

#[derive(Serialize)]
struct ToolResultBlock<'a> {
    r#type: &'static str,
    tool_use_id: Cow<'a, str>,
    content: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

fn tool_result(result: &ToolResult) -> ToolResultBlock<'_> {
    // An error without words is refused.
    let content = if result.failed && result.text.is_empty() { "failed" } else { &result.text };
    ToolResultBlock {
        r#type: "tool_result",
        tool_use_id: wire_id(&result.call_id),
        content,
        is_error: result.failed,
    }
}

fn image_block(image: &Image) -> Value {
    let source = match &image.source {
        ImageSource::Base64(data) => {
            value!({"type": "base64", "media_type": image.media_type, "data": &**data})
        }
        ImageSource::Url(url) => value!({"type": "url", "url": url}),
    };
    value!({"type": "image", "source": source})
}

/// Ids of another provider may have characters that this one refuses.
fn wire_id(id: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(fits) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(short_id(id))
}
