//! Runs on stored threads: whose turn it is, what stays, and that two at once are as one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::{Message, Role};
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::question::Answer;
use ambidex_core::record::Input;
use ambidex_core::store::{AnyStore, RunQuery};
use ambidex_core::thread::{ThreadChange, ThreadMessage, ThreadQuery, check};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Context, Error, ErrorKind, ToolOutput};
use ambidex_engine::{
    Agent, ApprovalPolicy, Engine, OnBusy, OnWaiting, RunError, RunOptions, RunResult, ThreadFile,
    ThreadOptions,
};
use ambidex_store::{Durability, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cluster;
use crate::support::{assert_answered, heard};

/// Says `re: TASK` after some turns of the scheduler, and calls a tool first where the task wants it. Words in the
/// task: `tool`, `hold` (waits for `go`), `fail`.
struct Echo {
    info: ModelInfo,
    go: Arc<Notify>,
}

impl Echo {
    fn new(go: &Arc<Notify>) -> Self {
        Self { info: ModelInfo::new("echo", "test"), go: go.clone() }
    }
}

impl Model for Echo {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        assert_answered(&request.history);
        let last = request.history.iter().rposition(|message| message.role == Role::User).unwrap();
        let task = request.history[last].text();
        let turns = task.bytes().map(usize::from).sum::<usize>() % 7;
        let length = request.history.len();
        let called = request.history[last..].iter().any(|message| message.role == Role::Tool);
        let go = self.go.clone();
        futures_util::stream::once(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if task.contains("hold") {
                go.notified().await;
            }
            let chunks = if task.contains("fail") {
                vec![Err(Error::new(ErrorKind::ContentFilter, "no"))]
            } else if task.contains("tool") && !called {
                vec![
                    Ok(Chunk::ToolCall { part: 0, id: "c".into(), name: "work".into() }),
                    Ok(Chunk::Arguments { part: 0, text: format!("{{\"n\": {length}}}") }),
                    Ok(Chunk::End(Finish::ToolCalls)),
                ]
            } else {
                let text = format!("re: {task}");
                vec![Ok(Chunk::Text { part: 0, text }), Ok(Chunk::End(Finish::Stop))]
            };
            futures_util::stream::iter(chunks)
        })
        .flatten()
        .boxed()
    }
}

fn agent(engine: &Engine, go: &Arc<Notify>, approval: Approval) -> Agent {
    let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("work", "Works.") };
    let work = FunctionTool::dynamic(spec, |_, _: Context| async {
        tokio::task::yield_now().await;
        Ok(ToolOutput::Text("worked".into()))
    })
    .effect(EffectClass::Read);
    let policy = ApprovalPolicy { read: approval, ..ApprovalPolicy::default() };
    Agent::builder()
        .engine(engine)
        .name("echo")
        .model(Echo::new(go))
        .approvals(policy)
        .tool(work)
        .build()
        .unwrap()
}

/// Where threads are kept; two engines on it are two processes.
enum Place {
    Memory(MemoryStore),
    Sqlite(TempDir),
    Postgres(String),
}

impl Place {
    async fn store(&self) -> Arc<dyn AnyStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(folder) => {
                // What is tried here is order, not the disk.
                let options = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
                Arc::new(SqliteStore::open(folder.path().join("state.db"), options).await.unwrap())
            }
            Self::Postgres(schema) => {
                let options = PostgresOptions {
                    schema: schema.clone(),
                    durability: Durability::None,
                    ..PostgresOptions::default()
                };
                Arc::new(PostgresStore::connect(&cluster::shared().url(), options).await.unwrap())
            }
        }
    }
}

fn on(thread: &str, on_busy: OnBusy) -> RunOptions {
    RunOptions {
        thread: Some(thread.into()),
        on_busy,
        on_waiting: OnWaiting::Return,
        ..RunOptions::default()
    }
}

async fn said(engine: &Engine, thread: &str) -> Vec<String> {
    let messages = engine.threads().messages(thread, 0, 10_000).await.unwrap();
    messages.iter().map(|it| it.message.text()).collect()
}

/// A die that falls the same way each time.
struct Die(u64);

impl Die {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

type Ended = Result<RunResult, RunError>;

/// What must hold of a thread after some came at once.
fn assert_serial(policy: OnBusy, tasks: &[String], ended: &[Ended], messages: &[ThreadMessage]) {
    let whole: Vec<Arc<Message>> = messages.iter().map(|it| it.message.clone()).collect();
    check(&whole).unwrap();
    let story =
        || format!("{policy:?}\n{:#?}\n{:#?}", heard(&whole), ended.iter().map(brief).collect::<Vec<_>>());
    // What one run added stands together.
    let mut blocks: Vec<(&str, Vec<&Arc<Message>>)> = Vec::new();
    for message in messages {
        let run = message.run.as_deref().unwrap();
        match blocks.last_mut() {
            Some((last, block)) if *last == run => block.push(&message.message),
            _ => blocks.push((run, vec![&message.message])),
        }
    }
    let runs: BTreeSet<_> = blocks.iter().map(|(run, _)| *run).collect();
    assert_eq!(runs.len(), blocks.len(), "a run was interrupted: {}", story());
    // Each message is there once, or not at all.
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let asked: Vec<String> =
        whole.iter().filter(|it| it.role == Role::User).map(|message| message.text()).collect();
    for text in &asked {
        *times.entry(text).or_default() += 1;
    }
    for (task, ended) in tasks.iter().zip(ended) {
        let there = times.get(task.as_str()).copied().unwrap_or_default();
        let expected = match (policy, ended) {
            (OnBusy::Enqueue | OnBusy::Steer, Ok(_)) => 1,
            (OnBusy::Reject, Ok(_)) => 1,
            (OnBusy::Reject, Err(error)) if error.kind() == ErrorKind::Busy => {
                assert!(error.error.is_retryable());
                0
            }
            (OnBusy::Interrupt, Ok(_)) => 1,
            (OnBusy::Interrupt, Err(error)) if error.kind() == ErrorKind::Cancelled => 1,
            (OnBusy::Rollback, Ok(_)) => 1,
            (OnBusy::Rollback, Err(error)) if error.kind() == ErrorKind::Cancelled => 0,
            (_, Err(error)) => panic!("{task}: {error} {}", story()),
        };
        assert_eq!(there, expected, "{task}: {}", story());
    }
    assert_eq!(times.len(), times.values().sum::<usize>());
    // Those that ended well said their last word to what was asked of them, and nobody else's message is in between.
    for (task, ended) in tasks.iter().zip(ended) {
        let Ok(result) = ended else { continue };
        assert_eq!(result.status, Status::Succeeded);
        let (_, block) = blocks.iter().find(|(run, _)| *run == result.run).unwrap();
        let last = block.last().unwrap();
        assert_eq!(last.role, Role::Assistant, "{}", story());
        assert_eq!(last.text(), result.text);
        if policy == OnBusy::Steer {
            assert!(block.iter().any(|message| message.text() == *task), "{}", story());
        } else {
            assert_eq!(block[0].text(), *task);
            assert_eq!(result.text, format!("re: {task}"), "{}", story());
            let users = block.iter().filter(|message| message.role == Role::User).count();
            assert_eq!(users, 1, "{}", story());
        }
    }
    assert!(ended.iter().any(Result::is_ok), "{}", story());
}

fn brief(ended: &Ended) -> String {
    match ended {
        Ok(result) => format!("{}: {}", result.run, result.text),
        Err(error) => error.to_string(),
    }
}

const POLICIES: [OnBusy; 5] =
    [OnBusy::Enqueue, OnBusy::Reject, OnBusy::Interrupt, OnBusy::Rollback, OnBusy::Steer];

/// So many rounds of each policy; more where the variable says so.
fn rounds(usual: u64) -> u64 {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

async fn at_once(place: &Place, rounds: u64) {
    let stores = [place.store().await, place.store().await];
    let engines = stores.clone().map(|store| Engine::builder().durable_store(store).build());
    let go = Arc::new(Notify::new());
    let agents = engines.each_ref().map(|engine| agent(engine, &go, Approval::Allow));
    let mut die = Die(20_261_121);
    let mut messages_in_all = 0;
    for policy in POLICIES {
        let mut refused = 0;
        for round in 0..rounds {
            let thread = format!("{policy:?}-{round}");
            let count = 2 + die.roll(19);
            let tasks: Vec<String> = (0..count)
                .map(|n| format!("{round} {n}{}", if die.roll(3) == 0 { " tool" } else { "" }))
                .collect();
            let runs = tasks.iter().map(|task| {
                let (agent, late) = (agents[die.roll(2) as usize].clone(), die.roll(40));
                let (task, options) = (task.clone(), on(&thread, policy));
                // Tasks of their own: they come from several threads of the machine.
                let run = async move {
                    for _ in 0..late {
                        tokio::task::yield_now().await;
                    }
                    agent.run_with(task, options).await
                };
                tokio::spawn(run)
            });
            let ended: Vec<Ended> = join_all(runs).await.into_iter().map(Result::unwrap).collect();
            refused += ended.iter().filter(|ended| ended.is_err()).count();
            let messages = stores[0].messages(&thread, 0, 10_000, u64::MAX / 4).await.unwrap();
            assert_serial(policy, &tasks, &ended, &messages);
            messages_in_all += count;
            let line = stores[1].line(&thread).await.unwrap();
            assert_eq!((line.holder, line.waiting.len()), (None, 0));
        }
        // They did come at once.
        assert_eq!(refused > 0, matches!(policy, OnBusy::Reject | OnBusy::Interrupt | OnBusy::Rollback));
    }
    eprintln!("{rounds} rounds of each policy, {messages_in_all} messages");
    for store in stores {
        let running = RunQuery { status: vec![Status::Queued, Status::Running], ..RunQuery::default() };
        assert_eq!(store.runs(running).await.unwrap().runs, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_memory() {
    at_once(&Place::Memory(MemoryStore::new()), rounds(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_two_processes_on_one_file() {
    let place = Place::Sqlite(TempDir::new().unwrap());
    at_once(&place, rounds(40)).await;
    let Place::Sqlite(folder) = &place else { panic!() };
    let store = SqliteStore::open(folder.path().join("state.db"), SqliteOptions::default()).await.unwrap();
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_two_processes_on_one_server() {
    let schema = cluster::fresh_schema();
    at_once(&Place::Postgres(schema.clone()), rounds(40)).await;
    let options = PostgresOptions { schema, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&cluster::shared().url(), options).await.unwrap();
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

struct World {
    engine: Engine,
    agent: Agent,
    go: Arc<Notify>,
    store: MemoryStore,
}

impl World {
    fn new() -> Self {
        Self::asking(Approval::Allow)
    }

    fn asking(approval: Approval) -> Self {
        let store = MemoryStore::new();
        let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
        let go = Arc::new(Notify::new());
        let agent = agent(&engine, &go, approval);
        Self { engine, agent, go, store }
    }

    /// Until so many wait in line behind the one that has the thread.
    async fn waiting(&self, count: usize) {
        use ambidex_core::thread::Threads as _;
        let mut seen = 0;
        loop {
            let stirred = self.store.stirred(seen);
            if let Ok(line) = self.store.line("t").await
                && line.waiting.len() >= count
                && line.holder.is_some()
            {
                return;
            }
            seen = stirred.await;
        }
    }

    /// Until a run has the thread.
    async fn held(&self) {
        while !matches!(self.engine.threads().line("t").await, Ok(line) if line.holder.is_some()) {
            tokio::task::yield_now().await;
        }
    }

    fn start(&self, task: &str, on_busy: OnBusy) -> tokio::task::JoinHandle<Ended> {
        let (agent, task) = (self.agent.clone(), task.to_owned());
        tokio::spawn(async move { agent.run_with(task, on("t", on_busy)).await })
    }
}

#[tokio::test]
async fn a_run_begins_with_what_was_said_and_leaves_what_it_added() {
    let world = World::new();
    let first = world.agent.run_with("one tool", on("t", OnBusy::Enqueue)).await.unwrap();
    assert_eq!(first.thread.as_deref(), Some("t"));
    let thread = world.engine.threads().load("t").await.unwrap();
    assert_eq!(
        (thread.title.as_str(), thread.agent.as_deref(), thread.messages),
        ("one tool", Some("echo"), 4)
    );
    let second = world.agent.run_with("two", on("t", OnBusy::Enqueue)).await.unwrap();
    assert_eq!(said(&world.engine, "t").await, ["one tool", "", "", "re: one tool", "two", "re: two"]);
    assert_eq!(second.messages.len(), 6);
    // A stored run is whole, whatever its thread has.
    use ambidex_core::store::Store as _;
    let stored = world.store.load(&second.run).await.unwrap();
    let run = ambidex_core::Run::fold(&*second.run, stored.definition, &stored.records).unwrap();
    assert_eq!(run.history().len(), 6);
}

#[tokio::test]
async fn what_was_said_is_read_and_encoded_once() {
    let world = World::new();
    for n in 0..5 {
        world.agent.run_with(format!("{n}"), on("t", OnBusy::Enqueue)).await.unwrap();
    }
    let stats = world.engine.thread_cache_stats();
    // The first finds no thread, the second one that it does not know yet.
    assert_eq!((stats.misses, stats.hits, stats.grown), (1, 3, 0));
    assert_eq!(stats.hit_rate(), Some(0.75));
    assert!(stats.bytes > 0 && stats.threads == 1);
    // Another process adds to it: what was known is kept, and the rest is read.
    let other = Engine::builder().durable_store(Arc::new(world.store.clone())).build();
    other.threads().append("t", vec![Message::user("by hand")]).await.unwrap();
    let result = world.agent.run_with("last", on("t", OnBusy::Enqueue)).await.unwrap();
    assert_eq!(world.engine.thread_cache_stats().grown, 1);
    assert_eq!(result.messages.len(), 13);
    assert_eq!(result.messages[10].text(), "by hand");
    // Forgotten and made again it is another.
    other.threads().delete("t").await.unwrap();
    let result = world.agent.run_with("anew", on("t", OnBusy::Enqueue)).await.unwrap();
    assert_eq!(result.messages.len(), 2);
}

#[tokio::test]
async fn a_cache_keeps_to_its_bound() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().durable_store(store).thread_cache(50_000).build();
    let agent = agent(&engine, &Arc::new(Notify::new()), Approval::Allow);
    for round in 0..2 {
        for thread in 0..20 {
            let task = format!("{round} {}", "x".repeat(2_000));
            agent.run_with(task, on(&format!("t{thread}"), OnBusy::Enqueue)).await.unwrap();
        }
    }
    let stats = engine.thread_cache_stats();
    assert!(stats.bytes <= 50_000 && stats.threads < 20, "{stats:?}");
    for thread in 0..20 {
        assert_eq!(said(&engine, &format!("t{thread}")).await.len(), 4);
    }
}

#[tokio::test]
async fn those_in_line_are_served_in_their_order() {
    let world = World::new();
    let mut runs = vec![world.start("hold", OnBusy::Reject)];
    world.held().await;
    for n in 1..6 {
        runs.push(world.start(&format!("{n}"), OnBusy::Enqueue));
        world.waiting(n).await;
    }
    world.go.notify_one();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    let said = said(&world.engine, "t").await;
    let asked: Vec<_> = said.iter().step_by(2).map(String::as_str).collect();
    assert_eq!(asked, ["hold", "1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn who_stands_in_line_is_stored() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Enqueue);
    world.held().await;
    let second = world.start("second", OnBusy::Enqueue);
    world.waiting(1).await;
    use ambidex_core::store::RunIndex as _;
    let query = RunQuery { status: vec![Status::Queued], ..RunQuery::default() };
    let queued = world.store.runs(query).await.unwrap().runs.remove(0);
    assert_eq!(queued.thread.as_deref(), Some("t"));
    assert!(queued.lease.is_some());
    // Its process dies. Whoever takes the run over waits in its place.
    second.abort();
    drop(second.await);
    first.abort();
    drop(first.await);
    world.engine.idle().await;
    let line = world.engine.threads().line("t").await.unwrap();
    assert_eq!((line.holder, line.waiting.len()), (None, 0), "dropping cancels, and leaves");
    assert_eq!(said(&world.engine, "t").await, ["hold"]);
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_whose_process_is_gone_is_driven_on() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Enqueue);
    world.held().await;
    // A process that dies is one whose engine is gone with its runtime.
    let store = world.store.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use ambidex_core::thread::Threads as _;
            let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
            let agent = agent(&engine, &Arc::new(Notify::new()), Approval::Allow);
            let options = RunOptions { id: Some("r2".into()), ..on("t", OnBusy::Enqueue) };
            let handle = agent.start_unwatched("second", options).unwrap();
            let mut seen = 0;
            while store.line("t").await.unwrap().waiting.is_empty() {
                seen = store.stirred(seen).await;
            }
            std::mem::forget(handle);
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(move || process.join().unwrap()).await.unwrap();
    world.go.notify_one();
    first.await.unwrap().unwrap();
    assert_eq!(world.engine.threads().line("t").await.unwrap().waiting, ["r2"]);
    // Its lease runs out.
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    let agent = world.agent.clone();
    let swept = world.engine.recover_once(move |_| Some(agent.clone().into())).await.unwrap();
    assert_eq!(swept.taken, ["r2"]);
    world.engine.idle().await;
    assert_eq!(said(&world.engine, "t").await, ["hold", "re: hold", "second", "re: second"]);
}

#[tokio::test]
async fn a_busy_thread_refuses_who_will_not_wait() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let refused = world.agent.run_with("no", on("t", OnBusy::Reject)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.error.is_retryable()), (ErrorKind::Busy, true));
    let by_hand = world.engine.threads().append("t", vec![Message::user("x")]).await.unwrap_err();
    assert_eq!(by_hand.kind(), ErrorKind::Busy);
    world.go.notify_one();
    first.await.unwrap().unwrap();
    assert_eq!(said(&world.engine, "t").await, ["hold", "re: hold"]);
}

#[tokio::test]
async fn an_interrupted_run_leaves_what_it_had() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let second = world.agent.run_with("second", on("t", OnBusy::Interrupt)).await.unwrap();
    assert_eq!(second.status, Status::Succeeded);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(said(&world.engine, "t").await, ["hold", "second", "re: second"]);
}

#[tokio::test]
async fn a_run_that_is_rolled_back_leaves_nothing() {
    let world = World::new();
    world.agent.run_with("zero", on("t", OnBusy::Reject)).await.unwrap();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let second = world.agent.run_with("second", on("t", OnBusy::Rollback)).await.unwrap();
    assert_eq!(second.messages.len(), 4);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(said(&world.engine, "t").await, ["zero", "re: zero", "second", "re: second"]);
}

#[tokio::test]
async fn a_message_that_steers_goes_to_the_run_at_work() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let second = world.start("and this", OnBusy::Steer);
    // It comes while the model is at it: the reply is not the last word.
    while world.store_signals().await == 0 {
        tokio::task::yield_now().await;
    }
    world.go.notify_one();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first.run, second.run);
    assert_eq!(second.text, "re: and this");
    assert_eq!(said(&world.engine, "t").await, ["hold", "re: hold", "and this", "re: and this"]);
}

#[tokio::test]
async fn a_message_that_would_steer_gets_in_line_where_nobody_is_at_work() {
    let world = World::new();
    let other = agent(&world.engine, &world.go, Approval::Allow);
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let second = tokio::spawn(async move { other.run_with("second", on("t", OnBusy::Enqueue)).await });
    world.waiting(1).await;
    world.go.notify_one();
    let third = world.start("third", OnBusy::Steer);
    for run in [first, second, third] {
        run.await.unwrap().unwrap();
    }
    let said = said(&world.engine, "t").await;
    assert_eq!(said.iter().filter(|text| *text == "third").count(), 1);
}

impl World {
    async fn store_signals(&self) -> usize {
        use ambidex_core::thread::Threads as _;
        let holder = self.store.line("t").await.unwrap().holder.unwrap();
        let told = self.store.signals(&holder, 0).await.unwrap().len();
        // Taken in already is as good.
        let rows = self.store.runs_of(&holder).await;
        told + rows
    }
}

trait Taken {
    async fn runs_of(&self, run: &str) -> usize;
}

impl Taken for MemoryStore {
    async fn runs_of(&self, run: &str) -> usize {
        use ambidex_core::store::Store as _;
        let records = self.load(run).await.unwrap().records;
        let taken = |record: &&ambidex_core::record::Record| {
            matches!(record.kind, ambidex_core::record::RecordKind::Message(_))
        };
        records.iter().filter(taken).count()
    }
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_has_its_thread() {
    let world = World::asking(Approval::Ask);
    let first = world.agent.run_with("tool", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(first.status, Status::Waiting);
    let refused = world.agent.run_with("no", on("t", OnBusy::Reject)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    let second = world.start("second", OnBusy::Enqueue);
    world.waiting(1).await;
    world.engine.answer(&first.questions[0].id, Answer::Approve).await.unwrap();
    let handle = world.agent.resume(&first.run, vec![], RunOptions::default()).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    second.await.unwrap().unwrap();
    assert_eq!(
        said(&world.engine, "t").await,
        ["tool", "", "worked_", "re: tool", "second", "re: second"].map(|it| {
            // A result has no text of its own.
            if it == "worked_" { "" } else { it }
        })
    );
}

#[tokio::test]
async fn a_run_at_rest_can_be_interrupted() {
    let world = World::asking(Approval::Ask);
    let first = world.agent.run_with("tool", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(first.status, Status::Waiting);
    let second = world.agent.run_with("second", on("t", OnBusy::Interrupt)).await.unwrap();
    assert_eq!(second.text, "re: second");
    let messages = world.engine.threads().messages("t", 0, 100).await.unwrap();
    let whole: Vec<_> = messages.iter().map(|it| it.message.clone()).collect();
    assert_answered(&whole);
    assert_eq!(whole.len(), 5, "the call was answered: {:?}", heard(&whole));
    let engine = Engine::builder().durable_store(Arc::new(world.store.clone())).build();
    assert!(engine.questions().open(None).await.unwrap().is_empty());
    let third = world.agent.run_with("tool again", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(third.status, Status::Waiting);
    world.agent.run_with("fourth", on("t", OnBusy::Rollback)).await.unwrap();
    let said = said(&world.engine, "t").await;
    assert!(!said.contains(&"tool again".to_owned()) && said.last().unwrap() == "re: fourth");
}

#[tokio::test]
async fn a_run_that_fails_before_a_word_leaves_nothing() {
    let world = World::new();
    let failed = world.agent.run_with("fail", on("t", OnBusy::Reject)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::ContentFilter);
    assert_eq!(said(&world.engine, "t").await, [""; 0]);
    world.agent.run_with("again", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(said(&world.engine, "t").await, ["again", "re: again"]);
}

#[tokio::test]
async fn a_thread_can_be_forked_edited_exported_and_imported() {
    let world = World::new();
    for task in ["one", "two tool"] {
        world.agent.run_with(task, on("t", OnBusy::Reject)).await.unwrap();
    }
    let threads = world.engine.threads();
    let named = |id: &str| ThreadOptions { id: Some(id.into()), ..ThreadOptions::default() };
    let fork = threads.fork("t", Some(2), named("fork")).await.unwrap();
    assert_eq!((fork.messages, fork.parent.unwrap().messages), (2, 2));
    let parted = threads.fork("t", Some(4), named("no")).await.unwrap_err();
    assert_eq!(parted.kind(), ErrorKind::InvalidRequest);
    world.agent.run_with("other", on("fork", OnBusy::Reject)).await.unwrap();
    assert_eq!(said(&world.engine, "fork").await, ["one", "re: one", "other", "re: other"]);
    let edited = threads.edit("t", 2, Message::user("better"), named("edited")).await.unwrap();
    assert_eq!(edited.messages, 3);
    assert_eq!(said(&world.engine, "edited").await, ["one", "re: one", "better"]);
    assert_eq!(
        threads.edit("t", 9, Message::user("x"), named("no")).await.unwrap_err().kind(),
        ErrorKind::InvalidRequest
    );
    threads.rename("fork", "A fork").await.unwrap();
    let file = threads.export("fork").await.unwrap();
    let text = file.to_json().unwrap();
    assert_eq!(ThreadFile::parse(&text).unwrap(), file);
    let again = threads.import(ThreadFile::parse(&text).unwrap(), None).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let other = Engine::builder().durable_store(Arc::new(MemoryStore::new())).build();
    let imported = other.threads().import(ThreadFile::parse(&text).unwrap(), None).await.unwrap();
    assert_eq!((imported.title.as_str(), imported.messages, imported.parent), ("A fork", 4, None));
    assert_eq!(said(&other, "fork").await, said(&world.engine, "fork").await);
    for (wrong, why) in [
        ("{", "EOF"),
        ("{}", "ambidex_thread"),
        (r#"{"ambidex_thread": 2, "id": "a", "messages": []}"#, "version 2"),
        (r#"{"ambidex_thread": 1, "id": "a", "messages": [], "more": 1}"#, "more"),
        (r#"{"ambidex_thread": 1, "id": "", "messages": []}"#, "empty"),
        (
            r#"{"ambidex_thread": 1, "id": "a", "messages": [{"message": {"role": "user", "parts": []}}]}"#,
            "message 0",
        ),
        (
            r#"{"ambidex_thread": 1, "id": "a", "messages": [], "summary": {"until": 1, "text": ""}}"#,
            "summary",
        ),
    ] {
        let error = ThreadFile::parse(wrong).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidRequest && error.message().contains(why), "{error}");
    }
    let found = threads.search("BETTER", 9).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].thread.id, "edited");
    threads.delete("t").await.unwrap();
    assert_eq!(said(&world.engine, "edited").await, ["one", "re: one", "better"]);
    assert_eq!(threads.load("t").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_summary_stands_for_what_came_before_and_that_stays() {
    let world = World::new();
    for task in ["one", "two", "three"] {
        world.agent.run_with(task, on("t", OnBusy::Reject)).await.unwrap();
    }
    let threads = world.engine.threads();
    let token = CancellationToken::new();
    let compacted = threads.compact("t", &world.agent, 2, token.clone()).await.unwrap();
    let summary = compacted.summary.unwrap();
    assert_eq!(summary.until, 4);
    assert!(summary.text.starts_with("re: <conversation>"), "{}", summary.text);
    assert_eq!(said(&world.engine, "t").await.len(), 6);
    let result = world.agent.run_with("four", on("t", OnBusy::Reject)).await.unwrap();
    let texts: Vec<_> = result.messages.iter().map(|message| message.text()).collect();
    assert!(texts[0].starts_with("[Summary"), "{texts:?}");
    assert_eq!(texts[1..], ["three", "re: three", "four", "re: four"]);
    let all = ["one", "re: one", "two", "re: two", "three", "re: three", "four", "re: four"];
    assert_eq!(said(&world.engine, "t").await, all);
    // Again, with what came since; and back.
    let again = threads.compact("t", &world.agent, 2, token.clone()).await.unwrap();
    assert_eq!(again.summary.unwrap().until, 6);
    assert_eq!(threads.compact("t", &world.agent, 100, token).await.unwrap().version, again.version);
    threads.expand("t").await.unwrap();
    let result = world.agent.run_with("five", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(result.messages.len(), 10);
}

#[tokio::test]
async fn sessions_hold_state_and_threads() {
    let world = World::new();
    let sessions = world.engine.sessions();
    let session = sessions.create(Some("s".into()), json!({"n": 1}), None).await.unwrap();
    let options = RunOptions { session: Some("s".into()), ..on("t", OnBusy::Reject) };
    world.agent.run_with("one", options).await.unwrap();
    let query = ThreadQuery { session: Some("s".into()), ..ThreadQuery::default() };
    assert_eq!(world.engine.threads().list(query).await.unwrap().threads.len(), 1);
    let saved = sessions.save("s", Some(session.version), json!({"n": 2})).await.unwrap();
    let late = sessions.save("s", Some(session.version), json!({"n": 3})).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    assert_eq!(sessions.load("s").await.unwrap(), saved);
    assert_eq!(sessions.list(9, None).await.unwrap().sessions, [saved]);
    sessions.delete("s").await.unwrap();
    assert_eq!(sessions.load("s").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(world.engine.threads().load("t").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_is_over_is_swept() {
    let world = World::new();
    let ttl = Some(std::time::Duration::ZERO);
    let options = ThreadOptions { id: Some("t".into()), ttl, ..ThreadOptions::default() };
    world.engine.threads().create(options).await.unwrap();
    assert_eq!(world.engine.threads().load("t").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(world.engine.threads().sweep(10).await.unwrap(), 1);
    assert_eq!(world.engine.threads().sweep(10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_without_threads_says_so() {
    let engine = Engine::builder().store(Arc::new(MemoryStore::new())).build();
    let agent = agent(&engine, &Arc::new(Notify::new()), Approval::Allow);
    let refused = agent.run_with("x", on("t", OnBusy::Reject)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConfigInvalid);
    assert_eq!(engine.threads().load("t").await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
    let unknown: Result<OnBusy, _> = "wait".parse();
    assert!(unknown.unwrap_err().message().contains("enqueue, reject, interrupt, rollback, steer"));
    let _ = (ThreadChange::default(), Input::Tick);
}
