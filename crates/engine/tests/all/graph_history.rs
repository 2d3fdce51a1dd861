//! Looking back, changing the state, and going on from an earlier point.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ambidex_core::budget::Grant;
use ambidex_core::event::{EventKind, Status};
use ambidex_core::graph::{NodeCall, NodeDefinition, NodeWork, Source, State};
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError};
use ambidex_core::record::Input;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error};
use ambidex_engine::{Agent, Engine, Graph, OnWaiting, RunOptions};
use serde_json::{Value, json};

use crate::support::Planned;

fn adds(by: i64, called: &Arc<AtomicUsize>) -> impl ambidex_engine::NodeFunction + use<> {
    let called = called.clone();
    move |call: NodeCall, _: Context| {
        called.fetch_add(1, SeqCst);
        let n = call.get("n").and_then(Value::as_i64).unwrap_or(0);
        async move { Ok::<_, Error>(json!({"n": n + by})) }
    }
}

fn chain(engine: &Engine, called: &Arc<AtomicUsize>) -> Graph {
    Graph::builder("chain")
        .engine(engine)
        .node("one", adds(1, called))
        .node("ten", adds(10, called))
        .node("hundred", adds(100, called))
        .edge("one", "ten")
        .edge("ten", "hundred")
        .output("n")
        .build()
        .unwrap()
}

fn named(run: &str) -> RunOptions {
    RunOptions { id: Some(run.into()), ..RunOptions::default() }
}

fn state(value: Value) -> State {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn a_run_is_looked_at_and_forked_at_each_checkpoint() {
    for engine in [Engine::default(), Engine::builder().durable_store(Arc::new(MemoryStore::new())).build()] {
        let called = Arc::new(AtomicUsize::new(0));
        let graph = chain(&engine, &called);
        assert_eq!(graph.run_with(json!({"n": 0}), named("r")).await.unwrap().output, Some(json!(111)));
        let points = engine.checkpoints("r").await.unwrap();
        let effects: Vec<_> =
            points.iter().map(|point| point.effect.as_ref().map_or("", |effect| effect.as_str())).collect();
        assert_eq!(effects, ["", "one#0", "ten#0", "hundred#0", ""]);
        let mut seen = vec![];
        for point in &points {
            seen.push(engine.run_at("r", Some(point.seq)).await.unwrap().state().unwrap()["n"].clone());
        }
        assert_eq!(seen, [json!(0), json!(1), json!(11), json!(111), json!(111)]);

        called.store(0, SeqCst);
        let change = Some(state(json!({"n": 1_000})));
        let fork = graph.fork("r", points[2].seq, change, named("f")).await.unwrap();
        assert_eq!(fork.outcome().await.unwrap().output, Some(json!(1_100)));
        assert_eq!(called.load(SeqCst), 1, "what was done is not done again");
        // The other is what it was.
        assert_eq!(engine.run_at("r", None).await.unwrap().state().unwrap()["n"], json!(111));
        let error = graph.fork("r", points[4].seq, None, named("g")).await.err().unwrap();
        assert_eq!(error.code(), "invalid_request");
        let error = graph.fork("r", 99, None, named("g")).await.err().unwrap();
        assert!(error.message().contains("none is number 99"), "{error}");
    }
}

#[tokio::test]
async fn the_state_of_a_paused_run_is_changed() {
    let called = Arc::new(AtomicUsize::new(0));
    let graph = Graph::builder("careful")
        .node("one", adds(1, &called))
        .node("ten", adds(10, &called))
        .edge("one", "ten")
        .with("ten", |node| node.pause_before = true)
        .build()
        .unwrap();
    graph.run_with(json!({}), named("r")).await.unwrap();
    let inputs = vec![Input::Resume(Grant::default())];
    let patched = graph.patch("r", state(json!({"n": 5})), inputs, RunOptions::default()).await.unwrap();
    assert_eq!(patched.outcome().await.unwrap().output, Some(json!({"n": 15})));
}

#[tokio::test]
async fn an_agents_run_is_forked_with_another_message() {
    let agent = Agent::builder().model(Planned::new(vec![])).build().unwrap();
    agent.run_with("one", named("r")).await.unwrap();
    let points = agent.engine().checkpoints("r").await.unwrap();
    let message = ambidex_core::Message::user("two");
    let fork = agent.fork("r", points[0].seq, Some(message), named("f")).await.unwrap();
    assert_eq!(fork.outcome().await.unwrap().text, "User one | User two");
}

#[tokio::test]
async fn watchers_hear_of_checkpoints() {
    let called = Arc::new(AtomicUsize::new(0));
    let engine = Engine::default();
    let mut handle = chain(&engine, &called).start(json!({}), named("r")).unwrap();
    let mut events = handle.take_events();
    let mut saved = vec![];
    while let Some(event) = events.next().await {
        if let EventKind::CheckpointSaved { seq } = event.kind {
            saved.push(seq);
        }
    }
    handle.outcome().await.unwrap();
    let points = engine.checkpoints("r").await.unwrap();
    assert_eq!(saved, [points[1].seq, points[2].seq]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_kind_leaves_the_question_open() {
    let form = Some(json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}));
    let ask = NodeWork::Ask { form, expire_ms: None };
    let graph = Graph::builder("asks")
        .add(NodeDefinition { input: Source::Value(json!("How many?")), ..NodeDefinition::new("ask", ask) })
        .output("ask")
        .build()
        .unwrap();
    let options = || RunOptions { on_waiting: OnWaiting::Return, ..named("r") };
    let waiting = graph.run_with(json!({}), options()).await.unwrap();
    assert_eq!(waiting.status, Status::Waiting);
    let question = &waiting.questions[0].id;
    for wrong in [Answer::Answer { answer: json!({"n": "three"}) }, Answer::Approve] {
        let refused = graph.engine().answer(question, wrong).await.unwrap_err();
        assert!(matches!(&refused, AnswerError::Invalid(why) if why.contains("form")), "{refused}");
    }
    graph.engine().answer(question, Answer::Answer { answer: json!({"n": 3}) }).await.unwrap();
    let ended = graph.resume("r", vec![], RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"n": 3})));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_not_changed_by_an_answer() {
    let graph = Graph::builder("once")
        .node("pay", |_: NodeCall, _: Context| std::future::pending::<Result<Value, Error>>())
        .with("pay", |node| {
            node.effect = EffectClass::Once;
            node.timeout_ms = Some(1_000);
        })
        .build()
        .unwrap();
    let options = RunOptions { on_waiting: OnWaiting::Return, ..named("r") };
    let waiting = graph.run_with(json!({}), options).await.unwrap();
    let question = &waiting.questions[0].id;
    let edit = Answer::Edit { args: json!({}) };
    assert!(matches!(graph.engine().answer(question, edit).await, Err(AnswerError::Invalid(_))));
}

#[tokio::test]
async fn approval_of_what_calls_nothing_is_refused() {
    let built = Graph::builder("odd")
        .wait("wait", std::time::Duration::from_secs(1))
        .with("wait", |node| node.approval = ambidex_core::definition::Approval::Ask)
        .build();
    let error = built.err().unwrap();
    assert!(error.message().contains("nothing that could be approved"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_fork_asks_what_is_open_there_and_nothing_that_was_answered() {
    let asks = |name: &'static str| {
        let work = NodeWork::Ask { form: None, expire_ms: None };
        NodeDefinition { input: Source::Value(json!("Well?")), ..NodeDefinition::new(name, work) }
    };
    let graph = Graph::builder("asks").add(asks("one")).add(asks("two")).edge("one", "two").build().unwrap();
    let engine = graph.engine();
    let options = |run: &str| RunOptions { on_waiting: OnWaiting::Return, ..named(run) };
    let waiting = graph.run_with(json!({}), options("r")).await.unwrap();
    engine.answer(&waiting.questions[0].id, Answer::Answer { answer: json!(1) }).await.unwrap();
    let handle = graph.resume("r", vec![], options("r")).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().questions[0].id, "r/human:two#0");
    let last = engine.run_at("r", None).await.unwrap().next_seq() - 1;
    let forked = graph.fork("r", last, None, options("f")).await.unwrap().outcome().await.unwrap();
    assert_eq!(forked.status, Status::Waiting);
    let open: Vec<_> = engine.questions().open(Some("f")).await.unwrap().into_iter().map(|q| q.id).collect();
    assert_eq!(open, ["f/human:two#0"]);
    engine.answer("f/human:two#0", Answer::Answer { answer: json!(2) }).await.unwrap();
    let ended = graph.resume("f", vec![], RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"one": 1, "two": 2})));
}
