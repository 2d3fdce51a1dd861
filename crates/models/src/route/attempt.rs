//! One target being asked.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote};
use ambidex_core::{BoxStream, Chunk, Context, Error, Request, Usage};
use tokio::time::Instant;

use super::few::Few;
use super::target::Target;
use crate::meter::Meter;

pub(super) struct Attempt {
    /// First, so that its connection is closed before what only listens to its token is told.
    pub(super) stream: BoxStream<'static, Result<Chunk, Error>>,
    own: Own,
    pub(super) meter: Meter,
    pub(super) target: Arc<Target>,
    /// Counts from 1 within the call.
    pub(super) number: u32,
    /// What came before it was known whether this one wins.
    pub(super) held: Few<Chunk>,
    /// When its first content came.
    pub(super) answered: Option<Instant>,
    began: Instant,
}

/// The context of an attempt, where others may run beside it: what a drop does not reach is told by its token.
struct Own(Option<Context>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.cancel();
        }
    }
}

impl Attempt {
    /// `own` says whether the context has a token of its own; `counts` whether characters are counted.
    pub(super) fn new(
        target: Arc<Target>,
        number: u32,
        (request, context): (Request, Context),
        own: bool,
        began: Instant,
        counts: bool,
    ) -> Self {
        target.busy.fetch_add(1, Relaxed);
        Self {
            own: Own(own.then(|| context.clone())),
            stream: target.model.stream(request, context),
            meter: Meter::new(counts),
            target,
            number,
            held: Few::new(),
            answered: None,
            began,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        self.meter.asked = true;
        self.stream.as_mut().poll_next(cx)
    }

    /// Keeps a chunk until it is known whether this one wins.
    pub(super) fn hold(&mut self, chunk: Chunk) {
        match (self.held.last_mut(), chunk) {
            // A reply begins with the response's head, and again with its first event.
            (Some(Chunk::Start { request_id, model }), Chunk::Start { request_id: id, model: name }) => {
                *request_id = id.or(request_id.take());
                *model = name.or(model.take());
            }
            (_, chunk) => self.held.push(chunk),
        }
    }

    /// Takes note of one chunk.
    pub(super) fn see(&mut self, chunk: &Chunk) {
        self.meter.see(chunk);
        if self.meter.whole {
            // Nothing is left to cancel.
            self.own.0 = None;
        }
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn first_token(&self) -> Option<Duration> {
        self.answered.map(|answered| answered - self.began)
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn note(&self, route: &Arc<str>, end: AttemptEnd, usage: Usage) -> Box<AttemptNote> {
        Box::new(AttemptNote {
            route: route.clone(),
            target: self.target.name.clone(),
            attempt: self.number,
            end,
            took: self.took(),
            first_token: self.first_token(),
            usage,
            wait: None,
        })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.target.busy.fetch_sub(1, Relaxed);
    }
}
