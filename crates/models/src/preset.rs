//! A model with settings of its own.

use std::sync::Arc;

use ambidex_core::model::{ModelInfo, Settings};
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};

/// Fills in what a request leaves open. So each target of a route is asked in its own way, whoever asks.
#[derive(Clone)]
pub struct Preset {
    inner: Arc<dyn Model>,
    settings: Arc<Settings>,
}

impl Preset {
    /// What a request sets itself stands; of `extra`, field by field.
    pub fn new(inner: Arc<dyn Model>, settings: Settings) -> Self {
        Self { inner, settings: Arc::new(settings) }
    }
}

impl Model for Preset {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let settings = if *request.settings == Settings::default() {
            self.settings.clone()
        } else {
            Arc::new(filled(&request.settings, &self.settings))
        };
        self.inner.stream(Request { settings, ..request }, context)
    }
}

impl std::fmt::Debug for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.inner.info().name;
        f.debug_struct("Preset").field("model", name).field("settings", &self.settings).finish()
    }
}

fn filled(request: &Settings, own: &Settings) -> Settings {
    let Settings {
        max_tokens,
        temperature,
        top_p,
        seed,
        stop_sequences,
        reasoning,
        parallel_tool_calls,
        prompt_cache,
        extra,
    } = request.clone();
    let mut all = own.extra.clone();
    all.extend(extra);
    Settings {
        max_tokens: max_tokens.or(own.max_tokens),
        temperature: temperature.or(own.temperature),
        top_p: top_p.or(own.top_p),
        seed: seed.or(own.seed),
        stop_sequences: if stop_sequences.is_empty() { own.stop_sequences.clone() } else { stop_sequences },
        reasoning: reasoning.or_else(|| own.reasoning.clone()),
        parallel_tool_calls: parallel_tool_calls.or(own.parallel_tool_calls),
        prompt_cache: prompt_cache.or(own.prompt_cache),
        extra: all,
    }
}
