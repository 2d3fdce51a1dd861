//! What passes the seams of a run, as hooks see it. Such objects do not change; `replace` makes another.

use ambidex_core::record::Outcome as CoreOutcome;
use ambidex_core::{Error, ToolOutput};
use ambidex_engine::ToolInvocation;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::{convert, result};

/// A call of a tool on its way to the tool.
#[pyclass(frozen, module = "ambidex.hooks")]
pub(crate) struct Call(pub(crate) ToolInvocation);

#[pymethods]
impl Call {
    /// The call's id within its run, such as `t0.1`.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// The tool's name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.0.arguments)
    }

    /// The same call with other arguments; they are checked against the tool's schema again.
    fn replace(&self, arguments: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(ToolInvocation { arguments: convert::from_python(arguments)?, ..self.0.clone() }))
    }

    fn __repr__(&self) -> String {
        format!("Call({:?}, {})", self.0.name, self.0.arguments)
    }
}

/// What a call of a tool came to.
#[pyclass(frozen, module = "ambidex.hooks")]
pub(crate) struct CallResult(pub(crate) Result<ToolOutput, Error>);

#[pymethods]
impl CallResult {
    /// Whether it succeeded.
    #[getter]
    fn ok(&self) -> bool {
        self.0.is_ok()
    }

    /// What the tool gave: text, or plain data. None where it failed.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.0 {
            Ok(ToolOutput::Text(text)) => Ok(Some(text.into_pyobject(py)?.into_any())),
            Ok(ToolOutput::Json(value)) => convert::to_python(py, value).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Why it failed: a dict with `code`, `message` and `retryable`; None where it succeeded.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.as_ref().err().map(|error| result::error(py, error)).transpose()
    }

    fn __repr__(&self) -> String {
        match &self.0 {
            Ok(output) => format!("CallResult(ok=True, output={:?})", output.to_text()),
            Err(error) => format!("CallResult(ok=False, error={:?})", error.to_string()),
        }
    }
}

/// How a run is about to end.
#[pyclass(frozen, module = "ambidex.hooks")]
pub(crate) struct Finish(pub(crate) CoreOutcome);

#[pymethods]
impl Finish {
    /// `succeeded`, `failed` or `cancelled`.
    #[getter]
    fn status(&self) -> &'static str {
        match &self.0 {
            CoreOutcome::Succeeded { .. } => "succeeded",
            CoreOutcome::Failed(_) => "failed",
            CoreOutcome::Cancelled => "cancelled",
        }
    }

    /// The model's last words.
    #[getter]
    fn text(&self) -> &str {
        match &self.0 {
            CoreOutcome::Succeeded { text, .. } => text,
            CoreOutcome::Failed(_) | CoreOutcome::Cancelled => "",
        }
    }

    /// What matched the agent's output schema, as plain data.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &self.0 {
            CoreOutcome::Succeeded { output: Some(output), .. } => convert::to_python(py, output).map(Some),
            _ => Ok(None),
        }
    }

    #[getter]
    fn task_completed(&self) -> bool {
        matches!(&self.0, CoreOutcome::Succeeded { completed: true, .. })
    }

    /// Why it fails: a dict with `code`, `message` and `retryable`.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        match &self.0 {
            CoreOutcome::Failed(error) => result::error(py, error).map(Some),
            _ => Ok(None),
        }
    }

    /// The same, as a success with this text or output (plain data).
    #[pyo3(signature = (*, text=None, output=None))]
    fn replace(&self, text: Option<String>, output: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let (old_text, old_output, completed) = match self.0.clone() {
            CoreOutcome::Succeeded { text, output, completed } => (text, output, completed),
            CoreOutcome::Failed(_) | CoreOutcome::Cancelled => (String::new(), None, false),
        };
        let output: Option<Value> = output.map(convert::from_python).transpose()?.or(old_output);
        Ok(Self(CoreOutcome::Succeeded { text: text.unwrap_or(old_text), output, completed }))
    }

    fn __repr__(&self) -> String {
        format!("Finish(status={:?}, text={:?})", self.status(), self.text())
    }
}
