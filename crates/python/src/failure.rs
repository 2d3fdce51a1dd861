//! What a failed operation raises.

use ambidex_core::Error;
use ambidex_engine::RunResult;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::bridge::Failure;
use crate::gate;

/// The exception of a failure. `cause` is the Python exception it came from.
pub(crate) fn raised(py: Python<'_>, failure: Failure, cause: Option<PyErr>) -> PyErr {
    let made = match failure {
        Failure::Python(error) => return error,
        Failure::Core(error) => from_core(py, &error, None),
        Failure::Run(failed) => from_core(py, &failed.error, failed.result.map(|result| *result)),
    };
    let error = made.unwrap_or_else(|error| error);
    if cause.is_some() {
        error.set_cause(py, cause);
    }
    error
}

/// Two read one stream.
pub(crate) fn read_twice() -> PyErr {
    usage(
        "somebody else is reading this stream at this moment; read it in one thread or task and hand the events on \
         with a queue, or give each reader a stream of its own",
    )
}

/// Something was called as it cannot be; the text says what to do instead.
pub(crate) fn usage(text: &str) -> PyErr {
    gate::attach(|py| {
        let made =
            py.import("ambidex.errors").and_then(|errors| errors.getattr("UsageError")?.call1((text,)));
        made.map_or_else(|error| error, PyErr::from_value)
    })
    .unwrap_or_else(|| PyRuntimeError::new_err(text.to_owned()))
}

/// The exception of an error without a run.
pub(crate) fn of_core(py: Python<'_>, error: &Error) -> PyErr {
    from_core(py, error, None).unwrap_or_else(|error| error)
}

fn from_core(py: Python<'_>, error: &Error, result: Option<RunResult>) -> PyResult<PyErr> {
    let details = (
        error.code(),
        error.message(),
        error.is_retryable(),
        error.retry_after().map(|after| after.as_secs_f64()),
        error.provider(),
        error.request_id(),
        error.status(),
        result.map(|result| crate::result::wrapped(py, result)).transpose()?,
    );
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = MAKE.import(py, "ambidex.errors", "from_core")?.call1(details)?;
    Ok(PyErr::from_value(made))
}

/// The loop's own cancellation error, with what the cancellation said.
pub(crate) fn cancelled(py: Python<'_>, message: Option<Py<PyAny>>) -> PyErr {
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match CANCELLED.import(py, "asyncio", "CancelledError") {
        Ok(kind) => match message {
            Some(message) => PyErr::from_type(kind.clone(), (message,)),
            None => PyErr::from_type(kind.clone(), ()),
        },
        Err(error) => error,
    }
}

pub(crate) fn panicked(_py: Python<'_>, text: &str) -> PyErr {
    PyRuntimeError::new_err(format!("a defect in Ambidex, please report it: {text}"))
}
