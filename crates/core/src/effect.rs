//! Effects: everything a run wants done outside itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::AgentDefinition;
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
}

impl Intent {
    /// A person's time is not the run's time.
    pub fn waits_for_a_person(&self) -> bool {
        matches!(self.task, Task::Ask { .. })
    }
}

/// A call of a reply, which stays where it stands, and what a person made of its arguments.
#[derive(Clone, Debug)]
pub struct CallToMake {
    call: PlacedCall,
    edited: Option<Value>,
}

impl CallToMake {
    /// None where there is nothing to call it with: the arguments are no JSON.
    pub(crate) fn new(call: PlacedCall, edited: Option<Value>) -> Option<Self> {
        let made = Self { call, edited };
        made.parts().is_some().then_some(made)
    }

    fn parts(&self) -> Option<(&str, &Value)> {
        let call = self.call.get()?;
        match (&self.edited, &call.arguments) {
            (Some(edited), _) => Some((&call.name, edited)),
            (None, Arguments::Json(arguments)) => Some((&call.name, arguments)),
            (None, Arguments::Invalid { .. }) => None,
        }
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
}
