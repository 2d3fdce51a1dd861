//! Models as Python holds them: how one is made, and the one that was made for this process.

mod call;
mod function;
mod observed;
mod provider;
mod recorded;
mod reply;
mod route;
mod scripted;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambidex_config::Breaker;
use ambidex_core::Model as CoreModel;
use ambidex_core::model::Settings;
use ambidex_engine::project::{ConfiguredModel, Times, breakable};
use ambidex_models::Preset;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge::{self, Failure};
use crate::failure;
use crate::process::{Process, process};
use crate::stream::{EventStream, Start};

pub(crate) use call::{CallStart, timely, too_long};
pub(crate) use recorded::recorded_calls;
pub(crate) use reply::Reply;

/// What `ambidex.Model` holds. Made for each generation of the process when it is first needed.
#[pyclass(frozen, module = "ambidex._core")]
pub(crate) struct Model {
    made: Mutex<Option<(u64, ConfiguredModel)>>,
    recipe: Recipe,
}

enum Recipe {
    Configured(provider::Configured),
    Route(route::Route),
    Scripted(scripted::Script),
    Function(function::Function),
    Human { name: String, queue: String, timeout: Option<Duration> },
    Observed(observed::Observed),
}

#[pymethods]
impl Model {
    /// A model or route of the configuration, or `PROVIDER:NAME`, with settings of its own.
    #[staticmethod]
    #[pyo3(signature = (reference, settings=None, provider=None, key=None))]
    fn configured(
        reference: String,
        settings: Option<&Bound<'_, PyAny>>,
        provider: Option<&Bound<'_, PyAny>>,
        key: Option<String>,
    ) -> PyResult<Self> {
        provider::Configured::new(reference, settings, provider, key).map(Recipe::Configured).map(Self::of)
    }

    /// A route over models. `options` are those of a route of the configuration.
    #[staticmethod]
    fn route(name: String, options: &Bound<'_, PyAny>, targets: Vec<Py<Self>>) -> PyResult<Self> {
        route::Route::new(name, options, targets).map(Recipe::Route).map(Self::of)
    }

    /// A script: `builtin:NAME` or a file.
    #[staticmethod]
    fn script_file(path: String) -> PyResult<Self> {
        scripted::Script::file(path).map(Recipe::Scripted).map(Self::of)
    }

    /// A script as plain data.
    #[staticmethod]
    fn script(plain: &Bound<'_, PyAny>) -> PyResult<Self> {
        scripted::Script::plain(plain).map(Recipe::Scripted).map(Self::of)
    }

    /// A function written in Python.
    #[staticmethod]
    fn function(name: String, function: Py<PyAny>, is_async: bool) -> Self {
        Self::of(Recipe::Function(function::Function::new(name, function, is_async)))
    }

    /// A person.
    #[staticmethod]
    #[pyo3(signature = (name, queue, timeout=None))]
    fn human(name: String, queue: String, timeout: Option<f64>) -> Self {
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self::of(Recipe::Human { name, queue, timeout })
    }

    /// A model whose calls are shown to something written in Python, which may answer or break them off.
    #[staticmethod]
    fn observed(inner: Py<Self>, observer: Py<PyAny>) -> Self {
        Self::of(Recipe::Observed(observed::Observed::new(inner, observer)))
    }

    /// The name it is known by.
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        let made = self.made(py, process()?).map_err(|failed| failure::raised(py, failed, None))?;
        Ok(made.model.info().name.clone())
    }

    #[pyo3(signature = (input, system=None, settings=None, timeout=None))]
    fn chat<'py>(
        &self,
        input: &Bound<'py, PyAny>,
        system: Option<String>,
        settings: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = CallStart::new(self, input, system, settings, timeout)?;
        bridge::wait(input.py(), |caller| start.reply(caller))
    }

    #[pyo3(signature = (input, system=None, settings=None, timeout=None, host=None))]
    fn achat<'py>(
        &self,
        input: &Bound<'py, PyAny>,
        system: Option<String>,
        settings: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        host: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = CallStart::new(self, input, system, settings, timeout)?;
        bridge::start(input.py(), host, |caller| start.reply(caller))
    }

    /// The events of a call, for either door.
    #[pyo3(signature = (input, system=None, settings=None, timeout=None))]
    fn stream(
        &self,
        input: &Bound<'_, PyAny>,
        system: Option<String>,
        settings: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<EventStream> {
        let start = CallStart::new(self, input, system, settings, timeout)?;
        Ok(EventStream::new(Start::Call(Box::new(start))))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.recipe {
            Recipe::Function(function) => function.slot().visit(&visit),
            Recipe::Route(route) => route.targets().iter().try_for_each(|target| visit.call(target)),
            Recipe::Observed(observed) => {
                visit.call(observed.inner())?;
                observed.slot().visit(&visit)
            }
            Recipe::Configured(_) | Recipe::Scripted(_) | Recipe::Human { .. } => Ok(()),
        }
    }

    fn __clear__(&self) {
        // Targets of routes are older than their routes, so no cycle leads through them alone.
        if let Some(slot) = self.slot() {
            slot.clear();
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        *self.made.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(slot) = self.slot() {
            crate::slot::Slot::release(slot);
        }
    }
}

impl Model {
    fn of(recipe: Recipe) -> Self {
        Self { made: Mutex::default(), recipe }
    }

    /// The object written in Python that it calls.
    fn slot(&self) -> Option<&Arc<crate::slot::Slot>> {
        match &self.recipe {
            Recipe::Function(function) => Some(function.slot()),
            Recipe::Observed(observed) => Some(observed.slot()),
            Recipe::Configured(_) | Recipe::Route(_) | Recipe::Scripted(_) | Recipe::Human { .. } => None,
        }
    }

    /// The model of this process, with the settings that its calls carry.
    pub(crate) fn made(&self, py: Python<'_>, process: &Process) -> Result<ConfiguredModel, Failure> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, model)) = &*known()
            && *generation == process.generation()
        {
            return Ok(model.clone());
        }
        let made = self.make(py, process, &Times::default())?;
        // Whoever was faster decides: breakers and the like must be one.
        let mut known = known();
        match &*known {
            Some((generation, model)) if *generation == process.generation() => Ok(model.clone()),
            _ => {
                let before = known.replace((process.generation(), made.clone()));
                drop(known);
                drop(before);
                Ok(made)
            }
        }
    }

    fn make(&self, py: Python<'_>, process: &Process, times: &Times) -> Result<ConfiguredModel, Failure> {
        let plain = |model: Arc<dyn CoreModel>| ConfiguredModel { model, settings: Settings::default() };
        Ok(match &self.recipe {
            Recipe::Configured(configured) => configured.make(py, process, times)?,
            Recipe::Route(route) => plain(route.make(py, process, times)?),
            Recipe::Scripted(script) => plain(script.make(py)?),
            Recipe::Function(function) => plain(function.make()),
            Recipe::Observed(observed) => {
                let inner = observed.inner().get().made(py, process)?;
                ConfiguredModel { model: observed.around(inner.model), settings: inner.settings }
            }
            Recipe::Human { name, queue, timeout } => {
                let human = process.engine().human(name).queue(queue);
                plain(Arc::new(match timeout {
                    Some(timeout) => human.timeout(*timeout),
                    None => human,
                }))
            }
        })
    }

    /// The model as a route asks it.
    fn target(
        &self,
        py: Python<'_>,
        process: &Process,
        times: &Times,
        breaker: &Breaker,
    ) -> Result<Arc<dyn CoreModel>, Failure> {
        if let Recipe::Configured(configured) = &self.recipe
            && let Some(target) = configured.target(py, process, times, breaker)?
        {
            return Ok(target);
        }
        // With limits of time that a route around it sets, a provider's model is another one.
        let own =
            *times != Times::default() && matches!(self.recipe, Recipe::Configured(_) | Recipe::Route(_));
        let ConfiguredModel { model, settings } =
            if own { self.make(py, process, times)? } else { self.made(py, process)? };
        Ok(match &self.recipe {
            // A person who is away has not failed; a route looks after its own targets.
            Recipe::Human { .. } | Recipe::Route(_) => model,
            _ => Arc::new(Preset::new(breakable(model, breaker), settings)),
        })
    }

    /// Whether a person may have to answer, whose time is his own.
    pub(crate) fn asks_a_person(&self) -> bool {
        match &self.recipe {
            Recipe::Human { .. } => true,
            Recipe::Route(route) => route.targets().iter().any(|target| target.get().asks_a_person()),
            Recipe::Observed(observed) => observed.inner().get().asks_a_person(),
            Recipe::Configured(_) | Recipe::Scripted(_) | Recipe::Function(_) => false,
        }
    }
}
