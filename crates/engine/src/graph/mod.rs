//! Graphs: a definition with the functions, agents, tools and graphs that carry it out.

mod builder;
mod cache;
mod child;
mod function;
mod perform;
mod runtime;

use std::sync::Arc;

use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::graph::{GraphDefinition, State};
use ambidex_core::record::Input;
use ambidex_core::{Error, ErrorKind};
use serde_json::Value;

use crate::agent::{RunEvents, RunOptions, accept};
use crate::awaited::{AwaitedRun, is_nested};
use crate::carrier::Carrier;
use crate::engine::Engine;
use crate::handle::RunHandle;
use crate::result::{RunError, RunResult};
use crate::resume;

pub use builder::GraphBuilder;
pub(crate) use child::Child;
pub use function::{NodeFunction, Templates};
pub(crate) use perform::{code, tool, wait};
pub(crate) use runtime::GraphRuntime;

/// A graph with what carries it out: cheap to clone, holds no state of any run.
///
/// Dropping a future of a run, or a stream of its events, cancels the run.
#[derive(Clone)]
pub struct Graph {
    pub(crate) runtime: Arc<GraphRuntime>,
}

impl Graph {
    /// A graph made here; `build` checks it. Its first node is where it starts, unless that is said otherwise.
    pub fn builder(name: impl Into<String>) -> GraphBuilder {
        GraphBuilder::new(GraphDefinition::new(name, vec![]))
    }

    /// A definition made elsewhere, such as a workflow's. The builder then takes what its names stand for.
    pub fn from_definition(definition: GraphDefinition) -> GraphBuilder {
        GraphBuilder::new(definition)
    }

    pub fn name(&self) -> &str {
        &self.runtime.definition.name
    }

    pub fn definition(&self) -> &GraphDefinition {
        &self.runtime.definition
    }

    pub fn engine(&self) -> &Engine {
        &self.runtime.engine
    }

    /// Runs the graph from this state, an object, until the run comes to rest. It is driven by the task that awaits
    /// it; dropping the future cancels the run.
    ///
    /// # Errors
    /// The run failed or was cancelled. A run that is paused or waits for a person is no error.
    pub async fn run(&self, state: Value) -> Result<RunResult, RunError> {
        self.run_with(state, RunOptions::default()).await
    }

    /// Like [`Graph::run`], with options.
    ///
    /// # Errors
    /// As there.
    pub async fn run_with(&self, state: Value, options: RunOptions) -> Result<RunResult, RunError> {
        let ended = if is_nested() {
            self.launch(state, &options, false)?.outcome().await
        } else {
            let (id, accept) = accept(self.state(state)?.into(), &options);
            let (handle, run_loop) = RunHandle::prepare(self.carrier(), id, None, &options, false)?;
            AwaitedRun::new(handle, run_loop, vec![accept]).await?.ended()
        };
        options.count(&ended);
        ended
    }

    /// The events of a run, `state.changed` among them; the last of a run that ended is `run.finished`.
    ///
    /// # Errors
    /// The run cannot even start.
    pub fn stream(&self, state: Value) -> Result<RunEvents, Error> {
        self.start(state, RunOptions::default()).map(RunEvents::of)
    }

    /// Starts a run and returns at once, with its events to watch. Needs a tokio runtime.
    ///
    /// # Errors
    /// `invalid_request`: the state is no object, or there is no runtime.
    pub fn start(&self, state: Value, options: RunOptions) -> Result<RunHandle, Error> {
        self.launch(state, &options, true)
    }

    /// Starts a run nobody watches: its events are not even made.
    ///
    /// # Errors
    /// As [`Graph::start`].
    pub fn start_unwatched(&self, state: Value, options: RunOptions) -> Result<RunHandle, Error> {
        self.launch(state, &options, false)
    }

    fn launch(&self, state: Value, options: &RunOptions, watched: bool) -> Result<RunHandle, Error> {
        let (id, accept) = accept(self.state(state)?.into(), options);
        RunHandle::launch(self.carrier(), id, None, vec![accept], options, watched)
    }

    /// Goes on with a stored run of this graph, under a new epoch. The inputs come after the claim. The run keeps
    /// the definition it began with; functions, agents, graphs and tools are those of this graph.
    ///
    /// # Errors
    /// There is no such run, the store failed, or (`config_invalid`) something the run needs is gone; nothing has
    /// happened to the run then.
    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        resume::go_on(&self.carrier(), run, inputs, &options, true).await
    }

    /// Another graph of the same functions, agents, graphs and tools.
    ///
    /// # Errors
    /// `config_invalid`: the definition cannot be followed, or a name in it stands for nothing here.
    pub(crate) fn defined_as(&self, definition: GraphDefinition) -> Result<Self, Error> {
        let runtime = &self.runtime;
        let pinned = Pinned::new(Definition::Graph(Arc::new(definition))).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, format!("the graph cannot be stored: {error}"))
        })?;
        let runtime = GraphRuntime::new(runtime.engine.clone(), pinned, runtime.table.clone())?;
        Ok(Self { runtime: Arc::new(runtime) })
    }

    /// The same graph, with its runs and those of its nodes kept by this engine.
    pub(crate) fn on(&self, engine: &Engine) -> Self {
        if self.runtime.engine.is(engine) {
            return self.clone();
        }
        Self { runtime: Arc::new(self.runtime.on(engine)) }
    }

    fn carrier(&self) -> Carrier {
        Carrier::Graph(self.runtime.clone())
    }

    fn state(&self, state: Value) -> Result<State, Error> {
        match state {
            Value::Object(state) => Ok(state),
            other => {
                let name = self.name();
                let text = format!("the graph `{name}` begins with an object of fields, not with `{other}`");
                Err(Error::new(ErrorKind::InvalidRequest, text))
            }
        }
    }
}
