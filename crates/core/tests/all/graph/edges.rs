//! Branches, and edges that are not there.

use ambidex_core::ErrorKind;
use ambidex_core::graph::{GraphDefinition, NodeDefinition, NodeOutput, NodeWork, Sent, Source};
use ambidex_core::record::Output;
use serde_json::json;

use super::support::*;

#[test]
fn a_branch_sees_the_update_of_its_node_and_may_choose_several() {
    let nodes = vec![
        NodeDefinition { next: branch("pick", &["b", "c", "end"]), ..node("a", &[]) },
        node("b", &[]),
        node("c", &[]),
    ];
    let mut d = Driven::start(graph(nodes.clone(), &[]), none());
    d.gives("a#0", json!({"score": 7}));
    assert_eq!(d.seen("a#0?"), json!({"score": 7}));
    d.chooses("a#0?", &["c", "b", "c"]);
    assert_eq!(d.open(), ["b#0", "c#0"]);

    let mut d = Driven::start(graph(nodes, &[]), none());
    d.gives("a#0", json!({"score": 9}));
    d.chooses("a#0?", &["end"]);
    assert_eq!(d.output(), &json!({"score": 9}));
}

#[test]
fn a_target_that_was_not_declared_fails_the_run() {
    let chosen = |targets: &[&str]| {
        let a = NodeDefinition { next: chooses(&["b"]), ..node("a", &[]) };
        let mut d = Driven::start(graph(vec![a, node("b", &["c"]), node("c", &[])], &[]), none());
        d.chooses("a#0", targets);
        d
    };
    for target in ["nowhere", "c", "end"] {
        let d = chosen(&[target]);
        assert_eq!(d.failure().kind(), ErrorKind::UnknownEdge);
        assert!(
            d.failure().message().contains("`a`") && d.failure().message().contains(target),
            "{}",
            d.failure()
        );
    }
    assert_eq!(chosen(&[]).failure().message(), "the node `a`: its branch chose nothing");
    assert_eq!(chosen(&["b"]).open(), ["b#0"]);
}

#[test]
fn a_choice_where_there_is_none_is_an_error() {
    let a = NodeDefinition { next: branch("pick", &["b"]), ..node("a", &[]) };
    let mut d = Driven::start(graph(vec![a.clone(), node("b", &[])], &[]), none());
    d.chooses("a#0", &["b"]);
    assert_eq!(d.failure().message(), "the node `a`: it chose `b`, but no branch of its own follows it");
    let mut d = Driven::start(graph(vec![a, node("b", &[])], &[]), none());
    d.pass(&["a#0"]);
    d.gives("a#0?", json!("b"));
    assert_eq!(d.open(), ["b#0"], "the function of a branch may give a name alone");
}

#[test]
fn items_of_several_senders_come_in_the_order_of_the_definition() {
    let sender = |name: &str| NodeDefinition { sends: vec!["work".into()], ..node(name, &[]) };
    let nodes = vec![works("s", NodeWork::Pass, &["a", "b"]), sender("a"), sender("b"), node("work", &[])];
    for order in [["a", "b"], ["b", "a"]] {
        let mut d = Driven::start(graph(nodes.clone(), &[]), none());
        for name in order {
            let send = [1, 2].map(|n| Sent { to: "work".into(), item: json!([name, n]).into() }).into();
            d.done(&format!("{name}#0"), Ok(Output::Node(NodeOutput { send, ..NodeOutput::default() })));
        }
        let items: Vec<_> = (0..4).map(|item| d.item(&format!("work#0[{item}]"))).collect();
        assert_eq!(json!(items), json!([["a", 1], ["a", 2], ["b", 1], ["b", 2]]));
    }
}

#[test]
fn items_may_be_sent_to_declared_nodes_only() {
    let sent = |to: &str| {
        let plan = NodeDefinition { sends: vec!["work".into()], ..node("plan", &["end_here"]) };
        let mut d =
            Driven::start(graph(vec![plan, node("work", &["end_here"]), node("end_here", &[])], &[]), none());
        let send = [1, 2].map(|n| Sent { to: to.into(), item: json!(n).into() }).into();
        d.done("plan#0", Ok(Output::Node(NodeOutput { send, ..NodeOutput::default() })));
        d
    };
    assert_eq!(sent("end_here").failure().kind(), ErrorKind::UnknownEdge);
    let mut d = sent("work");
    assert_eq!(d.open(), ["work#0[0]", "work#0[1]"]);
    assert_eq!((d.item("work#0[0]"), d.item("work#0[1]")), (json!(1), json!(2)));
    d.pass(&["work#0[1]", "work#0[0]"]);
    assert_eq!(d.open(), ["end_here#0"], "the plain edge and what was sent meet");
}

#[test]
fn what_is_wrong_with_a_graph_is_said_before_anything_runs() {
    let faults = [
        (vec![node("a", &["b"])], "the node `a` leads to `b`, which is no node"),
        (vec![node("plan", &["pln"]), node("b", &[])], "did you mean `plan`?"),
        (vec![node("a", &[]), node("a", &[])], "two nodes are called `a`"),
        (vec![node("a", &[]), node("b", &[])], "nothing leads to the node `b`"),
        (vec![], "has no start"),
        (vec![node("end", &[])], "stands for the end of a path"),
        (vec![node("a#b", &[])], "letters, digits"),
        (vec![works("w", NodeWork::Wait { ms: None }, &[])], "waits for no time"),
        (vec![works("q", NodeWork::Ask { form: None, expire_ms: None }, &[])], "asks nothing"),
        (
            vec![NodeDefinition {
                input: Source::Template("{{ x }}".into()),
                ..works("q", NodeWork::Ask { form: None, expire_ms: None }, &[])
            }],
            "takes no template",
        ),
    ];
    for (nodes, fault) in faults {
        let graph = graph(nodes, &[]);
        let said = graph.check().unwrap_err();
        assert!(said.contains(fault), "{said}");
        let d = Driven::start(graph, none());
        assert_eq!(d.failure().kind(), ErrorKind::ConfigInvalid);
        assert!(d.failure().message().contains(fault), "{}", d.failure());
        assert_eq!(d.records.len(), 2);
    }
    assert_eq!(graph(vec![node("a", &["a"])], &[]).check(), Ok(()));
    let lost =
        GraphDefinition { start: vec!["b".into()], ..graph(vec![node("a", &["b"]), node("b", &[])], &[]) };
    assert_eq!(lost.check().unwrap_err(), "nothing leads to the node `a`; add an edge to it or take it out");
}
