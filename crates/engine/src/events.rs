//! Events on their way from a run to its watcher.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ambidex_core::context::EventSink;
use ambidex_core::event::{Event, EventKind, Timestamp};
use ambidex_core::run::Occurrence;
use futures_core::Stream;

use crate::clock::Clock;

/// Progress of one call that waits for its watcher; of more, the oldest is dropped.
const UNREAD_PROGRESS: usize = 64;

/// Between one run and one watcher. Deltas that the watcher has not taken yet are joined, and only the
/// latest progress of each call is kept, so the queue is bounded by the run's steps and not by what is said
/// in them; nothing else is dropped. Events are numbered when they are taken.
pub(crate) struct EventQueue {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waker: Option<Waker>,
    /// No more events will come.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
}

struct Waiting {
    at: u64,
    step: Option<(Arc<str>, u32)>,
    kind: EventKind,
}

impl EventQueue {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        // Room for what the end of a call says at once, a route's notes among it.
        let state = State { waiting: VecDeque::with_capacity(8), ..State::default() };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, occurrences: Vec<Occurrence>) {
        if occurrences.is_empty() {
            return;
        }
        let at = self.clock.now();
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        // What a thread that outlived its call still has to say comes too late.
        state.ended |=
            matches!(occurrences.last(), Some(last) if matches!(last.kind, EventKind::RunFinished { .. }));
        state.waiting.extend(occurrences.into_iter().map(|occurrence| Waiting {
            at,
            step: occurrence.step.map(|(id, attempt)| (id.shared(), attempt)),
            kind: occurrence.kind,
        }));
        wake(state);
    }

    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        wake(state);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl EventSink for EventQueue {
    fn emit(&self, effect: &Arc<str>, attempt: u32, kind: EventKind) {
        self.emit_all(effect, attempt, &mut std::iter::once(kind));
    }

    fn emit_all(&self, effect: &Arc<str>, attempt: u32, events: &mut dyn Iterator<Item = EventKind>) {
        let mut state = self.state();
        if state.abandoned || state.ended {
            return;
        }
        let at = self.clock.now();
        let mut added = false;
        for kind in events {
            if let Some(last) = state.waiting.back_mut()
                && matches!(&last.step, Some((id, n)) if id == effect && *n == attempt)
                && last.kind.join(&kind)
            {
                continue;
            }
            if matches!(kind, EventKind::ToolProgress { .. }) {
                state.forget_old_progress(effect);
            }
            state.waiting.push_back(Waiting { at, step: Some((effect.clone(), attempt)), kind });
            added = true;
        }
        if added {
            wake(state);
        }
    }
}

impl State {
    /// Makes room for one more progress of this call.
    fn forget_old_progress(&mut self, effect: &Arc<str>) {
        let mut unread = 0;
        for index in (0..self.waiting.len()).rev() {
            let waiting = &self.waiting[index];
            if !matches!(&waiting.step, Some((id, _)) if id == effect) {
                continue;
            }
            if !matches!(waiting.kind, EventKind::ToolProgress { .. }) {
                return; // the call began here
            }
            unread += 1;
            if unread == UNREAD_PROGRESS {
                self.waiting.remove(index);
                return;
            }
        }
    }
}

/// The events of a run, in order, numbered from 1 without gaps; `run.finished` is the last of a run
/// that ended. Ends also where the run comes to rest: paused, or waiting for a person.
pub struct EventStream {
    queue: Arc<EventQueue>,
    run: Arc<str>,
    thread: Option<Arc<str>>,
    agent: Arc<str>,
    seq: u64,
}

impl EventStream {
    pub(crate) fn new(
        queue: Arc<EventQueue>,
        run: Arc<str>,
        thread: Option<Arc<str>>,
        agent: Arc<str>,
    ) -> Self {
        Self { queue, run, thread, agent, seq: 0 }
    }

    /// The next event; nothing when there will be none.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn number(&mut self, waiting: Waiting) -> Event {
        self.seq += 1;
        let (step, attempt) = match waiting.step {
            Some((step, attempt)) => (Some(step), Some(attempt)),
            None => (None, None),
        };
        Event {
            seq: self.seq,
            ts: Timestamp(waiting.at),
            run: self.run.clone(),
            thread: self.thread.clone(),
            step,
            agent: Some(self.agent.clone()),
            attempt,
            kind: waiting.kind,
        }
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let waiting = {
            let mut state = self.queue.state();
            match state.waiting.pop_front() {
                Some(waiting) => waiting,
                None if state.ended => return Poll::Ready(None),
                None => {
                    match &mut state.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => state.waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(Some(self.number(waiting)))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.abandoned = true;
        state.waiting = VecDeque::new();
    }
}
