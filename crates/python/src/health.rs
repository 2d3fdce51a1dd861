//! How the process fares, as plain data: loops, threads, connections, runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::bridge::LoopBridge;
use crate::process;
use crate::pulse::{Block, Pulse, Sight};

/// None before the first call of the process: nothing is there yet.
#[pyfunction]
pub(crate) fn health(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(process) = process::existing() else { return Ok(None) };
    let loops = PyList::empty(py);
    for pulse in process.watch().pulses() {
        loops.append(of_loop(py, &pulse)?)?;
    }
    let threads = process.threads().census();
    let connections = process.client().census();
    let all = PyDict::new(py);
    all.set_item("loops", loops)?;
    all.set_item("threads", (threads.limit, threads.busy, threads.waiting, threads.peak, threads.abandoned))?;
    all.set_item(
        "connections",
        (connections.open, connections.idle, connections.in_flight, connections.opened),
    )?;
    all.set_item("runs", process.engine().active_runs())?;
    all.set_item("calls", process.operations())?;
    all.set_item("streams", process.streams().load(SeqCst))?;
    Ok(Some(all))
}

fn of_loop<'py>(py: Python<'py>, pulse: &Pulse) -> PyResult<Bound<'py, PyDict>> {
    let blocks = pulse.block_census();
    let all = PyDict::new(py);
    all.set_item("name", &pulse.name)?;
    all.set_item("closed", pulse.is_closed())?;
    all.set_item("thread", pulse.thread())?;
    all.set_item("calls", pulse.calls.load(SeqCst))?;
    all.set_item("tasks", pulse.tasks.load(SeqCst))?;
    all.set_item("queued", pulse.queued.load(SeqCst))?;
    all.set_item("turns", pulse.lag.samples())?;
    all.set_item("lag_last", seconds(pulse.lag.last()))?;
    all.set_item("lag_max", seconds(pulse.lag.max()))?;
    all.set_item("lag_p99", seconds(pulse.lag.all_but(0.01)))?;
    all.set_item("blocked", blocks.count)?;
    all.set_item("blocked_longest", seconds(blocks.longest))?;
    all.set_item("blocked_total", seconds(blocks.total))?;
    let latest = PyList::empty(py);
    for Block { ended, lasted, sight } in &blocks.latest {
        let ended = ended.duration_since(UNIX_EPOCH).unwrap_or_default();
        latest.append((seconds(ended), seconds(*lasted), sight.as_ref().map(parts)))?;
    }
    all.set_item("blocks", latest)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let goes_on =
        blocks.now.map(|(lasted, sight)| (seconds(now), seconds(lasted), sight.as_ref().map(parts)));
    all.set_item("blocked_now", goes_on)?;
    Ok(all)
}

fn parts(sight: &Sight) -> (String, Option<String>) {
    (sight.place.clone(), sight.stack.clone())
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Has the watcher look at a loop also when nothing of ours waits for it, until it is stopped or the loop closed;
/// also when nobody keeps this.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct LoopWatch {
    pulse: Arc<Pulse>,
    stopped: AtomicBool,
}

#[pymethods]
impl LoopWatch {
    fn stop(&self) {
        if !self.stopped.swap(true, SeqCst) {
            self.pulse.release();
        }
    }
}

/// Watches the loop that runs in this thread.
#[pyfunction]
pub(crate) fn watch_running_loop(py: Python<'_>) -> PyResult<LoopWatch> {
    let process = process::process()?;
    let pulse = LoopBridge::running(py)?.pulse().clone();
    pulse.hold();
    process.watch().want(process);
    Ok(LoopWatch { pulse, stopped: AtomicBool::new(false) })
}
