//! What the async door returns: awaitable, and a future in asyncio's sense, without being one.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::bridge::caller::Home;
use crate::bridge::loop_bridge::LoopBridge;
use crate::bridge::operation::{Ending, drive};
use crate::bridge::{Answer, Caller, Failure};
use crate::held::Held;
use crate::process::process;
use crate::{failure, fork, gate};

/// An operation that somebody on a loop waits for.
pub(crate) struct Pending {
    state: Mutex<State>,
    bridge: Arc<LoopBridge>,
    caller: Arc<Caller>,
    /// Somebody was told that this ends as cancelled, so it does.
    cancelled: AtomicBool,
}

struct State {
    outcome: Outcome,
    /// Callbacks were called; later ones are called at once.
    told: bool,
    callbacks: Vec<(Py<PyAny>, Py<PyAny>)>,
    /// What callbacks are given. Kept alive by those who wait for it.
    awaitable: Option<Py<PyAny>>,
    /// What the latest cancellation said. AnyIO knows its own by that.
    message: Option<Held>,
}

enum Outcome {
    Pending,
    /// As it came from the runtime; made Python's when somebody asks.
    Ended(Ending),
    Value(Py<PyAny>),
    Error(PyErr),
    Cancelled,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From any thread; needs no Python. The loop's thread is who lets go of it: what it holds may be Python's.
    fn complete(self: Arc<Self>, ending: Ending) {
        {
            let mut state = self.lock();
            if !matches!(state.outcome, Outcome::Pending) {
                return;
            }
            state.outcome = Outcome::Ended(ending);
        }
        let bridge = self.bridge.clone();
        bridge.pulse().call_ended();
        bridge.complete(self);
    }

    /// Calls those who wait, on the loop's thread.
    pub(crate) fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let (callbacks, awaitable) = {
            let mut state = self.lock();
            state.told = true;
            (std::mem::take(&mut state.callbacks), state.awaitable.take())
        };
        if let Some(awaitable) = awaitable {
            let at_once = self.bridge.may_call_now(py);
            for (callback, context) in callbacks {
                if at_once {
                    self.call_now(py, &callback, awaitable.bind(py), &context)?;
                } else {
                    self.bridge.call_soon(py, &callback, awaitable.bind(py), Some(&context))?;
                }
            }
        }
        Ok(())
    }

    /// Calls a callback within the turn of the bridge: a loop's iteration less, with its wait for events. No task runs
    /// then, so one may step. What it raises is the loop's to handle, as ever.
    fn call_now(
        &self,
        py: Python<'_>,
        callback: &Py<PyAny>,
        awaitable: &Bound<'_, PyAny>,
        context: &Py<PyAny>,
    ) -> PyResult<()> {
        let called = context.bind(py).call_method1(pyo3::intern!(py, "run"), (callback, awaitable));
        let Err(error) = called else { return Ok(()) };
        static RAISE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let raise = RAISE.import(py, "ambidex._bridge", "raise_again")?;
        self.bridge.call_soon(
            py,
            &raise.clone().unbind(),
            &error.into_value(py).into_bound(py).into_any(),
            None,
        )
    }

    /// The loop is closed: the work stops, and nothing is held for it.
    pub(crate) fn abandon(&self, _py: Python<'_>) {
        self.caller.token().cancel();
        let held = {
            let mut state = self.lock();
            state.told = true;
            (std::mem::take(&mut state.callbacks), state.awaitable.take())
        };
        drop(held);
    }

    fn cancel(&self, message: Option<Held>) -> bool {
        let mut state = self.lock();
        if !matches!(state.outcome, Outcome::Pending) {
            return false;
        }
        self.cancelled.store(true, SeqCst);
        let before = std::mem::replace(&mut state.message, message);
        drop(state);
        drop(before);
        self.caller.token().cancel();
        true
    }

    fn is_done(&self) -> bool {
        !matches!(self.lock().outcome, Outcome::Pending)
    }

    fn is_cancelled(&self) -> bool {
        match &self.lock().outcome {
            Outcome::Cancelled => true,
            Outcome::Ended(ending) => ending.is_cancelled() || self.cancelled.load(SeqCst),
            _ => false,
        }
    }

    fn cancellation(&self, py: Python<'_>) -> PyErr {
        let message = self.lock().message.as_ref().map(|message| message.bind(py).unbind());
        failure::cancelled(py, message)
    }

    /// The value or error; none while it is pending.
    fn resolved(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        let before = {
            let mut state = self.lock();
            match &state.outcome {
                Outcome::Pending => return None,
                Outcome::Value(value) => return Some(Ok(value.clone_ref(py))),
                Outcome::Error(error) => return Some(Err(error.clone_ref(py))),
                Outcome::Cancelled | Outcome::Ended(_) => {}
            }
            std::mem::replace(&mut state.outcome, Outcome::Cancelled)
        };
        let Outcome::Ended(ending) = before else { return Some(Err(self.cancellation(py))) };
        let ending = if self.cancelled.load(SeqCst) { Ending::Cancelled } else { ending };
        let cancelled = ending.is_cancelled();
        let mut result = ending.into_python(py, &self.caller);
        if cancelled && self.caller.refusal().is_none() {
            result = Err(self.cancellation(py));
        }
        let outcome = match &result {
            Ok(value) => Outcome::Value(value.clone_ref(py)),
            Err(_) if cancelled => Outcome::Cancelled,
            Err(error) => Outcome::Error(error.clone_ref(py)),
        };
        let before = std::mem::replace(&mut self.lock().outcome, outcome);
        drop(before);
        Some(result)
    }
}

/// Awaitable once or often, on its own loop. Works with `gather`, `wait`, `wait_for`, `timeout`, `shield` and
/// `as_completed`. Dropped before its end, it cancels.
#[pyclass(frozen, weakref, module = "ambidex._core")]
pub(crate) struct Awaitable {
    pending: Arc<Pending>,
    blocking: AtomicBool,
    generation: u64,
}

/// Starts an operation as a task of the runtime, for the asyncio loop that runs in this thread.
pub(crate) fn spawn<'py, T, F>(
    py: Python<'py>,
    operation: impl FnOnce(Arc<Caller>) -> F,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let bridge = LoopBridge::running(py)?;
    let caller = Caller::new(py, Home::Loop(bridge.clone()))?;
    let operation = operation(caller.clone());
    let state = State {
        outcome: Outcome::Pending,
        told: false,
        callbacks: Vec::new(),
        awaitable: None,
        message: None,
    };
    let pending = Arc::new(Pending {
        state: Mutex::new(state),
        bridge: bridge.clone(),
        caller: caller.clone(),
        cancelled: AtomicBool::new(false),
    });
    bridge.track(&pending);
    let waiting = pending.clone();
    process()?.spawn(async move {
        let ending = drive(operation, &caller).await;
        waiting.complete(ending);
    });
    let awaitable = Awaitable { pending, blocking: AtomicBool::new(false), generation: fork::generation() };
    Ok(Bound::new(py, awaitable)?.into_any())
}

#[pymethods]
impl Awaitable {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let this = slf.get();
        match this.pending.resolved(slf.py()) {
            Some(Ok(value)) => Err(PyStopIteration::new_err((value,))),
            Some(Err(error)) => Err(error),
            None => {
                this.blocking.store(true, SeqCst);
                Ok(slf.clone())
            }
        }
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = traceback;
        self.pending.cancel(None);
        if kind.is_instance_of::<PyBaseException>() {
            return Err(PyErr::from_value(kind));
        }
        match value {
            Some(value) if value.is_instance_of::<PyBaseException>() => Err(PyErr::from_value(value)),
            Some(value) => Err(PyErr::from_value(kind.call1((value,))?)),
            None => Err(PyErr::from_value(kind.call0()?)),
        }
    }

    fn close(&self) {
        self.pending.cancel(None);
    }

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(SeqCst)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, SeqCst);
    }

    fn get_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.pending.bridge.event_loop(py)
    }

    #[getter(_loop)]
    fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.pending.bridge.event_loop(py)
    }

    fn done(&self) -> bool {
        self.pending.is_done()
    }

    fn cancelled(&self) -> bool {
        self.pending.is_cancelled()
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(&self, msg: Option<Py<PyAny>>) -> bool {
        self.pending.cancel(msg.map(Held::new))
    }

    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.pending.resolved(py).unwrap_or_else(|| Err(not_set(py, "Result is not set.")))
    }

    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.pending.resolved(py) {
            None => Err(not_set(py, "Exception is not set.")),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) if self.cancelled() => Err(error),
            Some(Err(error)) => Ok(Some(error.into_value(py).into_any())),
        }
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let context = match context {
            Some(context) => context,
            None => COPY.import(slf.py(), "contextvars", "copy_context")?.call0()?.unbind(),
        };
        let pending = &slf.get().pending;
        {
            let mut state = pending.lock();
            if !state.told {
                state.callbacks.push((callback, context));
                if state.awaitable.is_none() {
                    state.awaitable = Some(slf.clone().into_any().unbind());
                }
                return Ok(());
            }
        }
        pending.bridge.call_soon(slf.py(), &callback, slf.as_any(), Some(&context))
    }

    /// Gives how many were removed.
    fn remove_done_callback(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        // Comparing may run any code, so it happens outside of the lock.
        let before = std::mem::take(&mut self.pending.lock().callbacks);
        let (count, mut kept) = (before.len(), Vec::with_capacity(before.len()));
        for (known, context) in before {
            if !known.bind(py).eq(callback)? {
                kept.push((known, context));
            }
        }
        let removed = count - kept.len();
        let mut state = self.pending.lock();
        kept.append(&mut state.callbacks);
        state.callbacks = kept;
        Ok(removed)
    }
}

impl Drop for Awaitable {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.pending.bridge.untrack(Arc::as_ptr(&self.pending));
            self.pending.cancel(None);
            gate::attach(|py| self.pending.caller.ended(py));
        } else {
            // The parent's: its end would wake tasks of a runtime that is not here, whose locks may be held.
            std::mem::forget(self.pending.clone());
        }
    }
}

fn not_set(py: Python<'_>, text: &'static str) -> PyErr {
    static INVALID_STATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match INVALID_STATE.import(py, "asyncio", "InvalidStateError") {
        Ok(kind) => PyErr::from_type(kind.clone(), (text,)),
        Err(error) => error,
    }
}
