//! One target of a route, and what its calls share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambidex_core::{Error, ErrorKind, Model};
use tokio::time::Instant;

use super::latency::Latency;

/// A target that asks for more time than this is asked again after it all the same.
const LONGEST_REST: Duration = Duration::from_secs(300);

pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) model: Arc<dyn Model>,
    pub(super) latency: Latency,
    /// Attempts of this route under way.
    pub(super) busy: AtomicUsize,
    /// The number of the pick that last took it.
    pub(super) picked: AtomicU64,
    /// Whether it asked not to be asked for a while; then `rest` says until when.
    rests: AtomicBool,
    rest: Mutex<Option<Instant>>,
}

impl Target {
    pub(super) fn new(model: Arc<dyn Model>) -> Self {
        Self {
            name: model.info().name.as_str().into(),
            model,
            latency: Latency::default(),
            busy: AtomicUsize::new(0),
            picked: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            rest: Mutex::default(),
        }
    }

    /// Keeps what the target said about when to come again.
    pub(super) fn take_note(&self, error: &Error, now: Instant) {
        // A breaker and a queue know themselves when they are free again.
        if matches!(error.kind(), ErrorKind::BreakerOpen | ErrorKind::Busy) {
            return;
        }
        if let Some(wait) = error.retry_after() {
            let until = now + wait.min(LONGEST_REST);
            let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
            *rest = Some(rest.map_or(until, |before| before.max(until)));
            self.rests.store(true, Ordering::Release);
        }
    }

    /// Why it must not be asked now.
    pub(super) fn rests(&self) -> Option<Error> {
        if !self.rests.load(Ordering::Acquire) {
            return None;
        }
        let now = Instant::now();
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let until = (*rest)?;
        if until <= now {
            *rest = None;
            self.rests.store(false, Ordering::Release);
            return None;
        }
        let left = until - now;
        let text = format!("`{}` asked to be left alone for another {:.1} s", self.name, left.as_secs_f64());
        let provider = &self.model.info().provider;
        Some(Error::new(ErrorKind::RateLimited, text).with_provider(provider).with_retry_after(Some(left)))
    }
}
