//! What a model is asked, as Python sees it.

use std::sync::Arc;

use ambidex_core::Request as Core;
use ambidex_core::message::Message;
use ambidex_core::model::{Settings, ToolChoice};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use crate::{convert, message, result};

/// One call of a model: what hooks and models written in Python are given. It does not change; `replace` makes another.
#[pyclass(frozen, module = "ambidex")]
pub(crate) struct Request(pub(crate) Core);

#[pymethods]
impl Request {
    /// What the agent is told to be and do.
    #[getter]
    fn instructions(&self) -> Option<&str> {
        self.0.instructions.as_deref()
    }

    /// The conversation so far, as `ambidex.Message` objects.
    #[getter]
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        typed(py, result::plain(py, self.0.history.iter().map(|it| -> &Message { it }))?)
    }

    /// The tools that may be called: dicts with `name`, `description`, `input` (JSON Schema).
    #[getter]
    fn tools<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for spec in self.0.tools.iter() {
            let tool = PyDict::new(py);
            tool.set_item("name", &spec.name)?;
            tool.set_item("description", &spec.description)?;
            tool.set_item("input", convert::to_python(py, &spec.input)?)?;
            list.append(tool)?;
        }
        Ok(list)
    }

    /// `auto`, `none`, `required`, or `{"tool": NAME}`.
    #[getter]
    fn tool_choice<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::serialized(py, &self.0.tool_choice)
    }

    /// JSON Schema of what the reply must be, where one is asked for.
    #[getter]
    fn output_schema<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.output.as_ref().map(|output| convert::to_python(py, &output.schema)).transpose()
    }

    /// Settings of the call that are set, such as `temperature`.
    #[getter]
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::serialized(py, &*self.0.settings)
    }

    /// The same request with these parts in place of its own.
    #[pyo3(signature = (*, instructions=None, messages=None, tool_choice=None, settings=None))]
    fn replace(
        &self,
        py: Python<'_>,
        instructions: Option<String>,
        messages: Option<&Bound<'_, PyAny>>,
        tool_choice: Option<&Bound<'_, PyAny>>,
        settings: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut request = self.0.clone();
        if let Some(instructions) = instructions {
            request.instructions = Some(instructions.into());
        }
        if let Some(messages) = messages {
            request.history = Arc::new(self.replaced(py, messages)?);
        }
        if let Some(choice) = tool_choice {
            let choice: ToolChoice = read(choice, "tool_choice")?;
            request.tool_choice = choice;
        }
        if let Some(settings) = settings {
            let settings: Settings = read(settings, "settings")?;
            request.settings = Arc::new(settings);
        }
        Ok(Self(request))
    }

    fn __repr__(&self) -> String {
        format!("Request(messages={}, tools={})", self.0.history.len(), self.0.tools.len())
    }
}

impl Request {
    /// Messages that stayed what they were keep their encoded bytes: they stay the very same.
    fn replaced(&self, py: Python<'_>, messages: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Message>>> {
        static PLAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let plain = PLAIN.import(py, "ambidex.messages", "plain_input")?.call1((messages,))?;
        let mut new = message::messages(&plain)?;
        for (new, old) in new.iter_mut().zip(self.0.history.iter()) {
            if new == old {
                new.clone_from(old);
            }
        }
        Ok(new)
    }
}

/// Messages as the package's own class.
pub(crate) fn typed<'py>(py: Python<'py>, plain: Bound<'py, PyList>) -> PyResult<Bound<'py, PyAny>> {
    static TYPED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    TYPED.import(py, "ambidex.messages", "of_plain")?.call1((plain,))
}

/// Plain data of a type of the core.
pub(crate) fn read<T: serde::de::DeserializeOwned>(plain: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    let value = convert::from_python(plain)
        .map_err(|error| PyTypeError::new_err(format!("{what}: {}", error.value(plain.py()))))?;
    serde_json::from_value(value).map_err(|error| PyValueError::new_err(format!("{what}: {error}")))
}
