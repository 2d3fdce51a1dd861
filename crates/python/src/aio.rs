//! What `ambidex.aio` needs of the bridge.

use pyo3::prelude::*;

use crate::bridge;
use crate::held::Held;

/// Runs a coroutine on a background loop and gives its result. Ctrl-C cancels it and waits for its clean-up.
#[pyfunction]
pub(crate) fn run_coroutine(py: Python<'_>, coroutine: Py<PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let coroutine = Held::new(coroutine);
    bridge::wait(py, |caller| async move {
        let make = move |py: Python<'_>| Ok(coroutine.into_inner(py));
        let task = async { Ok(caller.task(None, make, |value| Ok(value.unbind())).await?) };
        caller.cancellable(task).await
    })
}
