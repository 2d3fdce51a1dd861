//! What the runs do: tools of all three effects, side by side and one after another, a call that a person must
//! allow, and a wait. Every moment of it takes a few milliseconds, so that a kill finds it in any state.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::definition::{Approval, Definition};
use ambidex_core::graph::{NodeCall, Source};
use ambidex_core::message::Role;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Finish, ToolOutput};
use ambidex_engine::{Agent, ApprovalPolicy, Engine, Graph, OnWaiting, RunHandle, RunOptions, Runnable};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::failpoint::{Side, Step, Trigger, WAIT_NODE};
use crate::ledger::{Deed, Ledger, Line, now};
use crate::random::Random;

/// The tools, and what a call of each may do.
pub const TOOLS: [(&str, EffectClass); 3] =
    [("look", EffectClass::Read), ("put", EffectClass::Idempotent), ("pay", EffectClass::Once)];

/// What an agent's model asks for, turn by turn.
type Turns = &'static [&'static [&'static str]];

/// Nobody is asked, unless a process died during a payment.
const CLERK: Turns = &[&["look", "put", "pay"], &["put"], &["pay", "look"]];
/// A person must allow each payment.
const ASKER: Turns = &[&["look", "put"], &["pay"], &["put"]];

/// The agents by name. Runs of the second wait for a person.
pub const AGENTS: [(&str, Turns); 2] = [("clerk", CLERK), ("asker", ASKER)];

/// The graph: a state that is worth a snapshot, a call, a wait of 100 ms, and two calls side by side after it.
pub const ERRAND: &str = "errand";
const ERRAND_CALLS: &[&str] = &["put", "pay", "look"];
const WAIT: Duration = Duration::from_millis(100);

/// How many calls of such tools a run of this agent or graph makes.
pub fn calls_of(name: &str, effect: EffectClass) -> usize {
    let turns = AGENTS.iter().find(|(agent, _)| *agent == name).map_or(&[][..], |(_, turns)| turns);
    let errand = ERRAND_CALLS.iter().filter(|_| name == ERRAND);
    turns.iter().flat_map(|turn| *turn).chain(errand).filter(|tool| effect_of(tool) == Some(effect)).count()
}

pub fn effect_of(tool: &str) -> Option<EffectClass> {
    TOOLS.iter().find(|(name, _)| *name == tool).map(|(_, effect)| *effect)
}

/// What a process needs to carry runs out.
#[derive(Clone)]
pub struct Workload {
    agents: Vec<Agent>,
    errand: Graph,
}

/// What the tools of a process have in common.
struct Hands {
    ledger: Arc<Ledger>,
    trigger: Arc<Trigger>,
    seed: u64,
    /// On top of some milliseconds.
    takes: Duration,
}

impl Workload {
    pub fn new(
        engine: &Engine,
        ledger: &Arc<Ledger>,
        trigger: &Arc<Trigger>,
        seed: u64,
        takes: Duration,
    ) -> Result<Self, Error> {
        let hands = Arc::new(Hands { ledger: ledger.clone(), trigger: trigger.clone(), seed, takes });
        let agent = |(name, turns): (&'static str, Turns)| {
            let once = if name == "asker" { Approval::Ask } else { Approval::Allow };
            let mut builder = Agent::builder()
                .engine(engine)
                .name(name)
                .model(Planned { info: ModelInfo::new("planned", "crash"), turns, seed })
                .approvals(ApprovalPolicy { once, ..ApprovalPolicy::default() });
            for (tool, effect) in TOOLS {
                builder = builder.tool(hands.clone().tool(tool, effect));
            }
            builder.build()
        };
        let agents = AGENTS.into_iter().map(agent).collect::<Result<_, _>>()?;
        let mut errand = Graph::builder(ERRAND).engine(engine);
        for (tool, effect) in TOOLS {
            let tool_itself = Arc::new(hands.clone().tool(tool, effect));
            errand = errand.tool_node(tool, tool_itself, Source::Value(json!({"n": 1})));
        }
        let pack = |_: NodeCall, _: Context| async {
            // So much of it that the run is worth a snapshot.
            Ok::<_, Error>(json!({"load": "heavy ".repeat(1_000)}))
        };
        let errand = errand.node("pack", pack).with("pack", |node| node.effect = EffectClass::Read);
        let errand = errand.wait(WAIT_NODE, WAIT).start(["pack"]).edge("pack", "put").edge("put", WAIT_NODE);
        let errand = errand.edge(WAIT_NODE, "pay").edge(WAIT_NODE, "look").build()?;
        Ok(Self { agents, errand })
    }

    /// Starts a run: of each kind in turn.
    pub fn start(&self, number: u32, id: String) -> Result<RunHandle, Error> {
        let options = RunOptions { id: Some(id), on_waiting: OnWaiting::Return, ..RunOptions::default() };
        match self.agents.get(usize::try_from(number % 3).unwrap_or(0)) {
            Some(agent) => agent.start_unwatched("go", options),
            None => self.errand.start_unwatched(json!({}), options),
        }
    }

    /// What a stored run is one of.
    pub fn find(&self, definition: &Definition) -> Option<Runnable> {
        match definition {
            Definition::Agent(agent) => {
                let found = self.agents.iter().find(|known| known.name() == agent.name);
                found.cloned().map(Runnable::Agent)
            }
            Definition::Graph(_) => Some(Runnable::Graph(self.errand.clone())),
        }
    }
}

impl Hands {
    fn tool(self: Arc<Self>, name: &'static str, effect: EffectClass) -> FunctionTool {
        let spec = ToolSpec {
            input: json!({"type": "object", "properties": {"n": {"type": "integer"}}}),
            ..ToolSpec::new(name, "Writes down that it was called.")
        };
        FunctionTool::dynamic(spec, move |arguments, context| self.clone().work(name, arguments, context))
            .effect(effect)
    }

    async fn work(
        self: Arc<Self>,
        tool: &'static str,
        arguments: Value,
        context: Context,
    ) -> Result<ToolOutput, Error> {
        let at = now();
        let failed = |error: std::io::Error| Error::new(ErrorKind::ToolFailed, error.to_string());
        let key = context.idempotency_key();
        let mut random = Random::of(self.seed, &key, context.attempt().into());
        let pid = std::process::id();
        let deed = Deed { tool: tool.to_owned(), key, arguments: arguments.to_string(), pid, at };
        self.ledger.write(&Line::Begun(deed.clone())).map_err(failed)?;
        tokio::time::sleep(self.takes + random.millis(0, 8)).await;
        self.trigger.pass(Step::Effect, Side::Before);
        self.ledger.write(&Line::Done(deed)).map_err(failed)?;
        self.trigger.pass(Step::Effect, Side::After);
        tokio::time::sleep(random.millis(0, 8)).await;
        Ok(ToolOutput::Text(format!("{tool} done")))
    }
}

/// Asks for the calls of its plan, one turn after another, and then says that it is done.
struct Planned {
    info: ModelInfo,
    turns: Turns,
    seed: u64,
}

impl Model for Planned {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let turn = request.history.iter().filter(|message| message.role == Role::Assistant).count();
        let mut chunks = Vec::new();
        match self.turns.get(turn) {
            Some(calls) => {
                for (part, name) in (0..).zip(*calls) {
                    let id = format!("c{turn}.{part}");
                    chunks.push(Chunk::ToolCall { part, id, name: (*name).to_owned() });
                    let text = json!({"n": turn * 10 + usize::try_from(part).unwrap_or(0)}).to_string();
                    chunks.push(Chunk::Arguments { part, text });
                }
                chunks.push(Chunk::End(Finish::ToolCalls));
            }
            None => {
                chunks.push(Chunk::Text { part: 0, text: "done".into() });
                chunks.push(Chunk::End(Finish::Stop));
            }
        }
        let mut random = Random::of(self.seed, &context.idempotency_key(), context.attempt().into());
        let takes = random.millis(0, 12);
        futures_util::stream::once(async move {
            tokio::time::sleep(takes).await;
            futures_util::stream::iter(chunks.into_iter().map(Ok))
        })
        .flatten()
        .boxed()
    }
}

/// Opens the ledger, or says why not.
pub fn open_ledger(path: &Path) -> Result<Arc<Ledger>, String> {
    Ledger::open(path).map(Arc::new).map_err(|error| format!("{}: {error}", path.display()))
}
