//! Stores as Python holds them: where one is, and the engine over it that was made for this process.

mod lazy;
mod place;
mod recovery;
mod request;
mod talk;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use ambidex_engine::Engine;
use pyo3::prelude::*;

use crate::agent::Agent;
use crate::bridge::{self, Standing};
use crate::graph::Graph;
use crate::process::{Process, process};
use crate::request::read;
use crate::team::Team;
use crate::workflow::Workflow;
use crate::{failure, fork};

pub(crate) use lazy::LazyStore;
pub(crate) use place::Location;

pub(crate) use recovery::Recovery;
pub(crate) use request::Request;
pub(crate) use talk::thread as thread_line;

/// What `ambidex.Store` holds. Opened in each generation of the process when it is first used.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Store {
    location: Location,
    made: Mutex<Option<Made>>,
    closed: AtomicBool,
}

#[derive(Clone)]
struct Made {
    generation: u64,
    engine: Engine,
    store: LazyStore,
}

#[pymethods]
impl Store {
    /// `url` as in `[store]`.
    #[new]
    #[pyo3(signature = (url, durability=None))]
    fn new(py: Python<'_>, url: &str, durability: Option<&str>) -> PyResult<Self> {
        let location = Location::parse(url, durability).map_err(|error| failure::of_core(py, &error))?;
        Ok(Self { location, made: Mutex::default(), closed: AtomicBool::new(false) })
    }

    /// Asks something of the store: plain data in, plain data out (see `Request`).
    fn ask<'py>(&self, py: Python<'py>, request: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (made, request) = (self.made(py, process()?)?, self.read(request)?);
        bridge::wait(py, |caller| async move {
            let engine = made.engine.clone();
            caller.cancellable(request.carry_out(&engine, Some(&made.store))).await
        })
    }

    #[pyo3(signature = (request, host=None))]
    fn aask<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'_, PyAny>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (made, request) = (self.made(py, process()?)?, self.read(request)?);
        bridge::start(py, host, |caller| async move {
            let engine = made.engine.clone();
            caller.cancellable(request.carry_out(&engine, Some(&made.store))).await
        })
    }

    /// Writes what is queued and lets go of the place. Nothing is opened for it.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.closing() {
            None => Ok(py.None().into_bound(py)),
            Some(store) => bridge::wait(py, |_| async move {
                store.close().await;
                Ok(())
            }),
        }
    }

    #[pyo3(signature = (host=None))]
    fn aclose<'py>(&self, py: Python<'py>, host: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let store = self.closing();
        bridge::start(py, host, |_| async move {
            if let Some(store) = store {
                store.close().await;
            }
            Ok(())
        })
    }

    /// Drives on what is claimable with these agents and graphs, until it is stopped. `home` reaches a loop of another
    /// kind than asyncio's.
    #[pyo3(signature = (agents, graphs, flows, teams, is_async, home=None))]
    #[expect(clippy::too_many_arguments, reason = "what Python gives by position")]
    fn recover(
        &self,
        py: Python<'_>,
        agents: Vec<Py<Agent>>,
        graphs: Vec<Py<Graph>>,
        flows: Vec<Py<Workflow>>,
        teams: Vec<Py<Team>>,
        is_async: bool,
        home: Option<Py<PyAny>>,
    ) -> PyResult<Recovery> {
        let process = process()?;
        let engine = self.engine(py, process)?;
        let standing = if is_async { Standing::of_loop(py, home)? } else { Standing::of_thread(py)? };
        Recovery::begin(py, process, engine, &agents, &graphs, &flows, &teams, &standing)
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(SeqCst)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if made.as_ref().is_some_and(|made| made.generation != fork::generation()) {
            // The parent's threads look after it, and they are not here.
            std::mem::forget(made);
        }
    }
}

impl Store {
    /// The engine over it.
    pub(crate) fn engine(&self, py: Python<'_>, process: &Process) -> PyResult<Engine> {
        self.made(py, process).map(|made| made.engine)
    }

    fn made(&self, _py: Python<'_>, process: &Process) -> PyResult<Made> {
        if self.closed() {
            return Err(failure::usage("the store is closed; open it again with ax.open, or close it later"));
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && made.generation == process.generation()
        {
            return Ok(made.clone());
        }
        // Nothing is opened and nothing of Python's is called here, so the lock may be held.
        let store = LazyStore::new(self.location.clone());
        let new =
            Made { generation: process.generation(), engine: process.engine_over(store.clone()), store };
        std::mem::forget(made.replace(new.clone()));
        Ok(new)
    }

    fn closing(&self) -> Option<LazyStore> {
        if self.closed.swap(true, SeqCst) {
            return None;
        }
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.as_ref().filter(|made| made.generation == fork::generation());
        made.map(|made| made.store.clone())
    }

    fn read(&self, request: &Bound<'_, PyAny>) -> PyResult<Request> {
        read(request, "a request")
    }
}
