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
    stream: Option<BoxStream<'static, Result<Chunk, Error>>>,
    pub(super) meter: Meter,
    pub(super) target: Arc<Target>,
    /// Counts from 1 within the call.
    pub(super) number: u32,
    /// What came before it was known whether this one wins.
    pub(super) held: Few<Chunk>,
    pub(super) first_token: Option<Duration>,
    began: Instant,
    /// Its own, where others may run beside it: what a drop does not reach is told by its token.
    own: Option<CancellationToken>,
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
            stream: Some(target.model.stream(request, context)),
            meter: Meter::new(counts),
            target,
            number,
            held: Few::new(),
            first_token: None,
            began,
            own,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        self.meter.asked = true;
        self.pass(cx)
    }

    /// Polls it again.
    #[inline]
    pub(super) fn pass(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        match &mut self.stream {
            Some(stream) => stream.as_mut().poll_next(cx),
            None => Poll::Ready(None),
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
        // The connection first, then what only listens to its token.
        self.stream = None;
        self.target.busy.fetch_sub(1, Relaxed);
        if let Some(own) = &self.own
            && !self.meter.whole
        {
            own.cancel();
        }
    }
}
