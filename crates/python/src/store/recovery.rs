//! Runs that nobody drives any more, driven on by a process of Python's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_engine::{Engine, Recovery as CoreRecovery, RunOptions, Runnable};
use pyo3::prelude::*;

use crate::agent::Agent;
use crate::asked::Asked;
use crate::bridge::{self, Caller, Failure, Standing};
use crate::graph::Graph;
use crate::process::Process;
use crate::team::Team;
use crate::workflow::Workflow;
use crate::{failure, fork};

/// What `ambidex.store.Recovery` holds. Dropped, it takes no more runs; those it has taken go on.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Recovery {
    under_way: Mutex<Option<CoreRecovery>>,
    engine: Engine,
    generation: u64,
}

#[pymethods]
impl Recovery {
    /// Takes no more runs, and waits until none of the store is under way here.
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.stopping() {
            None => Ok(py.None().into_bound(py)),
            Some(engine) => bridge::wait(py, |caller| idle(engine, caller)),
        }
    }

    #[pyo3(signature = (host=None))]
    fn astop<'py>(&self, py: Python<'py>, host: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let stopping = self.stopping();
        bridge::start(py, host, |caller| async move {
            match stopping {
                None => Ok(()),
                Some(engine) => idle(engine, caller).await,
            }
        })
    }
}

async fn idle(engine: Engine, caller: Arc<Caller>) -> Result<(), Failure> {
    let idle = async {
        engine.idle().await;
        Ok(())
    };
    caller.cancellable(idle).await
}

impl Recovery {
    #[expect(clippy::too_many_arguments, reason = "made in one place")]
    pub(super) fn begin(
        py: Python<'_>,
        process: &Process,
        engine: Engine,
        agents: &[Py<Agent>],
        graphs: &[Py<Graph>],
        flows: &[Py<Workflow>],
        teams: &[Py<Team>],
        standing: &Standing,
    ) -> PyResult<Self> {
        let mut known: HashMap<(bool, String), Runnable> = HashMap::new();
        let raised = |failed| failure::raised(py, failed, None);
        for agent in agents {
            let agent = agent.get().engine(py, process, None, &engine).map_err(raised)?;
            known.insert((false, agent.name().to_owned()), agent.into());
        }
        for graph in graphs {
            let graph = graph.get().graph(py, process, &engine).map_err(raised)?;
            known.insert((true, graph.name().to_owned()), graph.into());
        }
        let flows = flows.iter().map(|flow| flow.get().workflow(py, process, &engine));
        let flows: Vec<_> = flows.collect::<Result<_, _>>().map_err(raised)?;
        let teams = teams.iter().map(|team| team.get().team(py, process, &engine));
        let teams: Vec<_> = teams.collect::<Result<_, _>>().map_err(raised)?;
        let caller = standing.caller().clone();
        // Each of its own: one that raises ends no other.
        let options = move || Asked::new(&caller).options(RunOptions::default());
        let _entered = process.runtime().enter();
        let recovery = engine.recover_with(
            move |definition| {
                let given = known.get(&(definition.graph().is_some(), definition.name().to_owned())).cloned();
                let of_team = || teams.iter().find_map(|team| team.runnable(definition));
                let of_flow = || {
                    let graph = definition.graph()?;
                    let flow = flows.iter().find(|flow| flow.name() == graph.name)?;
                    flow.pinned(graph).ok().map(Runnable::from)
                };
                given.or_else(of_team).or_else(of_flow)
            },
            options,
        );
        let recovery = recovery.map_err(|error| failure::of_core(py, &error))?;
        Ok(Self { under_way: Mutex::new(Some(recovery)), engine, generation: fork::generation() })
    }

    fn stopping(&self) -> Option<Engine> {
        if self.generation != fork::generation() {
            return None;
        }
        let recovery = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).take();
        recovery.map(|recovery| {
            drop(recovery);
            self.engine.clone()
        })
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // The parent's: its task is not here.
            std::mem::forget(self.under_way.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
