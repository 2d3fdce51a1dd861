//! Runs done again from their records: the same without anybody being asked, and every difference found.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::chunk::Chunk;
use ambidex_core::definition::Approval;
use ambidex_core::event::{Event, EventKind, Status};
use ambidex_core::graph::{NodeCall, Source};
use ambidex_core::memory::MemoryStore;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::question::Answer;
use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxStream, Context, Error, ErrorKind};
use ambidex_engine::{
    Agent, AgentBuilder, ApprovalPolicy, Engine, Graph, Hook, OnWaiting, Point, Recording, Replay, Replayed,
    RunOptions, Runnable,
};
use serde_json::json;

use crate::support::{Planned, World, call, ms};

/// Counts the calls of a model.
struct Counted(Planned, Arc<AtomicUsize>);

impl Model for Counted {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        self.1.fetch_add(1, SeqCst);
        self.0.stream(request, context)
    }
}

#[derive(Default)]
struct Desk {
    engine: Engine,
    world: World,
    asked: Arc<AtomicUsize>,
}

impl Desk {
    fn durable() -> Self {
        let engine = Engine::builder().durable_store(Arc::new(MemoryStore::new())).build();
        Self { engine, ..Self::default() }
    }

    /// Two turns of calls, then an answer.
    fn agent(&self) -> AgentBuilder {
        let turns = vec![
            vec![call("look", json!({"ms": 9})), call("note", json!({"ms": 3, "fail": "flaky"}))],
            vec![call("pay", json!({"ms": 2})), call("look", json!({"ms": 1, "fail": "always"}))],
        ];
        Agent::builder()
            .name("clerk")
            .engine(&self.engine)
            .instructions("Be kind.\nBe brief.")
            .model(Counted(Planned::new(turns), self.asked.clone()))
            .tool(self.world.tool("look", EffectClass::Read))
            .tool(self.world.tool("note", EffectClass::Idempotent))
            .tool(self.world.tool("pay", EffectClass::Once))
    }

    fn begun(&self) -> usize {
        self.world.shared.begun.lock().unwrap().values().map(Vec::len).sum()
    }

    /// What was asked of models and tools so far.
    fn done(&self) -> (usize, usize) {
        (self.asked.load(SeqCst), self.begun())
    }
}

/// The recording, by way of its text.
async fn recording(engine: &Engine, run: &str) -> Recording {
    let recording = engine.recording(run).await.unwrap();
    let read = Recording::parse(&recording.to_text().unwrap()).unwrap();
    assert_eq!(read.to_text().unwrap(), recording.to_text().unwrap());
    read
}

/// Replays where there is no runtime, so nothing could even wait for a socket.
fn replayed(replay: Replay<'_>) -> (Replayed, Vec<Event>) {
    std::thread::scope(|scope| {
        let apart = scope.spawn(|| {
            let mut events = Vec::new();
            let replayed = replay.run(|event| events.push(event)).unwrap();
            (replayed, events)
        });
        apart.join().unwrap()
    })
}

/// A strict replay is the recorded run, record for record.
fn assert_same(recording: &Recording) -> (Replayed, Vec<Event>) {
    let (replayed, events) = replayed(Replay::of(recording).strict());
    assert!(replayed.differences.is_empty(), "{}", replayed.differences[0]);
    assert_eq!(replayed.unanswered, []);
    assert_eq!(replayed.records(), recording.run().stored.records);
    (replayed, events)
}

/// Words that watchers saw, and everything else that can be made again.
fn told(events: &[Event]) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut told = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::ModelDelta { text: more } => text.push_str(more),
            EventKind::ToolProgress { .. } | EventKind::RouteAttempt { .. } => {}
            kind => told.push(format!("{:?} {kind:?}", event.step)),
        }
    }
    (text, told)
}

#[tokio::test(start_paused = true)]
async fn a_run_with_tools_and_retries_is_done_again_and_nobody_is_asked() {
    let desk = Desk::default();
    let mut handle = desk.agent().build().unwrap().start("go", RunOptions::default()).unwrap();
    let mut stream = handle.take_events();
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await {
        seen.push(event);
    }
    let result = handle.outcome().await.unwrap();
    let done = desk.done();
    assert_eq!(done, (3, 5), "two turns and an answer; four calls, one of them tried twice");
    let recording = recording(&desk.engine, &result.run).await;
    let (again, events) = assert_same(&recording);
    assert_eq!(desk.done(), done);
    assert_eq!((&again.result.text, again.result.usage), (&result.text, result.usage));
    assert_eq!((again.result.status, again.result.messages), (Status::Succeeded, result.messages));
    assert_eq!(told(&events), told(&seen), "watchers see the same");
    assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64));
    assert!(events.iter().all(|event| *event.run == *result.run));
}

#[tokio::test(start_paused = true)]
async fn a_persons_answers_a_failed_and_a_cancelled_run_are_replayed() {
    let desk = Desk::default();
    let approvals = ApprovalPolicy { once: Approval::Ask, ..ApprovalPolicy::default() };
    let agent = desk.agent().approvals(approvals).build().unwrap();
    for answer in [
        Answer::Approve,
        Answer::Edit { args: json!({"ms": 1, "to": "Ada"}) },
        Answer::Reject { reason: "too dear".into() },
        Answer::Answer { answer: json!("paid by hand") },
    ] {
        let handle = agent.start("go", RunOptions::default()).unwrap();
        ms(1_000).await;
        let open = desk.engine.questions().open(Some(handle.id())).await.unwrap();
        handle.answer(&open[0].id, answer).await.unwrap();
        let result = handle.outcome().await.unwrap();
        assert_same(&recording(&desk.engine, &result.run).await);
    }
    // It waits, and a replay of it waits too.
    let options = RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
    let waiting = agent.run_with("go", options).await.unwrap();
    let (again, _) = assert_same(&recording(&desk.engine, &waiting.run).await);
    assert_eq!((again.result.status, again.result.questions), (Status::Waiting, waiting.questions));
    // Then it is cancelled.
    let handle = agent.resume(&waiting.run, vec![], RunOptions::default()).await.unwrap();
    handle.cancel();
    let ended = handle.outcome().await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Cancelled);
    let (again, _) = assert_same(&recording(&desk.engine, &waiting.run).await);
    assert_eq!(again.result.status, Status::Cancelled);
    // One that is over its time, and one that reached a limit and was granted more.
    let options = RunOptions {
        timeout: Some(Duration::from_millis(12)),
        id: Some("late".into()),
        ..RunOptions::default()
    };
    let late = agent.run_with("go", options).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let (again, _) = assert_same(&recording(&desk.engine, "late").await);
    assert_eq!(again.result.error.map(|error| error.kind()), Some(ErrorKind::Timeout));
    let short = desk.agent().max_iterations(2).build().unwrap();
    let paused = short.run("go").await.unwrap();
    assert_eq!(paused.status, Status::Paused);
    let grant = ambidex_core::budget::Grant { iterations: 2, ..Default::default() };
    let inputs = vec![ambidex_core::record::Input::Resume(grant)];
    let handle = short.resume(&paused.run, inputs, RunOptions::default()).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_same(&recording(&desk.engine, &paused.run).await);
}

#[tokio::test(start_paused = true)]
async fn calls_that_queue_for_a_place_are_no_difference() {
    let desk = Desk { engine: Engine::builder().tools_at_once(1).build(), ..Desk::default() };
    let agent = desk.agent().build().unwrap();
    let result = agent.run("go").await.unwrap();
    assert_same(&recording(&desk.engine, &result.run).await);
    // Cancelled while one queues.
    let handle =
        agent.start("go", RunOptions { id: Some("queued".into()), ..RunOptions::default() }).unwrap();
    ms(8).await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
    let (again, _) = assert_same(&recording(&desk.engine, "queued").await);
    assert_eq!(again.result.status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_wants_otherwise_today_is_found_and_shown() {
    let desk = Desk::default();
    let result = desk.agent().build().unwrap().run("go").await.unwrap();
    let recording = recording(&desk.engine, &result.run).await;
    let by = |builder: AgentBuilder| Runnable::from(builder.build().unwrap());

    let same = by(desk.agent());
    assert_eq!(replayed(Replay::of(&recording).by(&same).strict()).0.differences, []);

    let told = by(desk.agent().instructions("Be kind.\nBe long."));
    let (stopped, _) = replayed(Replay::of(&recording).by(&told).strict());
    let shown = stopped.differences[0].to_string();
    let wanted = "m0: what the run wants is not what was recorded\n  instructions: from line 2\n    - Be brief.\n    + Be long.";
    assert_eq!(shown, wanted);
    assert_eq!(stopped.result.iterations_used, 0, "it stopped before the reply");
    let (whole, _) = replayed(Replay::of(&recording).by(&told));
    assert_eq!((whole.differences.len(), whole.result.status), (1, Status::Succeeded), "said once");
    let (ignored, _) = replayed(Replay::of(&recording).by(&told).ignore("instructions").strict());
    assert_eq!(ignored.differences, []);

    // A person is asked now who was not asked then: the call waits for him.
    let asks = ApprovalPolicy { once: Approval::Ask, ..ApprovalPolicy::default() };
    let (stopped, _) = replayed(Replay::of(&recording).by(&by(desk.agent().approvals(asks))).strict());
    let shown = stopped.differences[0].to_string();
    assert!(shown.starts_with("ask:t1.0: the run wants to ask a person about `t1.0`"), "{shown}");

    // It may say less.
    let (stopped, _) = replayed(Replay::of(&recording).by(&by(desk.agent().max_iterations(1))).strict());
    let shown = stopped.differences[0].to_string();
    assert!(shown.contains("the recorded run wanted to") || shown.contains("does not stand"), "{shown}");

    // A tool that is told otherwise.
    let schema = desk.agent().tool(desk.world.tool("more", EffectClass::Read));
    let (stopped, _) = replayed(Replay::of(&recording).by(&by(schema)).strict());
    assert!(stopped.differences[0].to_string().contains("tools.more: not recorded, now"), "{stopped:?}");
    assert_eq!(desk.done(), (3, 5), "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn from_a_point_on_everything_happens_for_real() {
    for durable in [false, true] {
        let desk = if durable { Desk::durable() } else { Desk::default() };
        let agent = desk.agent().build().unwrap();
        let result = agent.run("go").await.unwrap();
        let recording = recording(&desk.engine, &result.run).await;
        let runnable = Runnable::from(agent);
        // Point, calls of the model, attempts of tools that the rest takes.
        for (point, models, tools) in
            [("m0", 3, 5), ("t0.1", 2, 4), ("m1", 2, 2), ("t1.0", 1, 2), ("t1.1", 1, 1), ("m2", 1, 0)]
        {
            let before = desk.done();
            let point: Point = point.parse().unwrap();
            let (past, _) = replayed(Replay::of(&recording).by(&runnable).until(point.clone()));
            assert_eq!(past.differences, [], "{point:?}");
            assert_eq!(desk.done(), before);
            let handle = past.go_on(&runnable, RunOptions::default()).await.unwrap();
            assert_ne!(handle.id(), result.run);
            let again = handle.outcome().await.unwrap();
            let after = desk.done();
            assert_eq!((after.0 - before.0, after.1 - before.1), (models, tools), "{point:?}");
            assert_eq!((&again.text, again.status), (&result.text, Status::Succeeded), "{point:?}");
            assert_same(&self::recording(&desk.engine, &again.run).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_point_that_is_not_there_is_refused() {
    let desk = Desk::default();
    let result = desk.agent().build().unwrap().run("go").await.unwrap();
    let recording = recording(&desk.engine, &result.run).await;
    for (point, says) in [("m7", "effect `m7`"), ("900", "record 900")] {
        let error = Replay::of(&recording).until(point.parse().unwrap()).run(|_| {}).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidRequest && error.message().contains(says), "{error}");
    }
    let broken = recording.to_text().unwrap().replacen("\"ambidex_run\":1", "\"ambidex_run\":9", 1);
    assert!(Recording::parse(&broken).unwrap_err().message().contains("version 9"));
}

/// Changes what the model is asked, what tools are given, and the outcome.
struct Meddling;

impl Hook for Meddling {
    fn on_finish<'a>(
        &'a self,
        _: &'a Context,
        _: ambidex_core::record::Outcome,
    ) -> ambidex_core::BoxFuture<'a, Result<ambidex_core::record::Outcome, Error>> {
        Box::pin(async { Err(Error::new(ErrorKind::HookFailed, "no")) })
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_are_not_called_and_what_they_did_is_given_back() {
    let desk = Desk::default();
    let failed = desk
        .agent()
        .hook(Meddling)
        .build()
        .unwrap()
        .run_with("go", RunOptions { id: Some("hooked".into()), ..RunOptions::default() })
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::HookFailed);
    let (again, _) = assert_same(&recording(&desk.engine, "hooked").await);
    assert_eq!(again.result.error.map(|error| error.kind()), Some(ErrorKind::HookFailed));
}

fn graph(desk: &Desk, price: i64) -> Graph {
    let agent = desk.agent().build().unwrap();
    let calls = desk.asked.clone();
    let look = Arc::new(desk.world.tool("look", EffectClass::Read));
    Graph::builder("shop")
        .engine(&desk.engine)
        .node("list", move |_: NodeCall, _: Context| {
            calls.fetch_add(1, SeqCst);
            async { Ok::<_, Error>(json!({"items": [1, 2, 3], "task": "buy"})) }
        })
        .tool_node("price", look, Source::Value(json!({"ms": price})))
        .agent_node("buy", agent, Source::Field("task".into()))
        .edge("list", "price")
        .edge("price", "buy")
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_graph_is_replayed_as_an_agent_is_with_its_children_and_from_a_point() {
    let desk = Desk::durable();
    let graph = self::graph(&desk, 4);
    let result = graph.run(json!({})).await.unwrap();
    let recording = recording(&desk.engine, &result.run).await;
    let done = desk.done();
    assert_same(&recording);
    assert_eq!(recording.children().len(), 1);
    let child = recording.children()[0].run.clone();
    assert_same(&recording.child(&child).unwrap());
    // Another argument of the tool.
    let dearer = Runnable::from(self::graph(&desk, 7));
    let (stopped, _) = replayed(Replay::of(&recording).by(&dearer).strict());
    assert!(stopped.differences[0].to_string().contains("arguments.ms: recorded 4, now 7"), "{stopped:?}");
    assert_eq!(desk.done(), done);
    // The agent's run for real, what was before it not.
    let runnable = Runnable::from(graph);
    let (past, _) = replayed(Replay::of(&recording).by(&runnable).until("buy#0".parse().unwrap()));
    let again = past.go_on(&runnable, RunOptions::default()).await.unwrap().outcome().await.unwrap();
    assert_eq!((again.status, again.output), (Status::Succeeded, result.output));
    assert_eq!((desk.done().0 - done.0, desk.done().1 - done.1), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_changed_its_process_is_replayed_with_its_doubts() {
    let desk = Desk::durable();
    let agent = desk.agent().build().unwrap();
    let options =
        RunOptions { id: Some("lost".into()), on_waiting: OnWaiting::Return, ..RunOptions::default() };
    let handle = agent.start("go", options.clone()).unwrap();
    while desk.begun() < 4 {
        ms(1).await;
    }
    // Somebody else takes it, in the midst of the second turn.
    let other = agent.resume("lost", vec![], options).await.unwrap();
    drop(handle);
    let waiting = other.outcome().await.unwrap();
    assert_eq!(waiting.status, Status::Waiting, "{waiting:?}");
    let (again, _) = assert_same(&recording(&desk.engine, "lost").await);
    assert_eq!(again.result.questions, waiting.questions);
}
