//! A model that something written in Python looks at: what it is asked, what it answers, and what goes wrong in
//! between. For tests: it counts calls, records them, plays them back, and breaks them off.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use ambidex_core::message::ProviderState;
use ambidex_core::model::ModelInfo;
use ambidex_core::{
    BoxFuture, BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model as CoreModel, Request, Usage,
};
use futures_util::Stream;
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use super::Model;
use crate::asked::Asked;
use crate::held::Held;
use crate::request::{Request as PythonRequest, read};
use crate::slot::Slot;
use crate::{convert, gate};

/// `observer` has `asked(request, provider) -> (call, plan)` and `answered(call, chunks, error)`.
pub(super) struct Observed {
    inner: Py<Model>,
    slot: Arc<Slot>,
}

impl Observed {
    pub(super) fn new(inner: Py<Model>, observer: Py<PyAny>) -> Self {
        Self { inner, slot: Slot::new(observer) }
    }

    pub(super) fn inner(&self) -> &Py<Model> {
        &self.inner
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(super) fn around(&self, inner: Arc<dyn CoreModel>) -> Arc<dyn CoreModel> {
        Arc::new(ObservedModel { inner, slot: self.slot.clone() })
    }
}

struct ObservedModel {
    inner: Arc<dyn CoreModel>,
    slot: Arc<Slot>,
}

impl CoreModel for ObservedModel {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(Observing {
            slot: self.slot.clone(),
            context,
            begin: Some((self.inner.clone(), request)),
            source: Source::Recorded(VecDeque::new()),
            breach: None,
            call: None,
            seen: Vec::new(),
            pieces: 0,
            over: false,
        })
    }
}

/// What shall happen to a call.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Plan {
    /// Answers in the model's place.
    chunks: Option<VecDeque<PlainChunk>>,
    breach: Option<Breach>,
}

/// How a call is broken off: after so many pieces, with this error; without one it falls silent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Breach {
    #[serde(default)]
    after: u32,
    error: Option<Error>,
}

/// A chunk as plain data. Notes of routes are no part of a reply.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlainChunk {
    Start { request_id: Option<String>, model: Option<String> },
    Text { part: u32, text: String },
    Reasoning { part: u32, text: String },
    Refusal { part: u32, text: String },
    ToolCall { part: u32, id: String, name: String },
    Arguments { part: u32, text: String },
    State { part: u32, state: ProviderState },
    PartEnd { part: u32 },
    Usage(Usage),
    End(Finish),
}

enum Source {
    Model(BoxStream<'static, Result<Chunk, Error>>),
    Recorded(VecDeque<PlainChunk>),
    Silence(BoxFuture<'static, ()>),
}

struct Observing {
    slot: Arc<Slot>,
    context: Context,
    begin: Option<(Arc<dyn CoreModel>, Request)>,
    source: Source,
    breach: Option<Breach>,
    call: Option<Held>,
    seen: Vec<PlainChunk>,
    pieces: u32,
    over: bool,
}

impl Stream for Observing {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some((inner, request)) = self.begin.take()
            && let Err(error) = self.asked(&inner, request)
        {
            self.over = true;
            return Poll::Ready(Some(Err(error)));
        }
        if self.breach.as_ref().is_some_and(|breach| self.pieces >= breach.after)
            && let Some(end) = self.broken()
        {
            return Poll::Ready(Some(Err(end)));
        }
        let next = match &mut self.source {
            Source::Model(stream) => ready!(stream.as_mut().poll_next(task)),
            Source::Recorded(chunks) => chunks.pop_front().map(|chunk| Ok(chunk.into())),
            Source::Silence(cancelled) => {
                ready!(cancelled.as_mut().poll(task));
                self.over = true;
                return Poll::Ready(Some(Err(Error::cancelled())));
            }
        };
        // What was to break off later than it lasts breaks off before its end.
        if matches!(next, None | Some(Ok(Chunk::End(_)))) && self.breach.is_some() {
            return match self.broken() {
                Some(end) => Poll::Ready(Some(Err(end))),
                None => self.poll_next(task),
            };
        }
        Poll::Ready(match next {
            Some(Ok(chunk)) => Some(self.passed(chunk)),
            Some(Err(error)) => Some(Err(self.ended(Some(error)))),
            None => {
                let truncated = Error::new(ErrorKind::StreamTruncated, "the answer ended before its end");
                Some(Err(self.ended(Some(truncated))))
            }
        })
    }
}

impl Observing {
    /// Tells the observer what is asked, and takes its plan.
    fn asked(&mut self, inner: &Arc<dyn CoreModel>, request: Request) -> Result<(), Error> {
        let told = self.within(|py, observer| {
            let arguments = (PythonRequest(request.clone()), &inner.info().provider);
            let told = observer.call_method1(pyo3::intern!(py, "asked"), arguments)?;
            let (call, plan): (Bound<'_, PyAny>, Bound<'_, PyAny>) = told.extract()?;
            let plan = if plan.is_none() { Plan::default() } else { read(&plan, "what to do with a call")? };
            Ok((Held::new(call.unbind()), plan))
        });
        let (call, plan) = told?;
        self.call = Some(call);
        self.breach = plan.breach;
        self.source = match plan.chunks {
            Some(chunks) => Source::Recorded(chunks),
            None => Source::Model(inner.stream(request, self.context.clone())),
        };
        Ok(())
    }

    /// The breach happens now: the error it ends with, or none where it falls silent.
    fn broken(&mut self) -> Option<Error> {
        match self.breach.take()?.error {
            Some(error) => Some(self.ended(Some(error))),
            None => {
                let token = self.context.token().clone();
                self.source = Source::Silence(Box::pin(async move { token.cancelled_owned().await }));
                None
            }
        }
    }

    fn passed(&mut self, chunk: Chunk) -> Result<Chunk, Error> {
        if chunk.is_content() && !matches!(chunk, Chunk::ToolCall { .. }) {
            self.pieces = self.pieces.saturating_add(1);
        }
        self.seen.extend(PlainChunk::of(&chunk));
        if matches!(chunk, Chunk::End(_)) {
            self.told(None)?;
        }
        Ok(chunk)
    }

    /// The error with which the call ends: the observer's own, where it raises one.
    fn ended(&mut self, error: Option<Error>) -> Error {
        match self.told(error.as_ref()) {
            Err(raised) => raised,
            Ok(()) => error.unwrap_or_else(Error::cancelled),
        }
    }

    /// Tells the observer how the call ended.
    fn told(&mut self, error: Option<&Error>) -> Result<(), Error> {
        self.over = true;
        let (Some(call), seen) = (self.call.take(), std::mem::take(&mut self.seen)) else {
            return Ok(());
        };
        self.within(|py, observer| {
            let error = match error {
                Some(error) => convert::serialized(py, error)?,
                None => py.None().into_bound(py),
            };
            let arguments = (call.bind(py), convert::serialized(py, &seen)?, error);
            observer.call_method1(pyo3::intern!(py, "answered"), arguments).map(drop)
        })
    }

    /// Calls the observer. What it raises fails the call.
    fn within<T>(&self, tell: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<T>) -> Result<T, Error> {
        let asked = Asked::of(&self.context)?;
        let told = gate::attach(|py| {
            self.slot
                .get(py)
                .and_then(|observer| tell(py, &observer))
                .map_err(|exception| asked.failed(py, ErrorKind::ProviderError, exception).retryable(false))
        });
        told.unwrap_or_else(|| Err(Error::cancelled()))
    }
}

impl PlainChunk {
    pub(super) fn of(chunk: &Chunk) -> Option<Self> {
        Some(match chunk.clone() {
            Chunk::Start { request_id, model } => Self::Start { request_id, model },
            Chunk::Text { part, text } => Self::Text { part, text },
            Chunk::Reasoning { part, text } => Self::Reasoning { part, text },
            Chunk::Refusal { part, text } => Self::Refusal { part, text },
            Chunk::ToolCall { part, id, name } => Self::ToolCall { part, id, name },
            Chunk::Arguments { part, text } => Self::Arguments { part, text },
            Chunk::State { part, state } => Self::State { part, state },
            Chunk::PartEnd { part } => Self::PartEnd { part },
            Chunk::Usage(usage) => Self::Usage(usage),
            Chunk::End(finish) => Self::End(finish),
            Chunk::Note(_) => return None,
        })
    }
}

impl From<PlainChunk> for Chunk {
    fn from(chunk: PlainChunk) -> Self {
        match chunk {
            PlainChunk::Start { request_id, model } => Self::Start { request_id, model },
            PlainChunk::Text { part, text } => Self::Text { part, text },
            PlainChunk::Reasoning { part, text } => Self::Reasoning { part, text },
            PlainChunk::Refusal { part, text } => Self::Refusal { part, text },
            PlainChunk::ToolCall { part, id, name } => Self::ToolCall { part, id, name },
            PlainChunk::Arguments { part, text } => Self::Arguments { part, text },
            PlainChunk::State { part, state } => Self::State { part, state },
            PlainChunk::PartEnd { part } => Self::PartEnd { part },
            PlainChunk::Usage(usage) => Self::Usage(usage),
            PlainChunk::End(finish) => Self::End(finish),
        }
    }
}
