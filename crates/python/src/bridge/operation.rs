//! One operation: what it gives, how it fails, and how it is stopped.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use ambidex_core::Error;
use ambidex_engine::RunError;
use futures_util::FutureExt;
use pyo3::prelude::*;

use crate::bridge::Caller;
use crate::failure;

/// How long a cancelled operation is waited for, with all that it started in Python.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// What an operation gives; made a Python object at its door, on the thread or loop of whoever asked.
pub(crate) trait Answer: Send + 'static {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

impl Answer for () {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

impl Answer for String {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.into_pyobject(py)?.into_any().unbind())
    }
}

impl Answer for Py<PyAny> {
    fn into_python(self, _py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self)
    }
}

/// Why an operation gives nothing.
pub(crate) enum Failure {
    Run(RunError),
    Core(Error),
    Python(PyErr),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Makes an answer a Python object.
type Made = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// How an operation ended, before it is turned into Python's terms.
pub(crate) enum Ending {
    Answer(Made),
    Failure(Failure),
    Cancelled,
    Panicked(String),
}

/// Drives an operation to its end. Cancelled, it has a grace to end by itself; then it is dropped, which stops
/// what a drop can stop. Python tasks that it started are waited for in both cases.
pub(crate) async fn drive<T: Answer>(
    operation: impl Future<Output = Result<T, Failure>>,
    caller: &Caller,
) -> Ending {
    let token = caller.token();
    let grace = async {
        token.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let ended = {
        let operation = AssertUnwindSafe(operation).catch_unwind();
        tokio::select! {
            biased;
            ended = operation => Some(ended),
            () = grace => None,
        }
    };
    if token.is_cancelled() {
        // What is not done by then is left alone: it holds nothing but itself.
        let _ = tokio::time::timeout(CANCEL_GRACE, caller.tasks_done()).await;
        return Ending::Cancelled;
    }
    match ended {
        Some(Ok(Ok(answer))) => Ending::Answer(Box::new(|py| answer.into_python(py))),
        Some(Ok(Err(failure))) => Ending::Failure(failure),
        Some(Err(payload)) => Ending::Panicked(
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default(),
        ),
        None => Ending::Cancelled,
    }
}

impl Ending {
    /// What the door returns or raises. Cancelled, where nobody asked for anything else, is the loop's own
    /// cancellation error.
    pub(crate) fn into_python(self, py: Python<'_>, caller: &Caller) -> PyResult<Py<PyAny>> {
        caller.ended(py);
        if let Some(error) = caller.refusal() {
            return Err(error);
        }
        match self {
            Self::Answer(make) => make(py),
            Self::Failure(failure) => Err(failure::raised(py, failure, caller.taken_cause(py))),
            Self::Cancelled => Err(failure::cancelled(py, None)),
            Self::Panicked(text) => Err(failure::panicked(py, &text)),
        }
    }

    /// Whether what came of it is a cancellation.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}
