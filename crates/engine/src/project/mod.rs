//! What a configuration builds: models, tools and agents, each when it is first asked for.

mod models;
mod routes;
mod tools;
mod workflows;

use std::collections::HashMap;
use std::sync::Arc;

use ambidex_config::{AgentMode, Approval as ConfiguredApproval, Config, Environment, Loaded};
use ambidex_core::budget::Budget;
use ambidex_core::definition::{Approval, Compaction, Mode, StopConditions};
use ambidex_core::memory::MemoryStore;
use ambidex_core::model::{Model, Settings, ToolChoice};
use ambidex_core::store::AnyStore;
use ambidex_core::{Error, ErrorKind};
use ambidex_http::Client;
use ambidex_models::RetryBudget;
use ambidex_models::cache::ReplyCache;
use ambidex_models::limit::Limiter;
use ambidex_tools::Registered;

use crate::agent::Agent;
use crate::builder::{AgentBuilder, ApprovalPolicy};
use crate::engine::Engine;

pub use routes::{Times, breakable, route};

/// A model as it is configured: what answers, and the settings its calls carry.
#[derive(Clone)]
pub struct ConfiguredModel {
    pub model: Arc<dyn Model>,
    pub settings: Settings,
}

/// What all models of a provider share.
#[derive(Clone)]
struct Shared {
    client: Client,
    budget: Arc<RetryBudget>,
    limiter: Option<Arc<Limiter>>,
}

/// Builds what a configuration names. Connection pools, retry budgets and limits are one per provider, tools'
/// permits one per tool, and there is one cache.
pub struct Project {
    loaded: Loaded,
    environment: Environment,
    engine: Engine,
    /// The engine's store, where it is one in memory.
    store: Option<Arc<MemoryStore>>,
    /// For providers that say nothing about their connections, where it is given.
    client: Option<Client>,
    providers: HashMap<String, Shared>,
    models: HashMap<String, ConfiguredModel>,
    routes: HashMap<(String, routes::Times), Arc<dyn Model>>,
    targets: HashMap<routes::TargetKey, Arc<dyn Model>>,
    cache: Option<Arc<ReplyCache>>,
    tools: HashMap<String, Arc<Registered>>,
}

/// What the command line changes about an agent.
#[derive(Clone, Debug, Default)]
pub struct AgentChanges {
    /// A name of a model or a route, or `PROVIDER:NAME`.
    pub model: Option<String>,
    pub mode: Option<Mode>,
    pub max_iterations: Option<u32>,
    pub max_usd: Option<f64>,
}

impl Project {
    pub fn new(loaded: Loaded, environment: Environment) -> Self {
        let store = Arc::new(MemoryStore::keeping(Engine::FINISHED_RUNS));
        let engine = Engine::builder()
            .store(store.clone())
            .sync_workers(loaded.config.runtime.sync_workers as usize)
            .build();
        Self::assembled(loaded, environment, engine, Some(store), None)
    }

    /// Over a store that outlives the process.
    pub fn stored(loaded: Loaded, environment: Environment, store: Arc<dyn AnyStore>) -> Self {
        let engine = Engine::builder()
            .durable_store(store)
            .keep(loaded.config.store.keep.map(ambidex_config::Duration::get))
            .sync_workers(loaded.config.runtime.sync_workers as usize)
            .build();
        Self::assembled(loaded, environment, engine, None, None)
    }

    /// Over an engine and a client that others use too. `store` is the engine's, where that is one in memory.
    pub fn over(
        loaded: Loaded,
        environment: Environment,
        engine: Engine,
        store: Option<Arc<MemoryStore>>,
        client: Client,
    ) -> Self {
        Self::assembled(loaded, environment, engine, store, Some(client))
    }

    fn assembled(
        loaded: Loaded,
        environment: Environment,
        engine: Engine,
        store: Option<Arc<MemoryStore>>,
        client: Option<Client>,
    ) -> Self {
        Self {
            loaded,
            environment,
            engine,
            store,
            client,
            providers: HashMap::new(),
            models: HashMap::new(),
            routes: HashMap::new(),
            targets: HashMap::new(),
            cache: None,
            tools: HashMap::new(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store, where it is one in memory.
    pub fn memory(&self) -> Option<&Arc<MemoryStore>> {
        self.store.as_ref()
    }

    /// An agent of the configuration, or of that of an agent with changes.
    ///
    /// # Errors
    /// `config_invalid`: there is no such agent, or something it names cannot be built.
    pub fn agent(&mut self, name: &str, changes: &AgentChanges) -> Result<Agent, Error> {
        let Some(agent) = self.config().agents.get(name).cloned() else {
            let known: Vec<_> = self.config().agents.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            let text = format!("there is no agent `{name}`; agents: {known}");
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        };
        let model = changes.model.clone().unwrap_or_else(|| agent.model.clone());
        let mut builder = self.builder(name, &model, changes)?;
        for tool in &agent.tools {
            builder = builder.registered_tool(self.tool(tool)?);
        }
        let mode = match agent.mode {
            AgentMode::Chat => Mode::Chat,
            AgentMode::Auto => Mode::Auto,
            AgentMode::Workflow => return Err(follows(name)),
        };
        builder = builder
            .mode(changes.mode.unwrap_or(mode))
            .instructions(agent.instructions.unwrap_or_default())
            .max_iterations(changes.max_iterations.unwrap_or(agent.max_iterations))
            .tool_concurrency(agent.tool_concurrency)
            .stop(StopConditions { after_tools: agent.stop.after_tools, text: agent.stop.text })
            .tool_choice(match agent.tool_choice {
                ambidex_config::ToolChoice::Auto => ToolChoice::Auto,
                ambidex_config::ToolChoice::None => ToolChoice::None,
                ambidex_config::ToolChoice::Required => ToolChoice::Required,
                ambidex_config::ToolChoice::Tool(name) => ToolChoice::Tool(name),
            });
        if let Some(output) = agent.output {
            builder = builder.output_schema("output", output.schema);
        }
        if let Some(context) = agent.context {
            let (compact_at, keep_last) = (context.compact_at, context.keep_last);
            builder = builder.context(Compaction { compact_at, keep_last, ..Compaction::default() });
            if let Some(name) = &context.summarise_with {
                let with = self.model(name)?;
                builder = builder.summarise_with(with.model, with.settings);
            }
        }
        builder.build()
    }

    /// What all agents of this project share: engine, model with its settings, approvals, budget.
    pub fn builder(
        &mut self,
        name: &str,
        model: &str,
        changes: &AgentChanges,
    ) -> Result<AgentBuilder, Error> {
        let configured = self.model(model)?;
        Ok(Agent::builder()
            .engine(&self.engine)
            .name(name)
            .shared_model(configured.model)
            .settings(configured.settings)
            .budget(self.budget(changes))
            .approvals(self.approvals()))
    }

    fn approvals(&self) -> ApprovalPolicy {
        let approvals = &self.config().approvals;
        ApprovalPolicy {
            read: approval(approvals.read),
            idempotent: approval(approvals.idempotent),
            once: approval(approvals.once),
        }
    }

    fn budget(&self, changes: &AgentChanges) -> Budget {
        let budget = &self.config().budgets.run;
        Budget {
            usd: changes.max_usd.or(budget.usd),
            tokens: budget.tokens,
            tool_calls: budget.tool_calls,
            wall_ms: budget.wall.map(|wall| crate::clock::millis(wall.get())),
        }
    }
}

fn follows(name: &str) -> Error {
    let text = format!("the agent `{name}` follows a workflow; run that, or give the agent another mode");
    Error::new(ErrorKind::ConfigInvalid, text)
}

fn approval(configured: ConfiguredApproval) -> Approval {
    match configured {
        ConfiguredApproval::Allow => Approval::Allow,
        ConfiguredApproval::Ask => Approval::Ask,
        ConfiguredApproval::Deny => Approval::Deny,
    }
}
