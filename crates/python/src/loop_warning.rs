//! A sync call under a running loop works, but blocks that loop. That is said once per place, or refused.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Whether an asyncio loop runs in this thread, of which something is said then.
///
/// # Errors
/// One does, and `AMBIDEX__RUNTIME__STRICT_SYNC` asks for an error.
pub(crate) fn check(py: Python<'_>) -> PyResult<bool> {
    say(py, true)
}

/// Like [`check`], for a stream: it lets go of the loop's thread between its steps, so there is nothing to warn of.
pub(crate) fn check_stream(py: Python<'_>) -> PyResult<bool> {
    say(py, false)
}

fn say(py: Python<'_>, warn: bool) -> PyResult<bool> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let running = match RUNNING.get(py) {
        Some(running) => running.bind(py).clone(),
        None => {
            // Whoever runs a loop has imported it; it is not imported to find out.
            let modules = py.import(pyo3::intern!(py, "sys"))?.getattr(pyo3::intern!(py, "modules"))?;
            let Some(events) =
                modules.call_method1("get", ("asyncio.events",))?.extract::<Option<Bound<'_, PyAny>>>()?
            else {
                return Ok(false);
            };
            let running = events.getattr("_get_running_loop")?;
            let _ = RUNNING.set(py, running.clone().unbind());
            running
        }
    };
    if running.call0()?.is_none() {
        return Ok(false);
    }
    py.import("ambidex._bridge")?.call_method1("sync_call_under_loop", (None::<&str>, None::<&str>, warn))?;
    Ok(true)
}
