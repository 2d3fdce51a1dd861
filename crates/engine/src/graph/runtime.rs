//! What the runs of one graph share.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::graph::{GraphDefinition, Next, NodeCall, NodeWork, Source};
use ambidex_core::suggest::nearest;
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::Registered;
use indexmap::IndexMap;
use serde_json::Value;

use super::Graph;
use super::cache::Results;
use super::function::{NodeFunction, Templates};
use crate::carrier::Runnable;
use crate::engine::Engine;
use crate::perform::panicked;

/// A graph made ready to run.
pub(crate) struct GraphRuntime {
    pub(crate) name: Arc<str>,
    pub(crate) engine: Engine,
    pub(crate) pinned: Pinned,
    pub(crate) definition: Arc<GraphDefinition>,
    pub(crate) table: Arc<Table>,
    pub(crate) results: Arc<Results>,
}

/// Makes a graph of its node's input.
pub(crate) type MakesGraph = dyn Fn(&Value) -> Result<Graph, Error> + Send + Sync;

/// What the names in a graph stand for.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) functions: HashMap<String, Arc<dyn NodeFunction>>,
    /// Agents and graphs have names of their own kind each.
    pub(crate) agents: HashMap<String, Runnable>,
    pub(crate) graphs: HashMap<String, Runnable>,
    /// Graphs that are made of their node's input.
    pub(crate) made: HashMap<String, Arc<MakesGraph>>,
    pub(crate) tools: IndexMap<String, Arc<Registered>>,
    pub(crate) templates: Option<Arc<dyn Templates>>,
}

impl Table {
    /// Runs of nodes are found again by whoever goes on with the graph's: they are kept together.
    pub(crate) fn keep_by(&mut self, engine: &Engine) {
        for child in self.agents.values_mut().chain(self.graphs.values_mut()) {
            *child = child.on(engine);
        }
    }

    /// Looks for the names that a definition needs.
    ///
    /// # Errors
    /// The first that is missing, with those there are.
    pub(crate) fn check(&self, definition: &GraphDefinition) -> Result<(), String> {
        for node in &definition.nodes {
            let place = |missing: String| format!("the node `{}`: {missing}", node.name);
            match &node.work {
                NodeWork::Code { function } => has("function", function, &self.functions).map_err(place)?,
                NodeWork::Agent { agent, .. } => has("agent", agent, &self.agents).map_err(place)?,
                NodeWork::Graph { graph, .. } if self.made.contains_key(graph) => {}
                NodeWork::Graph { graph, .. } => has("graph", graph, &self.graphs).map_err(place)?,
                NodeWork::Tool { tool, .. } => {
                    let known = self.tools.keys().map(String::as_str);
                    named("tool", tool, known).map_err(place)?;
                }
                NodeWork::Ask { .. } | NodeWork::Wait { .. } | NodeWork::Pass => {}
            }
            if let Next::Branch { function: Some(function), .. } = &node.next {
                has("function", function, &self.functions)
                    .map_err(|missing| place(format!("its branch: {missing}")))?;
            }
            if matches!(node.input, Source::Template(_)) && self.templates.is_none() {
                let missing = "its input is a template, and nothing fills templates in; give `templates`";
                return Err(place(missing.into()));
            }
        }
        Ok(())
    }
}

fn has<T>(kind: &str, name: &str, known: &HashMap<String, T>) -> Result<(), String> {
    named(kind, name, known.keys().map(String::as_str))
}

fn named<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut known: Vec<_> = known.collect();
    if known.contains(&name) {
        return Ok(());
    }
    known.sort_unstable();
    let hint = nearest(name, known.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let there = match known.as_slice() {
        [] => format!("there is no {kind} at all"),
        known => format!("there are: `{}`", known.join("`, `")),
    };
    Err(format!("there is no {kind} `{name}`, {there}{hint}"))
}

impl GraphRuntime {
    /// # Errors
    /// `config_invalid`: the graph cannot be followed, or a name in it stands for nothing.
    pub(crate) fn new(engine: Engine, pinned: Pinned, table: Arc<Table>) -> Result<Self, Error> {
        let Definition::Graph(definition) = &*pinned.definition else {
            return Err(Error::new(ErrorKind::Internal, "an agent's definition was taken for a graph's"));
        };
        let definition = definition.clone();
        let checked = definition.check().and_then(|()| table.check(&definition));
        checked.map_err(|why| {
            Error::new(ErrorKind::ConfigInvalid, format!("the graph `{}`: {why}", definition.name))
        })?;
        Ok(Self {
            name: definition.name.as_str().into(),
            engine,
            pinned,
            definition,
            table,
            results: Arc::default(),
        })
    }

    /// This graph for a run that began under a definition of its own: nodes, edges and limits stay as they were
    /// then; the code of functions, the agents, graphs and tools are today's.
    ///
    /// # Errors
    /// `config_invalid`: one of those is gone.
    pub(crate) fn pinned_as(self: &Arc<Self>, pinned: &Pinned) -> Result<Arc<Self>, Error> {
        if pinned.hash == self.pinned.hash {
            return Ok(self.clone());
        }
        let then = Self::new(self.engine.clone(), pinned.clone(), self.table.clone());
        let place = "the run began under another definition of its graph and cannot go on; put back what it needs, or \
                     start a new run";
        then.map(Arc::new).map_err(|error| error.context(place))
    }

    /// The same graph, with its runs and those of its nodes kept by this engine.
    pub(crate) fn on(&self, engine: &Engine) -> Self {
        let mut table = Table::clone(&self.table);
        table.keep_by(engine);
        Self {
            name: self.name.clone(),
            engine: engine.clone(),
            pinned: self.pinned.clone(),
            definition: self.definition.clone(),
            table: Arc::new(table),
            results: self.results.clone(),
        }
    }

    pub(crate) fn function(&self, name: &str) -> Result<&Arc<dyn NodeFunction>, Error> {
        self.table.functions.get(name).ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, format!("there is no function `{name}` here"))
        })
    }

    /// Whether calls of this function keep the thread that polls them.
    pub(crate) fn computes(&self, name: &str) -> bool {
        self.table.functions.get(name).is_some_and(|function| function.computes())
    }

    /// The input of a call, its template filled in where it is one.
    pub(crate) fn input(&self, call: &NodeCall) -> Result<Value, Error> {
        match (call.template(), &self.table.templates) {
            (None, _) => Ok(call.input().unwrap_or_default()),
            (Some(template), Some(templates)) => {
                // Filled in by the driver itself, which must outlive it.
                let fill = || templates.fill(template, call.state(), call.item());
                catch_unwind(AssertUnwindSafe(fill))
                    .unwrap_or_else(|panic| Err(panicked(ErrorKind::Internal, &*panic)))
            }
            (Some(_), None) => {
                let text = "its input is a template, and nothing here fills templates in";
                Err(Error::new(ErrorKind::ConfigInvalid, text))
            }
        }
    }
}
