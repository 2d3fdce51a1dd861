//! Models of a configuration.

use std::path::Path;
use std::sync::Arc;

use ambidex_config::{
    Effort, Model as Configured, ModelReference, ModelSource, OutputMethod, Provider, ProviderKind, Proxy,
    Script, TextOrSecret,
};
use ambidex_core::model::{Model, Reasoning, Settings, StructuredOutput};
use ambidex_core::usage::Price;
use ambidex_core::{Error, ErrorKind};
use ambidex_http::{Client, HeaderMap, HeaderName, HeaderValue, Tls};
use ambidex_models::scripted::ScriptedModel;
use ambidex_models::{
    AfterFirstToken, Format, ModelConfig, ProviderModel, Retry, RetryBudget, RetryPolicy, Timeouts,
};
use secrecy::ExposeSecret;

use super::{ConfiguredModel, Project};

impl Project {
    /// The model of this name, or `PROVIDER:NAME`. Fetches the provider's key, which may block.
    ///
    /// # Errors
    /// `config_invalid`: there is no such model, or what it names cannot be used; `unauthorized`: its key
    /// cannot be had.
    pub fn model(&mut self, reference: &str) -> Result<ConfiguredModel, Error> {
        if let Some(model) = self.models.get(reference) {
            return Ok(model.clone());
        }
        let (name, configured) = match self.config().model(reference) {
            Some(ModelReference::Named(name, model)) => (name.to_owned(), model.clone()),
            Some(ModelReference::Inline { provider, name }) => {
                let source = ModelSource::Provider { provider: provider.to_owned(), name: name.to_owned() };
                (reference.to_owned(), Configured::new(source))
            }
            None => return Err(self.unknown_model(reference)),
        };
        let model = self.build_model(&name, &configured);
        let model = model.map_err(|error| error.context(format!("model `{name}`")))?;
        let built = ConfiguredModel { model, settings: self.settings(&configured) };
        self.models.insert(reference.to_owned(), built.clone());
        Ok(built)
    }

    fn unknown_model(&self, reference: &str) -> Error {
        let models = self.config().models.keys().map(String::as_str);
        let providers = self.config().providers.keys().map(|provider| format!("{provider}:NAME"));
        let known: Vec<_> = models.map(str::to_owned).chain(providers).collect();
        let text = format!("there is no model `{reference}`; there are: {}", known.join(", "));
        Error::new(ErrorKind::ConfigInvalid, text)
    }

    fn build_model(&mut self, name: &str, model: &Configured) -> Result<Arc<dyn Model>, Error> {
        let price = model.price.as_ref().map(|price| Price {
            input: price.input,
            output: price.output,
            cached_input: price.cached_input,
        });
        let (inner, budget): (Arc<dyn Model>, _) = match &model.source {
            ModelSource::Scripted { script } => {
                let opened = match script {
                    Script::Builtin(script) => ScriptedModel::builtin(script),
                    Script::File(path) => ScriptedModel::open(&path.display().to_string(), Path::new("/")),
                };
                let script = opened.map_err(|error| invalid(error.to_string()))?;
                (Arc::new(script.named(name).price(price)), Arc::default())
            }
            ModelSource::Provider { provider: provider_name, name: model_name } => {
                let Some(provider) = self.config().providers.get(provider_name).cloned() else {
                    return Err(invalid(format!("there is no provider `{provider_name}`")));
                };
                let (client, budget) = self.client(provider_name, &provider)?;
                let key = provider.resolve_key(&self.environment).map_err(|error| {
                    Error::new(ErrorKind::Unauthorized, error.to_string()).with_provider(provider_name)
                })?;
                let format = match provider.kind {
                    ProviderKind::Openai => Format::OpenAiChat,
                    ProviderKind::Anthropic => Format::Anthropic,
                };
                let mut config = ModelConfig::new(format, provider_name, model_name, &provider.base_url);
                name.clone_into(&mut config.name);
                config.key_source = provider.key.as_ref().map(|source| match &key {
                    Some(_) => source.place(),
                    None => format!("{}, which is not set", source.place()),
                });
                config.key = key;
                config.headers = self.provider_headers(&provider)?;
                config.price = price;
                config.context = model.context.map(u64::from);
                match model.output_method {
                    // As the format and the model can.
                    OutputMethod::Auto => {}
                    OutputMethod::Native => config.structured_output = StructuredOutput::Native,
                    OutputMethod::Tool => config.structured_output = StructuredOutput::Tool,
                }
                config.timeouts = Timeouts {
                    connect: model.timeout.connect.get(),
                    // Where it is not set, the model's default depends on each request.
                    first_token: model.timeout.first_token.map(ambidex_config::Duration::get),
                    idle: model.timeout.idle.get(),
                    total: model.timeout.total.get(),
                };
                (Arc::new(ProviderModel::new(config, client)?), budget)
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

    fn settings(&self, model: &Configured) -> Settings {
        let counts_tokens = matches!(&model.source, ModelSource::Provider { provider, .. }
            if self.config().providers.get(provider).is_some_and(|it| it.kind == ProviderKind::Anthropic));
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

    /// One pool and one retry budget for all models of a provider.
    fn client(&mut self, name: &str, provider: &Provider) -> Result<(Client, Arc<RetryBudget>), Error> {
        if let Some((client, budget)) = self.clients.get(name) {
            return Ok((client.clone(), budget.clone()));
        }
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
        let client = builder.build().map_err(|error| invalid(error.to_string()))?;
        let shared = (client, Arc::new(RetryBudget::default()));
        self.clients.insert(name.to_owned(), shared.clone());
        Ok(shared)
    }
}

fn invalid(text: String) -> Error {
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
