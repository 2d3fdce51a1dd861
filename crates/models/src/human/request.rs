//! What a person is shown of a request.

use std::sync::Arc;

use ambidex_core::Request;
use ambidex_core::cap::head_and_tail;
use ambidex_core::message::{ImageSource, Message, Part};
use ambidex_core::model::ToolChoice;
use ambidex_core::relay::{RelayRequest, RelayTool};

/// Messages at the conversation's end that are shown.
const MESSAGES: usize = 20;
/// Bytes of one text that are shown.
const TEXT: usize = 8 * 1024;

pub(super) fn of(model: &str, queue: &str, request: &Request) -> RelayRequest {
    let earlier = request.history.len().saturating_sub(MESSAGES);
    let offered = request.tool_choice != ToolChoice::None;
    let tools = request.tools.iter().filter(|_| offered).map(|tool| RelayTool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input: tool.input.clone(),
    });
    RelayRequest {
        model: model.to_owned(),
        queue: queue.to_owned(),
        instructions: request.instructions.as_ref().map(|text| head_and_tail(text.to_string(), TEXT).into()),
        messages: request.history.iter().skip(earlier).map(shown).collect(),
        earlier,
        tools: tools.collect(),
        tool_choice: request.tool_choice.clone(),
        output: request.output.as_deref().cloned(),
    }
}

/// Without what only a provider reads.
fn shown(message: &Arc<Message>) -> Arc<Message> {
    let parts = message.parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(Part::text(head_and_tail(text.clone(), TEXT))),
        Part::Refusal { text } => Some(Part::Refusal { text: head_and_tail(text.clone(), TEXT) }),
        Part::Image(image) => Some(match &image.source {
            ImageSource::Url(_) => Part::Image(image.clone()),
            ImageSource::Base64(data) => {
                Part::text(format!("[an image, {}, {} bytes]", image.media_type, data.len() / 4 * 3))
            }
        }),
        Part::ToolCall(call) => {
            let mut call = call.clone();
            call.state = None;
            Some(Part::ToolCall(call))
        }
        Part::ToolResult(result) => {
            let mut result = result.clone();
            result.text = head_and_tail(result.text, TEXT);
            Some(Part::ToolResult(result))
        }
        Part::Reasoning { .. } | Part::Opaque { .. } => None,
    });
    Message::new(message.role, parts.collect())
}
