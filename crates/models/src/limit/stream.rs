//! One call under limits: it waits for its turn, then holds its place until it has ended or is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::{RouteNote, WaitNote};
use ambidex_core::{BoxFuture, BoxStream, Chunk, Context, Error, Model, Request, Usage};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::estimate::Expected;
use super::limiter::{Ended, Entered, Grant, Limiter, Ticket, Turn};
use crate::prompt_size::{BYTES_PER_TOKEN, prompt_bytes};

type Inner = BoxStream<'static, Result<Chunk, Error>>;

pub(super) struct LimitStream {
    model: Arc<dyn Model>,
    limiter: Arc<Limiter>,
    state: State,
}

enum State {
    Start {
        request: Request,
        context: Context,
    },
    Waits(Box<Waits>),
    /// The connection is closed before the place is free.
    Runs {
        inner: Inner,
        place: Place,
    },
    Over,
}

struct Waits {
    // Dropped before the rest, so that a place is given back first.
    queued: Queued,
    request: Request,
    context: Context,
    since: Instant,
    expected: Expected,
    cancelled: BoxFuture<'static, ()>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// When watchers are told that it waits.
    patience: Option<Pin<Box<Sleep>>>,
    /// Set while this call watches the clock for the queue.
    watch: Option<Pin<Box<Sleep>>>,
}

/// A call in the queue; leaves it when dropped.
struct Queued {
    limiter: Arc<Limiter>,
    ticket: Option<Ticket>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.limiter.leave(ticket);
        }
    }
}

/// A place among the calls under way; given back when dropped.
struct Place {
    limiter: Arc<Limiter>,
    grant: Grant,
    expected: Expected,
    usage: Option<Usage>,
    /// Bytes of content.
    received: u64,
    whole: bool,
    refused: bool,
}

/// A shorter wait is not worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

impl Drop for Place {
    fn drop(&mut self) {
        let guess = self.expected.input.saturating_add(self.received.div_ceil(BYTES_PER_TOKEN));
        let ended = match self.usage {
            Some(usage) if self.whole => Ended::Used(usage),
            // What was counted before the end may lack the output.
            Some(usage) => Ended::Broken(usage.total_tokens().max(guess)),
            None if self.refused && self.received == 0 => Ended::Refused,
            None => Ended::Broken(guess),
        };
        self.limiter.release(&self.grant, Some(self.expected), &ended);
    }
}

impl Place {
    fn note(&mut self, item: &Result<Chunk, Error>) {
        match item {
            Ok(
                Chunk::Text { text, .. }
                | Chunk::Reasoning { text, .. }
                | Chunk::Refusal { text, .. }
                | Chunk::Arguments { text, .. },
            ) => self.received += text.len() as u64,
            Ok(Chunk::Usage(usage)) => self.usage = Some(*usage),
            Ok(Chunk::End(_)) => self.whole = true,
            Ok(_) => {}
            Err(_) => self.refused = true,
        }
    }
}

impl LimitStream {
    pub(super) fn new(
        model: Arc<dyn Model>,
        limiter: Arc<Limiter>,
        request: Request,
        context: Context,
    ) -> Self {
        Self { model, limiter, state: State::Start { request, context } }
    }

    fn enter(&mut self, request: Request, context: Context) -> Result<State, Error> {
        if context.is_cancelled() {
            return Err(Error::cancelled());
        }
        let bytes = if self.limiter.counts_tokens() { prompt_bytes(&request) } else { 0 };
        let (entered, expected) = self.limiter.enter(context.run(), bytes, request.settings.max_tokens)?;
        Ok(match entered {
            Entered::In(grant) => self.begin(grant, expected, request, context),
            Entered::Waits(ticket) => {
                let since = Instant::now();
                let end = context.time_left().and_then(|left| since.checked_add(left));
                let token = context.token().clone();
                State::Waits(Box::new(Waits {
                    queued: Queued { limiter: self.limiter.clone(), ticket: Some(ticket) },
                    request,
                    cancelled: Box::pin(async move { token.cancelled().await }),
                    patience: context.is_watched().then(|| Box::pin(sleep_until(since + PATIENCE))),
                    context,
                    since,
                    expected,
                    deadline: end.map(|end| Box::pin(sleep_until(end))),
                    watch: None,
                }))
            }
        })
    }

    fn note(&self) -> RouteNote {
        let info = self.model.info();
        RouteNote::Waits(Box::new(WaitNote {
            target: info.name.as_str().into(),
            provider: info.provider.as_str().into(),
            limits: self.limiter.limits().to_string(),
            waiting: self.limiter.waiting(),
        }))
    }

    fn begin(&self, grant: Grant, expected: Expected, request: Request, context: Context) -> State {
        let limiter = self.limiter.clone();
        let place =
            Place { limiter, grant, expected, usage: None, received: 0, whole: false, refused: false };
        State::Runs { place, inner: self.model.stream(request, context) }
    }
}

impl Waits {
    /// Its place, once it is its turn; none where it is time to say that it waits.
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<Option<Grant>, Error>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::cancelled()));
        }
        let Some(ticket) = self.queued.ticket else { return Poll::Pending };
        loop {
            let watch = match self.queued.limiter.turn(ticket, cx.waker()) {
                Turn::Come(grant) => {
                    self.queued.ticket = None;
                    return Poll::Ready(Ok(Some(grant)));
                }
                Turn::Wait(watch) => watch,
            };
            if self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready()) {
                self.patience = None;
                return Poll::Ready(Ok(None));
            }
            let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
            if late {
                return Poll::Ready(Err(self.queued.limiter.too_late(self.since.elapsed())));
            }
            match (watch, &mut self.watch) {
                (None, timer) => {
                    *timer = None;
                    return Poll::Pending;
                }
                (Some(until), Some(timer)) => {
                    if timer.deadline() != until {
                        timer.as_mut().reset(until);
                    }
                }
                (Some(until), timer) => *timer = Some(Box::pin(sleep_until(until))),
            }
            if let Some(timer) = &mut self.watch {
                ready!(timer.as_mut().poll(cx));
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        self.context.time_left().map(|left| left.saturating_sub(self.since.elapsed()))
    }
}

impl Stream for LimitStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let State::Runs { inner, place } = &mut this.state {
                let item = ready!(inner.as_mut().poll_next(cx));
                if let Some(item) = &item {
                    place.note(item);
                }
                if item.as_ref().is_none_or(Result::is_err) {
                    this.state = State::Over;
                }
                return Poll::Ready(item);
            }
            match std::mem::replace(&mut this.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Start { request, context } => match this.enter(request, context) {
                    Ok(state) => this.state = state,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                State::Waits(mut waits) => match waits.poll(cx) {
                    Poll::Pending => {
                        this.state = State::Waits(waits);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(None)) => {
                        let note = this.note();
                        this.state = State::Waits(waits);
                        return Poll::Ready(Some(Ok(Chunk::Note(note))));
                    }
                    Poll::Ready(Ok(Some(grant))) => {
                        let context = match waits.time_left() {
                            Some(left) => waits.context.with_time_left(left),
                            None => waits.context.clone(),
                        };
                        this.state = this.begin(grant, waits.expected, waits.request.clone(), context);
                    }
                },
                runs @ State::Runs { .. } => this.state = runs,
            }
        }
    }
}
