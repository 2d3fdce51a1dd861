//! What a call will use, before it is known.

use ambidex_core::message::{Arguments, Image, ImageSource, Message, Part};
use ambidex_core::{Request, Usage};
use serde_json::Value;

/// Learns from the calls that ended: how many bytes a token has, and how long replies are.
#[derive(Debug)]
pub(super) struct Estimate {
    bytes_per_token: f64,
    /// None before the first reply.
    output: Option<f64>,
}

/// What is expected of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Of the prompt, about.
    pub bytes: u64,
    pub input: u64,
    pub output: u64,
}

impl Expected {
    pub fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output).max(1)
    }
}

/// The share of the newest call in the means.
const NEWEST: f64 = 0.1;
const BYTES_PER_TOKEN: f64 = 4.0;
/// Output of a call, before any has ended.
const FIRST_OUTPUT: u64 = 1000;
/// An image costs about so much wherever it is, whatever its bytes.
const IMAGE: u64 = 1200 * 4;

impl Default for Estimate {
    fn default() -> Self {
        Self { bytes_per_token: BYTES_PER_TOKEN, output: None }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes and token counts are far below 2^52, and estimates"
)]
impl Estimate {
    /// `bytes` of prompt, and the limit the call sets for its reply.
    pub fn of(&self, bytes: u64, max_tokens: Option<u32>) -> Expected {
        let limit = max_tokens.map(u64::from);
        // The limit a call sets is seldom what its reply has; taken for it, it would hold others back.
        let output =
            self.output.map_or(FIRST_OUTPUT, |mean| mean.ceil() as u64).min(limit.unwrap_or(u64::MAX));
        Expected { bytes, input: (bytes as f64 / self.bytes_per_token).ceil() as u64, output }
    }

    /// Takes note of what a call used.
    pub fn learn(&mut self, bytes: u64, usage: &Usage) {
        let mean = |old: f64, new: f64| old * (1.0 - NEWEST) + new * NEWEST;
        let output = usage.output_tokens as f64;
        self.output = Some(self.output.map_or(output, |old| mean(old, output)));
        if usage.input_tokens > 0 && bytes > 0 && !usage.estimated {
            let found = (bytes as f64 / usage.input_tokens as f64).clamp(0.5, 16.0);
            self.bytes_per_token = mean(self.bytes_per_token, found);
        }
    }
}

/// About how many bytes the text of a request has.
pub(super) fn prompt_bytes(request: &Request) -> u64 {
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
    /// Roles and the marks around a part.
    const AROUND: u64 = 12;
    let part = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => text.len() as u64,
        Part::Image(Image { source: ImageSource::Base64(_) | ImageSource::Url(_), .. }) => IMAGE,
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
    AROUND + message.parts.iter().map(part).sum::<u64>()
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
