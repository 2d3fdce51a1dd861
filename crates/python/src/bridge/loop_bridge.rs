//! The way onto one asyncio loop: a queue that any thread may fill without attaching, and one wake-up when it is
//! no longer empty. One callback on the loop's thread then does all that is there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use crate::bridge::awaitable::Pending;
use crate::bridge::tasks::{self, Tasks};
use crate::bridge::wakeup::Wakeup;
use crate::gate::{self, Inside};
use crate::held::Held;
use crate::process::process;
use crate::pulse::Pulse;
use crate::watch::Holding;
use crate::{fork, process};

/// Jobs of one turn, so that a flood of them leaves the loop time for others.
const JOBS_PER_TURN: usize = 1024;

/// Whether callbacks may be called within a turn.
const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

/// Done on the loop's thread.
pub(crate) type LoopJob = Box<dyn FnOnce(Python<'_>, &Arc<LoopBridge>) -> PyResult<()> + Send>;

enum Job {
    Complete(Arc<Pending>),
    Call(LoopJob),
}

/// A bridge by its loop's address and its generation.
type Known = ((usize, u64), Arc<LoopBridge>);

/// One loop of one thread. Holds the loop weakly: a loop holds its bridge, by the callback that it calls.
pub(crate) struct LoopBridge {
    queue: Mutex<Vec<Job>>,
    wakeup: Arc<Wakeup>,
    /// Whether the loop watches file descriptors. One that does not is woken by `call_soon_threadsafe`.
    watched: bool,
    event_loop: Held,
    /// The callback and what it is given, for a loop that is woken by call.
    turn: PyOnceLock<(Py<PyAny>, Py<PyAny>)>,
    /// Whether callbacks may be called within this turn, once somebody has asked.
    may_call: AtomicU8,
    closed: AtomicBool,
    pending: Mutex<HashMap<usize, Weak<Pending>>>,
    pub(crate) tasks: Tasks,
    pulse: Arc<Pulse>,
}

impl LoopBridge {
    /// The bridge of the loop that runs in this thread, made when it is first needed.
    pub(crate) fn running(py: Python<'_>) -> PyResult<Arc<Self>> {
        thread_local! {
            /// Of the loops that ran in this thread and are open.
            static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
        }
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let event_loop = RUNNING.import(py, "asyncio", "get_running_loop")?.call0()?;
        let key = (event_loop.as_ptr() as usize, fork::generation());
        let known = KNOWN.with_borrow(|known| {
            let found = known.iter().find(|(of, bridge)| *of == key && !bridge.is_closed());
            found.map(|(_, bridge)| bridge.clone())
        });
        if let Some(bridge) = known {
            return Ok(bridge);
        }
        let bridge = Self::new(py, &event_loop, name_of(py, &event_loop)?)?;
        bridge.pulse.set_thread();
        let before = KNOWN.take();
        let (old, mut open): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|(of, bridge)| of.1 != key.1 || bridge.is_closed());
        open.push((key, bridge.clone()));
        KNOWN.set(open);
        for (of, bridge) in old {
            if of.1 != key.1 {
                // The parent's: its jobs' end would wake tasks of a runtime that is not here.
                std::mem::forget(bridge);
            }
        }
        Ok(bridge)
    }

    /// A bridge for a loop that has none. The name is for people.
    pub(crate) fn new(py: Python<'_>, event_loop: &Bound<'_, PyAny>, name: String) -> PyResult<Arc<Self>> {
        static REFERENCE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let weak = REFERENCE.import(py, "weakref", "ref")?.call1((event_loop,))?.unbind();
        // A bridge is of this process: make the block first, so that its generation is the one meant.
        let watch = process()?.watch();
        let mut bridge = Self {
            queue: Mutex::default(),
            wakeup: Arc::new(Wakeup::new()?),
            watched: true,
            event_loop: Held::new(weak),
            turn: PyOnceLock::new(),
            may_call: AtomicU8::new(UNKNOWN),
            closed: AtomicBool::new(false),
            pending: Mutex::default(),
            tasks: Tasks::default(),
            pulse: watch.pulse(name),
        };
        bridge.watched = event_loop.hasattr(pyo3::intern!(py, "add_reader"))? && !is_proactor(event_loop)?;
        let (watched, descriptor) = (bridge.watched, bridge.wakeup.as_fd().as_raw_fd());
        let bridge = Arc::new(bridge);
        let turn = Bound::new(py, Turn { bridge: bridge.clone(), generation: fork::generation() })?;
        // What Python drives has no frames of ours below it.
        let drive = py.import("ambidex._tasks")?.getattr("turn")?;
        if watched {
            // The loop keeps the context variables that a callback is added with: not those of whoever came first.
            let context = py.import("contextvars")?.getattr("Context")?.call0()?;
            let add = event_loop.getattr("add_reader")?;
            context.call_method1("run", (add, descriptor, drive, &turn))?;
        } else {
            let _ = bridge.turn.set(py, (drive.unbind(), turn.into_any().unbind()));
        }
        py.import("ambidex._blocked")?.call_method1("prepare", (event_loop,))?;
        watch.add(&bridge, watched.then(|| bridge.wakeup.clone()));
        Ok(bridge)
    }

    /// The loop, while it is there.
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.event_loop.bind(py).call0().ok().filter(|event_loop| !event_loop.is_none())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// How the loop fares.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Counts the loop as in use while what is returned lives, as a call on it does.
    pub(crate) fn hold(&self) -> PyResult<Holding> {
        Ok(Holding::new(self.pulse.clone(), process()?))
    }

    /// Has the loop's thread call this. Forgotten when the loop is closed: nobody is left to hear of it.
    pub(crate) fn call(&self, job: LoopJob) {
        self.post(Job::Call(job));
    }

    /// Has the loop tell whoever awaits this.
    pub(crate) fn complete(&self, pending: Arc<Pending>) {
        self.post(Job::Complete(pending));
    }

    fn post(&self, job: Job) {
        let unsent = {
            let mut queue = lock(&self.queue);
            // Under the lock: what is in the queue when the loop closes, is taken by `close`.
            if self.is_closed() {
                Some(job)
            } else {
                queue.push(job);
                self.pulse.queued.store(queue.len(), Relaxed);
                if queue.len() > 1 {
                    return;
                }
                None
            }
        };
        if unsent.is_some() {
            drop(unsent);
            return;
        }
        self.pulse.posted();
        if self.watched {
            self.wakeup.wake();
        } else {
            gate::attach(|py| {
                let Some(event_loop) = self.event_loop(py) else { return };
                if let Some((drive, turn)) = self.turn.get(py) {
                    // Only a closed loop refuses, and that is no error of whoever completes something.
                    let _ = event_loop.call_method1("call_soon_threadsafe", (drive, turn));
                }
            });
        }
    }

    /// Whether callbacks may be called within this turn.
    pub(crate) fn may_call_now(&self, py: Python<'_>) -> bool {
        match self.may_call.load(Relaxed) {
            UNKNOWN => {
                let may = self.may_call(py).unwrap_or(false);
                self.may_call.store(if may { YES } else { NO }, Relaxed);
                may
            }
            known => known == YES,
        }
    }

    /// No task runs, as one does where loops are nested, and nobody wants each callback timed.
    fn may_call(&self, py: Python<'_>) -> PyResult<bool> {
        static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let Some(event_loop) = self.event_loop(py) else { return Ok(false) };
        let current = CURRENT.import(py, "asyncio", "current_task")?;
        Ok(current.call1((&event_loop,))?.is_none()
            && !event_loop.call_method0(pyo3::intern!(py, "get_debug"))?.is_truthy()?)
    }

    /// Calls something in the loop's next iteration. Only from its thread.
    pub(crate) fn call_soon(
        &self,
        py: Python<'_>,
        callback: &Py<PyAny>,
        argument: &Bound<'_, PyAny>,
        context: Option<&Py<PyAny>>,
    ) -> PyResult<()> {
        let Some(event_loop) = self.event_loop(py) else { return Ok(()) };
        let name = pyo3::intern!(py, "call_soon");
        match context {
            Some(context) => {
                let named = PyDict::new(py);
                named.set_item(pyo3::intern!(py, "context"), context)?;
                event_loop.call_method(name, (callback, argument), Some(&named))?;
            }
            None => {
                event_loop.call_method1(name, (callback, argument))?;
            }
        }
        Ok(())
    }

    pub(crate) fn track(&self, pending: &Arc<Pending>) {
        lock(&self.pending).insert(Arc::as_ptr(pending) as usize, Arc::downgrade(pending));
        self.pulse.call_begins();
        self.comes_into_use();
    }

    pub(crate) fn untrack(&self, pending: *const Pending) {
        lock(&self.pending).remove(&(pending as usize));
    }

    fn comes_into_use(&self) {
        if let Some(process) = process::existing() {
            process.watch().want(process);
        }
    }

    /// Notes how many Python tasks of ours are under way on the loop.
    pub(crate) fn tasks_changed(&self) {
        let before = self.pulse.tasks.swap(self.tasks.len(), SeqCst);
        if before == 0 {
            self.comes_into_use();
        }
    }

    /// Does what is in the queue, or what came into it `again` within a turn. What it gives is for whoever drives that.
    fn turn(self: &Arc<Self>, py: Python<'_>, again: bool) -> TasksToStart {
        if again && lock(&self.queue).is_empty() {
            return Ok(None);
        }
        self.may_call.store(UNKNOWN, Relaxed);
        if self.watched {
            self.wakeup.clear();
        }
        self.pulse.turns(|| process::existing().is_some_and(|process| process.watch().is_in_time()));
        let (jobs, more) = {
            let mut queue = lock(&self.queue);
            let jobs = if queue.len() > JOBS_PER_TURN {
                let rest = queue.split_off(JOBS_PER_TURN);
                (std::mem::replace(&mut *queue, rest), true)
            } else {
                (std::mem::take(&mut *queue), false)
            };
            self.pulse.queued.store(queue.len(), Relaxed);
            jobs
        };
        if more {
            self.wake_again(py);
        }
        for job in jobs {
            let done = match job {
                Job::Complete(pending) => pending.tell(py),
                Job::Call(call) => call(py, self),
            };
            if let Err(error) = done {
                error.write_unraisable(py, None);
            }
        }
        if let Some(process) = process::existing() {
            process.releases().empty(py);
        }
        let Some(starting) = tasks::starting(py, self)? else { return Ok(None) };
        Ok(self.event_loop(py).map(|event_loop| (event_loop.unbind(), starting.unbind())))
    }

    fn wake_again(&self, py: Python<'_>) {
        if self.watched {
            self.wakeup.wake();
        } else if let (Some(event_loop), Some((drive, turn))) = (self.event_loop(py), self.turn.get(py)) {
            let _ = event_loop.call_method1("call_soon", (drive, turn));
        }
    }

    /// The loop let go of its callback: it was closed. What was bound to it is cancelled and let go.
    fn close(&self, py: Python<'_>) {
        let jobs = {
            let mut queue = lock(&self.queue);
            if self.closed.swap(true, SeqCst) {
                return;
            }
            std::mem::take(&mut *queue)
        };
        self.pulse.close();
        drop(jobs);
        let pending = std::mem::take(&mut *lock(&self.pending));
        for pending in pending.into_values().filter_map(|pending| pending.upgrade()) {
            pending.abandon(py);
        }
        self.tasks.clear(py);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What people call a running loop: by its thread and its kind.
fn name_of(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<String> {
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let thread: String =
        CURRENT.import(py, "threading", "current_thread")?.call0()?.getattr("name")?.extract()?;
    Ok(format!("{thread} ({})", event_loop.get_type().fully_qualified_name()?))
}

/// Whether it has `add_reader` in name only, as Windows' default loop does.
fn is_proactor(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(event_loop.get_type().name()?.to_string().contains("Proactor"))
}

/// A loop, and what the tasks are made of that it starts in a turn.
type TasksToStart = PyResult<Option<(Py<PyAny>, Py<PyList>)>>;

/// What the loop calls. That it is let go is how a closed loop makes itself known.
#[pyclass(frozen)]
struct Turn {
    bridge: Arc<LoopBridge>,
    generation: u64,
}

#[pymethods]
impl Turn {
    fn __call__(&self, py: Python<'_>, again: bool) -> TasksToStart {
        let _inside = Inside::attached(py);
        self.bridge.turn(py, again)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.generation == fork::generation() {
            gate::attach(|py| self.bridge.close(py));
        } else {
            // The parent's: its jobs' end would wake tasks of a runtime that is not here, whose locks may be held.
            std::mem::forget(self.bridge.clone());
        }
    }
}
