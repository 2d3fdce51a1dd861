//! Scripted models, from files and from Python.

use std::path::PathBuf;
use std::sync::Arc;

use ambidex_core::{Error, ErrorKind, Model as CoreModel};
use ambidex_models::scripted::{ScriptError, ScriptedModel};
use pyo3::prelude::*;
use serde_json::Value;

use crate::{convert, failure, toml_text};

pub(super) enum Script {
    File {
        path: String,
        base: PathBuf,
    },
    /// As TOML.
    Text(String),
}

impl Script {
    pub(super) fn file(path: String) -> PyResult<Self> {
        let base = std::env::current_dir()?;
        let script = Self::File { path, base };
        Python::attach(|py| script.open().map(drop).map_err(|error| failure::of_core(py, &error)))?;
        Ok(script)
    }

    /// A table as a script's file holds it.
    pub(super) fn plain(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut text = String::new();
        if let Value::Object(table) = convert::from_python(plain)? {
            for (key, value) in table {
                text.push_str(&format!("{key} = {}\n", toml_text::inline(&value)));
            }
        }
        let script = Self::Text(text);
        script.open().map_err(|error| failure::of_core(plain.py(), &error))?;
        Ok(script)
    }

    fn open(&self) -> Result<ScriptedModel, Error> {
        let opened = match self {
            Self::File { path, base } => ScriptedModel::open(path, base),
            Self::Text(text) => ScriptedModel::from_toml(text),
        };
        opened.map_err(|error: ScriptError| Error::new(ErrorKind::ConfigInvalid, error.to_string()))
    }

    pub(super) fn make(&self, py: Python<'_>) -> Result<Arc<dyn CoreModel>, Error> {
        Ok(Arc::new(py.detach(|| self.open())?))
    }
}
