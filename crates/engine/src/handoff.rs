//! Conversations that agents hand on to each other.
//!
//! Each agent has a tool `transfer_to_NAME` for every other that it may hand on to. A call of it ends the agent's run,
//! and the conversation goes on in a run of the other. The whole is a graph's run with one node, which is visited once
//! for each agent: what was said is in its state, so a kill repeats no run that had ended.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::Budget;
use ambidex_core::graph::{
    END, GraphDefinition, Next, NodeCall, NodeDefinition, NodeOutput, NodeWork, Reducer, Source,
};
use ambidex_core::message::{Arguments, Message, Part, Role};
use ambidex_core::record::Input;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind};
use ambidex_tools::{FunctionTool, Registered};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::{Agent, RunOptions, Task};
use crate::agent_tool::{about, tool_name};
use crate::carrier::Carrier;
use crate::engine::Engine;
use crate::graph::{Graph, NodeFunction};
use crate::handle::RunHandle;
use crate::result::{RunError, RunResult};
use crate::sub_run::SubRun;

const TALK: &str = "talk";
const FUNCTION: &str = "ambidex.handoff";
const PREFIX: &str = "transfer_to_";
/// Times that a conversation is handed on, where it is not set.
const MOST: u32 = 10;
/// For a cancelled run to be recorded as such.
const GRACE: Duration = Duration::from_secs(30);

/// What the next agent is given of the conversation. Its own instructions always take the place of the last one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// All of it, calls of tools and their results too.
    #[default]
    All,
    /// What was said, without calls and results.
    Words,
    /// What a person said, and why it was handed on.
    Asked,
}

/// Agents that hand a conversation on to each other. Cheap to clone, holds no state of any run.
#[derive(Clone)]
pub struct Handoff {
    graph: Graph,
    first: String,
}

/// How a conversation came to rest.
#[derive(Clone, Debug)]
pub struct HandoffResult {
    pub run: RunResult,
    /// Who answered.
    pub agent: String,
    pub text: String,
    /// Where that agent has an output schema.
    pub output: Option<Value>,
    /// Everybody who had it, in their order.
    pub path: Vec<String>,
    /// The whole conversation, all agents' parts of it: for the next turn.
    pub messages: Vec<Arc<Message>>,
}

/// Settings of a [`Handoff`].
#[must_use]
#[derive(Default)]
pub struct HandoffBuilder {
    name: Option<String>,
    engine: Option<Engine>,
    agents: Vec<(Agent, Option<Vec<String>>)>,
    passed: Passed,
    most: Option<u32>,
    budget: Budget,
}

impl HandoffBuilder {
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps all runs; without it the engine of the first agent does.
    pub fn engine(mut self, engine: &Engine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// An agent that may hand on to all others. The first one begins.
    pub fn agent(mut self, agent: Agent) -> Self {
        self.agents.push((agent, None));
        self
    }

    /// An agent that may hand on to these alone.
    pub fn agent_to(mut self, agent: Agent, others: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.agents.push((agent, Some(others.into_iter().map(Into::into).collect())));
        self
    }

    pub fn passes(mut self, passed: Passed) -> Self {
        self.passed = passed;
        self
    }

    /// Times that a conversation may be handed on; 10 where it is not given. One more fails the run with `loop_limit`.
    pub fn most(mut self, handoffs: u32) -> Self {
        self.most = Some(handoffs);
        self
    }

    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// # Errors
    /// `config_invalid`: no agents, two of one name, a name that is nobody's.
    pub fn build(self) -> Result<Handoff, Error> {
        let name = self.name.unwrap_or_else(|| "handoff".to_owned());
        let invalid =
            |text: String| Error::new(ErrorKind::ConfigInvalid, format!("the handoff `{name}`: {text}"));
        let Some((first, _)) = self.agents.first() else {
            return Err(invalid("it has no agents; add at least one with `.agent(...)`".into()));
        };
        let (first, engine) =
            (first.name().to_owned(), self.engine.unwrap_or_else(|| first.engine().clone()));
        let known: Vec<(String, String)> =
            self.agents.iter().map(|(agent, _)| (agent.name().to_owned(), about(agent))).collect();
        let mut agents = IndexMap::new();
        for (agent, others) in &self.agents {
            let own = agent.name();
            let others = match others {
                Some(others) => others.clone(),
                None => known.iter().map(|(name, _)| name.clone()).filter(|name| name != own).collect(),
            };
            let mut tools = vec![];
            for other in others {
                let Some((_, about)) = known.iter().find(|(name, _)| *name == other) else {
                    let text = format!("`{own}` may hand on to `{other}`, which is no agent here; add it");
                    return Err(invalid(text));
                };
                tools.push(transfer(&other, about)?);
            }
            if agents.insert(own.to_owned(), agent.ending_with(tools)?.on(&engine)).is_some() {
                return Err(invalid(format!("there are two agents `{own}`; rename one")));
            }
        }
        let settings = Settings { passed: self.passed, most: self.most.unwrap_or(MOST) };
        let mut talk = NodeDefinition::new(TALK, NodeWork::Code { function: FUNCTION.to_owned() });
        talk.input = Source::Value(json!(settings));
        // The run of an agent is found again by its id.
        talk.effect = EffectClass::Idempotent;
        talk.next = Next::Branch { function: None, targets: vec![TALK.to_owned(), END.to_owned()] };
        let mut definition = GraphDefinition::new(name, vec![talk]);
        definition.fields.insert("messages".into(), Reducer::Extend);
        definition.fields.insert("path".into(), Reducer::Append);
        definition.output = Some("answer".to_owned());
        definition.budget = self.budget;
        let graph = Graph::from_definition(definition)
            .engine(&engine)
            .function(FUNCTION, Talk { agents: Arc::new(agents) });
        Ok(Handoff { graph: graph.build()?, first })
    }
}

/// What is pinned with the node.
#[derive(Serialize, Deserialize)]
struct Settings {
    passed: Passed,
    most: u32,
}

/// The tool that hands on to an agent.
fn transfer(agent: &str, about: &str) -> Result<Arc<Registered>, Error> {
    let spec = ToolSpec {
        input: json!({
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why, and what is left to be done."}},
            "required": ["reason"],
            "additionalProperties": false,
        }),
        effect: EffectClass::Read,
        ..ToolSpec::new(
            format!("{PREFIX}{}", tool_name(agent)),
            format!("Hands the conversation on to {agent}, who answers in your place. {about}"),
        )
    };
    let answer = format!("{agent} has the conversation now.");
    let tool = FunctionTool::dynamic(spec, move |_, _: Context| {
        let answer = answer.clone();
        async move { Ok(answer.into()) }
    });
    Registered::new(Arc::new(tool)).map(Arc::new)
}

struct Talk {
    agents: Arc<IndexMap<String, Agent>>,
}

impl NodeFunction for Talk {
    fn call(&self, call: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let agents = self.agents.clone();
        Box::pin(async move { talk(&agents, &call, context).await })
    }

    fn cancel_grace(&self) -> Duration {
        GRACE
    }
}

async fn talk(
    agents: &IndexMap<String, Agent>,
    call: &NodeCall,
    context: Context,
) -> Result<NodeOutput, Error> {
    let misfit = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidArguments, format!("the state is not one of a handoff: {error}"))
    };
    let settings: Settings = serde_json::from_value(call.input().unwrap_or_default()).map_err(misfit)?;
    let field = |name: &str| call.state().get(name).cloned().unwrap_or_default();
    let said: Vec<Arc<Message>> = serde_json::from_value(field("messages")).map_err(misfit)?;
    let mut path: Vec<String> = serde_json::from_value(field("path")).map_err(misfit)?;
    let name = path.last().cloned().unwrap_or_default();
    let Some(agent) = agents.get(&name) else {
        let text = format!("the conversation is `{name}`'s, which is no agent here any more");
        return Err(Error::new(ErrorKind::ConfigInvalid, text));
    };
    let input = passed(settings.passed, &said, &path);
    let given = input.len();
    let run = SubRun {
        carrier: Carrier::Agent(agent.runtime.clone()),
        run: context.idempotency_key(),
        input: input.into(),
        known: context.attempt() > 1,
        context,
        budget: Budget::default(),
        limit: None,
        grant: None,
    };
    let result = run.succeeded().await?;
    let new = result.messages.get(given..).unwrap_or_default();
    let to = transferred(new).and_then(|tool| agents.keys().find(|agent| tool_name(agent) == tool));
    let Some(to) = to else {
        let answer = json!({ "agent": name, "text": result.text, "output": result.output });
        let update = json!({ "messages": new, "answer": answer });
        return Ok(NodeOutput { go: vec![END.to_owned()], ..update.into() });
    };
    if path.len() > settings.most as usize {
        path.push(to.clone());
        let text = format!(
            "it was handed on more than {} times: {}; raise `most`, or tell the agents apart better",
            settings.most,
            path.join(" to ")
        );
        return Err(Error::new(ErrorKind::LoopLimit, text));
    }
    let update = json!({ "messages": new, "path": to });
    Ok(NodeOutput { go: vec![TALK.to_owned()], ..update.into() })
}

/// The first call in the last reply that hands on, if it went well: the name behind its prefix.
fn transferred(new: &[Arc<Message>]) -> Option<String> {
    let last = new.iter().rposition(|message| message.role == Role::Assistant)?;
    let (reply, answers) = new.get(last..)?.split_first()?;
    let went_well = |id: &str| {
        let mut results = answers.iter().flat_map(|message| &message.parts);
        results.any(|part| matches!(part, Part::ToolResult(result) if result.call_id == id && !result.failed))
    };
    let mut calls = reply.tool_calls();
    let call = calls.find(|call| call.name.starts_with(PREFIX) && went_well(&call.id))?;
    call.name.strip_prefix(PREFIX).map(str::to_owned)
}

fn passed(passed: Passed, said: &[Arc<Message>], path: &[String]) -> Vec<Arc<Message>> {
    let handed_on = path.len() > 1;
    if passed == Passed::All || !handed_on {
        return said.to_vec();
    }
    let mut kept = vec![];
    for message in said {
        match message.role {
            Role::User => kept.push(message.clone()),
            Role::Assistant if passed == Passed::Words && !message.text().trim().is_empty() => {
                kept.push(Message::assistant(message.text()));
            }
            _ => {}
        }
    }
    let from = path.iter().rev().nth(1).map_or("another agent", String::as_str);
    let reason = said.iter().rev().find_map(|message| {
        message
            .tool_calls()
            .find(|call| call.name.starts_with(PREFIX))
            .and_then(|call| reason(&call.arguments))
    });
    let reason = reason.unwrap_or_else(|| "nothing was said about it".to_owned());
    kept.push(Message::user(format!("({from} has handed this conversation on to you: {reason})")));
    kept
}

fn reason(arguments: &Arguments) -> Option<String> {
    match arguments {
        Arguments::Json(value) => value["reason"].as_str().map(str::to_owned),
        Arguments::Invalid { .. } => None,
    }
}

impl Handoff {
    pub fn builder() -> HandoffBuilder {
        HandoffBuilder::default()
    }

    /// What its runs follow.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// # Errors
    /// The run failed or was cancelled. One that is paused or waits for a person is no error.
    pub async fn run(&self, task: impl Into<Task>) -> Result<HandoffResult, RunError> {
        self.run_with(task, None, RunOptions::default()).await
    }

    /// Goes on with a conversation: `agent` has it, the first one where none is named.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with(
        &self,
        task: impl Into<Task>,
        agent: Option<&str>,
        options: RunOptions,
    ) -> Result<HandoffResult, RunError> {
        let given = task.into().0;
        let result = self.graph.run_with(self.state(&given, agent), options).await?;
        Ok(HandoffResult::of(result))
    }

    /// Starts a run and returns at once; its outcome is a [`HandoffResult`] by [`HandoffResult::of`].
    ///
    /// # Errors
    /// There is no tokio runtime.
    pub fn start(
        &self,
        task: impl Into<Task>,
        agent: Option<&str>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.graph.start(self.state(&task.into().0, agent), options)
    }

    /// Goes on with a stored run.
    ///
    /// # Errors
    /// There is no such run, the store failed, or something it needs is gone.
    pub async fn resume(
        &self,
        run: &str,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        self.graph.resume(run, inputs, options).await
    }

    fn state(&self, messages: &[Arc<Message>], agent: Option<&str>) -> Value {
        json!({ "messages": messages, "path": [agent.unwrap_or(&self.first)] })
    }
}

impl HandoffResult {
    /// A run as it stands.
    pub fn of(run: RunResult) -> Self {
        let field =
            |name: &str| run.state.as_ref().and_then(|state| state.get(name)).cloned().unwrap_or_default();
        let path: Vec<String> = serde_json::from_value(field("path")).unwrap_or_default();
        let answer = run.output.clone().unwrap_or_default();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        Self {
            agent: text("agent").or_else(|| path.last().cloned()).unwrap_or_default(),
            text: text("text").unwrap_or_default(),
            output: answer.get("output").filter(|output| !output.is_null()).cloned(),
            messages: serde_json::from_value(field("messages")).unwrap_or_default(),
            path,
            run,
        }
    }
}
