//! Threads for functions that are not async. Their lowest frames are Python's, and none of ours stand below a function
//! while it runs: before 3.14 CPython ends a thread that wakes while the process ends by unwinding it, and a Rust frame
//! would abort the process then. So a job only says what is to be called, and a loop in Python calls it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ambidex_tools::{PoolJob, PoolThread, StartThread};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::bridge::Finish;
use crate::gate::{self, Inside};
use crate::process;

/// What is called: a callable and a tuple of its arguments.
type Prepare = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send>;

/// A call that a job leaves to its thread's loop.
struct Call {
    prepare: Prepare,
    finish: Finish,
}

thread_local! {
    static LEFT: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// From inside of a job: has its thread call something next.
pub(crate) fn leave(
    prepare: impl FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send + 'static,
    finish: impl FnOnce(PyResult<Bound<'_, PyAny>>) + Send + 'static,
) {
    LEFT.set(Some(Call { prepare: Box::new(prepare), finish: Box::new(finish) }));
}

/// Threads that Python starts.
pub(crate) struct PythonThreads;

impl StartThread for PythonThreads {
    fn start(&self, name: String, thread: PoolThread) -> std::io::Result<()> {
        let worker =
            Worker { begun: AtomicBool::new(false), thread: Mutex::new(thread), under_way: Mutex::default() };
        let started = gate::attach(|py| {
            py.import("ambidex._bridge")?.call_method1("start_thread", (worker, name)).map(drop)
        });
        match started {
            Some(started) => started.map_err(|error| std::io::Error::other(error.to_string())),
            None => Err(std::io::Error::other("the interpreter is ending")),
        }
    }

    fn start_own(&self, name: String, life: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        let life = move || {
            process::block_signals();
            life();
        };
        std::thread::Builder::new().name(name).spawn(life).map(drop)
    }
}

/// One thread of the pool, for the loop that drives it.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Worker {
    begun: AtomicBool,
    thread: Mutex<PoolThread>,
    under_way: Mutex<Option<(PoolJob, Finish)>>,
}

#[pymethods]
impl Worker {
    /// Waits for something to call: a callable and a tuple of its arguments. None: the thread should end.
    fn next<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyTuple>> {
        if !self.begun.swap(true, SeqCst) {
            process::block_signals();
        }
        let inside = Inside::attached(py);
        loop {
            let job = inside.outside(py, || {
                let mut job = lock(&self.thread).next_job()?;
                if !job.is_left() {
                    job.carry_out();
                }
                Some(job)
            })?;
            // One of Rust's alone has been carried out.
            if job.is_left()
                && let Some(call) = self.call(py, job)
            {
                return Some(call);
            }
        }
    }

    /// What the callable returned. Gives what is called next where that is known already.
    fn done<'py>(&self, value: Bound<'py, PyAny>) -> Option<Bound<'py, PyTuple>> {
        let py = value.py();
        self.finish(py, Ok(value))
    }

    /// What it raised. The same.
    fn failed<'py>(&self, error: Bound<'py, PyAny>) -> Option<Bound<'py, PyTuple>> {
        self.finish(error.py(), Err(PyErr::from_value(error)))
    }
}

impl Worker {
    /// What a job leaves to its thread; none where there is nothing to call, nor in one that was left to this thread
    /// meanwhile: it does not let go of Python before that.
    fn call<'py>(&self, py: Python<'py>, mut job: PoolJob) -> Option<Bound<'py, PyTuple>> {
        loop {
            job.begins();
            job.carry_out();
            if let Some(Call { prepare, finish }) = LEFT.take() {
                match prepare(py) {
                    Ok(call) => {
                        *lock(&self.under_way) = Some((job, finish));
                        return Some(call.into_bound(py));
                    }
                    Err(error) => finish(Err(error)),
                }
            }
            job = lock(&self.thread).next_left(job)?;
        }
    }

    fn finish<'py>(
        &self,
        py: Python<'py>,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Option<Bound<'py, PyTuple>> {
        let _inside = Inside::attached(py);
        let (job, finish) = lock(&self.under_way).take()?;
        finish(result);
        // Whoever waits hears of it, and the thread is free, or takes the next.
        let next = lock(&self.thread).next_left(job);
        if let Some(process) = process::existing() {
            process.releases().empty(py);
        }
        self.call(py, next?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
