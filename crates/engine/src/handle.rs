//! A run under way, from outside.

use std::sync::Arc;

use ambidex_core::context::{EventSink, RunScope};
use ambidex_core::message::Message;
use ambidex_core::question::{Answer, AnswerError};
use ambidex_core::record::Input;
use ambidex_core::run::Run;
use ambidex_core::wire::WireCache;
use ambidex_core::{Context, Error, ErrorKind};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::agent::RunOptions;
use crate::carrier::Carrier;
use crate::engine::Engine;
use crate::events::{EventQueue, EventStream};
use crate::hook::steering;
use crate::lease::HeldLease;
use crate::mailbox::{Mailbox, Unsent};
use crate::result::{RunError, RunResult};
use crate::run_loop::RunLoop;
use crate::threads::Turn;

/// Runs that one may be inside of.
const MAX_DEPTH: u32 = 16;

/// Watches and steers one run. Dropping it cancels the run, unless it was detached.
pub struct RunHandle {
    id: Arc<str>,
    engine: Engine,
    mailbox: Arc<Mailbox>,
    token: CancellationToken,
    events: Option<EventStream>,
    outcome: Option<oneshot::Receiver<Result<RunResult, Error>>>,
    cancels: bool,
}

impl RunHandle {
    /// A run as a task of its own.
    pub(crate) fn launch(
        carrier: Carrier,
        id: Arc<str>,
        stored: Option<(Run, u64)>,
        inputs: Vec<Input>,
        options: &RunOptions,
        watched: bool,
    ) -> Result<Self, Error> {
        let (handle, run_loop) = Self::prepare(carrier, id, stored, options, watched)?;
        Ok(handle.driven(run_loop, inputs))
    }

    /// Drives the run as a task.
    pub(crate) fn driven(mut self, run_loop: Box<RunLoop>, inputs: Vec<Input>) -> Self {
        let (sender, receiver) = oneshot::channel();
        // The watcher may be gone; the run is stored all the same.
        let done = move |result| drop(sender.send(result));
        self.engine.runs().spawn(run_loop.run_to_rest(inputs).map(done));
        self.outcome = Some(receiver);
        self
    }

    /// A run that nobody drives yet.
    pub(crate) fn prepare(
        carrier: Carrier,
        id: Arc<str>,
        stored: Option<(Run, u64)>,
        options: &RunOptions,
        watched: bool,
    ) -> Result<(Self, Box<RunLoop>), Error> {
        let engine = carrier.engine().clone();
        if tokio::runtime::Handle::try_current().is_err() {
            let text = "a run needs a tokio runtime; use `.blocking()` where there is none";
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        }
        let depth = options.parent.as_ref().map_or(0, |parent| parent.depth() + 1);
        if depth > MAX_DEPTH {
            let text = format!(
                "runs are nested {MAX_DEPTH} deep: a tool runs an agent whose tool runs an agent, and so on; give \
                 that an end"
            );
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        }
        let is_claimed = stored.is_some();
        let (run, epoch) = match stored {
            None => (Run::new(id.clone(), carrier.pinned().clone()), 1),
            Some(stored) => stored,
        };
        let thread = options.thread.as_deref().or_else(|| run.thread()).map(Arc::from);
        let queue = watched.then(|| EventQueue::new(*engine.clock()));
        let events =
            queue.clone().map(|queue| EventStream::new(queue, id.clone(), thread, carrier.name().clone()));
        let scope = Arc::new(RunScope {
            run: id.clone(),
            wire: WireCache::default(),
            sink: queue.clone().map(|queue| queue as Arc<dyn EventSink>),
            threads: Some(engine.blocking_threads().clone()),
            caller: options.caller.clone(),
            depth,
            reports: Arc::default(),
        });
        let mailbox = Arc::new(Mailbox::default());
        let above = options.token.as_ref().or_else(|| options.parent.as_ref().map(Context::token));
        let token = above.map_or_else(CancellationToken::new, CancellationToken::child_token);
        let lease = engine.durable();
        let lease =
            lease.map(|durable| HeldLease::new(durable, id.clone(), epoch, *engine.clock(), is_claimed));
        let turn = Turn::of(&carrier, &run, options, is_claimed)?;
        let mut run_loop = RunLoop::new(
            carrier,
            run,
            epoch,
            scope,
            queue,
            mailbox.clone(),
            token.clone(),
            options.on_waiting,
            options.parent.as_ref().map(Context::lend),
            lease.map(Box::new),
        );
        run_loop.turn = turn.map(Box::new);
        let handle = Self { id, engine, mailbox, token, events, outcome: None, cancels: true };
        Ok((handle, Box::new(run_loop)))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The run's events. Taken once; later calls, and those of an unwatched run, give an empty stream.
    pub fn take_events(&mut self) -> EventStream {
        self.events.take().unwrap_or_else(|| {
            let queue = EventQueue::new(*self.engine.clock());
            queue.end();
            EventStream::new(queue, self.id.clone(), None, "".into())
        })
    }

    /// Gives the model a message before its next call.
    ///
    /// # Errors
    /// `busy`: too many messages wait already. `invalid_request`: the run has come to rest.
    pub fn steer(&self, text: impl Into<String>) -> Result<(), Error> {
        self.send(Input::Message(steering(text)))
    }

    /// Like [`RunHandle::steer`], with parts other than text.
    pub fn steer_with(&self, message: Arc<Message>) -> Result<(), Error> {
        self.send(Input::Message(message))
    }

    /// Lets what is in flight end and starts nothing more until the run is resumed.
    pub fn pause(&self) -> Result<(), Error> {
        self.send(Input::Pause)
    }

    fn send(&self, input: Input) -> Result<(), Error> {
        self.mailbox.send(input).map_err(|unsent| match unsent {
            Unsent::Full => Error::new(ErrorKind::Busy, "the run has not taken in earlier messages yet"),
            Unsent::Closed => {
                let text = "the run has come to rest; resume it, or start another";
                Error::new(ErrorKind::InvalidRequest, text)
            }
        })
    }

    /// Answers a question of this run.
    ///
    /// # Errors
    /// There is no such question, it is closed, or this is no answer to it and it stays open.
    pub async fn answer(&self, question: &str, answer: Answer) -> Result<(), AnswerError> {
        self.engine.answer(question, answer).await
    }

    /// Ends the run: calls under way are stopped and answered, and `run.finished` says so. Twice is once.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// A token that cancels the run.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Lets the run go on when this handle is dropped.
    pub fn detach(&mut self) {
        self.cancels = false;
    }

    /// Waits until the run comes to rest. Dropping the future cancels the run.
    ///
    /// # Errors
    /// The run failed, was cancelled, or could not be driven on (its store failed or another process
    /// took it).
    pub async fn outcome(mut self) -> Result<RunResult, RunError> {
        let Some(receiver) = self.outcome.take() else {
            return Err(lost().into());
        };
        let result = receiver.await.unwrap_or_else(|_| Err(lost()))?;
        self.cancels = false;
        result.ended()
    }
}

/// Its driver ended without a word.
pub(crate) fn lost() -> Error {
    let text = "the run's driver is gone: its runtime was shut down, or it failed";
    Error::new(ErrorKind::Internal, text)
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        if self.cancels {
            self.token.cancel();
        }
    }
}
