//! Whether an answer answers what was asked.

use ambidex_core::model::ToolChoice;
use ambidex_core::question::{Answer, Question, Why};
use ambidex_core::relay::{RelayReply, RelayRequest};
use serde_json::Value;

use crate::route::{matches, parse};

/// Refuses what is no answer to this question, so that it can be given again.
///
/// # Errors
/// Why not, in words for the person: a decision where a reply is wanted, or the other way round; a call of a
/// tool that is not there; arguments or an output that do not match their schema; a reply of nothing.
pub fn check(question: &Question, answer: &Answer) -> Result<(), String> {
    let relay = question.relay.as_deref().filter(|_| question.why == Why::Reply);
    match (relay, answer) {
        (None, Answer::Reply(_)) => {
            Err("this question wants a decision about a tool call, not a model's reply".into())
        }
        (None, _) | (Some(_), Answer::Reject { .. }) => Ok(()),
        (Some(relay), Answer::Reply(reply)) => check_reply(relay, reply),
        (Some(relay), Answer::Answer { answer }) => {
            check_reply(relay, &reply_of(answer, relay.output.is_some()))
        }
        (Some(_), Answer::Approve | Answer::Edit { .. } | Answer::Repeat) => {
            Err("this question wants a model's reply: a text, tool calls or an output".into())
        }
    }
}

/// A plain value as a reply.
pub(super) fn reply_of(value: &Value, wants_output: bool) -> RelayReply {
    match value {
        value if wants_output => RelayReply { output: Some(value.clone()), ..RelayReply::default() },
        Value::String(text) => RelayReply { text: text.clone(), ..RelayReply::default() },
        value => RelayReply { text: value.to_string(), ..RelayReply::default() },
    }
}

fn check_reply(relay: &RelayRequest, reply: &RelayReply) -> Result<(), String> {
    for call in &reply.tool_calls {
        let Some(tool) = relay.tools.iter().find(|tool| tool.name == call.name) else {
            let names: Vec<_> = relay.tools.iter().map(|tool| tool.name.as_str()).collect();
            let known = if names.is_empty() { "there are none".into() } else { names.join(", ") };
            return Err(format!("there is no tool `{}`; tools: {known}", call.name));
        };
        if !call.arguments.is_object() {
            return Err(format!("the arguments of `{}` are not a JSON object", call.name));
        }
        matches(&tool.input, &call.arguments)
            .map_err(|fault| format!("the arguments of `{}` do not fit: {fault}", call.name))?;
    }
    match &relay.tool_choice {
        ToolChoice::Required if reply.tool_calls.is_empty() => {
            return Err("a tool must be called".into());
        }
        ToolChoice::Tool(name) if !reply.tool_calls.iter().any(|call| call.name == *name) => {
            return Err(format!("the tool `{name}` must be called"));
        }
        _ => {}
    }
    if !reply.tool_calls.is_empty() {
        return Ok(());
    }
    match (&relay.output, &reply.output) {
        (None, Some(_)) => Err("no output of a schema is asked for; give a text".into()),
        (None, None) if reply.text.trim().is_empty() => Err("the reply is empty".into()),
        (None, None) => Ok(()),
        (Some(wanted), given) => {
            let output = match given {
                Some(output) => output.clone(),
                None => parse(&reply.text).map_err(|fault| format!("the output does not fit: {fault}"))?,
            };
            matches(&wanted.schema, &output).map_err(|fault| format!("the output does not fit: {fault}"))
        }
    }
}
