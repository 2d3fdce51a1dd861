//! What the provider answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::{Fault, FaultRule, When};

/// The whole behaviour of a provider: turns, and settings for all of them.
///
/// ```
/// use ambidex_fake_provider::{Script, Turn};
/// let script = Script::new([
///     Turn::call("read", serde_json::json!({"path": "README.md"})),
///     Turn::text("done"),
/// ]);
/// let same = Script::from_json(r#"{"turns": [
///     {"parts": [{"tool_call": {"name": "read", "arguments": {"path": "README.md"}}}]},
///     {"parts": [{"text": "done"}]}
/// ]}"#).unwrap();
/// assert_eq!(script, same);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The turns. The first whose `when` matches answers; the turns without a `when` are counted:
    /// the n-th of them answers a conversation with n assistant messages so far.
    pub turns: Vec<Turn>,
    /// A fault for every turn that has none of its own.
    pub fault: Option<FaultRule>,
    /// The only key accepted. None: any key that is not empty.
    pub api_key: Option<String>,
    /// The only models accepted, and what `GET /v1/models` lists. Empty: any model, lists `fake-1`.
    pub models: Vec<String>,
    /// Whether a conversation may end with an assistant message (Anthropic; newer models refuse it).
    pub prefill: bool,
    /// Milliseconds between two pings of a stall. None: 100.
    pub ping_ms: Option<u64>,
}

/// One reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// When this turn answers. None: by its position.
    pub when: Option<Match>,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// Why the reply ends. None: `tool_calls` with a call, else `stop`.
    pub finish: Option<Finish>,
    /// Token counts. None: estimated from the lengths.
    pub usage: Option<Usage>,
    /// Characters per delta. None or 0: one delta per part.
    pub chunk_chars: Option<usize>,
    /// Milliseconds before each delta of a stream.
    pub pace_ms: u64,
    /// Milliseconds before the first byte of the response.
    pub delay_ms: u64,
    /// Send the argument fragments of parallel calls in turn instead of call after call. OpenAI's formats only:
    /// Anthropic's blocks come one after the other, and Gemini and Ollama send calls whole.
    pub interleave: bool,
    /// The fault of this turn; overrides the script's.
    pub fault: Option<FaultRule>,
}

/// A condition on the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Always.
    Any,
    /// As many assistant messages so far.
    Turn(usize),
    /// The last message's text (tool results included) contains this.
    LastContains(String),
    /// The last message has this role: `user`, `assistant`, or `tool` for a tool result.
    LastRole(String),
    /// The run has this name (see [`RUN_HEADER`](crate::RUN_HEADER)).
    Run(String),
    /// The request asks for this model.
    Model(String),
    /// Every one of these.
    All(Vec<Match>),
}

/// A piece of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(String),
    /// Thinking: a signed `thinking` block for Anthropic, `reasoning_content` for Chat Completions, a reasoning
    /// item with a summary for Responses, a part that is a thought for Gemini, `thinking` for Ollama.
    Reasoning(String),
    /// Thinking that is sent encrypted: Anthropic's redacted block, a reasoning item without a summary for
    /// Responses, no more than a signature for Gemini; left out elsewhere.
    RedactedReasoning(String),
    /// A refusal: OpenAI's `refusal`; for Anthropic text, with the stop reason `refusal`; left out for Gemini.
    Refusal(String),
    /// A tool call.
    ToolCall {
        /// The wire id. None: a fresh one. Empty: none is sent, where the format allows that (Gemini, Ollama).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool.
        name: String,
        /// The arguments. A JSON string is sent as it is, whether it is JSON inside or not.
        arguments: Value,
    },
}

/// Why a reply ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// `stop`, `end_turn`, `STOP`.
    Stop,
    /// `tool_calls`, `tool_use`; elsewhere as `Stop`.
    ToolCalls,
    /// `length`, `max_tokens`, `max_output_tokens`, `MAX_TOKENS`.
    Length,
    /// `content_filter`, `refusal`, `SAFETY`; `stop` for Ollama.
    ContentFilter,
    /// `stop` with a refusal, `refusal`.
    Refusal,
    /// `stop`, `stop_sequence`.
    StopSequence,
    /// `stop`, `pause_turn`.
    PauseTurn,
}

/// Token counts of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Of the input: read from the cache.
    pub cached: u64,
    /// Of the input: written to the cache (Anthropic only).
    pub cache_write: u64,
    /// Of the output: reasoning (OpenAI only).
    pub reasoning: u64,
}

impl Script {
    /// Turns by position.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Script { turns: turns.into_iter().collect(), ..Script::default() }
    }

    /// One text for every conversation, however long.
    pub fn text(text: impl Into<String>) -> Self {
        Script::new([Turn::text(text).when(Match::Any)])
    }

    /// Reads a script written in JSON.
    ///
    /// # Errors
    /// When it is not JSON or has an unknown field; the message names line and column.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Injects a fault into every turn that has none of its own.
    pub fn with_fault(mut self, fault: Fault, when: When) -> Self {
        self.fault = Some(FaultRule { fault, when });
        self
    }

    /// Splits every turn's parts into deltas of `chars` characters.
    pub fn with_chunks(mut self, chars: usize) -> Self {
        self.turns.iter_mut().for_each(|turn| turn.chunk_chars = Some(chars));
        self
    }

    /// Waits before every delta of every turn.
    pub fn with_pace(mut self, pace: Duration) -> Self {
        self.turns.iter_mut().for_each(|turn| turn.pace_ms = millis(pace));
        self
    }
}

impl Turn {
    /// A reply of these parts.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Turn { parts: parts.into_iter().collect(), ..Turn::default() }
    }

    /// A reply of one text.
    pub fn text(text: impl Into<String>) -> Self {
        Turn::new([Part::text(text)])
    }

    /// A reply of one tool call.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Turn::new([Part::call(name, arguments)])
    }

    /// Answers only when this matches.
    pub fn when(mut self, when: Match) -> Self {
        self.when = Some(when);
        self
    }

    /// Ends for this reason.
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Reports these token counts.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sends `chars` characters per delta.
    pub fn chunks(mut self, chars: usize) -> Self {
        self.chunk_chars = Some(chars);
        self
    }

    /// Waits before every delta.
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace_ms = millis(pace);
        self
    }

    /// Waits before the first byte of the response.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = millis(delay);
        self
    }

    /// Sends the arguments of parallel calls interleaved (OpenAI).
    pub fn interleaved(mut self) -> Self {
        self.interleave = true;
        self
    }

    /// Injects a fault into this turn.
    pub fn fault(mut self, fault: Fault, when: When) -> Self {
        self.fault = Some(FaultRule { fault, when });
        self
    }
}

impl Part {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Part::Text(text.into())
    }

    /// Thinking.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Part::Reasoning(text.into())
    }

    /// A tool call with a fresh id.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Part::ToolCall { id: None, name: name.into(), arguments }
    }

    /// A tool call with this id.
    pub fn call_with_id(id: impl Into<String>, name: impl Into<String>, arguments: Value) -> Self {
        Part::ToolCall { id: Some(id.into()), name: name.into(), arguments }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
