//! Graphs whose process ends at any commit.

use std::sync::Arc;

use ambidex_core::definition::Definition;
use ambidex_core::event::Status;
use ambidex_core::graph::{NodeCall, Source};
use ambidex_core::question::{Answer, Questions, Why};
use ambidex_core::store::{AnyStore, RunIndex, RunQuery, Store};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, Error};
use ambidex_engine::{Agent, Engine, Graph, OnWaiting, RunOptions, Runnable};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use ambidex_tools::FunctionTool;
use serde_json::{Value, json};

use crate::breaking::{Begun, Breaking};
use crate::support::{Planned, call};

/// Works on a list, has an agent call a tool, asks a person in a graph of its own, and waits, all beside each other.
fn graph(engine: &Engine, begun: &Begun) -> Graph {
    let counted = begun.clone();
    let work = move |call: NodeCall, context: Context| {
        counted.count(&context);
        let n = call.item().and_then(Value::as_i64).unwrap_or(0);
        async move { Ok::<_, Error>(json!(n * 10)) }
    };
    let counted = begun.clone();
    let once = move |_: NodeCall, context: Context| {
        counted.count(&context);
        async move { Ok::<_, Error>(json!({"paid": true})) }
    };
    let counted = begun.clone();
    let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("look", "Looks.") };
    let tool = FunctionTool::dynamic(spec, move |_, context: Context| {
        counted.count(&context);
        async move { Ok("seen".into()) }
    });
    let agent = Agent::builder()
        .model(Planned::new(vec![vec![call("look", json!({}))]]))
        .tool(tool.effect(EffectClass::Idempotent))
        .build()
        .unwrap();
    let asks = Graph::builder("asks").ask("go", Source::Value(json!("Go?"))).output("go").build().unwrap();
    Graph::builder("all")
        .engine(engine)
        .node("list", |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"list": [1, 2, 3]})) })
        .node("work", work)
        .agent_node("agent", agent, Source::Value(json!("look")))
        .graph_node("asks", asks, Source::State)
        .wait("wait", std::time::Duration::from_millis(2))
        .node("pay", once)
        .edge("list", "work")
        .edge("list", "agent")
        .edge("list", "asks")
        .edge("list", "wait")
        .edge("work", "pay")
        .edge("agent", "pay")
        .edge("asks", "pay")
        .edge("wait", "pay")
        .with("work", |node| {
            node.each = Some("list".into());
            node.effect = EffectClass::Idempotent;
        })
        .with("list", |node| node.effect = EffectClass::Read)
        .with("pay", |node| node.effect = EffectClass::Once)
        .build()
        .unwrap()
}

fn options() -> RunOptions {
    RunOptions { id: Some("r".into()), on_waiting: OnWaiting::Return, ..RunOptions::default() }
}

async fn status(store: &SqliteStore) -> Option<Status> {
    let query = RunQuery { run: Some("r".into()), ..RunQuery::default() };
    store.runs(query).await.unwrap().runs.first().map(|row| row.status)
}

/// One process: goes on with what there is, until the store breaks or nothing more can be done without a person.
async fn live(store: &SqliteStore, through: Arc<dyn AnyStore>, begun: &Begun) {
    let engine = Engine::builder().durable_store(through).build();
    let graph = graph(&engine, begun);
    if status(store).await.is_none() {
        drop(graph.run_with(json!({}), options()).await);
    } else {
        let found = move |definition: &Definition| {
            (definition.name() == "all").then(|| Runnable::from(graph.clone()))
        };
        drop(engine.recover_once(found).await);
    }
    engine.idle().await;
    // Also where the driver cannot tell whether its first commit was stored.
    for row in store.runs(RunQuery::default()).await.unwrap().runs {
        assert_eq!(row.lease, None, "{}", row.id);
    }
}

async fn answer_all(store: &SqliteStore) {
    for question in store.open(None).await.unwrap() {
        let answer = match question.why {
            Why::InDoubt => Answer::Answer { answer: json!({"paid": true}) },
            _ => Answer::Answer { answer: json!("yes") },
        };
        store.answer(&question.id, answer).await.unwrap();
    }
}

#[tokio::test]
async fn it_ends_the_same_whichever_commit_was_the_last_of_its_process() {
    let mut ends = 0;
    for commits in 0.. {
        let mut broke = false;
        for writes_the_last in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let file = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
            let store = SqliteStore::open(folder.path().join("state.db"), file).await.unwrap();
            let (begun, all) = (Begun::default(), Arc::new(store.clone()));
            let first = Breaking::after(all.clone(), commits, writes_the_last);
            live(&store, first.clone(), &begun).await;
            broke |= first.broke();
            // Killed again while it recovers.
            live(&store, Breaking::after(all.clone(), commits % 7, writes_the_last), &begun).await;
            for _ in 0..10 {
                answer_all(&store).await;
                live(&store, all.clone(), &begun).await;
                if status(&store).await.is_some_and(Status::is_final) {
                    break;
                }
            }
            let place = format!("after {commits} commits, the last written: {writes_the_last}");
            let records = store.records("r", 0, 10_000).await.unwrap();
            let definition = store.load("r").await.unwrap().definition;
            let run = ambidex_core::Run::fold("r", definition, &records).unwrap();
            assert_eq!(run.status(), Status::Succeeded, "{place}: {:?}", run.phase());
            let state = run.state().unwrap();
            let expected = json!({
                "list": [1, 2, 3], "work": [10, 20, 30], "asks": "yes", "paid": true, "agent": state["agent"],
            });
            assert_eq!(Value::Object((*state).clone()), expected, "{place}");
            assert!(state["agent"].as_str().unwrap().contains("seen"), "{place}: {state:?}");
            let begun = begun.all();
            let keys: Vec<_> = begun.keys().map(String::as_str).collect();
            let look = "r/agent#0/t0.0";
            assert_eq!(keys, [look, "r/pay#0", "r/work#0[0]", "r/work#0[1]", "r/work#0[2]"], "{place}");
            assert_eq!(begun["r/pay#0"], 1, "{place}: what may happen once happened twice");
            assert_eq!(store.check().await.unwrap(), [""; 0], "{place}");
            store.close().await;
        }
        if !broke {
            ends = commits;
            break;
        }
    }
    assert!(ends > 8, "it broke only {ends} times");
}

/// A graph that was made differently meanwhile.
#[tokio::test]
async fn a_run_keeps_the_graph_it_began_with_and_says_what_it_misses() {
    let asks = |engine: &Engine| Graph::builder("g").engine(engine).ask("go", Source::Value(json!("Go?")));
    let puts = |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"then": "as it was"})) };
    let engine = Engine::default();
    let before = asks(&engine).node("then", puts).edge("go", "then").build().unwrap();
    let waiting = before.run_with(json!({}), options()).await.unwrap();
    engine.answer(&waiting.questions[0].id, Answer::Answer { answer: json!(1) }).await.unwrap();

    let without = asks(&engine).node("other", puts).edge("go", "other").build().unwrap();
    let error = without.resume("r", vec![], RunOptions::default()).await.err().unwrap();
    assert_eq!(error.code(), "config_invalid");
    assert!(error.message().contains("no function `then`"), "{error}");

    let after = asks(&engine).node("then", puts).node("more", puts).edge("go", "then").edge("then", "more");
    let resumed = after.build().unwrap().resume("r", vec![], RunOptions::default()).await.unwrap();
    let ended = resumed.outcome().await.unwrap();
    assert_eq!((ended.iterations_used, ended.output), (2, Some(json!({"go": 1, "then": "as it was"}))));
}
