//! The Python door: the extension module `ambidex._core`.
//!
//! `bridge` carries operations between Python and the core, `process` is what they share, `gate`, `fork` and
//! `held` are the rules of a process with an interpreter in it. All else puts a face of Python on a type of the
//! core. The package in `python/ambidex` is what users see.

mod agent;
mod agent_settings;
mod aio;
mod asked;
mod batch;
mod bridge;
mod command;
mod conversation;
mod convert;
mod event;
mod failure;
mod fork;
mod gate;
mod graph;
mod health;
mod held;
mod hook;
mod loop_warning;
mod message;
mod model;
mod probe;
mod process;
mod project;
mod pulse;
mod python_tool;
mod request;
mod resting;
mod result;
mod resume;
mod seam;
mod slot;
mod store;
mod stream;
mod team;
mod threads;
mod toml_text;
mod tool;
mod tool_context;
mod usage;
mod watch;
mod workflow;

use pyo3::prelude::*;

/// The compiled half of the package `ambidex`; private, use the package.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::agent::Agent;
    #[pymodule_export]
    use super::aio::run_coroutine;
    #[pymodule_export]
    use super::bridge::{_enter_background, Awaitable, ForeignCall};
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::gate::_at_exit;
    #[pymodule_export]
    use super::graph::Graph;
    #[pymodule_export]
    use super::health::{LoopWatch, health, watch_running_loop};
    #[pymodule_export]
    use super::hook::Hook;
    #[pymodule_export]
    use super::model::{Model, Reply, recorded_calls};
    #[pymodule_export]
    use super::probe::{_call, _sleep, _yielded, acall, asleep, ayielded};
    #[pymodule_export]
    use super::process::_loop_settings;
    #[pymodule_export]
    use super::request::Request;
    #[pymodule_export]
    use super::result::RunResult;
    #[pymodule_export]
    use super::seam::{Call, CallResult, Finish};
    #[pymodule_export]
    use super::store::{Recovery, Store};
    #[pymodule_export]
    use super::stream::EventStream;
    #[pymodule_export]
    use super::team::Team;
    #[pymodule_export]
    use super::threads::Worker;
    #[pymodule_export]
    use super::tool::Tool;
    #[pymodule_export]
    use super::tool_context::ToolContext;
    #[pymodule_export]
    use super::usage::Usage;
    #[pymodule_export]
    use super::workflow::Workflow;
    use super::{Bound, PyModule, PyResult, fork, process};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        process::refuse_subinterpreters()?;
        fork::hook();
        Ok(())
    }
}
