//! A question to a person. It outlives the process that asked it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BoxFuture;
use crate::effect::EffectId;

/// Why a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// May this call run?
    Approval,
    /// Did this call, which must not be repeated, happen before its process died?
    InDoubt,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// Run id and asking effect: asking twice is asking once.
    pub id: String,
    pub run: String,
    /// The effect the question is about.
    pub about: EffectId,
    pub why: Why,
    /// The tool whose call waits for the answer.
    pub tool: String,
    pub args: Value,
    /// Wall time in milliseconds since 1970 when the question expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Answer {
    /// Run it.
    Approve,
    /// Run it with these arguments.
    Edit { args: Value },
    /// Do not run it; the model is told the reason.
    Reject { reason: String },
    /// Stands in for the call's result; for a call in doubt: it happened, and this was its result.
    Answer { answer: Value },
    /// For a call in doubt: it did not happen, run it.
    Repeat,
}

/// Why an answer was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("there is no such question")]
    Unknown,
    #[error("the question was answered before")]
    AlreadyAnswered,
    #[error("the question was withdrawn: its run went on or ended without it")]
    Withdrawn,
}

/// Stored questions and their answers.
pub trait Questions: Send + Sync {
    /// Takes the first answer only.
    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>>;

    /// Those that wait for an answer, of one run or of all, oldest first.
    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Vec<Question>>;

    /// Resolves when the question has an answer; at once if it was answered before, also by another
    /// process.
    fn answered(&self, id: &str) -> BoxFuture<'static, Answer>;
}
