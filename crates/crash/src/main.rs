//! Prints the table. Exit code 1 where a promise was broken or something could not be measured.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ambidex_crash::cluster::Cluster;
use ambidex_crash::outage::Outage;
use ambidex_crash::pair::{MARGIN, Pairs};
use ambidex_crash::place::{Kind, Place};
use ambidex_crash::power::Power;
use ambidex_crash::round::{Arena, LIMIT, STARTS};
use ambidex_crash::table::{Extent, LEASE, Table};
use ambidex_crash::worker;

const HELP: &str = "\
Usage: ambidex-crash [--quick] [--seed N] [--moments N] [--each N] [--pairs N] [--cuts N] [--at-once N]
                     [--store sqlite|postgres] [--only FAILPOINT]

  --quick           a tenth of the kills: what `make test` runs
  --seed N          what is random follows from it; without it another each time, which is printed
  --moments N       kills at random moments per store (200)
  --each N          kills per failpoint and store (5)
  --pairs N         rounds of two processes per store and mishap (10)
  --cuts N          power cuts per durability, of SQLite (500)
  --at-once N       rounds under way at once (8)
  --store NAME      this store alone
  --only FAILPOINT  this failpoint alone, such as \"before result\"
";

struct Arguments {
    extent: Extent,
    stores: Vec<Kind>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = match &words[..] {
        [verb, orders] if verb == "worker" => runtime.block_on(work(orders)),
        _ => match parse(words.into_iter()) {
            Ok(arguments) => runtime.block_on(print(&arguments)),
            Err(said) => Err(said),
        },
    };
    // What a worker still has under way is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(said) => {
            eprintln!("{said}");
            ExitCode::FAILURE
        }
    }
}

async fn work(orders: &str) -> Result<bool, String> {
    let orders = serde_json::from_str(orders).map_err(|error| format!("no orders: {error}"))?;
    worker::work(orders).await.map(|()| true)
}

async fn print(arguments: &Arguments) -> Result<bool, String> {
    let Arguments { extent, stores } = arguments;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let arena = Arena { program };
    let folder = tempfile::Builder::new().prefix("ambidex-crash-").tempdir();
    let mut folder = folder.map_err(|error| format!("no folder to work in: {error}"))?;
    let cluster = match stores.contains(&Kind::Postgres) {
        true => Some(Cluster::start()?),
        false => None,
    };
    println!(
        "Seed {}. Each process starts {STARTS} runs; lease {LEASE:?} where it is not said otherwise (30 s is the \
         default). Within {LIMIT:?} of the restart every run has ended or waits on a listed question, and within as much \
         of the answers it has ended.\n",
        extent.seed
    );
    let places = |kind: Kind, number: usize| place(kind, "round", number, folder.path(), cluster.as_ref());
    let table = Table::of(stores, extent, &arena, folder.path(), places).await;
    println!("{table}");
    println!("\n{} s.", table.took.as_secs());
    let mut violations: Vec<String> = table.violations().collect();
    if extent.only.is_none() {
        let places = |kind: Kind, number: usize| place(kind, "pair", number, folder.path(), cluster.as_ref());
        let pairs = Pairs::of(stores, extent, &arena, folder.path(), places).await;
        println!(
            "\nTwo processes on one store; the other has everything settled within the lease and {MARGIN:?}.\n\n{pairs}"
        );
        violations.extend(pairs.violations());
    }
    if extent.only.is_none() && stores.contains(&Kind::Postgres) {
        let outage = Outage::of(extent.seed, &arena, folder.path()).await;
        println!("{outage}");
        violations.extend(outage.violations);
    }
    if extent.only.is_none() && stores.contains(&Kind::Sqlite) {
        let power = Power::of(extent.cuts, extent.seed, folder.path()).await?;
        println!("Power cuts under SQLite: what was not synced is lost, kept, or kept in part.\n\n{power}");
        violations.extend(power.violations());
    }
    if !violations.is_empty() {
        folder.disable_cleanup(true);
        println!("\nViolations ({} has what is left):\n\n{}", folder.path().display(), violations.join("\n"));
    }
    Ok(violations.is_empty())
}

fn place(kind: Kind, what: &str, number: usize, folder: &Path, cluster: Option<&Cluster>) -> Place {
    match (kind, cluster) {
        (Kind::Postgres, Some(cluster)) => {
            Place::Postgres { url: cluster.url(), schema: format!("{what}{number}") }
        }
        _ => Place::Sqlite { path: folder.join(format!("{what}{number}/state.db")) },
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seed = u64::from(now.subsec_nanos()) ^ now.as_secs();
    let extent = Extent {
        seed,
        moments: 200,
        each: 5,
        default_lease: 2,
        pairs: 10,
        cuts: 500,
        at_once: 8,
        only: None,
    };
    let mut arguments = Arguments { extent, stores: vec![Kind::Sqlite, Kind::Postgres] };
    fn number<T: std::str::FromStr>(word: Option<String>) -> Result<T, String> {
        word.and_then(|word| word.parse().ok()).ok_or_else(|| HELP.to_owned())
    }
    while let Some(word) = words.next() {
        let extent = &mut arguments.extent;
        match &*word {
            "--quick" => {
                (extent.moments, extent.each, extent.default_lease) = (16, 1, 1);
                (extent.pairs, extent.cuts) = (2, 50);
            }
            "--seed" => extent.seed = number(words.next())?,
            "--moments" => extent.moments = number(words.next())?,
            "--each" => extent.each = number(words.next())?,
            "--pairs" => extent.pairs = number(words.next())?,
            "--cuts" => extent.cuts = number(words.next())?,
            "--at-once" => extent.at_once = number(words.next())?,
            "--only" => extent.only = Some(words.next().ok_or(HELP)?.parse()?),
            "--store" => {
                arguments.stores = match words.next().as_deref() {
                    Some("sqlite") => vec![Kind::Sqlite],
                    Some("postgres") => vec![Kind::Postgres],
                    _ => return Err(HELP.to_owned()),
                }
            }
            _ => return Err(HELP.to_owned()),
        }
    }
    Ok(arguments)
}
