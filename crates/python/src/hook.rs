//! Hooks: Python objects that look at, or replace, what passes the seams of a run.

use std::sync::Arc;

use ambidex_engine::Hook as CoreHook;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::slot::Slot;

/// What `ambidex.Agent` holds of a hook. Only the methods that it has cost anything.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Hook {
    slot: Arc<Slot>,
    methods: Methods,
}

#[derive(Clone, Copy)]
struct Methods {
    before_model: bool,
    after_model: bool,
    before_tool: bool,
    after_tool: bool,
    on_finish: bool,
}

#[pymethods]
impl Hook {
    #[new]
    fn new(hook: &Bound<'_, PyAny>) -> PyResult<Self> {
        let has = |name: &str| hook.hasattr(name);
        let methods = Methods {
            before_model: has("before_model")?,
            after_model: has("after_model")?,
            before_tool: has("before_tool")?,
            after_tool: has("after_tool")?,
            on_finish: has("on_finish")?,
        };
        Ok(Self { slot: Slot::new(hook.clone().unbind()), methods })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.slot.visit(&visit)
    }

    fn __clear__(&self) {
        self.slot.clear();
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        Slot::release(&self.slot);
    }
}

impl Hook {
    pub(crate) fn made(&self) -> impl CoreHook + 'static {
        PythonHook { slot: self.slot.clone(), methods: self.methods }
    }
}

struct PythonHook {
    slot: Arc<Slot>,
    methods: Methods,
}

impl CoreHook for PythonHook {
    fn wants_finish(&self) -> bool {
        self.methods.on_finish
    }
}
