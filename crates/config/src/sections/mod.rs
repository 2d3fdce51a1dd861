//! The sections of `ambidex.toml`, one file each, and the whole.

mod agent;
mod approvals;
mod budget;
mod cache;
mod context;
mod limits;
mod model;
mod provider;
mod retry;
mod route;
mod runtime;
mod step;
mod store;
mod tool;
mod workflow;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

pub use agent::{Agent, AgentMode, Output, StopConditions, ToolChoice};
pub use approvals::{Approval, Approvals};
pub use budget::{Budget, Budgets};
pub use cache::{Cache, CacheKind};
pub use context::Context;
pub use limits::Limits;
pub use model::{
    Capabilities, Effort, Model, ModelSource, ModelTimeouts, OutputMethod, Price, Reasoning, Script,
};
pub(crate) use provider::plain;
pub use provider::{Pool, Provider, ProviderKind, Proxy};
pub use retry::Retry;
pub use route::{AfterFirstToken, Breaker, Pick, Route, RouteTimeouts, Stagger, Strategy, Weight, Winner};
pub use runtime::Runtime;
pub use step::{
    Choose, Each, Human, Member, Merge, MergeHow, MergeReduce, STEP_KINDS, Step, StepOnError, Wait,
};
pub use store::{Store, StoreDurability, StoreUrl};
pub use tool::{BUILT_IN_TOOLS, Body, Effect, Method, Tool, ToolAction};
pub(crate) use workflow::is_name;
pub use workflow::{Workflow, WorkflowOutput};

use crate::error::{ConfigError, ConfigErrorKind};
use crate::reader::{At, Fields, FromNode};

/// Sections that the public surface names and this version does not have.
const LATER: [&str; 2] = ["server", "telemetry"];

/// A whole configuration, checked. Paths are absolute, secrets are still references.
#[derive(Debug, Clone, PartialEq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The agent that runs when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_agent: Option<String>,
    pub store: Store,
    pub runtime: Runtime,
    pub providers: IndexMap<String, Provider>,
    pub models: IndexMap<String, Model>,
    pub routes: IndexMap<String, Route>,
    pub cache: Cache,
    pub tools: IndexMap<String, Tool>,
    pub approvals: Approvals,
    pub budgets: Budgets,
    pub agents: IndexMap<String, Agent>,
    pub workflows: IndexMap<String, Workflow>,
}

/// What the `model` of an agent names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ModelReference<'a> {
    /// `[models.NAME]`.
    Named(&'a str, &'a Model),
    /// `[routes.NAME]`.
    Route(&'a str, &'a Route),
    /// `PROVIDER:NAME`: that model of that provider with the defaults of a model.
    Inline { provider: &'a str, name: &'a str },
}

impl Config {
    /// The agent named by `default_agent`, else the only one there is.
    pub fn default_agent(&self) -> Option<(&str, &Agent)> {
        let found = match &self.default_agent {
            Some(name) => self.agents.get_key_value(name),
            None if self.agents.len() == 1 => self.agents.first(),
            None => None,
        };
        found.map(|(name, agent)| (name.as_str(), agent))
    }

    /// What a `model` of an agent, `use` of a route, or `-m`, names; `None` when there is no such model, route or
    /// provider.
    pub fn model<'a>(&'a self, reference: &'a str) -> Option<ModelReference<'a>> {
        if let Some((name, model)) = self.models.get_key_value(reference) {
            return Some(ModelReference::Named(name, model));
        }
        if let Some((name, route)) = self.routes.get_key_value(reference) {
            return Some(ModelReference::Route(name, route));
        }
        let (provider, name) = reference.split_once(':')?;
        (self.providers.contains_key(provider) && !name.is_empty())
            .then_some(ModelReference::Inline { provider, name })
    }
}

impl FromNode for Config {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        fields.later(&LATER);
        // Files are read without theirs, so these come from inside a profile, a variable or a flag.
        if let Some(at) = fields.at("profiles") {
            let message = "profiles stand at the top of a file only".to_owned();
            at.report(ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key));
        }
        let config = Self {
            default_agent: fields.optional("default_agent"),
            store: fields.section("store", Store::default()),
            runtime: fields.section("runtime", Runtime::default()),
            providers: fields.optional("providers").unwrap_or_default(),
            models: fields.optional("models").unwrap_or_default(),
            routes: fields.optional("routes").unwrap_or_default(),
            cache: fields.section("cache", Cache::default()),
            tools: fields.optional("tools").unwrap_or_default(),
            approvals: fields.section("approvals", Approvals::default()),
            budgets: fields.section("budgets", Budgets::default()),
            agents: fields.optional("agents").unwrap_or_default(),
            workflows: fields.optional("workflows").unwrap_or_default(),
        };
        fields.finish();
        Some(config)
    }
}
