//! A model that is a function written in Python.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll};

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxFuture, BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model, Request, Usage};
use futures_util::{FutureExt, Stream};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::asked::Asked;
use crate::gate;
use crate::held::Held;
use crate::python_tool::{awaiting, is_awaitable};
use crate::request::{Request as PythonRequest, read};
use crate::slot::Slot;

/// No answer of a model is longer, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

pub(super) struct Function {
    name: String,
    slot: Arc<Slot>,
    is_async: bool,
}

impl Function {
    /// `function` has `start(request, push)`, or `astart` where it is async: both give a plain reply.
    pub(super) fn new(name: String, function: Py<PyAny>, is_async: bool) -> Self {
        Self { name, slot: Slot::new(function), is_async }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(super) fn make(&self) -> Arc<dyn Model> {
        let info = ModelInfo::new(&self.name, "python");
        Arc::new(FunctionModel { info, slot: self.slot.clone(), is_async: self.is_async })
    }
}

struct FunctionModel {
    info: ModelInfo,
    slot: Arc<Slot>,
    is_async: bool,
}

/// What a function gives in the end, beside what it has pushed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Plain {
    text: String,
    reasoning: String,
    tool_calls: Vec<PlainCall>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainCall {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Value,
}

enum Given {
    Reply(Plain),
    Awaitable(Held),
}

impl Model for FunctionModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let (sender, pieces) = unbounded_channel();
        let call = answer(self.slot.clone(), self.is_async, request, context, sender.clone());
        Box::pin(Answering { call: Some(call.boxed()), sender: Some(sender), pieces })
    }
}

/// The pieces that are pushed while a call is under way, then its end.
struct Answering {
    call: Option<BoxFuture<'static, Result<Vec<Chunk>, Error>>>,
    sender: Option<UnboundedSender<Chunk>>,
    pieces: UnboundedReceiver<Chunk>,
}

impl Stream for Answering {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if let Some(call) = &mut self.call
            && let Poll::Ready(ended) = call.as_mut().poll(cx)
        {
            self.call = None;
            let sender = self.sender.take();
            match ended {
                // The receiver is here, so they are taken.
                Ok(chunks) => {
                    chunks.into_iter().for_each(|chunk| drop(sender.as_ref().map(|it| it.send(chunk))))
                }
                Err(error) => {
                    // What came before it was said; the error is the last item.
                    self.pieces.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        self.pieces.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}

async fn answer(
    slot: Arc<Slot>,
    is_async: bool,
    request: Request,
    context: Context,
    sender: UnboundedSender<Chunk>,
) -> Result<Vec<Chunk>, Error> {
    let asked = Asked::of(&context)?;
    let ids = format!("call_{}", context.effect());
    let called = called(slot, is_async, request, &context, &asked, sender).await;
    let plain = called.map_err(|exception| {
        gate::attach(|py| asked.failed(py, ErrorKind::ProviderError, exception))
            .unwrap_or_else(Error::cancelled)
    })?;
    Ok(plain.into_chunks(&ids))
}

async fn called(
    slot: Arc<Slot>,
    is_async: bool,
    request: Request,
    context: &Context,
    asked: &Arc<Asked>,
    sender: UnboundedSender<Chunk>,
) -> PyResult<Plain> {
    let push = Push { sender, bytes: AtomicUsize::new(0) };
    if is_async {
        let make = move |py: Python<'_>| {
            let start = slot.get(py)?.getattr(pyo3::intern!(py, "astart"))?;
            start.call1((PythonRequest(request), push)).map(Bound::unbind)
        };
        return asked.caller().task(Some(context.clone()), make, |value| plain(&value)).await;
    }
    let thread = context.thread().await.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let prepare = move |py: Python<'_>| {
        let start = slot.get(py)?.getattr(pyo3::intern!(py, "start"))?;
        (start, PythonRequest(request), push).into_pyobject(py).map(Bound::unbind)
    };
    let given = |value: Bound<'_, PyAny>| match is_awaitable(&value) {
        true => Ok(Given::Awaitable(Held::new(value.unbind()))),
        false => plain(&value).map(Given::Reply),
    };
    match asked.caller().on_thread(thread, Some(context.clone()), prepare, given).await? {
        Given::Reply(reply) => Ok(reply),
        Given::Awaitable(value) => {
            let make = move |py: Python<'_>| awaiting(&value.bind(py)).map(Bound::unbind);
            asked.caller().task(Some(context.clone()), make, |value| plain(&value)).await
        }
    }
}

fn plain(value: &Bound<'_, PyAny>) -> PyResult<Plain> {
    if value.is_none() {
        return Ok(Plain::default());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Plain { text: text.to_cow()?.into_owned(), ..Plain::default() });
    }
    read(value, "the reply of a model")
}

impl Plain {
    fn into_chunks(self, ids: &str) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if !self.reasoning.is_empty() {
            chunks.push(Chunk::Reasoning { part: 1, text: self.reasoning });
        }
        if !self.text.is_empty() {
            chunks.push(Chunk::Text { part: 0, text: self.text });
        }
        let finish = if self.tool_calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
        for (part, (at, call)) in (2..).zip(self.tool_calls.into_iter().enumerate()) {
            let id = call.id.unwrap_or_else(|| format!("{ids}_{}", at + 1));
            let text = match call.arguments {
                Value::Null => "{}".to_owned(),
                // As it would come over the wire, JSON or not.
                Value::String(text) => text,
                arguments => arguments.to_string(),
            };
            chunks.push(Chunk::ToolCall { part, id, name: call.name });
            chunks.push(Chunk::Arguments { part, text });
        }
        if let Some(usage) = self.usage {
            chunks.push(Chunk::Usage(usage));
        }
        chunks.push(Chunk::End(finish));
        chunks
    }
}

/// Takes the texts that a function yields.
#[pyclass(frozen, module = "ambidex._core")]
struct Push {
    sender: UnboundedSender<Chunk>,
    bytes: AtomicUsize,
}

#[pymethods]
impl Push {
    fn __call__(&self, piece: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(text) = piece.cast::<PyString>() else {
            let kind = piece.get_type().name()?;
            let text = format!("a model yields texts, not {kind}; return a Reply for anything else");
            return Err(PyTypeError::new_err(text));
        };
        let text = text.to_cow()?.into_owned();
        if self.bytes.fetch_add(text.len(), SeqCst) + text.len() > LONGEST {
            return Err(PyRuntimeError::new_err(format!("an answer of more than {LONGEST} bytes is none")));
        }
        let sent = self.sender.send(Chunk::Text { part: 0, text });
        sent.map_err(|_| PyRuntimeError::new_err("nobody listens to this answer any longer"))
    }
}
