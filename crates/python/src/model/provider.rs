//! Models of the configuration and of providers, with settings that Python adds.

use std::sync::Arc;

use ambidex_config::{Breaker, Environment, LoadOptions, Loaded, ModelReference, ModelSource, VENDORS};
use ambidex_core::{Error, ErrorKind, Model as CoreModel};
use ambidex_engine::project::{ConfiguredModel, Project, Times};
use pyo3::prelude::*;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::bridge::Failure;
use crate::process::Process;
use crate::{convert, failure, project, toml_text};

/// The variable under which a key that was given in Python is known, in this model's own environment and in messages.
const KEY: &str = "api_key";
/// What a provider that no configuration names may be called, besides the vendors.
const KINDS: [&str; 5] = ["openai", "openai-responses", "anthropic", "gemini", "ollama"];

pub(super) struct Configured {
    reference: String,
    /// As they stand in `[models.NAME]`.
    settings: Map<String, Value>,
    /// As it stands in `[providers.NAME]`.
    provider: Map<String, Value>,
    key: Option<SecretString>,
}

impl Configured {
    pub(super) fn new(
        reference: String,
        settings: Option<&Bound<'_, PyAny>>,
        provider: Option<&Bound<'_, PyAny>>,
        key: Option<String>,
    ) -> PyResult<Self> {
        let this = Self {
            reference,
            settings: table(settings)?,
            provider: table(provider)?,
            key: key.map(SecretString::from),
        };
        if let (Some(settings), false) = (settings, this.is_plain()) {
            this.check().map_err(|error| failure::of_core(settings.py(), &error))?;
        }
        Ok(this)
    }

    fn is_plain(&self) -> bool {
        self.settings.is_empty() && self.has_configured_provider()
    }

    fn has_configured_provider(&self) -> bool {
        self.provider.is_empty() && self.key.is_none()
    }

    /// The settings alone, without looking at any file.
    fn check(&self) -> Result<(), Error> {
        let mut model = Map::from_iter([("provider".into(), json!("openai")), ("name".into(), json!("x"))]);
        model.extend(self.settings.clone());
        let mut options = LoadOptions::in_directory("/");
        options.text = Some(String::new());
        options.overrides = vec![format!("models.model={}", toml_text::inline(&Value::Object(model)))];
        if !self.provider.is_empty() {
            let mut provider = Map::from_iter([("kind".into(), json!("openai"))]);
            provider.extend(self.provider.clone());
            let provider = toml_text::inline(&Value::Object(provider));
            options.overrides.push(format!("providers.provider={provider}"));
        }
        match ambidex_config::load(&options) {
            Ok(_) => Ok(()),
            Err(faults) if faults.iter().any(|it| it.key.starts_with("providers.provider")) => {
                Err(project::invalid(&faults, "providers.provider"))
            }
            Err(faults) => Err(project::invalid(&faults, "models.model")),
        }
    }

    pub(super) fn make(
        &self,
        py: Python<'_>,
        process: &Process,
        times: &Times,
    ) -> Result<ConfiguredModel, Failure> {
        let current = project::current(py, process)?;
        let plain = self.is_plain();
        let known = current.with(py, |project| {
            let known = project.config().model(&self.reference).is_some();
            (plain && known && *times == Times::default()).then(|| project.model(&self.reference)).transpose()
        })?;
        if let Some(model) = known {
            return Ok(model);
        }
        let environment = self.environment(current.environment());
        let (loaded, foreign) = current.with(py, |project| self.load(project, &environment))?;
        let Some(configured) = loaded.config.models.get(&self.reference).cloned() else {
            // A route: it has its own limits of time.
            return Ok(current.with(py, |project| project.model(&self.reference))?);
        };
        if !foreign {
            return Ok(current.with(py, |project| project.model_as(&self.reference, &configured, times))?);
        }
        let mut own = project::over(loaded, environment, process);
        Ok(py.detach(|| own.model_as(&self.reference, &configured, times))?)
    }

    /// As a route asks it, where the configuration alone says what it is: such targets share their breaker.
    pub(super) fn target(
        &self,
        py: Python<'_>,
        process: &Process,
        times: &Times,
        breaker: &Breaker,
    ) -> Result<Option<Arc<dyn CoreModel>>, Failure> {
        if !self.is_plain() {
            return Ok(None);
        }
        let current = project::current(py, process)?;
        Ok(current.with(py, |project| {
            let known = project.config().model(&self.reference).is_some();
            known.then(|| project.target(&self.reference, times, breaker)).transpose()
        })?)
    }

    /// The configuration with this model in it, and whether its provider is another than the project's.
    fn load(&self, project: &Project, environment: &Environment) -> Result<(Loaded, bool), Error> {
        let (reference, config) = (&self.reference, project.config());
        let mut model = self.settings.clone();
        let mut provider = self.provider.clone();
        let mut foreign = !self.has_configured_provider();
        let of = match config.model(reference) {
            Some(ModelReference::Named(_, named)) => match &named.source {
                ModelSource::Provider { provider, .. } => Some(provider.clone()),
                ModelSource::Scripted { .. } | ModelSource::Human { .. } => None,
            },
            Some(ModelReference::Route(..)) => {
                if !self.is_plain() {
                    let text = format!(
                        "`{reference}` is a route, which takes no settings of a model; give them to its models"
                    );
                    return Err(Error::new(ErrorKind::ConfigInvalid, text));
                }
                None
            }
            Some(ModelReference::Inline { provider, name }) => {
                model.insert("provider".into(), json!(provider));
                model.insert("name".into(), json!(name));
                Some(provider.to_owned())
            }
            None => {
                let found = reference.split_once(':').filter(|(_, name)| !name.is_empty());
                let kind = found.and_then(|(provider, _)| kind_of(provider));
                let (Some((name, model_name)), Some(kind)) = (found, kind) else {
                    return Err(unknown(project, reference));
                };
                provider.insert("kind".into(), json!(kind));
                foreign = true;
                model.insert("provider".into(), json!(name));
                model.insert("name".into(), json!(model_name));
                Some(name.to_owned())
            }
        };
        if self.key.is_some() {
            provider.insert("key".into(), json!({ "env": KEY }));
        }
        let mut options = project::options()?;
        options.environment = environment.clone();
        let mut add = |section: &str, name: &str, table: Map<String, Value>| {
            let (name, table) = (toml_text::quoted(name), toml_text::inline(&Value::Object(table)));
            options.overrides.push(format!("{section}.{name}={table}"));
        };
        match of {
            Some(of) if !provider.is_empty() => add("providers", &of, provider),
            None if !provider.is_empty() => {
                let text = format!(
                    "`{reference}` is no model of a provider, so it takes no base_url, api_key or headers"
                );
                return Err(Error::new(ErrorKind::ConfigInvalid, text));
            }
            _ => {}
        }
        if !model.is_empty() {
            add("models", reference, model);
        }
        let loaded = ambidex_config::load(&options).map_err(|faults| {
            let bare = format!("models.{reference}");
            let quoted = format!("models.{}", toml_text::quoted(reference));
            let below = if faults.iter().any(|fault| fault.key.starts_with(&quoted)) { quoted } else { bare };
            project::invalid(&faults, &below).context(format!("model `{reference}`"))
        })?;
        Ok((loaded, foreign))
    }

    fn environment(&self, of_process: &Environment) -> Environment {
        let Some(key) = &self.key else { return of_process.clone() };
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        texts.chain([(KEY.to_owned(), key.expose_secret().to_owned())]).collect()
    }
}

fn table(plain: Option<&Bound<'_, PyAny>>) -> PyResult<Map<String, Value>> {
    match plain.map(convert::from_python).transpose()? {
        Some(Value::Object(table)) => Ok(table),
        _ => Ok(Map::new()),
    }
}

/// The wire format of a provider that is known without a configuration.
fn kind_of(provider: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_ascii_lowercase();
    let vendor = VENDORS.iter().any(|vendor| plain(vendor.name) == plain(provider));
    let kind = KINDS.into_iter().find(|kind| plain(kind) == plain(provider));
    kind.or(vendor.then_some("openai"))
}

fn unknown(project: &Project, reference: &str) -> Error {
    let config = project.config();
    let known: Vec<&str> = config.models.keys().chain(config.routes.keys()).map(String::as_str).collect();
    let near = ambidex_core::suggest::nearest(reference, known.iter().copied());
    let mut providers: Vec<&str> = Vec::new();
    for name in config.providers.keys().map(String::as_str).chain(VENDORS.iter().map(|it| it.name)) {
        if !providers.contains(&name) {
            providers.push(name);
        }
    }
    let near = near.map(str::to_owned).or_else(|| {
        let (provider, name) = reference.split_once(':')?;
        let near = ambidex_core::suggest::nearest(provider, providers.iter().copied())?;
        Some(format!("{near}:{}", if name.is_empty() { "MODEL-ID" } else { name }))
    });
    let near = near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    let text = format!(
        "there is no model `{reference}`{near}\nModels and routes of the configuration: {}. A provider's model is \
         written `PROVIDER:NAME`, such as `openai:MODEL-ID`; providers: {}",
        known.join(", "),
        providers.join(", "),
    );
    Error::new(ErrorKind::ConfigInvalid, text)
}
