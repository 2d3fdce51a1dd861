//! Events: what doors show. All but deltas, progress and notes can be made again from records.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::chunk::{AttemptOutcome, Finish};
use crate::error::Error;
use crate::usage::Usage;

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts from 1 without gaps per run.
    pub seq: u64,
    pub ts: Timestamp,
    pub run: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Arc<str>>,
    /// The effect it belongs to, such as `m0` or `t0.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Wall time in milliseconds since 1970. Written as RFC 3339 in UTC with milliseconds, and only when it is
/// written: most events are never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        write!(f, "{:.3}", ms.unwrap_or(jiff::Timestamp::MAX))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        u64::try_from(time.as_millisecond()).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Type and data of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum EventKind {
    #[serde(rename = "run.created")]
    RunCreated { mode: crate::definition::Mode, model: String },
    #[serde(rename = "run.started")]
    RunStarted {},
    #[serde(rename = "run.status")]
    RunStatus { status: Status },
    #[serde(rename = "step.started")]
    StepStarted { kind: StepKind },
    #[serde(rename = "step.finished")]
    StepFinished { kind: StepKind, ok: bool, seconds: f64 },
    #[serde(rename = "model.started")]
    ModelStarted { model: String },
    #[serde(rename = "model.delta")]
    ModelDelta { text: String },
    #[serde(rename = "model.reasoning")]
    ModelReasoning { text: String },
    #[serde(rename = "model.finished")]
    ModelFinished { finish: Finish, usage: Usage },
    /// What was shown of the reply so far is void.
    #[serde(rename = "model.restarted")]
    ModelRestarted { reason: String },
    /// An attempt at a target is over: of a route every one, of a retry those that failed.
    #[serde(rename = "route.attempt")]
    RouteAttempt {
        route: Arc<str>,
        target: Arc<str>,
        attempt: u32,
        outcome: AttemptOutcome,
        reason: Cow<'static, str>,
        /// What the attempt took.
        seconds: f64,
        /// Seconds to its first content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_token: Option<f64>,
        /// Seconds until the same target is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<f64>,
        /// Tokens and money; of a target that is a route itself, all its attempts together.
        usage: Usage,
    },
    /// A route started another target.
    #[serde(rename = "route.switched")]
    RouteSwitched {
        route: Arc<str>,
        from: Arc<str>,
        target: Arc<str>,
        reason: String,
        /// Since the route was asked.
        seconds: f64,
    },
    /// A race is decided: `target` won.
    #[serde(rename = "route.race")]
    RouteRace {
        route: Arc<str>,
        target: Arc<str>,
        reason: Cow<'static, str>,
        /// Since the route was asked.
        seconds: f64,
        /// Those that were still under way, and were hung up on.
        losers: Vec<Arc<str>>,
    },
    #[serde(rename = "tool.called")]
    ToolCalled { id: String, name: String, args: Value },
    #[serde(rename = "tool.progress")]
    ToolProgress { id: String, data: Value },
    #[serde(rename = "tool.finished")]
    ToolFinished { id: String, name: String, ok: bool, output: String, seconds: f64 },
    #[serde(rename = "approval.asked")]
    ApprovalAsked { id: String, tool: String, args: Value, why: crate::question::Why },
    #[serde(rename = "approval.answered")]
    ApprovalAnswered { id: String, decision: String },
    /// A person is asked to answer as the model.
    #[serde(rename = "relay.asked")]
    RelayAsked { id: String, queue: String },
    /// They are asked no more: `reply`, `reject`, `expired`, or `withdrawn` where the answer is not needed any more.
    #[serde(rename = "relay.answered")]
    RelayAnswered { id: String, decision: String },
    /// A node changed the state: the fields it gave, as it gave them.
    #[serde(rename = "state.changed")]
    StateChanged { node: String, update: Value },
    /// What a graph has come to is stored: the run can be looked at, or gone on from, as it was after this record.
    #[serde(rename = "checkpoint.saved")]
    CheckpointSaved { seq: u64 },
    #[serde(rename = "budget.reached")]
    BudgetReached { budget: String },
    #[serde(rename = "note")]
    Note { text: String },
    #[serde(rename = "error")]
    Error { code: String, message: String, retryable: bool },
    #[serde(rename = "run.finished")]
    RunFinished { status: Status, text: String, output: Option<Value>, usage: Usage, error: Option<Error> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Model,
    Tool,
    /// The older part of the conversation is summarised.
    Summarise,
    FinishHook,
    /// User code of a node.
    Code,
    /// User code that chooses where a path goes on.
    Branch,
    Agent,
    Graph,
    Question,
    Wait,
}

/// The status of a run; the last three are final, and exactly one is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Queued,
    Running,
    /// For a person, or a time.
    Waiting,
    /// By a budget, or because somebody asked for it.
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl EventKind {
    /// Takes in the next event where both are deltas of one kind.
    pub fn join(&mut self, next: &EventKind) -> bool {
        match (self, next) {
            (Self::ModelDelta { text }, Self::ModelDelta { text: more })
            | (Self::ModelReasoning { text }, Self::ModelReasoning { text: more }) => {
                text.push_str(more);
                true
            }
            _ => false,
        }
    }
}
