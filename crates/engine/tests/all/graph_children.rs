//! Runs of nodes: found again, waited for, paused, cancelled and never dropped.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::event::Status;
use ambidex_core::graph::{NodeCall, Source};
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, Questions};
use ambidex_core::record::{Input, Pause};
use ambidex_core::store::{Lease, RunIndex, RunQuery, RunSummary, Store};
use ambidex_core::{Context, Error};
use ambidex_engine::{Agent, Clock, Engine, Graph, NodeFunction, OnWaiting, RunOptions};
use ambidex_fake_provider::{FakeProvider, Script, Turn, Wire};
use serde_json::{Value, json};

use crate::cancel::{client, model};
use crate::support::{Planned, call};

fn puts(field: &'static str, value: Value) -> impl NodeFunction {
    move |_: NodeCall, _: Context| {
        let update = json!({ field: value });
        async move { Ok::<_, Error>(update) }
    }
}

fn named(run: &str, on_waiting: OnWaiting) -> RunOptions {
    RunOptions { id: Some(run.into()), on_waiting, ..RunOptions::default() }
}

async fn row(store: &MemoryStore, run: &str) -> RunSummary {
    let query = RunQuery { run: Some(run.to_owned()), ..RunQuery::default() };
    store.runs(query).await.unwrap().runs.remove(0)
}

/// Asks a person in a graph in a graph.
fn asking(engine: &Engine) -> Graph {
    let inner = Graph::builder("inner")
        .engine(engine)
        .ask("colour", Source::Value(json!("Which colour?")))
        .output("colour")
        .build()
        .unwrap();
    let middle = Graph::builder("middle")
        .engine(engine)
        .graph_node("inner", inner, Source::State)
        .output("inner")
        .build()
        .unwrap();
    Graph::builder("outer")
        .engine(engine)
        .graph_node("middle", middle, Source::State)
        .node("done", puts("done", json!(true)))
        .edge("middle", "done")
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_childs_person_waits_too_and_goes_on_with_his_answer() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let graph = asking(&engine);
    let waiting = graph.run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    assert_eq!(waiting.status, Status::Waiting);
    let [question] = waiting.questions.as_slice() else { panic!("{:?}", waiting.questions) };
    assert_eq!(question.run, "r/middle#0/inner#0");
    assert_eq!(row(&store, "r/middle#0").await.status, Status::Waiting);
    engine.answer(&question.id, Answer::Answer { answer: json!("blue") }).await.unwrap();
    let ended = graph.resume("r", vec![], RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"middle": "blue", "done": true})));
    for run in ["r", "r/middle#0", "r/middle#0/inner#0"] {
        assert_eq!(row(&store, run).await.status, Status::Succeeded, "{run}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_stays_hears_of_the_answer_itself() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let handle = asking(&engine).start_unwatched(json!({}), named("r", OnWaiting::Stay)).unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(row(&store, "r").await.status, Status::Waiting);
    let question = store.open(None).await.unwrap().remove(0);
    engine.answer(&question.id, Answer::Answer { answer: json!("red") }).await.unwrap();
    let ended = handle.outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"middle": "red", "done": true})));
    // An hour of a person is none of the run's.
    assert!(ended.execution_time < 1.0, "{}", ended.execution_time);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_drives_the_root_of_a_child_that_was_answered() {
    let store = MemoryStore::new();
    let clock = Clock::system();
    let engine = || Engine::builder().durable_store(Arc::new(store.clone())).clock(clock).build();
    let first = engine();
    let waiting = asking(&first).run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    assert_eq!(waiting.status, Status::Waiting);
    drop(first);
    let second = engine();
    let graph = asking(&second);
    let swept = second.recover_once(move |_| Some(graph.clone().into())).await.unwrap();
    assert!(swept.taken.is_empty(), "nothing can go on: {swept:?}");
    second.answer(&waiting.questions[0].id, Answer::Answer { answer: json!("green") }).await.unwrap();
    let graph = asking(&second);
    let swept = second.recover_once(move |of| (of.name() == "outer").then(|| graph.clone().into())).await;
    assert_eq!(swept.unwrap().left, vec![]);
    second.idle().await;
    assert_eq!(row(&store, "r").await.status, Status::Succeeded);
    assert!(store.claimable(u64::MAX, 10).await.unwrap().runs.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_resting_child_is_resumed_to_be_cancelled() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let graph = asking(&engine);
    graph.run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    let handle = graph.resume("r", vec![Input::Cancel], RunOptions::default()).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap_err().error.code(), "cancelled");
    for run in ["r", "r/middle#0", "r/middle#0/inner#0"] {
        assert_eq!(row(&store, run).await.status, Status::Cancelled, "{run}");
    }
    assert!(store.open(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cancel_reaches_the_model_of_a_child_and_waits_for_it() {
    let provider = FakeProvider::start(Script::new([Turn::text("a".repeat(3_000))
        .chunks(1)
        .pace(Duration::from_millis(20))]))
    .await
    .unwrap();
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let agent = Agent::builder().model(model(&provider, Wire::OpenAi, &client())).build().unwrap();
    let inner =
        Graph::builder("inner").agent_node("write", agent, Source::Field("topic".into())).build().unwrap();
    let graph =
        Graph::builder("outer").engine(&engine).graph_node("inner", inner, Source::State).build().unwrap();
    let handle = graph.start_unwatched(json!({"topic": "bees"}), named("r", OnWaiting::Stay)).unwrap();
    while provider.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().error.code(), "cancelled");
    assert_eq!(row(&store, "r/inner#0/write#0").await.status, Status::Cancelled);
    tokio::time::timeout(Duration::from_secs(10), provider.wait_until_idle()).await.expect("it hung up");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_paused_pauses_its_parent_and_goes_on_with_it() {
    let inner = Graph::builder("inner")
        .node("a", puts("a", json!(1)))
        .node("b", puts("b", json!(2)))
        .edge("a", "b")
        .with("b", |node| node.pause_before = true)
        .build()
        .unwrap();
    let engine = Engine::default();
    let graph =
        Graph::builder("outer").engine(&engine).graph_node("inner", inner, Source::State).build().unwrap();
    let paused = graph.run_with(json!({}), named("r", OnWaiting::Stay)).await.unwrap();
    assert_eq!((paused.status, paused.pause), (Status::Paused, Some(Pause::Operator)));
    let resume = || graph.resume("r", vec![Input::Resume(Grant::default())], RunOptions::default());
    let ended = resume().await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"inner": {"a": 1, "b": 2}})));
}

#[tokio::test(start_paused = true)]
async fn a_budget_passes_down() {
    let agent = Agent::builder()
        .model(Planned::new(vec![vec![call("none", json!({}))], vec![call("none", json!({}))]]))
        .build()
        .unwrap();
    let graph = Graph::builder("frugal")
        .agent_node("ask", agent, Source::Value(json!("go")))
        .with_definition(|graph| graph.budget = Budget { tokens: Some(15), ..Budget::default() })
        .build()
        .unwrap();
    let paused = graph.run_with(json!({}), named("r", OnWaiting::Stay)).await.unwrap();
    assert_eq!(paused.status, Status::Paused);
    let more = Grant { budget: Budget { tokens: Some(100), ..Budget::default() }, ..Grant::default() };
    let handle = graph.resume("r", vec![Input::Resume(more)], RunOptions::default()).await.unwrap();
    let ended = handle.outcome().await.unwrap();
    assert_eq!((ended.status, ended.usage.total_tokens()), (Status::Succeeded, 22));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_node_ends_its_run() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let slow = Graph::builder("slow").wait("wait", Duration::from_secs(3600)).build().unwrap();
    let graph = Graph::builder("outer")
        .engine(&engine)
        .graph_node("slow", slow, Source::State)
        .with("slow", |node| node.timeout_ms = Some(1_000))
        .build()
        .unwrap();
    let error = graph.run_with(json!({}), named("r", OnWaiting::Stay)).await.unwrap_err();
    assert_eq!(error.error.code(), "timeout");
    assert!(error.error.message().contains("`slow`"), "{error}");
    assert_eq!(row(&store, "r/slow#0").await.status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn graphs_in_graphs_have_an_end() {
    let mut graph = Graph::builder("ground").node("a", puts("a", json!(1))).build().unwrap();
    for _ in 0..20 {
        graph = Graph::builder("above").graph_node("below", graph, Source::State).build().unwrap();
    }
    let error = graph.run(json!({})).await.unwrap_err();
    assert_eq!(error.error.code(), "invalid_request");
    assert!(error.error.message().contains("16 deep"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_was_taken_away_stops_its_parents_driver_and_is_no_result() {
    let store = MemoryStore::new();
    let clock = Clock::system();
    let engine = || Engine::builder().durable_store(Arc::new(store.clone())).clock(clock).build();
    let graph = |engine: &Engine| {
        let slow = Graph::builder("slow").wait("wait", Duration::from_secs(600)).build().unwrap();
        Graph::builder("outer").engine(engine).graph_node("slow", slow, Source::State).build().unwrap()
    };
    let handle = graph(&engine()).start_unwatched(json!({}), named("r", OnWaiting::Stay)).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = clock.now() + 3_600_000;
    let thief = Lease { owner: "thief".into(), until: later };
    let epoch = store.claim("r/slow#0", thief, later).await.unwrap();
    let error = handle.outcome().await.unwrap_err();
    assert_eq!(error.error.code(), "store_failed");
    assert_eq!(row(&store, "r").await.status, Status::Running);
    store.release("r/slow#0", epoch).await.unwrap();
    let second = graph(&engine());
    let ended = second.resume("r", vec![], RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn who_ends_a_stored_run_ends_those_of_its_nodes() {
    let store = MemoryStore::new();
    let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
    asking(&engine).run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    assert!(engine.cancel_run("r").await.unwrap());
    for run in ["r", "r/middle#0", "r/middle#0/inner#0"] {
        assert_eq!(row(&store, run).await.status, Status::Cancelled, "{run}");
    }
    assert!(store.open(None).await.unwrap().is_empty());
}
