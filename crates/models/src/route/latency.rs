//! How long a target's first token took of late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times that are kept.
const WINDOW: usize = 128;
/// Below so many the percentile says little.
const ENOUGH: usize = 20;
/// The percentile is found again after so many new times.
const STALE: usize = 8;
/// How much a new time moves the average.
const SHARE: f64 = 0.3;

#[derive(Debug, Default)]
pub(super) struct Latency(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// A ring, in the order they came.
    ring: Vec<Duration>,
    next: usize,
    fresh: usize,
    p95: Option<Duration>,
    average: Option<f64>,
}

impl Latency {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, time: Duration) {
        let mut times = self.times();
        let seconds = time.as_secs_f64();
        times.average = Some(times.average.map_or(seconds, |before| before + SHARE * (seconds - before)));
        let next = times.next;
        match times.ring.get_mut(next) {
            Some(place) => *place = time,
            None => times.ring.push(time),
        }
        times.next = (next + 1) % WINDOW;
        times.fresh += 1;
        if times.ring.len() >= ENOUGH && (times.p95.is_none() || times.fresh >= STALE) {
            let mut sorted = times.ring.clone();
            let place = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
            times.p95 = Some(*sorted.select_nth_unstable(place).1);
            times.fresh = 0;
        }
    }

    /// A failure: no token came, so the time is taken as twice as long as it is on average, 1 s at least.
    pub(super) fn record_failure(&self, took: Duration) {
        let mut times = self.times();
        let doubled = (times.average.unwrap_or_default() * 2.0).max(1.0).max(took.as_secs_f64());
        times.average = Some(doubled.min(3600.0));
    }

    /// The 95th percentile, once enough is known.
    pub(super) fn p95(&self) -> Option<Duration> {
        self.times().p95
    }

    /// A running average in seconds, in which later times count more.
    pub(super) fn average(&self) -> Option<f64> {
        self.times().average
    }
}
