//! The pulse of one loop: how long it lets its callbacks wait, and what kept it from them.
//!
//! Whoever posts to a loop leaves a stamp, and the loop's next turn takes it. So lag is measured from outside, by
//! those who wait, and a loop that stands still is seen while it does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A loop that lets what was posted wait this long is blocked.
pub(crate) const BLOCKED: Duration = Duration::from_millis(100);
/// Blocks that are remembered, of each loop.
const REMEMBERED: usize = 16;

pub(crate) struct Pulse {
    pub(crate) name: String,
    start: Instant,
    /// When it was woken first since its last turn, in nanoseconds from `start`; 0 when nothing waits.
    stamp: AtomicU64,
    /// The stamp of the block that was looked at last.
    looked_at: AtomicU64,
    /// When it took its last turn.
    turned: AtomicU64,
    /// Python's name of the thread that took it.
    thread: AtomicU64,
    closed: AtomicBool,
    /// It was found not to run, and has taken no turn since.
    paused: AtomicBool,
    /// Calls that its tasks await.
    pub(crate) calls: AtomicUsize,
    /// Python tasks that calls started on it.
    pub(crate) tasks: AtomicUsize,
    /// Jobs that wait for its next turn.
    pub(crate) queued: AtomicUsize,
    /// Sync calls that block it, and people who asked to watch it.
    held: AtomicUsize,
    pub(crate) lag: Lag,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    count: u64,
    longest: Duration,
    total: Duration,
    latest: VecDeque<Block>,
    /// What was seen of the one that goes on, and its stamp.
    seen: Option<(u64, Sight)>,
}

/// One time that a loop stood still.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) ended: SystemTime,
    pub(crate) lasted: Duration,
    pub(crate) sight: Option<Sight>,
}

/// What the loop's thread was doing.
#[derive(Clone)]
pub(crate) struct Sight {
    /// File, line and function.
    pub(crate) place: String,
    pub(crate) stack: Option<String>,
}

pub(crate) struct BlockCensus {
    pub(crate) count: u64,
    pub(crate) longest: Duration,
    pub(crate) total: Duration,
    pub(crate) latest: Vec<Block>,
    /// The one that goes on: how long so far, and what was seen of it.
    pub(crate) now: Option<(Duration, Option<Sight>)>,
}

impl Pulse {
    pub(crate) fn new(name: String, start: Instant) -> Self {
        Self {
            name,
            start,
            stamp: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            lag: Lag::new(),
            blocks: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop is about to be woken. From any thread.
    pub(crate) fn posted(&self) {
        // Whoever was first waits longest.
        let _ = self.stamp.compare_exchange(0, self.now().max(1), SeqCst, Relaxed);
    }

    /// The loop takes a turn. On its thread; `is_trusted` tells whether somebody watched and was in time himself. A
    /// block that nobody saw counts only then.
    pub(crate) fn turns(&self, is_trusted: impl FnOnce() -> bool) {
        self.thread.store(this_thread(), Relaxed);
        let now = self.now();
        self.turned.store(now, Relaxed);
        self.paused.store(false, Relaxed);
        let stamp = self.stamp.swap(0, SeqCst);
        if stamp == 0 {
            return;
        }
        let waited = Duration::from_nanos(now.saturating_sub(stamp));
        if waited < BLOCKED {
            self.lag.add(waited);
        } else if self.is_seen(stamp) || is_trusted() {
            self.lag.add(waited);
            self.blocked(stamp, waited);
        }
    }

    fn blocked(&self, stamp: u64, lasted: Duration) {
        let mut blocks = self.blocks();
        blocks.count += 1;
        blocks.longest = blocks.longest.max(lasted);
        blocks.total += lasted;
        let sight = blocks.seen.take().filter(|seen| seen.0 == stamp).map(|seen| seen.1);
        if blocks.latest.len() == REMEMBERED {
            blocks.latest.pop_front();
        }
        blocks.latest.push_back(Block { ended: SystemTime::now(), lasted, sight });
    }

    /// Since when it stands still, for the watcher, who may then look why.
    pub(crate) fn blocked_since(&self) -> Option<u64> {
        let stamp = self.stamp.load(SeqCst);
        let waits = stamp != 0 && self.now().saturating_sub(stamp) >= nanoseconds(BLOCKED);
        waits.then_some(stamp)
    }

    /// Whether the block with this stamp is looked at for the first time.
    pub(crate) fn is_news(&self, stamp: u64) -> bool {
        self.looked_at.swap(stamp, SeqCst) != stamp
    }

    /// Nothing was seen that explains the block.
    pub(crate) fn look_again(&self) {
        self.looked_at.store(0, SeqCst);
    }

    /// Keeps what was seen of the block with this stamp. False when that is over.
    pub(crate) fn saw(&self, stamp: u64, sight: Sight) -> bool {
        let mut blocks = self.blocks();
        let goes_on = self.stamp.load(SeqCst) == stamp;
        if goes_on {
            blocks.seen = Some((stamp, sight));
        }
        goes_on
    }

    fn is_seen(&self, stamp: u64) -> bool {
        self.blocks().seen.as_ref().is_some_and(|seen| seen.0 == stamp)
    }

    pub(crate) fn waits(&self, stamp: u64) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(stamp))
    }

    /// Time passed in which nobody could have come: what waits, waits from now. Not where it was seen why.
    pub(crate) fn forgive(&self) {
        if self.is_seen(self.stamp.load(SeqCst)) {
            return;
        }
        let now = self.now().max(1);
        let _ = self.stamp.fetch_update(SeqCst, SeqCst, |stamp| (stamp != 0).then_some(now));
    }

    /// The loop does not run at all: that is no block, and no beat would be heard.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Relaxed);
        self.stamp.store(0, SeqCst);
    }

    /// Whether the loop is idle as far as anybody can tell: nothing was posted, and it took no turn for that long.
    pub(crate) fn is_silent(&self, for_at_least: Duration) -> bool {
        let silence = self.now().saturating_sub(self.turned.load(Relaxed));
        self.stamp.load(SeqCst) == 0 && !self.paused.load(Relaxed) && silence >= nanoseconds(for_at_least)
    }

    /// Whether it matters to anybody here if it stands still.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.is_closed() && [&self.calls, &self.tasks, &self.held].iter().any(|count| count.load(SeqCst) > 0)
    }

    /// Counts it as in use until `release`.
    pub(crate) fn hold(&self) {
        self.held.fetch_add(1, SeqCst);
    }

    pub(crate) fn release(&self) {
        self.held.fetch_sub(1, SeqCst);
    }

    pub(crate) fn call_begins(&self) {
        self.calls.fetch_add(1, SeqCst);
    }

    pub(crate) fn call_ended(&self) {
        // Closing forgot all of them.
        let _ = self.calls.fetch_update(SeqCst, SeqCst, |calls| calls.checked_sub(1));
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.stamp.store(0, SeqCst);
        for count in [&self.calls, &self.tasks, &self.queued] {
            count.store(0, SeqCst);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(crate) fn set_thread(&self) {
        self.thread.store(this_thread(), Relaxed);
    }

    /// Python's name of its thread; 0 before its first turn.
    pub(crate) fn thread(&self) -> u64 {
        self.thread.load(Relaxed)
    }

    pub(crate) fn block_census(&self) -> BlockCensus {
        let since = self.blocked_since();
        let blocks = self.blocks();
        let seen = |stamp| blocks.seen.as_ref().filter(|seen| seen.0 == stamp).map(|seen| seen.1.clone());
        BlockCensus {
            count: blocks.count,
            longest: blocks.longest,
            total: blocks.total,
            latest: blocks.latest.iter().cloned().collect(),
            now: since.map(|stamp| (self.waits(stamp), seen(stamp))),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// As `threading.get_ident()` has it.
#[expect(unsafe_code, reason = "the thread's number as Python uses it; takes and keeps no memory")]
fn this_thread() -> u64 {
    // SAFETY: the call only returns a number.
    unsafe { libc::pthread_self() as u64 }
}

/// How long turns were waited for: counts in steps of an eighth, from a microsecond up.
pub(crate) struct Lag {
    counts: [AtomicU32; Self::STEPS],
    last: AtomicU64,
    max: AtomicU64,
}

impl Lag {
    const STEPS: usize = 256;

    const fn new() -> Self {
        Self {
            counts: [const { AtomicU32::new(0) }; Self::STEPS],
            last: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }

    fn add(&self, waited: Duration) {
        let nanoseconds = nanoseconds(waited);
        self.last.store(nanoseconds, Relaxed);
        self.max.fetch_max(nanoseconds, Relaxed);
        if let Some(count) = self.counts.get(step(nanoseconds / 1000)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn last(&self) -> Duration {
        Duration::from_nanos(self.last.load(Relaxed))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max.load(Relaxed))
    }

    pub(crate) fn samples(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.load(Relaxed))).sum()
    }

    /// What all but this share of the turns stayed below, rounded up by at most an eighth.
    pub(crate) fn all_but(&self, share: f64) -> Duration {
        let samples = self.samples();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mut above = (samples as f64 * share) as u64;
        for (index, count) in self.counts.iter().enumerate().rev() {
            let count = u64::from(count.load(Relaxed));
            if count > above {
                return Duration::from_micros(upper_end(index)).min(self.max());
            }
            above -= count;
        }
        Duration::ZERO
    }
}

/// The step of a time in microseconds: eight for each doubling.
fn step(microseconds: u64) -> usize {
    if microseconds < 8 {
        return usize::try_from(microseconds).unwrap_or(0);
    }
    let doubling = 63 - microseconds.leading_zeros();
    let eighth = (microseconds >> (doubling - 3)) & 7;
    let index = u64::from(doubling - 2) * 8 + eighth;
    usize::try_from(index).map_or(Lag::STEPS - 1, |index| index.min(Lag::STEPS - 1))
}

/// The microseconds that a step ends with.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 8 {
        return index + 1;
    }
    let (doubling, eighth) = (index / 8 + 2, index % 8);
    (8 + eighth + 1) << (doubling - 3)
}
