//! Whether a pool wakes a thread for each job.
//!
//! A job may end sooner than a thread wakes. Where many come that are so quick, one that comes while a thread is at
//! work is left to that thread, which takes it next. It may have met one that is not quick, so somebody looks every other
//! millisecond meanwhile: where nothing moves, a thread is woken for each job that waits, and where that comes again for
//! each that comes, until jobs are quick.

use std::time::{Duration, Instant};

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// A job that ends within this is quick: waking a thread costs a good part of it.
const QUICK: Duration = Duration::from_micros(200);
/// Quick jobs, less two for each that was none, from which on others are left to their threads; and the most that count.
const ENOUGH: u32 = 8;
const MOST: u32 = 16;
/// So many within [`BURST`] are worth looking after.
const MANY: u32 = 4;
const BURST: Duration = Duration::from_millis(5);
/// Looks that find nothing moved until threads are woken: while one works, and while one is about to. On a busy machine
/// that takes its time.
const STUCK: u32 = 2;
const LATE: u32 = 20;
/// Looks without a job until nobody looks any more.
const IDLE: u32 = 5;

/// What is known of the jobs that come, and of those who take them. Part of a pool's queue, under its lock.
#[derive(Default)]
pub(crate) struct Pace {
    quick: u32,
    burst: Option<(Instant, u32)>,
    /// Somebody looks.
    watched: bool,
    /// Threads that were woken and have not come yet.
    coming: usize,
    /// Threads that look for another job before they rest, and those of them that are in the midst of one. Of this
    /// era: those that got stuck are forgotten with theirs.
    taking: usize,
    at_work: usize,
    era: u64,
    came: u64,
    taken: u64,
    seen: Seen,
}

/// What the last look found.
#[derive(Default)]
struct Seen {
    came: u64,
    taken: u64,
    still: u32,
    idle: u32,
}

/// What is done about a job that comes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Comes {
    /// It is left to a thread that is at work.
    Left,
    Woken,
    /// The same, and somebody should look from now on.
    Watched,
}

impl Pace {
    pub(crate) fn comes(&mut self, now: Instant) -> Comes {
        self.came += 1;
        if self.quick < ENOUGH {
            return Comes::Woken;
        }
        if self.watched {
            return if self.coming + self.taking > 0 { Comes::Left } else { Comes::Woken };
        }
        let (since, count) = self.burst.filter(|burst| now - burst.0 < BURST).unwrap_or((now, 0));
        self.burst = Some((since, count + 1));
        if count + 1 < MANY {
            return Comes::Woken;
        }
        self.burst = None;
        self.watched = true;
        self.seen = Seen { came: self.came, taken: self.taken, ..Seen::default() };
        Comes::Watched
    }

    /// Threads were woken.
    pub(crate) fn woken(&mut self, threads: usize) {
        self.coming += threads;
    }

    /// One of them has come.
    pub(crate) fn has_come(&mut self) {
        self.coming = self.coming.saturating_sub(1);
    }

    /// A thread took a job. `of` is the era in which it took its first since it rested. One that `is_left` to it lets it
    /// look for the next right after; nobody is to wait for the end of another.
    pub(crate) fn takes(&mut self, of: &mut Option<u64>, is_left: bool) {
        self.taken += 1;
        if !is_left {
            self.leaves(of);
        } else if *of != Some(self.era) {
            *of = Some(self.era);
            self.taking += 1;
        }
    }

    /// A thread found no job. So whoever is still on his way will find none either: what he was woken for is taken.
    pub(crate) fn rests(&mut self, of: &mut Option<u64>) {
        self.coming = 0;
        self.leaves(of);
    }

    fn leaves(&mut self, of: &mut Option<u64>) {
        if of.take() == Some(self.era) {
            self.taking -= 1;
        }
    }

    /// A thread begins the very work of a job; gives the era, which `ended` wants to know.
    pub(crate) fn begins(&mut self) -> u64 {
        self.at_work += 1;
        self.era
    }

    pub(crate) fn ended(&mut self, begun: u64, after: Duration) {
        if begun == self.era {
            self.at_work -= 1;
        }
        self.quick = match after < QUICK {
            true => (self.quick + 1).min(MOST),
            false => self.quick.saturating_sub(2),
        };
    }

    /// Nobody can look.
    pub(crate) fn unwatched(&mut self) {
        self.watched = false;
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// A look, while so many jobs wait. Whether they do so in vain: then each should get a thread of its own.
    pub(crate) fn looks(&mut self, waiting: usize) -> bool {
        let seen = &mut self.seen;
        seen.still = if waiting == 0 || self.taken != seen.taken { 0 } else { seen.still + 1 };
        // Whoever waits for something before his work begins, as Python's lock, is not helped by others who do.
        let is_awaited = self.at_work == 0 && self.coming + self.taking > 0;
        let patience = if is_awaited { LATE } else { STUCK };
        seen.idle = if waiting > 0 || self.came != seen.came { 0 } else { seen.idle + 1 };
        (seen.came, seen.taken) = (self.came, self.taken);
        if seen.idle >= IDLE {
            self.watched = false;
        }
        if seen.still < patience {
            return false;
        }
        *seen = Seen { came: self.came, taken: self.taken, ..Seen::default() };
        self.era += 1;
        self.quick = self.quick.saturating_sub(ENOUGH);
        (self.coming, self.taking, self.at_work) = (0, 0, 0);
        true
    }
}
