//! Agents as tools of other agents.

use std::time::Duration;

use ambidex_core::budget::Budget;
use ambidex_core::message::Message;
use ambidex_core::tool::{EffectClass, Tool, ToolSpec};
use ambidex_core::{BoxFuture, Context, Error, ToolOutput};
use serde_json::{Value, json};

use crate::agent::{Agent, new_run_id};
use crate::builder::AgentBuilder;
use crate::carrier::Carrier;
use crate::sub_run::SubRun;

/// For a cancelled run to be recorded as such.
const GRACE: Duration = Duration::from_secs(30);
/// Of a call, in milliseconds: the agent's own limits are what ends it.
const TIMEOUT: u64 = 24 * 60 * 60 * 1000;

/// An agent that other agents call: each call is a run of its own, which ends with the call, and what it uses counts
/// for the caller's run. After a crash the same run goes on, where both agents' runs are kept in one store.
#[derive(Clone)]
pub struct AgentTool {
    agent: Agent,
    spec: ToolSpec,
}

impl Agent {
    /// This agent as a tool that takes a task in words and gives the agent's answer.
    pub fn as_tool(&self, name: impl Into<String>, description: impl Into<String>) -> AgentTool {
        let spec = ToolSpec {
            input: json!({
                "type": "object",
                "properties": {
                    "task": {
                        "type": "string",
                        "description": "What is to be done, with all that has to be known for it.",
                    },
                },
                "required": ["task"],
                "additionalProperties": false,
            }),
            effect: EffectClass::Idempotent,
            timeout_ms: Some(TIMEOUT),
            ..ToolSpec::new(name, description)
        };
        AgentTool { agent: self.clone(), spec }
    }
}

impl AgentTool {
    /// The same tool of another effect: what approvals ask for. A crash never makes the agent begin again.
    #[must_use]
    pub fn effect(mut self, effect: EffectClass) -> Self {
        self.spec.effect = effect;
        self
    }

    /// Calls at once, in this process.
    #[must_use]
    pub fn concurrency(mut self, calls: u32) -> Self {
        self.spec.concurrency = Some(calls);
        self
    }
}

impl Tool for AgentTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let task = arguments["task"].as_str().unwrap_or_default().to_owned();
        let run = if context.is_detached() { new_run_id() } else { context.idempotency_key() };
        let run = SubRun {
            carrier: Carrier::Agent(self.agent.runtime.clone()),
            run,
            input: vec![Message::user(task)].into(),
            // Another attempt of the call, in this process too, goes on with what there is.
            known: !context.is_detached(),
            context,
            budget: Budget::default(),
            limit: None,
            grant: None,
        };
        Box::pin(async move {
            // Called again, it would find the same run, which has ended.
            let result = run.succeeded().await.map_err(|error| error.retryable(false))?;
            Ok(result.output.map_or(ToolOutput::Text(result.text), ToolOutput::Json))
        })
    }

    fn cancel_grace(&self) -> Duration {
        GRACE
    }

    fn computes(&self) -> bool {
        false
    }
}

impl AgentBuilder {
    /// Agents that this one may call, each as a tool of its name that is described by its instructions: it supervises
    /// them. See [`Agent::as_tool`] for other names and descriptions.
    #[must_use]
    pub fn supervises(self, agents: impl IntoIterator<Item = Agent>) -> Self {
        agents.into_iter().fold(self, |builder, agent| {
            let about = about(&agent);
            builder.tool(agent.as_tool(tool_name(agent.name()), about))
        })
    }
}

/// A name as tools may have it.
pub(crate) fn tool_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().take(64).map(plain).collect()
}

/// What others are told about an agent: its instructions, cut where they are long.
pub(crate) fn about(agent: &Agent) -> String {
    const LONGEST: usize = 400;
    let instructions = agent.definition().instructions.split_whitespace().collect::<Vec<_>>().join(" ");
    let about: String = instructions.chars().take(LONGEST).collect();
    if about.is_empty() { format!("The agent {}.", agent.name()) } else { about }
}
