//! A Postgres server that is gone for 10 s while runs are under way, as if its machine had lost its power. Nobody starts
//! the process again.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;
use crate::failpoint::Mishap;
use crate::pair::listen;
use crate::place::Place;
use crate::random::Random;
use crate::round::{Arena, LIMIT, STARTS, answer_all, leave, settled};
use crate::table::LEASE;
use crate::worker::Orders;

/// How long it is gone.
pub const GONE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default)]
pub struct Outage {
    pub accepted: usize,
    /// Runs that were driven on by a new epoch.
    pub claims: usize,
    pub in_doubt: usize,
    /// From the server's return until all was settled.
    pub recovery: Duration,
    pub violations: Vec<String>,
}

impl Outage {
    pub async fn of(seed: u64, arena: &Arena, folder: &Path) -> Self {
        let mut outage = Self::default();
        if let Err(problem) = outage.carry_out(seed, arena, folder).await {
            outage.violations.push(format!("Postgres gone for {GONE:?}: {problem}"));
        }
        outage
    }

    async fn carry_out(&mut self, seed: u64, arena: &Arena, folder: &Path) -> Result<(), String> {
        let cluster = Cluster::start()?;
        let folder = folder.join("outage");
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let place = Place::Postgres { url: cluster.url(), schema: "outage".into() };
        let ledger = folder.join("ledger");
        let orders = Orders {
            place: place.clone(),
            ledger: ledger.clone(),
            seed,
            starts: STARTS,
            name: "o".into(),
            lease: Some(LEASE),
            answers: true,
            failpoint: None,
            mishap: Mishap::Killed,
            takes: Duration::from_millis(20),
        };
        let (ready, is_ready) = oneshot::channel();
        let promises = Arc::new(Mutex::new(Vec::new()));
        let mut listeners = JoinSet::new();
        let mut worker = arena.start(&orders)?;
        listen(&mut worker, &promises, &mut listeners, Some(ready));
        let opened = timeout(LIMIT, is_ready).await;
        opened.map_err(|_| "the worker does not open its store")?.map_err(|_| "the worker has ended")?;
        sleep(Random::of(seed, "outage", 0).millis(80, 200)).await;
        cluster.stop()?;
        sleep(GONE).await;
        cluster.serve()?;
        let since = Instant::now();
        let store = place.open().await.map_err(|error| error.to_string())?;
        let (runs, open) = settled(&*store.any(), since).await?;
        self.recovery = since.elapsed();
        let told = {
            let promises = promises.lock().unwrap_or_else(PoisonError::into_inner);
            promises.clone()
        };
        let facts = answer_all(&store, runs, open, &ledger, told).await?;
        self.accepted = facts.accepted().len();
        self.claims = facts.claims();
        self.in_doubt = facts.asked_in_doubt.len();
        self.violations.extend(facts.violations());
        store.close().await;
        leave(worker).await
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Postgres gone for {GONE:?}: {} runs accepted, {} taken over, {} calls in doubt, all settled {:.1} s after it \
             was back, {} violations.",
            self.accepted,
            self.claims,
            self.in_doubt,
            self.recovery.as_secs_f64(),
            self.violations.len()
        )
    }
}
