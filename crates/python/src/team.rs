//! Teams as Python holds them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::merge::{Actor, MemberOutput, Merge};
use ambidex_engine::team::OnFailure;
use ambidex_engine::{
    Analysis, Engine, OnWaiting, RunError, RunHandle, RunOptions, Team as Core, TeamResult,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agent::{Agent, options};
use crate::asked::Asked;
use crate::bridge::{self, Caller, Failure};
use crate::conversation::Plain;
use crate::failure;
use crate::model::Model;
use crate::process::{Process, process};
use crate::request::read;
use crate::result::RunResult;
use crate::store::{Request, Store};
use crate::stream::{EventStream, Start};

/// What `ambidex.Team` holds. Made for each generation of the process when it first runs.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Team {
    made: Mutex<(u64, Vec<Core>)>,
    settings: Settings,
    /// With what is said about each.
    agents: Vec<(Py<Agent>, String)>,
    planner: Option<Py<PyAny>>,
    judge: Option<Py<PyAny>>,
    writer: Option<Py<PyAny>>,
    store: Option<Py<Store>>,
}

/// As `ambidex.team` writes them. Times are milliseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    merge: Merge,
    everyone: bool,
    threshold: Option<f64>,
    rounds: Option<u32>,
    goes_on: bool,
    at_once: Option<u32>,
    attempts: Option<u32>,
    most_parts: Option<usize>,
    part_timeout_ms: Option<u64>,
    budget: Option<Budget>,
}

/// A run of a team that is about to begin.
pub(crate) struct TeamStart {
    team: Core,
    task: String,
    work: Work,
    options: RunOptions,
}

enum Work {
    Whole,
    Planned(Analysis),
    Merged(Vec<MemberOutput>),
}

impl TeamStart {
    async fn result(self, caller: Arc<Caller>) -> Result<RunResult, Failure> {
        let asked = Asked::new(&caller);
        let (team, task, options) = (self.team, self.task, asked.options(self.options));
        let ended = match self.work {
            Work::Whole => team.run_with(&task, options).await,
            Work::Planned(analysis) => team.run_with_analysis(&task, &analysis, options).await,
            Work::Merged(results) => team.integrate_with(&task, results, options).await,
        };
        asked.settle_run(ended.map(|ended| ended.run)).map(RunResult::new)
    }

    /// Starts the run as a task of the engine, with its events to watch.
    pub(crate) fn begin(self, asked: &Arc<Asked>) -> Result<RunHandle, RunError> {
        let options = asked.options(self.options);
        Ok(match &self.work {
            Work::Planned(analysis) => self.team.start_with_analysis(&self.task, analysis, options)?,
            Work::Whole | Work::Merged(_) => self.team.start(&self.task, options)?,
        })
    }
}

#[pymethods]
impl Team {
    #[new]
    #[pyo3(signature = (settings, agents, planner=None, judge=None, writer=None, store=None))]
    fn new(
        settings: &Bound<'_, PyDict>,
        agents: Vec<(Py<Agent>, String)>,
        planner: Option<Py<PyAny>>,
        judge: Option<Py<PyAny>>,
        writer: Option<Py<PyAny>>,
        store: Option<Py<Store>>,
    ) -> PyResult<Self> {
        let settings = read(settings.as_any(), "a team")?;
        Ok(Self { made: Mutex::default(), settings, agents, planner, judge, writer, store })
    }

    #[pyo3(signature = (task, analysis=None, timeout=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        task: String,
        analysis: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(py, task, analysis, timeout)?;
        bridge::wait(py, |caller| start.result(caller))
    }

    #[pyo3(signature = (task, analysis=None, timeout=None, host=None))]
    fn arun<'py>(
        &self,
        py: Python<'py>,
        task: String,
        analysis: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(py, task, analysis, timeout)?;
        bridge::start(py, host, |caller| start.result(caller))
    }

    /// The events of a run, for either door.
    #[pyo3(signature = (task, analysis=None, timeout=None))]
    fn stream(
        &self,
        py: Python<'_>,
        task: String,
        analysis: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<EventStream> {
        let mut start = self.start(py, task, analysis, timeout)?;
        start.options.on_waiting = OnWaiting::Stay;
        Ok(EventStream::new(Start::Team(Box::new(start))))
    }

    #[pyo3(signature = (task, timeout=None))]
    fn analyse<'py>(
        &self,
        py: Python<'py>,
        task: String,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (team, options) = (self.variant(py, process()?, None)?, options(timeout)?);
        bridge::wait(py, |caller| analyse(team, task, options, caller))
    }

    #[pyo3(signature = (task, timeout=None, host=None))]
    fn aanalyse<'py>(
        &self,
        py: Python<'py>,
        task: String,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (team, options) = (self.variant(py, process()?, None)?, options(timeout)?);
        bridge::start(py, host, |caller| analyse(team, task, options, caller))
    }

    /// Merges outputs that are there already.
    #[pyo3(signature = (task, results, timeout=None))]
    fn integrate<'py>(
        &self,
        py: Python<'py>,
        task: String,
        results: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.merged(py, task, results, timeout)?;
        bridge::wait(py, |caller| start.result(caller))
    }

    #[pyo3(signature = (task, results, timeout=None, host=None))]
    fn aintegrate<'py>(
        &self,
        py: Python<'py>,
        task: String,
        results: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.merged(py, task, results, timeout)?;
        bridge::start(py, host, |caller| start.result(caller))
    }

    /// Goes on with a run; see `Agent.resume`.
    #[pyo3(signature = (run, grant=None, timeout=None, store=None))]
    fn resume<'py>(
        &self,
        py: Python<'py>,
        run: String,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let team = self.variant(py, process()?, store)?;
        let grant: Option<Grant> = grant.map(|grant| read(grant, "the grant")).transpose()?;
        let options = options(timeout)?;
        let graph = team.graph().clone();
        bridge::wait(py, |caller| crate::resume::resume_graph(graph, run, grant, options, caller))
    }

    #[pyo3(signature = (run, grant=None, timeout=None, store=None, host=None))]
    fn aresume<'py>(
        &self,
        py: Python<'py>,
        run: String,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let team = self.variant(py, process()?, store)?;
        let grant: Option<Grant> = grant.map(|grant| read(grant, "the grant")).transpose()?;
        let options = options(timeout)?;
        let graph = team.graph().clone();
        bridge::start(py, host, |caller| crate::resume::resume_graph(graph, run, grant, options, caller))
    }

    /// Asks something of the place where its runs are kept; see `Store.ask`.
    fn ask<'py>(&self, py: Python<'py>, request: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (engine, request): (_, Request) = (self.over(py, process()?, None)?, read(request, "a request")?);
        bridge::wait(py, |caller| async move { caller.cancellable(request.carry_out(&engine, None)).await })
    }

    #[pyo3(signature = (request, host=None))]
    fn aask<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'_, PyAny>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (engine, request): (_, Request) = (self.over(py, process()?, None)?, read(request, "a request")?);
        bridge::start(
            py,
            host,
            |caller| async move { caller.cancellable(request.carry_out(&engine, None)).await },
        )
    }

    /// Builds it, to find what is wrong with it.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.variant(py, process()?, None).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.agents.iter().try_for_each(|(agent, _)| visit.call(agent))?;
        visit.call(&self.planner)?;
        visit.call(&self.judge)?;
        visit.call(&self.writer)?;
        visit.call(&self.store)
    }

    fn __clear__(&self) {
        // What closes a cycle is a function of a tool, hook or model; those let go of theirs.
    }
}

async fn analyse(
    team: Core,
    task: String,
    options: RunOptions,
    caller: Arc<Caller>,
) -> Result<Plain, Failure> {
    let asked = Asked::new(&caller);
    let analysis = team.analyse_with(&task, asked.options(options)).await;
    let analysis = asked.settle(analysis)?;
    let plain = serde_json::to_value(analysis);
    Ok(Plain(plain.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?))
}

/// What a run of a team says beside its result.
pub(crate) fn details(result: ambidex_engine::RunResult) -> Value {
    let TeamResult { analysis, parts, rounds, .. } = TeamResult::of(result);
    json!({ "analysis": analysis, "parts": parts, "rounds": rounds })
}

impl Team {
    fn start(
        &self,
        py: Python<'_>,
        task: String,
        analysis: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<TeamStart> {
        let team = self.variant(py, process()?, None)?;
        let work = match analysis {
            Some(analysis) => Work::Planned(read(analysis, "the analysis")?),
            None => Work::Whole,
        };
        Ok(TeamStart { team, task, work, options: options(timeout)? })
    }

    fn merged(
        &self,
        py: Python<'_>,
        task: String,
        results: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<TeamStart> {
        let team = self.variant(py, process()?, None)?;
        let work = Work::Merged(read(results, "the results")?);
        Ok(TeamStart { team, task, work, options: options(timeout)? })
    }

    fn over(&self, py: Python<'_>, process: &Process, store: Option<&Bound<'_, Store>>) -> PyResult<Engine> {
        match store.map(Bound::get).or_else(|| self.store.as_ref().map(Py::get)) {
            Some(store) => store.engine(py, process),
            None => Ok(process.engine().clone()),
        }
    }

    fn variant(&self, py: Python<'_>, process: &Process, store: Option<&Bound<'_, Store>>) -> PyResult<Core> {
        let engine = self.over(py, process, store)?;
        self.team(py, process, &engine).map_err(|failed| failure::raised(py, failed, None))
    }

    /// The team over this engine.
    pub(crate) fn team(&self, py: Python<'_>, process: &Process, engine: &Engine) -> Result<Core, Failure> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let known = known();
            let meant = |team: &&Core| Arc::ptr_eq(team.engine().store(), engine.store());
            if known.0 == process.generation()
                && let Some(team) = known.1.iter().find(meant)
            {
                return Ok(team.clone());
            }
        }
        let new = self.make(py, process, engine)?;
        let mut made = known();
        let mut old = Vec::new();
        if made.0 != process.generation() {
            old = std::mem::take(&mut made.1);
            made.0 = process.generation();
        }
        made.1.push(new.clone());
        drop(made);
        drop(old);
        Ok(new)
    }

    fn make(&self, py: Python<'_>, process: &Process, engine: &Engine) -> Result<Core, Failure> {
        let settings = &self.settings;
        let mut builder = Core::builder().engine(engine).name(&settings.name).merge(settings.merge.clone());
        for (agent, about) in &self.agents {
            let agent = agent.get().engine(py, process, None, engine)?;
            builder = match about.as_str() {
                "" => builder.agent(agent),
                about => builder.member(agent, about),
            };
        }
        if let Some(planner) = &self.planner {
            builder = builder.planned_by(actor(py, process, engine, planner)?);
        }
        if let Some(judge) = &self.judge {
            builder = builder.judged_by(actor(py, process, engine, judge)?);
        }
        if let Some(writer) = &self.writer {
            builder = builder.written_by(actor(py, process, engine, writer)?);
        }
        if settings.everyone {
            builder = builder.everyone();
        }
        if settings.goes_on {
            builder = builder.on_failure(OnFailure::Continue);
        }
        if let Some(score) = settings.threshold {
            builder = builder.threshold(score);
        }
        if let Some(rounds) = settings.rounds {
            builder = builder.rounds(rounds);
        }
        if let Some(parts) = settings.at_once {
            builder = builder.at_once(parts);
        }
        if let Some(attempts) = settings.attempts {
            builder = builder.attempts(attempts);
        }
        if let Some(parts) = settings.most_parts {
            builder = builder.most_parts(parts);
        }
        if let Some(ms) = settings.part_timeout_ms {
            builder = builder.part_timeout(Duration::from_millis(ms));
        }
        if let Some(budget) = &settings.budget {
            builder = builder.budget(budget.clone());
        }
        Ok(py.detach(|| builder.build())?)
    }
}

fn actor(py: Python<'_>, process: &Process, engine: &Engine, given: &Py<PyAny>) -> Result<Actor, Failure> {
    let given = given.bind(py);
    if let Ok(agent) = given.cast::<Agent>() {
        return Ok(Actor::Agent(agent.get().engine(py, process, None, engine)?));
    }
    let model = given.cast::<Model>().map_err(PyErr::from)?;
    Ok(Actor::Model(model.get().made(py, process)?.model))
}
