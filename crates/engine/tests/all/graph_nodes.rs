//! What a node may do, and what becomes of it when that fails.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::budget::Grant;
use ambidex_core::event::{EventKind, Status};
use ambidex_core::graph::{
    NodeCall, NodeDefinition, NodeOutput, NodeWork, OnError, Reducer, Retry, Source, State,
};
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Pause};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind};
use ambidex_engine::{Clock, Engine, Graph, GraphBuilder, NodeFunction, OnWaiting, RunOptions, Templates};
use ambidex_tools::FunctionTool;
use serde_json::{Value, json};

fn puts(field: &'static str, value: Value) -> impl NodeFunction {
    move |_: NodeCall, _: Context| {
        let update = json!({ field: value });
        async move { Ok::<_, Error>(update) }
    }
}

fn named(run: &str, on_waiting: OnWaiting) -> RunOptions {
    RunOptions { id: Some(run.into()), on_waiting, ..RunOptions::default() }
}

/// Fails as often as it is told, then gives how often it was called.
fn fails(times: usize, called: &Arc<AtomicUsize>) -> impl NodeFunction + use<> {
    let called = called.clone();
    move |_: NodeCall, _: Context| {
        let before = called.fetch_add(1, SeqCst);
        async move {
            if before < times {
                return Err(Error::new(ErrorKind::ToolFailed, "hiccup").retryable(true));
            }
            Ok(json!({"calls": before + 1}))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_tried_again_after_a_wait() {
    let called = Arc::new(AtomicUsize::new(0));
    let graph = |attempts| {
        Graph::builder("flaky")
            .node("flaky", fails(2, &called))
            .with("flaky", move |node| {
                node.effect = EffectClass::Read;
                node.retry = Retry { attempts, base_ms: Some(60_000), cap_ms: None };
            })
            .build()
            .unwrap()
    };
    let error = graph(2).run(json!({})).await.unwrap_err();
    assert_eq!((error.error.code(), error.error.message()), ("tool_failed", "the node `flaky`: hiccup"));
    called.store(0, SeqCst);
    let result = graph(3).run(json!({})).await.unwrap();
    assert_eq!(result.output, Some(json!({"calls": 3})));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_repeated_is_not_tried_again() {
    let called = Arc::new(AtomicUsize::new(0));
    let graph = Graph::builder("once")
        .node("once", fails(1, &called))
        .with("once", |node| {
            node.effect = EffectClass::Once;
            node.retry = Retry { attempts: 5, ..Retry::default() };
        })
        .build()
        .unwrap();
    assert_eq!(graph.run(json!({})).await.unwrap_err().error.code(), "tool_failed");
    assert_eq!(called.load(SeqCst), 1);
}

fn stands_still() -> impl NodeFunction {
    |_: NodeCall, _: Context| std::future::pending::<Result<Value, Error>>()
}

#[tokio::test(start_paused = true)]
async fn the_time_of_one_attempt_is_over() {
    let slow = |effect| {
        Graph::builder("slow").node("slow", stands_still()).with("slow", move |node| {
            node.timeout_ms = Some(5_000);
            node.effect = effect;
        })
    };
    let error = slow(EffectClass::Read).build().unwrap().run(json!({})).await.unwrap_err();
    assert_eq!(
        (error.error.code(), error.error.message()),
        ("timeout", "the node `slow`: it ran longer than 5s")
    );
    // What may not be repeated is put before a person.
    let graph = slow(EffectClass::Once).build().unwrap();
    let waiting = graph.run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    assert_eq!(waiting.status, Status::Waiting);
    let answer = Answer::Answer { answer: json!({"done": "by hand"}) };
    graph.engine().answer(&waiting.questions[0].id, answer).await.unwrap();
    let ended = graph.resume("r", vec![], RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!(ended.output, Some(json!({"done": "by hand"})));
}

#[tokio::test(start_paused = true)]
async fn a_failure_goes_where_its_edge_says() {
    let broken = |_: NodeCall, _: Context| async {
        Err::<Value, _>(Error::new(ErrorKind::ToolFailed, "it is broken"))
    };
    let graph = Graph::builder("careful")
        .node("try", broken)
        .node("mend", puts("mended", json!(true)))
        .node("go on", puts("well", json!(true)))
        .edge("try", "go on")
        .with("try", |node| {
            node.on_error = OnError::Go("mend".into());
            node.error_field = Some("errors".into());
        })
        .build()
        .unwrap();
    let output = graph.run(json!({})).await.unwrap().output.unwrap();
    assert_eq!((&output["mended"], &output["well"]), (&json!(true), &Value::Null));
    assert_eq!(output["errors"][0]["message"], json!("it is broken"));
}

#[tokio::test]
async fn a_panic_fails_the_node_and_not_the_driver() {
    let panics = |_: NodeCall, _: Context| async {
        if true {
            panic!("out of the window");
        }
        Ok::<_, Error>(json!({}))
    };
    let graph = Graph::builder("panics")
        .node("a", panics)
        .node("b", puts("b", json!(1)))
        .edge("a", "b")
        .with("a", |node| node.on_error = OnError::Continue)
        .build()
        .unwrap();
    assert_eq!(graph.run(json!({})).await.unwrap().output, Some(json!({"b": 1})));
}

#[tokio::test(start_paused = true)]
async fn a_run_pauses_before_and_behind_a_node() {
    let graph = Graph::builder("careful")
        .node("a", puts("a", json!(1)))
        .node("b", puts("b", json!(2)))
        .node("c", puts("c", json!(3)))
        .edge("a", "b")
        .edge("b", "c")
        .with("b", |node| (node.pause_before, node.pause_after) = (true, true))
        .build()
        .unwrap();
    let paused = graph.run_with(json!({}), named("r", OnWaiting::Stay)).await.unwrap();
    assert_eq!((paused.status, paused.pause), (Status::Paused, Some(Pause::Node)));
    let resume = || async {
        let inputs = vec![Input::Resume(Grant::default())];
        graph.resume("r", inputs, RunOptions::default()).await.unwrap().outcome().await.unwrap()
    };
    assert_eq!(resume().await.pause, Some(Pause::Node));
    assert_eq!(resume().await.output, Some(json!({"a": 1, "b": 2, "c": 3})));
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_or_expires() {
    let graph = |engine: &Engine| {
        let work = NodeWork::Ask { form: None, expire_ms: Some(60_000) };
        let ask = NodeDefinition { input: Source::Value(json!("Go?")), ..NodeDefinition::new("go", work) };
        Graph::builder("asks").engine(engine).add(ask).output("go").build().unwrap()
    };
    let engine = Engine::default();
    let waiting = graph(&engine).run_with(json!({}), named("r", OnWaiting::Return)).await.unwrap();
    assert_eq!(waiting.questions[0].args, json!({"question": "Go?"}));
    engine.answer(&waiting.questions[0].id, Answer::Answer { answer: json!("yes") }).await.unwrap();
    let resumed = graph(&engine).resume("r", vec![], RunOptions::default()).await.unwrap();
    assert_eq!(resumed.outcome().await.unwrap().output, Some(json!("yes")));

    let error = graph(&engine).run(json!({})).await.unwrap_err();
    assert_eq!(error.error.code(), "timeout");
    assert!(error.error.message().starts_with("the node `go`: nobody answered until 20"), "{error}");
    assert!(engine.questions().open(None).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn time_passes() {
    let graph = Graph::builder("patient")
        .wait("wait", Duration::from_secs(3 * 3600))
        .node("done", puts("done", json!(true)))
        .edge("wait", "done")
        .build()
        .unwrap();
    let begun = tokio::time::Instant::now();
    let ended = graph.run(json!({})).await.unwrap();
    assert_eq!(ended.output, Some(json!({"done": true})));
    assert_eq!(begun.elapsed().as_secs(), 3 * 3600);
    assert!(ended.execution_time < 1.0, "{}", ended.execution_time);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_outlives_its_process() {
    let store = Arc::new(ambidex_core::memory::MemoryStore::new());
    let clock = Clock::system();
    let engine = || Engine::builder().durable_store(store.clone()).clock(clock).build();
    let graph = |engine: &Engine| {
        Graph::builder("patient")
            .engine(engine)
            .wait("wait", Duration::from_secs(3600))
            .node("done", puts("done", json!(true)))
            .edge("wait", "done")
            .build()
            .unwrap()
    };
    let waiting = graph(&engine()).run_with(json!({}), named("r", OnWaiting::Rest)).await.unwrap();
    assert_eq!((waiting.status, waiting.output), (Status::Waiting, None));
    let second = engine();
    let found = graph(&second);
    let recovery = second.recover(move |_| Some(found.clone().into())).unwrap();
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_eq!(second.active_runs(), 0);
    tokio::time::sleep(Duration::from_secs(101)).await;
    drop(recovery);
    let stored = ambidex_core::store::Store::load(&*store, "r").await.unwrap();
    let run = ambidex_core::Run::fold("r", stored.definition, &stored.records).unwrap();
    assert_eq!(run.status(), Status::Succeeded);
}

#[tokio::test]
async fn items_are_sent_and_gathered() {
    let split = |_: NodeCall, _: Context| async {
        let sent = (1..=3).fold(NodeOutput::default(), |output, n| output.send("work", n));
        Ok::<_, Error>(sent)
    };
    let work = |call: NodeCall, _: Context| async move {
        Ok::<_, Error>(json!(call.item().and_then(Value::as_i64).unwrap_or(0) * 10))
    };
    let graph = Graph::builder("sends")
        .node("split", split)
        .node("work", work)
        .with("split", |node| node.sends = vec!["work".into()])
        .output("work")
        .build()
        .unwrap();
    assert_eq!(graph.run(json!({})).await.unwrap().output, Some(json!([10, 20, 30])));
}

#[tokio::test]
async fn a_choice_that_is_no_target_is_an_error() {
    let graph = Graph::builder("lost")
        .node("a", |_: NodeCall, _: Context| async { Ok::<_, Error>(NodeOutput::go(["c"])) })
        .node("b", puts("b", json!(1)))
        .chooses("a", ["b", "end"])
        .build()
        .unwrap();
    let error = graph.run(json!({})).await.unwrap_err();
    assert_eq!(error.error.code(), "unknown_edge");
    assert!(error.error.message().contains("chose `c`"), "{error}");
}

/// Puts fields in the place of their names.
struct Brackets;

impl Templates for Brackets {
    fn fill(&self, template: &str, state: &State, _: Option<&Value>) -> Result<Value, Error> {
        let mut text = template.to_owned();
        for (field, value) in state {
            text = text.replace(&format!("<{field}>"), value.as_str().unwrap_or_default());
        }
        if text.contains('<') {
            return Err(Error::new(ErrorKind::InvalidArguments, format!("`{text}` names no field")));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn lookup() -> FunctionTool {
    let input = json!({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]});
    FunctionTool::dynamic(
        ToolSpec { input, ..ToolSpec::new("lookup", "Looks up.") },
        |arguments, _: Context| async move {
            Ok(format!("all about {}", arguments["word"].as_str().unwrap_or_default()).into())
        },
    )
}

fn templated(template: &str) -> GraphBuilder {
    Graph::builder("templated")
        .tool_node("find", Arc::new(lookup()), Source::Template(template.into()))
        .templates(Arc::new(Brackets))
        .output("find")
}

#[tokio::test]
async fn a_template_makes_the_arguments_of_a_tool_and_they_are_checked() {
    let run = |template: &str| {
        let graph = templated(template).build().unwrap();
        async move { graph.run(json!({"topic": "bees"})).await }
    };
    let found = run(r#"{"word": "<topic>"}"#).await;
    assert_eq!(found.unwrap().output, Some(json!("all about bees")));
    let wrong = run("[1]").await.unwrap_err();
    assert_eq!(wrong.error.code(), "invalid_arguments");
    let unknown = run("<nothing>").await.unwrap_err();
    assert!(unknown.error.message().contains("names no field"), "{unknown}");
}

#[tokio::test]
async fn the_same_input_is_not_worked_on_twice() {
    let called = Arc::new(AtomicUsize::new(0));
    let counted = called.clone();
    let square = move |call: NodeCall, _: Context| {
        counted.fetch_add(1, SeqCst);
        let n = call.item().and_then(Value::as_i64).unwrap_or(0);
        async move { Ok::<_, Error>(json!(n * n)) }
    };
    let graph = Graph::builder("squares")
        .node("square", square)
        .with("square", |node| {
            node.each = Some("numbers".into());
            node.cache = true;
            node.concurrency = Some(1);
        })
        .output("square")
        .build()
        .unwrap();
    let result = graph.run(json!({"numbers": [1, 2, 1, 3, 2]})).await.unwrap();
    assert_eq!(result.output, Some(json!([1, 4, 1, 9, 4])));
    assert_eq!(called.load(SeqCst), 3);
    // Also in another run.
    graph.run(json!({"numbers": [3]})).await.unwrap();
    assert_eq!(called.load(SeqCst), 3);
}

/// Blocks a thread that it was given.
struct Blocks;

impl NodeFunction for Blocks {
    fn call(&self, _: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        Box::pin(async move {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let job = Box::new(move || {
                let _ = sender.send(std::thread::current().id());
            });
            context.thread().await?.run(job).await?;
            let elsewhere = receiver.await.ok() != Some(std::thread::current().id());
            Ok(json!({ "thread": elsewhere }).into())
        })
    }

    fn blocks(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn code_that_blocks_has_a_thread() {
    let graph = Graph::builder("blocks").node("block", Blocks).build().unwrap();
    let results = futures_util::future::join_all((0..100).map(|_| graph.run(json!({})))).await;
    for result in results {
        assert_eq!(result.unwrap().output, Some(json!({"thread": true})));
    }
}

#[tokio::test(start_paused = true)]
async fn branches_do_not_wait_for_each_other() {
    let order = Arc::new(Mutex::new(vec![]));
    let node = |name: &'static str, ms: u64| {
        let order = order.clone();
        move |_: NodeCall, _: Context| {
            let order = order.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                order.lock().unwrap().push(name);
                Ok::<_, Error>(json!({"done": [name]}))
            }
        }
    };
    let graph = Graph::builder("two speeds")
        .node("start", node("start", 1))
        .node("slow", node("slow", 1_000))
        .node("quick", node("quick", 1))
        .node("next", node("next", 1))
        .node("join", node("join", 1))
        .edge("start", "slow")
        .edge("start", "quick")
        .edge("quick", "next")
        .edge("next", "join")
        .edge("slow", "join")
        .reducer("done", Reducer::Extend)
        .build()
        .unwrap();
    let output = graph.run(json!({})).await.unwrap().output.unwrap();
    assert_eq!(*order.lock().unwrap(), ["start", "quick", "next", "slow", "join"]);
    // The state has them in an order that time has no part in.
    assert_eq!(output["done"], json!(["start", "slow", "quick", "next", "join"]));
}

#[tokio::test]
async fn a_stream_shows_steps_and_changes_of_the_state() {
    let graph = Graph::builder("shown")
        .node("a", puts("a", json!(1)))
        .node("b", puts("b", json!(2)))
        .edge("a", "b")
        .build()
        .unwrap();
    let mut events = graph.stream(json!({})).unwrap();
    let mut changes = vec![];
    let mut steps = vec![];
    let mut last = None;
    while let Some(event) = events.next().await {
        match &event.kind {
            EventKind::StateChanged { node, update } => changes.push((node.clone(), update.clone())),
            EventKind::StepStarted { .. } => steps.push(event.step.clone().unwrap().to_string()),
            _ => {}
        }
        last = Some(event.kind);
    }
    assert_eq!(changes, [("a".into(), json!({"a": 1})), ("b".into(), json!({"b": 2}))]);
    assert_eq!(steps, ["a#0", "b#0"]);
    assert!(matches!(last, Some(EventKind::RunFinished { status: Status::Succeeded, .. })), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn code_that_never_waits_is_cancelled_and_has_a_deadline() {
    let again = || {
        Graph::builder("busy")
            .node("again", |_: NodeCall, _: Context| async { Ok::<_, Error>(NodeOutput::go(["again"])) })
            .chooses("again", ["again"])
            .with_definition(|graph| graph.max_steps = u32::MAX)
            .build()
            .unwrap()
    };
    let handle = again().start_unwatched(json!({}), RunOptions::default()).unwrap();
    tokio::task::yield_now().await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().error.code(), "cancelled");
    let options = RunOptions { timeout: Some(Duration::ZERO), ..RunOptions::default() };
    assert_eq!(again().run_with(json!({}), options).await.unwrap_err().error.code(), "timeout");
}
