//! What a tool or hook may know of its call and say about it.

use std::sync::Arc;

use ambidex_core::Context;
use pyo3::prelude::*;

use crate::asked::Asked;
use crate::convert;

/// The surroundings of one call of a tool (or hook): ask for it with a parameter annotated `ax.ToolContext`, or named
/// `ctx`.
#[pyclass(frozen, module = "ambidex")]
pub(crate) struct ToolContext {
    context: Context,
    asked: Arc<Asked>,
}

impl ToolContext {
    pub(crate) fn new(context: Context, asked: Arc<Asked>) -> Self {
        Self { context, asked }
    }
}

#[pymethods]
impl ToolContext {
    /// Whether this call was cancelled or its time is over. A sync tool that works long looks here now and then.
    #[getter]
    fn cancelled(&self) -> bool {
        self.context.is_cancelled()
    }

    /// A dict that the tools and hooks of one run share.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.asked.state(py)
    }

    /// Tells whoever watches the run something: an event `tool.progress` with this data (plain data, as JSON knows it).
    fn emit(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.context.is_watched() {
            self.context.progress(convert::from_python(data)?);
        }
        Ok(())
    }

    #[getter]
    fn run_id(&self) -> &str {
        self.context.run()
    }

    /// The id of this call within its run, such as `t0.1`.
    #[getter]
    fn call_id(&self) -> &str {
        self.context.effect()
    }

    /// Counts from 1; above 1 only where an earlier attempt was lost with its process.
    #[getter]
    fn attempt(&self) -> u32 {
        self.context.attempt()
    }

    /// The same in every attempt: give it to whoever can tell a repeated request by it.
    #[getter]
    fn idempotency_key(&self) -> String {
        self.context.idempotency_key()
    }

    fn __repr__(&self) -> String {
        format!("ToolContext(run_id={:?}, call_id={:?})", self.context.run(), self.context.effect())
    }
}
