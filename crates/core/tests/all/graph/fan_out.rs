//! Nodes that run once for each of several items.

use ambidex_core::ErrorKind;
use ambidex_core::graph::{GraphDefinition, NodeDefinition, NodeWork, OnError, Reducer};
use ambidex_core::record::{Input, Outcome, Output};
use ambidex_core::tool::ToolOutput;
use serde_json::{Value, json};

use super::support::*;

fn each(concurrency: Option<u32>) -> NodeDefinition {
    NodeDefinition { each: Some("list".into()), concurrency, ..node("map", &["after"]) }
}

fn list(length: u32) -> Value {
    json!({"list": (0..length).collect::<Vec<_>>()})
}

#[test]
fn all_items_are_waited_for_and_folded_in_their_order() {
    let graph =
        graph(vec![each(None), node("after", &[])], &[("found", Reducer::Append), ("n", Reducer::Add)]);
    let mut d = Driven::start(graph, list(3));
    assert_eq!(d.open(), ["map#0[0]", "map#0[1]", "map#0[2]"]);
    for item in [2, 0, 1] {
        assert_eq!(d.intents("after"), 0);
        let value = d.item(&format!("map#0[{item}]"));
        d.gives(&format!("map#0[{item}]"), json!({"found": value, "n": 1}));
    }
    assert_eq!(d.seen("after#0"), json!({"list": [0, 1, 2], "found": [0, 1, 2], "n": 3}));
}

#[test]
fn so_many_items_run_at_once_as_the_node_and_the_graph_allow() {
    let nodes = || vec![each(Some(3)), node("after", &[])];
    let mut d = Driven::start(graph(nodes(), &[]), list(5));
    assert_eq!(d.open(), ["map#0[0]", "map#0[1]", "map#0[2]"]);
    d.pass(&["map#0[1]"]);
    assert_eq!(d.open(), ["map#0[0]", "map#0[2]", "map#0[3]"]);
    let mut d = Driven::start(GraphDefinition { concurrency: 2, ..graph(nodes(), &[]) }, list(5));
    assert_eq!(d.open(), ["map#0[0]", "map#0[1]"]);
    for item in ["map#0[1]", "map#0[0]", "map#0[2]"] {
        d.pass(&[item]);
        assert_eq!(d.open().len(), 2);
    }
    d.pass(&["map#0[3]", "map#0[4]", "after#0"]);
    assert_eq!(d.output(), &list(5));
}

#[test]
fn results_that_are_no_updates_become_a_list_in_the_nodes_field() {
    let map = NodeDefinition {
        output: Some("drafts".into()),
        on_error: OnError::Continue,
        error_field: Some("errors".into()),
        ..each(None)
    };
    let mut d = Driven::start(graph(vec![map, node("after", &[])], &[]), list(3));
    d.gives("map#0[2]", json!("c"));
    d.fails("map#0[1]", ErrorKind::ToolFailed);
    d.gives("map#0[0]", json!({"text": "a"}));
    let failure = json!({"node": "map", "item": 1, "code": "tool_failed", "message": "so it is"});
    assert_eq!(
        d.seen("after#0"),
        json!({"list": [0, 1, 2], "errors": [failure], "drafts": [{"text": "a"}, null, "c"]})
    );
}

#[test]
fn no_items_are_no_work() {
    let tool = NodeWork::Tool { tool: "look".into(), exclusive: false };
    let map = NodeDefinition { work: tool, ..each(None) };
    let mut d = Driven::start(graph(vec![map, node("after", &[])], &[]), list(0));
    assert_eq!(d.seen("after#0"), json!({"list": [], "map": []}));
    d.pass(&["after#0"]);
    for (state, fault) in [(json!({"list": 3}), "which is no list"), (none(), "which is not in the state")] {
        let d = Driven::start(graph(vec![each(None), node("after", &[])], &[]), state);
        assert!(d.failure().message().contains(fault), "{}", d.failure());
    }
}

#[test]
fn the_first_failure_stops_the_others() {
    let mut d = Driven::start(graph(vec![each(Some(2)), node("after", &[])], &[]), list(4));
    d.fails("map#0[1]", ErrorKind::ToolFailed);
    assert_eq!(d.open(), ["map#0[0]"], "what is in flight reports; nothing else starts");
    d.gives("map#0[0]", json!({"late": true}));
    assert_eq!(d.failure().to_string(), "tool_failed: the node `map`: so it is");
    assert_eq!(d.intents("map#0"), 2);
}

#[test]
fn a_stopped_map_stops() {
    let map = NodeDefinition { on_error: OnError::Continue, ..each(Some(2)) };
    let mut d = Driven::start(graph(vec![map, node("after", &[])], &[]), list(100));
    d.input(Input::Cancel);
    d.stop_all();
    assert_eq!(d.outcome(), &Outcome::Cancelled);
    assert_eq!((d.intents("map#0"), d.intents("after")), (2, 0));
}

#[test]
fn tools_are_given_their_item_and_take_turns_where_they_exclude_each_other() {
    let tool =
        |exclusive| NodeDefinition { work: NodeWork::Tool { tool: "look".into(), exclusive }, ..each(None) };
    let mut d = Driven::start(graph(vec![tool(true), node("after", &[])], &[]), list(3));
    assert_eq!(d.open(), ["map#0[0]"]);
    let ambidex_core::effect::Work::Tool { call, .. } = d.effect("map#0[0]").work else { panic!() };
    assert_eq!((call.name(), call.arguments(), call.is_unchecked()), ("look", &json!(0), true));
    for item in 0..3 {
        d.done(&format!("map#0[{item}]"), Ok(Output::Tool(ToolOutput::Json(json!({"n": item})))));
        assert_eq!(d.open().len(), 1);
    }
    assert_eq!(d.seen("after#0")["map"], json!([{"n": 0}, {"n": 1}, {"n": 2}]));
    let d = Driven::start(graph(vec![tool(false), node("after", &[])], &[]), list(3));
    assert_eq!(d.open().len(), 3);
}
