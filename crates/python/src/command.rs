//! The command `ambidex` as a call, so that a wheel carries it without a second binary.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Carries out one command line, whose first word is the program's name, and gives its exit code. Runs no Python;
/// signals are the caller's to prepare, as they are for the binary by the system.
#[pyfunction]
pub fn command(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| ambidex_cli::main_with_args(argv).code())
}
