//! A tool that is a function written in Python: called where its kind belongs, told to the model in one way.

use std::sync::Arc;

use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Tool, ToolOutput, ToolSpec};
use futures_util::FutureExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::Value;

use crate::asked::Asked;
use crate::held::Held;
use crate::slot::Slot;
use crate::tool_context::ToolContext;
use crate::{convert, gate};

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Sync,
    Async,
    Generator,
    AsyncGenerator,
}

/// Where a function that is not async runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Runs {
    OnPool,
    /// On the thread that asked for the run.
    OnCaller,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct PythonTool {
    /// The compiled function.
    pub(crate) slot: Arc<Slot>,
    pub(crate) spec: Arc<ToolSpec>,
    pub(crate) kind: Kind,
    pub(crate) runs: Runs,
    /// Its exceptions end the run; else they are told to the model.
    pub(crate) raises: bool,
    /// Whether it asks for its call's context, or says things on the way.
    pub(crate) wants_context: bool,
}

/// What a function gave.
enum Given {
    Output(ToolOutput),
    /// A coroutine, though it is no coroutine function.
    Awaitable(Held),
}

impl Tool for PythonTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn computes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let tool = self.clone();
        async move {
            let asked = Asked::of(&context)?;
            match tool.called(arguments, context, &asked).await {
                Ok(output) => Ok(output),
                Err(exception) => Err(tool.failed(&asked, exception)),
            }
        }
        .boxed()
    }

    fn blocks(&self) -> bool {
        self.runs == Runs::OnPool && matches!(self.kind, Kind::Sync | Kind::Generator)
    }
}

impl PythonTool {
    async fn called(&self, arguments: Value, context: Context, asked: &Arc<Asked>) -> PyResult<ToolOutput> {
        let part_of = Some(context.clone());
        if matches!(self.kind, Kind::Async | Kind::AsyncGenerator) {
            let (tool, again) = (self.clone(), asked.clone());
            let make = move |py: Python<'_>| tool.begin(py, &arguments, context, again).map(Bound::unbind);
            return self.awaited(asked, part_of, make).await;
        }
        let (tool, again) = (self.clone(), asked.clone());
        let reserved = if self.runs == Runs::OnPool { Some(context.thread().await) } else { None };
        let prepare = move |py: Python<'_>| tool.prepared(py, &arguments, context, again).map(Bound::unbind);
        let tool = self.clone();
        let take = move |value: Bound<'_, PyAny>| tool.given(value);
        let given = match reserved {
            Some(Ok(thread)) => asked.caller().on_thread(thread, part_of.clone(), prepare, take).await?,
            Some(Err(error)) => return Err(pyo3::exceptions::PyRuntimeError::new_err(error.to_string())),
            None => asked.caller().on_own_thread(part_of.clone(), prepare, take).await?,
        };
        match given {
            Given::Output(output) => Ok(output),
            Given::Awaitable(coroutine) => {
                let make = move |py: Python<'_>| awaiting(&coroutine.bind(py)).map(Bound::unbind);
                self.awaited(asked, part_of, make).await
            }
        }
    }

    async fn awaited(
        &self,
        asked: &Asked,
        part_of: Option<Context>,
        make: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<ToolOutput> {
        let tool = self.clone();
        asked.caller().task(part_of, make, move |value| tool.output(&value)).await
    }

    /// Calls the function: its value, or a coroutine or generator that is one.
    fn begin<'py>(
        &self,
        py: Python<'py>,
        arguments: &Value,
        context: Context,
        asked: Arc<Asked>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let compiled = self.slot.get(py)?;
        let (arguments, context) = (convert::to_python(py, arguments)?, self.shown(py, context, asked)?);
        let begun = compiled.call_method1(pyo3::intern!(py, "call"), (arguments, &context))?;
        if self.kind == Kind::AsyncGenerator {
            static DRAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let drain = DRAIN.import(py, "ambidex._generators", "adrain")?;
            return drain.call1((begun, compiled, context));
        }
        Ok(begun)
    }

    /// What the function may know of its call; none where it does not ask.
    fn shown<'py>(
        &self,
        py: Python<'py>,
        context: Context,
        asked: Arc<Asked>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.wants_context {
            true => Ok(Bound::new(py, ToolContext::new(context, asked))?.into_any()),
            false => Ok(py.None().into_bound(py)),
        }
    }

    /// What is called for a function that is not async.
    fn prepared<'py>(
        &self,
        py: Python<'py>,
        arguments: &Value,
        context: Context,
        asked: Arc<Asked>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let compiled = self.slot.get(py)?;
        let context = self.shown(py, context, asked)?;
        let arguments = convert::to_python(py, arguments)?;
        if self.kind == Kind::Generator {
            static DRAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let drain = DRAIN.import(py, "ambidex._generators", "drain")?;
            return (drain, compiled, arguments, context).into_pyobject(py);
        }
        let call = compiled.getattr(pyo3::intern!(py, "call"))?;
        (call, arguments, context).into_pyobject(py)
    }

    fn given(&self, value: Bound<'_, PyAny>) -> PyResult<Given> {
        if is_awaitable(&value) {
            return Ok(Given::Awaitable(Held::new(value.unbind())));
        }
        self.output(&value).map(Given::Output)
    }

    /// A value as the model gets it. Plain data are taken as they are; the function's own types know better.
    fn output(&self, value: &Bound<'_, PyAny>) -> PyResult<ToolOutput> {
        let py = value.py();
        if let Ok(text) = value.cast_exact::<PyString>() {
            return Ok(ToolOutput::Text(text.to_cow()?.into_owned()));
        }
        if !value.is_none()
            && let Ok(plain) = convert::from_python(value)
        {
            return Ok(ToolOutput::Json(plain));
        }
        let made = self.slot.get(py)?.call_method1(pyo3::intern!(py, "output"), (value,))?;
        if let Ok(text) = made.cast::<PyString>() {
            return Ok(ToolOutput::Text(text.to_cow()?.into_owned()));
        }
        match convert::from_python(&made) {
            Ok(plain) => Ok(ToolOutput::Json(plain)),
            Err(fault) => {
                let kind = value.get_type().name()?;
                let text = format!(
                    "tool `{}` returned a {kind}, which cannot be told to a model: {}; return text, numbers, \
                     lists, dicts, dataclasses or models",
                    self.spec.name,
                    fault.value(py)
                );
                Err(tool_error(py, text, None))
            }
        }
    }

    fn failed(&self, asked: &Asked, exception: PyErr) -> Error {
        let told = gate::attach(|py| {
            let ours = self.raises && exception.is_instance_of::<pyo3::exceptions::PyException>(py);
            if !ours {
                return asked.failed(py, ErrorKind::ToolFailed, exception);
            }
            let value = exception.value(py);
            let name = exception.get_type(py).name().map(|it| it.to_string()).unwrap_or_default();
            let text = format!("tool `{}` failed: {name}: {value}", self.spec.name);
            asked.raise(tool_error(py, text, Some(exception)));
            Error::cancelled()
        });
        told.unwrap_or_else(Error::cancelled)
    }
}

fn tool_error(py: Python<'_>, text: String, cause: Option<PyErr>) -> PyErr {
    static ERROR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = ERROR.import(py, "ambidex.errors", "ToolError").and_then(|kind| kind.call1((text,)));
    let error = made.map_or_else(|error| error, PyErr::from_value);
    error.set_cause(py, cause);
    error
}

/// A value that stands in for a tool's: what it is made of is not known, so it is written as any result is.
pub(crate) fn written(value: &Bound<'_, PyAny>) -> PyResult<ToolOutput> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(ToolOutput::Text(text.to_cow()?.into_owned()));
    }
    if let Ok(plain) = convert::from_python(value) {
        return Ok(ToolOutput::Json(plain));
    }
    static WRITE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = WRITE.import(value.py(), "ambidex.tools.result", "to_json")?.call1((value,))?;
    convert::from_python(&made).map(ToolOutput::Json)
}

/// Whether it is a coroutine or the like. What most functions return is known not to be without asking it.
pub(crate) fn is_awaitable(value: &Bound<'_, PyAny>) -> bool {
    let plain = value.is_none()
        || value.cast_exact::<PyString>().is_ok()
        || value.cast_exact::<PyInt>().is_ok()
        || value.cast_exact::<PyDict>().is_ok()
        || value.cast_exact::<PyList>().is_ok()
        || value.cast_exact::<PyFloat>().is_ok()
        || value.cast_exact::<PyBool>().is_ok();
    !plain && value.hasattr(pyo3::intern!(value.py(), "__await__")).unwrap_or(false)
}

/// A coroutine that awaits it.
pub(crate) fn awaiting<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static AWAITING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    AWAITING.import(awaitable.py(), "ambidex._generators", "awaiting")?.call1((awaitable,))
}
