//! From Python to the core and back: one future per operation, three doors to it.
//!
//! [`wait`] is the sync door: it polls the operation on the calling thread. [`start`] is the async door: the
//! operation is a task of the runtime, and its awaitable belongs to the asyncio loop that asked; for other loops
//! it takes a host to call back. All of them stop an operation by its token and wait for what it started in
//! Python to end.

mod awaitable;
mod background;
mod blocking;
mod caller;
mod foreign;
mod loop_bridge;
mod operation;
mod standing;
mod tasks;
mod wakeup;
mod within;

pub(crate) use awaitable::Awaitable;
pub(crate) use background::{_enter_background, Background};
pub(crate) use blocking::wait;
pub(crate) use caller::Caller;
pub(crate) use foreign::ForeignCall;
pub(crate) use loop_bridge::LoopBridge;
pub(crate) use operation::{Answer, Failure};
pub(crate) use standing::Standing;
pub(crate) use tasks::Finish;
pub(crate) use wakeup::Wakeup;

use std::sync::Arc;

use pyo3::prelude::*;

use crate::gate::Inside;
use crate::process::process;

/// The async door. Without `host` the operation belongs to the running asyncio loop, and what is returned is
/// awaited there. With one it is for another kind of loop: see [`ForeignCall`].
///
/// # Errors
/// No asyncio loop runs in this thread.
pub(crate) fn start<'py, T, F>(
    py: Python<'py>,
    host: Option<Py<PyAny>>,
    operation: impl FnOnce(Arc<Caller>) -> F,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Answer,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let _inside = Inside::attached(py);
    process()?.releases().empty(py);
    match host {
        None => awaitable::spawn(py, operation),
        Some(host) => foreign::spawn(py, host, operation),
    }
}
