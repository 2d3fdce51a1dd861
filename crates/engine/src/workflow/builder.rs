//! Workflows made in code.

use std::sync::Arc;

use ambidex_config::{Known, LoadOptions};
use ambidex_core::tool::Tool;
use ambidex_core::{Error, ErrorKind, Model};
use ambidex_tools::Registered;
use serde_json::{Map, Value, json};

use super::{Facts, Parts, Workflow, faults, invalid};
use crate::agent::Agent;
use crate::builder::ApprovalPolicy;
use crate::engine::Engine;
use crate::merge::Actor;

/// Steps, and what they name.
#[must_use]
#[derive(Clone)]
pub struct WorkflowBuilder {
    name: String,
    definition: Map<String, Value>,
    parts: Parts,
    engine: Option<Engine>,
    faults: Vec<String>,
}

impl WorkflowBuilder {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            definition: Map::new(),
            parts: Parts::default(),
            engine: None,
            faults: Vec::new(),
        }
    }

    /// The whole of it, with the keys that a file has; `name` among them.
    pub fn definition(mut self, definition: Value) -> Self {
        match definition {
            Value::Object(mut definition) => {
                if let Some(Value::String(name)) = definition.shift_remove("name") {
                    self.name = name;
                }
                self.definition.extend(definition);
            }
            other => self.faults.push(format!("a workflow is a table of keys and values, not `{other}`")),
        }
        self
    }

    /// Its inputs: names and types, or a JSON Schema.
    pub fn input(mut self, input: Value) -> Self {
        self.definition.insert("input".into(), input);
        self
    }

    /// An expression, or a table of names and expressions.
    pub fn output(mut self, output: Value) -> Self {
        self.definition.insert("output".into(), output);
        self
    }

    /// One more step, with the keys that a file has.
    pub fn step(mut self, step: Value) -> Self {
        self.add_step(step);
        self
    }

    /// One more step, with the keys that a file has.
    pub fn add_step(&mut self, step: Value) {
        let steps = self.definition.entry("steps").or_insert_with(|| json!([]));
        match steps {
            Value::Array(steps) => steps.push(step),
            _ => self.faults.push("`steps` must be a list".into()),
        }
    }

    pub fn agent(mut self, name: impl Into<String>, agent: Agent) -> Self {
        let name = name.into();
        self.parts.actors.insert(name.clone(), Actor::Agent(agent.clone()));
        self.parts.agents.insert(name, agent);
        self
    }

    /// A model that judges or writes where results are merged.
    pub fn model(mut self, name: impl Into<String>, model: Arc<dyn Model>) -> Self {
        self.parts.actors.insert(name.into(), Actor::Model(model));
        self
    }

    /// A tool, under the name in its spec.
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        match Registered::new(tool) {
            Ok(tool) => self.registered_tool(Arc::new(tool)),
            Err(error) => {
                self.faults.push(error.message().to_owned());
                self
            }
        }
    }

    pub fn registered_tool(mut self, tool: Arc<Registered>) -> Self {
        self.parts.tools.insert(tool.spec().name.clone(), tool);
        self
    }

    /// Another workflow, for steps with `flow`.
    pub fn flow(mut self, name: impl Into<String>, flow: Workflow) -> Self {
        self.parts.flows.insert(name.into(), flow);
        self
    }

    /// Without it, that of its first agent.
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    pub fn approvals(mut self, approvals: ApprovalPolicy) -> Self {
        self.parts.approvals = approvals;
        self
    }

    /// The keys that were given so far.
    pub fn as_definition(&self) -> &Map<String, Value> {
        &self.definition
    }

    /// Whether everything fits together.
    ///
    /// # Errors
    /// `config_invalid`: all that is wrong, each with the path of its key.
    pub fn check(&self) -> Result<(), Error> {
        self.read().map(|_| ())
    }

    fn read(&self) -> Result<ambidex_config::Workflow, Error> {
        if !self.faults.is_empty() {
            let text = format!("the workflow `{}`: {}", self.name, self.faults.join("; "));
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        }
        let mut workflows = Vec::new();
        for (name, flow) in &self.parts.flows {
            let steps = serde_json::to_value(flow.steps());
            let steps = steps.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            workflows.push((name.clone(), steps));
        }
        workflows.push((self.name.clone(), Value::Object(self.definition.clone())));
        let mut agents: Vec<String> = self.parts.actors.keys().cloned().collect();
        let mut tools: Vec<String> = self.parts.tools.keys().cloned().collect();
        for flow in self.parts.flows.values() {
            agents.extend(flow.shared.parts.actors.keys().cloned());
            tools.extend(flow.shared.parts.tools.keys().cloned());
        }
        let options = LoadOptions {
            text: Some(String::new()),
            known: Known { agents, tools },
            workflows,
            ..LoadOptions::in_directory("/")
        };
        let facts = Facts::of(&self.parts);
        let loaded = ambidex_config::load_with(&options, &|config| faults(config, &facts));
        let mut loaded = loaded.map_err(|errors| invalid(&errors))?;
        loaded.config.workflows.shift_remove(&self.name).ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, format!("the workflow `{}` has no steps", self.name))
        })
    }

    /// Checks it and makes it ready to run.
    ///
    /// # Errors
    /// As [`WorkflowBuilder::check`].
    pub fn build(self) -> Result<Workflow, Error> {
        let steps = self.read()?;
        let mut parts = self.parts;
        let first = parts.agents.values().next().map(|agent| agent.engine().clone());
        if let Some(engine) = self.engine.or(first) {
            parts.engine = engine;
        }
        let name = self.name;
        Workflow::assemble(&name, &format!("workflow {name}"), steps, parts)
    }
}
