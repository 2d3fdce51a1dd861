//! Wall time for records, advanced by the monotonic clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Never goes back within a process, and stands still where tokio's clock is paused. On Linux the time that the machine
/// was suspended counts: a lease that ran out meanwhile has run out. That the system's time was set does not.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Duration,
    machine: Machine,
}

/// The machine's own clocks: one that stands still while it is suspended, and one that does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) awake: Duration,
    pub(crate) all: Duration,
}

impl Machine {
    #[cfg(target_os = "linux")]
    fn now() -> Self {
        let read = |clock| Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default();
        // In this order: what passes in between is not taken for a suspension.
        let all = read(rustix::time::ClockId::Boottime);
        Self { awake: read(rustix::time::ClockId::Monotonic), all }
    }

    #[cfg(not(target_os = "linux"))]
    fn now() -> Self {
        Self::default()
    }

    /// How much time has passed since `start`, where tokio counted so much. A suspension takes half a second at least;
    /// what is less is the time between two looks at a clock.
    pub(crate) fn passed(self, start: Self, counted: Duration) -> Duration {
        let (awake, all) = (self.awake.saturating_sub(start.awake), self.all.saturating_sub(start.all));
        if all.saturating_sub(awake) < Duration::from_millis(500) { counted } else { all.max(counted) }
    }
}

impl Clock {
    /// Starts at the system's wall time.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), wall, machine: Machine::now() }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> u64 {
        millis(self.wall + Machine::now().passed(self.machine, self.start.elapsed()))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
