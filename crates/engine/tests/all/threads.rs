//! Runs on stored threads: whose turn it is, what they hear, what stays.

use std::sync::Arc;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::{Message, Role};
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::question::Answer;
use ambidex_core::store::RunQuery;
use ambidex_core::thread::ThreadQuery;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Context, Error, ErrorKind, ToolOutput};
use ambidex_engine::{
    Agent, ApprovalPolicy, Engine, OnBusy, OnWaiting, RunError, RunOptions, RunResult, ThreadFile,
    ThreadOptions,
};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::{assert_answered, heard};

/// Says `re: TASK` after some turns of the scheduler, and calls a tool first where the task wants it. Words in the
/// task: `tool`, `hold` (waits for `go`), `fail`.
pub struct Echo {
    info: ModelInfo,
    go: Arc<Notify>,
}

impl Echo {
    pub fn new(go: &Arc<Notify>) -> Self {
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

pub fn agent(engine: &Engine, go: &Arc<Notify>, approval: Approval) -> Agent {
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

pub fn on(thread: &str, on_busy: OnBusy) -> RunOptions {
    RunOptions {
        thread: Some(thread.into()),
        on_busy,
        on_waiting: OnWaiting::Return,
        ..RunOptions::default()
    }
}

pub async fn said(engine: &Engine, thread: &str) -> Vec<String> {
    let messages = engine.threads().messages(thread, 0, 10_000).await.unwrap();
    messages.iter().map(|it| it.message.text()).collect()
}

pub type Ended = Result<RunResult, RunError>;

pub struct World {
    pub engine: Engine,
    pub agent: Agent,
    pub go: Arc<Notify>,
    pub store: MemoryStore,
}

impl World {
    pub fn new() -> Self {
        Self::asking(Approval::Allow)
    }

    pub fn asking(approval: Approval) -> Self {
        let store = MemoryStore::new();
        let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
        let go = Arc::new(Notify::new());
        let agent = agent(&engine, &go, approval);
        Self { engine, agent, go, store }
    }

    /// Until so many wait in line behind the one that has the thread.
    pub async fn waiting(&self, count: usize) {
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
    pub async fn held(&self) {
        while !matches!(self.engine.threads().line("t").await, Ok(line) if line.holder.is_some()) {
            tokio::task::yield_now().await;
        }
    }

    pub fn start(&self, task: &str, on_busy: OnBusy) -> tokio::task::JoinHandle<Ended> {
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

/// Somebody says `second`, and their process dies while they stand in line.
pub async fn dies_in_line(store: &MemoryStore, run: &'static str) {
    // A process that dies is one whose engine is gone with its runtime.
    let store = store.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use ambidex_core::thread::Threads as _;
            let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
            let agent = agent(&engine, &Arc::new(Notify::new()), Approval::Allow);
            let options = RunOptions { id: Some(run.into()), ..on("t", OnBusy::Enqueue) };
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
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_whose_process_is_gone_is_driven_on() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Enqueue);
    world.held().await;
    dies_in_line(&world.store, "r2").await;
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
}
