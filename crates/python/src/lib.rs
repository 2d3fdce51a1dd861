//! The Python door: the extension module `ambidex._core`.

use pyo3::prelude::*;

/// The compiled half of the package `ambidex`; private, use the package.
#[pymodule(gil_used = false)]
mod _core {
    use super::{PyModule, PyResult, Bound};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
