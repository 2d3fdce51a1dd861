//! Random graphs in a world that is a pure function of what a node sees: whatever is seen too early, too late or
//! in another order shows in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ambidex_core::budget::Grant;
use ambidex_core::definition::{Approval, Pinned};
use ambidex_core::effect::{Effect, EffectId, Work};
use ambidex_core::graph::{
    GraphDefinition, Next, NodeCall, NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, Retry, Sent,
    Source,
};
use ambidex_core::question::{Answer, Why};
use ambidex_core::record::{Input, Outcome, Output, Pause, Record, RecordKind, Stamp};
use ambidex_core::run::{Admission, Phase, Run};
use ambidex_core::tool::{EffectClass, ToolOutput};
use ambidex_core::{Error, ErrorKind, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{object, pinned};

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
    pub nodes: Vec<NodePlan>,
    pub reversed: bool,
    pub starts: usize,
    pub concurrency: u32,
}

pub fn plans() -> impl Strategy<Value = Plan> {
    let edges = prop::collection::vec(0usize..8, 1..4);
    let node = (0u8..10, edges, any::<bool>(), 0u8..6, 0u8..6, any::<u8>());
    let node = node.prop_map(|(kind, edges, each, branch, errors, extra)| NodePlan {
        kind,
        edges,
        each,
        branch,
        errors,
        extra,
    });
    let nodes = prop::collection::vec(node, 2..9);
    (nodes, any::<bool>(), 1usize..3, 1u32..6).prop_map(|(nodes, reversed, starts, concurrency)| Plan {
        nodes,
        reversed,
        starts,
        concurrency,
    })
}

fn name(at: usize) -> String {
    format!("n{at}")
}

impl Plan {
    pub fn definition(&self) -> Pinned {
        pinned(self.graph())
    }

    /// Edges lead forward, those of branches anywhere: cycles are left again.
    pub fn graph(&self) -> GraphDefinition {
        let count = self.nodes.len();
        let mut nodes: Vec<_> = (0..count).map(|at| self.node(at)).collect();
        let start: Vec<_> = (0..self.starts.min(count)).map(name).collect();
        // What nothing leads to is no part of a graph.
        loop {
            let known: BTreeSet<_> = nodes
                .iter()
                .flat_map(|node| {
                    let error = match &node.on_error {
                        OnError::Go(target) => vec![target.clone()],
                        _ => vec![],
                    };
                    node.next
                        .targets()
                        .to_vec()
                        .into_iter()
                        .chain(node.sends.clone())
                        .chain(error)
                        .map(|target| (node.name.clone(), target))
                })
                .filter(|(from, to)| from != to)
                .collect();
            let mut reached: BTreeSet<String> = start.iter().cloned().collect();
            while let Some((_, to)) =
                known.iter().find(|(from, to)| reached.contains(from) && !reached.contains(to))
            {
                reached.insert(to.clone());
            }
            let before = nodes.len();
            nodes.retain(|node| reached.contains(&node.name));
            if nodes.len() == before {
                break;
            }
        }
        // The order of the definition must not matter for what waits for what.
        if self.reversed {
            nodes.reverse();
        }
        let fields = [
            ("trace", Reducer::Append),
            ("sum", Reducer::Add),
            ("most", Reducer::Max),
            ("names", Reducer::Union),
            ("by", Reducer::Merge),
        ];
        GraphDefinition {
            start,
            nodes,
            fields: fields.map(|(field, reducer)| (field.into(), reducer)).into(),
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
        let function = (plan.branch == 0).then(|| "pick".to_owned());
        let code = NodeWork::Code { function: "work".into() };
        let (work, input) = match plan.kind {
            0 => (NodeWork::Agent { agent: "writer".into(), pinned: None }, Source::Field("last".into())),
            1 => (NodeWork::Graph { graph: "inner".into(), pinned: None }, Source::State),
            2 => (NodeWork::Ask { form: None, expire_ms: None }, Source::Value(json!("?"))),
            3 => (NodeWork::Wait { ms: Some(50) }, Source::State),
            4 => (
                NodeWork::Tool { tool: "look".into(), exclusive: plan.extra.is_multiple_of(2) },
                Source::State,
            ),
            5 => (NodeWork::Pass, Source::State),
            _ => (code, Source::State),
        };
        let is_code = matches!(work, NodeWork::Code { .. });
        let next = match (plan.branch, later.is_empty()) {
            (0, _) => Next::Branch { function, targets: any },
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
        let asks = plan.extra % 7 == 3 && !matches!(plan.kind, 2 | 3 | 5);
        let effects =
            [EffectClass::Read, EffectClass::Idempotent, EffectClass::Once, EffectClass::Undeclared];
        NodeDefinition {
            input,
            effect: effects[usize::from(plan.extra / 8 % 4)],
            approval: if asks { Approval::Ask } else { Approval::Allow },
            each: plan.each.then(|| "list".into()),
            concurrency: (plan.extra.is_multiple_of(3)).then_some(2),
            next,
            sends,
            retry: Retry { attempts: 20, base_ms: Some(10), cap_ms: None },
            error_field: (plan.errors != 1).then(|| "faults".into()),
            on_error,
            pause_before: plan.extra % 13 == 1,
            pause_after: plan.extra % 17 == 1,
            output: (plan.extra % 11 == 2).then(|| "value".into()),
            ..NodeDefinition::new(name(at), work)
        }
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
pub struct World {
    /// Failures that were reported, by effect.
    failures: BTreeMap<String, u64>,
    pub seen: BTreeSet<&'static str>,
}

impl World {
    fn perform(&mut self, effect: &Effect) -> Result<Output, Error> {
        match &effect.work {
            Work::Ask(question) => Ok(Output::Answer(match question.why {
                Why::InDoubt => {
                    self.seen.insert("doubt");
                    Answer::Repeat
                }
                _ if question.id.contains("/human:") => {
                    self.seen.insert("question");
                    Answer::Answer { answer: json!(hash(&question.id) % 5) }
                }
                _ => {
                    self.seen.insert("approval");
                    Answer::Approve
                }
            })),
            Work::Wait { .. } => {
                self.seen.insert(if effect.id.as_str().starts_with("retry:") { "retry" } else { "wait" });
                Ok(Output::Node(NodeOutput::default()))
            }
            Work::Tool { call, .. } => {
                self.seen.insert("tool");
                Ok(Output::Tool(ToolOutput::Json(json!(hash(call.arguments().to_string()) % 1000))))
            }
            Work::Child { call, run, .. } => {
                self.seen.insert("child");
                self.fails(effect, call)?;
                assert!(run.starts_with("run/"));
                let value = json!(hash(call.input().unwrap().to_string()) % 1000);
                let outcome =
                    Outcome::Succeeded { text: String::new(), output: Some(value), completed: true };
                let usage = Usage { input_tokens: 1, ..Usage::default() };
                Ok(Output::Child { outcome: Box::new(outcome), usage: Box::new(usage) })
            }
            Work::Code { function, call } if function == "pick" => {
                self.seen.insert("branch");
                Ok(Output::Node(NodeOutput::go(go(call))))
            }
            Work::Code { call, .. } => {
                self.fails(effect, call)?;
                Ok(Output::Node(self.work(call)))
            }
            work => panic!("{work:?}"),
        }
    }

    /// By what the node sees, where a failure does not end the run; and a few times in vain, where it may.
    fn fails(&mut self, effect: &Effect, call: &NodeCall) -> Result<(), Error> {
        let node = call.definition();
        let seen =
            hash((Value::Object((**call.state()).clone()).to_string(), call.item().map(Value::to_string)));
        if node.on_error != OnError::Fail && seen.is_multiple_of(4) {
            self.seen.insert("failure");
            return Err(Error::new(ErrorKind::ToolFailed, format!("failed {seen}")));
        }
        let repeatable = !matches!(node.work, NodeWork::Code { .. }) || node.effect.repeatable();
        let failures = self.failures.entry(effect.id.to_string()).or_default();
        if repeatable && *failures < hash(effect.id.as_str()) % 3 {
            *failures += 1;
            return Err(Error::new(ErrorKind::Overloaded, "busy"));
        }
        Ok(())
    }

    fn work(&mut self, call: &NodeCall) -> NodeOutput {
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
                "by": {name.as_str(): seen % 10},
            }),
        };
        let send = (0..seen / 16 % 3).filter_map(|n| {
            let to = node.sends.get(usize::try_from(n + seen).unwrap_or(0) % node.sends.len().max(1))?;
            Some(Sent { to: to.clone(), item: json!([name, n, seen % 50]).into() })
        });
        let send: Vec<_> = send.collect();
        if !send.is_empty() {
            self.seen.insert("send");
        }
        let chooses = matches!(node.next, Next::Branch { function: None, .. });
        let go = if chooses { go(call) } else { vec![] };
        NodeOutput { value: value.into(), send, go }
    }
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

/// Refuses by a number.
struct Moody(u8);

impl Admission for Moody {
    fn admit(&mut self, _: &EffectId, _: &str) -> bool {
        self.0 = self.0.wrapping_mul(167).wrapping_add(13);
        self.0 > 60
    }

    fn admit_node(&mut self, effect: &EffectId, _: &NodeDefinition) -> bool {
        self.admit(effect, "")
    }
}

pub struct Life {
    pub run: Run,
    pub records: Vec<Record>,
    epoch: u64,
    at: u64,
}

impl Life {
    pub fn begin(definition: &Pinned) -> Self {
        let run = Run::new("run", definition.clone());
        let mut life = Self { run, records: vec![], epoch: 1, at: 1_000 };
        let input = object(json!({"list": [1, 2, 3], "last": "x"})).into();
        life.input(Input::Accept { input, thread: None, deadline_ms: None, parent: None, budget: None }, 255);
        life
    }

    /// Another process finds these records.
    pub fn found(definition: &Pinned, records: &[Record]) -> Self {
        let run = Run::fold("run", definition.clone(), records).unwrap();
        let epoch = records.last().unwrap().epoch + 1;
        let mut life = Self { run, records: records.to_vec(), epoch, at: 500_000 };
        if !life.run.status().is_final() {
            life.input(Input::Claim, 255);
        }
        life
    }

    fn input(&mut self, input: Input, mood: u8) {
        let stamp = Stamp { at: self.at, epoch: self.epoch };
        self.records.extend(self.run.advance(input, stamp, &mut Moody(mood), None).unwrap());
    }

    /// Drives by choices: which open effect completes next; with `disturbed`, also crashes, lost calls, pauses,
    /// ticks and permits that are not there. False where the graph goes round too long.
    pub fn drive(&mut self, world: &mut World, choices: &[u8], disturbed: bool) -> bool {
        for step in 0.. {
            if self.run.status().is_final() {
                return true;
            }
            assert!(step < 5000, "the run must end: {:?}", self.run);
            self.at += 3;
            let choice = choices[step % choices.len()];
            let disturbed = disturbed && step < 200;
            let Some(input) = self.next(world, choice, disturbed) else { return false };
            self.input(input, if disturbed { choice } else { 255 });
        }
        true
    }

    fn next(&mut self, world: &mut World, choice: u8, disturbed: bool) -> Option<Input> {
        let open: Vec<_> = self.run.effects().cloned().collect();
        if let Phase::Paused(pause) = self.run.phase()
            && (open.is_empty() || choice.is_multiple_of(2))
        {
            if *pause == Pause::MaxIterations {
                return None;
            }
            world.seen.insert("paused");
            return Some(Input::Resume(Grant::default()));
        }
        if open.is_empty() {
            return Some(Input::Tick); // a permit has come free
        }
        let chosen = &open[usize::from(choice) % open.len()];
        let id = chosen.intent.id.clone();
        Some(match choice {
            240.. if disturbed => {
                self.epoch += 1;
                Input::Claim
            }
            225..240 if disturbed && !chosen.intent.class.repeatable() => {
                Input::Lost { effect: id, attempt: chosen.attempt }
            }
            215..225 if disturbed && matches!(self.run.phase(), Phase::Running) => Input::Pause,
            205..215 if disturbed => Input::Tick,
            _ => {
                let effect = self.run.effect(chosen).unwrap();
                Input::Done { effect: id, attempt: effect.attempt, result: world.perform(&effect) }
            }
        })
    }

    /// What must be the same whatever happened on the way: how it ended, what it knows, and which work was done.
    pub fn end(&self) -> (Phase, Value, BTreeSet<String>) {
        let works = self.records.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => Some(intent.id.to_string()),
            _ => None,
        });
        let works = works.filter(|id| !id.starts_with("doubt:") && !id.starts_with("retry:"));
        let state = Value::Object((*self.run.state().unwrap()).clone());
        (self.run.phase().clone(), state, works.collect())
    }

    /// Everything in flight reports, as told.
    pub fn stop(&mut self) {
        self.input(Input::Cancel, 255);
        loop {
            let Some(open) = self.run.effects().next().cloned() else { return };
            let result = Err(Error::cancelled());
            self.input(Input::Done { effect: open.intent.id, attempt: open.attempt, result }, 255);
        }
    }
}
