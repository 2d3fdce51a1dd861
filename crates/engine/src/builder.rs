//! Builds agents and checks them.

use std::sync::Arc;

use ambidex_core::budget::Budget;
use ambidex_core::definition::{
    AgentDefinition, Approval, Compaction, Definition, Mode, Pinned, PinnedTool, StopConditions,
};
use ambidex_core::model::{Model, OutputSchema, Settings, ToolChoice};
use ambidex_core::reply::Reply;
use ambidex_core::tool::{EffectClass, Tool};
use ambidex_core::{Error, ErrorKind};
use ambidex_tools::{Registered, Validator};
use indexmap::IndexMap;
use serde_json::Value;

use crate::agent::{Agent, AgentRuntime};
use crate::engine::Engine;
use crate::hook::{Hook, StopWhen};
use crate::pinned::{self, Told};
use crate::summary::Summariser;

/// Iterations of a run, where it is not set.
pub const MAX_ITERATIONS: u32 = 25;
/// Tools of one run at once, where it is not set.
pub const TOOL_CONCURRENCY: u32 = 16;

/// What calls of tools need before they run, by their effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalPolicy {
    /// Also for tools that declare no effect.
    pub read: Approval,
    pub idempotent: Approval,
    pub once: Approval,
}

impl Default for ApprovalPolicy {
    /// A program that builds an agent from its own tools means them to run.
    fn default() -> Self {
        Self { read: Approval::Allow, idempotent: Approval::Allow, once: Approval::Allow }
    }
}

impl ApprovalPolicy {
    pub fn of(&self, effect: EffectClass) -> Approval {
        match effect {
            EffectClass::Read | EffectClass::Undeclared => self.read,
            EffectClass::Idempotent => self.idempotent,
            EffectClass::Once => self.once,
        }
    }
}

/// Settings of an [`Agent`]. Only a model is needed.
#[derive(Default)]
pub struct AgentBuilder {
    engine: Option<Engine>,
    name: Option<String>,
    mode: Mode,
    model: Option<Arc<dyn Model>>,
    instructions: String,
    tools: Vec<Result<Arc<Registered>, Error>>,
    tool_choice: ToolChoice,
    settings: Settings,
    output: Option<OutputSchema>,
    max_iterations: Option<u32>,
    tool_concurrency: Option<u32>,
    budget: Budget,
    stop: StopConditions,
    stop_when: Option<Arc<StopWhen>>,
    context: Option<Compaction>,
    summariser: Option<Summariser>,
    approvals: ApprovalPolicy,
    hooks: Vec<Arc<dyn Hook>>,
}

impl AgentBuilder {
    /// Agents on one engine share its store and limits; without it the agent has one of its own.
    #[must_use]
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    #[must_use]
    pub fn model(mut self, model: impl Model + 'static) -> Self {
        self.model = Some(Arc::new(model));
        self
    }

    #[must_use]
    pub fn shared_model(mut self, model: Arc<dyn Model>) -> Self {
        self.model = Some(model);
        self
    }

    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }

    #[must_use]
    pub fn tool(mut self, tool: impl Tool + 'static) -> Self {
        self.tools.push(Registered::new(Arc::new(tool)).map(Arc::new));
        self
    }

    /// A tool whose permits are shared with other agents.
    #[must_use]
    pub fn registered_tool(mut self, tool: Arc<Registered>) -> Self {
        self.tools.push(Ok(tool));
        self
    }

    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = choice;
        self
    }

    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The run's output must match this JSON Schema.
    #[must_use]
    pub fn output_schema(mut self, name: impl Into<String>, schema: Value) -> Self {
        self.output = Some(OutputSchema { name: name.into(), schema });
        self
    }

    /// Model calls before the run pauses; 25 where it is not given.
    #[must_use]
    pub fn max_iterations(mut self, iterations: u32) -> Self {
        self.max_iterations = Some(iterations);
        self
    }

    /// Tools of one run at once; 16 where it is not given.
    #[must_use]
    pub fn tool_concurrency(mut self, tools: u32) -> Self {
        self.tool_concurrency = Some(tools);
        self
    }

    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    #[must_use]
    pub fn stop(mut self, stop: StopConditions) -> Self {
        self.stop = stop;
        self
    }

    /// Ends a run with the first reply this is true for; its calls are not run.
    #[must_use]
    pub fn stop_when(mut self, stop: impl Fn(&Reply) -> bool + Send + Sync + 'static) -> Self {
        self.stop_when = Some(Arc::new(stop));
        self
    }

    /// Has the older part of a long conversation summarised for the model; without it a run fails with
    /// `context_too_long`. Where no window is given it is the model's own, if that is known.
    #[must_use]
    pub fn context(mut self, context: Compaction) -> Self {
        self.context = Some(context);
        self
    }

    /// The model that summarises, in place of the agent's own. Turns [`AgentBuilder::context`] on.
    #[must_use]
    pub fn summarise_with(mut self, model: Arc<dyn Model>, settings: Settings) -> Self {
        self.summariser = Some(Summariser { model, settings: Arc::new(settings) });
        self
    }

    #[must_use]
    pub fn approvals(mut self, approvals: ApprovalPolicy) -> Self {
        self.approvals = approvals;
        self
    }

    #[must_use]
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// Checks what was given and pins the definition.
    ///
    /// # Errors
    /// `config_invalid`: no model, two tools of one name, a bad schema, a limit out of its range, a reference
    /// to a tool that is not there.
    pub fn build(self) -> Result<Agent, Error> {
        let name = self.name.unwrap_or_else(|| "agent".to_owned());
        let place = |error: Error| error.context(format!("agent `{name}`"));
        let invalid = |text: String| place(Error::new(ErrorKind::ConfigInvalid, text));
        if self.mode == Mode::Workflow {
            return Err(invalid(
                "mode = \"workflow\": an agent that follows a workflow is not made here".into(),
            ));
        }
        let Some(model) = self.model else {
            return Err(invalid("it has no model; give it one with `.model(...)`".into()));
        };
        for (what, value) in
            [("max_iterations", self.max_iterations), ("tool_concurrency", self.tool_concurrency)]
        {
            if value == Some(0) {
                return Err(invalid(format!("{what} is 0; give it at least 1")));
            }
        }
        let context = self.context.or_else(|| self.summariser.as_ref().map(|_| Compaction::default()));
        if let Some(context) = &context {
            if !(context.compact_at > 0.0 && context.compact_at <= 1.0) {
                let at = context.compact_at;
                return Err(invalid(format!("compact_at is {at}; give it a share above 0 and up to 1")));
            }
            if context.keep_last == 0 {
                return Err(invalid("keep_last is 0; give it at least 1".into()));
            }
        }
        let context = context.map(|context| Compaction {
            window: context.window.or(model.info().context),
            summarise_with: self.summariser.as_ref().map(|summariser| summariser.model.info().name.clone()),
            ..context
        });
        let mut tools = IndexMap::new();
        let mut pinned_tools = Vec::new();
        for registered in self.tools {
            let registered = registered.map_err(place)?;
            let spec = registered.spec().clone();
            if tools.insert(spec.name.clone(), registered).is_some() {
                return Err(invalid(format!("there are two tools named `{}`; rename one", spec.name)));
            }
            pinned_tools.push(PinnedTool { approval: self.approvals.of(spec.effect), spec: Arc::new(spec) });
        }
        let named = match &self.tool_choice {
            ToolChoice::Tool(name) => Some(name),
            _ => None,
        };
        for name in named.into_iter().chain(&self.stop.after_tools) {
            if !tools.contains_key(name) {
                let known = tools.keys().map(String::as_str);
                return Err(place(ambidex_tools::registry::unknown_tool(name, known)));
            }
        }
        let output = match &self.output {
            Some(output) => Some(Arc::new(Validator::new(&output.schema).map_err(place)?)),
            None => None,
        };
        let output_tool = match &self.output {
            Some(_) => pinned::output_tool(&*model, !tools.is_empty()),
            None => None,
        };
        let definition = Arc::new(AgentDefinition {
            name: name.clone(),
            mode: self.mode,
            model: model.info().name.clone(),
            instructions: self.instructions,
            tools: pinned_tools,
            tool_choice: self.tool_choice,
            settings: self.settings.clone(),
            output: self.output,
            output_tool,
            max_iterations: self.max_iterations.unwrap_or(MAX_ITERATIONS),
            tool_concurrency: self.tool_concurrency.unwrap_or(TOOL_CONCURRENCY),
            budget: self.budget,
            stop: self.stop,
            context,
            finish_hook: self.hooks.iter().any(|hook| hook.wants_finish()),
        });
        let pinned = Pinned::new(Definition::Agent(definition.clone()));
        let pinned = pinned.map_err(|error| invalid(format!("its definition cannot be stored: {error}")))?;
        let Told { specs, instructions, native_output } = Told::of(&definition);
        Ok(Agent {
            runtime: Arc::new(AgentRuntime {
                name: name.into(),
                engine: self.engine.unwrap_or_default(),
                pinned,
                definition,
                model,
                summariser: self.summariser,
                tools,
                specs,
                instructions,
                settings: Arc::new(self.settings),
                native_output,
                output,
                hooks: self.hooks,
                stop_when: self.stop_when,
            }),
        })
    }
}
