//! One target being asked.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote};
use ambidex_core::{BoxStream, Chunk, Context, Error, Request, Usage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
    pub(super) first_token: Option<Duration>,
    began: Instant,
}

/// The token of an attempt, where others may run beside it: what a drop does not reach is told by it.
struct Own(Option<CancellationToken>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(token) = &self.0 {
            token.cancel();
        }
    }
}

impl Attempt {
    /// `own` is the token of the call, where it has one of its own; `counts` says whether characters are counted.
    pub(super) fn new(
        target: Arc<Target>,
        number: u32,
        (request, context): (Request, Context),
        own: Option<CancellationToken>,
        began: Instant,
        counts: bool,
    ) -> Self {
        target.busy.fetch_add(1, Relaxed);
        Self {
            stream: target.model.stream(request, context),
            own: Own(own),
            meter: Meter::new(counts),
            target,
            number,
            held: Few::new(),
            first_token: None,
            began,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        self.meter.asked = true;
        self.stream.as_mut().poll_next(cx)
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
            first_token: self.first_token,
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
