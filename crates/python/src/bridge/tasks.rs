//! Python tasks that operations start: async tools, hooks and models.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::Context;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::bridge::Caller;
use crate::bridge::foreign::Host;
use crate::bridge::loop_bridge::LoopBridge;

/// Gives a coroutine, on the loop's thread.
pub(crate) type Make = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
/// Gets a coroutine's result, on the loop's thread.
pub(crate) type Finish = Box<dyn FnOnce(PyResult<Bound<'_, PyAny>>) + Send>;

/// Tasks under way on one loop.
#[derive(Default)]
pub(crate) struct Tasks {
    next: AtomicU64,
    live: Mutex<HashMap<u64, Live>>,
    /// Those that this turn of the loop starts, for whoever drives it.
    starting: Mutex<Vec<Starting>>,
}

enum Live {
    /// It is started in this turn, and whether it was cancelled before.
    Starting {
        is_cancelled: bool,
    },
    Started(Py<PyAny>),
}

/// A task before its first step.
struct Starting {
    context: Py<PyAny>,
    coroutine: Py<PyAny>,
    ended: Py<Ended>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn starting(&self) -> MutexGuard<'_, Vec<Starting>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all; their loop is closed.
    pub(crate) fn clear(&self, _py: Python<'_>) {
        let live = std::mem::take(&mut *self.lock());
        drop(live);
        let starting = std::mem::take(&mut *self.starting());
        drop(starting);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// Cancels its task when it is dropped before the task has ended.
pub(crate) struct CancelsTask(Option<Under>);

/// Where a task is.
enum Under {
    Asyncio { bridge: Arc<LoopBridge>, id: u64 },
    Foreign { host: Arc<Host>, id: u64 },
}

impl CancelsTask {
    pub(super) fn foreign(host: Arc<Host>, id: u64) -> Self {
        Self(Some(Under::Foreign { host, id }))
    }

    /// The task has ended: its loop need not be woken for it any more.
    pub(super) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelsTask {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Under::Asyncio { bridge, id }) => {
                bridge.call(Box::new(move |py, bridge| cancel(py, bridge, id)));
            }
            Some(Under::Foreign { host, id }) => host.cancel(id),
            None => {}
        }
    }
}

/// Starts a task on a loop, in a copy of the caller's context variables.
pub(crate) fn start(
    bridge: &Arc<LoopBridge>,
    caller: &Arc<Caller>,
    call: Option<Context>,
    make: Make,
    finish: Finish,
) -> CancelsTask {
    let id = bridge.tasks.next.fetch_add(1, SeqCst);
    let caller = caller.clone();
    bridge.call(Box::new(move |py, bridge| {
        match prepare(py, &caller, call, make) {
            Ok((context, coroutine)) => {
                let ended = Ended { id, bridge: bridge.clone(), finish: Mutex::new(Some(finish)) };
                let task = Starting { context, coroutine, ended: Bound::new(py, ended)?.unbind() };
                if !bridge.may_call_now(py) {
                    return begin(py, bridge, task, false);
                }
                bridge.tasks.lock().insert(id, Live::Starting { is_cancelled: false });
                bridge.tasks_changed();
                bridge.tasks.starting().push(task);
            }
            Err(error) => finish(Err(error)),
        }
        Ok(())
    }));
    CancelsTask(Some(Under::Asyncio { bridge: bridge.clone(), id }))
}

/// What a task is made of.
fn prepare(
    py: Python<'_>,
    caller: &Arc<Caller>,
    call: Option<Context>,
    make: Make,
) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    Ok((caller.copied_context(py, call)?.unbind(), make(py)?))
}

/// Makes it a task, which takes its first step in the loop's own time; of one that was cancelled before, nothing runs.
fn begin(py: Python<'_>, bridge: &Arc<LoopBridge>, task: Starting, is_cancelled: bool) -> PyResult<()> {
    let Starting { context, coroutine, ended } = task;
    let event_loop = bridge.event_loop(py).ok_or_else(crate::bridge::caller::ending)?;
    let create = event_loop.getattr(pyo3::intern!(py, "create_task"))?;
    match context.bind(py).call_method1(pyo3::intern!(py, "run"), (create, coroutine)) {
        Ok(task) => {
            ended.get().goes_on(&task)?;
            if is_cancelled {
                task.call_method0(pyo3::intern!(py, "cancel"))?;
            }
            task.call_method1(pyo3::intern!(py, "add_done_callback"), (ended,)).map(drop)
        }
        Err(error) => {
            ended.get().finish(Err(error));
            Ok(())
        }
    }
}

/// The tasks that this turn starts, as tuples of what they are made of.
pub(super) fn starting<'py>(
    py: Python<'py>,
    bridge: &Arc<LoopBridge>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let starting = std::mem::take(&mut *bridge.tasks.starting());
    if starting.is_empty() {
        return Ok(None);
    }
    let tasks = PyList::empty(py);
    for task in starting {
        let id = task.ended.get().id;
        let live = bridge
            .tasks
            .lock()
            .get(&id)
            .is_some_and(|it| matches!(it, Live::Starting { is_cancelled: true }));
        if live {
            begin(py, bridge, task, true)?;
        } else {
            tasks.append((task.context, task.coroutine, task.ended))?;
        }
    }
    Ok(Some(tasks))
}

/// On the loop's thread. Jobs of a loop are done in order, so its task has been started or is about to be.
fn cancel(py: Python<'_>, bridge: &Arc<LoopBridge>, id: u64) -> PyResult<()> {
    let task = match bridge.tasks.lock().get_mut(&id) {
        Some(Live::Started(task)) => task.clone_ref(py),
        Some(Live::Starting { is_cancelled }) => {
            *is_cancelled = true;
            return Ok(());
        }
        None => return Ok(()),
    };
    task.bind(py).call_method0(pyo3::intern!(py, "cancel")).map(drop)
}

/// Hears that a task has ended.
#[pyclass(frozen)]
struct Ended {
    id: u64,
    bridge: Arc<LoopBridge>,
    finish: Mutex<Option<Finish>>,
}

#[pymethods]
impl Ended {
    fn __call__(&self, task: &Bound<'_, PyAny>) {
        self.finish(task.call_method0(pyo3::intern!(task.py(), "result")));
    }

    /// It could not be made a task.
    fn failed(&self, error: Bound<'_, PyAny>) {
        self.finish(Err(PyErr::from_value(error)));
    }

    /// Its first step was not its last, or is still to come. It may be cancelled from now on.
    fn goes_on(&self, task: &Bound<'_, PyAny>) -> PyResult<()> {
        let before = self.bridge.tasks.lock().insert(self.id, Live::Started(task.clone().unbind()));
        self.bridge.tasks_changed();
        match before {
            Some(Live::Starting { is_cancelled: true }) => {
                task.call_method0(pyo3::intern!(task.py(), "cancel")).map(drop)
            }
            _ => Ok(()),
        }
    }
}

impl Ended {
    fn finish(&self, result: PyResult<Bound<'_, PyAny>>) {
        let known = self.bridge.tasks.lock().remove(&self.id);
        drop(known);
        self.bridge.tasks_changed();
        let finish = self.finish.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finish) = finish {
            finish(result);
        }
    }
}
