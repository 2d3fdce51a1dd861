//! Who may call now, who waits, and for how long.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use ambidex_core::{Error, ErrorKind, Usage};
use tokio::time::Instant;

use super::Limits;
use super::estimate::{Estimate, Expected};
use super::queue::{FairQueue, Waiter};
use super::rate::Rate;

/// The limits of one provider and key, shared by all models that use it.
///
/// There is no task behind it. Whoever comes, goes or is polled lets in those whose turn it is, and the first
/// in the queue watches the clock for all.
pub struct Limiter {
    provider: String,
    limits: Limits,
    keys: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: u32,
    requests: Option<Rate>,
    tokens: Option<Rate>,
    queue: FairQueue,
    /// Let in, and not polled since.
    granted: HashMap<u64, Grant>,
    next_call: u64,
    /// The call that watches the clock, and until when.
    watch: Option<(u64, Instant)>,
    estimate: Estimate,
    /// How long a call takes, over the last ones.
    call_time: Option<Duration>,
}

/// A place among the calls under way.
#[derive(Debug)]
pub(super) struct Grant {
    at: Instant,
    tokens: u64,
    /// Its number in each rate.
    request: u64,
    spent: u64,
}

/// A call in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    run: u64,
    call: u64,
}

pub(super) enum Entered {
    In(Grant),
    Waits(Ticket),
}

pub(super) enum Turn {
    Come(Grant),
    /// Until woken; the first in the queue also until then.
    Wait(Option<Instant>),
}

/// How a call ended.
pub(super) enum Ended {
    /// It was never sent.
    Unsent,
    /// It was refused before anything was generated: no tokens, but a request.
    Refused,
    /// Its usage is known.
    Used(Usage),
    /// It broke off, having used about so many tokens.
    Broken(u64),
}

impl Limiter {
    /// `provider` is for messages.
    pub fn new(provider: impl Into<String>, limits: Limits) -> Self {
        let state = State {
            requests: limits.requests_per_minute.map(|limit| Rate::new(limit.into())),
            tokens: limits.tokens_per_minute.map(Rate::new),
            ..State::default()
        };
        Self { provider: provider.into(), limits, keys: RandomState::new(), state: Mutex::new(state) }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// Calls that hold a place.
    pub fn running(&self) -> u32 {
        self.state().running
    }

    /// Whether the size of prompts matters.
    pub(super) fn counts_tokens(&self) -> bool {
        self.limits.tokens_per_minute.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place at once, or one in the queue.
    ///
    /// # Errors
    /// `busy` when the queue is full.
    pub(super) fn enter(
        &self,
        run: &str,
        bytes: u64,
        max_tokens: Option<u32>,
    ) -> Result<(Entered, Expected), Error> {
        let now = Instant::now();
        let mut wake = Vec::new();
        let mut state = self.state();
        let state = &mut *state;
        self.advance(state, now, &mut wake);
        let expected = state.estimate.of(bytes, max_tokens);
        let tokens = expected.tokens();
        let entered = if state.queue.len() == 0 && self.opens(state, tokens, now).is_some_and(|at| at <= now)
        {
            Ok((Entered::In(state.grant(tokens, now)), expected))
        } else if state.queue.len() >= self.limits.queue_size() {
            Err(self.busy(state, tokens))
        } else {
            let ticket = Ticket { run: self.keys.hash_one(run), call: state.next_call };
            state.next_call += 1;
            state.queue.push(ticket.run, ticket.call, Waiter { waker: None, tokens });
            Ok((Entered::Waits(ticket), expected))
        };
        wake_all(wake);
        entered
    }

    /// Asks whether it is the call's turn.
    pub(super) fn turn(&self, ticket: Ticket, waker: &Waker) -> Turn {
        let now = Instant::now();
        let mut wake = Vec::new();
        let mut state = self.state();
        if let Some(waiter) = state.queue.get_mut(ticket.run, ticket.call) {
            match &mut waiter.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        self.advance(&mut state, now, &mut wake);
        let turn = match state.granted.remove(&ticket.call) {
            Some(grant) => Turn::Come(grant),
            None => Turn::Wait(state.watch.filter(|(call, _)| *call == ticket.call).map(|(_, at)| at)),
        };
        drop(state);
        wake_all(wake);
        turn
    }

    /// The call does not wait any longer, or was let in and never began.
    pub(super) fn leave(&self, ticket: Ticket) {
        let granted = {
            let mut state = self.state();
            state.queue.remove(ticket.run, ticket.call);
            state.granted.remove(&ticket.call)
        };
        match granted {
            Some(grant) => self.release(&grant, None, &Ended::Unsent),
            None => self.pass_on(),
        }
    }

    /// The call has ended.
    pub(super) fn release(&self, grant: &Grant, expected: Option<Expected>, ended: &Ended) {
        let now = Instant::now();
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        let truth = match ended {
            Ended::Unsent | Ended::Refused => 0,
            Ended::Used(usage) => usage.total_tokens(),
            Ended::Broken(tokens) => *tokens,
        };
        if let Some(rate) = &mut state.tokens {
            rate.settle(grant.spent, grant.tokens, truth, now);
        }
        if let (Ended::Unsent, Some(rate)) = (ended, &mut state.requests) {
            rate.settle(grant.request, 1, 0, now);
        }
        if let (Ended::Used(usage), Some(expected)) = (ended, expected) {
            state.estimate.learn(expected.bytes, usage);
            let took = now - grant.at;
            state.call_time = Some(state.call_time.map_or(took, |mean| (mean * 9 + took) / 10));
        }
        drop(state);
        self.pass_on();
    }

    /// Lets in whose turn it is now.
    fn pass_on(&self) {
        let mut wake = Vec::new();
        self.advance(&mut self.state(), Instant::now(), &mut wake);
        wake_all(wake);
    }

    fn advance(&self, state: &mut State, now: Instant, wake: &mut Vec<Waker>) {
        loop {
            let Some((call, waiter)) = state.queue.front() else {
                state.watch = None;
                return;
            };
            let tokens = waiter.tokens;
            match self.opens(state, tokens, now) {
                // Whoever ends next, comes here.
                None => {
                    state.watch = None;
                    return;
                }
                Some(at) if at > now => {
                    if state.watch != Some((call, at)) {
                        state.watch = Some((call, at));
                        wake.extend(state.queue.front().and_then(|(_, waiter)| waiter.waker.clone()));
                    }
                    return;
                }
                Some(_) => {
                    let Some((call, waiter)) = state.queue.pop() else { return };
                    let grant = state.grant(tokens, now);
                    state.granted.insert(call, grant);
                    wake.extend(waiter.waker);
                }
            }
        }
    }

    /// When a call of so many tokens may begin; none as long as all places are taken.
    fn opens(&self, state: &mut State, tokens: u64, now: Instant) -> Option<Instant> {
        if self.limits.concurrent.is_some_and(|limit| state.running >= limit.max(1)) {
            return None;
        }
        let requests = state.requests.as_mut().map_or(now, |rate| rate.opens(1, now));
        let tokens = state.tokens.as_mut().map_or(now, |rate| rate.opens(tokens, now));
        Some(requests.max(tokens))
    }

    /// Says to come back when half the queue will be gone: in 1 s to 60 s.
    fn busy(&self, state: &State, tokens: u64) -> Error {
        let waiting = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
        let by_requests = state.requests.as_ref().map(|rate| rate.pace(1));
        let by_tokens = state.tokens.as_ref().map(|rate| rate.pace(tokens));
        let by_places = self.limits.concurrent.zip(state.call_time).map(|(all, time)| time / all.max(1));
        let slowest = [by_requests, by_tokens, by_places].into_iter().flatten().max().unwrap_or_default();
        let wait = slowest.saturating_mul(waiting) / 2;
        let wait = wait.clamp(Duration::from_secs(1), Duration::from_secs(60));
        let text = format!(
            "{waiting} calls wait for provider `{}` already, as many as may (its limits: {}); start fewer at a \
             time, or raise `queue` in the provider's `limits`",
            self.provider, self.limits
        );
        Error::new(ErrorKind::Busy, text).with_provider(&self.provider).with_retry_after(Some(wait))
    }

    /// The error of a call whose time passed in the queue. It was never sent, so it is none of the provider's.
    pub(super) fn too_late(&self, waited: Duration) -> Error {
        let text = format!(
            "the call's time was over after {:.1} s in the queue of provider `{}` (its limits: {}); start fewer \
             calls at a time, or give them more time",
            waited.as_secs_f64(),
            self.provider,
            self.limits
        );
        Error::new(ErrorKind::Busy, text).with_provider(&self.provider)
    }
}

impl State {
    fn grant(&mut self, tokens: u64, now: Instant) -> Grant {
        self.running += 1;
        let request = self.requests.as_mut().map_or(0, |rate| rate.take(1, now));
        let spent = self.tokens.as_mut().map_or(0, |rate| rate.take(tokens, now));
        Grant { at: now, tokens, request, spent }
    }
}

fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("provider", &self.provider)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
