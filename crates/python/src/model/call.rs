//! Calls of a model outside of runs: a reply, or a stream of events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_core::context::RunScope;
use ambidex_core::model::Settings;
use ambidex_core::{Context, Error, ErrorKind, Request};
use ambidex_engine::project::ConfiguredModel;
use ambidex_models::{Preset, collect};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Model, Reply};
use crate::asked::Asked;
use crate::bridge::{Caller, Failure};
use crate::process::{Process, process};
use crate::request::read;
use crate::{failure, message};

/// Seconds of one call where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A call that is about to begin.
pub(crate) struct CallStart {
    name: String,
    model: ConfiguredModel,
    request: Request,
    timeout: Option<Duration>,
    process: &'static Process,
}

impl CallStart {
    pub(crate) fn new(
        model: &Model,
        input: &Bound<'_, PyAny>,
        system: Option<String>,
        settings: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
    ) -> PyResult<Self> {
        let py = input.py();
        let process = process()?;
        let history = message::messages(input)?;
        if history.is_empty() {
            return Err(PyValueError::new_err("a call of a model needs a message; its input is empty"));
        }
        let settings: Settings = settings.map(|it| read(it, "settings")).transpose()?.unwrap_or_default();
        let request = Request {
            instructions: system.map(Into::into),
            history: Arc::new(history),
            settings: Arc::new(settings),
            ..Request::default()
        };
        let limit = (!model.asks_a_person()).then_some(TIMEOUT);
        let timeout = timeout.map_or(limit, |seconds| Duration::try_from_secs_f64(seconds).ok());
        let made = model.made(py, process).map_err(|failed| failure::raised(py, failed, None))?;
        Ok(Self { name: made.model.info().name.clone(), model: made, request, timeout, process })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn process(&self) -> &'static Process {
        self.process
    }

    /// The chunks, and the time they have.
    pub(crate) fn stream(
        self,
        asked: &Arc<Asked>,
    ) -> (ambidex_core::BoxStream<'static, Result<ambidex_core::Chunk, Error>>, Option<Duration>) {
        let scope = RunScope {
            run: Context::detached().run().into(),
            threads: Some(self.process.engine().blocking_threads().clone()),
            caller: Some(asked.as_core()),
            ..RunScope::default()
        };
        let context = Context::new(Arc::new(scope), "call".into(), 1, asked.token().clone(), self.timeout);
        let model = Preset::new(self.model.model, self.model.settings);
        (ambidex_core::Model::stream(&model, self.request, context), self.timeout)
    }

    pub(super) async fn reply(self, caller: Arc<Caller>) -> Result<Reply, Failure> {
        let asked = Asked::new(&caller);
        let name = self.name.clone();
        let (chunks, timeout) = self.stream(&asked);
        let begun = Instant::now();
        let reply = async {
            match timeout {
                Some(limit) => tokio::time::timeout(limit, collect(chunks))
                    .await
                    .unwrap_or_else(|_| Err(too_long(&name, limit)))
                    .map_err(|error| timely(error, &name, begun, limit)),
                None => collect(chunks).await,
            }
        };
        let reply = tokio::select! {
            biased;
            () = asked.token().cancelled() => Err(Error::cancelled()),
            reply = reply => reply,
        };
        asked.settle_call(reply).map(Reply)
    }
}

/// The model knows the limit too, and may be first to say that it passed; but not how it was set.
pub(crate) fn timely(error: Error, model: &str, begun: Instant, limit: Duration) -> Error {
    let passed = error.kind() == ErrorKind::Timeout && begun.elapsed() >= limit;
    if passed { too_long(model, limit).with_usage(error.usage().copied().unwrap_or_default()) } else { error }
}

pub(crate) fn too_long(model: &str, limit: Duration) -> Error {
    let text = format!("the call of `{model}` took longer than {limit:?}; give it more with timeout=SECONDS");
    Error::new(ErrorKind::Timeout, text)
}
