//! A node, or a branch, that is a function written in Python: called where its kind belongs.

use std::collections::HashSet;
use std::sync::Arc;

use ambidex_core::graph::{NodeCall, NodeOutput, Sent};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind};
use ambidex_engine::NodeFunction;
use futures_util::FutureExt;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde_json::Value;

use crate::asked::Asked;
use crate::held::Held;
use crate::python_tool::{Kind, Runs, awaiting, is_awaitable};
use crate::slot::Slot;
use crate::tool_context::ToolContext;
use crate::{convert, gate};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct PythonNode {
    /// What `ambidex._nodes` made of the function.
    slot: Arc<Slot>,
    name: Arc<str>,
    kind: Kind,
    runs: Runs,
    wants_context: bool,
    /// What it returns is the value of one field, whatever it is.
    whole: bool,
    /// It chooses where a path goes on.
    chooses: bool,
    /// The names an update may have; any, where there are none.
    fields: Option<Arc<HashSet<String>>>,
}

/// An update or a value, items that are sent, targets that are chosen.
type Said<'py> = (Bound<'py, PyAny>, Vec<(String, Bound<'py, PyAny>)>, Vec<String>);

/// What a function gave.
enum Given {
    Output(NodeOutput),
    /// A coroutine, though it is no coroutine function.
    Awaitable(Held),
}

impl PythonNode {
    pub(super) fn new(
        name: &str,
        compiled: &Bound<'_, PyAny>,
        fields: Option<Arc<HashSet<String>>>,
    ) -> PyResult<Self> {
        let word = |name: &str| compiled.getattr(name)?.extract::<String>();
        let kind = match word("kind")?.as_str() {
            "sync" => Kind::Sync,
            "async" => Kind::Async,
            other => return Err(PyValueError::new_err(format!("there is no kind of node {other:?}"))),
        };
        let runs = match word("thread")?.as_str() {
            "pool" => Runs::OnPool,
            "caller" => Runs::OnCaller,
            other => return Err(PyValueError::new_err(format!("there is no thread {other:?}"))),
        };
        let flag = |name: &str| compiled.getattr(name)?.extract::<bool>();
        Ok(Self {
            name: name.into(),
            kind,
            runs,
            wants_context: flag("wants_context")?,
            whole: flag("whole")?,
            chooses: flag("chooses")?,
            slot: Slot::new(compiled.clone().unbind()),
            fields,
        })
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl NodeFunction for PythonNode {
    fn call(&self, call: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let node = self.clone();
        async move {
            let asked = Asked::of(&context)?;
            match node.called(call, context, &asked).await {
                Ok(output) => Ok(output),
                Err(exception) => Err(node.failed(&asked, exception)),
            }
        }
        .boxed()
    }

    fn blocks(&self) -> bool {
        self.runs == Runs::OnPool && self.kind == Kind::Sync
    }
}

impl PythonNode {
    async fn called(&self, call: NodeCall, context: Context, asked: &Arc<Asked>) -> PyResult<NodeOutput> {
        let part_of = Some(context.clone());
        if self.kind == Kind::Async {
            let (node, again) = (self.clone(), asked.clone());
            let make = move |py: Python<'_>| {
                let (call, arguments) = node.prepared(py, &call, context, again)?;
                call.call1(arguments).map(Bound::unbind)
            };
            return self.awaited(asked, part_of, make).await;
        }
        let reserved = match self.runs {
            Runs::OnPool => {
                let reserved = context.thread().await;
                Some(reserved.map_err(|error| PyRuntimeError::new_err(error.to_string()))?)
            }
            Runs::OnCaller => None,
        };
        let (node, again) = (self.clone(), asked.clone());
        let prepare = move |py: Python<'_>| {
            let (call, arguments) = node.prepared(py, &call, context, again)?;
            let all = std::iter::once(call).chain(arguments.iter());
            PyTuple::new(py, all.collect::<Vec<_>>()).map(Bound::unbind)
        };
        let node = self.clone();
        let take = move |value: Bound<'_, PyAny>| node.given(&value);
        let given = match reserved {
            Some(thread) => asked.caller().on_thread(thread, part_of.clone(), prepare, take).await?,
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
    ) -> PyResult<NodeOutput> {
        let node = self.clone();
        asked.caller().task(part_of, make, move |value| node.output(&value)).await
    }

    /// What is called, and with what: the state, the item, whether there is one, the context.
    fn prepared<'py>(
        &self,
        py: Python<'py>,
        call: &NodeCall,
        context: Context,
        asked: Arc<Asked>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let function = self.slot.get(py)?.getattr(pyo3::intern!(py, "call"))?;
        let edited = if call.is_edited() { call.input() } else { None };
        let has_item = call.item().is_some() && !self.chooses;
        let (state, item) = match (&edited, has_item) {
            (Some(input), true) => (whole_state(py, call)?, Some(convert::to_python(py, input)?)),
            (Some(input), false) => (convert::to_python(py, input)?, None),
            (None, _) => {
                let item = call.item().filter(|_| has_item);
                (whole_state(py, call)?, item.map(|item| convert::to_python(py, item)).transpose()?)
            }
        };
        let context = match self.wants_context {
            true => Some(Bound::new(py, ToolContext::new(context, asked))?),
            false => None,
        };
        Ok((function, (state, item, has_item, context).into_pyobject(py)?))
    }

    fn given(&self, value: &Bound<'_, PyAny>) -> PyResult<Given> {
        if is_awaitable(value) {
            return Ok(Given::Awaitable(Held::new(value.clone().unbind())));
        }
        self.output(value).map(Given::Output)
    }

    /// What it returned. Plain updates are taken as they are; all else is made plain in Python.
    fn output(&self, value: &Bound<'_, PyAny>) -> PyResult<NodeOutput> {
        let py = value.py();
        if !self.chooses {
            if value.is_none() && !self.whole {
                return Ok(NodeOutput::default());
            }
            if value.cast_exact::<PyDict>().is_ok()
                && let Ok(update) = convert::from_python(value)
            {
                return self.checked(update).map(Into::into);
            }
        }
        let made = self.slot.get(py)?.call_method1(pyo3::intern!(py, "output"), (value,))?;
        let (update, sends, goes): Said<'_> = made.extract()?;
        let sends =
            sends.into_iter().map(|(to, item)| Ok(Sent { to, item: Arc::new(convert::from_python(&item)?) }));
        let value = Arc::new(self.checked(convert::from_python(&update)?)?);
        Ok(NodeOutput { value, send: sends.collect::<PyResult<_>>()?, go: goes })
    }

    /// An update names fields of the state, and no others.
    fn checked(&self, update: Value) -> PyResult<Value> {
        if !self.whole
            && let (Some(fields), Value::Object(update)) = (&self.fields, &update)
            && let Some(other) = update.keys().find(|name| !fields.contains(*name))
        {
            let near = ambidex_core::suggest::nearest(other, fields.iter().map(String::as_str));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let mut known: Vec<_> = fields.iter().map(String::as_str).collect();
            known.sort_unstable();
            let text = format!(
                "node `{}` returned `{other}`, which is no field of the state{hint}; its fields are {}",
                self.name,
                known.join(", ")
            );
            return Err(crate::failure::usage(&text));
        }
        Ok(update)
    }

    fn failed(&self, asked: &Asked, exception: PyErr) -> Error {
        let told = gate::attach(|py| {
            let retries = || -> PyResult<bool> {
                let compiled = self.slot.get(py)?;
                compiled.call_method1(pyo3::intern!(py, "retries"), (exception.value(py),))?.extract()
            };
            let retryable = retries().unwrap_or(false);
            let error = asked.failed(py, ErrorKind::ToolFailed, exception);
            if retryable { error.retryable(true) } else { error }
        });
        told.unwrap_or_else(Error::cancelled)
    }
}

fn whole_state<'py>(py: Python<'py>, call: &NodeCall) -> PyResult<Bound<'py, PyAny>> {
    convert::object_to_python(py, call.state()).map(Bound::into_any)
}
