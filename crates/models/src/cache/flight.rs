//! One call that several wait for. It is polled by whoever of them is, so it goes on as long as one is there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};

use ambidex_core::chunk::RouteNote;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Model, Request};

/// The call, and what it gave so far.
pub(super) struct Flight {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

struct State {
    source: Source,
    chunks: Vec<Chunk>,
    /// Those before it are void.
    from: usize,
    /// Who began it has left, and the next to be told its usage counts it.
    unpaid: bool,
}

enum Source {
    /// Begun by whoever polls first.
    Start(Box<(Arc<dyn Model>, Request, Context)>),
    Streams(BoxStream<'static, Result<Chunk, Error>>),
    /// Inside a poll; after it, only where that panicked, and until its caller has left.
    Polled,
    Over(Option<Error>),
}

/// One of those who wait for a flight.
pub(super) struct Seat {
    pub number: u64,
    /// Chunks it was given.
    pub seen: usize,
    /// Whether the call's usage is its own.
    pub pays: bool,
    /// Whether it was given the reply's end.
    pub ended: bool,
    /// Whether it was told how the call ended.
    pub over: bool,
}

/// What happened when a flight was polled.
pub(super) enum Next {
    Chunk(Chunk),
    Over(Option<Error>),
}

/// What the poll brought that all should know.
pub(super) enum Landed<'a> {
    /// The reply is whole: all chunks.
    Whole(&'a [Chunk]),
    Failed,
}

impl Flight {
    pub fn new(model: Arc<dyn Model>, request: Request, context: Context) -> Self {
        let source = Source::Start(Box::new((model, request, context)));
        let state = State { source, chunks: Vec::new(), from: 0, unpaid: false };
        let waiting = Waiting { wakers: Mutex::default(), ready: AtomicBool::new(true) };
        Self { state: Mutex::new(state), waiting: Arc::new(waiting) }
    }

    /// The next chunk for one who waits. `land` is told once how the call ended.
    pub fn poll(&self, seat: &mut Seat, waker: &Waker, land: impl Fn(Landed<'_>)) -> Poll<Next> {
        // First, so that no chunk comes in between unnoticed.
        self.waiting.add(seat.number, waker);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        loop {
            if seat.seen == 0 {
                seat.seen = state.from;
            }
            if let Some(chunk) = state.chunks.get(seat.seen) {
                seat.seen += 1;
                return Poll::Ready(Next::Chunk(state.hand(chunk.clone(), seat)));
            }
            if let Source::Over(error) = &state.source {
                seat.over = true;
                return Poll::Ready(Next::Over(error.clone()));
            }
            if !self.waiting.ready.swap(false, Ordering::AcqRel) {
                return Poll::Pending;
            }
            match state.advance(&self.waiting) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {
                    self.waiting.ready.store(true, Ordering::Release);
                    match (&state.source, state.chunks.last()) {
                        (Source::Over(_), last) if !matches!(last, Some(Chunk::End(_))) => {
                            land(Landed::Failed)
                        }
                        (Source::Streams(_), Some(Chunk::End(_))) => land(Landed::Whole(&state.chunks)),
                        _ => {}
                    }
                    self.waiting.wake_others(seat.number);
                }
            }
        }
    }

    /// One who waited is gone. Whether he took the call along: it panicked while he polled it.
    pub fn leave(&self, seat: &Seat) -> bool {
        self.waiting.forget(seat.number);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unpaid |= seat.pays && !seat.over;
        if !matches!(state.source, Source::Polled) {
            return false;
        }
        state.source = Source::Over(Some(Error::new(ErrorKind::Internal, "the model panicked")));
        drop(state);
        self.waiting.wake_others(seat.number);
        true
    }
}

impl State {
    /// Polls the call once. Ready: there is a further chunk, or it is over.
    fn advance(&mut self, waiting: &Arc<Waiting>) -> Poll<()> {
        let mut stream = match std::mem::replace(&mut self.source, Source::Polled) {
            Source::Start(start) => {
                let (model, request, context) = *start;
                model.stream(request, context)
            }
            Source::Streams(stream) => stream,
            other @ (Source::Polled | Source::Over(_)) => {
                self.source = other;
                return Poll::Pending;
            }
        };
        let waker = Waker::from(waiting.clone());
        let polled = stream.as_mut().poll_next(&mut std::task::Context::from_waker(&waker));
        self.source = match polled {
            Poll::Pending => {
                self.source = Source::Streams(stream);
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(chunk))) => {
                let void = matches!(chunk, Chunk::Note(RouteNote::Restarted { .. }));
                self.chunks.push(chunk);
                if void {
                    self.from = self.chunks.len();
                }
                Source::Streams(stream)
            }
            Poll::Ready(Some(Err(error))) => Source::Over(Some(error)),
            Poll::Ready(None) => Source::Over(None),
        };
        Poll::Ready(())
    }

    /// The chunk as it is given to this one: usage counts once.
    fn hand(&mut self, chunk: Chunk, seat: &mut Seat) -> Chunk {
        match chunk {
            Chunk::Usage(usage) => {
                seat.pays |= std::mem::take(&mut self.unpaid);
                Chunk::Usage(if seat.pays { usage } else { super::kept::nothing_used() })
            }
            other => {
                seat.ended |= matches!(other, Chunk::End(_));
                seat.over |= seat.ended;
                other
            }
        }
    }
}

/// Those who wait, by their numbers.
struct Waiting {
    wakers: Mutex<HashMap<u64, Waker>>,
    /// The call has something new, or was never polled. Else nobody needs to poll it.
    ready: AtomicBool,
}

impl Waiting {
    fn add(&self, number: u64, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.entry(number).and_modify(|known| known.clone_from(waker)).or_insert_with(|| waker.clone());
    }

    fn forget(&self, number: u64) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn wake_others(&self, number: u64) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = wakers.remove(&number);
        let others = std::mem::take(&mut *wakers);
        wakers.extend(own.map(|own| (number, own)));
        drop(wakers);
        others.into_values().for_each(Waker::wake);
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.ready.store(true, Ordering::Release);
        let all = std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().for_each(Waker::wake);
    }
}
