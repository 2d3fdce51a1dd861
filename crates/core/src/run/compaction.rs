//! What the model sees of a long conversation: near its limit the older part stands there as a summary.
//! The history itself stays whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chunk::Finish;
use crate::definition::{AgentDefinition, Compaction};
use crate::error::Error;
use crate::message::{Arguments, History, Message, Part, Role};
use crate::record::Output;
use crate::usage::Usage;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compactor {
    rules: Option<Compaction>,
    /// Bytes of what every request carries beside the history.
    fixed: u64,
    /// Where the message stands that the run is about. It is never summarised.
    task: Option<usize>,
    summary: Option<Summary>,
    stage: Stage,
    /// Summaries of this turn, those that failed included.
    tried: u32,
    /// The model found the prompt of this turn too long.
    again: bool,
    /// Its error, until a summary is there.
    too_long: Option<Error>,
    /// A summary for the sake of size reaches at least this far.
    not_before: usize,
    /// Tokens of the last prompt, as its provider counted, and its bytes.
    measured: Option<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    /// Stands for the messages before this one.
    until: usize,
    /// Made once: a prefix of the same messages is encoded once.
    message: Arc<Message>,
}

/// Of a turn. What is under way stays wanted, whatever comes in meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    Free,
    Summarising(usize),
    Asked,
}

const BYTES_PER_TOKEN: u64 = 4;
/// What an image counts as, whatever its bytes.
const IMAGE: u64 = 1500 * BYTES_PER_TOKEN;
/// A message's frame.
const FRAME: u64 = 16;
const SUMMARY: &str =
    "[Summary of the earlier part of this conversation. That part is no longer shown; go on from here.]";

impl Compactor {
    pub(super) fn new(definition: &AgentDefinition) -> Self {
        let rules = definition.context.clone();
        let tools = || definition.tools.iter().map(|tool| json_size(&*tool.spec)).sum::<u64>();
        let fixed = rules.as_ref().map_or(0, |_| tools() + definition.instructions.len() as u64);
        Self {
            rules,
            fixed,
            task: None,
            summary: None,
            stage: Stage::Free,
            tried: 0,
            again: false,
            too_long: None,
            not_before: 0,
            measured: None,
        }
    }

    pub(super) fn start(&mut self, input: &[Arc<Message>]) {
        self.task = input.iter().rposition(|message| message.role == Role::User);
    }

    /// The conversation as the model sees it.
    pub(super) fn view(&self, history: &History) -> History {
        match &self.summary {
            None => history.clone(),
            Some(_) => Arc::new(self.seen(history).cloned().collect()),
        }
    }

    /// The part that a summary up to there stands for, with the last summary at its head.
    pub(super) fn part(&self, history: &History, until: usize) -> History {
        let earlier = self.summary.iter().map(|summary| &summary.message);
        Arc::new(earlier.chain(range(history, self.from(), until)).cloned().collect())
    }

    /// Up to where a summary is wanted before the model is asked. Nothing is, while a reply is `continued`.
    pub(super) fn wanted(
        &self,
        history: &[Arc<Message>],
        queue: &[Arc<Message>],
        continued: bool,
    ) -> Option<usize> {
        match self.stage {
            Stage::Summarising(until) => Some(until),
            Stage::Asked => None,
            Stage::Free if self.too_long.is_some() => self.shorter(history, continued),
            Stage::Free => self.due(history, queue, continued),
        }
    }

    /// Number of the next summary of this turn.
    pub(super) fn number(&self) -> u32 {
        self.tried
    }

    /// Whether the model is asked a second time in this turn.
    pub(super) fn again(&self) -> bool {
        self.again
    }

    pub(super) fn summarising(&mut self, until: usize) {
        self.stage = Stage::Summarising(until);
    }

    pub(super) fn asked(&mut self) {
        self.stage = Stage::Asked;
    }

    /// A reply came; `history` is what it answers.
    pub(super) fn replied(&mut self, history: &[Arc<Message>], usage: &Usage) {
        self.stage = Stage::Free;
        self.tried = 0;
        self.again = false;
        let counts = self.rules.as_ref().is_some_and(|rules| rules.window.is_some());
        if counts && usage.input_tokens > 0 && !usage.estimated {
            self.measured = Some((usage.input_tokens, self.bytes(history)));
        }
    }

    /// Whether a prompt that was too long gets a summary and another try: once in a turn.
    pub(super) fn helps(&self, history: &[Arc<Message>], continued: bool) -> bool {
        !self.again && self.shorter(history, continued).is_some()
    }

    pub(super) fn was_too_long(&mut self, error: &Error) {
        self.again = true;
        self.too_long = Some(error.clone());
        self.stage = Stage::Free;
    }

    /// Takes a summary in. What failed is no fault of the run, which goes on without; only where the model
    /// could not go on, its error comes back.
    pub(super) fn summarised(
        &mut self,
        history: &[Arc<Message>],
        until: usize,
        result: &Result<Output, Error>,
    ) -> Option<Error> {
        self.stage = Stage::Free;
        self.tried += 1;
        let message = match result {
            Ok(Output::Reply(reply)) if !matches!(reply.finish, Finish::ContentFilter | Finish::Refusal) => {
                let text = reply.text();
                (!text.trim().is_empty()).then(|| Message::user(format!("{SUMMARY}\n\n{}", text.trim())))
            }
            _ => None,
        };
        let earlier = self.summary.iter().map(|summary| size(&summary.message)).sum::<u64>();
        let gone = earlier + self.foldable(history, until).map(size).sum::<u64>();
        match message.filter(|message| size(message) < gone) {
            Some(message) => {
                self.not_before = until + 1;
                self.too_long = None;
                self.summary = Some(Summary { until, message });
                None
            }
            None => {
                // Not with every turn: the next may fail as well.
                self.not_before = until + self.keep_last();
                self.too_long.take()
            }
        }
    }

    fn from(&self) -> usize {
        self.summary.as_ref().map_or(0, |summary| summary.until)
    }

    fn keep_last(&self) -> usize {
        self.rules.as_ref().map_or(0, |rules| rules.keep_last.max(1) as usize)
    }

    fn due(&self, history: &[Arc<Message>], queue: &[Arc<Message>], continued: bool) -> Option<usize> {
        let rules = self.rules.as_ref()?;
        let window = rules.window?;
        if continued {
            return None;
        }
        let until = boundary(history, self.keep_last());
        if until <= self.from() || until < self.not_before {
            return None;
        }
        let bytes = self.bytes(history) + queue.iter().map(size).sum::<u64>();
        // Below a quarter a summary would come with every turn and gain nothing.
        (self.tokens(bytes) >= share(rules.compact_at, window) && self.folds(history, until, 4))
            .then_some(until)
    }

    /// Keeps fewer messages where those to be kept are the long ones, but always the last round.
    fn shorter(&self, history: &[Arc<Message>], continued: bool) -> Option<usize> {
        self.rules.as_ref()?;
        if continued {
            return None;
        }
        let mut keep = self.keep_last();
        loop {
            let until = boundary(history, keep);
            if keep <= 2 {
                return (until > self.from() && self.foldable(history, until).next().is_some())
                    .then_some(until);
            }
            if until > self.from() && self.folds(history, until, 2) {
                return Some(until);
            }
            keep /= 2;
        }
    }

    /// Whether at least this part of the view would go.
    fn folds(&self, history: &[Arc<Message>], until: usize, part: u64) -> bool {
        let folded = self.foldable(history, until).map(size).sum::<u64>();
        folded > 0 && folded * part >= self.seen(history).map(size).sum::<u64>()
    }

    fn foldable<'a>(
        &'a self,
        history: &'a [Arc<Message>],
        until: usize,
    ) -> impl Iterator<Item = &'a Arc<Message>> {
        let from = self.from();
        let messages = range(history, from, until).iter().enumerate();
        messages.filter(move |(at, message)| !self.stays(from + at, message)).map(|(_, message)| message)
    }

    fn stays(&self, at: usize, message: &Message) -> bool {
        Some(at) == self.task || message.role == Role::System
    }

    fn seen<'a>(&'a self, history: &'a [Arc<Message>]) -> impl Iterator<Item = &'a Arc<Message>> {
        let from = self.from();
        let old = range(history, 0, from).iter().enumerate();
        let stay = old.filter(|(at, message)| self.stays(*at, message)).map(|(_, message)| message);
        let summary = self.summary.iter().map(|summary| &summary.message);
        stay.chain(summary).chain(range(history, from, history.len()))
    }

    fn bytes(&self, history: &[Arc<Message>]) -> u64 {
        self.fixed + self.seen(history).map(size).sum::<u64>()
    }

    /// By what the last prompt came to. Within bounds: a route counts all its attempts.
    fn tokens(&self, bytes: u64) -> u64 {
        let guess = bytes / BYTES_PER_TOKEN;
        match self.measured {
            Some((tokens, of)) if of > 0 => {
                let exact = u128::from(bytes) * u128::from(tokens) / u128::from(of);
                u64::try_from(exact).unwrap_or(u64::MAX).clamp(guess / 2, guess.saturating_mul(2))
            }
            _ => guess,
        }
    }
}

/// Keeps so many messages at the end, and more where a reply would be cut off from the results of its calls.
fn boundary(history: &[Arc<Message>], keep: usize) -> usize {
    let mut until = history.len().saturating_sub(keep);
    while until > 0 && history.get(until).is_some_and(|message| message.role == Role::Tool) {
        until -= 1;
    }
    until
}

fn range(history: &[Arc<Message>], from: usize, until: usize) -> &[Arc<Message>] {
    history.get(from..until).unwrap_or_default()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "windows are far below 2^52, and the share of one is not below 0"
)]
fn share(part: f64, window: u64) -> u64 {
    (part * window as f64) as u64
}

fn size(message: &Arc<Message>) -> u64 {
    FRAME + message.parts.iter().map(part_size).sum::<u64>()
}

fn part_size(part: &Part) -> u64 {
    let bytes = match part {
        Part::Image(_) => return IMAGE,
        Part::Text { text } | Part::Refusal { text } => text.len(),
        Part::Reasoning { text, state } => text.len() + state.as_ref().map_or(0, |state| state.json.len()),
        Part::ToolCall(call) => match &call.arguments {
            Arguments::Json(arguments) => return call.name.len() as u64 + json_size(arguments),
            Arguments::Invalid { raw, .. } => call.name.len() + raw.len(),
        },
        Part::ToolResult(result) => result.name.len() + result.text.len(),
        Part::Opaque { state } => state.json.len(),
    };
    bytes as u64
}

/// Bytes of the value's JSON.
fn json_size(value: &impl Serialize) -> u64 {
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Nothing is written anywhere, so a value that is no JSON is only counted short.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}
