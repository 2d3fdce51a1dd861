//! How a run came to rest.

use std::sync::Arc;

use ambidex_core::event::Status;
use ambidex_core::graph::State;
use ambidex_core::message::History;
use ambidex_core::question::Question;
use ambidex_core::record::{Outcome, Pause};
use ambidex_core::run::{Phase, Run};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::{Value, json};

/// A run at rest: ended, paused, or waiting for a person.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub run: String,
    pub thread: Option<String>,
    pub status: Status,
    /// The model's last words.
    pub text: String,
    /// A value that matched the agent's output schema.
    pub output: Option<Value>,
    /// A whole reply asked for no tool.
    pub task_completed: bool,
    /// Model calls.
    pub iterations_used: u32,
    /// Seconds of active time: without waiting for a person, without pauses.
    pub execution_time: f64,
    pub usage: Usage,
    pub error: Option<Error>,
    /// Why it stands still, if it is paused.
    pub pause: Option<Pause>,
    /// Of a graph: its state.
    pub state: Option<Arc<State>>,
    /// The whole conversation.
    pub messages: History,
    /// What a person is asked.
    pub questions: Vec<Question>,
}

impl RunResult {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^52")]
    /// A run as it stands at this wall time, in milliseconds since 1970.
    pub fn of(run: &Run, at: u64) -> Self {
        let (output, completed, error) = match run.phase() {
            Phase::Finished(Outcome::Succeeded { output, completed, .. }) => {
                (output.clone(), *completed, None)
            }
            Phase::Finished(Outcome::Failed(error)) => (None, false, Some(error.clone())),
            Phase::Finished(Outcome::Cancelled) => (None, false, Some(Error::cancelled())),
            _ => (None, false, None),
        };
        Self {
            run: run.id().to_string(),
            thread: run.thread().map(str::to_owned),
            status: run.status(),
            text: run.text(),
            output,
            task_completed: completed,
            iterations_used: run.iterations(),
            execution_time: run.active_at(at) as f64 / 1000.0,
            usage: *run.usage(),
            error,
            pause: match run.phase() {
                Phase::Paused(pause) => Some(*pause),
                _ => None,
            },
            state: run.state(),
            messages: run.history().clone(),
            questions: run.questions().collect(),
        }
    }

    /// As the doors give it that treat a failed run as an error.
    pub(crate) fn ended(self) -> Result<Self, RunError> {
        match &self.error {
            Some(error) => Err(RunError { error: error.clone(), result: Some(Box::new(self)) }),
            None => Ok(self),
        }
    }

    /// The object that `--result-json` prints.
    pub fn to_json(&self) -> Value {
        let error = self.error.as_ref().map(|error| {
            json!({"code": error.code(), "message": error.message(), "retryable": error.is_retryable()})
        });
        json!({
            "run": self.run,
            "thread": self.thread,
            "status": self.status.as_str(),
            "text": self.text,
            "output": self.output,
            "task_completed": self.task_completed,
            "iterations_used": self.iterations_used,
            "execution_time": self.execution_time,
            "usage": {
                "input_tokens": self.usage.input_tokens,
                "output_tokens": self.usage.output_tokens,
                "cached_input_tokens": self.usage.cached_input_tokens,
                "reasoning_tokens": self.usage.reasoning_tokens,
                "usd": self.usage.usd,
            },
            "error": error,
        })
    }
}

/// A run that failed, was cancelled, or could not be driven.
#[derive(Clone, Debug)]
pub struct RunError {
    pub error: Error,
    /// What there is of the run, if it was accepted.
    pub result: Option<Box<RunResult>>,
}

impl RunError {
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        Self { error, result: None }
    }
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
