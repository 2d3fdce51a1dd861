//! Workflows as Python holds them: a file or a definition, and the workflow that was made of it for this process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ambidex_config::{Known, LoadOptions};
use ambidex_core::budget::Grant;
use ambidex_core::definition::Definition;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::project::{AgentChanges, Project};
use ambidex_engine::workflow::{self, Format};
use ambidex_engine::{Engine, Graph as CoreGraph, OnWaiting, Workflow as Core, WorkflowBuilder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};
use serde_json::Value;

use crate::agent::{Agent, options};
use crate::bridge::{self, Failure};
use crate::graph::GraphStart;
use crate::model::Model;
use crate::process::{Process, process};
use crate::request::read;
use crate::store::{Request, Store};
use crate::stream::{EventStream, Start};
use crate::tool::Tool;
use crate::{convert, failure, project, resume};

/// What `ambidex.Workflow` holds. Made for each generation of the process when it first runs.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Workflow {
    made: Mutex<(u64, Vec<Core>)>,
    source: Source,
    agents: Vec<(String, Py<Agent>)>,
    models: Vec<(String, Py<Model>)>,
    tools: Vec<(String, Py<Tool>)>,
    flows: Vec<(String, Py<Self>)>,
    store: Option<Py<Store>>,
}

enum Source {
    File(PathBuf),
    Definition { name: String, definition: Value },
}

#[pymethods]
impl Workflow {
    /// `source` is the path of a file, or a definition with the keys that a file has; what it names is what is given
    /// here, else what the configuration has.
    #[new]
    #[pyo3(signature = (name, source, agents, models, tools, flows, store=None))]
    fn new(
        name: String,
        source: &Bound<'_, PyAny>,
        agents: &Bound<'_, PyDict>,
        models: &Bound<'_, PyDict>,
        tools: &Bound<'_, PyDict>,
        flows: &Bound<'_, PyDict>,
        store: Option<Py<Store>>,
    ) -> PyResult<Self> {
        fn named<T: pyo3::PyClass>(given: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Py<T>)>> {
            given.iter().map(|(name, it)| Ok((name.extract()?, it.cast_into::<T>()?.unbind()))).collect()
        }
        let source = match source.extract::<String>() {
            Ok(path) => Source::File(path.into()),
            Err(_) => Source::Definition { name, definition: convert::from_python(source)? },
        };
        let (agents, models) = (named(agents)?, named(models)?);
        let (tools, flows) = (named(tools)?, named(flows)?);
        Ok(Self { made: Mutex::default(), source, agents, models, tools, flows, store })
    }

    #[pyo3(signature = (input, timeout=None))]
    fn run<'py>(&self, input: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(input, None, timeout)?;
        bridge::wait(input.py(), |caller| start.result(caller))
    }

    #[pyo3(signature = (input, timeout=None, host=None))]
    fn arun<'py>(
        &self,
        input: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(input, None, timeout)?;
        bridge::start(input.py(), host, |caller| start.result(caller))
    }

    /// The events of a run, for either door.
    #[pyo3(signature = (input, timeout=None))]
    fn stream(&self, input: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<EventStream> {
        let mut start = self.start(input, None, timeout)?;
        start.options.on_waiting = OnWaiting::Stay;
        Ok(EventStream::new(Start::Graph(Box::new(start))))
    }

    /// One step alone.
    #[pyo3(signature = (step, given, timeout=None))]
    fn run_stage<'py>(
        &self,
        step: &str,
        given: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(given, Some(step), timeout)?;
        bridge::wait(given.py(), |caller| start.result(caller))
    }

    #[pyo3(signature = (step, given, timeout=None, host=None))]
    fn arun_stage<'py>(
        &self,
        step: &str,
        given: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = self.start(given, Some(step), timeout)?;
        bridge::start(given.py(), host, |caller| start.result(caller))
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
        let flow = self.variant(py, process()?, store)?;
        let (grant, options) = (granted(grant)?, options(timeout)?);
        bridge::wait(py, |caller| async move {
            let graph = pinned(&flow, &run).await?;
            resume::resume_graph(graph, run, grant, options, caller).await
        })
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
        let flow = self.variant(py, process()?, store)?;
        let (grant, options) = (granted(grant)?, options(timeout)?);
        bridge::start(py, host, |caller| async move {
            let graph = pinned(&flow, &run).await?;
            resume::resume_graph(graph, run, grant, options, caller).await
        })
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

    /// `text`, `mermaid` or `svg`.
    fn draw(&self, py: Python<'_>, format: &str) -> PyResult<String> {
        let format = match format {
            "text" => Format::Text,
            "mermaid" => Format::Mermaid,
            "svg" => Format::Svg,
            other => {
                let text = format!("draw(): format is {other:?}; it is one of text, mermaid, svg");
                return Err(PyValueError::new_err(text));
            }
        };
        Ok(self.variant(py, process()?, None)?.draw(format))
    }

    /// Builds it, to find what is wrong with it. Gives its name.
    fn check(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.variant(py, process()?, None)?.name().to_owned())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.agents.iter().try_for_each(|(_, agent)| visit.call(agent))?;
        self.models.iter().try_for_each(|(_, model)| visit.call(model))?;
        self.tools.iter().try_for_each(|(_, tool)| visit.call(tool))?;
        self.flows.iter().try_for_each(|(_, flow)| visit.call(flow))?;
        visit.call(&self.store)
    }

    fn __clear__(&self) {
        // What closes a cycle is a function of a tool, hook or model; those let go of theirs.
    }
}

fn granted(grant: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Grant>> {
    grant.map(|grant| read(grant, "the grant")).transpose()
}

/// The graph as it was when the run began.
async fn pinned(flow: &Core, run: &str) -> Result<CoreGraph, Failure> {
    let (pinned, _) = flow.engine().history(run, Some(0)).await?;
    match &*pinned.definition {
        Definition::Graph(definition) => Ok(flow.pinned(definition)?),
        Definition::Agent(agent) => {
            let text = format!("the run `{run}` is one of the agent `{}`, not of a workflow", agent.name);
            Err(Error::new(ErrorKind::InvalidRequest, text).into())
        }
    }
}

impl Workflow {
    fn start(
        &self,
        input: &Bound<'_, PyAny>,
        stage: Option<&str>,
        timeout: Option<f64>,
    ) -> PyResult<GraphStart> {
        let py = input.py();
        let flow = self.variant(py, process()?, None)?;
        let input = convert::from_python(input)?;
        let made = match stage {
            None => flow.state(input).map(|state| (flow.graph().clone(), state)),
            Some(step) => {
                flow.stage_state(input).and_then(|state| flow.stage(step).map(|graph| (graph, state)))
            }
        };
        let (graph, state) = made.map_err(|error| failure::of_core(py, &error))?;
        Ok(GraphStart { graph, state, options: options(timeout)? })
    }

    fn over(&self, py: Python<'_>, process: &Process, store: Option<&Bound<'_, Store>>) -> PyResult<Engine> {
        match store.map(Bound::get).or_else(|| self.store.as_ref().map(Py::get)) {
            Some(store) => store.engine(py, process),
            None => Ok(process.engine().clone()),
        }
    }

    fn variant(&self, py: Python<'_>, process: &Process, store: Option<&Bound<'_, Store>>) -> PyResult<Core> {
        let engine = self.over(py, process, store)?;
        self.workflow(py, process, &engine).map_err(|failed| failure::raised(py, failed, None))
    }

    /// The workflow over this engine.
    pub(crate) fn workflow(
        &self,
        py: Python<'_>,
        process: &Process,
        engine: &Engine,
    ) -> Result<Core, Failure> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let known = known();
            let meant = |flow: &&Core| Arc::ptr_eq(flow.engine().store(), engine.store());
            if known.0 == process.generation()
                && let Some(flow) = known.1.iter().find(meant)
            {
                return Ok(flow.clone());
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
        let mut options = project::options()?;
        options.known = Known {
            agents: self.agents.iter().chain([]).map(|(name, _)| name.clone()).collect(),
            tools: self.tools.iter().map(|(name, _)| name.clone()).collect(),
        };
        options.known.agents.extend(self.models.iter().map(|(name, _)| name.clone()));
        let (name, definition, mut project) = match &self.source {
            Source::File(path) => {
                let path = std::path::absolute(path)
                    .map_err(|error| Error::new(ErrorKind::ConfigInvalid, error.to_string()))?;
                path.parent().unwrap_or(&path).clone_into(&mut options.directory);
                options.flow = Some(path.clone());
                let loaded = workflow::load(&options).map_err(|faults| project::invalid(&faults, ""))?;
                let name = workflow::named(&loaded, Some(&path))?;
                let steps = loaded.config.workflows.get(&name).map(serde_json::to_value);
                let steps =
                    steps.transpose().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
                let mut project = self.project(loaded, &options, process, engine);
                if self.agents.is_empty() && self.tools.is_empty() && self.models.is_empty() {
                    return Ok(py.detach(|| project.workflow(&name))?);
                }
                (name, steps.unwrap_or_default(), project)
            }
            Source::Definition { name, definition } => {
                let loaded = project::load(&options)?;
                (name.clone(), definition.clone(), self.project(loaded, &options, process, engine))
            }
        };
        let mut builder = WorkflowBuilder::clone(&Core::builder(&name)).engine(engine);
        let named = Named::of(&definition);
        builder = builder.definition(definition);
        for (name, agent) in &self.agents {
            builder = builder.agent(name, agent.get().engine(py, process, None, engine)?);
        }
        for (name, model) in &self.models {
            builder = builder.model(name, model.get().made(py, process)?.model);
        }
        for (_, tool) in &self.tools {
            builder = builder.registered_tool(tool.get().registered(py, process)?);
        }
        for (name, flow) in &self.flows {
            builder = builder.flow(name, flow.get().workflow(py, process, engine)?);
        }
        // What is not given here is the configuration's, as far as that has it.
        for name in named.agents.iter().filter(|name| !self.agents.iter().any(|(known, _)| known == *name)) {
            if project.config().agents.contains_key(name) {
                let agent = py.detach(|| project.agent(name, &AgentChanges::default()))?;
                builder = builder.agent(name, agent);
            }
        }
        for name in named.judges.iter().filter(|name| !self.models.iter().any(|(known, _)| known == *name)) {
            if project.config().model(name).is_some() {
                builder = builder.model(name, py.detach(|| project.model(name))?.model);
            }
        }
        for name in named.tools.iter().filter(|name| !self.tools.iter().any(|(known, _)| known == *name)) {
            if let Ok(tool) = py.detach(|| project.tool(name)) {
                builder = builder.registered_tool(tool);
            }
        }
        for name in named.flows.iter().filter(|name| !self.flows.iter().any(|(known, _)| known == *name)) {
            if project.config().workflows.contains_key(name) {
                let flow = py.detach(|| project.workflow(name))?;
                builder = builder.flow(name, flow);
            }
        }
        Ok(py.detach(|| builder.build())?)
    }

    fn project(
        &self,
        loaded: ambidex_config::Loaded,
        options: &LoadOptions,
        process: &Process,
        engine: &Engine,
    ) -> Project {
        Project::over(loaded, options.environment.clone(), engine.clone(), None, process.client().clone())
    }
}

/// What the steps of a definition name.
#[derive(Default)]
struct Named {
    agents: Vec<String>,
    /// Models and agents that judge or write.
    judges: Vec<String>,
    tools: Vec<String>,
    flows: Vec<String>,
}

impl Named {
    fn of(definition: &Value) -> Self {
        let mut named = Self::default();
        for step in definition["steps"].as_array().into_iter().flatten() {
            named.add(step);
            for member in step["parallel"].as_array().into_iter().flatten() {
                match member {
                    Value::String(agent) => named.agents.push(agent.clone()),
                    member => named.add(member),
                }
            }
        }
        named
    }

    fn add(&mut self, step: &Value) {
        let merge = &step["merge"];
        let mut texts = |value: &Value, into: fn(&mut Self) -> &mut Vec<String>| match value {
            Value::String(name) => into(self).push(name.clone()),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str).map(str::to_owned);
                into(self).extend(names);
            }
            _ => {}
        };
        texts(&step["agent"], |named| &mut named.agents);
        texts(&step["tool"], |named| &mut named.tools);
        texts(&step["flow"], |named| &mut named.flows);
        for key in ["model", "judge"] {
            texts(&merge[key], |named| &mut named.judges);
            texts(&merge[key], |named| &mut named.agents);
        }
    }
}
