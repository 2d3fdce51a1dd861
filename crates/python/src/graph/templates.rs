//! Inputs of nodes that Python makes of the state.

use std::sync::Arc;

use ambidex_core::graph::State;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::Templates;
use pyo3::prelude::*;
use serde_json::Value;

use crate::slot::Slot;
use crate::{convert, gate};

/// Calls an object written in Python with the template, the state and the item.
pub(super) struct PythonTemplates(pub(super) Arc<Slot>);

impl Templates for PythonTemplates {
    fn fill(&self, template: &str, state: &State, item: Option<&Value>) -> Result<Value, Error> {
        let filled = gate::attach(|py| {
            let called = self.called(py, template, state, item);
            called.map_err(|exception| {
                let value = exception.value(py);
                let name = exception.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
                let text = format!("its input: {name}: {value}");
                Error::new(ErrorKind::InvalidArguments, text)
            })
        });
        filled.unwrap_or_else(|| Err(Error::cancelled()))
    }
}

impl PythonTemplates {
    fn called(&self, py: Python<'_>, template: &str, state: &State, item: Option<&Value>) -> PyResult<Value> {
        let state = convert::object_to_python(py, state)?;
        let has_item = item.is_some();
        let item = item.map(|item| convert::to_python(py, item)).transpose()?;
        convert::from_python(&self.0.get(py)?.call1((template, state, item, has_item))?)
    }
}
