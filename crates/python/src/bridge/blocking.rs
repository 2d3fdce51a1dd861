//! The sync door: the calling thread drives the operation itself and sleeps in `poll(2)` in between.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ambidex_tools::BlockingPool;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::bridge::caller::Home;
use crate::bridge::loop_bridge::LoopBridge;
use crate::bridge::operation::{Ending, drive};
use crate::bridge::wakeup::Wakeup;
use crate::bridge::{Answer, Caller, Failure};
use crate::gate::{self, Inside};
use crate::process::process;
use crate::{fork, loop_warning};

/// A signal ends the sleep of the main thread at once; this is for one that comes just before it, or to a thread that
/// is woken too often to be found asleep.
const BETWEEN_SIGNAL_CHECKS: Duration = Duration::from_millis(100);
/// Other threads only look whether the process ends.
const BETWEEN_EXIT_CHECKS: Duration = Duration::from_secs(1);

type Errand = Box<dyn FnOnce(Python<'_>) + Send>;

/// What the waiting thread itself is asked to do in Python meanwhile.
pub(crate) struct Errands {
    waiting: Mutex<Vec<Errand>>,
    /// Of the thread that waits now, or waited last.
    bell: Mutex<Arc<Bell>>,
}

impl Errands {
    pub(crate) fn of_thread() -> PyResult<Arc<Self>> {
        let bell = Mutex::new(Arc::new(Bell::of_thread()?));
        Ok(Arc::new(Self { waiting: Mutex::default(), bell }))
    }

    pub(crate) fn add(&self, errand: Errand) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        bell.ring();
    }

    /// From now on this thread waits. It looks for errands before it sleeps, so one that rang elsewhere is found.
    fn wait_here(&self) -> PyResult<Arc<Bell>> {
        let bell = Arc::new(Bell::of_thread()?);
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = bell.clone();
        Ok(bell)
    }

    fn take(&self) -> Vec<Errand> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Wakes the waiting thread; rung often, it wakes once.
struct Bell {
    wakeup: Arc<Wakeup>,
    rung: AtomicBool,
}

impl Bell {
    /// On the wake-up of this thread, which serves one call after the other.
    fn of_thread() -> PyResult<Self> {
        thread_local! {
            static WAKEUP: RefCell<Option<(u64, Arc<Wakeup>)>> = const { RefCell::new(None) };
        }
        let generation = fork::generation();
        let known = WAKEUP.with_borrow(|known| known.as_ref().filter(|known| known.0 == generation).cloned());
        let wakeup = match known {
            Some((_, wakeup)) => wakeup,
            None => {
                let wakeup = Arc::new(Wakeup::new()?);
                WAKEUP.set(Some((generation, wakeup.clone())));
                wakeup
            }
        };
        Ok(Self { wakeup, rung: AtomicBool::new(false) })
    }

    fn ring(&self) {
        if !self.rung.swap(true, SeqCst) {
            self.wakeup.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// Why the thread stopped sleeping.
enum Step {
    Ended(Ending),
    Errands(Vec<Errand>),
    LookForSignals,
}

/// Carries an operation out and returns its answer. Ctrl-C cancels it and waits until what it started has ended, a
/// second one does not wait. Works on any thread, under a running loop too, where it warns.
pub(crate) fn wait<'py, T, F>(
    py: Python<'py>,
    operation: impl FnOnce(Arc<Caller>) -> F,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let blocks_loop = loop_warning::check(py)?;
    // Who blocks a loop in this way is one that the watch should see.
    let _watched =
        if blocks_loop { LoopBridge::running(py).and_then(|bridge| bridge.hold()).ok() } else { None };
    wait_with(py, Errands::of_thread()?, operation)
}

/// Like [`wait`], for errands of something that is older than this call, and without a word about a running loop.
pub(crate) fn wait_with<'py, T, F>(
    py: Python<'py>,
    errands: Arc<Errands>,
    operation: impl FnOnce(Arc<Caller>) -> F,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let inside = Inside::attached(py);
    let process = process()?;
    process.releases().empty(py);
    let bell = errands.wait_here()?;
    let caller = Caller::new(py, Home::Thread(errands.clone()))?;
    let waker = Waker::from(bell.clone());
    let is_main = gate::is_main_thread();
    let mut interrupt: Option<PyErr> = None;
    let mut looked = Instant::now();
    let ending = {
        let mut driven = pin!(drive(operation(caller.clone()), &caller));
        loop {
            let step = inside.outside(py, || {
                let _lent = BlockingPool::lend();
                let _runtime = process.runtime().enter();
                loop {
                    if gate::is_closed() && !is_main {
                        gate::park();
                    }
                    bell.rung.store(false, SeqCst);
                    if let Poll::Ready(ending) = driven.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Step::Ended(ending);
                    }
                    let waiting = errands.take();
                    if !waiting.is_empty() {
                        return Step::Errands(waiting);
                    }
                    let woken = sleep(&bell.wakeup, is_main);
                    if is_main && (!woken || looked.elapsed() >= BETWEEN_SIGNAL_CHECKS) {
                        return Step::LookForSignals;
                    }
                }
            });
            match step {
                Step::Ended(ending) => break Some(ending),
                Step::Errands(errands) => errands.into_iter().for_each(|errand| errand(py)),
                Step::LookForSignals => {
                    looked = Instant::now();
                    if let Err(error) = py.check_signals() {
                        caller.token().cancel();
                        if interrupt.replace(error).is_some() {
                            break None;
                        }
                    }
                }
            }
        }
    };
    process.releases().empty(py);
    match (interrupt, ending) {
        (Some(error), _) => {
            caller.ended(py);
            Err(error)
        }
        (None, Some(ending)) => Ok(ending.into_python(py, &caller)?.into_bound(py)),
        (None, None) => Err(crate::bridge::caller::ending()),
    }
}

/// Whether it was woken, and not by time or a signal.
fn sleep(wakeup: &Wakeup, is_main: bool) -> bool {
    let limit = if is_main { BETWEEN_SIGNAL_CHECKS } else { BETWEEN_EXIT_CHECKS };
    let limit = Timespec::try_from(limit).ok();
    let mut polled = [PollFd::new(wakeup, PollFlags::IN)];
    let woken = matches!(poll(&mut polled, limit.as_ref()), Ok(ready) if ready > 0);
    if woken {
        wakeup.clear();
    }
    woken
}
