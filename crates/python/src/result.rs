//! How a run came to rest, as Python sees it. What is not looked at is not made Python's.

use std::sync::Arc;

use ambidex_core::Error;
use ambidex_core::message::Message;
use ambidex_core::record::Pause;
use ambidex_engine::RunResult as Core;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};
use serde::Serialize;

use crate::bridge::Answer;
use crate::convert;
use crate::usage::Usage;

/// What `ambidex.results.Result` reads.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct RunResult(Arc<Core>);

impl RunResult {
    pub(crate) fn new(result: Core) -> Self {
        Self(Arc::new(result))
    }

    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Answer for RunResult {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Bound::new(py, self)?.into_any().unbind())
    }
}

/// As the package's own class, for errors that bring their result.
pub(crate) fn wrapped<'py>(py: Python<'py>, result: Core) -> PyResult<Bound<'py, PyAny>> {
    static WRAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    WRAP.import(py, "ambidex.results", "Result")?.call1((RunResult::new(result),))
}

/// An error as plain data.
pub(crate) fn error<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("code", error.code())?;
    dict.set_item("message", error.message())?;
    dict.set_item("retryable", error.is_retryable())?;
    Ok(dict)
}

/// Messages as a list of plain data.
pub(crate) fn plain<'py, T: Serialize>(
    py: Python<'py>,
    all: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for one in all {
        list.append(convert::serialized(py, &one)?)?;
    }
    Ok(list)
}

#[pymethods]
impl RunResult {
    #[getter]
    fn run_id(&self) -> &str {
        &self.0.run
    }

    #[getter]
    fn thread_id(&self) -> Option<&str> {
        self.0.thread.as_deref()
    }

    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.as_str()
    }

    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    #[getter]
    fn has_output(&self) -> bool {
        self.0.output.is_some()
    }

    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.output.as_ref().map(|output| convert::to_python(py, output)).transpose()
    }

    #[getter]
    fn task_completed(&self) -> bool {
        self.0.task_completed
    }

    #[getter]
    fn iterations_used(&self) -> u32 {
        self.0.iterations_used
    }

    #[getter]
    fn execution_time(&self) -> f64 {
        self.0.execution_time
    }

    #[getter]
    fn usage(&self) -> Usage {
        Usage(self.0.usage)
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.error.as_ref().map(|it| error(py, it)).transpose()
    }

    /// Why it stands still, if it is paused.
    #[getter]
    fn pause(&self) -> Option<&'static str> {
        self.0.pause.map(|pause| match pause {
            Pause::MaxIterations => "max_iterations",
            Pause::Budget(kind) => kind.as_str(),
            Pause::Operator => "operator",
            Pause::Node => "node",
        })
    }

    /// The state of a graph: where the run stands, or how it ended.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let state = self.0.state.as_ref().map(|state| convert::object_to_python(py, state));
        state.map(|state| state.map(Bound::into_any)).transpose()
    }

    /// What a run of a team says beside its result.
    fn team<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &crate::team::details((*self.0).clone()))
    }

    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        plain(py, self.0.messages.iter().map(|it| -> &Message { it }))
    }

    fn questions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        plain(py, &self.0.questions)
    }
}
