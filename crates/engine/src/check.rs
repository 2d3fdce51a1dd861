//! What a whole reply is checked for before it is recorded: arguments and output against their schemas.

use ambidex_core::chunk::Finish;
use ambidex_core::message::Arguments;
use ambidex_core::reply::{CallFault, Reply};
use ambidex_tools::{Validator, registry};
use serde_json::Value;

use crate::agent::AgentRuntime;

pub(crate) fn reply(agent: &AgentRuntime, reply: &mut Reply) {
    let output_tool = agent.definition.output_tool.as_deref();
    let mut faults = Vec::new();
    let mut called = false;
    let mut output = None;
    for (index, call) in reply.message.tool_calls().enumerate() {
        called = true;
        let Arguments::Json(arguments) = &call.arguments else {
            continue; // the machine answers it
        };
        if output_tool == Some(call.name.as_str()) {
            output = Some(arguments.clone());
            continue;
        }
        let checked = match agent.tools.get(&call.name) {
            Some(registered) => registered.check(arguments),
            None => Err(registry::unknown_tool(&call.name, agent.tools.keys().map(String::as_str))),
        };
        if let Err(error) = checked {
            faults.push(CallFault { call: index, error });
        }
    }
    reply.faults = faults;
    let Some(validator) = &agent.output else {
        return;
    };
    let found = match output {
        Some(output) => Some(Ok(output)),
        None if called || reply.finish == Finish::Length => None,
        None => Some(parse(&reply.text())),
    };
    if let Some(found) = found {
        match found.and_then(|value| conforms(validator, value)) {
            Ok(value) => reply.output = Some(value),
            Err(fault) => reply.output_fault = Some(fault),
        }
    }
}

fn conforms(validator: &Validator, value: Value) -> Result<Value, String> {
    validator.check(&value).map(|()| value)
}

/// JSON, alone or in one fenced block.
fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced.map_or(text, |block| block.strip_prefix("json").unwrap_or(block).trim());
    serde_json::from_str(inner).map_err(|error| format!("it is not JSON: {error}"))
}
