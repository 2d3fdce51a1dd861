//! The exit gate: nobody enters a Python that is ending.
//!
//! Before 3.14 CPython ends a thread that asks for the interpreter lock during finalisation by unwinding it, which
//! aborts the process when it meets a Rust frame; a daemon thread that calls in late prints noise. So whoever
//! crosses into Python is counted, the exit hook closes the gate and waits (bounded) until nobody is inside.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::fork;

/// What an exiting process waits at most for threads that are inside of Python.
const EXIT_GRACE: Duration = Duration::from_millis(200);

static CLOSED: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Counts its thread as one that is inside of Python, or about to be.
pub(crate) struct Inside {
    generation: u64,
}

impl Inside {
    /// For a thread that holds nothing of Python; none once the gate is closed, but for the main thread.
    pub(crate) fn enter() -> Option<Self> {
        let inside = Self::counted();
        (!is_closed() || is_main_thread()).then_some(inside)
    }

    /// For a thread that came from Python and is attached. It must go back there, so it stays here for ever when
    /// the gate is closed; only the main thread, which runs the exit handlers, passes.
    pub(crate) fn attached(py: Python<'_>) -> Self {
        let inside = Self::counted();
        if is_closed() && !is_main_thread() {
            drop(inside);
            py.detach(|| park());
        }
        inside
    }

    fn counted() -> Self {
        INSIDE.fetch_add(1, SeqCst);
        Self { generation: fork::generation() }
    }

    /// Whether it counts: a fork forgets all that were inside.
    fn counts(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Runs something detached, outside of the gate.
    pub(crate) fn outside<T: Send>(&self, py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
        let counts = self.counts();
        py.detach(|| {
            if counts {
                INSIDE.fetch_sub(1, SeqCst);
            }
            let value = f();
            if counts {
                reenter();
            }
            value
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.counts() {
            INSIDE.fetch_sub(1, SeqCst);
        }
    }
}

/// Before a detached thread attaches again to go back to Python.
fn reenter() {
    INSIDE.fetch_add(1, SeqCst);
    if is_closed() && !is_main_thread() {
        INSIDE.fetch_sub(1, SeqCst);
        park();
    }
}

/// Does something in Python from a thread of ours. None: the interpreter is ending; give up quietly.
pub(crate) fn attach<T>(f: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    let _inside = Inside::enter()?;
    Python::try_attach(f)
}

/// In the child of a fork: the threads that were inside are not there.
pub(crate) fn forget() {
    INSIDE.store(0, SeqCst);
}

pub(crate) fn is_closed() -> bool {
    CLOSED.load(SeqCst)
}

/// Stays here until the process is gone.
pub(crate) fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// Whether this is the thread that gets Python's signals.
#[expect(unsafe_code, reason = "asks the system which thread this is; takes and keeps no memory")]
pub(crate) fn is_main_thread() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: both calls only return a number.
    unsafe {
        libc::gettid() == libc::getpid()
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: the call only returns a number.
    unsafe {
        libc::pthread_main_np() != 0
    }
}

/// Closes the gate; registered with `atexit`.
#[pyfunction]
pub(crate) fn _at_exit(py: Python<'_>) {
    CLOSED.store(true, SeqCst);
    py.detach(|| {
        let started = Instant::now();
        while INSIDE.load(SeqCst) > 0 && started.elapsed() < EXIT_GRACE {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
