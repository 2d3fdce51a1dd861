//! Runs at rest that somebody may resume. A process that serves for months must not keep all that nobody did.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_engine::RunResult;

use crate::process;

/// Runs at rest that a process remembers, the latest.
const REMEMBERED: usize = 1024;

/// The latest runs that came to rest without an end.
#[derive(Default)]
pub(crate) struct Resting(Mutex<VecDeque<String>>);

impl Resting {
    /// Remembers a run that waits or is paused. The store forgets the one that did so longest ago, when there are
    /// too many.
    fn heard(&self, result: &RunResult, store: &MemoryStore) {
        if !matches!(result.status, Status::Waiting | Status::Paused) {
            return;
        }
        let oldest = {
            let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            runs.retain(|run| *run != result.run);
            runs.push_back(result.run.clone());
            if runs.len() > REMEMBERED { runs.pop_front() } else { None }
        };
        if let Some(run) = oldest {
            store.forget(&run);
        }
    }

    /// Somebody goes on with a run; from now on its driver looks after it.
    pub(crate) fn resumed(&self, run: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|resting| resting != run);
    }
}

/// Takes note of how a run came to rest.
pub(crate) fn heard(result: &RunResult) {
    if let Some(process) = process::existing()
        && let Some(memory) = process.memory()
    {
        process.resting().heard(result, memory);
    }
}
