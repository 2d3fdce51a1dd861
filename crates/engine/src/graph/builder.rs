//! Builds graphs and checks them.

use std::sync::Arc;

use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::graph::{GraphDefinition, Next, NodeDefinition, NodeWork, Reducer, Source};
use ambidex_core::tool::Tool;
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::Registered;
use serde_json::Value;

use super::Graph;
use super::function::{NodeFunction, Templates};
use super::runtime::{GraphRuntime, Table};
use crate::agent::Agent;
use crate::engine::Engine;

/// Settings of a [`Graph`]: its structure, and what the names in it stand for.
#[must_use]
pub struct GraphBuilder {
    definition: GraphDefinition,
    table: Table,
    engine: Option<Engine>,
    /// The first thing that was wrong.
    fault: Option<String>,
}

impl GraphBuilder {
    pub(super) fn new(definition: GraphDefinition) -> Self {
        Self { definition, table: Table::default(), engine: None, fault: None }
    }

    /// What a function's name stands for, of nodes and of branches.
    pub fn function(self, name: impl Into<String>, function: impl NodeFunction + 'static) -> Self {
        self.shared_function(name, Arc::new(function))
    }

    pub fn shared_function(mut self, name: impl Into<String>, function: Arc<dyn NodeFunction>) -> Self {
        let name = name.into();
        if self.table.functions.insert(name.clone(), function).is_some() {
            self.wrong(format!("there are two functions `{name}`; rename one"));
        }
        self
    }

    /// What an agent's name stands for. Its runs in this graph are kept by the graph's engine.
    pub fn agent(mut self, name: impl Into<String>, agent: Agent) -> Self {
        self.table.agents.insert(name.into(), agent.into());
        self
    }

    /// What a graph's name stands for. Its runs in this graph are kept by this graph's engine.
    pub fn graph(mut self, name: impl Into<String>, graph: Graph) -> Self {
        self.table.graphs.insert(name.into(), graph.into());
        self
    }

    /// What a graph's name stands for, where the graph depends on what its node is given: it is made of the node's
    /// input when the node starts. The same input has to make the same graph; a run of it keeps the definition it
    /// began with.
    pub fn made_graph(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&Value) -> Result<Graph, Error> + Send + Sync + 'static,
    ) -> Self {
        self.table.made.insert(name.into(), Arc::new(make));
        self
    }

    /// A tool for nodes, under the name in its spec.
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        match Registered::new(tool) {
            Ok(registered) => self.registered_tool(Arc::new(registered)),
            Err(error) => {
                self.wrong(error.message().to_owned());
                self
            }
        }
    }

    /// A tool whose permits are shared with agents or other graphs.
    pub fn registered_tool(mut self, tool: Arc<Registered>) -> Self {
        let name = tool.spec().name.clone();
        if self.table.tools.insert(name.clone(), tool).is_some() {
            self.wrong(format!("there are two tools named `{name}`; rename one"));
        }
        self
    }

    pub fn templates(mut self, templates: Arc<dyn Templates>) -> Self {
        self.table.templates = Some(templates);
        self
    }

    /// Graphs on one engine share its store and limits. Without it this one has that of its first agent or graph, or
    /// one of its own.
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// A node that runs a function.
    pub fn node(self, name: impl Into<String>, function: impl NodeFunction + 'static) -> Self {
        let name = name.into();
        self.add(NodeDefinition::code(name.clone())).function(name, function)
    }

    /// A node that is a run of an agent. Its input, as text, is the agent's task; its result the agent's output, or its
    /// text where it has no schema.
    pub fn agent_node(self, name: impl Into<String>, agent: Agent, input: Source) -> Self {
        let name = name.into();
        let work = NodeWork::Agent { agent: name.clone(), pinned: None };
        let node = NodeDefinition { input, ..NodeDefinition::new(name.clone(), work) };
        self.add(node).agent(name, agent)
    }

    /// A node that is a run of a graph, with its input as the state.
    pub fn graph_node(self, name: impl Into<String>, graph: Graph, input: Source) -> Self {
        let name = name.into();
        let work = NodeWork::Graph { graph: name.clone(), pinned: None };
        let node = NodeDefinition { input, ..NodeDefinition::new(name.clone(), work) };
        self.add(node).graph(name, graph)
    }

    /// A node that calls a tool, with its input as the arguments. It has the tool's effect.
    pub fn tool_node(mut self, name: impl Into<String>, tool: Arc<dyn Tool>, input: Source) -> Self {
        let (spec, exclusive) = (tool.spec().name.clone(), tool.spec().exclusive);
        let effect = tool.spec().effect;
        let work = NodeWork::Tool { tool: spec.clone(), exclusive };
        self = self.add(NodeDefinition { input, effect, ..NodeDefinition::new(name, work) });
        if self.table.tools.contains_key(&spec) { self } else { self.tool(tool) }
    }

    /// A node that asks a person. Its input is the question, the answer's value its result.
    pub fn ask(self, name: impl Into<String>, question: Source) -> Self {
        let work = NodeWork::Ask { form: None, expire_ms: None };
        self.add(NodeDefinition { input: question, ..NodeDefinition::new(name, work) })
    }

    /// A node that lets so much time pass.
    pub fn wait(self, name: impl Into<String>, time: std::time::Duration) -> Self {
        let work = NodeWork::Wait { ms: Some(crate::clock::millis(time)) };
        self.add(NodeDefinition::new(name, work))
    }

    /// A node of any kind.
    #[expect(clippy::should_implement_trait, reason = "nodes are no sum")]
    pub fn add(mut self, node: NodeDefinition) -> Self {
        if self.definition.nodes.is_empty() && self.definition.start.is_empty() {
            self.definition.start.push(node.name.clone());
        }
        self.definition.nodes.push(node);
        self
    }

    /// Where paths begin, in place of the first node.
    pub fn start(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.definition.start = nodes.into_iter().map(Into::into).collect();
        self
    }

    /// The path goes from one node to another; to several where there are several edges.
    pub fn edge(self, from: &str, to: impl Into<String>) -> Self {
        let to = to.into();
        let mut branches = false;
        let mut builder = self.with(from, |node| match &mut node.next {
            Next::End => node.next = Next::To(vec![to]),
            Next::To(targets) => targets.push(to),
            Next::Branch { .. } => branches = true,
        });
        if branches {
            builder.wrong(format!(
                "the node `{from}` branches, so it has no other edges; make one of them a target"
            ));
        }
        builder
    }

    /// The path goes to those of the targets that a function chooses, given the state with the node's update:
    /// [`NodeOutput::go`](ambidex_core::graph::NodeOutput::go), or the name of one as its value. `end` among the
    /// targets ends it.
    pub fn branch(
        self,
        from: &str,
        targets: impl IntoIterator<Item = impl Into<String>>,
        function: impl NodeFunction + 'static,
    ) -> Self {
        let name = format!("{from}?");
        let targets: Vec<String> = targets.into_iter().map(Into::into).collect();
        let next = Next::Branch { function: Some(name.clone()), targets };
        self.with(from, |node| node.next = next).function(name, function)
    }

    /// The path goes to those of the targets that the node's own result names in `go`.
    pub fn chooses(self, from: &str, targets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let targets = targets.into_iter().map(Into::into).collect();
        self.with(from, |node| node.next = Next::Branch { function: None, targets })
    }

    /// How a field takes updates; the last one counts where nothing is said.
    pub fn reducer(mut self, field: impl Into<String>, reducer: Reducer) -> Self {
        self.definition.fields.insert(field.into(), reducer);
        self
    }

    /// The field that is the run's output, in place of the whole state.
    pub fn output(mut self, field: impl Into<String>) -> Self {
        self.definition.output = Some(field.into());
        self
    }

    /// Changes a node that was added before.
    pub fn with(mut self, node: &str, change: impl FnOnce(&mut NodeDefinition)) -> Self {
        match self.definition.nodes.iter_mut().find(|known| known.name == node) {
            Some(node) => change(node),
            None => {
                let known: Vec<_> = self.definition.nodes.iter().map(|node| node.name.as_str()).collect();
                let text = format!("there is no node `{node}` yet; there are: `{}`", known.join("`, `"));
                self.wrong(text);
            }
        }
        self
    }

    /// Changes what concerns the whole graph: limits, budget, concurrency.
    pub fn with_definition(mut self, change: impl FnOnce(&mut GraphDefinition)) -> Self {
        change(&mut self.definition);
        self
    }

    fn wrong(&mut self, text: String) {
        self.fault.get_or_insert(text);
    }

    /// Checks what was given and pins the definition.
    ///
    /// # Errors
    /// `config_invalid`: nodes that nothing leads to, edges that lead nowhere, names that stand for nothing.
    pub fn build(self) -> Result<Graph, Error> {
        let Self { definition, mut table, engine, fault } = self;
        let invalid = |text: String| {
            Error::new(ErrorKind::ConfigInvalid, format!("the graph `{}`: {text}", definition.name))
        };
        if let Some(fault) = fault {
            return Err(invalid(fault));
        }
        let children = || table.agents.values().chain(table.graphs.values());
        let engine = engine.or_else(|| children().next().map(|child| child.carrier().engine().clone()));
        let engine = engine.unwrap_or_default();
        table.keep_by(&engine);
        let pinned = Pinned::new(Definition::Graph(Arc::new(definition.clone())));
        let pinned = pinned.map_err(|error| invalid(format!("its definition cannot be stored: {error}")))?;
        let runtime = GraphRuntime::new(engine, pinned, Arc::new(table))?;
        Ok(Graph { runtime: Arc::new(runtime) })
    }
}
