//! Runs that waited when their process ended: how long the next one takes to drive all of them on, and in how much memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex::graph::{NodeCall, Source};
use ambidex::{Answer, Context, Engine, Error, Graph, OnWaiting, Questions, RunOptions};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::Result;

#[derive(clap::Args)]
pub struct Options {
    file: PathBuf,
    runs: u32,
}

/// Asks, then ends.
fn graph(engine: &Engine) -> std::result::Result<Graph, Error> {
    Graph::builder("waits")
        .engine(engine)
        .ask("go", Source::Value(json!("Go on?")))
        .node("after", |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"done": true})) })
        .edge("go", "after")
        .build()
}

pub fn measure(runtime: &Runtime, folder: &Path, runs: u32) -> Result<()> {
    let file = folder.join("waiting.db");
    runtime.block_on(prepare(&file, runs))?;
    println!("\n| {runs} runs | seconds | MiB at the most |\n|---|--:|--:|");
    let child =
        Command::new(std::env::current_exe()?).arg("recover").arg(&file).arg(runs.to_string()).status()?;
    if child.success() { Ok(()) } else { Err("the recovering process failed".into()) }
}

/// Leaves them waiting, with their questions answered.
async fn prepare(file: &Path, runs: u32) -> Result<()> {
    let options = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(file, options).await?);
    let engine = Engine::builder().durable_store(store.clone()).build();
    let graph = graph(&engine)?;
    for run in 0..runs {
        let options = RunOptions {
            id: Some(format!("r{run}")),
            on_waiting: OnWaiting::Return,
            ..RunOptions::default()
        };
        let waiting = graph.run_with(json!({}), options).await?;
        let question = waiting.questions.first().ok_or("it asks nothing")?;
        store.answer(&question.id, Answer::Answer { answer: json!("yes") }).await?;
    }
    store.close().await;
    Ok(())
}

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(recover(options))
}

async fn recover(options: &Options) -> Result<()> {
    let before = resident("VmRSS:")?;
    let begun = Instant::now();
    let store = Arc::new(SqliteStore::open(&options.file, SqliteOptions::default()).await?);
    let engine = Engine::builder().durable_store(store.clone()).build();
    let graph = graph(&engine)?;
    let recovery = engine.recover(move |_| Some(graph.clone().into()))?;
    let mut ended = 0;
    while ended < options.runs {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended = succeeded(&store).await?;
        if begun.elapsed() > Duration::from_secs(300) {
            return Err(format!("{ended} of {} runs went on in five minutes", options.runs).into());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    drop(recovery);
    let most = resident("VmHWM:")?.saturating_sub(before);
    println!("| all driven on to their end | {seconds:.2} | {:.0} |", most as f64 / 1024.0);
    Ok(())
}

async fn succeeded(store: &SqliteStore) -> Result<u32> {
    let left = ambidex_core::store::RunIndex::runs(
        store,
        ambidex_core::store::RunQuery {
            status: vec![
                ambidex_core::event::Status::Queued,
                ambidex_core::event::Status::Running,
                ambidex_core::event::Status::Waiting,
            ],
            limit: 1,
            ..Default::default()
        },
    )
    .await?;
    Ok(if left.runs.is_empty() { u32::MAX } else { 0 })
}

/// KiB of this process.
fn resident(line: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)).ok_or("no such line")?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}
