//! Graphs as Python holds them: a definition with what its names stand for, and the graph that was made for this
//! process.

mod node;
mod templates;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::budget::Grant;
use ambidex_core::graph::GraphDefinition;
use ambidex_engine::{Engine, Graph as CoreGraph, RunError, RunHandle, RunOptions, RunResult as CoreResult};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};
use serde_json::Value;

use crate::agent::{Agent, options};
use crate::asked::Asked;
use crate::bridge::{self, Caller, Failure};
use crate::process::{Process, process};
use crate::request::read;
use crate::result::RunResult;
use crate::slot::Slot;
use crate::store::{Request, Store};
use crate::stream::{EventStream, Start};
use crate::tool::Tool;
use crate::{convert, failure, resume};

use node::PythonNode;
use templates::PythonTemplates;

/// Variants of a graph that differ in the store of their runs; older ones are made again.
const VARIANTS: usize = 4;

/// What a compiled graph holds. Made for each generation of the process when it first runs.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Graph {
    made: Mutex<(u64, Vec<CoreGraph>)>,
    definition: GraphDefinition,
    functions: Vec<(String, PythonNode)>,
    agents: Vec<(String, Py<Agent>)>,
    graphs: Vec<(String, Py<Self>)>,
    tools: Vec<Py<Tool>>,
    templates: Option<Arc<Slot>>,
    store: Option<Py<Store>>,
}

/// A run of a graph that is about to begin.
pub(crate) struct GraphStart {
    pub(crate) graph: CoreGraph,
    pub(crate) state: Value,
    pub(crate) options: RunOptions,
}

impl GraphStart {
    async fn rest(self, asked: &Arc<Asked>) -> Result<CoreResult, Failure> {
        let options = asked.options(self.options);
        asked.settle_run(self.graph.run_with(self.state, options).await)
    }

    /// Starts the run as a task of the engine, with its events to watch.
    pub(crate) fn begin(self, asked: &Arc<Asked>) -> Result<RunHandle, RunError> {
        Ok(self.graph.start(self.state, asked.options(self.options))?)
    }

    pub(crate) async fn result(self, caller: Arc<Caller>) -> Result<RunResult, Failure> {
        self.rest(&Asked::new(&caller)).await.map(RunResult::new)
    }
}

#[pymethods]
impl Graph {
    /// `definition` as the core pins it; `functions`, `agents` and `graphs` by the names in it. Updates of the state
    /// may only name `fields`, where they are given. `templates` fills in the inputs of nodes.
    #[new]
    #[pyo3(signature = (definition, functions, agents, graphs, tools, fields=None, templates=None, store=None))]
    #[expect(clippy::too_many_arguments, reason = "what Python gives by position")]
    fn new(
        definition: &Bound<'_, PyAny>,
        functions: &Bound<'_, PyDict>,
        agents: &Bound<'_, PyDict>,
        graphs: &Bound<'_, PyDict>,
        tools: Vec<Py<Tool>>,
        fields: Option<Vec<String>>,
        templates: Option<Py<PyAny>>,
        store: Option<Py<Store>>,
    ) -> PyResult<Self> {
        let definition: GraphDefinition = serde_json::from_value(convert::from_python(definition)?)
            .map_err(|error| PyValueError::new_err(format!("a graph: {error}")))?;
        let fields = fields.map(|fields| Arc::new(fields.into_iter().collect::<HashSet<_>>()));
        let functions = functions.iter().map(|(name, function)| {
            let name: String = name.extract()?;
            let node = PythonNode::new(&name, &function, fields.clone())?;
            Ok((name, node))
        });
        let agents =
            agents.iter().map(|(name, agent)| Ok((name.extract()?, agent.cast_into::<Agent>()?.unbind())));
        let graphs =
            graphs.iter().map(|(name, graph)| Ok((name.extract()?, graph.cast_into::<Self>()?.unbind())));
        Ok(Self {
            made: Mutex::default(),
            definition,
            functions: functions.collect::<PyResult<_>>()?,
            agents: agents.collect::<PyResult<_>>()?,
            graphs: graphs.collect::<PyResult<_>>()?,
            tools,
            templates: templates.map(Slot::new),
            store,
        })
    }

    #[pyo3(signature = (state, timeout=None))]
    fn run<'py>(&self, state: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(state, timeout)?;
        bridge::wait(state.py(), |caller| start.result(caller))
    }

    #[pyo3(signature = (state, timeout=None, host=None))]
    fn arun<'py>(
        &self,
        state: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(state, timeout)?;
        bridge::start(state.py(), host, |caller| start.result(caller))
    }

    /// The events of a run, for either door. One that waits for a person stays: its reader sees the question.
    #[pyo3(signature = (state, timeout=None))]
    fn stream(&self, state: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<EventStream> {
        let mut start = self.start(state, timeout)?;
        start.options.on_waiting = ambidex_engine::OnWaiting::Stay;
        Ok(EventStream::new(Start::Graph(Box::new(start))))
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
        let (graph, grant, options) = self.begin_resume(py, grant, timeout, store)?;
        bridge::wait(py, |caller| resume::resume_graph(graph, run, grant, options, caller))
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
        let (graph, grant, options) = self.begin_resume(py, grant, timeout, store)?;
        bridge::start(py, host, |caller| resume::resume_graph(graph, run, grant, options, caller))
    }

    /// Asks something of the place where the graph's runs are kept; see `Store.ask`.
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

    /// Builds the graph for this process, to find what is wrong with it.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.variant(py, process()?, None).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.iter().try_for_each(|(_, node)| node.slot().visit(&visit))?;
        self.templates.iter().try_for_each(|slot| slot.visit(&visit))?;
        self.agents.iter().try_for_each(|(_, agent)| visit.call(agent))?;
        self.graphs.iter().try_for_each(|(_, graph)| visit.call(graph))?;
        self.tools.iter().try_for_each(|tool| visit.call(tool))?;
        visit.call(&self.store)
    }

    fn __clear__(&self) {
        self.functions.iter().for_each(|(_, node)| node.slot().clear());
        self.templates.iter().for_each(|slot| slot.clear());
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let made = std::mem::take(self.made.get_mut().unwrap_or_else(PoisonError::into_inner));
        drop(made);
        self.functions.iter().for_each(|(_, node)| Slot::release(node.slot()));
        self.templates.iter().for_each(Slot::release);
    }
}

impl Graph {
    fn start(&self, state: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<GraphStart> {
        let graph = self.variant(state.py(), process()?, None)?;
        Ok(GraphStart { graph, state: convert::from_python(state)?, options: options(timeout)? })
    }

    fn begin_resume(
        &self,
        py: Python<'_>,
        grant: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<(CoreGraph, Option<Grant>, RunOptions)> {
        let graph = self.variant(py, process()?, store)?;
        Ok((graph, grant.map(|grant| read(grant, "the grant")).transpose()?, options(timeout)?))
    }

    fn over(&self, py: Python<'_>, process: &Process, store: Option<&Bound<'_, Store>>) -> PyResult<Engine> {
        match store.map(Bound::get).or_else(|| self.store.as_ref().map(Py::get)) {
            Some(store) => store.engine(py, process),
            None => Ok(process.engine().clone()),
        }
    }

    pub(crate) fn variant(
        &self,
        py: Python<'_>,
        process: &Process,
        store: Option<&Bound<'_, Store>>,
    ) -> PyResult<CoreGraph> {
        let engine = self.over(py, process, store)?;
        self.graph(py, process, &engine).map_err(|failed| failure::raised(py, failed, None))
    }

    /// The graph over this engine.
    pub(crate) fn graph(
        &self,
        py: Python<'_>,
        process: &Process,
        engine: &Engine,
    ) -> Result<CoreGraph, Failure> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let known = known();
            let meant = |graph: &&CoreGraph| Arc::ptr_eq(graph.engine().store(), engine.store());
            if known.0 == process.generation()
                && let Some(graph) = known.1.iter().find(meant)
            {
                return Ok(graph.clone());
            }
        }
        let new = self.make(py, process, engine)?;
        let mut made = known();
        let mut old = Vec::new();
        if made.0 != process.generation() {
            old = std::mem::take(&mut made.1);
            made.0 = process.generation();
        } else if made.1.len() >= VARIANTS {
            old.push(made.1.remove(0));
        }
        made.1.push(new.clone());
        drop(made);
        drop(old);
        Ok(new)
    }

    fn make(&self, py: Python<'_>, process: &Process, engine: &Engine) -> Result<CoreGraph, Failure> {
        let mut builder = CoreGraph::from_definition(self.definition.clone()).engine(engine);
        for (name, node) in &self.functions {
            builder = builder.shared_function(name, Arc::new(node.clone()));
        }
        for (name, agent) in &self.agents {
            builder = builder.agent(name, agent.get().engine(py, process, None, engine)?);
        }
        for (name, graph) in &self.graphs {
            builder = builder.graph(name, graph.get().graph(py, process, engine)?);
        }
        for tool in &self.tools {
            builder = builder.registered_tool(tool.get().registered(py, process)?);
        }
        if let Some(templates) = &self.templates {
            builder = builder.templates(Arc::new(PythonTemplates(templates.clone())));
        }
        Ok(py.detach(|| builder.build())?)
    }
}
