//! Wall time for records, advanced by the monotonic clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Never goes back within a process, and stands still where tokio's clock is paused.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Duration,
}

impl Clock {
    /// Starts at the system's wall time.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), wall }
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> u64 {
        millis(self.wall + self.start.elapsed())
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
