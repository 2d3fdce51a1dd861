//! One turn of a script: when it is taken, what is said, how fast, and what goes wrong.

use std::time::Duration;

use ambidex_core::{Error, ErrorKind, Finish, Usage};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::ScriptError;
use super::scene::Scene;
use super::template::{JsonTemplate, Template};

/// One reply of a scripted model.
///
/// ```
/// use ambidex_models::scripted::{Fault, ScriptedModel, Turn};
/// use ambidex_core::ErrorKind;
/// use serde_json::json;
///
/// let model = ScriptedModel::new([
///     Turn::call("read_file", json!({"path": "a.txt"})).and_call("read_file", json!({"path": "b.txt"})),
///     Turn::text("Both read.").fault(Fault::new(ErrorKind::Overloaded)),
/// ]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Turn {
    pub(super) when: Option<When>,
    pub(super) reasoning: Option<Template>,
    pub(super) text: Option<Template>,
    pub(super) refusal: Option<Template>,
    pub(super) json: Option<JsonTemplate>,
    pub(super) calls: Vec<Call>,
    pub(super) finish: Option<Finish>,
    pub(super) usage: Option<Usage>,
    pub(super) delay: Option<Duration>,
    pub(super) pace: Option<Duration>,
    pub(super) chunk: Option<usize>,
    pub(super) faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub name: String,
    pub arguments: CallArguments,
}

#[derive(Clone, Debug)]
pub(super) enum CallArguments {
    Json(JsonTemplate),
    /// The argument text itself, which need not be JSON.
    Raw(Template),
}

impl Turn {
    /// Says this text as it is.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(Template::literal(text.into())), ..Self::default() }
    }

    /// Says this text with its placeholders filled in.
    pub fn template(text: &str) -> Result<Self, ScriptError> {
        let template = Template::parse(text).map_err(ScriptError::in_code)?;
        Ok(Self { text: Some(template), ..Self::default() })
    }

    /// Says this JSON: always, or in the place of a text where the request has an output schema.
    pub fn json(value: Value) -> Self {
        Self::default().and_json(value)
    }

    /// Asks for one tool call.
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// Gives nothing: an empty reply.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One more call in the same reply.
    #[must_use]
    pub fn and_call(self, name: impl Into<String>, arguments: Value) -> Self {
        self.push_call(name.into(), CallArguments::Json(JsonTemplate::fixed(arguments)))
    }

    /// One more call whose argument text is given as it goes over the wire, JSON or not.
    #[must_use]
    pub fn and_raw_call(self, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        self.push_call(name.into(), CallArguments::Raw(Template::literal(arguments.into())))
    }

    fn push_call(mut self, name: String, arguments: CallArguments) -> Self {
        self.calls.push(Call { name, arguments });
        self
    }

    #[must_use]
    pub fn and_json(mut self, value: Value) -> Self {
        self.json = Some(JsonTemplate::fixed(value));
        self
    }

    #[must_use]
    pub fn and_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(Template::literal(text.into()));
        self
    }

    /// Thinks aloud before it answers.
    #[must_use]
    pub fn reasoning(mut self, text: impl Into<String>) -> Self {
        self.reasoning = Some(Template::literal(text.into()));
        self
    }

    #[must_use]
    pub fn refusal(mut self, text: impl Into<String>) -> Self {
        self.refusal = Some(Template::literal(text.into()));
        self
    }

    /// Takes this turn whenever the condition holds, not in the script's order.
    #[must_use]
    pub fn when(mut self, when: When) -> Self {
        self.when = Some(when);
        self
    }

    /// Ends with this reason in place of `tool_calls` or `stop`.
    #[must_use]
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Reports this usage in place of an estimate.
    #[must_use]
    pub fn usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Waits this long before the first piece.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Waits this long before each piece.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Characters per piece, at least 1. Without it a paced reply comes word by word and another at once.
    #[must_use]
    pub fn chunk(mut self, characters: usize) -> Self {
        self.chunk = Some(characters.max(1));
        self
    }

    /// Fails first. Several faults come one after another, one for each attempt.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The fault of an attempt, which counts from 0.
    pub(super) fn fault_of(&self, attempt: u32) -> Option<&Fault> {
        let mut before = 0u32;
        self.faults.iter().find(|fault| {
            before = before.saturating_add(fault.times);
            attempt < before
        })
    }
}

impl From<&str> for Turn {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Turn {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// What goes wrong in an attempt at a turn.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) times: u32,
    pub(super) after: u32,
    pub(super) retry_after: Option<Duration>,
    pub(super) message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FaultKind {
    Error(ErrorKind),
    /// Falls silent and stays so until the call is dropped or cancelled.
    Idle,
}

impl Fault {
    /// Fails once with this kind of error, before any piece.
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind: FaultKind::Error(kind), times: 1, after: 0, retry_after: None, message: None }
    }

    /// Falls silent once, before any piece, until the call is dropped or cancelled.
    pub fn idle() -> Self {
        Self { kind: FaultKind::Idle, ..Self::new(ErrorKind::IdleTimeout) }
    }

    /// So many attempts of one run fail.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Every attempt fails.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Gives so many pieces first.
    #[must_use]
    pub fn after(mut self, pieces: u32) -> Self {
        self.after = pieces;
        self
    }

    /// What the error says about when to come again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The error, as a provider of this kind of trouble would give it.
    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        let usual = || format!("a fault of the script: {}", meaning(kind));
        let error = Error::new(kind, self.message.clone().unwrap_or_else(usual));
        let error = error.with_provider(super::PROVIDER).with_retry_after(self.retry_after);
        match status(kind) {
            Some(status) if self.after == 0 => error.with_status(status),
            _ => error,
        }
    }
}

fn meaning(kind: ErrorKind) -> &'static str {
    ErrorKind::ALL.iter().find(|(known, _, _)| *known == kind).map_or("", |(_, meaning, _)| meaning)
}

/// The HTTP status with which providers say it.
fn status(kind: ErrorKind) -> Option<u16> {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextTooLong => Some(400),
        ErrorKind::Unauthorized => Some(401),
        ErrorKind::Forbidden => Some(403),
        ErrorKind::NotFound => Some(404),
        ErrorKind::RateLimited | ErrorKind::QuotaExhausted => Some(429),
        ErrorKind::ProviderError => Some(500),
        ErrorKind::Overloaded => Some(503),
        _ => None,
    }
}

/// A condition on the conversation. All of what is set must hold.
#[derive(Clone, Debug, Default)]
pub struct When {
    pub(super) last: Option<String>,
    pub(super) matches: Option<Regex>,
    pub(super) tool: Option<String>,
    pub(super) failed: Option<bool>,
    pub(super) result_contains: Option<String>,
    pub(super) turn: Option<usize>,
    pub(super) offers: Vec<String>,
    pub(super) output: Option<bool>,
}

impl When {
    pub fn new() -> Self {
        Self::default()
    }

    /// The last message is a person's and contains this text, in any case.
    #[must_use]
    pub fn last(mut self, text: impl Into<String>) -> Self {
        self.last = Some(text.into().to_lowercase());
        self
    }

    /// The last message is a person's and matches this regular expression, in any case.
    pub fn matches(mut self, pattern: &str) -> Result<Self, ScriptError> {
        self.matches = Some(compile(pattern).map_err(ScriptError::in_code)?);
        Ok(self)
    }

    /// A tool of this name has just given a result.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>) -> Self {
        self.tool = Some(name.into());
        self
    }

    /// A result that has just come is a failure (or is not).
    #[must_use]
    pub fn failed(mut self, failed: bool) -> Self {
        self.failed = Some(failed);
        self
    }

    /// A result that has just come contains this text.
    #[must_use]
    pub fn result_contains(mut self, text: impl Into<String>) -> Self {
        self.result_contains = Some(text.into());
        self
    }

    /// It is the conversation's nth model call, counted from 1.
    #[must_use]
    pub fn turn(mut self, number: usize) -> Self {
        self.turn = Some(number);
        self
    }

    /// The request offers this tool.
    #[must_use]
    pub fn offers(mut self, tool: impl Into<String>) -> Self {
        self.offers.push(tool.into());
        self
    }

    /// The request has an output schema (or has none).
    #[must_use]
    pub fn output(mut self, wanted: bool) -> Self {
        self.output = Some(wanted);
        self
    }

    /// Whether nothing is asked of the conversation.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
            && self.matches.is_none()
            && self.turn.is_none()
            && self.output.is_none()
            && self.offers.is_empty()
            && !self.is_about_results()
    }

    fn is_about_results(&self) -> bool {
        self.tool.is_some() || self.failed.is_some() || self.result_contains.is_some()
    }

    /// Whether it holds; what the pattern's groups caught is left in the scene.
    pub(super) fn holds(&self, scene: &mut Scene) -> bool {
        if self.turn.is_some_and(|turn| turn != scene.number())
            || self.output.is_some_and(|wanted| wanted != scene.wants_json())
            || !self.offers.iter().all(|tool| scene.offers(tool))
        {
            return false;
        }
        if self.is_about_results() && !scene.fresh_results().any(|result| self.fits(result)) {
            return false;
        }
        if self.last.is_none() && self.matches.is_none() {
            return true;
        }
        let Some(said) = scene.just_said() else { return false };
        if self.last.as_ref().is_some_and(|part| !said.to_lowercase().contains(part)) {
            return false;
        }
        self.matches.as_ref().is_none_or(|pattern| scene.catch(pattern, said.trim()))
    }

    /// All conditions on results must hold for one and the same result.
    fn fits(&self, result: &ambidex_core::message::ToolResult) -> bool {
        self.tool.as_ref().is_none_or(|name| *name == result.name)
            && self.failed.is_none_or(|failed| failed == result.failed)
            && self.result_contains.as_ref().is_none_or(|part| result.text.contains(part))
    }
}

pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| format!("`{pattern}` is not a regular expression: {error}"))
}
