//! What happens while a step is being stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::budget::Grant;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Input;
use ambidex_core::store::{Batch, Lease, Store, StoreError, Stored};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_engine::{Agent, Engine, RunOptions};
use ambidex_tools::FunctionTool;
use serde_json::json;

use crate::agent::looking;
use crate::support::{Planned, World, assert_answered, call, heard, ms};

/// Each commit takes 10 ms.
#[derive(Default)]
struct SlowStore(MemoryStore);

impl Store for SlowStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.0.claim(run, lease, now)
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.renew(run, epoch, until)
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.0.load(run)
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let (memory, run) = (self.0.clone(), run.to_owned());
        Box::pin(async move {
            ms(10).await;
            memory.commit(&run, epoch, expected, batch).await
        })
    }
}

impl Questions for SlowStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.0.ask(question)
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.0.withdraw(id)
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.0.answer(id, answer)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.0.open(run)
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.0.answered(id)
    }
}

fn engine() -> Engine {
    Engine::builder().store(Arc::new(SlowStore::default())).build()
}

#[tokio::test(start_paused = true)]
async fn calls_whose_intents_are_being_stored_do_not_start_after_a_cancel() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let tool = FunctionTool::dynamic(ToolSpec::new("work", "for tests"), move |_, _| {
        counted.fetch_add(1, SeqCst);
        async { Ok("done".into()) }
    });
    let agent = Agent::builder()
        .engine(&engine())
        .model(Planned::new(vec![vec![call("work", json!({})), call("work", json!({}))]]))
        .tool(tool.effect(EffectClass::Once))
        .build()
        .unwrap();
    let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
    // Accepted until 10, the model until 15, the reply and the intents until 25.
    ms(20).await;
    handle.cancel();
    let result = handle.outcome().await.unwrap_err().result.unwrap();
    assert_eq!((result.status, begun.load(SeqCst)), (Status::Cancelled, 0));
    assert_answered(&result.messages);
    assert_eq!(heard(&result.messages)[2], "Tool c0.0 failed: cancelled: cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_message_taken_while_the_last_step_is_stored_is_not_lost() {
    let world = World::default();
    let agent = looking(2, &world).engine(&engine()).max_iterations(1).build().unwrap();
    let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
    // As above; the tool until 26, its result and the pause until 36.
    ms(30).await;
    handle.steer("in time").unwrap();
    let paused = handle.outcome().await.unwrap();
    assert_eq!(paused.status, Status::Paused);
    let more = vec![Input::Resume(Grant { iterations: 9, ..Grant::default() })];
    let handle = agent.resume(&paused.run, more, RunOptions::default()).await.unwrap();
    let result = handle.outcome().await.unwrap();
    assert_eq!(heard(&result.messages)[3], "User in time", "{:?}", heard(&result.messages));
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_while_a_step_is_stored() {
    // `look` ends and is stored while the approval of nothing else waits; progress must not wait for it.
    let tool = FunctionTool::dynamic(ToolSpec::new("tick", "for tests"), |_, context| async move {
        for n in 0..30 {
            context.progress(json!(n));
            ms(1).await;
        }
        Ok("done".into())
    });
    let world = World::default();
    let calls = vec![call("tick", json!({})), call("look", json!({"ms": 5}))];
    let agent = Agent::builder()
        .engine(&engine())
        .model(Planned::new(vec![calls]))
        .tool(tool)
        .tool(world.tool("look", EffectClass::Read))
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    assert!(agent.run("go").await.unwrap().task_completed);
    // Five steps of 10 ms, two model calls of 5, 30 ticks: the step of `look` costs nothing on top.
    let took = started.elapsed();
    assert!(took <= Duration::from_millis(10 + 5 + 10 + 31 + 10 + 5 + 10 + 4), "{took:?}");
}
