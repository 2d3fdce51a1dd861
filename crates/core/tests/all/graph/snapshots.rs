//! Runs restored from what was kept of them. That a snapshot is right is seen after every step of every test of a
//! graph, and by the properties for agents.

use ambidex_core::graph::{NodeDefinition, Reducer};
use ambidex_core::record::Refused;
use ambidex_core::run::{Run, Snapshot};
use serde_json::{Value, json};

use super::support::*;
use crate::support::{Machine, agent, read};

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let d = Driven::start(graph(vec![node("a", &["b"]), node("b", &[])], &[]), none());
    let snapshot = d.run.snapshot();
    assert_eq!(snapshot.next_seq(), d.run.next_seq());
    let other = pinned(graph(vec![node("x", &[])], &[]));
    let refused = |definition, snapshot| match Run::restore("run", definition, snapshot, &[]) {
        Err(Refused::Corrupt(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(other, snapshot.clone()).contains("another definition"));
    let changed = |pointer: &str, value: Value| -> Snapshot {
        let mut json = serde_json::to_value(&snapshot).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value(json).unwrap()
    };
    let definition = d.run.definition().clone();
    assert!(refused(definition.clone(), changed("/v", json!(2))).contains("version 2"));
    assert!(refused(definition.clone(), changed("/flow/graph/visits", json!([1]))).contains("does not have"));
    let damaged = changed("/flow/graph/running/0/path/tip", json!(7));
    assert!(refused(definition.clone(), damaged).contains("ends in no segment"));
    let mut agents = serde_json::to_value(Machine::start(agent(vec![read("look")])).run.snapshot()).unwrap();
    agents["definition"] = definition.hash.to_string().into();
    assert!(refused(definition, serde_json::from_value(agents).unwrap()).contains("another kind"));
}

#[test]
fn a_snapshot_of_a_long_loop_is_small() {
    let a = NodeDefinition { next: chooses(&["a", "end"]), ..node("a", &[]) };
    let mut d = Driven::start(graph(vec![a], &[("n", Reducer::Add)]), json!({"n": 0}));
    let size = |d: &Driven| serde_json::to_vec(&d.run.snapshot()).unwrap().len();
    let early = size(&d);
    for visit in 0..200 {
        d.chooses(&format!("a#{visit}"), &["a"]);
    }
    assert!(size(&d) < early + 20, "{} after {early}", size(&d));
}

#[test]
fn a_past_of_many_steps_is_let_go_and_compared_without_descending_into_it() {
    let nodes = vec![
        node("s", &["slow", "a"]),
        node("slow", &[]),
        NodeDefinition { next: chooses(&["a", "end"]), ..node("a", &[]) },
    ];
    let mut d = Driven::start(graph(nodes, &[("n", Reducer::Add)]), json!({"n": 0}));
    d.pass(&["s#0"]);
    let stamp = ambidex_core::record::Stamp { at: d.at, epoch: 1 };
    let mut run = d.run.clone();
    for visit in 0..9_000 {
        let output = ambidex_core::graph::NodeOutput {
            value: json!({"n": 1}).into(),
            go: vec!["a".into()],
            ..Default::default()
        };
        let input = ambidex_core::record::Input::Done {
            effect: ambidex_core::effect::EffectId::new(format!("a#{visit}")),
            attempt: 1,
            result: Ok(ambidex_core::record::Output::Node(output)),
        };
        run.advance(input, stamp, &mut ambidex_core::run::Unlimited, None).unwrap();
    }
    let restored = Run::restore("run", run.definition().clone(), stored(&run.snapshot()), &[]).unwrap();
    assert!(restored == run);
    assert_eq!(run.state().unwrap()["n"], 9000);
}
