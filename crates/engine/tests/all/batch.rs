//! Batches: at once under a limit, or one after another; lazy, cancellable, flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::event::Status;
use ambidex_core::message::Role;
use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxStream, Context, Error, ErrorKind, Message};
use ambidex_engine::{Agent, ApprovalPolicy, BatchOptions, Engine, OnWaiting, RunOptions, Task};
use ambidex_tools::FunctionTool;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::process::{again, child_folder};
use crate::support::{Gauge, Planned, call, heard, ms};

/// Answers `wait N ...` after N ms with all it has heard from people; `fail ...` fails.
#[derive(Clone)]
struct Patient {
    info: ModelInfo,
    calls: Arc<Gauge>,
}

impl Patient {
    fn new() -> Self {
        Self { info: ModelInfo::new("patient", "test"), calls: Arc::default() }
    }
}

impl Model for Patient {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, request: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let said: Vec<String> =
            request.history.iter().filter(|message| message.role == Role::User).map(|m| m.text()).collect();
        let last = said.last().cloned().unwrap_or_default();
        let wait = last.strip_prefix("wait ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let calls = self.calls.clone();
        stream::once(async move {
            let _inside = calls.enter();
            ms(wait.unwrap_or(1)).await;
            if last.starts_with("fail") {
                return stream::iter(vec![Err(Error::new(ErrorKind::InvalidRequest, "as asked"))]);
            }
            let text = Chunk::Text { part: 0, text: said.join(" | ") };
            stream::iter(vec![Ok(text), Ok(Chunk::End(Finish::Stop))])
        })
        .flatten()
        .boxed()
    }
}

fn at_once(runs: usize) -> BatchOptions {
    BatchOptions { concurrency: runs, ..BatchOptions::default() }
}

fn one_by_one() -> BatchOptions {
    BatchOptions { sequential: true, ..BatchOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn results_come_as_they_are_ready_with_the_place_of_their_task() {
    let agent = Agent::builder().model(Patient::new()).build().unwrap();
    let tasks = ["wait 300 a", "wait 100 b", "wait 200 c"];
    let items: Vec<_> = agent.batch(tasks, at_once(3)).collect().await;
    let found: Vec<_> =
        items.iter().map(|(index, result)| (*index, result.as_ref().unwrap().text.as_str())).collect();
    assert_eq!(found, [(1, "wait 100 b"), (2, "wait 200 c"), (0, "wait 300 a")]);
}

#[tokio::test(start_paused = true)]
async fn as_many_run_at_once_as_are_allowed_and_no_task_is_taken_before_there_is_room() {
    let model = Patient::new();
    let agent = Agent::builder().model(model.clone()).build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    // Without an end.
    let tasks = (0..).map(move |n| {
        counted.fetch_add(1, SeqCst);
        format!("wait {} x", 10 + (n * 7) % 13)
    });
    let mut batch = agent.batch(tasks, at_once(5));
    assert_eq!(taken.load(SeqCst), 0, "nothing begins before it is wanted");
    for given in 1..=500 {
        batch.next().await.unwrap().1.unwrap();
        assert!(taken.load(SeqCst) <= given + 5, "{} taken for {given}", taken.load(SeqCst));
    }
    assert_eq!(model.calls.peak(), 5);
    // A reader who pauses stops the intake.
    let before = taken.load(SeqCst);
    ms(1_000).await;
    assert_eq!(taken.load(SeqCst), before);
    assert_eq!(model.calls.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_a_value() {
    let agent = Agent::builder().model(Patient::new()).build().unwrap();
    let empty = Task::from(Vec::<Arc<Message>>::new());
    let tasks = vec![Task::from("fail one"), Task::from("two"), empty, Task::from("four")];
    let mut items: Vec<_> = agent.batch(tasks, at_once(2)).collect().await;
    items.sort_by_key(|(index, _)| *index);
    let codes: Vec<_> = items
        .iter()
        .map(|(_, result)| result.as_ref().map_or_else(|e| e.error.code(), |r| r.text.as_str()))
        .collect();
    assert_eq!(codes, ["invalid_request", "two", "invalid_request", "four"]);
    let failed = items[0].1.as_ref().unwrap_err().result.as_ref().unwrap();
    assert_eq!(failed.status, Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn one_after_another_each_task_sees_what_was_said_before_it() {
    let model = Patient::new();
    let agent = Agent::builder().model(model.clone()).build().unwrap();
    let tasks = ["one", "fail two", "three", "four"];
    let items: Vec<_> = agent.batch(tasks, one_by_one()).collect().await;
    assert_eq!(model.calls.peak(), 1);
    assert_eq!(items.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let last = items[3].1.as_ref().unwrap();
    assert_eq!(
        heard(&last.messages),
        [
            "User one",
            "Assistant one",
            // What failed was not said.
            "User three",
            "Assistant one | three",
            "User four",
            "Assistant one | three | four",
        ]
    );
    let threads: Vec<_> = [0, 2, 3].map(|at: usize| items[at].1.as_ref().unwrap().thread.clone()).to_vec();
    assert!(threads[0].is_some() && threads.iter().all(|thread| *thread == threads[0]), "{threads:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_it_cancels_what_is_under_way() {
    let model = Patient::new();
    let engine = Engine::default();
    let agent = Agent::builder().engine(&engine).model(model.clone()).build().unwrap();
    let tasks = (0..100).map(|n| if n == 3 { "wait 1 x" } else { "wait 3600000 x" });
    let mut batch = agent.batch(tasks, at_once(10));
    assert_eq!(batch.next().await.unwrap().0, 3);
    assert_eq!(model.calls.now(), 9);
    drop(batch);
    engine.idle().await;
    assert_eq!((model.calls.now(), engine.active_runs()), (0, 0));
    assert_eq!(model.calls.peak(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_still_gives_the_results_of_what_ran() {
    let model = Patient::new();
    let agent = Agent::builder().model(model.clone()).build().unwrap();
    // The source never ends, and at the moment has nothing.
    let tasks = stream::iter(["wait 5 a", "wait 600000 b", "wait 600000 c"]).chain(stream::pending());
    let mut batch = agent.batch_stream(tasks, at_once(8));
    assert_eq!(batch.next().await.unwrap().0, 0);
    let token = batch.token();
    let rest = async {
        let mut rest: Vec<_> = batch.collect().await;
        rest.sort_by_key(|(index, _)| *index);
        rest
    };
    let (rest, ()) = tokio::join!(rest, async {
        ms(50).await;
        token.cancel();
    });
    let ends: Vec<_> = rest.iter().map(|(n, result)| (*n, result.as_ref().unwrap_err().kind())).collect();
    assert_eq!(ends, [(1, ErrorKind::Cancelled), (2, ErrorKind::Cancelled)]);
    assert_eq!(model.calls.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn runs_that_wait_for_a_person_come_back_where_that_is_wanted() {
    let approvals =
        ApprovalPolicy { once: ambidex_core::definition::Approval::Ask, ..ApprovalPolicy::default() };
    let tool = FunctionTool::dynamic(ToolSpec::new("pay", "for tests"), |_, _| async { Ok("paid".into()) });
    let agent = Agent::builder()
        .model(Planned::new(vec![vec![call("pay", json!({}))]]))
        .tool(tool.effect(EffectClass::Once))
        .approvals(approvals)
        .build()
        .unwrap();
    let run = RunOptions { on_waiting: OnWaiting::Return, ..RunOptions::default() };
    let options = BatchOptions { run, sequential: true, ..BatchOptions::default() };
    let items: Vec<_> = agent.batch(["a", "b"], options).collect().await;
    for (_, result) in &items {
        let result = result.as_ref().unwrap();
        assert_eq!((result.status, result.questions.len()), (Status::Waiting, 1));
        assert_eq!(result.messages.len(), 2, "it is no part of the conversation");
    }
}

/// Two runs meet inside their tools, each of which blocks its thread until the other is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn runs_use_several_cores() {
    let inside = Arc::new(AtomicUsize::new(0));
    let tool = FunctionTool::dynamic(ToolSpec::new("meet", "for tests"), move |_, _| {
        let inside = inside.clone();
        async move {
            inside.fetch_add(1, SeqCst);
            let start = std::time::Instant::now();
            while inside.load(SeqCst) < 2 {
                assert!(start.elapsed() < Duration::from_secs(60), "the other never came");
                std::thread::yield_now();
            }
            Ok("met".into())
        }
    });
    let model = Planned::new(vec![vec![call("meet", json!({}))]]);
    let agent = Agent::builder().model(model).tool(tool.effect(EffectClass::Read)).build().unwrap();
    // More than two: a task that was woken last may wait behind one that computes, the others do not.
    let items: Vec<_> = agent.batch(["go"; 8], at_once(8)).collect().await;
    assert!(items.iter().all(|(_, result)| result.as_ref().unwrap().text.contains("met")), "{items:?}");
}

#[test]
fn the_blocking_door_gives_the_same() {
    let agent = Agent::builder().model(Patient::new()).build().unwrap().blocking();
    let batch = agent.batch(["wait 40 a", "fail b", "wait 1 c"], at_once(3)).unwrap();
    let mut items: Vec<_> = batch.map(|(n, result)| (n, result.map(|result| result.text).ok())).collect();
    items.sort();
    assert_eq!(items, [(0, Some("wait 40 a".into())), (1, None), (2, Some("wait 1 c".into()))]);
    let mut endless = agent.batch(std::iter::repeat("again"), at_once(2)).unwrap();
    assert!(endless.next().unwrap().1.is_ok());
    endless.cancel();
    assert!(endless.count() <= 2);
}

#[test]
fn a_long_batch_takes_no_more_memory_than_a_short_one() {
    if child_folder().is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = again("batch::a_long_batch_takes_no_more_memory_than_a_short_one", folder.path());
        assert!(child.status().unwrap().success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Engine::default();
        let agent = Agent::builder().engine(&engine).model(Patient::new()).build().unwrap();
        let task = "x".repeat(4_000);
        let mut batch = agent.batch(std::iter::repeat(task), at_once(50));
        let mut some = async |runs: usize| {
            for _ in 0..runs {
                batch.next().await.unwrap().1.unwrap();
            }
            crate::leaks::resident_kib()
        };
        let before = some(1_000).await;
        // Each holds its task twice: kept, they would be 80 MB.
        let after = some(10_000).await;
        println!("{before} KiB, {after} KiB");
        assert!(after <= before + 12 * 1024, "{before} KiB, {after} KiB");
        drop(batch);
        engine.idle().await;
        assert_eq!(engine.active_runs(), 0);
    });
}
