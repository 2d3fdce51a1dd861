//! The process that is killed: it recovers what is there, starts runs, and tells its parent what it was promised.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::question::{Answer, Questions as _, Why};
use ambidex_engine::Engine;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::failpoint::{Failpoint, Mishap, Trigger};
use crate::ledger::{Line, now};
use crate::place::Place;
use crate::random::Random;
use crate::store::{Promise, WatchedStore};
use crate::workload::{Workload, open_ledger};

/// What a worker is told to do, as one argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub place: Place,
    pub ledger: PathBuf,
    pub seed: u64,
    /// Runs to start; their ids begin with `name`.
    pub starts: u32,
    pub name: String,
    /// None is the engine's own.
    pub lease: Option<Duration>,
    /// Whether a person sits beside it, who allows what he is asked to.
    pub answers: bool,
    pub failpoint: Option<(Failpoint, u32)>,
    /// What happens there.
    pub mishap: Mishap,
    /// How long a tool takes on top of some milliseconds.
    pub takes: Duration,
}

/// Of what a worker prints: a line for each promise, once it was made.
pub fn told(promise: &Promise) -> String {
    match promise {
        Promise::Committed { run, records, accepted, finished } => {
            let more = [(*accepted, " accepted"), (*finished, " finished")];
            let more: String = more.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
            format!("committed {run} {records}{more}\n")
        }
        Promise::Answered { question } => format!("answered {question}\n"),
        Promise::Claimed { run, epoch } => format!("claimed {run} {epoch}\n"),
    }
}

/// The other way round.
pub fn heard(line: &str) -> Option<Promise> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["committed", run, records, ref more @ ..] => Some(Promise::Committed {
            run: run.to_owned(),
            records: records.parse().ok()?,
            accepted: more.contains(&"accepted"),
            finished: more.contains(&"finished"),
        }),
        ["answered", question] => Some(Promise::Answered { question: question.to_owned() }),
        ["claimed", run, epoch] => Some(Promise::Claimed { run: run.to_owned(), epoch: epoch.parse().ok()? }),
        _ => None,
    }
}

/// Works until its parent closes the pipe, or it is killed.
pub async fn work(orders: Orders) -> Result<(), String> {
    let over = end_of_input();
    let ledger = open_ledger(&orders.ledger)?;
    let trigger = Arc::new(Trigger::new(orders.failpoint, orders.mishap));
    let opened = orders.place.open().await.map_err(|error| error.to_string())?;
    let witness = ledger.clone();
    let hear = move |promise: Promise| {
        if let Promise::Claimed { run, epoch } = &promise {
            let (pid, at) = (std::process::id(), now());
            let line = Line::Claimed { run: run.clone(), epoch: *epoch, pid, at };
            // The parent misses it where the disk failed.
            drop(witness.write(&line));
        }
        tell(&told(&promise));
    };
    let store = Arc::new(WatchedStore::new(opened.any(), trigger.clone(), Arc::new(hear)));
    let mut builder = Engine::builder().durable_store(store.clone());
    if let Some(lease) = orders.lease {
        builder = builder.lease(lease);
    }
    let engine = builder.build();
    let workload = Workload::new(&engine, &ledger, &trigger, orders.seed, orders.takes);
    let workload = workload.map_err(|error| error.to_string())?;
    let known = workload.clone();
    let recovery = engine.recover(move |definition| known.find(definition));
    let _recovery = recovery.map_err(|error| error.to_string())?;
    tell("ready\n");
    let mut tasks = JoinSet::new();
    if orders.answers {
        tasks.spawn(person(store.clone(), orders.seed));
    }
    let mut random = Random::of(orders.seed, "starts", 0);
    for number in 0..orders.starts {
        tokio::time::sleep(random.millis(0, 25)).await;
        let started = workload.start(number, format!("{}{number}", orders.name));
        let mut handle = started.map_err(|error| error.to_string())?;
        handle.detach();
    }
    // An error means the same.
    drop(over.await);
    tasks.shutdown().await;
    Ok(())
}

/// One write, as far as the pipe goes: what was told is with the parent, whatever happens to us then.
fn tell(line: &str) {
    // Where the parent is gone there is nobody to tell.
    drop(std::io::stdout().lock().write_all(line.as_bytes()));
}

/// When the parent closes the pipe, or ends. Looked at from outside the runtime: it ends even a worker that hangs.
fn end_of_input() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        let _ = sender.send(());
        std::thread::sleep(Duration::from_secs(10));
        std::process::exit(3);
    });
    receiver
}

/// Allows what he is asked to allow. What is in doubt he leaves to others.
async fn person(store: Arc<WatchedStore>, seed: u64) {
    let mut random = Random::of(seed, "person", 0);
    loop {
        // He looks from time to time, as people do.
        tokio::time::sleep(random.millis(1, 20)).await;
        for question in store.open(None).await.unwrap_or_default() {
            if question.why == Why::Approval {
                // Somebody may have been faster, or the store is gone.
                drop(store.answer(&question.id, Answer::Approve).await);
            }
        }
    }
}
