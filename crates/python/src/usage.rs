//! Tokens and money, as Python sees them.

use ambidex_core::Usage as Core;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What model calls used: tokens, and US dollars where the price is known.
///
/// Reads as attributes and as a mapping.
#[pyclass(frozen, eq, module = "ambidex")]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Usage(pub(crate) Core);

const NAMES: [&str; 8] = [
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
    "usd",
    "estimated",
];

#[pymethods]
impl Usage {
    /// Of nothing.
    #[new]
    fn new() -> Self {
        Self(Core::default())
    }

    /// All input tokens, those read from a cache included.
    #[getter]
    fn input_tokens(&self) -> u64 {
        self.0.input_tokens
    }

    /// All output tokens, reasoning included.
    #[getter]
    fn output_tokens(&self) -> u64 {
        self.0.output_tokens
    }

    #[getter]
    fn cached_input_tokens(&self) -> u64 {
        self.0.cached_input_tokens
    }

    #[getter]
    fn cache_write_tokens(&self) -> u64 {
        self.0.cache_write_tokens
    }

    #[getter]
    fn reasoning_tokens(&self) -> u64 {
        self.0.reasoning_tokens
    }

    /// Input and output together.
    #[getter]
    fn total_tokens(&self) -> u64 {
        self.0.total_tokens()
    }

    /// US dollars; None where the price of a model is not known.
    #[getter]
    fn usd(&self) -> Option<f64> {
        self.0.usd
    }

    /// The provider did not say; these are an estimate.
    #[getter]
    fn estimated(&self) -> bool {
        self.0.estimated
    }

    fn keys(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    fn __len__(&self) -> usize {
        NAMES.len()
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match NAMES.contains(&name) {
            true => slf.as_any().getattr(name),
            false => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    /// The same as plain data.
    fn to_dict<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(slf.py());
        for name in NAMES {
            dict.set_item(name, slf.as_any().getattr(name)?)?;
        }
        Ok(dict)
    }

    fn __reduce__(&self) -> PyResult<Py<PyAny>> {
        Err(crate::failure::usage("a usage cannot be pickled; send usage.to_dict()"))
    }

    fn __repr__(&self) -> String {
        let usd = self.0.usd.map_or_else(String::new, |usd| format!(", usd={usd:.6}"));
        let estimated = if self.0.estimated { ", estimated=True" } else { "" };
        format!(
            "Usage(input_tokens={}, output_tokens={}{usd}{estimated})",
            self.0.input_tokens, self.0.output_tokens
        )
    }
}
