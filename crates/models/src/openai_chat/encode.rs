//! Requests as Chat Completions.

use ambidex_core::message::{
    Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall, ToolResult,
};
use ambidex_core::model::{OutputSchema, Reasoning, ToolChoice};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Error, Request, Role};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json as value};

use super::FORMAT;
use crate::adapter::{Endpoint, Frame};
use crate::fields::{Fields, json, raw};
use crate::schema;

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

pub(super) fn frame(request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
    let settings = &*request.settings;
    let mut fields = Fields::new(&settings.extra);
    fields.field("model", &endpoint.model)?;
    fields.field("stream_options", &value!({"include_usage": true}))?;
    let limit = if endpoint.quirks.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
    fields.optional(limit, settings.max_tokens)?;
    fields.optional("temperature", settings.temperature)?;
    fields.optional("top_p", settings.top_p)?;
    fields.optional("seed", settings.seed)?;
    if !settings.stop_sequences.is_empty() {
        fields.field("stop", &settings.stop_sequences)?;
    }
    match &settings.reasoning {
        Some(Reasoning::Effort(effort)) => fields.field("reasoning_effort", effort)?,
        // The format knows no budget; a word that is near it is better than silence.
        Some(Reasoning::BudgetTokens(tokens)) => fields.field("reasoning_effort", effort(*tokens))?,
        None => {}
    }
    if !request.tools.is_empty() {
        let tools: Vec<Tool<'_>> = request.tools.iter().map(|spec| tool(spec)).collect();
        fields.field("tools", &tools)?;
        match &request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => fields.field("tool_choice", "none")?,
            ToolChoice::Required => fields.field("tool_choice", "required")?,
            ToolChoice::Tool(name) => {
                fields.field("tool_choice", &value!({"type": "function", "function": {"name": name}}))?;
            }
        }
        fields.optional("parallel_tool_calls", settings.parallel_tool_calls)?;
    }
    // The format's schemas are objects; anything else is asked for in words.
    let words = match &request.output {
        Some(output) if schema::is_object(&output.schema) => {
            fields.field("response_format", &response_format(output))?;
            None
        }
        Some(output) => Some(schema::in_words(output)),
        None => None,
    };
    let mut head = fields.finish()?;
    raw(&mut head, r#","stream":true,"messages":["#);
    let system: Vec<&str> = request.instructions.as_deref().into_iter().chain(words.as_deref()).collect();
    if !system.is_empty() {
        raw(&mut head, r#"{"role":"system","content":"#);
        json(&mut head, &system.join("\n\n"))?;
        head.push(b'}');
        if !request.history.is_empty() {
            head.push(b',');
        }
    }
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}") })
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    let function = Function { name: &spec.name, description: &spec.description, parameters: &spec.input };
    Tool { r#type: "function", function }
}

/// The word for effort that is near a budget of tokens.
pub(crate) fn effort(budget: u32) -> &'static str {
    match budget {
        0..=2048 => "low",
        2049..=8192 => "medium",
        _ => "high",
    }
}

fn response_format(output: &OutputSchema) -> Value {
    let (schema, strict) = match schema::strict(&output.schema) {
        Some(schema) => (schema, true),
        None => (output.schema.clone(), false),
    };
    value!({"type": "json_schema",
        "json_schema": {"name": output.name, "strict": strict, "schema": schema}})
}

/// Appends a message: each with the comma before it, but for the first.
pub(super) fn message(before: Option<&Message>, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    if before.is_some() {
        out.push(b',');
    }
    match message.role {
        Role::System => plain("system", message, out),
        Role::User => user(message.parts.iter(), out),
        Role::Assistant => assistant(message, out),
        Role::Tool => tool_message(message, out),
    }
}

fn plain(role: &str, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"role":"#);
    json(out, role)?;
    raw(out, r#","content":"#);
    json(out, &message.text())?;
    out.push(b'}');
    Ok(())
}

fn user<'a>(parts: impl Iterator<Item = &'a Part> + Clone, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"role":"user","content":"#);
    let mut shown = parts.filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    match (shown.next(), shown.clone().next()) {
        (None, _) => raw(out, r#""""#),
        (Some(Part::Text { text }), None) => json(out, text)?,
        (Some(first), _) => {
            out.push(b'[');
            content_part(first, out)?;
            for part in shown {
                out.push(b',');
                content_part(part, out)?;
            }
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(())
}

fn content_part(part: &Part, out: &mut Vec<u8>) -> Result<(), Error> {
    match part {
        Part::Text { text } => {
            raw(out, r#"{"type":"text","text":"#);
            json(out, text)?;
            out.push(b'}');
        }
        Part::Image(Image { media_type, source }) => {
            raw(out, r#"{"type":"image_url","image_url":{"url":"#);
            match source {
                ImageSource::Url(url) => json(out, url)?,
                ImageSource::Base64(data) => json(out, &format!("data:{media_type};base64,{data}"))?,
            }
            raw(out, "}}");
        }
        _ => {}
    }
    Ok(())
}

fn assistant(message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let text = message.text();
    let refusal: String = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Refusal { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let has_calls = message.tool_calls().next().is_some();
    raw(out, r#"{"role":"assistant","content":"#);
    if text.is_empty() && (has_calls || !refusal.is_empty()) {
        raw(out, "null")
    } else {
        json(out, &text)?
    }
    if !refusal.is_empty() {
        raw(out, r#","refusal":"#);
        json(out, &refusal)?;
    }
    reasoning(message, has_calls, out)?;
    for (index, call) in message.tool_calls().enumerate() {
        raw(out, if index == 0 { r#","tool_calls":["# } else { "," });
        tool_call(call, out)?;
    }
    raw(out, if has_calls { "]}" } else { "}" });
    Ok(())
}

/// Reasoning goes back under the field it came in. Plain text only beside tool calls: there its servers
/// want it, elsewhere some refuse it. Signed details always.
fn reasoning(message: &Message, has_calls: bool, out: &mut Vec<u8>) -> Result<(), Error> {
    // A field can be written once; a reply of this format has one part of each.
    let (mut details, mut plain) = (false, false);
    for part in &message.parts {
        let (text, state) = match part {
            Part::Reasoning { text, state: Some(state) } => (text.as_str(), state),
            Part::Opaque { state } => ("", state),
            _ => continue,
        };
        if state.format != FORMAT {
            continue;
        }
        if state.json.starts_with('[') && !std::mem::replace(&mut details, true) {
            raw(out, r#","reasoning_details":"#);
            raw(out, &state.json);
        } else if has_calls
            && !text.is_empty()
            && state.json.starts_with('"')
            && !std::mem::replace(&mut plain, true)
        {
            out.push(b',');
            raw(out, &state.json);
            out.push(b':');
            json(out, text)?;
        }
    }
    Ok(())
}

fn tool_call(call: &ToolCall, out: &mut Vec<u8>) -> Result<(), Error> {
    raw(out, r#"{"id":"#);
    json(out, &call.id)?;
    raw(out, r#","type":"function","function":{"name":"#);
    json(out, &call.name)?;
    raw(out, r#","arguments":"#);
    let mut arguments = Vec::with_capacity(128);
    match &call.arguments {
        Arguments::Json(it) => json(&mut arguments, it)?,
        Arguments::Invalid { raw, .. } => json(&mut arguments, &value!({"_invalid_arguments": raw}))?,
    }
    json(out, &String::from_utf8_lossy(&arguments))?;
    out.push(b'}');
    if let Some(ProviderState { json, .. }) = call.state.as_ref().filter(|state| state.format == FORMAT) {
        raw(out, r#","extra_content":"#);
        raw(out, json);
    }
    out.push(b'}');
    Ok(())
}

/// One wire message per result; what else the message holds follows as the user's.
fn tool_message(message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut any = false;
    for part in &message.parts {
        let Part::ToolResult(ToolResult { call_id, text, .. }) = part else { continue };
        if any {
            out.push(b',');
        }
        any = true;
        raw(out, r#"{"role":"tool","tool_call_id":"#);
        json(out, call_id)?;
        raw(out, r#","content":"#);
        json(out, text)?;
        out.push(b'}');
    }
    let rest = message.parts.iter().filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    if !any || rest.clone().next().is_some() {
        if any {
            out.push(b',');
        }
        user(rest, out)?;
    }
    Ok(())
}
