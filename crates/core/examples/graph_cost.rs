//! What a step of a graph costs the machine alone: no driver, no store. Prints microseconds of CPU per node.
//!
//! `cargo run --release -p ambidex-core --example graph_cost [ROUNDS [CASE]]`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use ambidex_core::definition::{Definition, Pinned};
use ambidex_core::effect::{EffectId, Work};
use ambidex_core::graph::{GraphDefinition, Next, NodeDefinition, NodeOutput, Reducer};
use ambidex_core::record::{Input, Output, RecordKind, Stamp};
use ambidex_core::run::{Run, Unlimited};
use serde_json::{Value, json};

fn node(name: String, next: Next) -> NodeDefinition {
    NodeDefinition { next, ..NodeDefinition::code(name) }
}

fn to(name: impl Into<String>) -> Next {
    Next::To(vec![name.into()])
}

fn pinned(nodes: Vec<NodeDefinition>) -> Pinned {
    let fields = [("n".to_owned(), Reducer::Add), ("list".to_owned(), Reducer::Last)];
    let graph = GraphDefinition {
        fields: fields.into(),
        concurrency: 100,
        ..GraphDefinition::new("measured", nodes)
    };
    Pinned::new(Definition::Graph(Arc::new(graph))).unwrap()
}

fn chain(length: usize) -> Pinned {
    let name = |at: usize| format!("step {at}");
    let next = |at| if at + 1 < length { to(name(at + 1)) } else { Next::End };
    pinned((0..length).map(|at| node(name(at), next(at))).collect())
}

fn cycle() -> Pinned {
    let next = Next::Branch { function: None, targets: vec!["again".into(), "end".into()] };
    pinned(vec![node("again".into(), next)])
}

fn fan_out(concurrency: u32) -> Pinned {
    let map = NodeDefinition {
        each: Some("list".into()),
        concurrency: Some(concurrency),
        ..node("map".into(), to("after"))
    };
    pinned(vec![map, node("after".into(), Next::End)])
}

/// A fork with a long loop beside a path that stays open.
fn beside() -> Pinned {
    let next = Next::Branch { function: None, targets: vec!["again".into(), "end".into()] };
    let start = node("start".into(), Next::To(vec!["slow".into(), "again".into()]));
    pinned(vec![start, node("slow".into(), Next::End), node("again".into(), next)])
}

/// Completes the latest of what is open, as a driver would: it looks at the records of the step, not at all that
/// is open.
fn drive(definition: &Pinned, state: &Value, limit: usize) -> (usize, usize) {
    let mut run = Run::new("run", definition.clone());
    let mut at = 1_000;
    let Value::Object(state) = state.clone() else { panic!() };
    let input = Input::Accept {
        input: state.into(),
        thread: None,
        deadline_ms: Some(1_000_000),
        parent: None,
        budget: None,
    };
    let mut ready: Vec<EffectId> = vec![];
    let mut step = run.advance(input, Stamp { at, epoch: 1 }, &mut Unlimited, None).unwrap();
    let (mut nodes, mut records) = (0, step.len());
    loop {
        ready.extend(step.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => Some(intent.id.clone()),
            _ => None,
        }));
        let Some(id) = ready.pop() else { return (nodes, records) };
        let open = run.open(&id).unwrap();
        let attempt = open.attempt;
        let Work::Code { call, .. } = run.effect(open).unwrap().work else { panic!() };
        let chooses = matches!(call.definition().next, Next::Branch { .. });
        drop(call);
        nodes += 1;
        let go = if !chooses {
            vec![]
        } else if nodes < limit {
            vec!["again".into()]
        } else {
            vec!["end".into()]
        };
        let output = NodeOutput { value: Arc::new(json!({"n": 1})), go, send: vec![] };
        at += 1;
        let input = Input::Done { effect: id, attempt, result: Ok(Output::Node(output)) };
        step = run.advance(input, Stamp { at, epoch: 1 }, &mut Unlimited, None).unwrap();
        records += step.len();
    }
}

/// Nanoseconds of CPU that this thread has had; wall time where the system does not say.
fn cpu(start: Instant) -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn main() {
    let begin = Instant::now();
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20);
    let list = |length: usize| json!({"list": (0..length).collect::<Vec<_>>()});
    let only = std::env::args().nth(2);
    let cases = [
        ("chain of 10", chain(10), json!({}), 0, 100),
        ("chain of 1,000", chain(1000), json!({}), 0, 1),
        ("loop of 1,000", cycle(), json!({}), 1000, 1),
        ("loop of 1,000 with a list of 1,000 in the state", cycle(), list(1000), 1000, 1),
        ("loop of 1,000 beside another path", beside(), json!({}), 1000, 1),
        ("loop of 9,000 beside another path", beside(), json!({}), 9000, 1),
        ("fan-out of 100", fan_out(100), list(100), 0, 10),
        ("fan-out of 1,000, 100 at once", fan_out(100), list(1000), 0, 1),
    ];
    println!("a run takes {} bytes before anything it holds", size_of::<Run>());
    for (name, definition, state, limit, times) in cases {
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        drive(&definition, &state, limit); // the plan is made once
        let start = cpu(begin);
        let (mut nodes, mut records) = (0, 0);
        for _ in 0..rounds * times {
            let (more, written) = drive(&definition, &state, limit);
            nodes += more;
            records += written;
        }
        let spent = cpu(begin) - start;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let (nodes, records, spent) = (nodes as f64, records as f64, spent as f64 / 1000.0);
        println!("{name}: {:.2} us per node, {:.1} records per node", spent / nodes, records / nodes);
    }
}
