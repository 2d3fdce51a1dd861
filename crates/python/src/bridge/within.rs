//! Which call Python code is part of: a context variable, so that an operation it asks for is known to be part of that
//! call too, whichever thread or loop it is asked on.

use ambidex_core::Context;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// A call of a tool, hook or model.
#[pyclass(frozen)]
struct Within {
    call: Context,
}

/// The variable `ambidex_call`.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let variable = VARIABLE.get_or_try_init(py, || {
        let named = PyDict::new(py);
        named.set_item("default", py.None())?;
        let kind = py.import("contextvars")?.getattr("ContextVar")?;
        Ok::<_, PyErr>(kind.call(("ambidex_call",), Some(&named))?.unbind())
    })?;
    Ok(variable.bind(py))
}

/// The call that the running code is part of.
pub(super) fn current(py: Python<'_>) -> PyResult<Option<Context>> {
    let value = variable(py)?.call_method0(pyo3::intern!(py, "get"))?;
    Ok(value.cast::<Within>().ok().map(|within| within.get().call.clone()))
}

/// Has what runs with these context variables be part of a call.
pub(super) fn enter(variables: &Bound<'_, PyAny>, call: Context) -> PyResult<()> {
    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = variables.py();
    let set = SET.get_or_try_init(py, || variable(py)?.getattr("set").map(Bound::unbind))?;
    variables.call_method1(pyo3::intern!(py, "run"), (set, Bound::new(py, Within { call })?)).map(drop)
}
