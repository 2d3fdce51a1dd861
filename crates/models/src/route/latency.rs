//! How long a target's first token took of late.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times that are kept.
const WINDOW: usize = 128;
/// Below so many the percentile says little.
const ENOUGH: usize = 20;
/// How much a new time moves the average.
const SHARE: f64 = 0.3;

#[derive(Debug, Default)]
pub(super) struct Latency(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// Nanoseconds, a ring in the order they came.
    ring: Vec<u64>,
    next: usize,
    /// The same by length.
    sorted: Vec<u64>,
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
        times.keep(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A failure: no token came, so the time is taken as twice as long as it is on average, 1 s at least.
    pub(super) fn record_failure(&self, took: Duration) {
        let mut times = self.times();
        let doubled = (times.average.unwrap_or_default() * 2.0).max(1.0).max(took.as_secs_f64());
        times.average = Some(doubled.min(3600.0));
    }

    /// The 95th percentile, once enough is known.
    pub(super) fn p95(&self) -> Option<Duration> {
        let times = self.times();
        let known = times.sorted.len();
        let place = (known * 95).div_ceil(100).saturating_sub(1);
        times.sorted.get(place).filter(|_| known >= ENOUGH).map(|time| Duration::from_nanos(*time))
    }

    /// A running average in seconds, in which later times count more.
    pub(super) fn average(&self) -> Option<f64> {
        self.times().average
    }
}

impl Times {
    /// Puts a time in the place of the oldest, where there are enough.
    fn keep(&mut self, time: u64) {
        let next = self.next;
        self.next = (next + 1) % WINDOW;
        match self.ring.get_mut(next) {
            None => self.ring.push(time),
            Some(place) => {
                let old = std::mem::replace(place, time);
                if let Ok(place) = self.sorted.binary_search(&old) {
                    self.sorted.remove(place);
                }
            }
        }
        let place = self.sorted.partition_point(|known| *known < time);
        self.sorted.insert(place, time);
    }
}
