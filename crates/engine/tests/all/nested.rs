//! Runs inside of runs: nobody waits for a place that those who wait for him hold.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ambidex_core::tool::ToolSpec;
use ambidex_core::{Context, Error};
use ambidex_engine::{Agent, Engine, RunOptions};
use ambidex_tools::{BlockingPool, BlockingTool, FunctionTool};
use serde_json::json;

use crate::support::{Planned, call};

type Own = Arc<OnceLock<Agent>>;

/// Of a tool that one call may hold at a time.
fn spec() -> ToolSpec {
    ToolSpec {
        concurrency: Some(1),
        input: json!({"type": "object"}),
        ..ToolSpec::new("deeper", "runs its own agent")
    }
}

/// An agent with one tool, which it calls `width` times.
fn agent(engine: &Engine, width: usize, tool: impl ambidex_core::Tool + 'static, own: &Own) -> Agent {
    let calls = (0..width).map(|n| call("deeper", json!({"n": n}))).collect();
    let agent = Agent::builder().engine(engine).model(Planned::new(vec![calls])).tool(tool).build().unwrap();
    own.set(agent.clone()).ok().unwrap();
    agent
}

fn within(context: Context) -> RunOptions {
    RunOptions { parent: Some(context), timeout: Some(Duration::from_secs(20)), ..RunOptions::default() }
}

#[tokio::test]
async fn a_tool_runs_its_own_agent_though_one_call_of_it_may_run_at_a_time() {
    let (own, deepest) = (Own::default(), Arc::new(AtomicU32::new(0)));
    let (inner, seen) = (own.clone(), deepest.clone());
    let tool = FunctionTool::dynamic(spec(), move |_, context: Context| {
        let agent = inner.get().unwrap().clone();
        seen.fetch_max(context.depth(), SeqCst);
        async move {
            if context.depth() == 4 {
                return Ok("the ground".into());
            }
            let ended = agent.run_with("go", within(context)).await.map_err(|failed| failed.error)?;
            Ok::<_, Error>(ended.text.into())
        }
    });
    let engine = Engine::builder().tools_at_once(1).build();
    let ended = agent(&engine, 2, tool, &own).run_with("go", RunOptions::default()).await.unwrap();
    assert!(ended.text.contains("the ground"), "{}", ended.text);
    assert_eq!(deepest.load(SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_tool_does_so_on_a_pool_of_one_thread() {
    let own = Own::default();
    let inner = own.clone();
    let tool = BlockingTool::dynamic(spec(), move |_, context: Context| {
        if context.depth() == 3 {
            return Ok("the ground".into());
        }
        let agent = inner.get().unwrap().blocking();
        let ended = agent.run_with("go", within(context)).map_err(|failed| failed.error)?;
        Ok(ended.text.into())
    });
    let engine = Engine::builder().threads(Arc::new(BlockingPool::new(1))).build();
    let ended = agent(&engine, 1, tool, &own).run("go").await.unwrap();
    assert!(ended.text.contains("the ground"), "{}", ended.text);
}

#[tokio::test]
async fn runs_in_runs_without_end_are_refused() {
    let own = Own::default();
    let inner = own.clone();
    let tool = FunctionTool::dynamic(spec(), move |_, context: Context| {
        let agent = inner.get().unwrap().clone();
        async move {
            let ended = agent.run_with("go", within(context)).await.map_err(|failed| failed.error)?;
            Ok::<_, Error>(ended.text.into())
        }
    });
    let ended = agent(&Engine::default(), 1, tool, &own).run("go").await.unwrap();
    assert!(ended.text.contains("nested 16 deep"), "{}", ended.text);
}

#[tokio::test]
async fn a_run_ends_with_the_call_it_is_part_of() {
    let (own, inside) = (Own::default(), Arc::new(tokio::sync::Notify::new()));
    let (inner, reached) = (own.clone(), inside.clone());
    let tool = FunctionTool::dynamic(spec(), move |_, context: Context| {
        let (agent, reached) = (inner.get().unwrap().clone(), reached.clone());
        async move {
            if context.depth() == 1 {
                reached.notify_one();
                std::future::pending::<()>().await;
            }
            let mut handle = agent.start_unwatched("go", within(context))?;
            // It is not this future that ends it.
            handle.detach();
            std::future::pending::<()>().await;
            Ok::<_, Error>("never".into())
        }
    });
    let engine = Engine::default();
    let handle = agent(&engine, 1, tool, &own).start("go", RunOptions::default()).unwrap();
    inside.notified().await;
    assert_eq!(engine.active_runs(), 2);
    handle.cancel();
    tokio::time::timeout(Duration::from_secs(10), engine.idle()).await.unwrap();
}

#[tokio::test]
async fn whoever_keeps_a_context_keeps_no_place() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let own = Own::default();
    let keeping = kept.clone();
    let tool = FunctionTool::dynamic(spec(), move |_, context: Context| {
        keeping.lock().unwrap().push(context);
        std::future::ready(Ok::<_, Error>("done".into()))
    });
    let agent = agent(&Engine::default(), 3, tool, &own);
    for _ in 0..3 {
        tokio::time::timeout(Duration::from_secs(10), agent.run("go")).await.unwrap().unwrap();
    }
    assert_eq!(kept.lock().unwrap().len(), 9);
}
