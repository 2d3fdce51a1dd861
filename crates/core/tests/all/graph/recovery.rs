//! New owners of a graph's run.

use ambidex_core::effect::Work;
use ambidex_core::graph::{NodeDefinition, NodeWork, OnError, Retry};
use ambidex_core::question::{Answer, Why};
use ambidex_core::record::{Input, Outcome, Output, Refused};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind};
use serde_json::json;

use super::support::*;

fn classes() -> Driven {
    let of = |name: &str, effect| NodeDefinition { effect, ..node(name, &[]) };
    let nodes = vec![
        works("s", NodeWork::Pass, &["look", "put", "pay", "run"]),
        of("look", EffectClass::Read),
        of("put", EffectClass::Idempotent),
        of("pay", EffectClass::Once),
        of("run", EffectClass::Undeclared),
    ];
    Driven::start(graph(nodes, &[]), none())
}

#[test]
fn after_a_crash_only_what_may_be_repeated_is() {
    let mut d = classes();
    d.claim();
    assert_eq!(d.open(), ["doubt:pay#0.1", "doubt:run#0.1", "look#0", "put#0"]);
    assert_eq!(d.effect("look#0").attempt, 2);
    let Work::Ask(question) = d.effect("doubt:pay#0.1").work else { panic!() };
    assert_eq!((question.why, question.tool.as_str()), (Why::InDoubt, "pay"));
    let late = Input::Done {
        effect: ambidex_core::effect::EffectId::new("look#0"),
        attempt: 1,
        result: Ok(Output::Node(json!({"late": 1}).into())),
    };
    assert_eq!(d.try_input(late), Err(Refused::NotOpen));
    d.answer("doubt:pay#0.1", Answer::Answer { answer: json!({"paid": 5}) });
    d.answer("doubt:run#0.1", Answer::Repeat);
    d.pass(&["look#0", "put#0", "run#0"]);
    assert_eq!(d.output(), &json!({"paid": 5}));
}

#[test]
fn a_doubt_nobody_clears_is_a_failure_of_its_node() {
    let mut d = classes();
    d.claim();
    d.answer("doubt:pay#0.1", Answer::Reject { reason: "cannot tell".into() });
    d.stop_all();
    assert_eq!(d.failure().kind(), ErrorKind::InDoubt);
    let pay =
        NodeDefinition { effect: EffectClass::Once, on_error: OnError::Continue, ..node("pay", &["after"]) };
    let mut d = Driven::start(graph(vec![pay, node("after", &[])], &[]), none());
    let effect = ambidex_core::effect::EffectId::new("pay#0");
    d.input(Input::Lost { effect, attempt: 1 });
    d.answer("doubt:pay#0.1", Answer::Reject { reason: "cannot tell".into() });
    assert_eq!(d.open(), ["after#0"]);
    d.pass(&["after#0"]);
}

#[test]
fn a_child_is_found_again_by_its_id_and_another_attempt_is_another_child() {
    let child = NodeWork::Graph { graph: "inner".into(), pinned: None };
    let retry = Retry { attempts: 2, ..Retry::default() };
    let a = NodeDefinition { retry, effect: EffectClass::Once, ..works("a", child, &[]) };
    let mut d = Driven::start(graph(vec![a], &[]), json!({"topic": "sea"}));
    let run = |d: &Driven| match d.effect("a#0").work {
        Work::Child { run, call, .. } => {
            assert_eq!(call.input(), Some(json!({"topic": "sea"})));
            run
        }
        work => panic!("{work:?}"),
    };
    assert_eq!(run(&d), "run/a#0");
    d.claim();
    assert_eq!((run(&d), d.effect("a#0").attempt), ("run/a#0".to_owned(), 2));
    let outcome = Box::new(Outcome::Failed(Error::new(ErrorKind::Overloaded, "busy")));
    d.done("a#0", Ok(Output::Child { outcome, usage: Box::default() }));
    d.pass(&["retry:a#0.1"]);
    assert_eq!(run(&d), "run/a#0.1");
    let outcome =
        Box::new(Outcome::Succeeded { text: String::new(), output: Some(json!({"n": 1})), completed: true });
    d.done("a#0", Ok(Output::Child { outcome, usage: Box::default() }));
    assert_eq!(d.output(), &json!({"topic": "sea", "a": {"n": 1}}));
}
