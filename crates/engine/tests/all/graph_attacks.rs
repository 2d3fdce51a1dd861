//! Single attacks on the driver of graphs, each with what must come of it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::event::{EventKind, Status};
use ambidex_core::graph::{
    GraphDefinition, NodeCall, NodeDefinition, NodeOutput, OnError, Reducer, Retry, Source, State,
};
use ambidex_core::memory::MemoryStore;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::question::Questions;
use ambidex_core::store::Store;
use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxFuture, BoxStream, Context, Error, ErrorKind, Usage};
use ambidex_engine::{Agent, Engine, Graph, GraphBuilder, NodeFunction, RunOptions, Templates};
use ambidex_tools::BlockingPool;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::graph_world::standings;
use crate::mortal::Mortal;

/// Calls that were begun, that are under way, and the most that were.
#[derive(Clone, Default)]
struct Calls(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Under(Calls);

impl Calls {
    fn begin(&self) -> Under {
        self.0.begun.fetch_add(1, SeqCst);
        let now = self.0.now.fetch_add(1, SeqCst) + 1;
        self.0.most.fetch_max(now, SeqCst);
        Under(self.clone())
    }

    fn begun(&self) -> usize {
        self.0.begun.load(SeqCst)
    }

    fn now(&self) -> usize {
        self.0.now.load(SeqCst)
    }

    /// Takes so long and gives its item.
    fn takes(&self, ms: u64) -> impl NodeFunction + use<> {
        let calls = self.clone();
        move |call: NodeCall, _: Context| {
            let calls = calls.clone();
            async move {
                let _under = calls.begin();
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok::<_, Error>(call.item().cloned().unwrap_or_default())
            }
        }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.0.0.now.fetch_sub(1, SeqCst);
    }
}

fn fails(kind: ErrorKind) -> impl NodeFunction {
    move |_: NodeCall, _: Context| async move { Err::<(), _>(Error::new(kind, "so it is")) }
}

fn puts(field: &'static str, value: Value) -> impl NodeFunction {
    move |_: NodeCall, _: Context| {
        let update = json!({ field: value });
        async move { Ok::<_, Error>(update) }
    }
}

fn over(list: &str) -> impl FnOnce(&mut NodeDefinition) + use<> {
    let list = list.to_owned();
    move |node| node.each = Some(list)
}

fn at_once(places: u32) -> impl FnOnce(&mut GraphDefinition) {
    move |graph| graph.concurrency = places
}

fn numbers(count: usize) -> Value {
    json!({"list": (0..count).collect::<Vec<_>>()})
}

async fn all_ended(store: &MemoryStore) {
    for (run, status) in standings(store).await {
        assert!(status.is_final(), "`{run}` is {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_item_stops_the_others_and_no_more_start() {
    let calls = Calls::default();
    let work = calls.takes(50);
    let work = move |call: NodeCall, context: Context| {
        let is_bad = call.item() == Some(&json!(7));
        let worked = work.call(call, context);
        async move {
            if is_bad {
                return Err(Error::new(ErrorKind::ToolFailed, "seven"));
            }
            worked.await
        }
    };
    let graph = Graph::builder("map").node("each", work).with("each", over("list"));
    let graph = graph.with_definition(at_once(10)).build().unwrap();
    let started = Instant::now();
    let error = graph.run(numbers(200)).await.unwrap_err();
    assert_eq!(error.error.code(), "tool_failed");
    assert!(error.error.message().contains("`each`"), "{}", error.error);
    assert_eq!((calls.now(), calls.begun()), (0, 9));
    assert!(started.elapsed() < Duration::from_millis(50), "nobody waits for what was stopped");
}

#[tokio::test(start_paused = true)]
async fn items_that_fail_are_gathered_and_lead_to_the_error_edge_once() {
    let (handled, next) = (Calls::default(), Calls::default());
    let each = |call: NodeCall, _: Context| async move {
        match call.item().and_then(Value::as_u64) {
            Some(n) if n % 10 == 3 => Err(Error::new(ErrorKind::ToolFailed, format!("no {n}"))),
            Some(n) if n % 10 == 4 => panic!("item {n} panics"),
            n => Ok(json!(n)),
        }
    };
    let graph = Graph::builder("map")
        .node("each", each)
        .node("repair", handled.takes(1))
        .node("next", next.takes(1))
        .edge("each", "next")
        .with("each", over("list"))
        .with("each", |node| {
            node.on_error = OnError::Go("repair".into());
            node.error_field = Some("faults".into());
        })
        .reducer("faults", Reducer::Append)
        .with_definition(at_once(7))
        .build()
        .unwrap();
    let result = graph.run(numbers(100)).await.unwrap();
    let state = result.output.unwrap();
    let faults = state["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 20);
    let items: Vec<_> = faults.iter().map(|fault| fault["item"].as_u64().unwrap()).collect();
    assert!(items.is_sorted(), "in the order of the items: {items:?}");
    assert!(faults[1]["message"].as_str().unwrap().contains("item 4 panics"), "{}", faults[1]);
    assert_eq!((state["each"][2].clone(), state["each"][3].clone()), (json!(2), Value::Null));
    assert_eq!((handled.begun(), next.begun()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn no_more_items_are_in_flight_than_there_are_places() {
    let calls = Calls::default();
    let graph = Graph::builder("map").node("each", calls.takes(3)).with("each", over("list"));
    let graph = graph.with_definition(|graph| graph.concurrency = 500).build().unwrap();
    let result = graph.run(numbers(5_000)).await.unwrap();
    assert_eq!(result.output.unwrap()["each"].as_array().unwrap().len(), 5_000);
    assert_eq!((calls.begun(), calls.now(), calls.0.most.load(SeqCst)), (5_000, 0, 500));
}

#[tokio::test(start_paused = true)]
async fn a_run_within_its_deadline_ends_its_children_with_it() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
    let innermost = Graph::builder("innermost").engine(&engine).node("sleep", calls.takes(60_000));
    let inner = Graph::builder("inner").engine(&engine);
    let inner = inner.graph_node("innermost", innermost.build().unwrap(), Source::State).build().unwrap();
    let outer = Graph::builder("outer").engine(&engine).graph_node("inner", inner, Source::State);
    let outer = outer.node("beside", calls.takes(60_000)).start(["inner", "beside"]).build().unwrap();
    let options = RunOptions { timeout: Some(Duration::from_secs(1)), ..RunOptions::default() };
    let started = Instant::now();
    let error = outer.run_with(json!({}), options).await.unwrap_err();
    assert_eq!(error.error.code(), "timeout");
    assert_eq!(started.elapsed().as_secs(), 1);
    engine.idle().await;
    assert_eq!((calls.begun(), calls.now()), (2, 0));
    all_ended(&store).await;
}

#[tokio::test(start_paused = true)]
async fn attempts_have_a_time_each_and_an_end() {
    let calls = Calls::default();
    let graph = Graph::builder("slow").node("hang", calls.takes(60_000)).with("hang", |node| {
        node.effect = EffectClass::Idempotent;
        node.timeout_ms = Some(100);
        node.retry = Retry { attempts: 3, base_ms: Some(50), cap_ms: Some(50) };
    });
    let started = Instant::now();
    let error = graph.build().unwrap().run(json!({})).await.unwrap_err();
    assert_eq!((error.error.code(), calls.begun(), calls.now()), ("timeout", 3, 0));
    let took = started.elapsed().as_millis();
    assert!((300..=400).contains(&took), "{took} ms");
}

/// Hears of nothing before it is told twice.
struct Stubborn(Calls);

impl NodeFunction for Stubborn {
    fn call(&self, _: NodeCall, _: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let under = self.0.begin();
        Box::pin(async move {
            let _under = under;
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        })
    }

    fn computes(&self) -> bool {
        true
    }

    fn cancel_grace(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test(start_paused = true)]
async fn code_that_ignores_being_told_is_dropped_after_its_grace() {
    let calls = Calls::default();
    let graph = Graph::builder("stubborn").node("loop", Stubborn(calls.clone())).build().unwrap();
    let handle = graph.start_unwatched(json!({}), RunOptions::default()).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let cancelled = Instant::now();
    handle.cancel();
    let result = handle.outcome().await.unwrap_err().result.unwrap();
    assert_eq!((result.status, calls.now()), (Status::Cancelled, 0));
    assert_eq!(cancelled.elapsed(), Duration::from_secs(2));
}

struct Bad;

impl Templates for Bad {
    fn fill(&self, template: &str, _: &State, _: Option<&Value>) -> Result<Value, Error> {
        panic!("cannot fill {template}")
    }
}

#[tokio::test(start_paused = true)]
async fn a_template_that_panics_fails_its_node_and_not_the_driver() {
    let agent = || Agent::builder().model(Costly).build().unwrap();
    for is_child in [false, true] {
        let builder = Graph::builder("templates").templates(Arc::new(Bad));
        let input = Source::Template("{{ x }}".into());
        let builder = match is_child {
            true => builder.agent_node("write", agent(), input),
            false => builder.node("write", puts("a", json!(1))).with("write", |node| node.input = input),
        };
        let error = builder.build().unwrap().run(json!({})).await.unwrap_err();
        assert!(error.result.is_some(), "the run ended, and its driver did not: {}", error.error);
        assert!(error.error.message().contains("cannot fill"), "{}", error.error);
    }
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_panics_fails_the_run() {
    let panics = |call: NodeCall, _: Context| async move {
        assert!(call.state().contains_key("never"), "no way");
        Ok::<_, Error>(NodeOutput::go(["end"]))
    };
    let graph = Graph::builder("branch").node("a", puts("a", json!(1))).branch("a", ["end"], panics);
    let error = graph.build().unwrap().run(json!({})).await.unwrap_err();
    assert!(error.error.message().contains("no way"), "{}", error.error);
}

/// Says a word for ten tokens, or fails after it.
struct Costly;

static COSTLY: std::sync::LazyLock<ModelInfo> = std::sync::LazyLock::new(|| ModelInfo::new("costly", "test"));

impl Model for Costly {
    fn info(&self) -> &ModelInfo {
        &COSTLY
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let is_bad = crate::support::heard(&request.history).join("").contains("bad");
        let usage = Usage { input_tokens: 9, output_tokens: 1, ..Usage::default() };
        let end = match is_bad {
            true => Err(Error::new(ErrorKind::ContentFilter, "no")),
            false => Ok(Chunk::End(Finish::Stop)),
        };
        let chunks = [Ok(Chunk::Text { part: 0, text: "word".into() }), Ok(Chunk::Usage(usage)), end];
        futures_util::stream::iter(chunks).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_children_cost_is_what_the_run_costs_also_of_those_that_failed() {
    let agent = Agent::builder().model(Costly).build().unwrap();
    let inner = Graph::builder("inner").agent_node("again", agent.clone(), Source::Field("word".into()));
    let inner = inner.build().unwrap();
    let graph = Graph::builder("costs")
        .agent_node("each", agent.clone(), Source::State)
        .graph_node("nested", inner, Source::State)
        .edge("each", "nested")
        .with("each", over("words"))
        .with("each", |node| node.on_error = OnError::Continue)
        .build()
        .unwrap();
    let result = graph.run(json!({"words": ["good", "bad", "good"], "word": "good"})).await.unwrap();
    assert_eq!(result.output.unwrap()["each"], json!(["word", null, "word"]));
    assert_eq!(result.usage.input_tokens, 4 * 9, "{:?}", result.usage);
}

/// Holds a thread, and runs a graph from it, so many deep.
struct Nested {
    engine: Engine,
    deep: u32,
    width: usize,
}

impl NodeFunction for Nested {
    fn call(&self, _: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let Self { engine, deep, width } = self;
        let inner = (*deep > 0).then(|| nested(engine, deep - 1, *width));
        Box::pin(async move {
            let Some(inner) = inner else {
                context.thread().await?.run(Box::new(|| ())).await?;
                return Ok(json!({"sum": 1}).into());
            };
            let options = RunOptions { parent: Some(context), ..RunOptions::default() };
            let ended = inner.run_with(json!({}), options).await.map_err(|failed| failed.error)?;
            Ok(json!({"sum": ended.output.unwrap()["sum"]}).into())
        })
    }

    fn blocks(&self) -> bool {
        self.deep == 0
    }
}

fn nested(engine: &Engine, deep: u32, width: usize) -> Graph {
    let names: Vec<_> = (0..width).map(|n| format!("n{n}")).collect();
    let add = |builder: GraphBuilder, name: &String| {
        builder.node(name.clone(), Nested { engine: engine.clone(), deep, width })
    };
    let builder = names.iter().fold(Graph::builder("nested").engine(engine), add);
    let builder = builder.start(names).reducer("sum", Reducer::Add).with_definition(at_once(1));
    builder.build().unwrap()
}

#[tokio::test]
async fn graphs_in_graphs_share_one_thread_and_one_place_each() {
    let engine = Engine::builder().threads(Arc::new(BlockingPool::new(1))).build();
    let graph = nested(&engine, 3, 3);
    let result =
        tokio::time::timeout(Duration::from_secs(60), graph.run(json!({}))).await.expect("a deadlock");
    assert_eq!(result.unwrap().output, Some(json!({"sum": 81})));
}

#[tokio::test(start_paused = true)]
async fn who_is_paused_below_does_not_keep_a_cancel_from_its_end() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
    let inner = Graph::builder("inner").engine(&engine).node("stop", puts("a", json!(1)));
    let inner = inner.with("stop", |node| node.pause_before = true).build().unwrap();
    let graph = Graph::builder("outer")
        .engine(&engine)
        .graph_node("inner", inner, Source::State)
        .node("beside", calls.takes(60_000))
        .start(["inner", "beside"])
        .build()
        .unwrap();
    // A sibling that fails, and a cancel.
    for fails in [true, false] {
        let graph = match fails {
            false => graph.clone(),
            true => {
                let late = |_: NodeCall, _: Context| async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Err::<(), _>(Error::new(ErrorKind::ToolFailed, "late"))
                };
                let inner = Graph::builder("inner").engine(&engine).node("stop", puts("a", json!(1)));
                let inner = inner.with("stop", |node| node.pause_before = true).build().unwrap();
                let outer = Graph::builder("outer").engine(&engine);
                let outer = outer.graph_node("inner", inner, Source::State).node("beside", late);
                outer.start(["inner", "beside"]).build().unwrap()
            }
        };
        let handle = graph.start_unwatched(json!({}), RunOptions::default()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !fails {
            handle.cancel();
        }
        let handle = match fails {
            false => handle,
            // The run is paused, and fails as soon as somebody goes on with it.
            true => {
                let paused = handle.outcome().await.unwrap();
                assert_eq!(paused.status, Status::Paused);
                let more = vec![ambidex_core::record::Input::Resume(ambidex_core::budget::Grant::default())];
                graph.resume(&paused.run, more, RunOptions::default()).await.unwrap()
            }
        };
        let result = handle.outcome().await.unwrap_err().result.unwrap();
        assert_eq!(result.status, if fails { Status::Failed } else { Status::Cancelled });
        engine.idle().await;
        assert_eq!(calls.now(), 0);
        all_ended(&store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_who_resume_a_run_at_once_do_its_work_once() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let engine = |_| Engine::builder().durable_store(Arc::new(store.clone())).build();
    let graph = |engine: &Engine| {
        let builder = Graph::builder("g").engine(engine).node("first", puts("a", json!(1)));
        let builder = builder.node("pay", calls.takes(100)).edge("first", "pay");
        let builder = builder.with("pay", |node| {
            node.pause_before = true;
            node.effect = EffectClass::Once;
        });
        builder.build().unwrap()
    };
    let engines = [0, 1].map(engine);
    let graphs = engines.each_ref().map(graph);
    let options = RunOptions { id: Some("run".into()), ..RunOptions::default() };
    assert_eq!(graphs[0].run_with(json!({}), options).await.unwrap().status, Status::Paused);
    let more = || vec![ambidex_core::record::Input::Resume(ambidex_core::budget::Grant::default())];
    let resumes = [0, 1].map(|at| {
        let graph = graphs[at].clone();
        async move {
            graph.resume("run", more(), RunOptions::default()).await?.outcome().await.map_err(|e| e.error)
        }
    });
    let ended = futures_util::future::join_all(resumes).await;
    assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1, "{ended:?}");
    assert_eq!((calls.begun(), calls.now()), (1, 0));
    let records = store.load("run").await.unwrap().records;
    assert!(records.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
}

#[tokio::test(start_paused = true)]
async fn events_come_in_the_order_of_things() {
    let calls = Calls::default();
    let graph = Graph::builder("events")
        .node("list", puts("list", json!([1, 2, 3])))
        .node("each", calls.takes(5))
        .node("fail", fails(ErrorKind::ToolFailed))
        .node("last", puts("z", json!(1)))
        .edge("list", "each")
        .edge("list", "fail")
        .edge("each", "last")
        .edge("fail", "last")
        .with("each", over("list"))
        .with("fail", |node| node.on_error = OnError::Continue)
        .build()
        .unwrap();
    let mut events = graph.start(json!({}), RunOptions::default()).unwrap();
    let mut stream = events.take_events();
    let (mut seen, mut number) = (Vec::new(), 0);
    while let Some(event) = stream.next().await {
        number += 1;
        assert_eq!(event.seq, number);
        let step = event.step.as_deref().map(str::to_owned);
        seen.push((serde_json::to_value(&event.kind).unwrap()["type"].as_str().unwrap().to_owned(), step));
        if matches!(event.kind, EventKind::RunFinished { .. }) {
            assert!(stream.next().await.is_none(), "nothing comes after the end");
            break;
        }
    }
    let at = |kind: &str, step: &str| {
        let found = seen.iter().position(|(k, s)| k == kind && s.as_deref() == Some(step));
        found.unwrap_or_else(|| panic!("{kind} of {step}: {seen:#?}"))
    };
    assert_eq!(seen.first().map(|(kind, _)| kind.as_str()), Some("run.created"));
    for step in ["list#0", "each#0[0]", "each#0[1]", "each#0[2]", "fail#0", "last#0"] {
        assert!(at("step.started", step) < at("step.finished", step), "{seen:#?}");
    }
    assert!(at("step.finished", "each#0[2]") < at("step.started", "last#0"));
    assert!(at("step.finished", "list#0") < at("step.started", "each#0[0]"));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_comes_beside_a_failure_does_not_make_the_run_go_on() {
    let (after, order) = (Calls::default(), Arc::new(Mutex::new(Vec::new())));
    let both = |name: &'static str, is_bad: bool| {
        let order = order.clone();
        move |_: NodeCall, _: Context| {
            let order = order.clone();
            async move {
                // Both end in one wake-up.
                tokio::time::sleep(Duration::from_millis(10)).await;
                order.lock().unwrap().push(name);
                if is_bad { Err(Error::new(ErrorKind::ToolFailed, name)) } else { Ok(json!({ name: 1 })) }
            }
        }
    };
    for first in [true, false] {
        let graph = Graph::builder("both")
            .node("one", both("one", first))
            .node("two", both("two", !first))
            .node("after one", after.takes(1))
            .node("after two", after.takes(1))
            .edge("one", "after one")
            .edge("two", "after two")
            .start(["one", "two"])
            .build()
            .unwrap();
        let error = graph.run(json!({})).await.unwrap_err();
        assert_eq!(error.error.code(), "tool_failed");
        assert_eq!(after.now(), 0);
    }
    assert_eq!(order.lock().unwrap().len(), 4);
    assert!(after.begun() <= 1, "what was good may have led on before the failure was heard of, never after");
}

#[tokio::test(start_paused = true)]
async fn a_person_is_not_waited_for_whose_answer_would_come_too_late() {
    let memory = MemoryStore::new();
    // The time of the node is over while its run, which waits, is let go of.
    let slow = Mortal::slow_to_release(Arc::new(memory.clone()), Duration::from_millis(100));
    let engine = Engine::builder().durable_store(slow).build();
    let inner = Graph::builder("inner").engine(&engine).ask("sure", Source::Value(json!("Sure?")));
    let graph = Graph::builder("outer").engine(&engine);
    let graph = graph.graph_node("inner", inner.build().unwrap(), Source::State);
    let graph = graph.with("inner", |node| node.timeout_ms = Some(50)).build().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), graph.run(json!({}))).await;
    assert_eq!(ended.expect("nobody answers").unwrap_err().error.code(), "timeout");
    all_ended(&memory).await;
    assert!(memory.open(None).await.unwrap().is_empty());
}
