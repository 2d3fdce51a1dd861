//! Requests for `/api/chat`.

use ambidex_core::message::{Arguments, Image, ImageSource, Message, Part, ToolCall, ToolResult};
use ambidex_core::model::{Reasoning, Settings, ToolChoice};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Error, ErrorKind, Request, Role};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json as value};

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
    if request.history.is_empty() {
        let text = "the history is empty; this format needs a message of the user";
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    let settings = &*request.settings;
    let extra = with_options(settings, endpoint);
    let mut fields = Fields::new(&extra);
    fields.field("model", &endpoint.model)?;
    // A prompt that is too long shall be an error, not lose its beginning in silence.
    fields.field("truncate", &false)?;
    fields.field("shift", &false)?;
    fields.optional("think", think(settings))?;

    // `tool_choice` is not known here: none is said by offering nothing, and nothing can be demanded.
    let offered = request.tool_choice != ToolChoice::None && !request.tools.is_empty();
    if offered {
        if matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_)) {
            let text = "Ollama cannot be made to call a tool; leave `tool_choice` at \"auto\", or use another provider";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let tools: Vec<Tool<'_>> = request.tools.iter().map(|spec| tool(spec)).collect();
        fields.field("tools", &tools)?;
    }
    // A format beside tools would keep the model from calling them.
    let words = match &request.output {
        Some(output) if offered => Some(schema::in_words(output)),
        Some(output) => {
            fields.field("format", &output.schema)?;
            None
        }
        None => None,
    };
    let mut head = fields.finish()?;
    raw(&mut head, r#","stream":true,"messages":["#);
    let system: Vec<&str> = request.instructions.as_deref().into_iter().chain(words.as_deref()).collect();
    if !system.is_empty() {
        raw(&mut head, r#"{"role":"system","content":"#);
        json(&mut head, &system.join("\n\n"))?;
        raw(&mut head, "},");
    }
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}") })
}

/// The user's fields with our options among theirs; theirs win.
fn with_options(settings: &Settings, endpoint: &Endpoint) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        options.extend(value.map(|value| (name.to_owned(), value)));
    };
    set("num_ctx", endpoint.context.map(Value::from));
    set("num_predict", settings.max_tokens.map(Value::from));
    set("temperature", settings.temperature.map(Value::from));
    set("top_p", settings.top_p.map(Value::from));
    set("seed", settings.seed.map(Value::from));
    set("stop", (!settings.stop_sequences.is_empty()).then(|| value!(settings.stop_sequences)));
    let mut extra = settings.extra.clone();
    match extra.get_mut("options") {
        Some(Value::Object(theirs)) => {
            options.extend(std::mem::take(theirs));
            *theirs = options;
        }
        // Not an object: the server will say so.
        Some(_) => {}
        None if options.is_empty() => {}
        None => {
            extra.insert("options".to_owned(), Value::Object(options));
        }
    }
    extra
}

/// Levels as the server names them; a model that knows none takes each for yes.
fn think(settings: &Settings) -> Option<Value> {
    Some(match settings.reasoning.as_ref()? {
        Reasoning::Effort(effort) => match effort.as_str() {
            "none" => Value::Bool(false),
            "minimal" => value!("low"),
            "xhigh" => value!("high"),
            effort => value!(effort),
        },
        Reasoning::BudgetTokens(0) => Value::Bool(false),
        // The format knows no budget; a word that is near it is better than silence.
        Reasoning::BudgetTokens(..=2048) => value!("low"),
        Reasoning::BudgetTokens(..=8192) => value!("medium"),
        Reasoning::BudgetTokens(_) => value!("high"),
    })
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    let function = Function { name: &spec.name, description: &spec.description, parameters: &spec.input };
    Tool { r#type: "function", function }
}

/// Appends a message: each with the comma before it, but for the first.
pub(super) fn message(before: Option<&Message>, message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    if before.is_some() {
        out.push(b',');
    }
    match message.role {
        Role::System => plain("system", message.parts.iter(), out),
        Role::User => plain("user", message.parts.iter(), out),
        Role::Assistant => assistant(message, out),
        Role::Tool => tool_message(message, out),
    }
}

fn plain<'a>(role: &str, parts: impl Iterator<Item = &'a Part>, out: &mut Vec<u8>) -> Result<(), Error> {
    let (mut text, mut images) = (String::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text { text: more } => text.push_str(more),
            Part::Image(image) => images.push(data(image)?),
            _ => {}
        }
    }
    raw(out, r#"{"role":"#);
    json(out, role)?;
    raw(out, r#","content":"#);
    json(out, &text)?;
    if !images.is_empty() {
        raw(out, r#","images":"#);
        json(out, &images)?;
    }
    out.push(b'}');
    Ok(())
}

fn data(image: &Image) -> Result<&str, Error> {
    match &image.source {
        ImageSource::Base64(data) => Ok(data),
        ImageSource::Url(_) => {
            let text = "Ollama takes images as data, not as an address; give the image itself";
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}

fn assistant(message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let (mut text, mut thinking) = (String::new(), String::new());
    for part in &message.parts {
        match part {
            Part::Text { text: more } | Part::Refusal { text: more } => text.push_str(more),
            Part::Reasoning { text: more, state: Some(state) } if state.format == FORMAT => {
                thinking.push_str(more);
            }
            _ => {}
        }
    }
    raw(out, r#"{"role":"assistant","content":"#);
    json(out, &text)?;
    if !thinking.is_empty() {
        raw(out, r#","thinking":"#);
        json(out, &thinking)?;
    }
    let mut calls = message.tool_calls().enumerate().peekable();
    if calls.peek().is_some() {
        raw(out, r#","tool_calls":"#);
        let calls: Vec<Value> = calls.map(|(index, call)| tool_call(index, call)).collect();
        json(out, &calls)?;
    }
    out.push(b'}');
    Ok(())
}

fn tool_call(index: usize, call: &ToolCall) -> Value {
    let arguments = match &call.arguments {
        Arguments::Json(arguments) => arguments.clone(),
        Arguments::Invalid { raw, .. } => value!({"_invalid_arguments": raw}),
    };
    value!({"id": call.id, "function": {"index": index, "name": call.name, "arguments": arguments}})
}

/// One wire message per result; what else the message holds follows as the user's.
fn tool_message(message: &Message, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut any = false;
    for part in &message.parts {
        let Part::ToolResult(ToolResult { call_id, name, text, .. }) = part else { continue };
        if any {
            out.push(b',');
        }
        any = true;
        raw(out, r#"{"role":"tool","content":"#);
        json(out, text)?;
        raw(out, r#","tool_name":"#);
        json(out, name)?;
        raw(out, r#","tool_call_id":"#);
        json(out, call_id)?;
        out.push(b'}');
    }
    let rest = message.parts.iter().filter(|part| matches!(part, Part::Text { .. } | Part::Image(_)));
    if !any || rest.clone().next().is_some() {
        if any {
            out.push(b',');
        }
        plain("user", rest, out)?;
    }
    Ok(())
}
