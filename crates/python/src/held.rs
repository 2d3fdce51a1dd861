//! Python objects held by work that ends on threads of ours.
//!
//! An object may only be let go while attached. PyO3 keeps what is dropped elsewhere in a list of the process, whose
//! lock a fork could catch held; so here such objects go to a list of the process block, which a fork leaves
//! behind, and the next thread that is attached anyway empties it.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::process;

/// A Python object that may be dropped on any thread.
pub(crate) struct Held {
    object: Option<Py<PyAny>>,
    generation: u64,
}

impl Held {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self { object: Some(object), generation: crate::fork::generation() }
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.object {
            Some(object) => object.bind(py).clone(),
            // Only a dropped one is empty.
            None => py.None().into_bound(py),
        }
    }

    /// Gives the object back to whoever is attached.
    pub(crate) fn into_inner(mut self, py: Python<'_>) -> Py<PyAny> {
        self.object.take().unwrap_or_else(|| py.None())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        match process::existing() {
            Some(process) if process.generation() == self.generation => process.releases().add(object),
            // It belongs to the parent's memory; whether its count is right matters to nobody here.
            _ => std::mem::forget(object),
        }
    }
}

/// Objects that wait to be let go.
#[derive(Default)]
pub(crate) struct Releases {
    waiting: Mutex<Vec<Py<PyAny>>>,
}

impl Releases {
    fn add(&self, object: Py<PyAny>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(object);
    }

    /// Lets go of all. Being attached is what makes that right.
    pub(crate) fn empty(&self, _py: Python<'_>) {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_empty() {
                return;
            }
            std::mem::take(&mut *waiting)
        };
        // Outside of the lock: an object's end may run any code.
        drop(waiting);
    }
}
