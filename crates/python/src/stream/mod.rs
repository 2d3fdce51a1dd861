//! Events on their way to Python: as many as there are in one crossing, one wake-up when there were none.

mod call;
mod open;
mod run;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ambidex_core::Event as CoreEvent;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tokio_util::sync::CancellationToken;

use crate::agent::RunStart;
use crate::asked::Asked;
use crate::bridge::{self, Answer, Caller, Failure, LoopBridge, Standing};
use crate::event::Event;
use crate::graph::GraphStart;
use crate::model::{CallStart, Reply};
use crate::result::RunResult;
use crate::team::TeamStart;
use crate::watch::Holding;
use crate::{failure, fork, gate, loop_warning};

use call::CallEvents;
use open::Open;
use run::RunStream;

/// Events of one crossing at most.
const BATCH: usize = 256;

/// Something that gives events, and in the end a result.
trait Source: Send {
    /// The next event; nothing when there will be none.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<CoreEvent>>;

    /// How it ended; asked for once, after the last event.
    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>>;
}

/// What a stream comes to.
enum End {
    Run(RunResult),
    Call(Box<Reply>),
}

/// What `ambidex.Stream` reads. Nothing begins before the first read; dropped, it stops what it reads from.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct EventStream {
    shared: Arc<Shared>,
    /// Whose stream it is; known with the first read.
    standing: Mutex<Option<Arc<Standing>>>,
    /// Has the loop watched whose thread reads without awaiting.
    watched: Mutex<Option<Holding>>,
    generation: u64,
}

struct Shared {
    state: Mutex<State>,
    /// Stops what the stream reads from.
    token: CancellationToken,
}

enum State {
    New(Start),
    Open(Box<dyn Source>),
    /// Somebody reads at this moment.
    Reading,
    Ended(Option<End>),
}

/// What is begun with the first read.
pub(crate) enum Start {
    Run(Box<RunStart>),
    Graph(Box<GraphStart>),
    Team(Box<TeamStart>),
    Call(Box<CallStart>),
}

/// The events of one crossing; none at the end.
struct Batch(Option<Vec<CoreEvent>>);

impl Answer for Batch {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Some(events) = self.0 else { return Ok(py.None()) };
        let list = PyList::empty(py);
        for event in events {
            list.append(Bound::new(py, Event::new(event))?)?;
        }
        Ok(list.into_any().unbind())
    }
}

impl EventStream {
    pub(crate) fn new(start: Start) -> Self {
        let shared = Shared { state: Mutex::new(State::New(start)), token: CancellationToken::new() };
        Self {
            shared: Arc::new(shared),
            standing: Mutex::default(),
            watched: Mutex::default(),
            generation: fork::generation(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, Option<Holding>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, make: impl FnOnce() -> PyResult<Standing>) -> PyResult<Arc<Standing>> {
        if self.generation != fork::generation() {
            return Err(failure::usage(
                "this stream was made before the process forked, and what it reads from is the parent's; ask for a \
                 new one here",
            ));
        }
        let known = || self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = &*known() {
            return Ok(standing.clone());
        }
        let new = Arc::new(make()?);
        Ok(known().get_or_insert(new).clone())
    }
}

#[pymethods]
impl EventStream {
    /// The next events, as many as there are; None at the end. A run that failed raises after its last event.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let standing = self.standing(|| {
            if loop_warning::check_stream(py)? {
                *self.watched() = LoopBridge::running(py).and_then(|bridge| bridge.hold()).ok();
            }
            Standing::of_thread(py)
        })?;
        let shared = self.shared.clone();
        let of = standing.caller().clone();
        let batch = standing.wait(py, move |caller| async move { shared.read(&of, &caller).await });
        if !batch.as_ref().is_ok_and(|batch| !batch.is_none()) {
            *self.watched() = None;
        }
        batch
    }

    /// Like `read`. `home` reaches a loop of another kind for as long as the stream lives, `host` for this read.
    #[pyo3(signature = (home=None, host=None))]
    fn aread<'py>(
        &self,
        py: Python<'py>,
        home: Option<Py<PyAny>>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let standing = self.standing(|| Standing::of_loop(py, home))?;
        let shared = self.shared.clone();
        let of = standing.caller().clone();
        bridge::start(py, host, move |caller| async move { shared.read(&of, &caller).await })
    }

    /// Stops what the stream reads from and waits until that has ended.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.generation != fork::generation() {
            return Ok(py.None().into_bound(py));
        }
        let (shared, standing) = (self.shared.clone(), self.standing(|| Standing::of_thread(py))?);
        shared.token.cancel();
        *self.watched() = None;
        standing.wait(py, move |_| async move { shared.drain().await })
    }

    #[pyo3(signature = (home=None, host=None))]
    fn aclose<'py>(
        &self,
        py: Python<'py>,
        home: Option<Py<PyAny>>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        drop(home);
        let shared = self.shared.clone();
        if self.generation != fork::generation() {
            return bridge::start(py, host, |_| async { Ok(()) });
        }
        shared.token.cancel();
        bridge::start(py, host, move |_| async move { shared.drain().await })
    }

    /// Stops what the stream reads from, and waits for nothing.
    fn cancel(&self) {
        if self.generation == fork::generation() {
            self.shared.token.cancel();
        }
    }

    /// What it came to, once it has ended: the result of a run, or a reply.
    fn end<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let end = match &*self.shared.lock() {
            State::Ended(Some(end)) => Some(end.again()),
            _ => None,
        };
        end.map(|end| match end {
            End::Run(result) => result.into_python(py).map(|it| it.into_bound(py)),
            End::Call(reply) => reply.into_python(py).map(|it| it.into_bound(py)),
        })
        .transpose()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            self.shared.token.cancel();
            return;
        }
        // The parent's: to end it would wake tasks of a runtime that is not here, whose locks may be held.
        std::mem::forget(self.shared.clone());
        std::mem::forget(self.standing.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl End {
    fn again(&self) -> Self {
        match self {
            Self::Run(result) => Self::Run(result.again()),
            Self::Call(reply) => Self::Call(Box::new(Reply(reply.0.clone()))),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source, for whoever reads now. None at the end.
    fn take(&self, of: &Arc<Caller>) -> Result<Option<Box<dyn Source>>, Failure> {
        let taken = std::mem::replace(&mut *self.lock(), State::Reading);
        match taken {
            State::New(start) => {
                let asked = Asked::within(of, &self.token);
                let source: Box<dyn Source> = match start {
                    Start::Run(start) => Box::new(RunStream::of_agent(*start, asked)),
                    Start::Graph(start) => Box::new(RunStream::of_graph(|asked| start.begin(asked), asked)),
                    Start::Team(start) => Box::new(RunStream::of_graph(|asked| start.begin(asked), asked)),
                    Start::Call(start) => Box::new(CallEvents::new(*start, asked)),
                };
                Ok(Some(Box::new(Open::new(source)?)))
            }
            State::Open(source) => Ok(Some(source)),
            State::Ended(end) => {
                *self.lock() = State::Ended(end);
                Ok(None)
            }
            State::Reading => Err(failure::read_twice().into()),
        }
    }

    /// Reads for a caller who may be cancelled meanwhile; then it stops and waits until all has ended.
    async fn read(&self, of: &Arc<Caller>, caller: &Caller) -> Result<Batch, Failure> {
        let Some(source) = self.take(of)? else { return Ok(Batch(None)) };
        let mut open = Reading { shared: self, source: Some(source) };
        let events = tokio::select! {
            biased;
            () = caller.token().cancelled() => None,
            events = open.events() => Some(events),
        };
        match events {
            Some(events) if !events.is_empty() => {
                open.give_back();
                return Ok(Batch(Some(events)));
            }
            Some(_) => {}
            None => {
                self.token.cancel();
                while !open.events().await.is_empty() {}
            }
        }
        let ended = open.end().await;
        if ended.is_err() {
            // What the run failed from was told to who asked for it; it is this reader who is told.
            gate::attach(|py| of.taken_cause(py).map(|cause| caller.caused(cause)));
        }
        ended.map(|()| Batch(None))
    }

    /// Reads to the end of what was stopped. How it ended is nobody's business.
    async fn drain(&self) -> Result<(), Failure> {
        let taken = std::mem::replace(&mut *self.lock(), State::Reading);
        let source = match taken {
            State::Open(source) => source,
            State::New(_) => {
                *self.lock() = State::Ended(None);
                return Ok(());
            }
            // Whoever reads sees its end.
            other => {
                *self.lock() = other;
                return Ok(());
            }
        };
        let mut open = Reading { shared: self, source: Some(source) };
        while !open.events().await.is_empty() {}
        drop(open.end().await);
        Ok(())
    }
}

/// A read under way. Dropped in the middle, the stream has ended.
struct Reading<'a> {
    shared: &'a Shared,
    source: Option<Box<dyn Source>>,
}

impl Reading<'_> {
    /// At least one event, and all that are there; none at the end.
    async fn events(&mut self) -> Vec<CoreEvent> {
        let mut events = Vec::new();
        std::future::poll_fn(|cx| {
            let Some(source) = &mut self.source else { return Poll::Ready(()) };
            while events.len() < BATCH {
                match source.poll_event(cx) {
                    Poll::Ready(Some(event)) => events.push(event),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending if events.is_empty() => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(()),
                }
            }
            Poll::Ready(())
        })
        .await;
        events
    }

    fn give_back(&mut self) {
        if let Some(source) = self.source.take() {
            *self.shared.lock() = State::Open(source);
        }
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let Some(source) = self.source.take() else { return Ok(()) };
        let (end, failed) = match source.end().await {
            Ok(end) => (Some(end), Ok(())),
            Err(failed) => (None, Err(failed)),
        };
        *self.shared.lock() = State::Ended(end);
        failed
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.source.is_some() {
            *self.shared.lock() = State::Ended(None);
        }
    }
}
