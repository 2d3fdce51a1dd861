//! What a step of a graph costs: CPU and steps per second, with each store, and what it writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex::graph::{NodeCall, NodeOutput, Reducer};
use ambidex::{Context, Engine, Error, Graph, RunOptions};
use ambidex_core::memory::MemoryStore;
use ambidex_core::store::AnyStore;
use ambidex_core::tool::EffectClass;
use ambidex_store::{Durability, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::{Result, graph_recovery};

#[derive(clap::Args)]
pub struct Options {
    /// Stores to measure
    #[arg(long, value_delimiter = ',', default_values = ["memory", "sync", "batch"])]
    stores: Vec<Place>,
    /// Address of the server for `postgres`; its schema is made and left behind
    #[arg(long)]
    postgres: Option<String>,
    /// Folder for the files of SQLite; one that is made and removed where it is not given
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Steps of each measurement in memory; a twentieth of them on disk
    #[arg(long, default_value_t = 200_000)]
    steps: usize,
    /// Runs that wait when recovery begins
    #[arg(long, default_value_t = 10_000)]
    waiting: u32,
    /// Only this shape
    #[arg(long)]
    shape: Option<Shape>,
    /// Leave out what is written and recovered
    #[arg(long)]
    steps_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// The engine's own
    Memory,
    /// SQLite, synced before a step is done
    Sync,
    /// SQLite, synced within 50 ms
    Batch,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Ten nodes
    Chain,
    /// One node, a thousand times
    Loop,
    /// A node for each of a hundred items
    Fan,
}

impl Shape {
    fn steps(self) -> usize {
        match self {
            Self::Chain => 10,
            Self::Loop => 1_000,
            Self::Fan => 100,
        }
    }

    fn input(self) -> Value {
        match self {
            Self::Chain | Self::Loop => json!({"n": 0}),
            Self::Fan => json!({"list": (0..100).collect::<Vec<_>>()}),
        }
    }

    fn graph(self, engine: &Engine) -> std::result::Result<Graph, Error> {
        let add = |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"n": 1})) };
        let builder = Graph::builder("measured").engine(engine).reducer("n", Reducer::Add);
        let builder = match self {
            Self::Chain => (0..10).fold(builder, |builder, at| {
                let builder = builder.node(format!("step {at}"), add);
                if at > 0 { builder.edge(&format!("step {}", at - 1), format!("step {at}")) } else { builder }
            }),
            Self::Loop => {
                let again = |call: NodeCall, _: Context| async move {
                    let n = call.get("n").and_then(Value::as_i64).unwrap_or(0);
                    let next = if n + 1 < 1_000 { "again" } else { "end" };
                    Ok::<_, Error>(NodeOutput { value: json!({"n": 1}).into(), ..NodeOutput::go([next]) })
                };
                builder.node("again", again).chooses("again", ["again", "end"])
            }
            Self::Fan => builder
                .node("each", |call: NodeCall, _: Context| async move {
                    Ok::<_, Error>(call.item().cloned().unwrap_or_default())
                })
                .with("each", |node| node.each = Some("list".into()))
                .with_definition(|graph| graph.concurrency = 100),
        };
        builder
            .with_definition(|graph| {
                graph.nodes.iter_mut().for_each(|node| node.effect = EffectClass::Read);
            })
            .build()
    }
}

pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = options.folder.clone();
    let folder =
        folder.unwrap_or_else(|| std::env::temp_dir().join(format!("ambidex-graphs-{}", std::process::id())));
    std::fs::create_dir_all(&folder)?;
    println!("| store | graph | runs at once | CPU us per step | steps/s |\n|---|---|--:|--:|--:|");
    for place in &options.stores {
        for shape in [Shape::Chain, Shape::Loop, Shape::Fan] {
            if options.shape.is_some_and(|only| only != shape) {
                continue;
            }
            for at_once in [1, 64] {
                let engine = runtime.block_on(engine(options, *place, &folder))?;
                let steps = if *place == Place::Memory { options.steps } else { options.steps / 20 };
                let runs = (steps / shape.steps()).max(at_once);
                let measured = runtime.block_on(measure(&engine, shape, runs, at_once))?;
                println!(
                    "| {} | {} | {at_once} | {:.2} | {:.0} |",
                    name(place),
                    name(&shape),
                    measured.cpu_us,
                    measured.per_second
                );
            }
        }
    }
    if !options.steps_only {
        runtime.block_on(written(&folder))?;
        graph_recovery::measure(&runtime, &folder, options.waiting)?;
    }
    if options.folder.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

async fn engine(options: &Options, place: Place, folder: &std::path::Path) -> Result<Engine> {
    let sqlite = async |durability| -> Result<Arc<dyn AnyStore>> {
        let file = folder.join(format!("{durability:?}.db"));
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let store: Arc<dyn AnyStore> = Arc::new(SqliteStore::open(file, options).await?);
        Ok(store)
    };
    let store: Arc<dyn AnyStore> = match place {
        Place::Memory => return Ok(Engine::builder().store(Arc::new(MemoryStore::keeping(16))).build()),
        Place::Sync => sqlite(Durability::Sync).await?,
        Place::Batch => sqlite(Durability::Batch).await?,
        Place::Postgres => {
            let url = options.postgres.as_deref().ok_or("--stores postgres needs --postgres URL")?;
            Arc::new(PostgresStore::connect(url, PostgresOptions::default()).await?)
        }
    };
    Ok(Engine::builder().durable_store(store).build())
}

struct Measured {
    cpu_us: f64,
    per_second: f64,
}

async fn measure(engine: &Engine, shape: Shape, runs: usize, at_once: usize) -> Result<Measured> {
    let graph = shape.graph(engine)?;
    graph.run(shape.input()).await?;
    let (cpu, wall) = (cpu()?, Instant::now());
    let each = runs / at_once;
    let lanes = (0..at_once).map(|_| {
        let graph = graph.clone();
        tokio::spawn(async move {
            for _ in 0..each {
                graph.run_with(shape.input(), RunOptions::default()).await?;
            }
            Ok::<_, crate::Error>(())
        })
    });
    for lane in try_join_all(lanes).await? {
        lane?;
    }
    let steps = (each * at_once * shape.steps()) as f64;
    let cpu = self::cpu()? - cpu;
    Ok(Measured { cpu_us: cpu.as_secs_f64() * 1e6 / steps, per_second: steps / wall.elapsed().as_secs_f64() })
}

/// User and system time of this process.
pub fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |value: nix::sys::time::TimeVal| {
        let micros = value.tv_sec() as u64 * 1_000_000 + value.tv_usec() as u64;
        Duration::from_micros(micros)
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// Bytes of records and snapshots around the 10th and the 1,000th step of one run.
async fn written(folder: &std::path::Path) -> Result<()> {
    let file = folder.join("written.db");
    let store = Arc::new(SqliteStore::open(file, SqliteOptions::default()).await?);
    let engine = Engine::builder().durable_store(store.clone()).build();
    let graph = Shape::Loop.graph(&engine)?;
    graph
        .run_with(Shape::Loop.input(), RunOptions { id: Some("written".into()), ..RunOptions::default() })
        .await?;
    let records = ambidex_core::store::RunIndex::records(&*store, "written", 0, 100_000).await?;
    let sizes: Vec<usize> =
        records.iter().map(|record| serde_json::to_vec(record).map_or(0, |json| json.len())).collect();
    // A step is an intent and a result.
    let per_step = |step: usize| sizes[2 * step - 9..2 * step + 11].iter().sum::<usize>() as f64 / 10.0;
    println!("\n| bytes of records per step | at step 10 | at step 990 |\n|---|--:|--:|");
    println!("| loop | {:.0} | {:.0} |", per_step(10), per_step(990));
    Ok(())
}
