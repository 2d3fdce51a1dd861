//! Models of a configuration.

use std::path::Path;
use std::sync::Arc;

use ambidex_config::{
    CacheKind, Duration, Effort, Model as Configured, ModelReference, ModelSource, OutputMethod, Pool,
    Provider, ProviderKind, Proxy, Script, TextOrSecret,
};
use ambidex_core::model::{Capabilities, Model, Reasoning, Settings, StructuredOutput};
use ambidex_core::usage::Price;
use ambidex_core::{Error, ErrorKind};
use ambidex_http::{Client, HeaderMap, HeaderName, HeaderValue, Tls};
use ambidex_models::cache::{Cached, ReplyCache};
use ambidex_models::limit::{Limit, Limiter, Limits};
use ambidex_models::scripted::ScriptedModel;
use ambidex_models::{
    AfterFirstToken, Format, ModelConfig, ProviderModel, Retry, RetryPolicy, Timed, Timeouts,
};
use secrecy::ExposeSecret;

use super::routes::Times;
use super::{ConfiguredModel, Project, Shared};

impl Project {
    /// The model or route of this name, or `PROVIDER:NAME`. Fetches the keys of providers, which may block.
    ///
    /// # Errors
    /// `config_invalid`: there is no such model, or what it names cannot be used; `unauthorized`: its key
    /// cannot be had.
    pub fn model(&mut self, reference: &str) -> Result<ConfiguredModel, Error> {
        if let Some(model) = self.models.get(reference) {
            return Ok(model.clone());
        }
        let built = match self.config().model(reference) {
            // Each of its targets has settings of its own.
            Some(ModelReference::Route(name, _)) => {
                let name = name.to_owned();
                let model = self.route(&name, &Times::default(), &mut Vec::new())?;
                ConfiguredModel { model, settings: Settings::default() }
            }
            _ => {
                let (name, configured) = self.leaf(reference)?;
                self.model_as(&name, &configured, &Times::default())?
            }
        };
        self.models.insert(reference.to_owned(), built.clone());
        Ok(built)
    }

    /// A model as it would stand in the configuration under this name, asked with these limits of time where they
    /// are set. Its provider is one of the configuration.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn model_as(
        &mut self,
        name: &str,
        configured: &Configured,
        times: &Times,
    ) -> Result<ConfiguredModel, Error> {
        let model = self.build_model(name, configured, times);
        let model = model.map_err(|error| error.context(format!("model `{name}`")))?;
        Ok(ConfiguredModel { model: self.cached(model, configured), settings: self.settings(configured) })
    }

    /// The model that is no route, and its name.
    pub(super) fn leaf(&self, reference: &str) -> Result<(String, Configured), Error> {
        match self.config().model(reference) {
            Some(ModelReference::Named(name, model)) => Ok((name.to_owned(), model.clone())),
            Some(ModelReference::Inline { provider, name }) => {
                let source = ModelSource::Provider { provider: provider.to_owned(), name: name.to_owned() };
                Ok((reference.to_owned(), Configured::new(source)))
            }
            Some(ModelReference::Route(..)) | None => Err(self.unknown_model(reference)),
        }
    }

    fn unknown_model(&self, reference: &str) -> Error {
        let config = self.config();
        let models = config.models.keys().chain(config.routes.keys()).map(String::as_str);
        let providers = self.config().providers.keys().map(|provider| format!("{provider}:NAME"));
        let known: Vec<_> = models.map(str::to_owned).chain(providers).collect();
        let text = format!("there is no model `{reference}`; there are: {}", known.join(", "));
        Error::new(ErrorKind::ConfigInvalid, text)
    }

    /// The model with its retry, under its provider's limits.
    pub(super) fn build_model(
        &mut self,
        name: &str,
        model: &Configured,
        times: &Times,
    ) -> Result<Arc<dyn Model>, Error> {
        let price = model.price.as_ref().map(|price| Price {
            input: price.input,
            output: price.output,
            cached_input: price.cached_input,
        });
        let (inner, budget): (Arc<dyn Model>, _) = match &model.source {
            // Nothing is tried again: the same question would have the same answer.
            ModelSource::Human { queue, timeout } => {
                let queue = queue.as_deref().unwrap_or(name);
                return Ok(Arc::new(self.engine.human(name).queue(queue).timeout(timeout.get())));
            }
            ModelSource::Scripted { script } => {
                let opened = match script {
                    Script::Builtin(script) => ScriptedModel::builtin(script),
                    Script::File(path) => ScriptedModel::open(&path.display().to_string(), Path::new("/")),
                };
                let script = opened.map_err(|error| invalid(error.to_string()))?;
                let script = Arc::new(script.named(name).price(price));
                (Arc::new(Timed::new(script, timeouts(model, times))), Arc::default())
            }
            ModelSource::Provider { provider: provider_name, name: model_name } => {
                let (mut config, shared) = self.provider_config(provider_name, model_name)?;
                let Shared { client, budget, limiter } = shared;
                name.clone_into(&mut config.name);
                config.price = price;
                config.context = model.context.map(u64::from);
                config.capabilities = Some(Capabilities {
                    vision: model.capabilities.vision,
                    tools: model.capabilities.tools,
                    parallel_tool_calls: model.capabilities.parallel_tool_calls,
                    max_output: model.capabilities.max_output.map(u64::from),
                });
                match model.output_method {
                    // As the format and the model can.
                    OutputMethod::Auto => {}
                    OutputMethod::Native => config.structured_output = StructuredOutput::Native,
                    OutputMethod::Tool => config.structured_output = StructuredOutput::Tool,
                }
                config.timeouts = timeouts(model, times);
                let model = Arc::new(ProviderModel::new(config, client)?);
                match limiter {
                    Some(limiter) => (Arc::new(Limit::new(model, limiter)), budget),
                    None => (model, budget),
                }
            }
        };
        if model.retry.attempts <= 1 {
            return Ok(inner);
        }
        let policy = RetryPolicy {
            attempts: model.retry.attempts,
            base: model.retry.base.get(),
            cap: model.retry.cap.get(),
            after_first_token: AfterFirstToken::Restart,
            total: model.timeout.total.get(),
        };
        Ok(Arc::new(Retry::new(inner, policy, budget)))
    }

    /// A provider as it is configured, to be asked for the models it has. Fetches its key, which may block.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub fn provider(&mut self, name: &str) -> Result<ProviderModel, Error> {
        // No model is asked; messages show the name.
        let (config, shared) = self.provider_config(name, "list of models")?;
        ProviderModel::new(config, shared.client)
    }

    /// A model of a provider with all that the provider's section says.
    fn provider_config(&mut self, name: &str, model: &str) -> Result<(ModelConfig, Shared), Error> {
        let Some(provider) = self.config().providers.get(name).cloned() else {
            let known: Vec<_> = self.config().providers.keys().map(String::as_str).collect();
            return Err(invalid(format!("there is no provider `{name}`; there are: {}", known.join(", "))));
        };
        let shared = self.shared(name, &provider)?;
        let key = provider
            .resolve_key(&self.environment)
            .map_err(|error| Error::new(ErrorKind::Unauthorized, error.to_string()).with_provider(name))?;
        let format = match provider.kind {
            ProviderKind::Openai => Format::OpenAiChat,
            ProviderKind::OpenaiResponses => Format::OpenAiResponses,
            ProviderKind::Anthropic => Format::Anthropic,
            ProviderKind::Gemini => Format::Gemini,
            ProviderKind::Ollama => Format::Ollama,
        };
        let mut config = ModelConfig::new(format, name, model, &provider.base_url);
        config.key_source = provider.key.as_ref().map(|source| match &key {
            Some(_) => source.place(),
            None => format!("{}, which is not set", source.place()),
        });
        config.key = key;
        config.headers = self.provider_headers(&provider)?;
        Ok((config, shared))
    }

    pub(super) fn settings(&self, model: &Configured) -> Settings {
        let kind = match &model.source {
            ModelSource::Provider { provider, .. } => self.config().providers.get(provider).map(|it| it.kind),
            ModelSource::Scripted { .. } | ModelSource::Human { .. } => None,
        };
        let counts_tokens = matches!(kind, Some(ProviderKind::Anthropic | ProviderKind::Gemini));
        let reasoning = model.reasoning.as_ref();
        let reasoning = reasoning.and_then(|reasoning| match (reasoning.effort, reasoning.tokens) {
            (Some(Effort::None), _) => Some(Reasoning::Effort(word(Effort::None).to_owned())),
            (Some(_), Some(tokens)) if counts_tokens => Some(Reasoning::BudgetTokens(tokens)),
            (Some(effort), _) => Some(Reasoning::Effort(word(effort).to_owned())),
            (None, Some(tokens)) => Some(Reasoning::BudgetTokens(tokens)),
            (None, None) => None,
        });
        Settings {
            max_tokens: model.max_tokens,
            temperature: model.temperature,
            top_p: model.top_p,
            seed: model.seed,
            stop_sequences: model.stop.clone(),
            reasoning,
            parallel_tool_calls: model.parallel_tool_calls,
            prompt_cache: None,
            extra: model.extra.clone(),
        }
    }

    fn provider_headers(&self, provider: &Provider) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &provider.headers {
            let text = match value {
                TextOrSecret::Text(text) => text.clone(),
                TextOrSecret::Secret(secret) => {
                    let found = secret.secret.resolve(&self.environment);
                    let found = found.map_err(|error| invalid(error.to_string()))?;
                    format!("{}{}", secret.prefix, found.expose_secret())
                }
            };
            let (Ok(header), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text))
            else {
                return Err(invalid(format!("the header `{name}` cannot be sent")));
            };
            headers.insert(header, value);
        }
        Ok(headers)
    }

    /// Answers from the cache, where the configuration has one.
    pub(super) fn cached(&mut self, model: Arc<dyn Model>, configured: &Configured) -> Arc<dyn Model> {
        let settings = &self.loaded.config.cache;
        let kind = match &configured.source {
            ModelSource::Provider { .. } | ModelSource::Scripted { .. } => settings.kind,
            // Who asks a person again wants to hear him again.
            ModelSource::Human { .. } => CacheKind::None,
        };
        match kind {
            CacheKind::None => model,
            CacheKind::Exact => {
                let new = || Arc::new(ReplyCache::new(settings.ttl.get(), settings.capacity));
                let cache = self.cache.get_or_insert_with(new);
                Arc::new(Cached::new(model, cache.clone()))
            }
        }
    }

    /// One pool, one retry budget and one set of limits for all models of a provider.
    fn shared(&mut self, name: &str, provider: &Provider) -> Result<Shared, Error> {
        if let Some(shared) = self.providers.get(name) {
            return Ok(shared.clone());
        }
        let plain =
            provider.pool == Pool::default() && provider.proxy.is_none() && provider.ca_file.is_none();
        let client = match &self.client {
            Some(client) if plain => client.clone(),
            _ => self.own_client(provider)?,
        };
        let limits = Limits {
            concurrent: provider.limits.concurrent,
            requests_per_minute: provider.limits.requests_per_minute,
            tokens_per_minute: provider.limits.tokens_per_minute,
            queue: provider.limits.queue,
        };
        let limiter = (!limits.is_unlimited()).then(|| Arc::new(Limiter::new(name, limits)));
        let shared = Shared { client, budget: Arc::default(), limiter };
        self.providers.insert(name.to_owned(), shared.clone());
        Ok(shared)
    }

    fn own_client(&self, provider: &Provider) -> Result<Client, Error> {
        let mut builder = Client::builder()
            .max_idle_per_host(provider.pool.max_idle_per_host as usize)
            .http2(provider.pool.http2);
        if let Some(proxy) = &provider.proxy {
            let url = match proxy {
                Proxy::Url(url) => url.clone(),
                Proxy::Secret(secret) => {
                    let found = secret.resolve(&self.environment);
                    found.map_err(|error| invalid(error.to_string()))?.expose_secret().to_owned()
                }
            };
            builder = builder.proxy(match url.as_str() {
                "none" => ambidex_http::Proxy::Off,
                _ => ambidex_http::Proxy::Through { url, except: String::new() },
            });
        }
        if let Some(file) = &provider.ca_file {
            let tls = Tls::with_ca_file(file).map_err(|error| invalid(error.to_string()))?;
            builder = builder.tls(tls);
        }
        builder.build().map_err(|error| invalid(error.to_string()))
    }
}

fn timeouts(model: &Configured, times: &Times) -> Timeouts {
    Timeouts {
        connect: times.connect.unwrap_or(model.timeout.connect).get(),
        // Where it is not set, the model's default depends on each request.
        first_token: times.first_token.or(model.timeout.first_token).map(Duration::get),
        idle: times.idle.unwrap_or(model.timeout.idle).get(),
        total: model.timeout.total.get(),
    }
}

pub(super) fn invalid(text: String) -> Error {
    Error::new(ErrorKind::ConfigInvalid, text)
}

fn word(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
    }
}
