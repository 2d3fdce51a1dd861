//! Hooks: Python objects that look at, or replace, what passes the seams of a run.

use std::sync::Arc;

use ambidex_core::record::Outcome;
use ambidex_core::reply::Reply as CoreReply;
use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Request as CoreRequest, ToolOutput};
use ambidex_engine::{Hook as CoreHook, ToolDecision, ToolInvocation};
use futures_util::FutureExt;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::asked::Asked;
use crate::gate;
use crate::held::Held;
use crate::model::Reply;
use crate::python_tool::{awaiting, is_awaitable, written};
use crate::request::Request;
use crate::seam::{Call, CallResult, Finish};
use crate::slot::Slot;
use crate::tool_context::ToolContext;

/// What `ambidex.Agent` holds of a hook. Only the methods that it has cost anything.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Hook(PythonHook);

#[derive(Clone)]
struct PythonHook {
    slot: Arc<Slot>,
    methods: Methods,
}

/// Which methods there are, and whether they are async.
#[derive(Clone, Copy)]
struct Methods {
    before_model: Option<bool>,
    after_model: Option<bool>,
    before_tool: Option<bool>,
    after_tool: Option<bool>,
    on_finish: Option<bool>,
}

#[pymethods]
impl Hook {
    /// `is_async` says of a method whether calling it only makes a coroutine.
    #[new]
    fn new(hook: &Bound<'_, PyAny>, is_async: &Bound<'_, PyAny>) -> PyResult<Self> {
        let find = |name: &str| {
            let method = hook.getattr_opt(name)?.filter(|method| !method.is_none());
            method.map(|method| is_async.call1((method,))?.is_truthy()).transpose()
        };
        let methods = Methods {
            before_model: find("before_model")?,
            after_model: find("after_model")?,
            before_tool: find("before_tool")?,
            after_tool: find("after_tool")?,
            on_finish: find("on_finish")?,
        };
        Ok(Self(PythonHook { slot: Slot::new(hook.clone().unbind()), methods }))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.slot.visit(&visit)
    }

    fn __clear__(&self) {
        self.0.slot.clear();
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        Slot::release(&self.0.slot);
    }
}

impl Hook {
    pub(crate) fn made(&self) -> impl CoreHook + 'static {
        self.0.clone()
    }
}

/// What a method is given, beside its context.
enum Shown {
    Request(Request),
    Reply(Reply),
    Call(Call),
    Result(Call, CallResult),
    Finish(Finish),
}

impl Shown {
    fn arguments(self, py: Python<'_>, own: ToolContext) -> PyResult<Bound<'_, PyTuple>> {
        match self {
            Self::Request(request) => (own, request).into_pyobject(py),
            Self::Reply(reply) => (own, reply).into_pyobject(py),
            Self::Call(call) => (own, call).into_pyobject(py),
            Self::Result(call, result) => (own, call, result).into_pyobject(py),
            Self::Finish(finish) => (own, finish).into_pyobject(py),
        }
    }
}

/// Makes something of what a method returned; none is what it was given.
type Take<T> = Arc<dyn Fn(Bound<'_, PyAny>) -> PyResult<Option<T>> + Send + Sync>;

enum Given<T> {
    Value(Option<T>),
    Awaitable(Held),
}

impl PythonHook {
    /// Calls a method: an async one where the caller's async code runs, another one on a thread.
    async fn call<T: Send + 'static>(
        &self,
        (name, is_async): (&'static str, bool),
        context: &Context,
        shown: Shown,
        take: impl Fn(Bound<'_, PyAny>) -> PyResult<Option<T>> + Send + Sync + 'static,
    ) -> Result<Option<T>, Error> {
        let asked = Asked::of(context)?;
        let called = self.called(name, is_async, context, &asked, shown, Arc::new(take)).await;
        called.map_err(|exception| {
            let told = gate::attach(|py| {
                let error = asked.failed(py, ErrorKind::HookFailed, exception);
                match self.slot.get(py).and_then(|hook| hook.get_type().name()) {
                    Ok(of) if error.kind() == ErrorKind::HookFailed => {
                        error.context(format!("hook `{of}.{name}`"))
                    }
                    _ => error,
                }
            });
            told.unwrap_or_else(Error::cancelled)
        })
    }

    async fn called<T: Send + 'static>(
        &self,
        name: &'static str,
        is_async: bool,
        context: &Context,
        asked: &Arc<Asked>,
        shown: Shown,
        take: Take<T>,
    ) -> PyResult<Option<T>> {
        let slot = self.slot.clone();
        let own = ToolContext::new(context.clone(), asked.clone());
        if is_async {
            let make = move |py: Python<'_>| {
                let method = slot.get(py)?.getattr(name)?;
                method.call1(shown.arguments(py, own)?).map(Bound::unbind)
            };
            return asked.caller().task(Some(context.clone()), make, move |value| take(value)).await;
        }
        let thread = context.thread().await.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let taking = take.clone();
        let prepare = move |py: Python<'_>| {
            let method = slot.get(py)?.getattr(name)?;
            let mut all: Vec<Bound<'_, PyAny>> = vec![method];
            all.extend(shown.arguments(py, own)?.iter());
            PyTuple::new(py, all).map(Bound::unbind)
        };
        let given = move |value: Bound<'_, PyAny>| match is_awaitable(&value) {
            true => Ok(Given::Awaitable(Held::new(value.unbind()))),
            false => taking(value).map(Given::Value),
        };
        match asked.caller().on_thread(thread, Some(context.clone()), prepare, given).await? {
            Given::Value(value) => Ok(value),
            Given::Awaitable(value) => {
                let make = move |py: Python<'_>| awaiting(&value.bind(py)).map(Bound::unbind);
                asked.caller().task(Some(context.clone()), make, move |value| take(value)).await
            }
        }
    }
}

fn wrong<T>(method: &str, value: &Bound<'_, PyAny>, wanted: &str) -> PyResult<T> {
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("{method} returned {kind}; it returns None or {wanted}")))
}

impl CoreHook for PythonHook {
    fn before_model<'a>(
        &'a self,
        context: &'a Context,
        request: CoreRequest,
    ) -> BoxFuture<'a, Result<CoreRequest, Error>> {
        let Some(is_async) = self.methods.before_model else {
            return std::future::ready(Ok(request)).boxed();
        };
        async move {
            let shown = Shown::Request(Request(request.clone()));
            let take = |value: Bound<'_, PyAny>| match value.cast::<Request>() {
                Ok(new) => Ok(Some(new.get().0.clone())),
                Err(_) if value.is_none() => Ok(None),
                Err(_) => wrong("before_model", &value, "a Request: request.replace(...)"),
            };
            let new = self.call(("before_model", is_async), context, shown, take).await?;
            Ok(new.unwrap_or(request))
        }
        .boxed()
    }

    fn after_model<'a>(
        &'a self,
        context: &'a Context,
        reply: CoreReply,
    ) -> BoxFuture<'a, Result<CoreReply, Error>> {
        let Some(is_async) = self.methods.after_model else {
            return std::future::ready(Ok(reply)).boxed();
        };
        async move {
            let shown = Shown::Reply(Reply(reply.clone()));
            let take = |value: Bound<'_, PyAny>| match value.cast::<Reply>() {
                Ok(new) => Ok(Some(new.get().0.clone())),
                Err(_) if value.is_none() => Ok(None),
                Err(_) => wrong("after_model", &value, "a Reply: reply.replace(...)"),
            };
            let new = self.call(("after_model", is_async), context, shown, take).await?;
            // What it cost stands, whatever was made of it.
            let usage = reply.usage;
            Ok(new.map_or(reply, |new| CoreReply { usage, ..new }))
        }
        .boxed()
    }

    fn before_tool<'a>(
        &'a self,
        context: &'a Context,
        call: ToolInvocation,
    ) -> BoxFuture<'a, Result<ToolDecision, Error>> {
        let Some(is_async) = self.methods.before_tool else {
            return std::future::ready(Ok(ToolDecision::Run(call))).boxed();
        };
        async move {
            let shown = Shown::Call(Call(call.clone()));
            let take = |value: Bound<'_, PyAny>| match value.cast::<Call>() {
                Ok(new) => Ok(Some(ToolDecision::Run(new.get().0.clone()))),
                Err(_) if value.is_none() => Ok(None),
                Err(_) => written(&value).map(ToolDecision::Answer).map(Some),
            };
            let new = self.call(("before_tool", is_async), context, shown, take).await?;
            Ok(new.unwrap_or(ToolDecision::Run(call)))
        }
        .boxed()
    }

    fn after_tool<'a>(
        &'a self,
        context: &'a Context,
        call: &'a ToolInvocation,
        result: Result<ToolOutput, Error>,
    ) -> BoxFuture<'a, Result<ToolOutput, Error>> {
        let Some(is_async) = self.methods.after_tool else { return std::future::ready(result).boxed() };
        async move {
            let shown = Shown::Result(Call(call.clone()), CallResult(result.clone()));
            let take = |value: Bound<'_, PyAny>| match value.cast::<CallResult>() {
                Ok(same) => Ok(Some(same.get().0.clone())),
                Err(_) if value.is_none() => Ok(None),
                Err(_) => written(&value).map(|output| Some(Ok(output))),
            };
            let new = self.call(("after_tool", is_async), context, shown, take).await?;
            new.unwrap_or(result)
        }
        .boxed()
    }

    fn on_finish<'a>(
        &'a self,
        context: &'a Context,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        let Some(is_async) = self.methods.on_finish else { return std::future::ready(Ok(outcome)).boxed() };
        async move {
            let shown = Shown::Finish(Finish(outcome.clone()));
            let again = outcome.clone();
            let take = move |value: Bound<'_, PyAny>| {
                if let Ok(new) = value.cast::<Finish>() {
                    return Ok(Some(new.get().0.clone()));
                }
                if let (Ok(text), Outcome::Succeeded { output, completed, .. }) =
                    (value.cast::<PyString>(), again.clone())
                {
                    let text = text.to_cow()?.into_owned();
                    return Ok(Some(Outcome::Succeeded { text, output, completed }));
                }
                if value.is_none() { Ok(None) } else { wrong("on_finish", &value, "result.replace(...)") }
            };
            let new = self.call(("on_finish", is_async), context, shown, take).await?;
            Ok(new.unwrap_or(outcome))
        }
        .boxed()
    }

    fn wants_finish(&self) -> bool {
        self.methods.on_finish.is_some()
    }
}
