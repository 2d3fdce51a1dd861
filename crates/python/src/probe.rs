//! Operations that do next to nothing: what a crossing costs, and whether it holds, is measured with them.

use std::time::Duration;

use pyo3::prelude::*;

use crate::bridge::{self, Failure};

async fn yielded() -> Result<(), Failure> {
    tokio::task::yield_now().await;
    Ok(())
}

/// Waits one turn of the runtime.
#[pyfunction]
pub(crate) fn _yielded(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    bridge::wait(py, |_| yielded())
}

#[pyfunction]
#[pyo3(signature = (host=None))]
pub(crate) fn ayielded(py: Python<'_>, host: Option<Py<PyAny>>) -> PyResult<Bound<'_, PyAny>> {
    bridge::start(py, host, |_| yielded())
}

async fn sleep(seconds: f64) -> Result<(), Failure> {
    tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).await;
    Ok(())
}

/// Waits this many seconds.
#[pyfunction]
pub(crate) fn _sleep(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    bridge::wait(py, |caller| async move { caller.cancellable(sleep(seconds)).await })
}

#[pyfunction]
#[pyo3(signature = (seconds, host=None))]
pub(crate) fn asleep(py: Python<'_>, seconds: f64, host: Option<Py<PyAny>>) -> PyResult<Bound<'_, PyAny>> {
    bridge::start(py, host, move |caller| async move { caller.cancellable(sleep(seconds)).await })
}

async fn call(
    caller: std::sync::Arc<bridge::Caller>,
    function: crate::held::Held,
) -> Result<Py<PyAny>, Failure> {
    let make = move |py: Python<'_>| Ok(function.bind(py).call0()?.unbind());
    let called = async { Ok(caller.task(None, make, |value| Ok(value.unbind())).await?) };
    caller.cancellable(called).await
}

/// Calls an async function without arguments, and gives what it returns.
#[pyfunction]
pub(crate) fn _call(py: Python<'_>, function: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    bridge::wait(py, |caller| call(caller, crate::held::Held::new(function)))
}

#[pyfunction]
#[pyo3(signature = (function, host=None))]
pub(crate) fn acall(
    py: Python<'_>,
    function: Py<PyAny>,
    host: Option<Py<PyAny>>,
) -> PyResult<Bound<'_, PyAny>> {
    bridge::start(py, host, |caller| call(caller, crate::held::Held::new(function)))
}
