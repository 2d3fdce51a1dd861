//! What carries out a run: an agent, or a graph.

use std::sync::Arc;

use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::effect::EffectId;
use ambidex_core::graph::{Next, NodeDefinition, NodeWork};
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::Registered;
use indexmap::IndexMap;

use crate::agent::{Agent, AgentRuntime};
use crate::engine::Engine;
use crate::graph::{Graph, GraphRuntime};
use crate::hook::Hook;
use crate::permits::Gates;

#[derive(Clone)]
pub(crate) enum Carrier {
    Agent(Arc<AgentRuntime>),
    Graph(Arc<GraphRuntime>),
}

/// Whatever a stored run may be one of.
#[derive(Clone)]
pub enum Runnable {
    Agent(Agent),
    Graph(Graph),
}

impl From<Agent> for Runnable {
    fn from(agent: Agent) -> Self {
        Self::Agent(agent)
    }
}

impl From<Graph> for Runnable {
    fn from(graph: Graph) -> Self {
        Self::Graph(graph)
    }
}

impl Runnable {
    /// The same, with its runs kept by this engine.
    pub(crate) fn on(&self, engine: &Engine) -> Self {
        match self {
            Self::Agent(agent) => Self::Agent(agent.on(engine)),
            Self::Graph(graph) => Self::Graph(graph.on(engine)),
        }
    }

    pub(crate) fn carrier(&self) -> Carrier {
        match self {
            Self::Agent(agent) => Carrier::Agent(agent.runtime.clone()),
            Self::Graph(graph) => Carrier::Graph(graph.runtime.clone()),
        }
    }
}

/// Whether it is the branch behind a node.
pub(crate) fn is_branch(effect: &str) -> bool {
    effect.ends_with('?')
}

impl Carrier {
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Graph(graph) => &graph.name,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Self::Agent(agent) => &agent.engine,
            Self::Graph(graph) => &graph.engine,
        }
    }

    pub(crate) fn pinned(&self) -> &Pinned {
        match self {
            Self::Agent(agent) => &agent.pinned,
            Self::Graph(graph) => &graph.pinned,
        }
    }

    /// The same for a run that began under a definition of its own.
    ///
    /// # Errors
    /// `config_invalid`: something that definition needs is gone, or is another now.
    pub(crate) fn pinned_as(&self, pinned: &Pinned) -> Result<Self, Error> {
        match (self, &*pinned.definition) {
            (Self::Agent(agent), Definition::Agent(_)) => agent.pinned_as(pinned).map(Self::Agent),
            (Self::Graph(graph), Definition::Graph(_)) => graph.pinned_as(pinned).map(Self::Graph),
            (Self::Agent(_), Definition::Graph(graph)) => {
                let text = format!("the run is one of the graph `{}`, not of an agent", graph.name);
                Err(Error::new(ErrorKind::ConfigInvalid, text))
            }
            (Self::Graph(_), Definition::Agent(agent)) => {
                let text = format!("the run is one of the agent `{}`, not of a graph", agent.name);
                Err(Error::new(ErrorKind::ConfigInvalid, text))
            }
        }
    }

    pub(crate) fn tools(&self) -> &IndexMap<String, Arc<Registered>> {
        match self {
            Self::Agent(agent) => &agent.tools,
            Self::Graph(graph) => &graph.table.tools,
        }
    }

    /// What looks at its tool calls. A graph has none: its nodes are code already.
    pub(crate) fn hooks(&self) -> &[Arc<dyn Hook>] {
        match self {
            Self::Agent(agent) => &agent.hooks,
            Self::Graph(_) => &[],
        }
    }

    /// Whether calls of this tool keep the thread that polls them, as far as is known.
    pub(crate) fn computes(&self, tool: &str) -> bool {
        self.tools().get(tool).is_some_and(|registered| registered.computes())
    }

    /// Whether they might.
    pub(crate) fn may_compute(&self, tool: &str) -> bool {
        self.tools().get(tool).is_some_and(|registered| registered.tool().computes())
    }

    /// Where the code of a node, or of the branch behind it, queues.
    pub(crate) fn gates_of_node(&self, effect: &EffectId, node: &NodeDefinition) -> Option<Gates> {
        let Self::Graph(graph) = self else { return None };
        let function = match (&node.work, &node.next) {
            (_, Next::Branch { function: Some(function), .. }) if is_branch(effect.as_str()) => function,
            (NodeWork::Code { function }, _) => function,
            _ => return None,
        };
        let blocks = graph.table.functions.get(function).is_some_and(|function| function.blocks());
        let threads = blocks.then(|| graph.engine.blocking_threads().clone());
        threads.map(|threads| Gates { tool: None, process: None, threads: Some(threads) })
    }

    pub(crate) fn gates(&self, tool: &str) -> Gates {
        let registered = self.tools().get(tool);
        let blocks = registered.is_some_and(|registered| registered.tool().blocks());
        Gates {
            tool: registered.map(|registered| registered.permits().clone()),
            process: Some(self.engine().tool_permits().clone()),
            threads: blocks.then(|| self.engine().blocking_threads().clone()),
        }
    }
}
