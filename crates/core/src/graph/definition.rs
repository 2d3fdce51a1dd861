//! What a graph is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::PlanCell;
use super::state::Reducer;
use crate::budget::Budget;
use crate::definition::Approval;
use crate::tool::EffectClass;

/// Nodes and the edges between them. A node starts when a path has reached it and no path under way still can,
/// so that a join runs once and unrelated branches do not wait for each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphDefinition {
    pub name: String,
    /// Where paths begin.
    pub start: Vec<String>,
    pub nodes: Vec<NodeDefinition>,
    /// How fields take updates; one that is not named here takes the last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Reducer>,
    /// The field that is the run's output; the whole state where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Nodes that may start before the run pauses, as an agent's does at its iterations.
    pub max_steps: u32,
    /// Functions, children and tools of this run that may run at once.
    pub concurrency: u32,
    #[serde(default)]
    pub budget: Budget,
    /// Made from the rest when it is first needed.
    #[serde(skip)]
    #[doc(hidden)]
    pub plan: PlanCell,
}

impl GraphDefinition {
    /// A graph of these nodes that begins with the first; set the rest as fields.
    pub fn new(name: impl Into<String>, nodes: Vec<NodeDefinition>) -> Self {
        Self {
            name: name.into(),
            start: nodes.first().map(|node| node.name.clone()).into_iter().collect(),
            nodes,
            fields: BTreeMap::new(),
            output: None,
            max_steps: 10_000,
            concurrency: 16,
            budget: Budget::default(),
            plan: PlanCell::default(),
        }
    }

    /// Looks for what could only fail later: names that are used twice or lead nowhere, nodes nothing leads to.
    ///
    /// # Errors
    /// The first fault, with its place. A run of such a graph fails when it starts.
    pub fn check(&self) -> Result<(), String> {
        self.plan.of(self).fault.clone().map_or(Ok(()), Err)
    }
}

/// A node: what is done, with what, and where the path goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDefinition {
    /// Letters, digits, `_`, `-` and spaces.
    pub name: String,
    pub work: NodeWork,
    /// What the work is given: an agent's task, a tool's arguments, a question's text.
    #[serde(default, skip_serializing_if = "Source::is_state")]
    pub input: Source,
    /// The field that takes the result. Without one an object that a function returns is an update of the state;
    /// any other result goes into a field of the node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What may be done about work that was in flight when its process died, and whether it is retried.
    #[serde(default)]
    pub effect: EffectClass,
    #[serde(default)]
    pub approval: Approval,
    /// Runs once for each element of this list in the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Items of this node that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Next::is_end")]
    pub next: Next,
    /// Nodes to which its result may send items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sends: Vec<String>,
    /// Starts of this node in a run; one more fails it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_visits: Option<u32>,
    #[serde(default, skip_serializing_if = "Retry::is_none")]
    pub retry: Retry,
    /// Milliseconds, of one attempt. Its driver watches over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "OnError::is_fail")]
    pub on_error: OnError,
    /// The field that a failure which does not end the run is appended to, as `{node, item, code, message}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_field: Option<String>,
    /// The driver may give the result of an earlier call with the same input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cache: bool,
    /// The run pauses before the node starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_before: bool,
    /// The run pauses when the node's update is there, before the path goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_after: bool,
}

impl NodeDefinition {
    /// A node after which its path ends; set the rest as fields.
    pub fn new(name: impl Into<String>, work: NodeWork) -> Self {
        Self {
            name: name.into(),
            work,
            input: Source::State,
            output: None,
            effect: EffectClass::default(),
            approval: Approval::default(),
            each: None,
            concurrency: None,
            next: Next::End,
            sends: vec![],
            max_visits: None,
            retry: Retry::default(),
            timeout_ms: None,
            on_error: OnError::Fail,
            error_field: None,
            cache: false,
            pause_before: false,
            pause_after: false,
        }
    }

    /// A node that runs a function of its own name.
    pub fn code(name: impl Into<String>) -> Self {
        let name = name.into();
        Self::new(name.clone(), NodeWork::Code { function: name })
    }

    /// The field that takes a result that is no update.
    pub(crate) fn field(&self) -> &str {
        self.output.as_deref().unwrap_or(&self.name)
    }

    /// Whether each result goes into its field, whatever it is.
    pub(crate) fn gives_a_value(&self) -> bool {
        match self.work {
            NodeWork::Code { .. } => self.output.is_some(),
            NodeWork::Wait { .. } | NodeWork::Pass => false,
            _ => true,
        }
    }

    /// How its effects are recovered. A child is found again by its id, so starting it twice is starting it once,
    /// whatever it does inside.
    pub(crate) fn class(&self) -> EffectClass {
        match self.work {
            NodeWork::Code { .. } | NodeWork::Tool { .. } => self.effect,
            NodeWork::Agent { .. } | NodeWork::Graph { .. } | NodeWork::Ask { .. } => EffectClass::Idempotent,
            NodeWork::Wait { .. } | NodeWork::Pass => EffectClass::Read,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeWork {
    /// User code by its name: is given the state and its item, returns an update.
    Code { function: String },
    /// An agent's run of its own.
    Agent {
        agent: String,
        /// Hash of its definition; what the name means when it starts where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pinned: Option<Arc<str>>,
    },
    /// A graph's run of its own, with the input as its state.
    Graph {
        graph: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pinned: Option<Arc<str>>,
    },
    Tool {
        tool: String,
        /// Never runs beside another tool of its run.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclusive: bool,
    },
    /// A question to a person. The input is its text, the answer's value the result.
    Ask {
        /// JSON Schema of the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<Value>,
        /// Milliseconds until it expires, which is an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expire_ms: Option<u64>,
    },
    /// Waits so long, or until the input: milliseconds since 1970, or an RFC 3339 time.
    Wait {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// Nothing: a place for paths to meet or part.
    Pass,
}

/// Where a node's input comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Its item where it has one, the whole state otherwise.
    #[default]
    State,
    /// A field of the state, or a path with dots.
    Field(String),
    Value(Value),
    /// Text that the driver fills in from the state and the item. Not for questions and waits.
    Template(String),
}

impl Source {
    fn is_state(&self) -> bool {
        *self == Self::State
    }
}

/// Where a path goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    #[default]
    End,
    /// To all of these, side by side.
    To(Vec<String>),
    /// To those that are chosen. Targets are declared, so that a join can tell what may still come; `end` is one
    /// of them where the path may end.
    Branch {
        /// User code that chooses, given the state with the node's update. Without it the node's own result
        /// chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        function: Option<String>,
        targets: Vec<String>,
    },
}

impl Next {
    fn is_end(&self) -> bool {
        *self == Self::End
    }

    /// The nodes it may lead to.
    pub fn targets(&self) -> &[String] {
        match self {
            Self::End => &[],
            Self::To(targets) | Self::Branch { targets, .. } => targets,
        }
    }
}

/// Attempts of a node whose error says a retry helps, if its effect may be repeated. The waits between them are
/// timers of the run, so they outlive its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// In all; 0 and 1 are no retry.
    pub attempts: u32,
    /// Milliseconds; what the wait before the second attempt is drawn below, doubled for each further one. 500
    /// where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ms: Option<u64>,
    /// Milliseconds; no wait is drawn above it. 20,000 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap_ms: Option<u64>,
}

impl Retry {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Milliseconds, drawn below this, before the attempt that follows so many failures.
    pub(crate) fn ceiling(&self, failures: u32) -> u64 {
        let base = self.base_ms.unwrap_or(500);
        let doubled = base.saturating_mul(1 << failures.saturating_sub(1).min(32));
        doubled.min(self.cap_ms.unwrap_or(20_000))
    }
}

/// What becomes of a failure that no retry helped. For each item; the path goes on when all have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The run fails; what is in flight is stopped.
    #[default]
    Fail,
    /// The path goes on as if nothing had come of it.
    Continue,
    /// The path goes to this node.
    Go(String),
}

impl OnError {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}
