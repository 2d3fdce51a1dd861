//! How far a batch is: a bar at a terminal, now and then a line elsewhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ambidex_core::event::Status;

use crate::console::{Console, columns, one_line};
use crate::paint::Paint;
use crate::show::number::{dollars, grouped, seconds};

/// Between two looks of the bar.
pub const FRAME: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// The rate is that of so long.
const WINDOW: Duration = Duration::from_secs(30);
/// Columns of the bar, where there is room.
const BAR: usize = 20;
const SHORTEST_BAR: usize = 6;

/// What the tasks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// All that have a result, those below included.
    pub done: u64,
    pub failed: u64,
    pub waiting: u64,
    pub paused: u64,
    pub usd: Option<f64>,
}

impl Counts {
    pub fn add(&mut self, status: Status, usd: Option<f64>) {
        self.done += 1;
        match status {
            Status::Waiting => self.waiting += 1,
            Status::Paused => self.paused += 1,
            Status::Failed | Status::Cancelled => self.failed += 1,
            Status::Succeeded | Status::Queued | Status::Running => {}
        }
        self.usd = match (self.usd, usd) {
            (None, None) => None,
            (sum, more) => Some(sum.unwrap_or(0.0) + more.unwrap_or(0.0)),
        };
    }

    /// `3 failed`, `1 waits`: what did not end well, in words.
    fn troubles(&self, paint: Paint) -> Vec<String> {
        let mut parts = Vec::new();
        if self.failed > 0 {
            parts.push(paint.red(&format!("{} failed", grouped(self.failed))));
        }
        if self.waiting > 0 {
            let word = if self.waiting == 1 { "waits" } else { "wait" };
            parts.push(paint.yellow(&format!("{} {word}", grouped(self.waiting))));
        }
        if self.paused > 0 {
            parts.push(paint.yellow(&format!("{} paused", grouped(self.paused))));
        }
        parts
    }
}

pub struct Progress {
    /// All tasks, where they could be counted.
    pub total: Option<u64>,
    pub counts: Counts,
    began: Instant,
    /// When how many were done, of the last while.
    seen: VecDeque<(Instant, u64)>,
    said: Instant,
}

impl Progress {
    pub fn new(total: Option<u64>, counts: Counts) -> Self {
        let now = Instant::now();
        Self { total, counts, began: now, seen: VecDeque::from([(now, counts.done)]), said: now }
    }

    /// Shows how far it is, if it is time.
    pub fn tick(&mut self, console: &mut Console, running: usize) {
        if console.quiet {
            return;
        }
        let now = Instant::now();
        if self.seen.back().is_none_or(|(at, _)| now - *at >= Duration::from_secs(1)) {
            self.seen.push_back((now, self.counts.done));
        }
        while self.seen.len() > 2 && self.seen.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.seen.pop_front();
        }
        if console.stderr_is_terminal() {
            let line = self.bar(running, now, console.stderr_paint(), console.width().saturating_sub(1));
            console.show_transient(&line);
        } else if now - self.said >= LINE {
            self.said = now;
            console.say(&self.details(running, now));
        }
    }

    fn how_many(&self) -> String {
        match self.total {
            Some(total) => format!("{}/{}", grouped(self.counts.done), grouped(total)),
            None => format!("{} done", grouped(self.counts.done)),
        }
    }

    /// Results a second, lately.
    #[expect(clippy::cast_precision_loss, reason = "tasks are far below 2^52")]
    fn rate(&self, now: Instant) -> f64 {
        let Some((since, before)) = self.seen.front() else { return 0.0 };
        let time = (now - *since).as_secs_f64();
        if time < 0.05 { 0.0 } else { (self.counts.done - before) as f64 / time }
    }

    #[expect(clippy::cast_precision_loss, reason = "tasks are far below 2^52")]
    fn details(&self, running: usize, now: Instant) -> String {
        let mut parts = vec![self.how_many()];
        let rate = self.rate(now);
        if rate > 0.0 {
            parts.push(if rate >= 0.95 { format!("{rate:.1}/s") } else { format!("{:.1}/min", rate * 60.0) });
            let left = self.total.map(|total| total.saturating_sub(self.counts.done));
            if let Some(left @ 1..) = left {
                parts.push(format!("{} left", about(left as f64 / rate)));
            }
        }
        parts.extend(self.counts.usd.map(dollars));
        parts.extend(self.counts.troubles(Paint::default()));
        parts.push(format!("{running} running"));
        parts.join(" · ")
    }

    fn bar(&self, running: usize, now: Instant, paint: Paint, width: usize) -> String {
        let details = self.details(running, now);
        let room = BAR.min(width.saturating_sub(columns(&details) + 2));
        // The numbers come first where there is no room for both.
        let (Some(total), SHORTEST_BAR..) = (self.total, room) else { return one_line(&details, width) };
        let done = (self.counts.done * room as u64).checked_div(total).unwrap_or(0);
        let done = usize::try_from(done).unwrap_or(room).min(room);
        format!("{}{}  {details}", paint.green(&"█".repeat(done)), paint.dim(&"░".repeat(room - done)))
    }

    /// The last line: what it came to in all.
    pub fn summary(&self, paint: Paint) -> String {
        let Counts { done, failed, waiting, paused, usd } = self.counts;
        let whole = self.total.is_none_or(|total| total == done);
        let mark = match (whole, failed, waiting + paused) {
            (true, 0, 0) => paint.green("✓"),
            (true, 0, _) => paint.yellow("…"),
            (true, ..) => paint.red("✗"),
            (false, ..) => paint.yellow("✗"),
        };
        let mut parts = vec![match self.total {
            Some(total) => format!("{} of {} done", grouped(done), grouped(total)),
            None => format!("{} done", grouped(done)),
        }];
        parts.extend(self.counts.troubles(paint));
        parts.extend(usd.map(dollars));
        parts.push(seconds(self.began.elapsed().as_secs_f64()));
        format!("{mark} {}", parts.join(" · "))
    }
}

/// `40 s`, `12 min`, `3.5 h`.
fn about(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.0} s"),
        ..6000.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}
