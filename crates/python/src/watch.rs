//! The watcher of loops: sees from outside when one stands still, and asks Python what it is doing.
//!
//! It looks only while a loop has something of ours to wait for, or somebody asked to watch one: an idle program has
//! no timer. A loop that shows no sign of life by itself gets a beat, a wake-up with nothing to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::bridge::{LoopBridge, Wakeup};
use crate::gate;
use crate::process::Process;
use crate::pulse::{Pulse, Sight};

/// Between two looks. A block is measured from the first wake-up that meets it, so it may seem shorter by this; more
/// beats would cost an idle loop more than they tell.
const EVERY: Duration = Duration::from_millis(50);
/// A watcher that comes later than this was kept from the processor itself, and others will have been too.
const IN_TIME: Duration = Duration::from_millis(125);
/// Looks without anything to watch until it rests.
const IDLE_LOOKS: usize = 20;
/// Closed loops whose pulse is remembered.
const REMEMBERED: usize = 16;

pub(crate) struct Watch {
    start: Instant,
    loops: Mutex<Loops>,
    /// The one task that looks.
    task: TaskTracker,
    started: AtomicBool,
    resting: AtomicBool,
    wanted: Notify,
    /// The last look, in milliseconds from `start`.
    looked: AtomicU64,
}

#[derive(Default)]
struct Loops {
    open: Vec<Watched>,
    closed: VecDeque<Arc<Pulse>>,
}

/// One loop, and what it takes to reach it. Only an attached thread may hold the bridge itself, which holds objects
/// of Python.
#[derive(Clone)]
struct Watched {
    pulse: Arc<Pulse>,
    wakeup: Option<Arc<Wakeup>>,
    bridge: Weak<LoopBridge>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            loops: Mutex::default(),
            task: TaskTracker::new(),
            started: AtomicBool::new(false),
            resting: AtomicBool::new(true),
            wanted: Notify::new(),
            looked: AtomicU64::new(0),
        }
    }

    fn loops(&self) -> MutexGuard<'_, Loops> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pulse for a loop that [`Watch::add`] will name.
    pub(crate) fn pulse(&self, name: String) -> Arc<Pulse> {
        Arc::new(Pulse::new(name, self.start))
    }

    /// Knows a loop from now on, until it is closed. `wakeup` is none for one that only Python can wake: it is
    /// looked at when it has something to do.
    pub(crate) fn add(&self, bridge: &Arc<LoopBridge>, wakeup: Option<Arc<Wakeup>>) {
        let watched = Watched { pulse: bridge.pulse().clone(), wakeup, bridge: Arc::downgrade(bridge) };
        let mut loops = self.loops();
        loops.forget_closed();
        loops.open.push(watched);
    }

    /// The pulses of all loops: those that are open, and the latest of those that were closed.
    pub(crate) fn pulses(&self) -> Vec<Arc<Pulse>> {
        let mut loops = self.loops();
        loops.forget_closed();
        let open = loops.open.iter().map(|watched| &watched.pulse);
        open.chain(&loops.closed).cloned().collect()
    }

    /// A loop has come into use. Costs next to nothing while the watcher is awake.
    pub(crate) fn want(&self, process: &'static Process) {
        if !self.resting.load(SeqCst) || !self.resting.swap(false, SeqCst) {
            return;
        }
        self.looked.store(self.milliseconds(), SeqCst);
        if self.started.swap(true, SeqCst) {
            self.wanted.notify_one();
        } else {
            self.task.spawn_on(process.watch().run(process), process.runtime());
        }
    }

    /// Whether it is awake and was in time when it looked last.
    pub(crate) fn is_in_time(&self) -> bool {
        let since = self.milliseconds().saturating_sub(self.looked.load(SeqCst));
        !self.resting.load(SeqCst) && u128::from(since) <= IN_TIME.as_millis()
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn run(&'static self, process: &'static Process) {
        let mut sights = JoinSet::new();
        loop {
            let mut idle = 0;
            while idle < IDLE_LOOKS {
                tokio::time::sleep(EVERY).await;
                idle = if self.look(process, &mut sights) { 0 } else { idle + 1 };
                while sights.try_join_next().is_some() {}
            }
            self.resting.store(true, SeqCst);
            // Whoever came into use just before saw it awake and did not call.
            let in_use = self.loops().open.iter().any(|watched| watched.pulse.is_in_use());
            if !in_use || !self.resting.swap(false, SeqCst) {
                self.wanted.notified().await;
            }
        }
    }

    /// Looks at each loop. Whether any is in use.
    fn look(&self, process: &'static Process, sights: &mut JoinSet<()>) -> bool {
        let was_in_time = self.is_in_time();
        self.looked.store(self.milliseconds(), SeqCst);
        let mut in_use = false;
        let watched = self.loops().open.clone();
        for Watched { pulse, wakeup, bridge } in watched {
            if !was_in_time {
                pulse.forgive();
            }
            if !pulse.is_in_use() {
                continue;
            }
            in_use = true;
            if let Some(stamp) = pulse.blocked_since() {
                if pulse.is_news(stamp) {
                    // Attaching may take as long as somebody else computes, so it happens elsewhere.
                    sights.spawn_blocking_on(move || see(&bridge, &pulse, stamp), process.runtime());
                }
            } else if let Some(wakeup) = wakeup
                && pulse.is_silent(EVERY)
            {
                pulse.posted();
                wakeup.wake();
            }
        }
        in_use
    }
}

impl Loops {
    fn forget_closed(&mut self) {
        let Self { open, closed } = self;
        open.retain(|watched| {
            let is_closed = watched.pulse.is_closed();
            if is_closed {
                closed.push_back(watched.pulse.clone());
            }
            !is_closed
        });
        while closed.len() > REMEMBERED {
            closed.pop_front();
        }
    }
}

/// Asks Python what the thread of a blocked loop is doing, and in debug mode has it said.
fn see(bridge: &Weak<LoopBridge>, pulse: &Pulse, stamp: u64) {
    gate::attach(|py| {
        let seen = (|| -> PyResult<()> {
            let Some(bridge) = bridge.upgrade() else { return Ok(()) };
            let module = py.import("ambidex._blocked")?;
            let Some(event_loop) = bridge.event_loop(py) else { return Ok(()) };
            if !event_loop.call_method0("is_running")?.extract::<bool>()? {
                pulse.pause();
                return Ok(());
            }
            if gate::is_closed() {
                return Ok(());
            }
            let debug: bool = module.getattr("is_debugged")?.call1((event_loop,))?.extract()?;
            let seen = module.getattr("look")?.call1((pulse.thread(), debug))?;
            let Some((place, stack, again)) = seen.extract::<Option<(String, Option<String>, bool)>>()?
            else {
                return Ok(());
            };
            if again {
                pulse.look_again();
            }
            let sight = Sight { place: place.clone(), stack: stack.clone() };
            if pulse.saw(stamp, sight) && debug {
                let waits = pulse.waits(stamp).as_secs_f64();
                module.getattr("warn")?.call1((pulse.name.as_str(), place, stack, waits))?;
            }
            Ok(())
        })();
        if let Err(error) = seen {
            error.write_unraisable(py, None);
        }
    });
}

/// Keeps a loop counted as in use while it lives.
pub(crate) struct Holding(Arc<Pulse>);

impl Holding {
    pub(crate) fn new(pulse: Arc<Pulse>, process: &'static Process) -> Self {
        pulse.hold();
        process.watch().want(process);
        Self(pulse)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.release();
    }
}
