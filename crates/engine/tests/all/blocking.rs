//! The sync door, and agents that outlive the runtimes they ran in.

use std::time::Duration;

use ambidex_core::event::EventKind;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{BoxFuture, Context, ToolOutput};
use ambidex_engine::{Agent, Engine};
use ambidex_fake_provider::{FakeProvider, Match, Script, Turn, Wire};
use ambidex_tools::FunctionTool;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::agent::looking;
use crate::cancel::{client, model};
use crate::support::{Planned, World, call};

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_all().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

#[test]
fn the_sync_door_works_on_a_plain_thread_and_inside_any_runtime() {
    let world = World::default();
    let agent = looking(2, &world).build().unwrap();
    assert!(agent.blocking().run("go").unwrap().task_completed);
    for runtime in runtimes() {
        let agent = agent.clone();
        let inside = runtime.block_on(async move { agent.blocking().run("go").unwrap() });
        assert!(inside.task_completed);
    }
    let events: Vec<_> = agent.blocking().stream("go").unwrap().collect();
    assert!(matches!(events.last().unwrap().kind, EventKind::RunFinished { .. }));
    assert_eq!(events.last().unwrap().seq, events.len() as u64);
}

#[test]
fn first_calls_at_once_inside_a_runtime_share_one_runtime() {
    // Each makes an engine whose runtime does not exist yet; one made in vain must not be dropped here.
    for _ in 0..20 {
        let world = World::default();
        let agent = looking(0, &world).engine(&Engine::default()).build().unwrap();
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                    barrier.wait();
                    runtime.block_on(async { agent.blocking().run("go").unwrap() });
                });
            }
        });
    }
}

#[test]
fn dropping_a_sync_stream_cancels_its_run() {
    let provider_runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let turn = Turn::text("a".repeat(2_000)).chunks(1).pace(Duration::from_millis(10));
    let provider = provider_runtime.block_on(FakeProvider::start(Script::new([turn]))).unwrap();
    let agent = Agent::builder().model(model(&provider, Wire::OpenAi, &client())).build().unwrap();
    let mut events = agent.blocking().stream("[run:sync] go").unwrap();
    assert!(events.any(|event| matches!(event.kind, EventKind::ModelDelta { .. })));
    drop(events);
    let hangup = provider_runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), provider.wait_for_hangup_of("sync")).await
    });
    assert!(hangup.is_ok());
}

/// One agent, so one pool of connections, for all.
fn over_http(provider: &FakeProvider) -> Agent {
    let world = World::default();
    Agent::builder()
        .model(model(provider, Wire::OpenAi, &client()))
        .tool(world.tool("look", EffectClass::Read))
        .build()
        .unwrap()
}

fn provider() -> (Runtime, FakeProvider) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let script = Script::new([Turn::call("look", json!({})), Turn::text("It is fine.").when(Match::Turn(1))]);
    let provider = runtime.block_on(FakeProvider::start(script)).unwrap();
    (runtime, provider)
}

#[test]
fn an_agent_survives_the_runtimes_it_ran_in() {
    let (_serving, provider) = provider();
    let agent = over_http(&provider);
    for round in 0..20 {
        for runtime in runtimes() {
            let result = runtime.block_on(agent.run("go"));
            assert_eq!(result.unwrap_or_else(|error| panic!("round {round}: {error}")).text, "It is fine.");
            if round % 2 == 0 {
                // Ends with a run in flight, its connection and its permits.
                let handle = runtime.block_on(async { agent.start("go", Default::default()).unwrap() });
                runtime.block_on(tokio::task::yield_now());
                runtime.shutdown_timeout(Duration::from_secs(5));
                drop(handle);
            }
        }
        assert_eq!(agent.blocking().run("go").unwrap().text, "It is fine.");
    }
    assert!(provider.requests().iter().all(|request| request.refusal.is_none()));
}

#[test]
fn one_agent_serves_several_runtimes_at_once() {
    let (_serving, provider) = provider();
    let agent = over_http(&provider);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for runtime in runtimes().into_iter().chain(runtimes()) {
                    for _ in 0..5 {
                        assert_eq!(runtime.block_on(agent.run("go")).unwrap().text, "It is fine.");
                    }
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(agent.blocking().run("go").unwrap().text, "It is fine.");
                }
            });
        }
    });
}

/// An agent whose tool, an async function, asks `inner` by one of its doors.
fn asking(inner: &Agent, door: fn(&Agent) -> BoxFuture<'static, String>) -> Agent {
    let (engine, inner) = (inner.engine().clone(), inner.clone());
    let spec = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("ask", "for tests") };
    let ask = FunctionTool::dynamic(spec, move |_, _: Context| {
        let asked = door(&inner);
        async move { Ok(ToolOutput::Text(asked.await)) }
    });
    let model = Planned::new(vec![vec![call("ask", json!({}))]]);
    Agent::builder().engine(&engine).model(model).tool(ask).build().unwrap()
}

#[test]
fn the_sync_door_works_inside_an_async_tool_of_the_sync_door() {
    let world = World::default();
    let (said, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let inner = looking(1, &world).engine(&Engine::default()).build().unwrap();
        let by_run = asking(&inner, |inner| {
            let inner = inner.clone();
            Box::pin(async move { inner.blocking().run("go").unwrap().text })
        });
        let by_stream = asking(&inner, |inner| {
            let inner = inner.clone();
            Box::pin(async move { inner.blocking().stream("go").unwrap().count().to_string() })
        });
        let twice = asking(&by_run, |inner| {
            let inner = inner.clone();
            Box::pin(async move { inner.blocking().run("go").unwrap().text })
        });
        for agent in [by_run, by_stream, twice] {
            said.send(agent.blocking().run("go").unwrap().task_completed).unwrap();
        }
    });
    for _ in 0..3 {
        assert!(hears.recv_timeout(Duration::from_secs(10)).expect("it hangs"));
    }
}

#[test]
fn agents_that_ask_agents_do_not_pile_up_on_the_stack() {
    let world = World::default();
    let mut agent = looking(1, &world).engine(&Engine::default()).build().unwrap();
    for _ in 0..64 {
        agent = asking(&agent, |inner| {
            let inner = inner.clone();
            Box::pin(async move { inner.run("go").await.unwrap().text })
        });
    }
    for runtime in runtimes() {
        let agent = agent.clone();
        assert!(
            runtime
                .block_on(runtime.spawn(async move { agent.run("go").await.unwrap() }))
                .unwrap()
                .task_completed
        );
    }
}
