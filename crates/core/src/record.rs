//! Records: the only thing a run is made of, and all that is stored. Inputs: what reaches it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::budget::{Budget, BudgetKind, Grant};
use crate::effect::{EffectId, Intent};
use crate::error::Error;
use crate::graph::{NodeOutput, State};
use crate::message::Message;
use crate::question::{Answer, Question};
use crate::relay::Closing;
use crate::reply::Reply;
use crate::tool::ToolOutput;
use crate::usage::Usage;

/// The newest version of records this code writes and reads.
pub const VERSION: u8 = 1;

/// One step of a run's history. The run's id is the key it is stored under and is not repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    pub v: u8,
    /// Counts from 0 without gaps.
    pub seq: u64,
    /// The owner's epoch; a new owner has a higher one.
    pub epoch: u64,
    /// Wall time in milliseconds since 1970, given with the input.
    pub at: u64,
    pub kind: RecordKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    Accepted {
        /// Hash of the pinned definition.
        definition: Arc<str>,
        input: RunInput,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        /// Milliseconds of active time until the run fails.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// The run whose node started this one. It is driven by that run's driver, and goes on with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
        /// Limits on top of the definition's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Box<Budget>>,
    },
    /// Taken, and in line: the thread is another run's. `Accepted` follows when its turn has come, with what was said
    /// on the thread until then.
    Queued {
        /// Hash of the pinned definition.
        definition: Arc<str>,
        /// What is new.
        input: RunInput,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Box<Budget>>,
    },
    /// A new owner: whatever was open may or may not have happened.
    Claimed,
    Intent(Intent),
    Result {
        effect: EffectId,
        attempt: u32,
        result: Result<Output, Error>,
    },
    /// A call that must not be repeated may or may not have happened.
    Lost {
        effect: EffectId,
    },
    /// An effect asks a person, and goes on with his answer.
    Asked {
        effect: EffectId,
        question: Box<Question>,
        /// Others work on the effect meanwhile.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        beside: bool,
    },
    /// An effect waits for this answer no more.
    Closed {
        effect: EffectId,
        question: String,
        closing: Closing,
    },
    /// Steering from outside.
    Message(Arc<Message>),
    Paused(Pause),
    Resumed(Grant),
    /// The state was changed from outside: how a fork begins.
    Patched(State),
    /// Nothing new starts; what is in flight is told to stop and still reports.
    Stopping(Outcome),
    Finished(Outcome),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    Reply(Box<Reply>),
    Tool(ToolOutput),
    Answer(Answer),
    /// What the finish hook made of the outcome.
    Outcome(Box<Outcome>),
    /// Of user code: an update of the state, items that are sent, targets that are chosen.
    Node(NodeOutput),
    /// Of a tool, or of user code, that had runs of its own: what those used comes on top.
    Spent {
        output: Box<Output>,
        usage: Box<Usage>,
    },
    /// How a child's run ended, and what it used.
    Child {
        outcome: Box<Outcome>,
        #[serde(default)]
        usage: Box<Usage>,
    },
}

/// What a run begins with.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RunInput {
    /// Of an agent: the conversation so far and the new message at its end.
    Messages(Vec<Arc<Message>>),
    /// Of a graph: its first state.
    State(Arc<State>),
}

impl From<Vec<Arc<Message>>> for RunInput {
    fn from(messages: Vec<Arc<Message>>) -> Self {
        Self::Messages(messages)
    }
}

impl From<State> for RunInput {
    fn from(state: State) -> Self {
        Self::State(Arc::new(state))
    }
}

/// By its first sign, a list or an object: no need to hold it twice, as an untagged enum is read otherwise.
impl<'de> Deserialize<'de> for RunInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = RunInput;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of messages, or an object")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<RunInput, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(RunInput::Messages)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, object: A) -> Result<RunInput, A::Error> {
                State::deserialize(de::value::MapAccessDeserializer::new(object)).map(RunInput::from)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// An output may be `null`, which is not the same as no output.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a run stands still until somebody resumes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    MaxIterations,
    Budget(BudgetKind),
    /// Somebody asked for it.
    Operator,
    /// A node of the graph says so: before it starts, or when its update is there.
    Node,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded {
        text: String,
        /// Where the agent has an output schema: a value that matched it.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// A whole reply asked for no tool; false where a stop condition or the token limit ended it.
        completed: bool,
    },
    Failed(Error),
    Cancelled,
}

/// What reaches a run from outside.
#[derive(Clone, Debug)]
pub enum Input {
    Accept {
        input: RunInput,
        thread: Option<String>,
        deadline_ms: Option<u64>,
        /// The run whose node starts this one.
        parent: Option<String>,
        /// Limits on top of the definition's own.
        budget: Option<Box<Budget>>,
    },
    /// Takes the run without beginning it: `Accept` does when its turn has come.
    Queue {
        input: RunInput,
        thread: Option<String>,
        deadline_ms: Option<u64>,
        budget: Option<Box<Budget>>,
    },
    /// A new owner goes on with a stored run.
    Claim,
    Done {
        effect: EffectId,
        attempt: u32,
        result: Result<Output, Error>,
    },
    /// A call that must not be repeated (`once` or undeclared) ended in a way that leaves open whether it
    /// happened.
    Lost {
        effect: EffectId,
        attempt: u32,
    },
    /// An effect asks a person.
    Asked {
        effect: EffectId,
        attempt: u32,
        question: Box<Question>,
        beside: bool,
    },
    Closed {
        effect: EffectId,
        attempt: u32,
        question: String,
        closing: Closing,
    },
    /// Steering: a message for the model, taken in before its next call.
    Message(Arc<Message>),
    /// Fields of a graph's state take these values, for every path under way.
    Patch(State),
    Pause,
    Resume(Grant),
    Cancel,
    /// Time passed, or a permit came free: look again at what follows.
    Tick,
}

/// The parts of a record that the machine cannot know by itself.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Wall time in milliseconds since 1970.
    pub at: u64,
    pub epoch: u64,
}

/// An input the machine does not take in its present state. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the run was accepted before")]
    AlreadyAccepted,
    #[error("the run was not accepted yet")]
    NotAccepted,
    #[error("the run has ended")]
    Finished,
    #[error("the run is not paused")]
    NotPaused,
    #[error("a graph takes no messages; send them to the run of one of its agents")]
    TakesNoMessage,
    #[error("an agent has no state; give it a message")]
    HasNoState,
    /// A fork of a run that was ending, or a change that its flow does not take.
    #[error("the run cannot be forked there: {0}")]
    NoFork(String),
    /// A late or doubled result.
    #[error("no such effect is open under this attempt")]
    NotOpen,
    /// A gap, a foreign version, an unknown effect.
    #[error("the stored run cannot be read: {0}")]
    Corrupt(String),
}
