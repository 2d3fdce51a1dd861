//! Agents as Python holds them: what one is made of, and the one that was made for this process.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambidex_core::Message;
use ambidex_core::budget::Grant;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::{
    Agent as Engine, ApprovalPolicy, Engine as CoreEngine, OnWaiting, RunError, RunHandle, RunOptions,
    RunResult as CoreResult, Task,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::agent_settings::{Plain, PlainApprovals, filled};
use crate::asked::Asked;
use crate::batch::BatchStart;
use crate::bridge::{self, Caller, Failure};
use crate::conversation::{Conversations, TakenTurn, Turn};
use crate::hook::Hook;
use crate::model::Model;
use crate::process::{Process, process};
use crate::request::read;
use crate::result::RunResult;
use crate::store::Store;
use crate::stream::{EventStream, Start};
use crate::tool::Tool;
use crate::{conversation, convert, failure, message, result, resume};

/// Variants of an agent that differ in the limit of a run alone; older ones are made again.
const VARIANTS: usize = 4;

/// What `ambidex.Agent` holds. Made for each generation of the process when it first runs.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Agent {
    /// Before the tools and hooks it was made of, so that these know at their end that nobody calls them.
    made: Mutex<Made>,
    settings: Py<PyDict>,
    model: Py<Model>,
    summariser: Option<Py<Model>>,
    tools: Vec<Py<Tool>>,
    hooks: Vec<Py<Hook>>,
    /// Where its runs are kept; without one, where `[store]` says.
    store: Option<Py<Store>>,
    conversations: Arc<Conversations>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Made {
    generation: u64,
    /// By their limit of iterations, where a run sets its own, and by the store they are for.
    agents: Vec<(Option<u32>, Engine)>,
}

/// Whether agents keep their runs in the same store.
fn is_over(agent: &Engine, core: &CoreEngine) -> bool {
    Arc::ptr_eq(agent.engine().store(), core.store())
}

/// A run that is about to begin.
pub(crate) struct RunStart {
    pub(crate) agent: Engine,
    pub(crate) task: Task,
    pub(crate) options: RunOptions,
    turn: Option<Turn>,
}

impl RunStart {
    pub(crate) async fn rest(self, asked: &Arc<Asked>) -> Result<CoreResult, Failure> {
        let Self { agent, task, options, turn } = self;
        let options = asked.options(options);
        let ended = match turn {
            None => agent.run_with(task, options).await,
            Some(turn) => turn.run(&agent, task, options).await,
        };
        asked.settle_run(ended)
    }

    /// Starts the run as a task of the engine, with its events to watch.
    pub(crate) async fn begin(self, asked: Arc<Asked>) -> Result<(RunHandle, Option<TakenTurn>), RunError> {
        let Self { agent, task, options, turn } = self;
        let options = asked.options(options);
        let (turn, task, options) = match turn {
            None => (None, task, options),
            Some(turn) => {
                let (taken, task, options) = turn.begin(task, options).await?;
                (Some(taken), task, options)
            }
        };
        Ok((agent.start(task, options)?, turn))
    }

    async fn result(self, caller: Arc<Caller>) -> Result<RunResult, Failure> {
        self.rest(&Asked::new(&caller)).await.map(RunResult::new)
    }
}

#[pymethods]
impl Agent {
    /// `before` is the agent whose conversations this one goes on with.
    #[new]
    #[pyo3(signature = (settings, model, tools, hooks, summariser=None, before=None, store=None))]
    fn new(
        settings: Py<PyDict>,
        model: Py<Model>,
        tools: Vec<Py<Tool>>,
        hooks: Vec<Py<Hook>>,
        summariser: Option<Py<Model>>,
        before: Option<&Bound<'_, Self>>,
        store: Option<Py<Store>>,
    ) -> Self {
        let conversations = before.map(|before| before.get().conversations.clone()).unwrap_or_default();
        Self {
            made: Mutex::default(),
            settings,
            model,
            summariser,
            tools,
            hooks,
            store,
            conversations,
            closed: AtomicBool::new(false),
        }
    }

    #[pyo3(signature = (input, thread=None, max_iterations=None, timeout=None, on_busy=None))]
    fn run<'py>(
        &self,
        input: &Bound<'py, PyAny>,
        thread: Option<String>,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
        on_busy: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(input, thread, max_iterations, timeout, on_busy)?;
        bridge::wait(input.py(), |caller| start.result(caller))
    }

    #[pyo3(signature = (input, thread=None, max_iterations=None, timeout=None, on_busy=None, host=None))]
    fn arun<'py>(
        &self,
        input: &Bound<'py, PyAny>,
        thread: Option<String>,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
        on_busy: Option<&str>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(input, thread, max_iterations, timeout, on_busy)?;
        bridge::start(input.py(), host, |caller| start.result(caller))
    }

    /// The events of a run, for either door. One that waits for a person stays: its reader sees the question.
    #[pyo3(signature = (input, thread=None, max_iterations=None, timeout=None, on_busy=None))]
    fn stream(
        &self,
        input: &Bound<'_, PyAny>,
        thread: Option<String>,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
        on_busy: Option<&str>,
    ) -> PyResult<EventStream> {
        let mut start = self.start(input, thread, max_iterations, timeout, on_busy)?;
        start.options.on_waiting = OnWaiting::Stay;
        Ok(EventStream::new(Start::Run(Box::new(start))))
    }

    /// Many tasks: results and exceptions, in their order.
    #[pyo3(signature = (inputs, concurrency, sequential, max_iterations=None, timeout=None))]
    fn batch<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<Bound<'py, PyAny>>,
        concurrency: usize,
        sequential: bool,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.begin_batch(py, &inputs, concurrency, sequential, max_iterations, timeout)?;
        bridge::wait(py, |caller| start.run(caller))
    }

    #[pyo3(signature = (inputs, concurrency, sequential, max_iterations=None, timeout=None, host=None))]
    #[expect(clippy::too_many_arguments, reason = "what Python gives by position")]
    fn abatch<'py>(
        &self,
        py: Python<'py>,
        inputs: Vec<Bound<'py, PyAny>>,
        concurrency: usize,
        sequential: bool,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.begin_batch(py, &inputs, concurrency, sequential, max_iterations, timeout)?;
        bridge::start(py, host, |caller| start.run(caller))
    }

    /// Answers a question: a decision as plain data.
    fn answer<'py>(
        &self,
        py: Python<'py>,
        question: String,
        answer: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (engine, answer) = (self.over(py, process()?, None)?, read(answer, "the answer")?);
        bridge::wait(py, |_| resume::answer(engine, question, answer))
    }

    #[pyo3(signature = (question, answer, host=None))]
    fn aanswer<'py>(
        &self,
        py: Python<'py>,
        question: String,
        answer: &Bound<'_, PyAny>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (engine, answer) = (self.over(py, process()?, None)?, read(answer, "the answer")?);
        bridge::start(py, host, |_| resume::answer(engine, question, answer))
    }

    /// Goes on with a run that waits, or that is paused and is granted something: what is said, else as many iterations
    /// as before. `store` is where the run is, if not where the agent keeps its own.
    #[pyo3(signature = (run, grant=None, timeout=None, store=None))]
    fn resume<'py>(
        &self,
        py: Python<'py>,
        run: String,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (agent, grant, options) = self.begin_resume(py, grant, timeout, store)?;
        bridge::wait(py, |caller| resume::resume(agent, run, grant, options, caller))
    }

    #[pyo3(signature = (run, grant=None, timeout=None, store=None, host=None))]
    fn aresume<'py>(
        &self,
        py: Python<'py>,
        run: String,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (agent, grant, options) = self.begin_resume(py, grant, timeout, store)?;
        bridge::start(py, host, |caller| resume::resume(agent, run, grant, options, caller))
    }

    /// The thread that a chat goes on with.
    fn chat_thread(&self) -> String {
        self.conversations.chat()
    }

    /// What was said on a thread, as plain data.
    fn messages<'py>(&self, py: Python<'py>, thread: String) -> PyResult<Bound<'py, PyAny>> {
        match self.stored(py)? {
            Some(engine) => bridge::wait(py, |_| conversation::said(engine, thread)),
            None => self.remembered(py, &thread),
        }
    }

    #[pyo3(signature = (thread, host=None))]
    fn amessages<'py>(
        &self,
        py: Python<'py>,
        thread: String,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.stored(py)? {
            Some(engine) => bridge::start(py, host, |_| conversation::said(engine, thread)),
            None => {
                let said = self.remembered(py, &thread)?.unbind();
                bridge::start(py, host, |_| async move { Ok(said) })
            }
        }
    }

    /// Forgets a thread; without one, the chat.
    #[pyo3(signature = (thread=None))]
    fn clear<'py>(&self, py: Python<'py>, thread: Option<String>) -> PyResult<Bound<'py, PyAny>> {
        match self.forgets(py, thread)? {
            Some((engine, thread)) => bridge::wait(py, |_| conversation::forget(engine, thread)),
            None => Ok(py.None().into_bound(py)),
        }
    }

    #[pyo3(signature = (thread=None, host=None))]
    fn aclear<'py>(
        &self,
        py: Python<'py>,
        thread: Option<String>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let stored = self.forgets(py, thread)?;
        bridge::start(py, host, |_| async move {
            match stored {
                Some((engine, thread)) => conversation::forget(engine, thread).await,
                None => Ok(()),
            }
        })
    }

    /// Has this agent's model summarise the older messages of a thread of a store.
    fn compact<'py>(
        &self,
        py: Python<'py>,
        store: &Bound<'_, Store>,
        thread: String,
        keep: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let agent = self.variant(py, process()?, None, Some(store))?;
        bridge::wait(py, |caller| conversation::compact(agent, thread, keep, caller))
    }

    #[pyo3(signature = (store, thread, keep, host=None))]
    fn acompact<'py>(
        &self,
        py: Python<'py>,
        store: &Bound<'_, Store>,
        thread: String,
        keep: u64,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let agent = self.variant(py, process()?, None, Some(store))?;
        bridge::start(py, host, |caller| conversation::compact(agent, thread, keep, caller))
    }

    /// Builds the agent for this process, to find what is wrong with it.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.variant(py, process()?, None, None).map(drop)
    }

    /// Takes no more runs. Those under way end by themselves.
    fn close(&self) {
        self.closed.store(true, SeqCst);
        self.conversations.clear();
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.settings)?;
        visit.call(&self.model)?;
        visit.call(&self.summariser)?;
        visit.call(&self.store)?;
        self.tools.iter().try_for_each(|tool| visit.call(tool))?;
        self.hooks.iter().try_for_each(|hook| visit.call(hook))
    }

    fn __clear__(&self) {
        // What closes a cycle is a function of a tool, hook or model; those let go of theirs.
    }
}

impl Agent {
    /// The engine, where it stores threads.
    fn stored(&self, py: Python<'_>) -> PyResult<Option<CoreEngine>> {
        let engine = self.over(py, process()?, None)?;
        Ok(engine.durable_store().is_some().then_some(engine))
    }

    fn remembered<'py>(&self, py: Python<'py>, thread: &str) -> PyResult<Bound<'py, PyAny>> {
        let said = self.conversations.messages(thread);
        result::plain(py, said.iter().map(|it| -> &Message { it })).map(Bound::into_any)
    }

    /// Forgets what is remembered of a thread, and gives what a store has to forget of it.
    fn forgets(&self, py: Python<'_>, thread: Option<String>) -> PyResult<Option<(CoreEngine, String)>> {
        let stored = self.stored(py)?;
        let thread = match thread {
            Some(thread) => {
                self.conversations.forget(&thread);
                Some(thread)
            }
            None => self.conversations.clear_chat(),
        };
        Ok(stored.zip(thread))
    }

    /// Everything of a run that can be wrong before it begins.
    pub(crate) fn start(
        &self,
        input: &Bound<'_, PyAny>,
        thread: Option<String>,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
        on_busy: Option<&str>,
    ) -> PyResult<RunStart> {
        let py = input.py();
        let (process, agent) = self.ready(py, max_iterations)?;
        let mut options = options(timeout)?;
        let turn = match thread {
            // Where threads are stored, the run finds what was said there, and its turn.
            Some(thread) if agent.engine().durable_store().is_some() => {
                options.thread = Some(thread);
                if let Some(policy) = on_busy {
                    options.on_busy = policy.parse().map_err(|error| failure::of_core(py, &error))?;
                }
                None
            }
            thread => thread.map(|thread| self.conversations.turn(process.generation(), thread)),
        };
        Ok(RunStart { agent, task: message::messages(input)?.into(), options, turn })
    }

    fn begin_batch(
        &self,
        py: Python<'_>,
        inputs: &[Bound<'_, PyAny>],
        concurrency: usize,
        sequential: bool,
        max_iterations: Option<u32>,
        timeout: Option<f64>,
    ) -> PyResult<BatchStart> {
        let (_, agent) = self.ready(py, max_iterations)?;
        let tasks = inputs.iter().map(|input| message::messages(input).map(Task::from));
        let (tasks, options) = (tasks.collect::<PyResult<Vec<_>>>()?, options(timeout)?);
        Ok(BatchStart { agent, tasks, options, concurrency, sequential })
    }

    fn begin_resume(
        &self,
        py: Python<'_>,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<(Engine, Option<Grant>, RunOptions)> {
        self.check_open(py)?;
        let agent = self.variant(py, process()?, None, store)?;
        Ok((agent, grant.map(|grant| read(grant, "the grant")).transpose()?, options(timeout)?))
    }

    /// The agent, if it is not closed.
    pub(crate) fn ready(
        &self,
        py: Python<'_>,
        max_iterations: Option<u32>,
    ) -> PyResult<(&'static Process, Engine)> {
        self.check_open(py)?;
        if max_iterations == Some(0) {
            return Err(PyValueError::new_err("max_iterations is 0; give it at least 1"));
        }
        let process = process()?;
        Ok((process, self.variant(py, process, max_iterations, None)?))
    }

    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if !self.closed.load(SeqCst) {
            return Ok(());
        }
        let name = self.settings.bind(py).get_item("name")?.map_or_else(String::new, |it| format!(" {it}"));
        Err(failure::usage(&format!(
            "the agent{name} is closed and takes no more runs; make a new one, or close it later"
        )))
    }

    /// The engine over this store; without one, over the agent's own.
    fn over(
        &self,
        py: Python<'_>,
        process: &Process,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<CoreEngine> {
        match store.map(Bound::get).or_else(|| self.store.as_ref().map(Py::get)) {
            Some(store) => store.engine(py, process),
            None => Ok(process.engine().clone()),
        }
    }

    /// The agent with a limit of iterations, over a store; without these, its own.
    pub(crate) fn variant(
        &self,
        py: Python<'_>,
        process: &Process,
        iterations: Option<u32>,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<Engine> {
        let core = self.over(py, process, store)?;
        self.engine(py, process, iterations, &core).map_err(|failed| failure::raised(py, failed, None))
    }

    pub(crate) fn engine(
        &self,
        py: Python<'_>,
        process: &Process,
        iterations: Option<u32>,
        core: &CoreEngine,
    ) -> Result<Engine, Failure> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |made: &Made| {
            let current = made.generation == process.generation();
            let meant = |(limit, agent): &&(Option<u32>, Engine)| {
                current && *limit == iterations && is_over(agent, core)
            };
            let found = made.agents.iter().find(meant);
            found.map(|(_, agent)| agent.clone())
        };
        if let Some(agent) = find(&known()) {
            return Ok(agent);
        }
        let new = self.make(py, process, iterations, core)?;
        let mut made = known();
        let mut old = Vec::new();
        if made.generation != process.generation() {
            old = std::mem::take(&mut made.agents);
            made.generation = process.generation();
        } else if made.agents.len() >= VARIANTS {
            old.push(made.agents.remove(0));
        }
        made.agents.push((iterations, new.clone()));
        drop(made);
        drop(old);
        Ok(new)
    }

    fn make(
        &self,
        py: Python<'_>,
        process: &Process,
        iterations: Option<u32>,
        core: &CoreEngine,
    ) -> Result<Engine, Failure> {
        let plain = convert::from_python(self.settings.bind(py))?;
        let plain: Plain = serde_json::from_value(plain).map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, format!("the agent's settings: {error}"))
        })?;
        let model = self.model.get().made(py, process)?;
        let settings = plain.settings.unwrap_or_default();
        let mut builder = Engine::builder()
            .engine(core)
            .name(plain.name)
            .mode(plain.mode)
            .instructions(plain.instructions)
            .shared_model(model.model)
            .settings(filled(settings, model.settings))
            .tool_choice(plain.tool_choice.unwrap_or_default())
            .budget(plain.budget.unwrap_or_default())
            .stop(plain.stop.unwrap_or_default());
        for tool in &self.tools {
            builder = builder.registered_tool(tool.get().registered(py, process)?);
        }
        for hook in &self.hooks {
            builder = builder.hook(hook.get().made());
        }
        if let Some(iterations) = iterations.or(plain.max_iterations) {
            builder = builder.max_iterations(iterations);
        }
        if let Some(tools) = plain.tool_concurrency {
            builder = builder.tool_concurrency(tools);
        }
        if let Some(output) = plain.output {
            builder = builder.output_schema(output.name, output.schema);
        }
        if let Some(context) = plain.context {
            builder = builder.context(context);
        }
        if let Some(summariser) = &self.summariser {
            let with = summariser.get().made(py, process)?;
            builder = builder.summarise_with(with.model, with.settings);
        }
        if let Some(PlainApprovals { read, idempotent, once }) = plain.approvals {
            builder = builder.approvals(ApprovalPolicy { read, idempotent, once });
        }
        Ok(py.detach(|| builder.build())?)
    }
}

/// The options of a run. One that waits for a person comes to rest: its caller has other things to do.
pub(crate) fn options(timeout: Option<f64>) -> PyResult<RunOptions> {
    let timeout = timeout.map(|seconds| match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(PyValueError::new_err(format!("timeout is {seconds}; give it seconds, more than 0"))),
    });
    Ok(RunOptions { timeout: timeout.transpose()?, on_waiting: OnWaiting::Return, ..RunOptions::default() })
}
