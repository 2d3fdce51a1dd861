//! Loops that are not asyncio's, such as trio's. A Python object, the host, knows how to reach one:
//!
//! - `host.done(value, error)`: the operation has ended;
//! - `host.spawn(id, make, finish)`: run the coroutine that `make()` gives, then call `finish(value, error)`;
//! - `host.cancel(id)`: cancel that;
//! - `host.call(function)`: call it on the loop's thread.
//!
//! All are called from threads of the runtime and must return at once.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::Context;
use pyo3::prelude::*;

use crate::bridge::caller::Home;
use crate::bridge::operation::drive;
use crate::bridge::tasks::{CancelsTask, Finish, Make};
use crate::bridge::{Answer, Caller, Failure};
use crate::held::Held;
use crate::process::process;
use crate::{fork, gate};

pub(crate) struct Host {
    object: Held,
    next: AtomicU64,
}

/// Carries something out once, when Python calls it.
type Errand = Box<dyn FnOnce(Python<'_>) + Send>;

impl Host {
    pub(crate) fn new(object: Py<PyAny>) -> Arc<Self> {
        Arc::new(Self { object: Held::new(object), next: AtomicU64::new(0) })
    }

    fn tell(
        &self,
        method: &'static str,
        arguments: impl FnOnce(Python<'_>) -> PyResult<Bound<'_, pyo3::types::PyTuple>>,
    ) {
        gate::attach(|py| {
            let told =
                arguments(py).and_then(|arguments| self.object.bind(py).call_method1(method, arguments));
            if let Err(error) = told {
                error.write_unraisable(py, None);
            }
        });
    }

    pub(crate) fn spawn(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        call: Option<Context>,
        make: Make,
        finish: Finish,
    ) -> CancelsTask {
        let id = self.next.fetch_add(1, SeqCst);
        let caller = caller.clone();
        self.tell("spawn", move |py| {
            let context = caller.copied_context(py, call)?;
            let make = Bound::new(py, ForeignMake { make: Mutex::new(Some(make)) })?;
            let finish = Bound::new(py, ForeignFinish { finish: Mutex::new(Some(finish)) })?;
            (id, make, finish, context).into_pyobject(py)
        });
        CancelsTask::foreign(self.clone(), id)
    }

    pub(crate) fn cancel(&self, id: u64) {
        self.tell("cancel", |py| (id,).into_pyobject(py));
    }

    pub(crate) fn call(&self, errand: Errand) {
        self.tell("call", |py| {
            (Bound::new(py, ForeignErrand { errand: Mutex::new(Some(errand)) })?,).into_pyobject(py)
        });
    }
}

#[pyclass(frozen)]
struct ForeignErrand {
    errand: Mutex<Option<Errand>>,
}

#[pymethods]
impl ForeignErrand {
    fn __call__(&self, py: Python<'_>) {
        let errand = self.errand.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(errand) = errand {
            errand(py);
        }
    }
}

#[pyclass(frozen)]
struct ForeignMake {
    make: Mutex<Option<Make>>,
}

#[pymethods]
impl ForeignMake {
    fn __call__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let make = self.make.lock().unwrap_or_else(PoisonError::into_inner).take();
        make.map_or_else(|| Ok(py.None()), |make| make(py))
    }
}

#[pyclass(frozen)]
struct ForeignFinish {
    finish: Mutex<Option<Finish>>,
}

#[pymethods]
impl ForeignFinish {
    fn __call__(&self, value: Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) {
        let finish = self.finish.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finish) = finish {
            finish(error.map_or(Ok(value), |error| Err(PyErr::from_value(error))));
        }
    }
}

/// An operation that a loop of another kind waits for.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct ForeignCall {
    caller: Arc<Caller>,
    generation: u64,
}

/// Nobody waits any longer.
impl Drop for ForeignCall {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.caller.token().cancel();
        }
    }
}

#[pymethods]
impl ForeignCall {
    /// Ends it; `host.done` is called when it has ended.
    fn cancel(&self) {
        self.caller.token().cancel();
    }
}

pub(crate) fn spawn<'py, T, F>(
    py: Python<'py>,
    host: Py<PyAny>,
    operation: impl FnOnce(Arc<Caller>) -> F,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let host = Host::new(host);
    let caller = Caller::new(py, Home::Foreign(host.clone()))?;
    let operation = operation(caller.clone());
    let call = ForeignCall { caller: caller.clone(), generation: fork::generation() };
    process()?.spawn(async move {
        let ending = drive(operation, &caller).await;
        host.tell("done", |py| {
            let (value, error) = match ending.into_python(py, &caller) {
                Ok(value) => (value, None),
                Err(error) => (py.None(), Some(error.into_value(py))),
            };
            (value, error).into_pyobject(py)
        });
    });
    Ok(Bound::new(py, call)?.into_any())
}
