//! Many runs that are taken over together. Tokio's clock is paused, and the store's times come from it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::graph::Source;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, Questions};
use ambidex_core::store::{RunIndex, RunQuery};
use ambidex_core::tool::EffectClass;
use ambidex_engine::{Agent, ApprovalPolicy, Clock, Engine, Graph, OnWaiting, RunOptions};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Planned, World, call};
use crate::watched_store::{CLAIM, Watched};

fn named(run: &str) -> RunOptions {
    RunOptions { id: Some(run.into()), on_waiting: OnWaiting::Return, ..RunOptions::default() }
}

/// Runs in one store, and the process that is to drive them on.
struct Town {
    store: MemoryStore,
    watched: Arc<Watched>,
    engine: Engine,
    world: World,
}

impl Town {
    fn new() -> Self {
        let store = MemoryStore::new();
        let watched = Watched::around(Arc::new(store.clone()));
        let engine = Engine::builder().durable_store(watched.clone()).clock(Clock::system()).build();
        Self { store, watched, engine, world: World::default() }
    }

    /// Asks before it works for this long.
    fn agent(&self, ms: u64) -> Agent {
        Agent::builder()
            .engine(&self.engine)
            .name("a")
            .model(Planned::new(vec![vec![call("work", json!({ "ms": ms }))]]))
            .approvals(ApprovalPolicy { idempotent: Approval::Ask, ..ApprovalPolicy::default() })
            .tool(self.world.tool("work", EffectClass::Idempotent).concurrency(1000))
            .build()
            .unwrap()
    }

    /// So many runs whose question was answered while nobody drove them.
    async fn answered(&self, agent: &Agent, runs: usize) {
        for run in 0..runs {
            agent.run_with("go", named(&format!("r{run}"))).await.unwrap();
        }
        for question in self.store.open(None).await.unwrap() {
            self.store.answer(&question.id, Answer::Approve).await.unwrap();
        }
    }

    async fn in_status(&self, status: Status) -> usize {
        let query = RunQuery { status: vec![status], limit: 1000, ..RunQuery::default() };
        self.store.runs(query).await.unwrap().runs.len()
    }
}

#[tokio::test(start_paused = true)]
async fn runs_are_claimed_beside_each_other_and_each_once() {
    const RUNS: usize = 200;
    let town = Town::new();
    let agent = town.agent(1);
    town.answered(&agent, RUNS).await;
    let since = Instant::now();
    let swept = town.engine.recover_once(move |_| Some(agent.clone().into())).await.unwrap();
    let in_a_row = since.elapsed().as_millis() / CLAIM.as_millis();
    assert_eq!((swept.taken.len(), swept.left), (RUNS, vec![]));
    assert!((1..=8).contains(&in_a_row), "{in_a_row} claims in a row for {RUNS} runs");
    let most = town.watched.gauge.peak();
    assert!((32..=64).contains(&most), "{most} claims at once");
    town.engine.idle().await;
    assert_eq!(town.in_status(Status::Succeeded).await, RUNS);
    let claims = town.watched.claims.lock().unwrap();
    assert!(claims.len() == RUNS && claims.values().all(|times| *times == 1), "{claims:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_makes_room_for_the_next() {
    const RUNS: usize = 600;
    let town = Town::new();
    let agent = town.agent(100);
    town.answered(&agent, RUNS).await;
    let recovery = town.engine.recover(move |_| Some(agent.clone().into())).unwrap();
    // Before it would look again by itself.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(town.in_status(Status::Succeeded).await, RUNS);
    let most = town.world.shared.gauge.peak();
    assert!((128..=256).contains(&most), "{most} at once");
    drop(recovery);
}

#[tokio::test(start_paused = true)]
async fn children_that_can_go_on_drive_their_root_once() {
    let town = Town::new();
    let asks = |name: &str| {
        Graph::builder(name).ask("go", Source::Value(json!("Go?"))).output("go").build().unwrap()
    };
    let graph = Graph::builder("outer")
        .engine(&town.engine)
        .graph_node("one", asks("one"), Source::State)
        .graph_node("two", asks("two"), Source::State)
        .start(["one", "two"])
        .build()
        .unwrap();
    let waiting = graph.run_with(json!({}), named("r")).await.unwrap();
    assert_eq!(waiting.questions.len(), 2);
    for question in waiting.questions {
        town.store.answer(&question.id, Answer::Answer { answer: json!("yes") }).await.unwrap();
    }
    let now = town.engine.clock().now();
    let ready = town.store.claimable(now, 10).await.unwrap().runs;
    assert_eq!(ready, ["r/one#0", "r/two#0"]);
    town.watched.claims.lock().unwrap().clear();
    let known = graph.clone();
    let swept = town.engine.recover_once(move |of| (of.name() == "outer").then(|| known.clone().into()));
    let swept = swept.await.unwrap();
    assert_eq!((swept.taken.len(), swept.left), (1, vec![]));
    town.engine.idle().await;
    assert_eq!(town.in_status(Status::Succeeded).await, 3);
    let claims = town.watched.claims.lock().unwrap().clone();
    assert_eq!(
        claims.into_iter().collect::<Vec<_>>(),
        [("r".to_owned(), 1), ("r/one#0".to_owned(), 1), ("r/two#0".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_claimed_in_vain_is_let_go_of() {
    let town = Town::new();
    let agent = town.agent(1);
    town.answered(&agent, 1).await;
    town.watched.is_unreadable.store(true, SeqCst);
    let known = agent.clone();
    let swept = town.engine.recover_once(move |_| Some(known.clone().into())).await.unwrap();
    assert_eq!((swept.taken.len(), swept.left), (0, vec![]));
    town.engine.idle().await;
    assert_eq!(town.watched.claims.lock().unwrap()["r0"], 1);
    town.watched.is_unreadable.store(false, SeqCst);
    let swept = town.engine.recover_once(move |_| Some(agent.clone().into())).await.unwrap();
    assert_eq!(swept.taken, ["r0"]);
    town.engine.idle().await;
    assert_eq!(town.in_status(Status::Succeeded).await, 1);
}
