//! How many commits a second a store does: one driver alone, then 64 at once, with records of an agent's usual size.
//! Then what a sweep costs among 10,000 runs that wait.
//!
//! `cargo run --release --example commits -p ambidex-store -- [FOLDER | postgres://...] [SECONDS]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_core::definition::{AgentDefinition, Definition, Pinned};
use ambidex_core::event::Status;
use ambidex_core::message::Message;
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::store::{AnyStore, Batch, RunStanding};
use ambidex_store::{Durability, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use futures_util::future::join_all;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let place = arguments.next().unwrap_or_else(|| "commits-example".into());
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    println!("{:>8} {:>8} {:>12} {:>16}", "", "drivers", "commits/s", "wait, ms");
    for durability in [Durability::Sync, Durability::Batch, Durability::None] {
        let store = open(&place, durability).await?;
        for drivers in [1, 64] {
            let started = Instant::now();
            let until = started + Duration::from_secs(seconds);
            let runs =
                (0..drivers).map(|n| drive(store.clone(), format!("{durability}-{drivers}-{n}"), until));
            let mut commits = 0;
            for run in join_all(runs).await {
                commits += run?;
            }
            let rate = f64::from(commits) / started.elapsed().as_secs_f64();
            let wait = 1000.0 * f64::from(drivers) / rate;
            println!("{durability:>8} {drivers:>8} {rate:>12.0} {wait:>16.2}");
        }
    }
    sweep(open(&place, Durability::None).await?).await
}

/// 10,000 runs that wait until a time of their own, and four of them whose time has come.
async fn sweep(store: Arc<dyn AnyStore>) -> Result<(), Failure> {
    let waits = (0..10_000).map(|n| {
        let store = store.clone();
        async move {
            let run = format!("waiting-{n}");
            let due = Some(1_000_000 + n);
            let standing = Some(RunStanding { status: Status::Waiting, due });
            let batch = Batch { standing, ..acceptance()? };
            Ok::<_, Failure>(store.commit(&run, 1, 0, batch).await?)
        }
    });
    let started = Instant::now();
    for stored in join_all(waits).await {
        stored?;
    }
    println!("10,000 waiting runs stored in {:.0?}", started.elapsed());
    let started = Instant::now();
    let ready = store.claimable(1_000_003, 100).await?;
    let ready: Vec<_> = ready.runs.iter().filter(|run| run.starts_with("waiting")).collect();
    println!("a sweep among them finds {} in {:.1?}", ready.len(), started.elapsed());
    Ok(())
}

async fn open(place: &str, durability: Durability) -> Result<Arc<dyn AnyStore>, Failure> {
    let process = std::process::id();
    if place.starts_with("postgres") {
        let schema = format!("commits_{process}_{durability}");
        let options = PostgresOptions { durability, schema, ..PostgresOptions::default() };
        return Ok(Arc::new(PostgresStore::connect(place, options).await?));
    }
    let path = std::path::Path::new(place).join(format!("{process}-{durability}.db"));
    let options = SqliteOptions { durability, ..SqliteOptions::default() };
    Ok(Arc::new(SqliteStore::open(path, options).await?))
}

/// Commits steps of two records until it is time.
async fn drive(store: Arc<dyn AnyStore>, run: String, until: Instant) -> Result<u32, Failure> {
    store.commit(&run, 1, 0, acceptance()?).await?;
    let (mut next, mut commits) = (1, 1);
    while Instant::now() < until {
        let kinds =
            [RecordKind::Message(Message::user("a reply of some length ".repeat(8))), RecordKind::Claimed];
        let records = (next..).zip(kinds).map(|(seq, kind)| Record { v: 1, seq, epoch: 1, at: seq, kind });
        let batch = Batch { records: records.collect(), ..Batch::default() };
        store.commit(&run, 1, next, batch).await?;
        (next, commits) = (next + 2, commits + 1);
    }
    Ok(commits)
}

/// The first batch of a run.
fn acceptance() -> Result<Batch, Failure> {
    let definition: AgentDefinition = serde_json::from_value(serde_json::json!({
        "name": "example", "mode": "auto", "model": "none", "max_iterations": 9, "tool_concurrency": 9
    }))?;
    let definition = Pinned::new(Definition::Agent(Arc::new(definition)))?;
    let accepted = RecordKind::Accepted {
        definition: definition.hash.clone(),
        input: vec![Message::user("go")].into(),
        thread: None,
        deadline_ms: None,
        parent: None,
        budget: None,
    };
    let first = Record { v: 1, seq: 0, epoch: 1, at: 1, kind: accepted };
    Ok(Batch { definition: Some(definition), records: vec![first], ..Batch::default() })
}
