//! Python tasks that operations start: async tools, hooks and models.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::Context;
use pyo3::prelude::*;

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
    live: Mutex<HashMap<u64, Py<PyAny>>>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all; their loop is closed.
    pub(crate) fn clear(&self, _py: Python<'_>) {
        let live = std::mem::take(&mut *self.lock());
        drop(live);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// Cancels its task when it is dropped before the task has ended.
pub(crate) enum CancelsTask {
    Asyncio { bridge: Arc<LoopBridge>, id: u64 },
    Foreign { host: Arc<Host>, id: u64 },
}

impl Drop for CancelsTask {
    fn drop(&mut self) {
        match self {
            Self::Asyncio { bridge, id } => {
                let id = *id;
                bridge.call(Box::new(move |py, bridge| cancel(py, bridge, id)));
            }
            Self::Foreign { host, id } => host.cancel(*id),
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
        match begin(py, bridge, id, &caller, call, make) {
            Ok(task) => {
                let ended = Ended { id, bridge: bridge.clone(), finish: Mutex::new(Some(finish)) };
                task.call_method1(pyo3::intern!(py, "add_done_callback"), (Bound::new(py, ended)?,))?;
            }
            Err(error) => finish(Err(error)),
        }
        Ok(())
    }));
    CancelsTask::Asyncio { bridge: bridge.clone(), id }
}

fn begin<'py>(
    py: Python<'py>,
    bridge: &Arc<LoopBridge>,
    id: u64,
    caller: &Arc<Caller>,
    call: Option<Context>,
    make: Make,
) -> PyResult<Bound<'py, PyAny>> {
    let event_loop = bridge.event_loop(py).ok_or_else(crate::bridge::caller::ending)?;
    let context = caller.copied_context(py, call)?;
    let coroutine = make(py)?;
    let create = event_loop.getattr(pyo3::intern!(py, "create_task"))?;
    let task = context.call_method1(pyo3::intern!(py, "run"), (create, coroutine))?;
    bridge.tasks.lock().insert(id, task.clone().unbind());
    bridge.tasks_changed();
    Ok(task)
}

/// On the loop's thread. Jobs of a loop are done in order, so its task has been started.
fn cancel(py: Python<'_>, bridge: &Arc<LoopBridge>, id: u64) -> PyResult<()> {
    let task = bridge.tasks.lock().get(&id).map(|task| task.clone_ref(py));
    match task {
        Some(task) => task.bind(py).call_method0(pyo3::intern!(py, "cancel")).map(drop),
        None => Ok(()),
    }
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
    fn __call__(&self, py: Python<'_>, task: &Bound<'_, PyAny>) {
        let known = self.bridge.tasks.lock().remove(&self.id);
        drop(known);
        self.bridge.tasks_changed();
        let finish = self.finish.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finish) = finish {
            finish(task.call_method0(pyo3::intern!(py, "result")));
        }
    }
}
