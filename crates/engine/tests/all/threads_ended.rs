//! Runs on threads that others end, and those that come after them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::Answer;
use ambidex_core::store::{AnyStore, RunQuery};
use ambidex_core::thread::{Line, Signal};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, Error, ErrorKind, ToolOutput};
use ambidex_engine::{Agent, Engine, OnBusy, RunOptions};
use ambidex_tools::FunctionTool;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::cluster;
use crate::threads::{Echo, World, agent, dies_in_line, on, said};
use crate::threads_at_once::Place;

fn engine(store: &Arc<dyn AnyStore>) -> Engine {
    Engine::builder().durable_store(store.clone()).build()
}

fn asks(engine: &Engine) -> Agent {
    agent(engine, &Arc::new(Notify::new()), Approval::Ask)
}

async fn status_of(store: &dyn AnyStore, run: &str) -> Status {
    let query = RunQuery { run: Some(run.into()), ..RunQuery::default() };
    store.runs(query).await.unwrap().runs[0].status
}

async fn a_cancelled_run_gives_its_thread_back(place: Place) {
    let store = place.store().await;
    let engine = engine(&store);
    let agent = asks(&engine);
    let first = agent.run_with("tool", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(first.status, Status::Waiting);
    assert!(engine.cancel_run(&first.run).await.unwrap());
    assert_eq!(store.line("t").await.unwrap(), Line::default());
    let second = agent.run_with("second", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(second.text, "re: second");
    // The call was answered.
    assert_eq!(said(&engine, "t").await, ["tool", "", "", "second", "re: second"]);
}

#[tokio::test]
async fn a_cancelled_run_gives_its_thread_back_in_memory() {
    a_cancelled_run_gives_its_thread_back(Place::Memory(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_cancelled_run_gives_its_thread_back_in_a_file() {
    a_cancelled_run_gives_its_thread_back(Place::Sqlite(TempDir::new().unwrap())).await;
}

#[tokio::test]
async fn a_cancelled_run_gives_its_thread_back_on_a_server() {
    a_cancelled_run_gives_its_thread_back(Place::Postgres(cluster::fresh_schema())).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_in_line_leaves_it() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    dies_in_line(&world.store, "r2").await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(world.engine.cancel_run("r2").await.unwrap());
    world.go.notify_one();
    first.await.unwrap().unwrap();
    world.agent.run_with("third", on("t", OnBusy::Reject)).await.unwrap();
    assert_eq!(said(&world.engine, "t").await, ["hold", "re: hold", "third", "re: third"]);
}

#[tokio::test]
async fn what_a_run_was_told_before_it_is_taken_over_is_heard() {
    let place = Place::Sqlite(TempDir::new().unwrap());
    for (signal, left) in [(Signal::RollBack, 0), (Signal::Stop, 3)] {
        let store = place.store().await;
        let first = asks(&engine(&store)).run_with("tool", on("t", OnBusy::Reject)).await.unwrap();
        store.tell("t", &first.run, signal).await.unwrap();
        drop(store);
        // Another process, in which nothing has stirred yet.
        let store = place.store().await;
        let engine = engine(&store);
        engine.answer(&first.questions[0].id, Answer::Approve).await.unwrap();
        let handle = asks(&engine).resume(&first.run, vec![], RunOptions::default()).await.unwrap();
        assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
        let said = said(&engine, "t").await;
        assert_eq!(said.len(), left, "{said:?}");
    }
}

#[tokio::test]
async fn who_interrupts_a_run_leaves_those_in_line_alone() {
    let world = World::asking(Approval::Ask);
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    let second = world.start("tool", OnBusy::Enqueue);
    world.waiting(1).await;
    let third = world.start("third", OnBusy::Interrupt);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.status, Status::Waiting);
    // Whoever interrupts looks at who has the thread now.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status_of(&world.store, &second.run).await, Status::Waiting);
    world.engine.answer(&second.questions[0].id, Answer::Approve).await.unwrap();
    let handle = world.agent.resume(&second.run, vec![], RunOptions::default()).await.unwrap();
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    third.await.unwrap().unwrap();
    let said = said(&world.engine, "t").await;
    assert_eq!(said, ["hold", "tool", "", "", "re: tool", "third", "re: third"]);
}

#[tokio::test(start_paused = true)]
async fn who_interrupts_does_not_wait_for_the_dead() {
    let world = World::new();
    let first = world.start("hold", OnBusy::Reject);
    world.held().await;
    dies_in_line(&world.store, "r2").await;
    world.go.notify_one();
    first.await.unwrap().unwrap();
    // Its lease is to run out.
    let third = world.agent.run_with("third", on("t", OnBusy::Interrupt));
    let third = tokio::time::timeout(Duration::from_secs(100), third).await.unwrap().unwrap();
    assert_eq!(third.text, "re: third");
    assert_eq!(status_of(&world.store, "r2").await, Status::Cancelled);
    assert_eq!(said(&world.engine, "t").await, ["hold", "re: hold", "third", "re: third"]);
}

#[tokio::test(start_paused = true)]
async fn a_tool_does_not_wait_for_the_thread_of_its_own_run() {
    for on_busy in [OnBusy::Enqueue, OnBusy::Steer, OnBusy::Interrupt, OnBusy::Rollback, OnBusy::Reject] {
        let world = World::new();
        let (inner, refused) = (world.agent.clone(), Arc::new(Mutex::new(None)));
        let (spec, kept) = (
            ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("work", "Works.") },
            refused.clone(),
        );
        let work = FunctionTool::dynamic(spec, move |_, context: Context| {
            let (inner, kept) = (inner.clone(), kept.clone());
            async move {
                let options = RunOptions { parent: Some(context), ..on("t", on_busy) };
                let ended = inner.run_with("inner", options).await;
                *kept.lock().unwrap() = Some(ended.unwrap_err().error);
                Ok::<_, Error>(ToolOutput::Text("done".into()))
            }
        })
        .effect(EffectClass::Read);
        let outer = Agent::builder().engine(&world.engine).name("outer").model(Echo::new(&world.go));
        let outer = outer.tool(work).build().unwrap();
        let result = outer.run_with("tool", on("t", OnBusy::Reject)).await.unwrap();
        assert_eq!(result.text, "re: tool");
        let error = refused.lock().unwrap().take().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(
            error.message().contains(&result.run) && error.message().contains("another thread"),
            "{error}"
        );
    }
}
