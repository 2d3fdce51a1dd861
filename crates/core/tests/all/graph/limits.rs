//! Cycles end, runs pause at their limits, permits are asked for.

use ambidex_core::budget::{Budget, BudgetKind, Grant};
use ambidex_core::effect::EffectId;
use ambidex_core::graph::{GraphDefinition, NodeDefinition, NodeWork};
use ambidex_core::record::{Input, Outcome, Output, Pause};
use ambidex_core::run::{Admission, Phase};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::json;

use super::support::*;

fn looping() -> NodeDefinition {
    NodeDefinition { next: chooses(&["a", "end"]), ..node("a", &[]) }
}

#[test]
fn a_node_that_is_reached_more_often_than_it_may_be_fails_the_run() {
    let a = NodeDefinition { max_visits: Some(3), ..looping() };
    let mut d = Driven::start(graph(vec![a], &[]), json!({"kept": 7}));
    for visit in 0..3 {
        d.chooses(&format!("a#{visit}"), &["a"]);
    }
    assert_eq!(d.failure().kind(), ErrorKind::LoopLimit);
    assert_eq!(d.state(), json!({"kept": 7}));
}

#[test]
fn a_run_pauses_at_its_steps_and_goes_on_with_more() {
    let mut d = Driven::start(GraphDefinition { max_steps: 2, ..graph(vec![looping()], &[]) }, none());
    d.chooses("a#0", &["a"]);
    d.chooses("a#1", &["a"]);
    assert_eq!(d.run.phase(), &Phase::Paused(Pause::MaxIterations));
    d.resume(0);
    assert_eq!(d.run.phase(), &Phase::Paused(Pause::MaxIterations));
    d.resume(1);
    assert_eq!((d.open(), d.run.iterations()), (vec!["a#2".to_owned()], 3));
    d.chooses("a#2", &["end"]);
    assert_eq!(d.output(), &none());
}

#[test]
fn what_does_nothing_cannot_go_round_for_ever() {
    let mut d = Driven::start(
        GraphDefinition {
            max_steps: 50,
            ..graph(vec![works("a", NodeWork::Pass, &["b"]), works("b", NodeWork::Pass, &["a"])], &[])
        },
        none(),
    );
    assert_eq!((d.run.phase(), d.run.iterations()), (&Phase::Paused(Pause::MaxIterations), 50));
    d.input(Input::Cancel);
    assert_eq!(d.outcome(), &Outcome::Cancelled);
}

#[test]
fn a_run_pauses_before_and_behind_nodes_that_say_so() {
    let nodes = vec![
        node("s", &["a", "x"]),
        NodeDefinition { pause_before: true, pause_after: true, ..node("a", &["b"]) },
        node("x", &[]),
        node("b", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[]), none());
    d.pass(&["s#0"]);
    assert_eq!((d.run.phase(), d.run.paused_at()), (&Phase::Paused(Pause::Node), vec![("a", false)]));
    assert_eq!(d.open(), [""; 0], "nothing else starts either");
    d.claim();
    d.resume(0);
    assert_eq!(d.open(), ["a#0", "x#0"]);
    d.gives("a#0", json!({"n": 1}));
    assert_eq!((d.run.paused_at(), d.state()), (vec![("a", true)], json!({"n": 1})));
    d.pass(&["x#0"]);
    d.resume(0);
    assert_eq!(d.open(), ["b#0"]);
}

#[test]
fn children_use_the_budget_up() {
    let child = NodeWork::Agent { agent: "writer".into(), pinned: None };
    let nodes = vec![works("a", child.clone(), &["b"]), works("b", child, &[])];
    let budget = Budget { tokens: Some(100), ..Budget::default() };
    let mut d = Driven::start(GraphDefinition { budget, ..graph(nodes, &[]) }, none());
    let usage = Usage { input_tokens: 150, ..Usage::default() };
    let outcome = Outcome::Succeeded { text: "written".into(), output: None, completed: true };
    let ended = Output::Child { outcome: Box::new(outcome), usage: Box::new(usage) };
    d.done("a#0", Ok(ended.clone()));
    assert_eq!(d.run.phase(), &Phase::Paused(Pause::Budget(BudgetKind::Tokens)));
    let budget = Budget { tokens: Some(100), ..Budget::default() };
    d.input(Input::Resume(Grant { iterations: 0, budget }));
    d.done("b#0", Ok(ended));
    assert_eq!((d.output(), d.run.usage().input_tokens), (&json!({"a": "written", "b": "written"}), 300));
}

#[test]
fn what_is_told_to_stop_is_paid_for() {
    let child = NodeWork::Agent { agent: "writer".into(), pinned: None };
    let mut d = Driven::start(graph(vec![works("a", child, &[])], &[]), none());
    d.input(Input::Cancel);
    let usage = Usage { input_tokens: 150, ..Usage::default() };
    d.done("a#0", Err(Error::cancelled().with_usage(usage)));
    assert_eq!((d.run.phase(), d.run.usage().input_tokens), (&Phase::Finished(Outcome::Cancelled), 150));
}

/// Lets only these through.
struct Only(Vec<&'static str>, Vec<String>);

impl Admission for Only {
    fn admit(&mut self, effect: &EffectId, _: &str) -> bool {
        self.1.push(effect.to_string());
        self.0.contains(&effect.as_str())
    }

    fn admit_node(&mut self, effect: &EffectId, _: &NodeDefinition) -> bool {
        self.admit(effect, "")
    }
}

#[test]
fn what_gets_no_permit_waits_and_its_siblings_are_not_asked_about() {
    let map = NodeDefinition { each: Some("list".into()), ..node("map", &[]) };
    let nodes = vec![works("s", NodeWork::Pass, &["map", "x"]), map, node("x", &[])];
    let mut only = Only(vec!["x#0"], vec![]);
    let mut d = Driven::start_with(graph(nodes, &[]), json!({"list": [1, 2, 3]}), &mut only);
    assert_eq!(d.open(), ["x#0"]);
    assert_eq!(only.1, ["map#0[0]", "x#0", "map#0[0]"]);
    assert!(d.run.next_tick(d.at).is_some(), "it waits under the deadline");
    d.input(Input::Tick);
    assert_eq!(d.open().len(), 4);
}
