//! Runs that are held by leases, lost, and taken over. Tokio's clock is paused, and the store's times come from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, Questions};
use ambidex_core::store::{Lease, RunIndex, RunQuery, RunSummary, Store};
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, ToolOutput};
use ambidex_engine::{Agent, ApprovalPolicy, Clock, Engine, OnWaiting, Owner, RunOptions};
use ambidex_tools::FunctionTool;
use serde_json::json;

use crate::breaking::Breaking;
use crate::late::Late;
use crate::support::{Planned, call};

/// Processes over one store, which agree on the time.
struct World {
    store: MemoryStore,
    clock: Clock,
    /// Calls of the tool that were begun.
    begun: Arc<AtomicUsize>,
    /// Calls that went on to their end.
    ended: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            clock: Clock::system(),
            begun: Arc::default(),
            ended: Arc::default(),
        }
    }

    fn engine(&self) -> Engine {
        Engine::builder().durable_store(Arc::new(self.store.clone())).clock(self.clock).build()
    }

    /// Calls a tool that takes this long, once.
    fn agent(&self, engine: &Engine, name: &str, takes: Duration, approval: Approval) -> Agent {
        let timeout_ms = Some(3_600_000);
        let spec =
            ToolSpec { input: json!({"type": "object"}), timeout_ms, ..ToolSpec::new("work", "Works.") };
        let (begun, ended) = (self.begun.clone(), self.ended.clone());
        let work = FunctionTool::dynamic(spec, move |_, _: Context| {
            let (begun, ended) = (begun.clone(), ended.clone());
            async move {
                begun.fetch_add(1, SeqCst);
                tokio::time::sleep(takes).await;
                ended.fetch_add(1, SeqCst);
                Ok(ToolOutput::Text("worked".into()))
            }
        })
        .effect(EffectClass::Idempotent);
        let policy = ApprovalPolicy { idempotent: approval, ..ApprovalPolicy::default() };
        Agent::builder()
            .engine(engine)
            .name(name)
            .model(Planned::new(vec![vec![call("work", json!({}))]]))
            .approvals(policy)
            .tool(work)
            .build()
            .unwrap()
    }

    async fn row(&self, run: &str) -> RunSummary {
        let query = RunQuery { run: Some(run.to_owned()), ..RunQuery::default() };
        self.store.runs(query).await.unwrap().runs.remove(0)
    }

    /// Somebody who takes a run although it is leased: his clock is ahead.
    async fn steal(&self, run: &str) {
        let later = self.clock.now() + 3_600_000;
        self.store.claim(run, Lease { owner: "thief".into(), until: later }, later).await.unwrap();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn named(run: &str) -> RunOptions {
    RunOptions { id: Some(run.into()), on_waiting: OnWaiting::Return, ..RunOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_run_under_way_is_leased_for_as_long_as_it_takes() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", 5 * MINUTE, Approval::Allow);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(12)).await;
        let lease = world.row("r").await.lease.expect("a lease");
        let left = lease.until.saturating_sub(world.clock.now());
        assert!((15_000..=30_000).contains(&left), "{left} ms are left");
        // Nobody else gets it.
        assert!(world.store.claimable(world.clock.now(), 10).await.unwrap().runs.is_empty());
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!((world.row("r").await.lease, world.begun.load(SeqCst)), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_at_rest_is_let_go_of() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Ask);
    let result = agent.run_with("go", named("r")).await.unwrap();
    assert_eq!(result.status, Status::Waiting);
    assert_eq!(world.row("r").await.lease, None);
}

#[tokio::test(start_paused = true)]
async fn who_starts_a_run_that_is_there_takes_nothing_from_its_driver() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lease = world.row("r").await.lease;
    assert!(lease.is_some());
    let other = world.engine();
    let again = world.agent(&other, "a", MINUTE, Approval::Allow).run_with("go", named("r")).await;
    assert_eq!(again.unwrap_err().error.code(), "store_failed");
    assert_eq!(world.row("r").await.lease, lease);
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!(world.begun.load(SeqCst), 1);
}

/// Starts a run through a store that breaks at its first commit.
async fn begun_in_vain(world: &World, writes_it: bool) {
    let store = Breaking::after(Arc::new(world.store.clone()), 0, writes_it);
    let engine = Engine::builder().durable_store(store).clock(world.clock).build();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    assert_eq!(agent.run_with("go", named("r")).await.unwrap_err().error.code(), "store_failed");
}

#[tokio::test(start_paused = true)]
async fn a_first_commit_that_failed_and_was_written_leaves_no_lease() {
    let world = World::new();
    begun_in_vain(&world, true).await;
    assert_eq!((world.row("r").await.lease, world.row("r").await.status), (None, Status::Running));
    assert_eq!(world.store.claimable(world.clock.now(), 10).await.unwrap().runs, ["r"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_commit_that_failed_takes_nothing_from_who_has_a_run_of_that_name() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lease = world.row("r").await.lease;
    assert!(lease.is_some());
    begun_in_vain(&world, false).await;
    assert_eq!(world.row("r").await.lease, lease);
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_lost_its_run_stops_within_a_renewal() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", 5 * MINUTE, Approval::Allow);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.begun.load(SeqCst), 1);
    world.steal("r").await;
    let stolen = tokio::time::Instant::now();
    let error = handle.outcome().await.unwrap_err();
    assert!(stolen.elapsed() <= Duration::from_secs(10), "{:?}", stolen.elapsed());
    assert_eq!((error.error.code(), error.error.is_retryable()), ("store_failed", false));
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.ended.load(SeqCst), 0, "what it had begun went on");
    assert_eq!(
        world.row("r").await.lease.unwrap().owner,
        "thief".into(),
        "it gave away what was not its own"
    );
}

#[tokio::test(start_paused = true)]
async fn the_sweep_takes_over_what_lost_its_process_and_is_not_stopped_by_what_it_cannot_drive() {
    let world = World::new();
    let dead = world.engine();
    // The process ends with its runtime: nothing is let go of.
    for (run, name) in [("lost", "a"), ("foreign", "b"), ("also", "a")] {
        let agent = world.agent(&dead, name, MINUTE, Approval::Allow);
        let mut handle = agent.start_unwatched("go", named(run)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        handle.detach();
        drop(handle);
    }
    assert_eq!(world.begun.load(SeqCst), 3);
    for run in ["lost", "foreign", "also"] {
        // As if it had stopped renewing: its lease is over now.
        let epoch = world.row(run).await.epoch;
        world.store.claim(run, Lease { owner: "gone".into(), until: 1 }, u64::MAX).await.unwrap();
        assert_eq!(world.row(run).await.epoch, epoch + 1);
    }
    let engine = world.engine();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    let recovery = engine.recover(move |of| (of.name() == "a").then(|| agent.clone().into())).unwrap();
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(world.row("lost").await.status, Status::Succeeded);
    assert_eq!(world.row("also").await.status, Status::Succeeded);
    assert_eq!(world.row("foreign").await.status, Status::Running);
    // Two of the fenced three were begun again, and only those ended.
    assert_eq!((world.begun.load(SeqCst), world.ended.load(SeqCst)), (5, 2));
    drop(recovery);
}

#[tokio::test(start_paused = true)]
async fn the_sweep_hears_of_an_answer_at_once() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", Duration::ZERO, Approval::Ask);
    assert_eq!(agent.run_with("go", named("r")).await.unwrap().status, Status::Waiting);
    let resumer = agent.clone();
    let _recovery = engine.recover(move |_| Some(resumer.clone().into())).unwrap();
    // It has looked, and waits for its next turn.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let question = world.store.open(Some("r")).await.unwrap().remove(0);
    world.store.answer(&question.id, Answer::Approve).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.row("r").await.status, Status::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_without_a_store_is_refused() {
    let error = Engine::default().recover(|_| None).err().expect("refused");
    assert_eq!(error.code(), "config_invalid");
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_process_tells_whether_it_is_gone() {
    let world = World::new();
    let engine = world.engine();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    let _handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let name = world.row("r").await.lease.expect("a lease").owner;
    let here = Owner::parse(&name).expect("a name");
    assert_eq!((here.pid, here.is_gone()), (std::process::id(), false));
    assert_eq!(here.to_string(), *name);
    let parts: Vec<&str> = name.split('/').collect();
    let with = |place: usize, text: &str| {
        let mut parts = parts.clone();
        parts[place] = text;
        Owner::parse(&parts.join("/")).expect("a name")
    };
    // Above what the kernel gives out.
    assert!(with(1, "4194999").is_gone());
    // Its id was given to another process.
    assert!(with(2, "1").is_gone());
    // Of another machine nothing is known.
    assert!(!with(3, "elsewhere").is_gone());
    assert_eq!(Owner::parse("gone"), None);
}

/// A run whose tool's intent is stored at once and heard of a minute later.
fn late(world: &World) -> (Engine, Agent) {
    // Accepted, the reply with the intent, the result.
    let store = Late::at(Arc::new(world.store.clone()), 1, MINUTE);
    let engine = Engine::builder().durable_store(store).clock(world.clock).build();
    let agent = world.agent(&engine, "a", Duration::ZERO, Approval::Allow);
    (engine, agent)
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_once_the_run_was_lost_during_a_commit() {
    let world = World::new();
    let (_engine, agent) = late(&world);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    // Its lease is over, so anybody may have it.
    let now = world.clock.now();
    world.store.claim("r", Lease { owner: "other".into(), until: now + 90_000 }, now).await.unwrap();
    let error = handle.outcome().await.unwrap_err();
    assert_eq!((error.error.code(), error.error.is_retryable()), ("store_failed", false));
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.begun.load(SeqCst), 0, "it began what is another's");
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_commit_outlasted_its_lease_goes_on_where_nobody_took_the_run() {
    let world = World::new();
    let (_engine, agent) = late(&world);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(world.begun.load(SeqCst), 0);
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
    assert_eq!((world.begun.load(SeqCst), world.ended.load(SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_may_be_of_another_length() {
    let world = World::new();
    let second = Duration::from_secs(1);
    let builder = Engine::builder().durable_store(Arc::new(world.store.clone())).clock(world.clock);
    let engine = builder.lease(3 * second).build();
    let agent = world.agent(&engine, "a", MINUTE, Approval::Allow);
    let handle = agent.start_unwatched("go", named("r")).unwrap();
    for _ in 0..25 {
        tokio::time::sleep(second).await;
        let left = world.row("r").await.lease.expect("a lease").until.saturating_sub(world.clock.now());
        assert!((1_000..=3_000).contains(&left), "{left} ms are left");
    }
    assert_eq!(handle.outcome().await.unwrap().status, Status::Succeeded);
}
