//! Effects: everything a run wants done outside itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::Budget;
use crate::definition::AgentDefinition;
use crate::graph::NodeCall;
use crate::message::{Arguments, History, PlacedCall};
use crate::question::{Question, Why};
use crate::record::Outcome;
use crate::tool::EffectClass;

/// Ours, made from the place in the run: `m2`, `t2.0`, `c2.0`, `ask:t2.0`. Never the provider's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EffectId(Arc<str>);

impl EffectId {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl std::fmt::Display for EffectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is recorded before an effect starts. Thin on purpose: it points into the state (a turn, a call)
/// instead of copying arguments, so its size never grows with the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    pub id: EffectId,
    pub class: EffectClass,
    pub task: Task,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Call the model.
    Model,
    /// Call a tool.
    Tool {
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclusive: bool,
    },
    /// Have the messages before this one summarised, counted from 0.
    Summarise { until: usize },
    /// Run the finish hook.
    FinishHook,
    /// Ask a person.
    Ask { about: EffectId, why: Why },
    /// Run the user's code of a graph's node, or of the branch behind it.
    Code,
    /// Start a run of an agent or a graph, or find it again, and wait for its end.
    Child,
    /// Put a node's question to a person.
    Question {
        /// Wall time in milliseconds since 1970 when it expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<u64>,
    },
    /// Let time pass, until so many milliseconds since 1970.
    Wait { due: u64 },
    /// The same, before a node is tried again. Its id names the effect: `retry:plan#0.1` is about `plan#0`.
    Retry { due: u64 },
}

impl Task {
    /// Whether it counts among what a graph may do at once.
    pub(crate) fn takes_a_place(&self) -> bool {
        matches!(self, Self::Code | Self::Child | Self::Tool { .. })
    }
}

impl Intent {
    /// The effect that a wait before another attempt is about.
    pub(crate) fn retried(&self) -> Option<EffectId> {
        let id =
            self.id.as_str().strip_prefix("retry:").filter(|_| matches!(self.task, Task::Retry { .. }))?;
        Some(EffectId::new(id.rsplit_once('.')?.0))
    }

    /// A person's time is not the run's time.
    pub fn waits_for_a_person(&self) -> bool {
        matches!(self.task, Task::Ask { .. } | Task::Question { .. })
    }
}

/// A call to make: of a reply, in which it stays where it stands, or of a graph's node.
#[derive(Clone, Debug)]
pub struct CallToMake {
    call: Call,
    /// What a person made of its arguments.
    edited: Option<Value>,
}

#[derive(Clone, Debug)]
enum Call {
    Placed(PlacedCall),
    Node { tool: String, arguments: Value, of: Box<NodeCall> },
}

impl CallToMake {
    /// None where there is nothing to call it with: the arguments are no JSON.
    pub(crate) fn new(call: PlacedCall, edited: Option<Value>) -> Option<Self> {
        let made = Self { call: Call::Placed(call), edited };
        made.parts().is_some().then_some(made)
    }

    pub(crate) fn of_node(tool: String, call: NodeCall) -> Self {
        let arguments = call.input().unwrap_or_default();
        let edited = call.is_edited().then(|| arguments.clone());
        Self { call: Call::Node { tool, arguments, of: Box::new(call) }, edited }
    }

    /// The node's call, where it is one of a node.
    pub fn node(&self) -> Option<&NodeCall> {
        match &self.call {
            Call::Node { of, .. } => Some(of),
            Call::Placed(_) => None,
        }
    }

    /// The same call of a node with these arguments, which the driver made of a template.
    #[must_use]
    pub fn filled(mut self, filled: Value) -> Self {
        if let Call::Node { arguments, .. } = &mut self.call {
            *arguments = filled;
        }
        self
    }

    fn parts(&self) -> Option<(&str, &Value)> {
        let (name, arguments) = match &self.call {
            Call::Node { tool, arguments, .. } => (tool, Some(arguments)),
            Call::Placed(placed) => {
                let call = placed.get()?;
                let arguments = match &call.arguments {
                    Arguments::Json(arguments) => Some(arguments),
                    Arguments::Invalid { .. } => None,
                };
                (&call.name, arguments)
            }
        };
        Some((name, self.edited.as_ref().or(arguments)?))
    }

    /// The tool's name.
    pub fn name(&self) -> &str {
        self.parts().map_or("", |(name, _)| name)
    }

    pub fn arguments(&self) -> &Value {
        self.parts().map_or(&Value::Null, |(_, arguments)| arguments)
    }

    /// Whether a person changed the arguments since they were checked.
    pub fn is_edited(&self) -> bool {
        self.edited.is_some()
    }

    /// Whether nobody has checked the arguments against the tool's schema yet: those of a model are with its
    /// reply.
    pub fn is_unchecked(&self) -> bool {
        self.edited.is_some() || matches!(self.call, Call::Node { .. })
    }
}

/// An intent with everything needed to perform it, made from the state when it is performed.
#[derive(Clone, Debug)]
pub struct Effect {
    pub id: EffectId,
    pub attempt: u32,
    pub work: Work,
}

#[derive(Clone, Debug)]
pub enum Work {
    Model {
        agent: Arc<AgentDefinition>,
        history: History,
    },
    /// What is to be summarised, a summary of what was before it at its head.
    Summarise {
        history: History,
    },
    Tool {
        call: CallToMake,
        class: EffectClass,
    },
    FinishHook {
        outcome: Outcome,
    },
    Ask(Question),
    /// Run this function of the user's. Its result is an [`Output::Node`](crate::record::Output::Node).
    Code {
        function: String,
        call: NodeCall,
    },
    /// Start the run of this id, or find it again. Its result is an
    /// [`Output::Child`](crate::record::Output::Child).
    Child {
        run: String,
        call: NodeCall,
        /// What it may use.
        budget: Budget,
    },
    /// Let time pass until then, in milliseconds since 1970. Its result is an empty
    /// [`Output::Node`](crate::record::Output::Node).
    Wait {
        due: u64,
    },
}
