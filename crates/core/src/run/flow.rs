//! What a run follows: an agent's turns, or a graph. A plain match: both are in view here.

use std::sync::Arc;

use serde_json::Value;

use super::agent::Agent;
use super::graph::Graph;
use crate::budget::{Budget, Grant};
use crate::definition::Definition;
use crate::effect::{EffectId, Intent, Task, Work};
use crate::error::Error;
use crate::message::{History, Message};
use crate::record::{Outcome, Output, RunInput};
use crate::usage::Usage;

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a run waits as it is: nothing is saved by another allocation")]
pub(super) enum Flow {
    Agent(Agent),
    /// Boxed: most runs are an agent's.
    Graph(Box<Graph>),
}

/// Graphs cost a run of an agent no memory.
const _: () = assert!(size_of::<Flow>() == size_of::<Agent>());

impl Flow {
    pub(super) fn new(definition: &Definition) -> Self {
        match definition {
            Definition::Agent(agent) => Self::Agent(Agent::new(agent.clone())),
            Definition::Graph(graph) => Self::Graph(Box::new(Graph::new(graph.clone()))),
        }
    }

    /// Whether the input is of its kind.
    pub(super) fn takes(&self, input: &RunInput) -> bool {
        matches!(
            (self, input),
            (Self::Agent(_), RunInput::Messages(_)) | (Self::Graph(_), RunInput::State(_))
        )
    }

    pub(super) fn start(&mut self, input: &RunInput, at: u64) {
        match (self, input) {
            (Self::Agent(agent), RunInput::Messages(messages)) => agent.start(messages),
            (Self::Graph(graph), RunInput::State(state)) => graph.begin(state, at),
            // Refused before.
            (Self::Agent(_), RunInput::State(_)) | (Self::Graph(_), RunInput::Messages(_)) => {}
        }
    }

    /// Limits that are tighter than those of the definition.
    pub(super) fn limit(&mut self, budget: &Budget) {
        match self {
            Self::Agent(agent) => agent.limit(budget),
            Self::Graph(graph) => graph.limit(budget),
        }
    }

    pub(super) fn history(&self) -> &History {
        match self {
            Self::Agent(agent) => agent.history(),
            Self::Graph(graph) => graph.messages(),
        }
    }

    /// Runs that an effect started have used this.
    pub(super) fn spent(&mut self, usage: &Usage) {
        match self {
            Self::Agent(agent) => agent.spent(usage),
            Self::Graph(graph) => graph.spent_on(usage),
        }
    }

    pub(super) fn usage(&self) -> &Usage {
        match self {
            Self::Agent(agent) => agent.usage(),
            Self::Graph(graph) => graph.usage(),
        }
    }

    /// Model calls answered, or nodes started.
    pub(super) fn iterations(&self) -> u32 {
        match self {
            Self::Agent(agent) => agent.turn(),
            Self::Graph(graph) => graph.steps(),
        }
    }

    pub(super) fn last_text(&self) -> String {
        match self {
            Self::Agent(agent) => agent.last_text(),
            Self::Graph(_) => String::new(),
        }
    }

    pub(super) fn wall_limit(&self) -> Option<u64> {
        match self {
            Self::Agent(agent) => agent.wall_limit(),
            Self::Graph(graph) => graph.wall_limit(),
        }
    }

    /// What is to be performed for an effect other than a question.
    #[inline]
    pub(super) fn work(&self, run: &str, id: &EffectId, edited: Option<&Value>) -> Option<Work> {
        match self {
            Self::Agent(agent) => agent.work(id, edited),
            Self::Graph(graph) => graph.to_perform(run, id, edited),
        }
    }

    /// What a person is shown of an effect: a name, and arguments.
    pub(super) fn described(&self, id: &EffectId, edited: Option<&Value>) -> Option<(String, Value)> {
        match self {
            Self::Agent(agent) => match agent.work(id, edited)? {
                Work::Tool { call, .. } => Some((call.name().to_owned(), call.arguments().clone())),
                _ => None,
            },
            Self::Graph(graph) => graph.described(id, edited),
        }
    }

    pub(super) fn tool_name(&self, id: &EffectId) -> String {
        match self {
            Self::Agent(agent) => agent.tool_name(id).to_owned(),
            Self::Graph(graph) => graph.described(id, None).map(|(name, _)| name).unwrap_or_default(),
        }
    }

    /// The attempt under which an effect starts.
    #[inline]
    pub(super) fn attempt(&self, id: &EffectId) -> u32 {
        match self {
            Self::Agent(_) => 1,
            Self::Graph(graph) => graph.attempt(id),
        }
    }

    #[inline]
    pub(super) fn started(&mut self, intent: &Intent) {
        match self {
            Self::Agent(agent) => match intent.task {
                Task::Model => agent.take_in_steering(),
                Task::Summarise { until } => agent.summarising(until),
                Task::Tool { .. } => agent.count_tool_call(),
                _ => {}
            },
            Self::Graph(graph) => graph.started(intent),
        }
    }

    /// An effect is not open any more, whatever came of it.
    #[inline]
    pub(super) fn ended(&mut self, task: &Task) {
        if let Self::Graph(graph) = self {
            graph.ended(task);
        }
    }

    /// True where the effect has ended for good: no other attempt follows.
    #[inline]
    pub(super) fn result(
        &mut self,
        run: &str,
        id: &EffectId,
        attempt: u32,
        result: &Result<Output, Error>,
        at: u64,
    ) -> bool {
        match self {
            Self::Agent(agent) => {
                agent.result(id, result);
                true
            }
            Self::Graph(graph) => graph.result(run, id, attempt, result, at),
        }
    }

    /// A person let an effect through (`approved`), or its wait is over.
    pub(super) fn released(&mut self, id: &EffectId, approved: bool) {
        if let Self::Graph(graph) = self {
            graph.released(id, approved);
        }
    }

    pub(super) fn summarised(&mut self, until: usize, result: &Result<Output, Error>) {
        if let Self::Agent(agent) = self {
            agent.summarised(until, result);
        }
    }

    pub(super) fn steer(&mut self, message: Arc<Message>) {
        if let Self::Agent(agent) = self {
            agent.steer(message);
        }
    }

    pub(super) fn grant(&mut self, grant: &Grant, at: u64) {
        match self {
            Self::Agent(agent) => agent.grant(grant),
            Self::Graph(graph) => graph.grant(grant, at),
        }
    }

    pub(super) fn close(&mut self, outcome: &Outcome) {
        if let Self::Agent(agent) = self {
            agent.close(outcome);
        }
    }
}
