//! How many retries a provider may get, and when: so many of every hundred calls, a burst, and far from each
//! other.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::retry::random;

/// Retries left, shared by all models of one provider. Each call earns a share of a retry.
#[derive(Debug)]
pub struct RetryBudget {
    /// In retries.
    left: Mutex<f64>,
    share: f64,
    burst: f64,
    /// When retries are due, in microseconds since the first was.
    due: Mutex<(Option<Instant>, BTreeSet<u64>)>,
}

/// Retries within one span that are kept apart. More of them spread well enough by chance.
const APART: usize = 1000;

impl RetryBudget {
    /// `share` of the calls may be retries, from 0 to 1; `burst` of them at once.
    pub fn new(share: f64, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self { left: Mutex::new(burst), share: share.clamp(0.0, 1.0), burst, due: Mutex::default() }
    }

    /// Counts a call. When its first attempt has ended, not when it begins: a thousand calls that are under way
    /// at once have then earned what they fail with.
    pub fn earn(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + self.share).min(self.burst);
    }

    /// Takes a retry, if one is left.
    pub fn spend(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // Shares such as 0.1 do not add up exactly.
        let enough = *left >= 1.0 - 1e-9;
        if enough {
            *left = (*left - 1.0).max(0.0);
        }
        enough
    }

    /// Where in a span that begins after `floor` a retry should be, in 0..1: in the middle of the widest gap
    /// between those that are due. A budget leaves few retries, and few that are thrown by chance make heaps:
    /// of a hundred within 4 s, six or seven fall into some 100 ms, and here never more than four.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of waits")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a span")]
    pub fn spread(&self, floor: Duration, span: Duration) -> f64 {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, due) = &mut *due;
        let now = micros(since.get_or_insert_with(Instant::now).elapsed());
        *due = due.split_off(&now);
        let from = now.saturating_add(micros(floor));
        let to = from.saturating_add(micros(span));
        if from == to || due.range(from..=to).take(APART).count() == APART {
            return random();
        }
        let mut before = from;
        let mut widest = (from, from);
        let mut alone = true;
        for next in due.range(from..=to).copied().chain([to]) {
            alone &= next == to;
            if next - before > widest.1 - widest.0 {
                widest = (before, next);
            }
            before = next;
        }
        // Processes begin at different places.
        let within = if alone { random() } else { 0.4 + 0.2 * random() };
        let at = widest.0 + ((widest.1 - widest.0) as f64 * within) as u64;
        due.insert(at);
        (at - from) as f64 / (to - from) as f64
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Default for RetryBudget {
    /// A tenth of the calls, ten at once.
    fn default() -> Self {
        Self::new(0.1, 10)
    }
}
