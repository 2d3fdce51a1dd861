//! Workflows: steps in a file or in code, compiled to graphs.
//!
//! [`Workflow`] is what users hold. `order` says which step follows which, `compile` makes nodes of steps, `functions`
//! and `template` are what these nodes call, `check` finds what is wrong before anything runs, `draw` shows it.

mod builder;
mod check;
mod compile;
mod draw;
mod expression;
mod functions;
mod input;
mod order;
mod parallel;
pub(crate) mod parts;
mod scope;
mod template;

use std::path::Path;
use std::sync::Arc;

use ambidex_config::{ConfigErrors, Environment, LoadOptions, Loaded, Step, Workflow as Steps};
use ambidex_core::definition::Definition;
use ambidex_core::graph::GraphDefinition;
use ambidex_core::record::Input;
use ambidex_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use crate::agent::{RunEvents, RunOptions};
use crate::carrier::Runnable;
use crate::engine::Engine;
use crate::graph::Graph;
use crate::handle::RunHandle;
use crate::project::Project;
use crate::result::{RunError, RunResult};

pub use builder::WorkflowBuilder;
pub use check::{Facts, faults};
pub use draw::Format;
pub use input::task_input;
pub(crate) use parts::Parts;

use input::Inputs;

/// A workflow, checked and ready to run: cheap to clone, holds no state of any run.
///
/// ```
/// use ambidex_engine::{Agent, Workflow};
/// use ambidex_models::scripted::ScriptedModel;
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let writer = Agent::builder().name("writer").model(ScriptedModel::new(["A haiku."])).build()?;
/// let workflow = Workflow::builder("poem")
///     .input(serde_json::json!({ "topic": "string" }))
///     .step(serde_json::json!({ "id": "write", "agent": "writer", "prompt": "On {{ input.topic }}" }))
///     .agent("writer", writer)
///     .build()?;
/// let result = workflow.run(serde_json::json!({ "topic": "rivers" })).await?;
/// assert_eq!(result.text, "A haiku.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Workflow {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    /// The file that it stands in, for messages.
    place: Arc<str>,
    steps: Arc<Steps>,
    inputs: Inputs,
    parts: Parts,
    graph: Graph,
}

impl Workflow {
    /// Starts a workflow made in code; `build` checks it.
    pub fn builder(name: impl Into<String>) -> WorkflowBuilder {
        WorkflowBuilder::new(name)
    }

    /// A workflow in a file of its own, with the agents and tools of that file and of the `ambidex.toml` beside it or
    /// above. A file with several workflows is opened by [`crate::project::Project`].
    ///
    /// # Errors
    /// `config_invalid`: all that is wrong, each with file, line and column.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| Error::new(ErrorKind::ConfigInvalid, error.to_string()))?;
        let environment = Environment::of_process();
        let directory = path.parent().unwrap_or(&path).to_owned();
        let options = LoadOptions {
            directory,
            flow: Some(path),
            environment: environment.clone(),
            ..LoadOptions::default()
        };
        Self::of_file(&options, environment)
    }

    fn of_file(options: &LoadOptions, environment: Environment) -> Result<Self, Error> {
        let loaded = load(options).map_err(|errors| invalid(&errors))?;
        let name = named(&loaded, options.flow.as_deref())?;
        Project::new(loaded, environment).workflow(&name)
    }

    pub(crate) fn assemble(name: &str, place: &str, steps: Steps, parts: Parts) -> Result<Self, Error> {
        let definition = parts.compile(|known| compile::compile(name, &steps, known));
        Self::with_definition(name, place, steps, parts, definition)
    }

    fn with_definition(
        name: &str,
        place: &str,
        steps: Steps,
        parts: Parts,
        definition: GraphDefinition,
    ) -> Result<Self, Error> {
        let place: Arc<str> = place.into();
        let inputs = Inputs::new(name, &steps.input)?;
        let graph = parts.graph(definition, &steps, &place)?;
        let shared = Shared { name: name.to_owned(), place, steps: Arc::new(steps), inputs, parts, graph };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The steps, as they were written.
    pub fn steps(&self) -> &Steps {
        &self.shared.steps
    }

    /// What it compiles to.
    pub fn graph(&self) -> &Graph {
        &self.shared.graph
    }

    pub fn engine(&self) -> &Engine {
        &self.shared.parts.engine
    }

    /// Its declared inputs, each as `name: type`, those that may be left out with `?`.
    pub fn inputs(&self) -> Vec<String> {
        self.shared.inputs.declared()
    }

    /// The JSON Schema of its input.
    pub fn input_schema(&self) -> &Value {
        &self.shared.steps.input
    }

    /// The state that a run begins with.
    ///
    /// # Errors
    /// `invalid_request`: an input is missing, unknown, or of another type.
    pub fn state(&self, input: impl Into<Value>) -> Result<Value, Error> {
        Ok(json!({ "input": self.shared.inputs.take(input.into())? }))
    }

    /// Runs it until the run comes to rest. It is driven by the task that awaits it; dropping the future cancels the
    /// run. A text is the input that takes a task: `task`, or the only one.
    ///
    /// # Errors
    /// The input is not what is declared, or the run failed or was cancelled. A run that is paused or waits for a
    /// person is no error.
    pub async fn run(&self, input: impl Into<Value>) -> Result<RunResult, RunError> {
        self.run_with(input, RunOptions::default()).await
    }

    /// Like [`Workflow::run`], with options.
    ///
    /// # Errors
    /// As there.
    pub async fn run_with(
        &self,
        input: impl Into<Value>,
        options: RunOptions,
    ) -> Result<RunResult, RunError> {
        let state = self.state(input)?;
        self.shared.graph.run_with(state, options).await
    }

    /// Starts a run and returns at once, with its events to watch. Needs a tokio runtime.
    ///
    /// # Errors
    /// `invalid_request`: the input is not what is declared, or there is no runtime.
    pub fn start(&self, input: impl Into<Value>, options: RunOptions) -> Result<RunHandle, Error> {
        self.shared.graph.start(self.state(input)?, options)
    }

    /// The events of a run.
    ///
    /// # Errors
    /// As [`Workflow::start`].
    pub fn stream(&self, input: impl Into<Value>) -> Result<RunEvents, Error> {
        self.shared.graph.stream(self.state(input)?)
    }

    /// Goes on with a stored run, under a new epoch.
    ///
    /// # Errors
    /// As [`Graph::resume`].
    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.shared.graph.resume(run, inputs, options).await
    }

    /// One step alone, as a graph of its own: [`Workflow::stage_state`] says what it begins with.
    ///
    /// # Errors
    /// `invalid_request`: there is no such step, or it only chooses.
    pub fn stage(&self, step: &str) -> Result<Graph, Error> {
        let steps = &self.shared.steps.steps;
        let at = steps.iter().position(|known| known.id == step && known.kind().is_some());
        let Some(at) = at else {
            let known: Vec<&str> =
                steps.iter().filter(|step| step.kind().is_some()).map(|step| step.id.as_str()).collect();
            let near = ambidex_core::suggest::nearest(step, known.clone());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let text = format!(
                "the workflow `{}` has no step `{step}` that could run alone{near}; there are {}",
                self.name(),
                known.join(", ")
            );
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        };
        let Shared { name, steps, parts, place, .. } = &*self.shared;
        let definition = parts.compile(|known| compile::compile_stage(name, steps, at, known));
        parts.graph(definition, steps, place)
    }

    /// The state of one step alone: inputs by their names, or `input` and `steps` as tables, where `steps` gives the
    /// results of the steps before it.
    ///
    /// # Errors
    /// `invalid_request`: a name is neither.
    pub fn stage_state(&self, given: impl Into<Value>) -> Result<Value, Error> {
        let given = match given.into() {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            other => {
                let text = format!("a step is given a table of names and values, not `{other}`");
                return Err(Error::new(ErrorKind::InvalidRequest, text));
            }
        };
        let declared = self.shared.steps.input["properties"].as_object();
        let is_input = |name: &str| declared.is_some_and(|declared| declared.contains_key(name));
        let mut state = Map::new();
        let mut input = Map::new();
        let mut results = Vec::new();
        for (name, value) in given {
            match (name.as_str(), value) {
                ("input", Value::Object(given)) if !is_input("input") => input.extend(given),
                ("steps", Value::Object(given)) if !is_input("steps") => results.extend(given),
                (_, value) => {
                    input.insert(name, value);
                }
            }
        }
        for (name, value) in &input {
            let schema = declared.and_then(|declared| declared.get(name));
            let checked = match schema {
                Some(schema) => Inputs::new(self.name(), &json!({ "properties": { name: schema } }))?
                    .take(json!({ name: value }))
                    .map(|_| ()),
                None => self.shared.inputs.take(json!({ name: value })).map(|_| ()),
            };
            checked?;
        }
        for (name, value) in declared.into_iter().flatten() {
            if let Some(default) = value.get("default").filter(|_| !input.contains_key(name)) {
                input.insert(name.clone(), default.clone());
            }
        }
        for (step, result) in results {
            if !self.shared.steps.steps.iter().any(|known| known.id == step) {
                let known: Vec<&str> = self.shared.steps.steps.iter().map(|step| step.id.as_str()).collect();
                let text = format!("there is no step `{step}`; there are {}", known.join(", "));
                return Err(Error::new(ErrorKind::InvalidRequest, text));
            }
            state.insert(scope::result_field(&step), result);
        }
        state.insert("input".into(), Value::Object(input));
        Ok(Value::Object(state))
    }

    /// Runs one step alone; its result is the output.
    ///
    /// # Errors
    /// As [`Workflow::stage`] and [`Workflow::stage_state`], or the step failed.
    pub async fn run_stage(&self, step: &str, given: impl Into<Value>) -> Result<RunResult, RunError> {
        self.run_stage_with(step, given, RunOptions::default()).await
    }

    /// Like [`Workflow::run_stage`], with options.
    ///
    /// # Errors
    /// As there.
    pub async fn run_stage_with(
        &self,
        step: &str,
        given: impl Into<Value>,
        options: RunOptions,
    ) -> Result<RunResult, RunError> {
        let state = self.stage_state(given)?;
        self.stage(step)?.run_with(state, options).await
    }

    /// A drawing of the steps.
    pub fn draw(&self, format: Format) -> String {
        draw::draw(self.name(), &self.shared.steps, format)
    }

    /// What carries out a stored run of this workflow, of one of its steps, or of a workflow that it runs: for
    /// [`Engine::recover`].
    pub fn runnable(&self, definition: &Definition) -> Option<Runnable> {
        let Shared { name, steps, parts, .. } = &*self.shared;
        let own = match definition {
            Definition::Agent(agent) => {
                let known = parts.agents.values().find(|known| known.name() == agent.name);
                known.cloned().map(Runnable::from)
            }
            Definition::Graph(graph) if graph.name == *name => self.pinned(graph).ok().map(Runnable::from),
            Definition::Graph(graph) => {
                let is_it = |step: &&Step| compile::parallel_name(name, &step.id) == graph.name;
                let step = steps.steps.iter().find(is_it);
                step.and_then(|step| parallel::graph(&graph.name, step, parts).ok()).map(Runnable::from)
            }
        };
        own.or_else(|| parts.flows.values().find_map(|flow| flow.runnable(definition)))
    }

    /// The graph of a run that began under another definition of this workflow: its conditions and prompts are those
    /// of then, agents and tools those of now.
    ///
    /// # Errors
    /// `config_invalid`: something that the run needs is gone.
    pub fn pinned(&self, definition: &GraphDefinition) -> Result<Graph, Error> {
        if definition == self.graph().definition() {
            return Ok(self.graph().clone());
        }
        let Shared { steps, parts, place, .. } = &*self.shared;
        parts.graph(definition.clone(), steps, place)
    }
}

/// A drawing of steps that need not be complete.
pub fn draw_steps(name: &str, steps: &Steps, format: Format) -> String {
    draw::draw(name, steps, format)
}

/// Loads a configuration and checks its workflows, too.
///
/// # Errors
/// Every fault that was found, not just the first.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    ambidex_config::load_with(options, &|config| faults(config, &Facts::default()))
}

pub(crate) fn invalid(errors: &ConfigErrors) -> Error {
    Error::new(ErrorKind::ConfigInvalid, errors.to_string())
}

/// The workflow that a file is, or its only one.
///
/// # Errors
/// `config_invalid`: there is none, or there are several.
pub fn named(loaded: &Loaded, file: Option<&Path>) -> Result<String, Error> {
    if let Some(name) = &loaded.flow {
        return Ok(name.clone());
    }
    let names: Vec<&String> = loaded.config.workflows.keys().collect();
    let file = file.map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Error::new(ErrorKind::ConfigInvalid, format!("{file}: there is no workflow in it"))),
        several => {
            let known: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            let text = format!("{file}: there are several workflows ({}); name one", known.join(", "));
            Err(Error::new(ErrorKind::ConfigInvalid, text))
        }
    }
}
