//! Requests as `generateContent`: everything but the history.

use ambidex_core::model::ToolChoice;
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Error, ErrorKind, Request};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json as value};

use super::content::beyond_v1;
use super::{is_v1, thinking};
use crate::adapter::{Endpoint, Frame};
use crate::fields::{Fields, json, raw};
use crate::schema;

const TOOLS: &str = "tools";
const TOOL_CONFIG: &str = "toolConfig";
const GENERATION: &str = "generationConfig";
/// The format has no setting for it.
const ONE_CALL: &str = "Call at most one tool in a reply.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    /// `parameters` would be an older subset of OpenAPI; this takes a schema as it is.
    parameters_json_schema: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: &'a [Declaration<'a>],
}

pub(super) fn frame(request: &Request, endpoint: &Endpoint) -> Result<Frame, Error> {
    if request.history.is_empty() {
        let text = "the history is empty; this format needs a message of the user";
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    let v1 = is_v1(endpoint);
    if v1 {
        refuse_beyond_v1(request)?;
    }
    let mut extra = request.settings.extra.clone();
    let generation = beside(&mut extra, GENERATION, generation(request, endpoint, v1));
    let config = beside(&mut extra, TOOL_CONFIG, calling(request));
    let declarations: Vec<Declaration<'_>> = request.tools.iter().map(|spec| declaration(spec)).collect();
    let mut tools = Some(Tools { function_declarations: &declarations }).filter(|_| !declarations.is_empty());
    // The vendor's own tools stand behind the agent's.
    if let Some(Value::Array(theirs)) = extra.get_mut(TOOLS)
        && let Some(ours) = tools.take()
    {
        theirs.insert(0, value!(ours));
    }
    let mut fields = Fields::new(&extra);
    let words = request.output.as_deref().filter(|_| v1).map(schema::in_words);
    let one_call = !request.tools.is_empty() && request.settings.parallel_tool_calls == Some(false);
    let system: Vec<Value> = request
        .instructions
        .as_deref()
        .into_iter()
        .chain(words.as_deref())
        .chain(one_call.then_some(ONE_CALL))
        .filter(|text| !text.trim().is_empty())
        .map(|text| value!({"text": text}))
        .collect();
    if !system.is_empty() && !v1 {
        fields.field("systemInstruction", &value!({"parts": system}))?;
    }
    fields.optional(TOOLS, tools.map(|tools| [tools]))?;
    fields.optional(TOOL_CONFIG, config)?;
    fields.optional(GENERATION, generation)?;
    let mut head = fields.finish()?;
    if head.len() > 1 {
        head.push(b',');
    }
    raw(&mut head, r#""contents":["#);
    if !system.is_empty() && v1 {
        raw(&mut head, r#"{"role":"user","parts":"#);
        json(&mut head, &system)?;
        raw(&mut head, "},");
    }
    Ok(Frame { head: Bytes::from(head), tail: Bytes::from_static(b"]}]}") })
}

fn declaration(spec: &ToolSpec) -> Declaration<'_> {
    Declaration { name: &spec.name, description: &spec.description, parameters_json_schema: &spec.input }
}

/// The user's fields stand beside ours, and win. Gives ours where the user has none.
fn beside(
    extra: &mut Map<String, Value>,
    name: &str,
    ours: Map<String, Value>,
) -> Option<Map<String, Value>> {
    match extra.get_mut(name) {
        Some(Value::Object(theirs)) => {
            for (name, value) in ours {
                theirs.entry(name).or_insert(value);
            }
            None
        }
        Some(_) => None,
        None => Some(ours).filter(|ours| !ours.is_empty()),
    }
}

fn calling(request: &Request) -> Map<String, Value> {
    let config = match &request.tool_choice {
        _ if request.tools.is_empty() => None,
        ToolChoice::Auto => None,
        ToolChoice::None => Some(value!({"mode": "NONE"})),
        ToolChoice::Required => Some(value!({"mode": "ANY"})),
        ToolChoice::Tool(name) => Some(value!({"mode": "ANY", "allowedFunctionNames": [name]})),
    };
    config.map(|config| ("functionCallingConfig".to_owned(), config)).into_iter().collect()
}

fn generation(request: &Request, endpoint: &Endpoint, v1: bool) -> Map<String, Value> {
    let settings = &*request.settings;
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    set("maxOutputTokens", settings.max_tokens.map(Value::from));
    set("temperature", settings.temperature.map(Value::from));
    set("topP", settings.top_p.map(Value::from));
    // It takes 31 bits.
    set("seed", settings.seed.map(|seed| Value::from(seed & 0x7fff_ffff)));
    set(
        "stopSequences",
        (!settings.stop_sequences.is_empty()).then(|| settings.stop_sequences.clone().into()),
    );
    set(
        "thinkingConfig",
        settings.reasoning.as_ref().and_then(|reasoning| thinking::config(reasoning, &endpoint.model)),
    );
    if let Some(output) = request.output.as_deref().filter(|_| !v1) {
        set("responseMimeType", Some("application/json".into()));
        set("responseJsonSchema", Some(output.schema.clone()));
    }
    config
}

/// That version has neither tools nor thinking; a request without what it asks for would be another one.
/// Instructions and schemas can be said in words.
fn refuse_beyond_v1(request: &Request) -> Result<(), Error> {
    match (request.tools.is_empty(), &request.settings.reasoning) {
        (false, _) => Err(beyond_v1("tools")),
        (true, Some(_)) => Err(beyond_v1("`reasoning`")),
        (true, None) => Ok(()),
    }
}
