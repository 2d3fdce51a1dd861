//! Loops of our own, for async functions whose caller is a thread that waits. One for each depth of nesting, so
//! that an async function which makes a sync call, and so blocks its loop, does not wait for itself.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::bridge::caller;
use crate::bridge::loop_bridge::LoopBridge;

#[derive(Default)]
pub(crate) struct Background {
    loops: Mutex<Vec<Option<Arc<LoopBridge>>>>,
}

impl Background {
    /// The loop of this depth, started when it is first needed.
    pub(crate) fn at(&self, py: Python<'_>, depth: usize) -> PyResult<Arc<LoopBridge>> {
        if let Some(bridge) = self.known(depth) {
            return Ok(bridge);
        }
        let event_loop = py.import("ambidex._bridge")?.call_method0("new_background_loop")?;
        let bridge = LoopBridge::new(py, &event_loop, format!("ambidex-loop-{depth}"))?;
        {
            let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
            if loops.len() <= depth {
                loops.resize(depth + 1, None);
            }
            if let Some(place) = loops.get_mut(depth) {
                match place {
                    // Another thread was first; this loop never ran.
                    Some(first) if !first.is_closed() => {
                        let first = first.clone();
                        drop(loops);
                        event_loop.call_method0("close")?;
                        return Ok(first);
                    }
                    place => *place = Some(bridge.clone()),
                }
            }
        }
        // Its lowest frames are Python's: CPython may end the thread by unwinding it when the process exits.
        let started =
            py.import("ambidex._bridge")?.call_method1("start_background_loop", (&event_loop, depth));
        if let Err(error) = started {
            // Closed, it is no longer known: nobody waits for a loop that does not run.
            event_loop.call_method0("close")?;
            return Err(error);
        }
        Ok(bridge)
    }

    fn known(&self, depth: usize) -> Option<Arc<LoopBridge>> {
        let loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.get(depth).cloned().flatten().filter(|bridge| !bridge.is_closed())
    }
}

/// Tells the bridge that this thread serves sync calls of one depth.
#[pyfunction]
pub(crate) fn _enter_background(depth: usize) {
    caller::set_nested(depth);
}
