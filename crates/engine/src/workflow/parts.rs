//! What the names in a workflow stand for.

use std::collections::HashMap;
use std::sync::Arc;

use ambidex_config::Workflow as Steps;
use ambidex_core::budget::Budget;
use ambidex_core::definition::Approval;
use ambidex_core::graph::{GraphDefinition, NodeWork};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::Registered;
use serde_json::Value;

use super::compile::{Known, ToolFacts, parallel_name};
use super::{Workflow, functions, parallel};
use crate::agent::Agent;
use crate::builder::ApprovalPolicy;
use crate::engine::Engine;
use crate::graph::Graph;
use crate::merge::Actor;

/// Agents, tools and other workflows, by the names that steps use.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub engine: Engine,
    pub agents: HashMap<String, Agent>,
    /// Agents that follow a workflow: which, and the input that takes their task.
    pub followers: HashMap<String, (String, String)>,
    pub flows: HashMap<String, Workflow>,
    pub tools: HashMap<String, Arc<Registered>>,
    /// Who judges and writes where results are merged.
    pub actors: HashMap<String, Actor>,
    pub approvals: ApprovalPolicy,
    pub budget: Budget,
}

impl Parts {
    pub(super) fn agent(&self, name: &str) -> Result<Agent, Error> {
        self.agents.get(name).cloned().ok_or_else(|| missing("agent", name))
    }

    fn approval(&self, effect: EffectClass) -> Approval {
        self.approvals.of(effect)
    }

    /// Compiles with what is known of the parts.
    pub(super) fn compile(&self, compile: impl FnOnce(&Known<'_>) -> GraphDefinition) -> GraphDefinition {
        let known = Known {
            follows: &|agent| self.followers.get(agent).cloned(),
            tool: &|tool| match self.tools.get(tool) {
                Some(tool) => {
                    let spec = tool.spec();
                    let approval = self.approval(spec.effect);
                    ToolFacts { effect: spec.effect, approval, exclusive: spec.exclusive }
                }
                None => ToolFacts::default(),
            },
            input: &|flow| self.flows.get(flow).map(|flow| flow.steps().input.clone()),
        };
        GraphDefinition { budget: self.budget.clone(), ..compile(&known) }
    }

    /// Gives a definition the things that it names.
    ///
    /// # Errors
    /// `config_invalid`: something is missing, or cannot be read.
    pub(super) fn graph(
        &self,
        definition: GraphDefinition,
        steps: &Steps,
        place: &Arc<str>,
    ) -> Result<Graph, Error> {
        let mut builder = Graph::from_definition(definition.clone()).engine(&self.engine);
        builder = functions::supply(builder, &definition, place)?;
        let mut given: Vec<(&str, &str)> = Vec::new();
        for node in &definition.nodes {
            let (kind, name) = match &node.work {
                NodeWork::Agent { agent, .. } => ("agent", agent.as_str()),
                NodeWork::Graph { graph, .. } => ("flow", graph.as_str()),
                NodeWork::Tool { tool, .. } => ("tool", tool.as_str()),
                _ => continue,
            };
            if given.contains(&(kind, name)) {
                continue;
            }
            given.push((kind, name));
            builder = match kind {
                "agent" => builder.agent(name, self.agent(name)?),
                "tool" => match self.tools.get(name) {
                    Some(tool) => builder.registered_tool(tool.clone()),
                    None => return Err(missing("tool", name)),
                },
                _ => {
                    let step =
                        steps.steps.iter().find(|step| parallel_name(&definition.name, &step.id) == name);
                    match (self.flows.get(name), step) {
                        (Some(flow), _) => builder.graph(name, flow.graph().clone()),
                        (None, Some(step)) => builder.graph(name, parallel::graph(name, step, self)?),
                        (None, None) => return Err(missing("workflow", name)),
                    }
                }
            };
        }
        builder.build()
    }
}

fn missing(kind: &str, name: &str) -> Error {
    let known = Value::from(name);
    Error::new(ErrorKind::ConfigInvalid, format!("there is no {kind} {known} that this workflow could use"))
}
