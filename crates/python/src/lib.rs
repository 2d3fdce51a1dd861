//! The Python door: the extension module `ambidex._core`.
//!
//! `bridge` carries operations between Python and the core, `process` is what they share, `gate`, `fork` and
//! `held` are the rules of a process with an interpreter in it. All else puts a face of Python on a type of the
//! core. The package in `python/ambidex` is what users see.

mod aio;
mod bridge;
mod command;
mod failure;
mod fork;
mod gate;
mod health;
mod held;
mod loop_warning;
mod probe;
mod process;
mod pulse;
mod watch;

use pyo3::prelude::*;

/// The compiled half of the package `ambidex`; private, use the package.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::aio::run_coroutine;
    #[pymodule_export]
    use super::bridge::{_enter_background, Awaitable, ForeignCall};
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::gate::_at_exit;
    #[pymodule_export]
    use super::health::{LoopWatch, health, watch_running_loop};
    #[pymodule_export]
    use super::probe::{_call, _sleep, _yielded, acall, asleep, ayielded};
    use super::{Bound, PyModule, PyResult, fork};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        fork::hook();
        Ok(())
    }
}
