//! Events, as Python sees them. Most are looked at once, for their type or text, so data are made when asked for.

use ambidex_core::event::{Event as Core, EventKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use serde_json::Value;

use crate::convert;

/// One event of a run: `type`, `seq`, `data`, and where it belongs to.
#[pyclass(frozen, module = "ambidex")]
pub(crate) struct Event {
    event: Core,
    data: PyOnceLock<Py<PyDict>>,
}

impl Event {
    pub(crate) fn new(event: Core) -> Self {
        Self { event, data: PyOnceLock::new() }
    }
}

/// The name of a kind, shared by all events of it.
fn kind<'py>(py: Python<'py>, kind: &EventKind) -> &'py Bound<'py, PyString> {
    use pyo3::intern;
    match kind {
        EventKind::RunCreated { .. } => intern!(py, "run.created"),
        EventKind::RunStarted {} => intern!(py, "run.started"),
        EventKind::RunStatus { .. } => intern!(py, "run.status"),
        EventKind::StepStarted { .. } => intern!(py, "step.started"),
        EventKind::StepFinished { .. } => intern!(py, "step.finished"),
        EventKind::ModelStarted { .. } => intern!(py, "model.started"),
        EventKind::ModelDelta { .. } => intern!(py, "model.delta"),
        EventKind::ModelReasoning { .. } => intern!(py, "model.reasoning"),
        EventKind::ModelFinished { .. } => intern!(py, "model.finished"),
        EventKind::ModelRestarted { .. } => intern!(py, "model.restarted"),
        EventKind::RouteAttempt { .. } => intern!(py, "route.attempt"),
        EventKind::RouteSwitched { .. } => intern!(py, "route.switched"),
        EventKind::RouteRace { .. } => intern!(py, "route.race"),
        EventKind::ToolCalled { .. } => intern!(py, "tool.called"),
        EventKind::ToolProgress { .. } => intern!(py, "tool.progress"),
        EventKind::ToolFinished { .. } => intern!(py, "tool.finished"),
        EventKind::ApprovalAsked { .. } => intern!(py, "approval.asked"),
        EventKind::ApprovalAnswered { .. } => intern!(py, "approval.answered"),
        EventKind::RelayAsked { .. } => intern!(py, "relay.asked"),
        EventKind::RelayAnswered { .. } => intern!(py, "relay.answered"),
        EventKind::StateChanged { .. } => intern!(py, "state.changed"),
        EventKind::CheckpointSaved { .. } => intern!(py, "checkpoint.saved"),
        EventKind::BudgetReached { .. } => intern!(py, "budget.reached"),
        EventKind::Note { .. } => intern!(py, "note"),
        EventKind::Error { .. } => intern!(py, "error"),
        EventKind::RunFinished { .. } => intern!(py, "run.finished"),
    }
}

#[pymethods]
impl Event {
    /// What happened, such as `model.delta` or `tool.called`.
    #[getter(r#type)]
    fn kind<'py>(&self, py: Python<'py>) -> &'py Bound<'py, PyString> {
        kind(py, &self.event.kind)
    }

    /// Counts from 1 without gaps per run.
    #[getter]
    fn seq(&self) -> u64 {
        self.event.seq
    }

    /// What there is to say about it; the members depend on the type.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let data = self.data.get_or_try_init(py, || data(py, &self.event.kind).map(Bound::unbind))?;
        Ok(data.bind(py).clone())
    }

    /// The text of a delta; empty for all other types.
    #[getter]
    fn text(&self) -> &str {
        match &self.event.kind {
            EventKind::ModelDelta { text } => text,
            _ => "",
        }
    }

    /// When, as RFC 3339 in UTC.
    #[getter]
    fn ts(&self) -> String {
        self.event.ts.to_string()
    }

    #[getter]
    fn run_id(&self) -> &str {
        &self.event.run
    }

    #[getter]
    fn thread_id(&self) -> Option<&str> {
        self.event.thread.as_deref()
    }

    /// The step it belongs to, such as `m0` (a call of the model) or `t0.1` (a call of a tool).
    #[getter]
    fn step(&self) -> Option<&str> {
        self.event.step.as_deref()
    }

    #[getter]
    fn agent(&self) -> Option<&str> {
        self.event.agent.as_deref()
    }

    #[getter]
    fn attempt(&self) -> Option<u32> {
        self.event.attempt
    }

    /// The whole event as plain data, as `ambidex run --json` prints it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::serialized(py, &self.event)
    }

    fn __reduce__(&self) -> PyResult<Py<PyAny>> {
        Err(crate::failure::usage("an event cannot be pickled; send event.to_dict()"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let kind = kind(py, &self.event.kind).to_cow()?;
        let data = self.data(py)?.repr()?;
        Ok(format!("Event({} {kind} {})", self.event.seq, data.to_cow()?))
    }
}

fn data<'py>(py: Python<'py>, kind: &EventKind) -> PyResult<Bound<'py, PyDict>> {
    if let EventKind::ModelDelta { text } | EventKind::ModelReasoning { text } = kind {
        let dict = PyDict::new(py);
        dict.set_item(pyo3::intern!(py, "text"), text)?;
        return Ok(dict);
    }
    let value = serde_json::to_value(kind).unwrap_or_default();
    match value.get("data") {
        Some(Value::Object(data)) => convert::object_to_python(py, data),
        _ => Ok(PyDict::new(py)),
    }
}
