//! Whether a whole reply can be used.

use ambidex_core::message::{Arguments, ToolCall};
use ambidex_core::reply::ReplyBuilder;
use ambidex_core::{Chunk, Error, ErrorKind, Finish, Request};
use serde_json::Value;

/// Whether these chunks and this end make a reply that is whole and matches what the request asks for.
///
/// # Errors
/// Why not: `reply_truncated`, `content_filter`, `refused`, `empty_reply`, `unknown_tool`,
/// `invalid_arguments`, `output_invalid`, or the fault of a malformed reply.
pub(super) fn check<'a>(
    request: &Request,
    chunks: impl Iterator<Item = &'a Chunk>,
    end: &'a Chunk,
) -> Result<(), Error> {
    let mut builder = ReplyBuilder::new();
    for chunk in chunks.chain([end]) {
        builder.push(chunk.clone())?;
    }
    let reply = builder.finish()?;
    let not = |kind, text: &str| Err(Error::new(kind, format!("the reply is not valid: {text}")));
    match reply.finish {
        Finish::Length => return not(ErrorKind::ReplyTruncated, "it was cut by the token limit"),
        Finish::ContentFilter => return not(ErrorKind::ContentFilter, "a content filter stopped it"),
        Finish::Refusal => return not(ErrorKind::Refused, "the model refused"),
        Finish::Stop | Finish::ToolCalls | Finish::Paused | Finish::Other => {}
    }
    let mut called = false;
    for call in reply.message.tool_calls() {
        called = true;
        check_call(request, call)?;
    }
    if called {
        return Ok(());
    }
    let text = reply.text();
    if text.trim().is_empty() && reply.finish != Finish::Paused {
        return not(ErrorKind::EmptyReply, "it is empty");
    }
    let Some(output) = &request.output else { return Ok(()) };
    let value = parse(&text).map_err(|fault| invalid(ErrorKind::OutputInvalid, "the output", &fault))?;
    matches(&output.schema, &value).map_err(|fault| invalid(ErrorKind::OutputInvalid, "the output", &fault))
}

fn check_call(request: &Request, call: &ToolCall) -> Result<(), Error> {
    let Some(tool) = request.tools.iter().find(|tool| tool.name == call.name) else {
        return Err(invalid(ErrorKind::UnknownTool, &format!("`{}`", call.name), "there is no such tool"));
    };
    let fault = match &call.arguments {
        Arguments::Json(value) => matches(&tool.input, value).err(),
        Arguments::Invalid { reason, .. } => Some(reason.clone()),
    };
    match fault {
        None => Ok(()),
        Some(fault) => {
            let what = format!("the arguments of `{}`", call.name);
            Err(invalid(ErrorKind::InvalidArguments, &what, &fault))
        }
    }
}

fn invalid(kind: ErrorKind, what: &str, fault: &str) -> Error {
    Error::new(kind, format!("the reply is not valid: {what}: {fault}"))
}

/// Steps a pattern with look-around may take before it counts as a fault.
const BACKTRACKS: usize = 100_000;

/// Whether a value is what a schema describes, or its first fault.
pub(crate) fn matches(schema: &Value, value: &Value) -> Result<(), String> {
    let options = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_pattern_options(jsonschema::PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS));
    // A schema that cannot be used is the request's fault, and no target can do better.
    let Ok(validator) = options.build(schema) else { return Ok(()) };
    let fault = validator.iter_errors(value).next();
    fault.map_or(Ok(()), |fault| Err(format!("{fault}")))
}

/// JSON, alone or in one fenced block.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced.map_or(text, |block| block.strip_prefix("json").unwrap_or(block).trim());
    serde_json::from_str(inner).map_err(|error| format!("it is not JSON: {error}"))
}
