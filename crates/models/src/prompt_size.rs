//! How much a prompt is, where no provider has counted it.

use ambidex_core::Request;
use ambidex_core::message::{Arguments, Message, Part};
use serde_json::Value;

/// Bytes per token, roughly, of all vendors and languages.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;
/// An image costs about so much wherever it is, whatever its bytes.
const IMAGE: u64 = 1200 * BYTES_PER_TOKEN;

/// Roughly the tokens of a prompt.
pub(crate) fn prompt_tokens(request: &Request) -> u64 {
    prompt_bytes(request).div_ceil(BYTES_PER_TOKEN)
}

/// About how many bytes the text of a request has.
pub(crate) fn prompt_bytes(request: &Request) -> u64 {
    let instructions = request.instructions.as_ref().map_or(0, |text| text.len() as u64);
    let history: u64 = request.history.iter().map(|message| message_bytes(message)).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|tool| (tool.name.len() + tool.description.len()) as u64 + json_bytes(&tool.input))
        .sum();
    let output = request.output.as_ref().map_or(0, |output| json_bytes(&output.schema));
    instructions + history + tools + output
}

fn message_bytes(message: &Message) -> u64 {
    let part = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => text.len() as u64,
        Part::Image(_) => IMAGE,
        Part::Reasoning { text, .. } => text.len() as u64,
        Part::ToolCall(call) => {
            let arguments = match &call.arguments {
                Arguments::Json(value) => json_bytes(value),
                Arguments::Invalid { raw, .. } => raw.len() as u64,
            };
            call.name.len() as u64 + arguments
        }
        Part::ToolResult(result) => (result.name.len() + result.text.len()) as u64,
        Part::Opaque { state } => state.json.len() as u64,
    };
    message.parts.iter().map(part).sum()
}

fn json_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_bytes(item) + 1).sum::<u64>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, value)| name.len() as u64 + 4 + json_bytes(value)).sum::<u64>()
        }
    }
}
