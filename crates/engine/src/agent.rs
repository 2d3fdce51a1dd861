//! Agents: a pinned definition with the model, tools and hooks that carry it out.

use std::sync::Arc;

use ambidex_core::context::Caller;
use ambidex_core::definition::{AgentDefinition, Pinned};
use ambidex_core::message::{History, Message};
use ambidex_core::model::{Model, OutputSchema, Request};
use ambidex_core::record::Input;
use ambidex_core::store::Lease;
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Context, Error, ErrorKind};
use ambidex_tools::{Registered, Validator};
use futures_util::Stream;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use crate::awaited::{AwaitedRun, is_nested};
use crate::builder::AgentBuilder;
use crate::engine::{Engine, store_error};
use crate::events::EventStream;
use crate::handle::RunHandle;
use crate::hook::{Hook, StopWhen};
use crate::permits::Gates;
use crate::result::{RunError, RunResult};
use crate::summary::Summariser;

/// An agent: cheap to clone, holds no state of any run.
///
/// Dropping a future of a run, or a stream of its events, cancels the run.
#[derive(Clone)]
pub struct Agent {
    pub(crate) runtime: Arc<AgentRuntime>,
}

/// What the runs of one agent share.
pub(crate) struct AgentRuntime {
    pub(crate) name: Arc<str>,
    pub(crate) engine: Engine,
    pub(crate) pinned: Pinned,
    pub(crate) definition: Arc<AgentDefinition>,
    pub(crate) model: Arc<dyn Model>,
    /// Where it is another than the agent's.
    pub(crate) summariser: Option<Summariser>,
    /// In the order of the definition: errors list them, and the same run reads the same everywhere.
    pub(crate) tools: IndexMap<String, Arc<Registered>>,
    /// What the model is told, the output tool included.
    pub(crate) specs: Arc<[Arc<ToolSpec>]>,
    pub(crate) instructions: Option<Arc<str>>,
    pub(crate) settings: Arc<ambidex_core::model::Settings>,
    /// Given to the model where it enforces schemas itself.
    pub(crate) native_output: Option<Arc<OutputSchema>>,
    pub(crate) output: Option<Validator>,
    pub(crate) hooks: Vec<Arc<dyn Hook>>,
    pub(crate) stop_when: Option<Arc<StopWhen>>,
}

/// What may be said about one run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run's id; a new one where it is not given.
    pub id: Option<String>,
    pub thread: Option<String>,
    /// Active time until the run fails with `timeout`; 1 h where it is not given.
    pub timeout: Option<std::time::Duration>,
    /// What the run does when it only waits for a person.
    pub on_waiting: OnWaiting,
    /// Cancels the run when it is cancelled itself.
    pub token: Option<CancellationToken>,
    /// Whoever asks, for tools and hooks that want to know.
    pub caller: Option<Caller>,
    /// The call this run is part of, where a tool starts it: it ends with that call, and while it goes on that
    /// call's place among others is free. Runs in runs without end are refused.
    pub parent: Option<Context>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWaiting {
    /// Stays until the question is answered.
    #[default]
    Stay,
    /// Comes to rest; a resume goes on with it.
    Return,
}

/// What a run is given: a task in words, or a conversation that ends with what is new.
pub struct Task(pub(crate) Vec<Arc<Message>>);

impl From<&str> for Task {
    fn from(text: &str) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<String> for Task {
    fn from(text: String) -> Self {
        Self(vec![Message::user(text)])
    }
}

impl From<Arc<Message>> for Task {
    fn from(message: Arc<Message>) -> Self {
        Self(vec![message])
    }
}

impl From<Vec<Arc<Message>>> for Task {
    fn from(messages: Vec<Arc<Message>>) -> Self {
        Self(messages)
    }
}

impl From<&History> for Task {
    fn from(history: &History) -> Self {
        Self(history.to_vec())
    }
}

impl Agent {
    /// Starts an agent; `build` checks it.
    pub fn builder() -> AgentBuilder {
        AgentBuilder::default()
    }

    pub fn name(&self) -> &str {
        &self.runtime.definition.name
    }

    pub fn definition(&self) -> &AgentDefinition {
        &self.runtime.definition
    }

    pub fn engine(&self) -> &Engine {
        &self.runtime.engine
    }

    /// Runs a task until the run comes to rest. It is driven by the task that awaits it; dropping the future
    /// cancels the run.
    ///
    /// # Errors
    /// The run failed or was cancelled. A run that is paused or waits for a person is no error.
    pub async fn run(&self, task: impl Into<Task>) -> Result<RunResult, RunError> {
        self.run_with(task, RunOptions::default()).await
    }

    /// Like [`Agent::run`], with options.
    pub async fn run_with(&self, task: impl Into<Task>, options: RunOptions) -> Result<RunResult, RunError> {
        if is_nested() {
            return self.launch(task.into(), &options, false)?.outcome().await;
        }
        let (id, accept) = accept(task.into(), &options)?;
        let (handle, run_loop) = RunHandle::prepare(self.runtime.clone(), id, None, &options, false)?;
        AwaitedRun::new(handle, run_loop, vec![accept]).await?.ended()
    }

    /// The events of a run; the last of a run that ended is `run.finished`.
    ///
    /// The error is given where the run cannot even start.
    pub fn stream(&self, task: impl Into<Task>) -> Result<RunEvents, Error> {
        let mut handle = self.start(task, RunOptions::default())?;
        let events = handle.take_events();
        Ok(RunEvents { events, _handle: handle })
    }

    /// Starts a run and returns at once, with its events to watch. Needs a tokio runtime.
    pub fn start(&self, task: impl Into<Task>, options: RunOptions) -> Result<RunHandle, Error> {
        self.launch(task.into(), &options, true)
    }

    /// Starts a run nobody watches: its events are not even made.
    pub fn start_unwatched(&self, task: impl Into<Task>, options: RunOptions) -> Result<RunHandle, Error> {
        self.launch(task.into(), &options, false)
    }

    fn launch(&self, task: Task, options: &RunOptions, watched: bool) -> Result<RunHandle, Error> {
        let (id, accept) = accept(task, options)?;
        RunHandle::launch(self.runtime.clone(), id, None, vec![accept], options, watched)
    }

    /// Goes on with a stored run of this agent, under a new epoch. The inputs come after the claim. The run
    /// keeps the definition it began with; model, code of tools and hooks are those of this agent.
    ///
    /// # Errors
    /// There is no such run, the store failed, or (`config_invalid`) a tool of the run is gone or takes
    /// other arguments now; nothing has happened to the run then.
    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.go_on(run, inputs, options, true).await
    }

    /// Like [`Agent::resume`], for a run nobody watches.
    pub(crate) async fn resume_unwatched(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.go_on(run, inputs, options, false).await
    }

    async fn go_on(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
        watched: bool,
    ) -> Result<RunHandle, Error> {
        let engine = &self.runtime.engine;
        let (store, now) = (engine.store(), engine.clock().now());
        let stored = store.load(run).await.map_err(store_error)?;
        let runtime = self.runtime.pinned_as(&stored.definition)?;
        let epoch = match engine.durable() {
            Some(durable) => durable.claim(run, now).await,
            // Nobody else has this store: the run is held by its epoch alone.
            None => store.claim(run, Lease { owner: "".into(), until: 0 }, now).await,
        };
        let epoch = epoch.map_err(store_error)?;
        // Again: the run may have gone on until it was claimed.
        let stored = store.load(run).await.map_err(store_error)?;
        let mut all = vec![Input::Claim];
        all.extend(inputs);
        RunHandle::launch(runtime, run.into(), Some((stored, epoch)), all, &options, watched)
    }
}

/// Events of a run that ends when they are no longer wanted.
pub struct RunEvents {
    events: EventStream,
    _handle: RunHandle,
}

impl Stream for RunEvents {
    type Item = ambidex_core::Event;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.events).poll_next(cx)
    }
}

impl RunEvents {
    /// The next event; nothing when there will be none.
    pub async fn next(&mut self) -> Option<ambidex_core::Event> {
        self.events.next().await
    }
}

impl AgentRuntime {
    pub(crate) fn request(&self, history: History) -> Request {
        Request {
            instructions: self.instructions.clone(),
            history,
            tools: self.specs.clone(),
            tool_choice: self.definition.tool_choice.clone(),
            output: self.native_output.clone(),
            settings: self.settings.clone(),
        }
    }

    /// Whether calls of this tool keep the thread that polls them, as far as is known.
    pub(crate) fn computes(&self, tool: &str) -> bool {
        self.tools.get(tool).is_some_and(|registered| registered.computes())
    }

    /// Whether they might.
    pub(crate) fn may_compute(&self, tool: &str) -> bool {
        self.tools.get(tool).is_some_and(|registered| registered.tool().computes())
    }

    pub(crate) fn gates(&self, tool: &str) -> Gates {
        let registered = self.tools.get(tool);
        let blocks = registered.is_some_and(|registered| registered.tool().blocks());
        Gates {
            tool: registered.map(|registered| registered.permits().clone()),
            process: self.engine.tool_permits().clone(),
            threads: blocks.then(|| self.engine.threads().clone()),
        }
    }
}

/// A new run's id and first input.
fn accept(task: Task, options: &RunOptions) -> Result<(Arc<str>, Input), Error> {
    if task.0.is_empty() {
        return Err(Error::new(ErrorKind::InvalidRequest, "a run needs a task; its input is empty"));
    }
    let timeout = options.timeout.unwrap_or(Engine::RUN_TIMEOUT);
    let accept = Input::Accept {
        input: task.0.into(),
        thread: options.thread.clone(),
        deadline_ms: Some(crate::clock::millis(timeout)),
    };
    Ok((options.id.clone().unwrap_or_else(new_run_id).into(), accept))
}

/// Of a new run.
pub(crate) fn new_run_id() -> String {
    format!("run_{}", unique())
}

/// Time-ordered and unique. The system is asked for what is random each time: the state of a generator would be
/// shared by the children of one process, and so would a lock that was held when they were made.
pub(crate) fn unique() -> impl std::fmt::Display {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = uuid::Timestamp::from_unix(uuid::NoContext, now.as_secs(), now.subsec_nanos());
    uuid::Uuid::new_v7(now).simple()
}
