//! Failures: retries, and where a path goes after them.

use ambidex_core::effect::Work;
use ambidex_core::graph::{NodeDefinition, OnError, Reducer, Retry};
use ambidex_core::record::{Output, RecordKind};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind};
use serde_json::json;
use std::time::Duration;

use super::support::*;

fn retrying(attempts: u32) -> NodeDefinition {
    let retry = Retry { attempts, base_ms: Some(1000), cap_ms: Some(3000) };
    NodeDefinition { retry, ..node("a", &["b"]) }
}

fn busy(d: &mut Driven, id: &str) {
    d.fails(id, ErrorKind::Overloaded);
}

#[test]
fn what_a_retry_may_help_is_tried_again_after_a_wait_that_outlives_its_process() {
    let mut d = Driven::start(graph(vec![retrying(3), node("b", &[])], &[]), none());
    busy(&mut d, "a#0");
    assert_eq!(d.open(), ["retry:a#0.1"]);
    let Work::Wait { due } = d.effect("retry:a#0.1").work else { panic!() };
    assert!((d.at..=d.at + 1000).contains(&due) && d.run.next_wait() == Some(due), "{due} {}", d.at);
    d.claim();
    let Work::Wait { due: again } = d.effect("retry:a#0.1").work else { panic!() };
    assert_eq!(again, due);
    d.at = due;
    d.pass(&["retry:a#0.1"]);
    assert_eq!(d.effect("a#0").attempt, 2);
    d.claim();
    assert_eq!(d.effect("a#0").attempt, 3, "a claim raises it too");
    busy(&mut d, "a#0");
    d.pass(&["retry:a#0.2"]);
    assert_eq!(d.effect("a#0").attempt, 4, "a late result of an earlier one is refused");
    d.gives("a#0", json!({"n": 1}));
    assert_eq!(d.seen("b#0"), json!({"n": 1}));
}

#[test]
fn a_wait_is_as_long_as_the_other_side_asks_and_more() {
    let mut d = Driven::start(graph(vec![retrying(2), node("b", &[])], &[]), none());
    let error = Error::new(ErrorKind::RateLimited, "slow").with_retry_after(Some(Duration::from_secs(9)));
    d.done("a#0", Err(error));
    let due = d.run.next_wait().unwrap();
    assert!((d.at + 9000..=d.at + 10_000).contains(&due), "{due}");
    assert_eq!(d.run.next_tick(d.at), Some(60_000), "such a wait is the run's time");
}

#[test]
fn attempts_end_and_what_must_not_be_repeated_has_one() {
    let mut d = Driven::start(graph(vec![retrying(2), node("b", &[])], &[]), none());
    busy(&mut d, "a#0");
    d.pass(&["retry:a#0.1"]);
    busy(&mut d, "a#0");
    assert_eq!(d.failure().message(), "the node `a`: so it is");
    let once = NodeDefinition { effect: EffectClass::Once, ..retrying(5) };
    let mut d = Driven::start(graph(vec![once, node("b", &[])], &[]), none());
    busy(&mut d, "a#0");
    assert_eq!(d.failure().kind(), ErrorKind::Overloaded);
    let mut d = Driven::start(graph(vec![retrying(5), node("b", &[])], &[]), none());
    d.fails("a#0", ErrorKind::Denied);
    assert_eq!(d.failure().kind(), ErrorKind::Denied, "another attempt would not help");
}

#[test]
fn a_path_may_go_on_after_a_failure_or_somewhere_else() {
    let with = |on_error| {
        let a = NodeDefinition { on_error, error_field: Some("faults".into()), ..node("a", &["b"]) };
        let mut d = Driven::start(
            graph(vec![a, node("b", &["c"]), node("c", &["a2"]), node("a2", &[])], &[]),
            none(),
        );
        d.fails("a#0", ErrorKind::ToolFailed);
        d
    };
    let fault = json!({"faults": [{"node": "a", "item": 0, "code": "tool_failed", "message": "so it is"}]});
    let d = with(OnError::Continue);
    assert_eq!((d.open(), d.seen("b#0")), (vec!["b#0".to_owned()], fault.clone()));
    let d = with(goes_to("c"));
    assert_eq!((d.open(), d.seen("c#0")), (vec!["c#0".to_owned()], fault));
    let d = with(OnError::Fail);
    assert_eq!(d.failure().kind(), ErrorKind::ToolFailed);
}

#[test]
fn a_branch_that_fails_has_nowhere_to_go_but_its_error_edge() {
    let with = |on_error| {
        let a = NodeDefinition { on_error, next: branch("pick", &["b"]), ..node("a", &[]) };
        let mut d = Driven::start(graph(vec![a, node("b", &[])], &[]), none());
        d.pass(&["a#0"]);
        d.fails("a#0?", ErrorKind::ToolFailed);
        d
    };
    assert_eq!(with(goes_to("b")).open(), ["b#0"]);
    assert_eq!(with(OnError::Continue).failure().message(), "its branch: the node `a`: so it is");
}

#[test]
fn an_update_that_does_not_fit_its_field_is_an_error_of_its_node() {
    let mut d = Driven::start(graph(vec![node("a", &[])], &[("n", Reducer::Add)]), json!({"n": 1}));
    d.gives("a#0", json!({"n": [2]}));
    let text = "the node `a`: the field `n` is folded by `add`, which cannot take a list there";
    assert_eq!(d.failure().message(), text);
}

#[test]
fn a_failure_lets_what_is_in_flight_report() {
    let mut d = Driven::start(
        graph(vec![node("s", &["a", "b"]), node("a", &[]), node("b", &["c"]), node("c", &[])], &[]),
        none(),
    );
    d.pass(&["s#0"]);
    d.fails("a#0", ErrorKind::ToolFailed);
    assert!(matches!(d.records.last().unwrap().kind, RecordKind::Stopping(_)));
    d.done("b#0", Ok(Output::Node(json!({"n": 1}).into())));
    assert_eq!((d.failure().kind(), d.intents("c")), (ErrorKind::ToolFailed, 0));
}
