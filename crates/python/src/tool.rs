//! Tools as agents hold them: functions written in Python, HTTP endpoints, tools of the configuration.

use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::ToolSpec;
use ambidex_core::tool::EffectClass;
use ambidex_tools::{HttpSpec, HttpTool, Registered};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge::Failure;
use crate::convert;
use crate::process::Process;
use crate::project;
use crate::python_tool::{Kind, PythonTool, Runs};
use crate::slot::Slot;

/// How a tool is made, in this process or in a child of it.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Tool {
    /// Made for this generation of the process. Agents share it, so that its limits are those of the tool.
    registered: Mutex<Option<(u64, Arc<Registered>)>>,
    recipe: Recipe,
}

enum Recipe {
    Function {
        slot: Arc<Slot>,
        spec: Arc<ToolSpec>,
        kind: Kind,
        runs: Runs,
        raises: bool,
        wants_context: bool,
    },
    Http {
        name: String,
        spec: Box<HttpSpec>,
    },
    Configured {
        name: String,
    },
}

#[pymethods]
impl Tool {
    /// A compiled function (`ambidex.tools`).
    #[staticmethod]
    fn function(compiled: &Bound<'_, PyAny>) -> PyResult<Self> {
        let spec = spec_of(compiled)?;
        let kind = match compiled.getattr("kind")?.extract::<String>()?.as_str() {
            "sync" => Kind::Sync,
            "async" => Kind::Async,
            "generator" => Kind::Generator,
            "async_generator" => Kind::AsyncGenerator,
            other => return Err(PyValueError::new_err(format!("there is no kind of tool {other:?}"))),
        };
        let runs = match compiled.getattr("thread")?.extract::<String>()?.as_str() {
            "pool" => Runs::OnPool,
            "caller" => Runs::OnCaller,
            other => {
                let text =
                    format!("tool `{}`: thread is {other:?}; give it \"pool\" or \"caller\"", spec.name);
                return Err(PyValueError::new_err(text));
            }
        };
        let on_error = compiled.getattr_opt("on_error")?.map(|it| it.extract::<String>()).transpose()?;
        let raises = match on_error.as_deref() {
            None | Some("model" | "tell") => false,
            Some("raise") => true,
            Some(other) => {
                let text =
                    format!("tool `{}`: on_error is {other:?}; give it \"model\" or \"raise\"", spec.name);
                return Err(PyValueError::new_err(text));
            }
        };
        let slot = Slot::new(compiled.clone().unbind());
        let says = matches!(kind, Kind::Generator | Kind::AsyncGenerator);
        let wants_context = says || !compiled.getattr("wants_context")?.is_none();
        Ok(Self::of(Recipe::Function { slot, spec: Arc::new(spec), kind, runs, raises, wants_context }))
    }

    /// An HTTP endpoint, described by plain data.
    #[staticmethod]
    fn http(name: String, spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let spec: HttpSpec = serde_json::from_value(convert::from_python(spec)?)
            .map_err(|error| PyTypeError::new_err(format!("tool `{name}`: {error}")))?;
        Ok(Self::of(Recipe::Http { name, spec: Box::new(spec) }))
    }

    /// A tool of `ambidex.toml`, or a built-in one.
    #[staticmethod]
    fn configured(name: String) -> Self {
        Self::of(Recipe::Configured { name })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.recipe {
            Recipe::Function { slot, .. } => slot.visit(&visit),
            Recipe::Http { .. } | Recipe::Configured { .. } => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Recipe::Function { slot, .. } = &self.recipe {
            slot.clear();
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        *self.registered.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if let Recipe::Function { slot, .. } = &self.recipe {
            Slot::release(slot);
        }
    }
}

impl Tool {
    fn of(recipe: Recipe) -> Self {
        Self { registered: Mutex::default(), recipe }
    }

    /// The tool for agents of this process.
    pub(crate) fn registered(&self, py: Python<'_>, process: &Process) -> Result<Arc<Registered>, Failure> {
        let known = || self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, tool)) = &*known()
            && *generation == process.generation()
        {
            return Ok(tool.clone());
        }
        let made = match &self.recipe {
            Recipe::Function { slot, spec, kind, runs, raises, wants_context } => {
                Registered::new(Arc::new(PythonTool {
                    slot: slot.clone(),
                    spec: spec.clone(),
                    kind: *kind,
                    runs: *runs,
                    raises: *raises,
                    wants_context: *wants_context,
                }))
                .map(Arc::new)?
            }
            Recipe::Http { name, spec } => {
                // Of its own client: which addresses may be reached is a rule of the client.
                Registered::new(Arc::new(HttpTool::new(name, (**spec).clone())?)).map(Arc::new)?
            }
            Recipe::Configured { name } => project::current(py, process)?.tool(py, name)?,
        };
        // Whoever was faster decides: the calls of all agents are limited together.
        let mut known = known();
        match &*known {
            Some((generation, tool)) if *generation == process.generation() => Ok(tool.clone()),
            _ => {
                let before = known.replace((process.generation(), made.clone()));
                drop(known);
                drop(before);
                Ok(made)
            }
        }
    }
}

fn spec_of(compiled: &Bound<'_, PyAny>) -> PyResult<ToolSpec> {
    let text = |name: &str| compiled.getattr(name)?.extract::<String>();
    let seconds = compiled.getattr("timeout")?.extract::<Option<f64>>()?;
    let mut spec = ToolSpec::new(text("name")?, text("description")?);
    spec.input = convert::from_python(&compiled.getattr("input_schema")?)?;
    let output = compiled.getattr("output_schema")?;
    spec.output = if output.is_none() { None } else { Some(convert::from_python(&output)?) };
    spec.effect = match compiled.getattr("effect")?.extract::<Option<String>>()?.as_deref() {
        None | Some("undeclared") => EffectClass::Undeclared,
        Some("read") => EffectClass::Read,
        Some("idempotent") => EffectClass::Idempotent,
        Some("once") => EffectClass::Once,
        Some(other) => {
            let text = format!("tool `{}`: effect is {other:?}; give it read, idempotent or once", spec.name);
            return Err(PyValueError::new_err(text));
        }
    };
    spec.exclusive = compiled.getattr("exclusive")?.extract()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded before")]
    let millis = |seconds: f64| (seconds * 1000.0).clamp(1.0, 1e15) as u64;
    spec.timeout_ms = seconds.map(millis);
    spec.concurrency = compiled.getattr("concurrency")?.extract()?;
    spec.attempts = compiled.getattr("attempts")?.extract()?;
    Ok(spec)
}
