//! So much in a minute: never much more in any 60 s, and spread over them.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Calls that may follow each other at once after a rest.
const BURST: u64 = 5;

/// Two rules hold together. What was taken in the last minute and what is wanted are within the limit; and
/// what is taken is paid off at the limit's pace, from which it may be ahead by a burst (five calls, or a
/// hundredth of the limit). The first is what a provider counts; the second keeps a busy minute from going in
/// its first second, so that those who wait do so about as long as each other.
#[derive(Debug)]
pub(super) struct Rate {
    limit: u64,
    /// What was taken in the last minute, the eldest first.
    taken: VecDeque<(Instant, u64)>,
    /// The number of the first of them; each gets the next.
    first: u64,
    /// Their sum.
    sum: u64,
    /// When everything taken is paid off; at most a minute from now, whatever a provider says was used.
    paid: Option<Instant>,
}

impl Rate {
    /// `limit` is at least 1.
    pub fn new(limit: u64) -> Self {
        Self { limit: limit.max(1), taken: VecDeque::new(), first: 0, sum: 0, paid: None }
    }

    /// How long so much takes at the limit's pace.
    pub fn pace(&self, amount: u64) -> Duration {
        let nanos = MINUTE.as_nanos() * u128::from(amount) / u128::from(self.limit);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When so much may be taken; `now` or before it is at once.
    pub fn opens(&mut self, amount: u64, now: Instant) -> Instant {
        self.forget(now);
        let paced = match self.paid {
            Some(paid) => paid.checked_sub(self.pace(self.burst(amount))).unwrap_or(now),
            None => now,
        };
        // Amounts seldom add up to the limit: half of one may be beyond it, up to a hundredth.
        let beyond = (amount / 2).min(self.limit / 100);
        let mut sum = self.sum.saturating_add(amount);
        let mut room = now;
        for (at, amount) in &self.taken {
            if sum <= self.limit.saturating_add(beyond) {
                break;
            }
            sum = sum.saturating_sub(*amount);
            room = *at + MINUTE;
        }
        paced.max(room)
    }

    /// By how much the pace may be ahead before this amount is taken.
    fn burst(&self, amount: u64) -> u64 {
        amount.saturating_mul(BURST).max(self.limit / 100).min(self.limit).saturating_sub(amount)
    }

    /// Takes so much; what it gives is for [`Rate::settle`].
    pub fn take(&mut self, amount: u64, now: Instant) -> u64 {
        self.owe(amount, now);
        self.taken.push_back((now, amount));
        self.sum = self.sum.saturating_add(amount);
        self.first + self.taken.len() as u64 - 1
    }

    fn owe(&mut self, amount: u64, now: Instant) {
        let owed = self.paid.map_or(now, |paid| paid.max(now)) - now;
        self.paid = Some(now + owed.saturating_add(self.pace(amount)).min(MINUTE));
    }

    /// What was taken under this number was in truth so much.
    pub fn settle(&mut self, number: u64, estimate: u64, truth: u64, now: Instant) {
        match truth.checked_sub(estimate) {
            Some(more) => self.owe(more, now),
            None => self.paid = self.paid.and_then(|paid| paid.checked_sub(self.pace(estimate - truth))),
        }
        let place = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        match place.and_then(|index| self.taken.get_mut(index)) {
            Some((_, amount)) => {
                self.sum = self.sum.saturating_sub(*amount).saturating_add(truth);
                *amount = truth;
            }
            // It is older than a minute; only what it used above its estimate still counts.
            None if truth > estimate => {
                self.taken.push_back((now, truth - estimate));
                self.sum = self.sum.saturating_add(truth - estimate);
            }
            None => {}
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, amount)) = self.taken.front()
            && *at + MINUTE <= now
        {
            self.sum = self.sum.saturating_sub(*amount);
            self.first += 1;
            self.taken.pop_front();
        }
    }
}
