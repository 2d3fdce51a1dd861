//! Routes over models, whatever those are.

use std::sync::Arc;

use ambidex_config::{LoadOptions, Route as Options};
use ambidex_core::Model as CoreModel;
use ambidex_engine::project::{self, Times};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::Model;
use crate::bridge::Failure;
use crate::process::Process;
use crate::{convert, failure, toml_text};

pub(super) struct Route {
    name: String,
    options: Options,
    targets: Vec<Py<Model>>,
}

impl Route {
    /// The options are read as those of `[routes.NAME]` are.
    pub(super) fn new(name: String, options: &Bound<'_, PyAny>, targets: Vec<Py<Model>>) -> PyResult<Self> {
        let py = options.py();
        let Value::Object(mut table) = convert::from_python(options)? else {
            return Err(PyValueError::new_err("the options of a route are a dict"));
        };
        // Names that any configuration knows, in the place of the targets.
        let places: Vec<String> = (0..targets.len()).map(|at| format!("openai:{at}")).collect();
        if let Some(Value::Array(weights)) = table.get("weights").cloned() {
            let weights = places.iter().cloned().zip(weights);
            table.insert("weights".into(), Value::Object(weights.collect()));
        }
        table.insert("use".into(), json!(places));
        let mut load = LoadOptions::in_directory("/");
        load.text = Some(String::new());
        load.overrides = vec![format!("routes.route={}", toml_text::inline(&Value::Object(table)))];
        let loaded = ambidex_config::load(&load)
            .map_err(|faults| failure::of_core(py, &crate::project::invalid(&faults, "routes.route")))?;
        match loaded.config.routes.get("route").cloned() {
            Some(options) => Ok(Self { name, options, targets }),
            None => Err(PyValueError::new_err("the options of a route were not understood")),
        }
    }

    pub(super) fn targets(&self) -> &[Py<Model>] {
        &self.targets
    }

    pub(super) fn make(
        &self,
        py: Python<'_>,
        process: &Process,
        around: &Times,
    ) -> Result<Arc<dyn CoreModel>, Failure> {
        let times = Times::within(&self.options, around);
        let targets = self.targets.iter();
        let targets = targets.map(|target| target.get().target(py, process, &times, &self.options.breaker));
        Ok(project::route(&self.name, &self.options, targets.collect::<Result<_, _>>()?))
    }
}
