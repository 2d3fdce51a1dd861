//! Random graphs for the real driver, in a world that is a pure function of what a node sees: whatever is seen too
//! early, too late, twice or in another order shows in the end. How long a call takes is drawn from a seed, and so
//! decides what completes first; tokio's clock is paused.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::graph::{
    GraphDefinition, Next, NodeCall, NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, Retry, Sent,
    Source,
};
use ambidex_core::record::Record;
use ambidex_core::run::Run;
use ambidex_core::store::{AnyStore, RunQuery};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind, ToolOutput};
use ambidex_engine::{Agent, Engine, Graph, NodeFunction};
use ambidex_tools::FunctionTool;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::Planned;

/// What a node is made from.
#[derive(Clone, Debug)]
pub struct NodePlan {
    kind: u8,
    edges: Vec<usize>,
    each: bool,
    branch: u8,
    errors: u8,
    extra: u8,
}

#[derive(Clone, Debug)]
pub struct Plan {
    nodes: Vec<NodePlan>,
    starts: usize,
    concurrency: u32,
}

pub fn plans() -> impl Strategy<Value = Plan> {
    let edges = prop::collection::vec(0usize..6, 1..4);
    let node = (0u8..10, edges, any::<bool>(), 0u8..6, 0u8..6, any::<u8>());
    let node = node.prop_map(|(kind, edges, each, branch, errors, extra)| NodePlan {
        kind,
        edges,
        each,
        branch,
        errors,
        extra,
    });
    (prop::collection::vec(node, 2..8), 1usize..3, 1u32..6).prop_map(|(nodes, starts, concurrency)| Plan {
        nodes,
        starts,
        concurrency,
    })
}

fn name(at: usize) -> String {
    format!("n{at}")
}

fn reducers() -> BTreeMap<String, Reducer> {
    let fields = [
        ("trace", Reducer::Append),
        ("sum", Reducer::Add),
        ("most", Reducer::Max),
        ("names", Reducer::Union),
        ("by", Reducer::Merge),
    ];
    fields.map(|(field, reducer)| (field.into(), reducer)).into()
}

impl Plan {
    /// Edges lead forward, those of branches anywhere: cycles are left again.
    pub fn definition(&self) -> GraphDefinition {
        let count = self.nodes.len();
        let mut nodes: Vec<_> = (0..count).map(|at| self.node(at)).collect();
        let start: Vec<_> = (0..self.starts.min(count)).map(name).collect();
        // What nothing leads to is no part of a graph.
        let mut reached: BTreeSet<String> = start.iter().cloned().collect();
        loop {
            let before = reached.len();
            for node in nodes.iter().filter(|node| reached.contains(&node.name)).collect::<Vec<_>>() {
                reached.extend(node.next.targets().iter().filter(|to| *to != "end").cloned());
                reached.extend(node.sends.iter().cloned());
                if let OnError::Go(target) = &node.on_error {
                    reached.insert(target.clone());
                }
            }
            if reached.len() == before {
                break;
            }
        }
        nodes.retain(|node| reached.contains(&node.name));
        GraphDefinition {
            start,
            nodes,
            fields: reducers(),
            max_steps: 60,
            concurrency: self.concurrency,
            ..GraphDefinition::new("random", vec![])
        }
    }

    fn node(&self, at: usize) -> NodeDefinition {
        let plan = &self.nodes[at];
        let count = self.nodes.len();
        let later: Vec<_> =
            plan.edges.iter().map(|edge| at + 1 + edge).filter(|at| *at < count).map(name).collect();
        let any: Vec<_> = plan.edges.iter().map(|edge| name(edge % count)).chain(["end".into()]).collect();
        let code = NodeWork::Code { function: function_of(plan.extra).into() };
        let (work, input) = match plan.kind {
            0 => (NodeWork::Agent { agent: "writer".into(), pinned: None }, Source::Field("last".into())),
            1 => (NodeWork::Graph { graph: "inner".into(), pinned: None }, Source::State),
            2 => (NodeWork::Ask { form: None, expire_ms: None }, Source::Value(json!("?"))),
            3 => (NodeWork::Wait { ms: Some(50) }, Source::State),
            4 => {
                let exclusive = plan.extra.is_multiple_of(2);
                (NodeWork::Tool { tool: "look".into(), exclusive }, Source::State)
            }
            5 => (NodeWork::Pass, Source::State),
            _ => (code, Source::State),
        };
        let is_code = matches!(work, NodeWork::Code { .. });
        let next = match (plan.branch, later.is_empty()) {
            (0, _) => Next::Branch { function: Some("pick".into()), targets: any },
            (1, _) if is_code && !plan.each => Next::Branch { function: None, targets: any },
            (_, true) => Next::End,
            (_, false) => Next::To(later.clone()),
        };
        let on_error = match (plan.errors, later.first()) {
            (0 | 1, _) => OnError::Continue,
            (2, Some(target)) => OnError::Go(target.clone()),
            _ => OnError::Fail,
        };
        let sends = if plan.extra.is_multiple_of(5) && is_code { later } else { vec![] };
        let effects =
            [EffectClass::Read, EffectClass::Idempotent, EffectClass::Once, EffectClass::Undeclared];
        NodeDefinition {
            input,
            effect: effects[usize::from(plan.extra / 8 % 4)],
            approval: if plan.extra % 7 == 3 && !matches!(plan.kind, 2 | 3 | 5) {
                Approval::Ask
            } else {
                Approval::Allow
            },
            each: plan.each.then(|| "list".into()),
            concurrency: (plan.extra.is_multiple_of(3)).then_some(2),
            next,
            sends,
            retry: again(),
            error_field: (plan.errors != 1).then(|| "faults".into()),
            on_error,
            pause_before: plan.extra % 13 == 1,
            pause_after: plan.extra % 17 == 1,
            output: (plan.extra % 11 == 2).then(|| "value".into()),
            ..NodeDefinition::new(name(at), work)
        }
    }
}

/// More often than anything here fails.
fn again() -> Retry {
    Retry { attempts: 20, base_ms: Some(10), cap_ms: None }
}

fn function_of(extra: u8) -> &'static str {
    ["work", "compute", "slow to stop"][usize::from(extra) % 3]
}

/// A graph three deep, with a person and an agent at the bottom.
pub fn deep() -> GraphDefinition {
    let inner = NodeDefinition {
        next: Next::To(vec!["last".into()]),
        ..NodeDefinition::new("nested", NodeWork::Graph { graph: "inner".into(), pinned: None })
    };
    let first = NodeDefinition {
        next: Next::To(vec!["nested".into(), "each".into()]),
        effect: EffectClass::Idempotent,
        retry: again(),
        ..NodeDefinition::new("first", NodeWork::Code { function: "work".into() })
    };
    let each = NodeDefinition {
        each: Some("list".into()),
        next: Next::To(vec!["last".into()]),
        effect: EffectClass::Once,
        ..NodeDefinition::new("each", NodeWork::Code { function: "work".into() })
    };
    let last = NodeDefinition {
        effect: EffectClass::Once,
        ..NodeDefinition::new("last", NodeWork::Code { function: "work".into() })
    };
    GraphDefinition { fields: reducers(), ..GraphDefinition::new("deep", vec![first, inner, each, last]) }
}

pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What has happened outside of the runs, whichever process did it.
#[derive(Clone, Default)]
pub struct World {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Decides how long calls take.
    seed: u64,
    begun: Mutex<BTreeMap<String, usize>>,
    failed: Mutex<BTreeMap<String, usize>>,
    in_flight: AtomicUsize,
    classes: Mutex<BTreeMap<String, EffectClass>>,
}

/// Counts a call until it has ended, or was dropped.
struct Guard(World);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shared.in_flight.fetch_sub(1, SeqCst);
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self { shared: Arc::new(Shared { seed, ..Shared::default() }) }
    }

    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(SeqCst)
    }

    /// Calls begun, by key.
    pub fn begun(&self) -> BTreeMap<String, usize> {
        self.shared.begun.lock().unwrap().clone()
    }

    pub fn failed(&self, key: &str) -> usize {
        self.shared.failed.lock().unwrap().get(key).copied().unwrap_or(0)
    }

    pub fn class(&self, key: &str) -> EffectClass {
        self.shared.classes.lock().unwrap()[key]
    }

    fn begin(&self, context: &Context, class: EffectClass) -> Guard {
        let key = context.idempotency_key();
        *self.shared.begun.lock().unwrap().entry(key.clone()).or_default() += 1;
        self.shared.classes.lock().unwrap().insert(key, class);
        self.shared.in_flight.fetch_add(1, SeqCst);
        Guard(self.clone())
    }

    async fn takes(&self, context: &Context) {
        let drawn = hash((self.shared.seed, context.idempotency_key(), context.attempt()));
        match drawn % 4 {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(Duration::from_millis(drawn / 4 % 40)).await,
        }
    }

    /// By what the node sees, where a failure does not end the run; and a few times in vain, where it may.
    fn fails(&self, call: &NodeCall, context: &Context) -> Result<(), Error> {
        let node = call.definition();
        let seen =
            hash((Value::Object((**call.state()).clone()).to_string(), call.item().map(Value::to_string)));
        if node.on_error != OnError::Fail && seen.is_multiple_of(4) {
            return Err(Error::new(ErrorKind::ToolFailed, format!("failed {seen}")));
        }
        let key = context.idempotency_key();
        let mut failed = self.shared.failed.lock().unwrap();
        let failures = failed.entry(key.clone()).or_default();
        if node.effect.repeatable() && (*failures as u64) < hash(&key) % 3 {
            *failures += 1;
            return Err(Error::new(ErrorKind::Overloaded, "busy"));
        }
        Ok(())
    }

    async fn work(self, call: NodeCall, context: Context) -> Result<NodeOutput, Error> {
        let guard = self.begin(&context, call.definition().effect);
        self.takes(&context).await;
        self.fails(&call, &context)?;
        drop(guard);
        Ok(worked(&call))
    }

    /// The graph, with all that its names stand for, on an engine.
    pub fn graph(&self, definition: GraphDefinition, engine: &Engine) -> Graph {
        let needs = |wanted: &str| {
            definition.nodes.iter().any(|node| match &node.work {
                NodeWork::Agent { agent, .. } => agent == wanted,
                NodeWork::Graph { graph, .. } => graph == wanted,
                NodeWork::Tool { tool, .. } => tool == wanted,
                _ => false,
            })
        };
        let (inner, writer, look) = (needs("inner"), needs("writer"), needs("look"));
        let mut builder = self.functions(Graph::from_definition(definition)).engine(engine);
        if inner {
            builder = builder.graph("inner", self.inner(engine));
        }
        if writer {
            builder = builder.agent("writer", writer_on(engine));
        }
        if look {
            builder = builder.tool(Arc::new(self.look()));
        }
        builder.build().unwrap()
    }

    fn functions(&self, builder: ambidex_engine::GraphBuilder) -> ambidex_engine::GraphBuilder {
        let code = |computes, grace| Code { world: self.clone(), computes, grace };
        builder
            .function("work", code(false, Duration::ZERO))
            .function("compute", code(true, Duration::ZERO))
            .function("slow to stop", code(false, Duration::from_millis(7)))
            .function("pick", |call: NodeCall, _: Context| async move {
                Ok::<_, Error>(NodeOutput::go(go(&call)))
            })
    }

    /// Two deep: code beside a graph in which an agent writes and a person is asked.
    fn inner(&self, engine: &Engine) -> Graph {
        let next = |to: &[&str]| Next::To(to.iter().map(|to| (*to).to_owned()).collect());
        let code = |name: &str, function: &str, effect| NodeDefinition {
            effect,
            retry: again(),
            ..NodeDefinition::new(name, NodeWork::Code { function: function.into() })
        };
        let core = [
            NodeDefinition { next: next(&["write"]), ..code("think", "work", EffectClass::Idempotent) },
            NodeDefinition {
                input: Source::Field("last".into()),
                next: next(&["ask"]),
                ..NodeDefinition::new("write", NodeWork::Agent { agent: "writer".into(), pinned: None })
            },
            NodeDefinition {
                input: Source::Value(json!("right?")),
                next: next(&["pay"]),
                ..NodeDefinition::new("ask", NodeWork::Ask { form: None, expire_ms: None })
            },
            code("pay", "compute", EffectClass::Once),
        ];
        let core = GraphDefinition {
            fields: reducers(),
            output: Some("most".into()),
            ..GraphDefinition::new("core", core.to_vec())
        };
        let core = self.functions(Graph::from_definition(core)).agent("writer", writer_on(engine));
        let core = core.engine(engine).build().unwrap();
        let inner = [
            NodeDefinition { next: next(&["core", "aside"]), ..code("open", "work", EffectClass::Read) },
            NodeDefinition {
                next: next(&["close"]),
                ..NodeDefinition::new("core", NodeWork::Graph { graph: "core".into(), pinned: None })
            },
            NodeDefinition {
                next: next(&["close"]),
                ..code("aside", "slow to stop", EffectClass::Idempotent)
            },
            code("close", "work", EffectClass::Once),
        ];
        let inner = GraphDefinition {
            fields: reducers(),
            output: Some("trace".into()),
            ..GraphDefinition::new("inner", inner.to_vec())
        };
        self.functions(Graph::from_definition(inner)).graph("core", core).engine(engine).build().unwrap()
    }

    fn look(&self) -> FunctionTool {
        let world = self.clone();
        let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("look", "for tests") };
        FunctionTool::dynamic(spec, move |arguments, context: Context| {
            let world = world.clone();
            async move {
                let _guard = world.begin(&context, EffectClass::Read);
                world.takes(&context).await;
                Ok(ToolOutput::Json(json!(hash(arguments.to_string()) % 1000)))
            }
        })
        .effect(EffectClass::Read)
    }
}

fn writer_on(engine: &Engine) -> Agent {
    Agent::builder().name("writer").engine(engine).model(Planned::new(vec![])).build().unwrap()
}

struct Code {
    world: World,
    computes: bool,
    grace: Duration,
}

impl NodeFunction for Code {
    fn call(&self, call: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        Box::pin(self.world.clone().work(call, context))
    }

    fn computes(&self) -> bool {
        self.computes
    }

    fn cancel_grace(&self) -> Duration {
        self.grace
    }
}

fn worked(call: &NodeCall) -> NodeOutput {
    let node = call.definition();
    let seen = hash((
        Value::Object((**call.state()).clone()).to_string(),
        call.item().map(Value::to_string),
        &node.name,
    ));
    let name = &node.name;
    let value = match seen % 9 {
        0 => Value::Null,
        1 => json!(seen % 100),
        _ => json!({
            "trace": format!("{name} {}", seen % 10_000),
            "sum": seen % 7,
            "last": name,
            "most": seen % 1000,
            "names": [name],
            "by": { name.as_str(): seen % 10 },
        }),
    };
    let send = (0..seen / 16 % 3).filter_map(|n| {
        let to = node.sends.get(usize::try_from(n + seen).unwrap_or(0) % node.sends.len().max(1))?;
        Some(Sent { to: to.clone(), item: json!({"from": name, "n": n, "seen": seen % 50}).into() })
    });
    let send = send.collect();
    let go = if matches!(node.next, Next::Branch { function: None, .. }) { go(call) } else { vec![] };
    NodeOutput { value: value.into(), send, go }
}

/// After a few rounds forward only, or most random graphs would never end.
fn go(call: &NodeCall) -> Vec<String> {
    let seen = hash(Value::Object((**call.state()).clone()).to_string());
    let mut targets = call.definition().next.targets().to_vec();
    targets.sort_unstable();
    targets.dedup();
    let steps = call.state().get("trace").and_then(Value::as_array).map_or(0, Vec::len);
    let rounds = call.state().get("sum").and_then(Value::as_u64).unwrap_or(0);
    if steps > 6 || rounds > 20 || seen.is_multiple_of(5) {
        // "end" sorts before the names of nodes; the last node is the one farthest on.
        let last = targets.last().cloned().filter(|last| *last > call.definition().name);
        return vec![last.unwrap_or_else(|| "end".into())];
    }
    let first = usize::try_from(seen).unwrap_or(0) % targets.len();
    let mut chosen = vec![targets[first].clone()];
    if seen.is_multiple_of(3) {
        chosen.push(targets[(first + 1) % targets.len()].clone());
    }
    chosen
}

/// Every run there is, as it stands.
pub async fn standings(store: &dyn AnyStore) -> BTreeMap<String, Status> {
    let mut all = BTreeMap::new();
    let mut query = RunQuery { limit: 1000, ..RunQuery::default() };
    loop {
        let page = store.runs(query.clone()).await.unwrap();
        all.extend(page.runs.into_iter().map(|run| (run.id, run.status)));
        match page.next {
            Some(cursor) => query.cursor = Some(cursor),
            None => return all,
        }
    }
}

/// All records of a run, whatever a snapshot covers, and the run they make; nothing where there is none.
pub async fn told(store: &dyn AnyStore, run: &str) -> Option<(Vec<Record>, Run)> {
    let stored = store.load(run).await.ok()?;
    let records = store.records(run, 0, usize::MAX).await.unwrap();
    let folded = Run::fold(run, stored.definition, &records).unwrap();
    Some((records, folded))
}
