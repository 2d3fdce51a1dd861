//! Callers of what outlives one call of a door: streams, of which each step is a call of its own.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::bridge::blocking::{Errands, wait_with};
use crate::bridge::caller::Home;
use crate::bridge::foreign::Host;
use crate::bridge::{Answer, Caller, Failure, LoopBridge};

/// Who asked for a stream. What the stream's run calls in Python is called for this caller, whoever reads.
pub(crate) struct Standing {
    caller: Arc<Caller>,
    /// What the reading thread is asked to do, where threads read.
    errands: Option<Arc<Errands>>,
}

impl Standing {
    pub(crate) fn of_thread(py: Python<'_>) -> PyResult<Self> {
        let errands = Errands::of_thread()?;
        Ok(Self { caller: Caller::new(py, Home::Thread(errands.clone()))?, errands: Some(errands) })
    }

    /// # Errors
    /// No asyncio loop runs in this thread, and there is no host of another one.
    pub(crate) fn of_loop(py: Python<'_>, host: Option<Py<PyAny>>) -> PyResult<Self> {
        let home = match host {
            Some(host) => Home::Foreign(Host::new(host)),
            None => Home::Loop(LoopBridge::running(py)?),
        };
        Ok(Self { caller: Caller::new(py, home)?, errands: None })
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// A step, on the calling thread.
    pub(crate) fn wait<'py, T, F>(
        &self,
        py: Python<'py>,
        operation: impl FnOnce(Arc<Caller>) -> F,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: Answer,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let errands = match &self.errands {
            Some(errands) => errands.clone(),
            None => Errands::of_thread()?,
        };
        wait_with(py, errands, operation)
    }
}
