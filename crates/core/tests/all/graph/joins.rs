//! What waits for what, and what a node sees.

use ambidex_core::graph::{GraphDefinition, NodeDefinition, NodeWork, Reducer};
use serde_json::json;

use super::support::*;

const TRACE: &[(&str, Reducer)] = &[("trace", Reducer::Append)];

#[test]
fn a_join_runs_once_when_all_its_paths_have_come() {
    let nodes = vec![
        node("start", &["a", "b", "c"]),
        node("a", &["join"]),
        node("b", &["join"]),
        node("c", &["join"]),
        node("join", &[]),
    ];
    let mut d = Driven::start(graph(nodes, TRACE), none());
    d.gives("start#0", json!({"trace": "start"}));
    assert_eq!(d.open(), ["a#0", "b#0", "c#0"]);
    d.gives("c#0", json!({"trace": "c"}));
    d.gives("a#0", json!({"trace": "a"}));
    assert_eq!(d.open(), ["b#0"]);
    d.gives("b#0", json!({"trace": "b"}));
    assert_eq!(
        d.seen("join#0"),
        json!({"trace": ["start", "a", "b", "c"]}),
        "in the order of the definition"
    );
    d.gives("join#0", json!({"trace": "join"}));
    assert_eq!(d.output(), &json!({"trace": ["start", "a", "b", "c", "join"]}));
    assert_eq!(d.intents("join"), 1);
}

#[test]
fn what_comes_to_a_join_by_two_ways_counts_once() {
    let nodes = vec![
        node("s", &["p", "q"]),
        node("p", &["p2", "r"]),
        node("q", &["first"]),
        node("p2", &["first"]),
        node("r", &["second"]),
        node("first", &["second"]),
        node("second", &[]),
    ];
    let mut d = Driven::start(graph(nodes, TRACE), none());
    for name in ["s", "p", "q", "p2", "first", "r", "second"] {
        d.gives(&format!("{name}#0"), json!({ "trace": name }));
    }
    assert_eq!(d.output(), &json!({"trace": ["s", "p", "q", "p2", "r", "first", "second"]}));
}

#[test]
fn unrelated_branches_do_not_wait_for_each_other() {
    let nodes = vec![
        node("start", &["slow", "a"]),
        node("slow", &[]),
        node("a", &["b"]),
        node("b", &["c"]),
        node("c", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[]), none());
    d.pass(&["start#0", "a#0", "b#0", "c#0"]);
    assert_eq!(d.open(), ["slow#0"]);
    d.pass(&["slow#0"]);
    assert_eq!(d.output(), &none());
}

#[test]
fn a_branch_not_taken_is_not_waited_for() {
    let nodes = vec![
        node("start", &["a", "c"]),
        NodeDefinition { next: branch("pick", &["b", "join"]), ..node("a", &[]) },
        node("b", &["join"]),
        node("c", &["join"]),
        node("join", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[]), none());
    d.pass(&["start#0", "a#0", "c#0"]);
    assert_eq!(d.open(), ["a#0?"]);
    d.chooses("a#0?", &["join"]);
    assert_eq!(d.open(), ["join#0"]);
}

#[test]
fn a_join_waits_for_another_join_on_its_way() {
    let nodes = vec![
        node("second", &[]),
        node("first", &["second"]),
        node("a", &["first"]),
        node("b", &["second"]),
        node("start", &["a", "b"]),
    ];
    let graph = GraphDefinition { start: vec!["start".into()], ..graph(nodes, &[]) };
    let mut d = Driven::start(graph, none());
    d.pass(&["start#0", "b#0"]);
    assert_eq!(d.open(), ["a#0"]);
    d.pass(&["a#0"]);
    assert_eq!(d.open(), ["first#0"]);
    d.pass(&["first#0", "second#0"]);
    assert_eq!(d.intents("second"), 1);
}

#[test]
fn a_node_sees_its_own_past_and_no_more() {
    let nodes = vec![
        node("start", &["a", "b"]),
        node("a", &["after_a"]),
        node("b", &["after_b"]),
        node("after_a", &[]),
        node("after_b", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[("n", Reducer::Add)]), json!({"n": 1}));
    d.gives("start#0", json!({"n": 1}));
    d.gives("a#0", json!({"n": 10}));
    d.gives("b#0", json!({"n": 100}));
    assert_eq!((d.seen("after_a#0"), d.seen("after_b#0")), (json!({"n": 12}), json!({"n": 102})));
    assert_eq!(d.state(), json!({"n": 112}), "who looks from outside sees all");
    d.pass(&["after_a#0", "after_b#0"]);
    assert_eq!(d.output(), &json!({"n": 112}));
}

#[test]
fn updates_follow_causes_also_after_a_loop_beside_other_paths() {
    let nodes = vec![
        node("join", &[]),
        node("other", &[]),
        node("late", &["join"]),
        NodeDefinition { next: chooses(&["loopy", "join"]), ..node("loopy", &[]) },
        node("start", &["loopy", "late", "other"]),
    ];
    let graph = GraphDefinition { start: vec!["start".into()], ..graph(nodes, TRACE) };
    let mut d = Driven::start(graph, none());
    d.pass(&["start#0"]);
    for (visit, go) in ["loopy", "loopy", "join"].into_iter().enumerate() {
        let output = ambidex_core::graph::NodeOutput {
            value: json!({"trace": format!("loopy {visit}")}).into(),
            go: vec![go.into()],
            ..Default::default()
        };
        d.done(&format!("loopy#{visit}"), Ok(ambidex_core::record::Output::Node(output)));
    }
    d.gives("late#0", json!({"trace": "late"}));
    assert_eq!(d.seen("join#0"), json!({"trace": ["late", "loopy 0", "loopy 1", "loopy 2"]}));
    d.gives("join#0", json!({"trace": "join"}));
    d.gives("other#0", json!({"trace": "other"}));
    assert_eq!(d.output(), &json!({"trace": ["other", "late", "loopy 0", "loopy 1", "loopy 2", "join"]}));
}

#[test]
fn a_graph_may_begin_in_several_places_and_pass_through_nodes_that_do_nothing() {
    let nodes = vec![
        node("a", &["meet"]),
        node("b", &["meet"]),
        works("meet", NodeWork::Pass, &["part"]),
        works("part", NodeWork::Pass, &["x", "y"]),
        node("x", &[]),
        node("y", &[]),
    ];
    let graph = GraphDefinition { start: vec!["a".into(), "b".into()], ..graph(nodes, TRACE) };
    let mut d = Driven::start(graph, none());
    assert_eq!(d.open(), ["a#0", "b#0"]);
    d.gives("b#0", json!({"trace": "b"}));
    d.gives("a#0", json!({"trace": "a"}));
    assert_eq!(d.open(), ["x#0", "y#0"]);
    assert_eq!(d.seen("x#0"), json!({"trace": ["a", "b"]}));
    d.pass(&["x#0", "y#0"]);
    assert_eq!(d.output(), &json!({"trace": ["a", "b"]}));
}

#[test]
fn what_runs_side_by_side_does_so_in_every_round_of_a_cycle() {
    let nodes = vec![
        node("plan", &["a", "b"]),
        node("a", &["join"]),
        node("b", &["c"]),
        node("c", &["join"]),
        NodeDefinition { next: chooses(&["plan", "end"]), ..node("join", &[]) },
    ];
    for reversed in [false, true] {
        let mut nodes = nodes.clone();
        if reversed {
            nodes.reverse();
        }
        let mut d =
            Driven::start(GraphDefinition { start: vec!["plan".into()], ..graph(nodes, &[]) }, none());
        for round in 0..3 {
            d.pass(&[&format!("plan#{round}")]);
            assert_eq!(d.open(), [format!("a#{round}"), format!("b#{round}")]);
            d.pass(&[&format!("a#{round}"), &format!("b#{round}")]);
            assert_eq!(d.open(), [format!("c#{round}")], "the join waits for its own round");
            d.pass(&[&format!("c#{round}")]);
            d.chooses(&format!("join#{round}"), &[if round < 2 { "plan" } else { "end" }]);
        }
        assert_eq!(d.output(), &none());
    }
}

#[test]
fn rounds_of_a_cycle_do_not_mix() {
    let nodes = vec![
        node("plan", &["a", "b"]),
        NodeDefinition { next: chooses(&["plan", "join"]), ..node("a", &[]) },
        node("b", &["join"]),
        NodeDefinition { next: chooses(&["plan", "end"]), ..node("join", &[]) },
    ];
    // Whether `b` is slow or quick.
    for first in [["a#0", "b#0"], ["b#0", "a#0"]] {
        let mut d = Driven::start(graph(nodes.clone(), &[]), none());
        d.pass(&["plan#0"]);
        for id in first {
            d.chooses(id, if id == "a#0" { &["plan"] } else { &[] });
        }
        assert_eq!(d.open(), ["join#0"], "what `a` went back for waits for what is left of the round");
        d.chooses("join#0", &["end"]);
        d.pass(&["plan#1", "b#1"]);
        d.chooses("a#1", &["join"]);
        d.chooses("join#1", &["end"]);
        assert_eq!(d.intents("join"), 2);
    }
}

#[test]
fn rounds_of_a_cycle_within_a_cycle_end_with_it() {
    let nodes = vec![
        node("plan", &["inner", "b"]),
        NodeDefinition { next: chooses(&["inner", "join"]), ..node("inner", &[]) },
        node("b", &["join"]),
        NodeDefinition { next: chooses(&["plan", "end"]), ..node("join", &[]) },
    ];
    let mut d = Driven::start(graph(nodes, &[]), none());
    for round in 0..2 {
        d.pass(&[&format!("plan#{round}"), &format!("b#{round}")]);
        for visit in 0..3 {
            let go = if visit < 2 { "inner" } else { "join" };
            assert_eq!(d.open(), [format!("inner#{}", round * 3 + visit)]);
            d.chooses(&format!("inner#{}", round * 3 + visit), &[go]);
        }
        d.chooses(&format!("join#{round}"), &[if round == 0 { "plan" } else { "end" }]);
    }
    assert_eq!((d.output(), d.intents("join")), (&none(), 2));
}

#[test]
fn who_waits_outside_a_cycle_waits_for_all_its_rounds() {
    let nodes = vec![
        node("start", &["x", "in"]),
        node("in", &["out", "last"]),
        NodeDefinition { next: chooses(&["in", "end"]), ..node("out", &[]) },
        node("x", &["last"]),
        node("last", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[]), none());
    d.pass(&["start#0", "x#0", "in#0"]);
    d.chooses("out#0", &["in"]);
    d.pass(&["in#1"]);
    assert_eq!(d.open(), ["out#1"]);
    d.chooses("out#1", &["end"]);
    d.pass(&["last#0"]);
    assert_eq!(d.intents("last"), 1);
}

#[test]
fn the_output_is_a_field_where_one_is_named() {
    let graph = GraphDefinition { output: Some("report.title".into()), ..graph(vec![node("a", &[])], &[]) };
    let mut d = Driven::start(graph, none());
    d.gives("a#0", json!({"report": {"title": "On paths"}}));
    assert_eq!((d.output(), d.run.text()), (&json!("On paths"), "On paths".to_owned()));
}
