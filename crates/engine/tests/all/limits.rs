//! Limits, counted: what runs at once, and what waits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use ambidex_core::blocking::BlockingThreads;
use ambidex_core::event::EventKind;
use ambidex_core::memory::MemoryStore;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, Error, ErrorKind};
use ambidex_engine::{Agent, Engine, RunOptions};
use ambidex_tools::{BlockingPool, BlockingTool, FunctionTool, Registered};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::deadly::{DeadlyStore, Death};
use crate::support::{Call, Gauge, Planned, World, call, ms, until};

fn any_input(name: &str) -> ToolSpec {
    ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new(name, "for tests") }
}

fn blocking(name: &str, work: impl Fn(&Context) + Send + Sync + 'static) -> BlockingTool {
    BlockingTool::dynamic(any_input(name), move |_, context| {
        work(&context);
        Ok("done".into())
    })
}

fn times(name: &str, times: usize) -> Vec<Call> {
    (0..times).map(|n| call(name, json!({"ms": 50, "n": n}))).collect()
}

/// Opens once.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.lock().unwrap();
        while !*open {
            open = self.1.wait(open).unwrap();
        }
    }
}

#[tokio::test]
async fn eight_blocking_calls_on_four_threads_take_two_waves() {
    let (gauge, waves) = (Arc::new(Gauge::default()), Arc::new(AtomicUsize::new(0)));
    let (inside, begun) = (gauge.clone(), waves.clone());
    // Each wave is let go when four are in: with fewer at once this would stand still.
    let four = Barrier::new(4);
    let tool = blocking("work", move |_| {
        let _inside = inside.enter();
        if four.wait().is_leader() {
            begun.fetch_add(1, SeqCst);
        }
        std::thread::sleep(Duration::from_millis(50));
    });
    let pool = BlockingPool::new(4);
    let engine = Engine::builder().threads(Arc::new(pool.clone())).build();
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(vec![times("work", 8)]))
        .tool(tool)
        .build()
        .unwrap();
    let run = tokio::time::timeout(Duration::from_secs(30), agent.run("go"));
    let result = run.await.expect("two waves of four").unwrap();
    assert!(result.task_completed);
    assert_eq!((gauge.peak(), waves.load(SeqCst)), (4, 2));
    let census = pool.census();
    assert_eq!((census.peak, census.busy, census.waiting, census.abandoned), (4, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_tool_overlaps_no_other_of_its_run() {
    let world = World::default();
    let alone = Arc::new(AtomicBool::new(true));
    let (traces, seen) = (world.shared.clone(), alone.clone());
    let sweep = FunctionTool::dynamic(any_input("sweep"), move |_, _| {
        let (traces, seen) = (traces.clone(), seen.clone());
        async move {
            let inside = traces.gauge.enter();
            for _ in 0..10 {
                seen.fetch_and(traces.gauge.now() == inside.now && inside.now == 1, SeqCst);
                ms(3).await;
            }
            Ok("swept".into())
        }
    });
    let turn = ["look", "look", "sweep", "look", "sweep", "sweep", "look", "look", "look"];
    let turn: Vec<Call> =
        (0..).zip(turn).map(|(n, name)| call(name, json!({"ms": 10 + n, "n": n}))).collect();
    let agent = Agent::builder()
        .model(Planned::new(vec![turn.clone(), turn]))
        .tool(world.tool("look", EffectClass::Read))
        .tool(sweep.exclusive())
        .build()
        .unwrap();
    assert!(agent.run("go").await.unwrap().task_completed);
    assert!(alone.load(SeqCst), "an exclusive tool ran beside another");
    assert_eq!(world.shared.gauge.peak(), 3, "the others do run side by side");
}

/// An agent whose first call blocks past its limit until the gate opens, and whose second is another.
fn outliving(pool: &BlockingPool, gate: &Arc<Gate>, concurrency: u32) -> (Agent, Arc<Gauge>) {
    let (gauge, gate) = (Arc::new(Gauge::default()), gate.clone());
    let inside = gauge.clone();
    let first = AtomicBool::new(true);
    let tool = blocking("work", move |_| {
        let _inside = inside.enter();
        if first.swap(false, SeqCst) {
            gate.pass();
        }
    });
    let engine = Engine::builder().threads(Arc::new(pool.clone())).build();
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(vec![times("work", 1), times("work", 1)]))
        .tool(tool.effect(EffectClass::Read).timeout(Duration::from_millis(20)).concurrency(concurrency))
        .build()
        .unwrap();
    (agent, gauge)
}

#[tokio::test]
async fn a_timed_out_blocking_tool_keeps_its_thread_until_it_ends() {
    let (gate, pool) = (Arc::new(Gate::default()), BlockingPool::new(1));
    let (agent, gauge) = outliving(&pool, &gate, 8);
    let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
    until("the second call queues for the thread", || pool.census().waiting == 1).await;
    let census = pool.census();
    assert_eq!((census.busy, census.abandoned, gauge.now()), (1, 1, 1));
    gate.open();
    let result = handle.outcome().await.unwrap();
    assert!(result.text.contains("tool_timeout") && result.text.contains("done"), "{}", result.text);
    assert_eq!((gauge.peak(), pool.census().peak), (1, 1));
}

#[tokio::test]
async fn a_timed_out_blocking_tool_keeps_its_place_among_the_calls_of_its_tool() {
    let (gate, pool) = (Arc::new(Gate::default()), BlockingPool::new(4));
    let (agent, gauge) = outliving(&pool, &gate, 1);
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let mut events = handle.take_events();
    // The second model call has ended: the second call of the tool is wanted, and there are threads.
    let mut replies = 0;
    while replies < 2 {
        replies += usize::from(matches!(events.next().await.unwrap().kind, EventKind::ModelFinished { .. }));
    }
    ms(50).await;
    assert_eq!((gauge.now(), pool.census().busy), (1, 1), "the thread of the first call still runs");
    gate.open();
    assert!(handle.outcome().await.unwrap().task_completed);
    assert_eq!(gauge.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tool_a_run_and_the_process_have_limits() {
    let peak_of = async |engine: &Engine, tool_limit: u32, run_limit: u32, runs: usize| {
        let world = World::default();
        let tool = world.tool("look", EffectClass::Read).concurrency(tool_limit);
        let tool = Arc::new(Registered::new(Arc::new(tool)).unwrap());
        let agents = (0..runs).map(|_| {
            let builder = Agent::builder().engine(engine).registered_tool(tool.clone());
            builder.model(Planned::new(vec![times("look", 6)])).tool_concurrency(run_limit).build().unwrap()
        });
        let agents: Vec<Agent> = agents.collect();
        let results = futures_util::future::join_all(agents.iter().map(|agent| agent.run("go"))).await;
        assert!(results.iter().all(|result| result.as_ref().unwrap().task_completed));
        assert_eq!(world.keys().len(), 6 * runs);
        world.shared.gauge.peak()
    };
    assert_eq!(peak_of(&Engine::default(), 64, 64, 1).await, 6);
    assert_eq!(peak_of(&Engine::default(), 2, 64, 3).await, 2, "per tool, over all runs");
    assert_eq!(peak_of(&Engine::default(), 64, 3, 1).await, 3, "per run");
    assert_eq!(peak_of(&Engine::default(), 64, 3, 2).await, 6, "per run");
    assert_eq!(peak_of(&Engine::builder().tools_at_once(5).build(), 64, 64, 3).await, 5, "per process");
}

#[tokio::test(start_paused = true)]
async fn calls_taken_over_from_another_process_keep_to_the_limits_too() {
    let world = World::default();
    let agent = |engine: &Engine| {
        let tool = world.tool("look", EffectClass::Read);
        let model = Planned::new(vec![times("look", 6)]);
        Agent::builder().engine(engine).model(model).tool(tool).build().unwrap()
    };
    let store = MemoryStore::new();
    // Six intents are stored, then the process dies: accepted, m0, its result, six intents.
    let deadly = DeadlyStore { inner: store.clone(), death: Death::After, at: 9 };
    let options = RunOptions { id: Some("run".into()), ..RunOptions::default() };
    let first = agent(&Engine::builder().store(Arc::new(deadly)).build());
    assert!(first.run_with("go", options).await.is_err());
    assert_eq!(world.keys().len(), 0);
    let engine = Engine::builder().store(Arc::new(store)).tools_at_once(2).build();
    let second = agent(&engine);
    let handle = second.resume("run", vec![], RunOptions::default()).await.unwrap();
    let result = handle.outcome().await.unwrap();
    assert!(result.task_completed);
    assert_eq!((world.keys().len(), world.shared.gauge.peak()), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_one_run_does_not_hold_up_its_other_calls() {
    let world = World::default();
    let scarce =
        Arc::new(Registered::new(Arc::new(world.tool("scarce", EffectClass::Read).concurrency(1))).unwrap());
    let taken = scarce.permits().clone().acquire_owned().await.unwrap();
    let agent = Agent::builder()
        .model(Planned::new(vec![vec![call("scarce", json!({})), call("look", json!({}))]]))
        .registered_tool(scarce)
        .tool(world.tool("look", EffectClass::Read))
        .build()
        .unwrap();
    let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
    ms(100).await;
    assert_eq!(world.shared.done.lock().unwrap().len(), 1, "`look` has run");
    drop(taken);
    assert!(handle.outcome().await.unwrap().task_completed);
}

#[tokio::test]
async fn a_cancelled_queue_gives_its_places_back() {
    let pool = BlockingPool::new(1);
    let engine = Engine::builder().threads(Arc::new(pool.clone())).build();
    let agent = Agent::builder()
        .engine(&engine)
        .model(Planned::new(vec![times("work", 3)]))
        .tool(blocking("work", |_| {}))
        .build()
        .unwrap();
    let held = pool.reserve().await.unwrap();
    let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
    until("three calls queue", || pool.census().waiting == 3).await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().kind(), ambidex_core::ErrorKind::Cancelled);
    assert_eq!(pool.census().waiting, 0);
    drop(held);
    assert!(agent.run("again").await.unwrap().task_completed);
}

#[tokio::test]
async fn two_calls_outside_a_run_are_not_one_call_repeated() {
    let tool = FunctionTool::dynamic(any_input("key"), |_, context: ambidex_core::Context| async move {
        Ok(context.idempotency_key().into())
    });
    let tool = Registered::new(Arc::new(tool)).unwrap();
    let engine = Engine::default();
    let key = async || engine.call_tool(&tool, json!({}), CancellationToken::new()).await.unwrap();
    assert_ne!(key().await, key().await);
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_retried_under_waits_of_its_own() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let mut spec = any_input("flaky");
    (spec.attempts, spec.retry_base_ms, spec.retry_cap_ms) = (Some(12), Some(1), Some(10));
    let tool = FunctionTool::dynamic(spec, move |_, _| {
        count.fetch_add(1, SeqCst);
        async { Err(Error::new(ErrorKind::ToolFailed, "hiccup").retryable(true)) }
    });
    let tool = Registered::new(Arc::new(tool.effect(EffectClass::Read))).unwrap();
    let start = tokio::time::Instant::now();
    let called = Engine::builder().build().call_tool(&tool, json!({}), CancellationToken::new()).await;
    assert_eq!((called.is_err(), calls.load(SeqCst)), (true, 12));
    // The timer's grain is 1 ms; under the default waits it would be a minute.
    assert!(start.elapsed() <= Duration::from_millis(11 * 11), "{:?}", start.elapsed());
}
