//! Agents: a pinned definition with the model, tools and hooks that carry it out.

use std::sync::Arc;

use ambidex_core::context::Caller;
use ambidex_core::definition::{AgentDefinition, Pinned};
use ambidex_core::message::{History, Message};
use ambidex_core::model::{Model, OutputSchema, Request};
use ambidex_core::record::{Input, RunInput};
use ambidex_core::tool::ToolSpec;
use ambidex_core::{Context, Error, ErrorKind};
use ambidex_tools::{Registered, Validator};
use futures_util::Stream;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use crate::awaited::{AwaitedRun, is_nested};
use crate::builder::AgentBuilder;
use crate::carrier::Carrier;
use crate::engine::Engine;
use crate::events::EventStream;
use crate::handle::RunHandle;
use crate::hook::{Hook, StopWhen};
use crate::result::{RunError, RunResult};
use crate::resume;
use crate::summary::Summariser;
use crate::threads::OnBusy;

/// An agent: cheap to clone, holds no state of any run.
///
/// Dropping a future of a run, or a stream of its events, cancels the run.
#[derive(Clone)]
pub struct Agent {
    pub(crate) runtime: Arc<AgentRuntime>,
}

/// What the runs of one agent share.
#[derive(Clone)]
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
    pub(crate) output: Option<Arc<Validator>>,
    pub(crate) hooks: Vec<Arc<dyn Hook>>,
    pub(crate) stop_when: Option<Arc<StopWhen>>,
}

/// What may be said about one run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run's id; a new one where it is not given.
    pub id: Option<String>,
    /// The thread the run is on; made where there is none. The run begins with what was said on it, and what it adds
    /// is on it when it has ended.
    pub thread: Option<String>,
    /// Where what was said before comes from.
    pub earlier: Earlier,
    /// What to do while another run has the thread.
    pub on_busy: OnBusy,
    /// The session of a thread that is made for the run.
    pub session: Option<String>,
    /// Active time until the run fails with `timeout`; 1 h where it is not given.
    pub timeout: Option<std::time::Duration>,
    /// Limits of this run on top of its definition's own.
    pub budget: Option<ambidex_core::budget::Budget>,
    /// What the run does when it only waits for a person.
    pub on_waiting: OnWaiting,
    /// Cancels the run when it is cancelled itself.
    pub token: Option<CancellationToken>,
    /// Whoever asks, for tools and hooks that want to know.
    pub caller: Option<Caller>,
    /// The call this run is part of, where a tool starts it: it ends with that call, and while it goes on that
    /// call's place among others is free. What it uses counts as the call's where it is awaited with `run_with`. Runs in
    /// runs without end are refused.
    pub parent: Option<Context>,
}

impl RunOptions {
    /// What the run used is used by the call it is part of.
    pub(crate) fn count(&self, ended: &Result<RunResult, RunError>) {
        let result = ended.as_ref().map_or_else(|failed| failed.result.as_deref(), Some);
        if let (Some(parent), Some(result)) = (&self.parent, result) {
            parent.spend(&result.usage);
        }
    }
}

/// Where a run on a thread has from what was said before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Earlier {
    /// From the engine's store.
    #[default]
    Stored,
    /// The task brings it along: the thread is a name, and the store is not asked.
    Given,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWaiting {
    /// Stays until the question is answered.
    #[default]
    Stay,
    /// Comes to rest; a resume goes on with it.
    Return,
    /// The same, also where only time has to pass, if that is long and the run can be found again when it is over: for
    /// runs that a recovery drives on.
    Rest,
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
        let ended = if is_nested() {
            self.launch(task.into(), &options, false)?.outcome().await
        } else {
            let (id, accept) = accept(task.into().input()?, &options);
            let (handle, run_loop) = RunHandle::prepare(self.carrier(), id, None, &options, false)?;
            AwaitedRun::new(handle, run_loop, vec![accept]).await?.ended()
        };
        options.count(&ended);
        ended
    }

    /// The events of a run; the last of a run that ended is `run.finished`.
    ///
    /// The error is given where the run cannot even start.
    pub fn stream(&self, task: impl Into<Task>) -> Result<RunEvents, Error> {
        self.start(task, RunOptions::default()).map(RunEvents::of)
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
        let (id, accept) = accept(task.input()?, options);
        RunHandle::launch(self.carrier(), id, None, vec![accept], options, watched)
    }

    fn carrier(&self) -> Carrier {
        Carrier::Agent(self.runtime.clone())
    }

    /// The same agent, with its runs kept by this engine.
    pub(crate) fn on(&self, engine: &Engine) -> Self {
        if self.runtime.engine.is(engine) {
            return self.clone();
        }
        Self {
            runtime: Arc::new(AgentRuntime { engine: engine.clone(), ..AgentRuntime::clone(&self.runtime) }),
        }
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
        resume::go_on(&self.carrier(), run, inputs, &options, true).await
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
    pub(crate) fn of(mut handle: RunHandle) -> Self {
        Self { events: handle.take_events(), _handle: handle }
    }

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
}

impl Task {
    fn input(self) -> Result<RunInput, Error> {
        if self.0.is_empty() {
            return Err(Error::new(ErrorKind::InvalidRequest, "a run needs a task; its input is empty"));
        }
        Ok(self.0.into())
    }
}

/// A new run's id and first input.
pub(crate) fn accept(input: RunInput, options: &RunOptions) -> (Arc<str>, Input) {
    let id = options.id.clone().unwrap_or_else(new_run_id).into();
    let deadline_ms = Some(crate::clock::millis(options.timeout.unwrap_or(Engine::RUN_TIMEOUT)));
    let budget = options.budget.clone().map(Box::new);
    (id, Input::Accept { input, thread: options.thread.clone(), deadline_ms, parent: None, budget })
}

/// The first input of a run that a node of this parent's starts.
pub(crate) fn accept_child(input: RunInput, options: &RunOptions, parent: &str) -> Input {
    let deadline_ms = Some(crate::clock::millis(options.timeout.unwrap_or(Engine::RUN_TIMEOUT)));
    let budget = options.budget.clone().map(Box::new);
    Input::Accept { input, thread: None, deadline_ms, parent: Some(parent.to_owned()), budget }
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
