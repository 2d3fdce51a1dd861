//! Whoever asked for an operation: their thread or loop, their context variables, their way to stop it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::Context;
use ambidex_core::blocking::BlockingThread;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::bridge::blocking::Errands;
use crate::bridge::foreign::Host;
use crate::bridge::loop_bridge::LoopBridge;
use crate::bridge::{tasks, within};
use crate::held::Held;
use crate::process::process;
use crate::{failure, gate, threads};

/// Sync calls within sync calls, at most. Each waits on a thread of its own.
const NESTED_AT_MOST: usize = 16;

thread_local! {
    /// How many sync calls this thread's work is nested in.
    static NESTED: Cell<usize> = const { Cell::new(0) };
}

/// One operation's surroundings: made at the door, travels with what runs for it.
pub(crate) struct Caller {
    home: Home,
    /// The `contextvars.Context` of the caller, copied for each call into Python; let go with the operation's end.
    context: Mutex<Option<Held>>,
    token: CancellationToken,
    /// The call that this operation is part of, where a tool, hook or model asked for it.
    parent: Option<Context>,
    nested: usize,
    /// Python tasks under way.
    tasks: AtomicUsize,
    task_ended: Notify,
    cause: Mutex<Option<PyErr>>,
    /// Something was asked for that an ending process cannot do.
    refused: AtomicBool,
}

/// Where the caller's async functions run.
pub(crate) enum Home {
    /// A thread that waits: on a background loop, made when one is needed.
    Thread(Arc<Errands>),
    /// On the asyncio loop that asked.
    Loop(Arc<LoopBridge>),
    /// On a loop of another kind.
    Foreign(Arc<Host>),
}

impl Caller {
    pub(crate) fn new(py: Python<'_>, home: Home) -> PyResult<Arc<Self>> {
        let nested = NESTED.get();
        if nested >= NESTED_AT_MOST {
            let text = format!(
                "calls are nested {nested} deep: a tool runs an agent, whose tool runs an agent, and so on; give \
                 that an end"
            );
            return Err(failure::usage(&text));
        }
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let context = COPY.import(py, "contextvars", "copy_context")?.call0()?;
        let parent = within::current(py)?;
        let token =
            parent.as_ref().map_or_else(CancellationToken::new, |parent| parent.token().child_token());
        Ok(Arc::new(Self {
            home,
            context: Mutex::new(Some(Held::new(context.unbind()))),
            token,
            parent,
            nested,
            tasks: AtomicUsize::new(0),
            task_ended: Notify::new(),
            cause: Mutex::default(),
            refused: AtomicBool::new(false),
        }))
    }

    /// Cancelled by the loop's cancellation, by Ctrl-C, with a loop that is closed.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The call that this operation is part of.
    pub(crate) fn parent(&self) -> Option<&Context> {
        self.parent.as_ref()
    }

    /// A copy of the caller's context variables, for code that is part of a call; one can be entered once.
    pub(crate) fn copied_context<'py>(
        &self,
        py: Python<'py>,
        call: Option<Context>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let context = {
            let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
            context.as_ref().map(|context| context.bind(py))
        };
        let context =
            context.ok_or_else(|| PyRuntimeError::new_err("the call that asked for this has ended"))?;
        let copy = context.call_method0(pyo3::intern!(py, "copy"))?;
        if let Some(call) = call {
            within::enter(&copy, call)?;
        }
        Ok(copy)
    }

    /// The operation has ended: nothing of the caller is held any longer.
    pub(crate) fn ended(&self, py: Python<'_>) {
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(context.map(|context| context.into_inner(py)));
    }

    /// Ends with the operation where that is cancelled: for work that does not look at the token itself.
    pub(crate) async fn cancellable<T>(
        &self,
        work: impl Future<Output = Result<T, crate::bridge::Failure>>,
    ) -> Result<T, crate::bridge::Failure> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(ambidex_core::Error::cancelled().into()),
            done = work => done,
        }
    }

    /// Calls an async function as a task of the caller's loop, or of a background loop where the caller is a
    /// thread that waits. `make` gives the coroutine and `take` looks at its result, both on the loop's thread.
    /// Dropping the future cancels the task; [`Caller::tasks_done`] tells when it has ended. `call` is what the
    /// function is part of.
    pub(crate) async fn task<T: Send + 'static>(
        self: &Arc<Self>,
        call: Option<Context>,
        make: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
        take: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> PyResult<T> {
        self.refuse_at_exit()?;
        let (sender, receiver) = oneshot::channel();
        let counted = CountedTask::new(self.clone());
        let finish = move |result: PyResult<Bound<'_, PyAny>>| {
            let result = result.and_then(take);
            drop(counted);
            // Nobody listens when the call was cancelled.
            let _ = sender.send(result);
        };
        let cancels = match &self.home {
            Home::Foreign(host) => host.spawn(self, call, Box::new(make), Box::new(finish)),
            Home::Loop(bridge) => tasks::start(bridge, self, call, Box::new(make), Box::new(finish)),
            Home::Thread(_) => {
                let bridge =
                    gate::attach(|py| process()?.background().at(py, self.nested)).ok_or_else(ending)??;
                tasks::start(&bridge, self, call, Box::new(make), Box::new(finish))
            }
        };
        let result = receiver.await;
        cancels.ended();
        result.unwrap_or_else(|_| {
            Err(PyRuntimeError::new_err("the loop of an async function was closed before the function ended"))
        })
    }

    /// Calls something on a thread reserved for it, with a copy of the caller's context variables. `prepare` gives the
    /// callable and its arguments, and `take` looks at its result, both on that thread.
    pub(crate) async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        thread: Box<dyn BlockingThread>,
        call: Option<Context>,
        prepare: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send + 'static,
        take: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> PyResult<T> {
        self.refuse_at_exit()?;
        let (sender, receiver) = oneshot::channel();
        let caller = self.clone();
        let job = move || {
            let nested = caller.nested + 1;
            let prepare = move |py: Python<'_>| {
                NESTED.set(nested);
                caller.in_copied_context(py, call, prepare)
            };
            threads::leave(prepare, move |result: PyResult<Bound<'_, PyAny>>| {
                NESTED.set(0);
                // Nobody listens when the call was cancelled.
                let _ = sender.send(result.and_then(take));
            });
        };
        thread.leave(Box::new(job)).await.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        receiver.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Calls something on the very thread that asked: the one that waits in the sync door, or the loop's.
    pub(crate) async fn on_own_thread<T: Send + 'static>(
        self: &Arc<Self>,
        call: Option<Context>,
        prepare: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send + 'static,
        take: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> PyResult<T> {
        let (sender, receiver) = oneshot::channel();
        let caller = self.clone();
        let job = move |py: Python<'_>| {
            let before = NESTED.replace(caller.nested + 1);
            let called =
                caller.in_copied_context(py, call, prepare).and_then(|call| called(call.into_bound(py)));
            NESTED.set(before);
            let _ = sender.send(called.and_then(take));
        };
        match &self.home {
            Home::Thread(errands) => errands.add(Box::new(job)),
            Home::Loop(bridge) => bridge.call(Box::new(move |py, _| {
                job(py);
                Ok(())
            })),
            Home::Foreign(host) => host.call(Box::new(job)),
        }
        receiver.await.unwrap_or_else(|_| Err(ending()))
    }

    /// A call as one of `run` of a copy of the caller's context variables: that and its arguments.
    fn in_copied_context(
        &self,
        py: Python<'_>,
        call: Option<Context>,
        prepare: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>>,
    ) -> PyResult<Py<PyTuple>> {
        let run = self.copied_context(py, call)?.getattr(pyo3::intern!(py, "run"))?;
        Ok((run, prepare(py)?).into_pyobject(py)?.unbind())
    }

    /// When the gate is closed only exit handlers run, on the main thread; other threads cannot help them.
    fn refuse_at_exit(&self) -> PyResult<()> {
        if gate::is_closed() {
            self.refused.store(true, SeqCst);
            self.token.cancel();
            return Err(ending());
        }
        Ok(())
    }

    /// Keeps a Python exception that the operation's failure came from; the first one is the cause that the door
    /// names.
    pub(crate) fn caused(&self, error: PyErr) {
        keep_first(&self.cause, error);
    }

    pub(crate) fn taken_cause(&self, _py: Python<'_>) -> Option<PyErr> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why the operation could not do what it was asked, in a process that is ending.
    pub(crate) fn refusal(&self) -> Option<PyErr> {
        self.refused.load(SeqCst).then(ending)
    }

    /// Ready when no Python task of this operation is under way.
    pub(crate) async fn tasks_done(&self) {
        loop {
            let ended = self.task_ended.notified();
            if self.tasks.load(SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

fn keep_first(place: &Mutex<Option<PyErr>>, error: PyErr) {
    let mut kept = place.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.is_none() {
        *kept = Some(error);
    } else {
        drop(kept);
        drop(error);
    }
}

/// Calls the first with the second.
fn called(call: Bound<'_, PyTuple>) -> PyResult<Bound<'_, PyAny>> {
    call.get_item(0)?.call1(call.get_item(1)?.cast::<PyTuple>()?)
}

/// Sync calls from here on count as nested this deep. For a thread that only serves one depth.
pub(crate) fn set_nested(depth: usize) {
    NESTED.set(depth);
}

/// Counts a Python task until it has really ended.
struct CountedTask(Arc<Caller>);

impl CountedTask {
    fn new(caller: Arc<Caller>) -> Self {
        caller.tasks.fetch_add(1, SeqCst);
        Self(caller)
    }
}

impl Drop for CountedTask {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, SeqCst) == 1 {
            self.0.task_ended.notify_waiters();
        }
    }
}

pub(crate) fn ending() -> PyErr {
    failure::usage(
        "the interpreter is ending, so functions that need another thread or a loop can no longer run; an exit \
         handler that needs them must be registered after ambidex was imported",
    )
}
