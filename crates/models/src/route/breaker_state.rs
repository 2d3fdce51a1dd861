//! What a breaker remembers, without a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::BreakerPolicy;

/// Whether a target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not, for this long.
    Open(Duration),
    /// The next call is a probe, or one is under way.
    HalfOpen,
}

/// Parts of the window: what is older than the window is forgotten a part at a time.
const PARTS: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Circuit {
    door: Door,
    in_a_row: u32,
    /// How often it was opened since it was last closed.
    opened: u32,
    window: Window,
}

#[derive(Clone, Copy, Debug, Default)]
enum Door {
    #[default]
    Closed,
    Open {
        until: Instant,
        length: Duration,
    },
    /// A probe is under way; if nobody hears of it again, the breaker is open for this long.
    Probing {
        length: Duration,
    },
}

impl Circuit {
    /// Lets a call in, and says whether it is a probe.
    ///
    /// # Errors
    /// How long to stay away.
    pub(super) fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match self.door {
            Door::Closed => Ok(false),
            Door::Open { until, .. } if now < until => Err(until - now),
            Door::Open { length, .. } => {
                self.door = Door::Probing { length };
                Ok(true)
            }
            // How long the probe takes is not known; it is not long.
            Door::Probing { .. } => Err(Duration::from_secs(1)),
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.door {
            Door::Closed => BreakerState::Closed,
            Door::Open { until, .. } if now < until => BreakerState::Open(until - now),
            Door::Open { .. } | Door::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// A whole reply.
    pub(super) fn succeeded(&mut self, probe: bool, now: Instant) {
        if probe {
            self.probe_answered();
        }
        self.in_a_row = 0;
        self.window.count(now, false);
    }

    /// The target said something, but what became of it does not count.
    pub(super) fn answered(&mut self, probe: bool) {
        if probe {
            self.probe_answered();
        }
    }

    pub(super) fn probe_answered(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, probe: bool, now: Instant, policy: &BreakerPolicy) {
        // What was begun before it opened says nothing new.
        if !probe && !matches!(self.door, Door::Closed) {
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.window.count(now, true);
        if probe || self.in_a_row >= policy.failures.max(1) || self.window.is_bad() {
            let doubled = policy.open_for.saturating_mul(2_u32.saturating_pow(self.opened));
            let length = doubled.min(BreakerPolicy::LONGEST.max(policy.open_for));
            self.opened = self.opened.saturating_add(1);
            self.in_a_row = 0;
            self.window = Window::default();
            self.door = Door::Open { until: now + length, length };
        }
    }

    /// A call ended without a word about the target. A probe without an outcome is not repeated at once.
    pub(super) fn dropped(&mut self, probe: bool, now: Instant) {
        if probe && let Door::Probing { length } = self.door {
            self.door = Door::Open { until: now + length, length };
        }
    }
}

/// Calls and failures of the last while.
#[derive(Debug, Default)]
struct Window {
    parts: [Part; PARTS],
    /// The first count's time; parts are numbered from it.
    epoch: Option<Instant>,
    /// The highest number that was counted.
    latest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    number: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    /// Of one part, in seconds.
    const LENGTH: u64 = BreakerPolicy::WINDOW.as_secs() / PARTS as u64;

    fn count(&mut self, now: Instant, failed: bool) {
        let epoch = *self.epoch.get_or_insert(now);
        let number = now.duration_since(epoch).as_secs() / Self::LENGTH;
        if number > self.latest {
            self.latest = number;
            for part in &mut self.parts {
                if part.number + PARTS as u64 <= number {
                    *part = Part::default();
                }
            }
        }
        let place = usize::try_from(number % PARTS as u64).unwrap_or_default();
        if let Some(part) = self.parts.get_mut(place) {
            part.number = number;
            part.calls += 1;
            part.failures += u32::from(failed);
        }
    }

    /// Whether half of enough calls failed.
    fn is_bad(&self) -> bool {
        let calls: u32 = self.parts.iter().map(|part| part.calls).sum();
        let failures: u32 = self.parts.iter().map(|part| part.failures).sum();
        calls >= BreakerPolicy::CALLS && failures * 2 >= calls
    }
}
