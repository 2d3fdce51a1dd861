//! Graphs from their public door.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::graph::{NodeCall, NodeOutput, Reducer, Source};
use ambidex_core::{Context, Error};
use ambidex_engine::{Agent, Graph};
use serde_json::{Value, json};

use crate::support::Planned;

/// A node that puts a value into a field.
fn puts(field: &'static str, value: Value) -> impl ambidex_engine::NodeFunction {
    move |_: NodeCall, _: Context| {
        let update = json!({ field: value });
        async move { Ok::<_, Error>(update) }
    }
}

#[tokio::test]
async fn a_chain_runs_in_order() {
    let add = |_: &str| {
        |call: NodeCall, _: Context| async move {
            let n = call.state()["n"].as_i64().unwrap_or(0);
            Ok::<_, Error>(json!({"n": n + 1}))
        }
    };
    let graph = Graph::builder("chain")
        .node("a", add("a"))
        .node("b", add("b"))
        .node("c", add("c"))
        .edge("a", "b")
        .edge("b", "c")
        .output("n")
        .build()
        .unwrap();
    let result = graph.run(json!({"n": 1})).await.unwrap();
    assert_eq!(result.output, Some(json!(4)));
    assert_eq!(result.iterations_used, 3);
}

#[tokio::test]
async fn a_join_runs_once() {
    let joined = Arc::new(AtomicUsize::new(0));
    let join = {
        let joined = joined.clone();
        move |call: NodeCall, _: Context| {
            joined.fetch_add(1, SeqCst);
            let seen = call.state().keys().cloned().collect::<Vec<_>>();
            async move { Ok::<_, Error>(json!({"seen": seen})) }
        }
    };
    let graph = Graph::builder("diamond")
        .node("a", puts("a", json!(1)))
        .node("b", puts("b", json!(2)))
        .node("c", puts("c", json!(3)))
        .node("d", join)
        .edge("a", "b")
        .edge("a", "c")
        .edge("b", "d")
        .edge("c", "d")
        .build()
        .unwrap();
    let result = graph.run(json!({})).await.unwrap();
    assert_eq!(result.output, Some(json!({"a": 1, "b": 2, "c": 3, "seen": ["a", "b", "c"]})));
    assert_eq!(joined.load(SeqCst), 1);
}

#[tokio::test]
async fn a_fan_out_of_a_thousand() {
    let graph = Graph::builder("fan")
        .node("list", |_: NodeCall, _: Context| async {
            Ok::<_, Error>(json!({"list": (0..1000).collect::<Vec<_>>()}))
        })
        .node("each", |call: NodeCall, _: Context| async move {
            tokio::task::yield_now().await;
            Ok::<_, Error>(json!(call.item().and_then(Value::as_u64).unwrap_or(0) * 2))
        })
        .edge("list", "each")
        .with("each", |node| {
            node.each = Some("list".into());
            node.output = Some("doubled".into());
        })
        .with_definition(|graph| graph.concurrency = 100)
        .build()
        .unwrap();
    let result = graph.run(json!({})).await.unwrap();
    let doubled: Vec<_> = (0..1000).map(|n| n * 2).collect();
    assert_eq!(result.output.unwrap()["doubled"], json!(doubled));
}

#[tokio::test]
async fn a_cycle_of_a_thousand_steps() {
    let graph = Graph::builder("cycle")
        .node("add", |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"n": 1})) })
        .reducer("n", Reducer::Add)
        .branch("add", ["add", "end"], |call: NodeCall, _: Context| async move {
            let next = if call.state()["n"].as_i64() < Some(1000) { "add" } else { "end" };
            Ok::<_, Error>(NodeOutput::go([next]))
        })
        .build()
        .unwrap();
    let result = graph.run(json!({})).await.unwrap();
    assert_eq!(result.output, Some(json!({"n": 1000})));
}

#[tokio::test]
async fn an_agent_is_a_node() {
    let agent = Agent::builder().model(Planned::new(vec![])).build().unwrap();
    let graph = Graph::builder("research")
        .node("topic", puts("topic", json!("bees")))
        .agent_node("write", agent, Source::Field("topic".into()))
        .edge("topic", "write")
        .output("write")
        .build()
        .unwrap();
    let result = graph.run(json!({})).await.unwrap();
    assert_eq!(result.text, "User bees");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let error =
        Graph::builder("broken").node("a", puts("a", json!(1))).edge("a", "bb").build().err().unwrap();
    assert_eq!(error.code(), "config_invalid");
    assert!(error.message().contains("`bb`"), "{error}");
}

/// Layers of nodes that add to the same fields, with items, a choice and a cycle among them.
fn layers(seed: u64) -> Graph {
    let node = move |name: String| {
        move |call: NodeCall, context: Context| {
            let mut hash = std::hash::DefaultHasher::new();
            (seed, context.effect()).hash(&mut hash);
            let delay = Duration::from_millis(hash.finish() % 50);
            let item = call.item().map_or_else(String::new, Value::to_string);
            let name = name.clone();
            async move {
                tokio::time::sleep(delay).await;
                let said = format!("{name}{item}");
                Ok::<_, Error>(json!({"order": [said], "count": 1, "seen": {name: item}, "list": [1, 2, 3]}))
            }
        }
    };
    let mut builder = Graph::builder("layers").node("start", node("start".into()));
    for branch in ["a", "b", "c", "d"] {
        let (first, second) = (format!("{branch}1"), format!("{branch}2"));
        builder = builder
            .node(first.clone(), node(first.clone()))
            .node(second.clone(), node(second.clone()))
            .edge("start", first.clone())
            .edge(&first, second.clone());
        if branch == "b" {
            builder = builder.with(&second, |node| node.each = Some("list".into()));
        }
        builder = match branch {
            "c" => builder.branch(&second, ["c1", "join"], |call: NodeCall, _: Context| async move {
                let again = call.get("count").and_then(Value::as_i64) < Some(7);
                Ok::<_, Error>(NodeOutput::go([if again { "c1" } else { "join" }]))
            }),
            _ => builder.edge(&second, "join"),
        };
    }
    builder
        .node("join", node("join".into()))
        .reducer("order", Reducer::Extend)
        .reducer("count", Reducer::Add)
        .reducer("seen", Reducer::Merge)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_result_is_the_same_in_whichever_order_its_work_ends() {
    let expected = layers(0).run(json!({})).await.unwrap().output.unwrap();
    assert_eq!(expected["order"].as_array().unwrap().len(), 16, "{expected}");
    for seed in 1..50 {
        let output = layers(seed).run(json!({})).await.unwrap().output.unwrap();
        assert_eq!(output.to_string(), expected.to_string(), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_of_runs_ends() {
    let agent = Agent::builder().model(Planned::new(vec![])).build().unwrap();
    let graph = Graph::builder("many")
        .agent_node("write", agent, Source::State)
        .with("write", |node| node.each = Some("topics".into()))
        .with_definition(|graph| graph.concurrency = 50)
        .output("write")
        .build()
        .unwrap();
    let topics: Vec<_> = (0..200).map(|n| format!("topic {n}")).collect();
    let result = graph.run(json!({"topics": topics})).await.unwrap();
    let texts: Vec<_> = topics.iter().map(|topic| format!("User {topic}")).collect();
    assert_eq!(result.output, Some(json!(texts)));
    assert_eq!(graph.engine().active_runs(), 0);
}
