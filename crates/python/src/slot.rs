//! Python objects that Rust objects of ours call: functions of tools, hooks, models.
//!
//! What is built from a Python object is shared by runs and lives behind `Arc`s, where Python's collector sees
//! nothing. So such things hold a slot, and one Python class owns what is in it: that class shows it to the collector
//! and empties it. An agent that is an attribute of the very object whose method is its tool can so be collected.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::held::Held;

/// The place of a Python object. Its lock is taken for a moment and only while attached.
pub(crate) struct Slot(Mutex<Option<Py<PyAny>>>);

impl Slot {
    pub(crate) fn new(object: Py<PyAny>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(object))))
    }

    /// # Errors
    /// The owner was collected.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let object =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|it| it.clone_ref(py));
        match object {
            Some(object) => Ok(object.into_bound(py)),
            None => {
                Err(PyRuntimeError::new_err("the object behind this was collected; keep its agent alive"))
            }
        }
    }

    /// For `__traverse__` of the owner.
    pub(crate) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_lock() {
            Ok(object) => match &*object {
                Some(object) => visit.call(object),
                None => Ok(()),
            },
            // In use, so not garbage.
            Err(_) => Ok(()),
        }
    }

    /// For `__clear__` of the owner.
    pub(crate) fn clear(&self) {
        let object = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(object);
    }

    /// For the end of the owner, which is attached: where nobody else holds the slot, the object goes now.
    pub(crate) fn release(slot: &Arc<Self>) {
        if Arc::strong_count(slot) == 1 {
            slot.clear();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let object = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        drop(object.map(Held::new));
    }
}
