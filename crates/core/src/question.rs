//! A question to a person. It outlives the process that asked it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BoxFuture;
use crate::effect::EffectId;
use crate::relay::{RelayReply, RelayRequest};
use crate::store::StoreError;

/// Why a person is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// May this call run?
    Approval,
    /// Did this call, which must not be repeated, happen before its process died?
    InDoubt,
    /// What does the model say? A person stands in its place.
    Reply,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// Run id and asking effect: asking twice is asking once.
    pub id: String,
    pub run: String,
    /// The effect the question is about.
    pub about: EffectId,
    pub why: Why,
    /// The tool whose call waits for the answer; empty where a reply is wanted.
    pub tool: String,
    pub args: Value,
    /// Wall time in milliseconds since 1970 when the question expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
    /// What a model would have been given, where a reply is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Box<RelayRequest>>,
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
    /// The model's reply, where a person stands in its place.
    Reply(RelayReply),
}

/// Why an answer was not taken. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("there is no such question")]
    Unknown,
    #[error("the question was answered before")]
    AlreadyAnswered,
    #[error("the question was withdrawn: its run went on or ended without it")]
    Withdrawn,
    /// The question stays open.
    #[error("{0}")]
    Invalid(String),
    /// It may have been taken: look at the question.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A question as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// As it was asked first.
    pub question: Question,
    pub answer: Option<Answer>,
    /// It was closed without an answer.
    pub withdrawn: bool,
}

/// Stored questions and their answers. A run that ends closes those of its questions that are still open.
pub trait Questions: Send + Sync {
    /// Asks outside a commit. Idempotent on the id: a question that was asked before stands as it is.
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>>;

    /// Closes a question that needs no answer any more. Gives the answer of somebody who was faster.
    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>>;

    /// Takes the first answer only.
    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>>;

    /// Those that wait for an answer, of one run or of all, oldest first.
    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>>;

    /// Resolves when the question has an answer; at once if it was answered before. Another process may give
    /// it. While the store cannot be read, this waits.
    fn answered(&self, id: &str) -> BoxFuture<'static, Answer>;

    /// Adds to the text of a reply that is being written, for those who watch. It is no answer, and need not
    /// outlive the process.
    ///
    /// # Errors
    /// The question is not open.
    fn write(&self, _id: &str, _text: &str) -> Result<(), AnswerError> {
        Ok(())
    }

    /// Resolves when more than the first `seen` bytes of a reply have been written, with all of it.
    fn written(&self, _id: &str, _seen: usize) -> BoxFuture<'static, String> {
        Box::pin(std::future::pending())
    }
}
