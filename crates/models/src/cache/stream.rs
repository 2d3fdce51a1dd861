//! One call of a model with a cache: a kept reply, or a call that may be others' too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ambidex_core::chunk::{CachedNote, RouteNote};
use ambidex_core::{Chunk, Context, Error, ErrorKind, Request};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::flight::{Flight, Landed, Next, Seat};
use super::kept::Kept;
use super::key::Key;
use super::{Found, ReplyCache, Shared};

/// How often a call under way may fail before its error is that of all who waited.
const ATTEMPTS: u32 = 2;

pub(super) struct CachedStream {
    shared: Arc<Shared>,
    request: Request,
    context: Context,
    state: State,
    deadline: Option<Pin<Box<Sleep>>>,
    failed: u32,
}

enum State {
    Start,
    Kept { chunks: Arc<[Chunk]>, at: usize },
    Waits(Box<Passenger>),
    Over,
}

/// One who waits for a flight; leaves it when dropped.
struct Passenger {
    cache: Arc<ReplyCache>,
    key: Key,
    flight: Arc<Flight>,
    seat: Seat,
    /// Whether something of the answer was given.
    shown: bool,
}

impl Drop for Passenger {
    fn drop(&mut self) {
        if self.flight.leave(&self.seat) {
            self.cache.land(&self.key, &self.flight, None);
        }
        self.cache.leave(&self.key, &self.flight);
    }
}

impl CachedStream {
    pub(super) fn new(shared: Arc<Shared>, request: Request, context: Context) -> Self {
        Self { shared, request, context, state: State::Start, deadline: None, failed: 0 }
    }

    /// Looks for the reply; gives the note that says where it comes from, where the model is not asked.
    fn start(&mut self) -> Result<Option<RouteNote>, Error> {
        if self.context.is_cancelled() {
            return Err(Error::cancelled());
        }
        let Shared { inner, cache, name, frames } = &*self.shared;
        let key = frames.key(&self.request, &self.context)?;
        // Those who wait have times and tokens of their own; the call ends when the last of them is gone.
        let begin = || Flight::new(inner.clone(), self.request.clone(), self.context.shared());
        let note = |age| RouteNote::Cached(Box::new(CachedNote { target: name.clone(), age }));
        Ok(match cache.find(&key, begin) {
            Found::Kept(kept) => {
                self.state = State::Kept { chunks: kept.chunks, at: 0 };
                Some(note(Some(kept.since.elapsed())))
            }
            Found::Flight { flight, number, first } => {
                let seat = Seat { number, seen: 0, pays: first, ended: false, over: false };
                let cache = cache.clone();
                if self.deadline.is_none() {
                    self.deadline = self.context.time_left().map(|left| Box::pin(sleep(left)));
                }
                self.state = State::Waits(Box::new(Passenger { cache, key, flight, seat, shown: false }));
                (!first).then(|| note(None))
            }
        })
    }

    /// Whether the call's failure is no answer to this one yet.
    fn tries_again(&mut self, error: Option<&Error>) -> bool {
        let State::Waits(passenger) = &self.state else { return false };
        let retryable = error.is_none_or(Error::is_retryable);
        if passenger.seat.pays || passenger.shown || !retryable {
            return false;
        }
        self.failed += 1;
        self.failed < ATTEMPTS
    }

    fn timed_out(&self) -> Error {
        let left = self.context.time_left().unwrap_or(Duration::ZERO);
        let text = format!("the call took longer than the {:.1} s it had", left.as_secs_f64());
        Error::new(ErrorKind::Timeout, text).with_provider(&self.shared.inner.info().provider)
    }
}

impl Passenger {
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Next> {
        let Self { cache, key, flight, seat, shown } = self;
        let land = |landed: Landed<'_>| {
            let kept = match landed {
                Landed::Whole(chunks) => {
                    let now = Instant::now();
                    now.checked_add(cache.ttl).and_then(|until| Kept::of(chunks, now, until))
                }
                Landed::Failed => None,
            };
            cache.land(key, flight, kept);
        };
        let next = flight.poll(seat, cx.waker(), land);
        if let Poll::Ready(Next::Chunk(chunk)) = &next {
            *shown =
                (*shown && !matches!(chunk, Chunk::Note(RouteNote::Restarted { .. }))) || chunk.is_content();
        }
        next
    }
}

impl Stream for CachedStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Over => return Poll::Ready(None),
                State::Start => match this.start() {
                    Ok(None) => {}
                    Ok(Some(note)) => return Poll::Ready(Some(Ok(Chunk::Note(note)))),
                    Err(error) => {
                        this.state = State::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Kept { chunks, at } => {
                    let chunk = chunks.get(*at).cloned();
                    *at += 1;
                    if chunk.is_none() {
                        this.state = State::Over;
                    }
                    return Poll::Ready(chunk.map(Ok));
                }
                State::Waits(passenger) => {
                    let error = match passenger.poll(cx) {
                        Poll::Ready(Next::Chunk(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                        Poll::Ready(Next::Over(error)) => error,
                        Poll::Pending => {
                            let Some(deadline) = &mut this.deadline else { return Poll::Pending };
                            std::task::ready!(deadline.as_mut().poll(cx));
                            let error = this.timed_out();
                            this.state = State::Over;
                            return Poll::Ready(Some(Err(error)));
                        }
                    };
                    let ended_well = error.is_none() && passenger.seat.ended;
                    if !ended_well && this.tries_again(error.as_ref()) {
                        this.state = State::Start;
                        continue;
                    }
                    this.state = State::Over;
                    return Poll::Ready(error.map(Err));
                }
            }
        }
    }
}
