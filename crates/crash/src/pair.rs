//! Two processes on one store: one is killed, or stands still for longer than its lease and then goes on, and the
//! other takes its runs over.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ambidex_core::store::{AnyStore, Lease, StoreError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::failpoint::{Failpoint, Mishap, Side, Step};
use crate::place::{Kind, Place};
use crate::random::Random;
use crate::round::{Arena, answer_all, leave, settled};
use crate::store::Promise;
use crate::table::Extent;
use crate::worker::{Orders, heard};

/// The lease of most pairs.
pub const LEASE: Duration = Duration::from_secs(2);
/// The engine's own.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// How long after the lease the other may still be at it.
pub const MARGIN: Duration = Duration::from_secs(10);

/// What happens to the first of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Killed,
    /// Stopped at any moment, and let go on when the other has taken its runs over.
    Stopped,
    /// The same, between the moment a tool's intent was stored and the moment its driver hears of that.
    StoppedInCommit,
}

impl Fate {
    pub const ALL: [Self; 3] = [Self::Killed, Self::Stopped, Self::StoppedInCommit];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stood still at any moment",
            Self::StoppedInCommit => "stood still after it committed an intent",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PairSeen {
    pub rounds: usize,
    pub accepted: usize,
    pub claims: usize,
    pub in_doubt: usize,
    /// Effects of the first that ended after it had lost their run: they had begun before.
    pub ended_late: usize,
    /// Times that the first stood still with the lock of the file.
    pub held: usize,
    /// From the mishap until the other had everything settled.
    pub takeover: Duration,
    pub violations: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct PairLine {
    pub store: Kind,
    pub fate: Fate,
    pub lease: Duration,
    pub seen: PairSeen,
}

#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub lines: Vec<PairLine>,
}

impl Pairs {
    /// All of them side by side: they mostly wait for leases.
    pub async fn of(
        stores: &[Kind],
        extent: &Extent,
        arena: &Arena,
        folder: &Path,
        places: impl Fn(Kind, usize) -> Place,
    ) -> Self {
        let mut pairs = Self::default();
        let mut tasks = JoinSet::new();
        let mut count = 0;
        let permits = Arc::new(Semaphore::new(extent.at_once));
        for store in stores {
            let short = Fate::ALL.map(|fate| (fate, LEASE, extent.pairs));
            for (fate, lease, rounds) in short.into_iter().chain([(Fate::Killed, DEFAULT_LEASE, 1)]) {
                let line = pairs.lines.len();
                pairs.lines.push(PairLine { store: *store, fate, lease, seen: PairSeen::default() });
                for number in 0..u64::try_from(rounds).unwrap_or(0) {
                    let place = places(*store, count);
                    let (arena, folder) = (arena.clone(), folder.join(format!("pair{count}")));
                    count += 1;
                    let seed =
                        Random::of(extent.seed, &format!("{} {fate:?}", store.name()), number).number();
                    // One that only waits for its lease holds nobody up.
                    let permits = (lease == LEASE).then(|| permits.clone());
                    tasks.spawn(async move {
                        let _permit = match permits {
                            Some(permits) => permits.acquire_owned().await.ok(),
                            None => None,
                        };
                        let pair = Pair { arena, place, seed, fate, lease };
                        let mut seen = PairSeen { rounds: 1, ..PairSeen::default() };
                        if let Err(problem) = pair.carry_out(&folder, &mut seen).await {
                            seen.violations.push(format!("{problem} [seed {seed}]"));
                        }
                        (line, seen)
                    });
                }
            }
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((line, seen)) => pairs.lines[line].seen.add(seen),
                Err(error) => {
                    if let Some(line) = pairs.lines.first_mut() {
                        line.seen.violations.push(format!("a pair was lost: {error}"));
                    }
                }
            }
        }
        pairs
    }

    pub fn violations(&self) -> impl Iterator<Item = String> {
        self.lines.iter().flat_map(|line| {
            let name = format!("{}, one of two {}", line.store.name(), line.fate.name());
            line.seen.violations.iter().map(move |text| format!("{name}: {text}"))
        })
    }
}

struct Pair {
    arena: Arena,
    place: Place,
    seed: u64,
    fate: Fate,
    lease: Duration,
}

impl Pair {
    async fn carry_out(&self, folder: &Path, seen: &mut PairSeen) -> Result<(), String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let ledger = folder.join("ledger");
        let mut random = Random::new(self.seed);
        let orders = |name: &str, starts: u32| Orders {
            place: self.place.clone(),
            ledger: ledger.clone(),
            seed: self.seed,
            starts,
            name: format!("{name}."),
            lease: (self.lease != DEFAULT_LEASE).then_some(self.lease),
            answers: true,
            failpoint: None,
            mishap: Mishap::Stopped,
            takes: Duration::from_millis(20),
        };
        let mut first = orders("first", 8);
        if self.fate == Fate::StoppedInCommit {
            let point = Failpoint { step: Step::Intent, side: Side::After };
            // One run, so that nothing else is under way that could hold a lock.
            (first.starts, first.failpoint) =
                (1, Some((point, u32::try_from(1 + random.below(3)).unwrap_or(1))));
        }
        let (ready, is_ready) = oneshot::channel();
        let promises = Arc::new(Mutex::new(Vec::new()));
        let mut listeners = JoinSet::new();
        let mut a = self.arena.start(&first)?;
        listen(&mut a, &promises, &mut listeners, Some(ready));
        let mut b = self.arena.start(&orders("second", 3))?;
        listen(&mut b, &promises, &mut listeners, None);
        let pid = a.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).ok_or("a worker has no id")?;
        let signal = |signal| kill_process(pid, signal).map_err(|error| error.to_string());
        // Before that it holds up nobody but those who want the same tables made.
        let opened = timeout(Duration::from_secs(40), is_ready).await;
        opened
            .map_err(|_| "a worker does not open its store")?
            .map_err(|_| "a worker did not open its store")?;
        match self.fate {
            Fate::Killed => {
                sleep(random.millis(0, 400)).await;
                a.kill().await.map_err(|error| error.to_string())?;
            }
            Fate::Stopped => {
                sleep(random.millis(0, 400)).await;
                signal(Signal::STOP)?;
            }
            Fate::StoppedInCommit => stopped(pid).await?,
        }
        let since = Instant::now();
        let store = self.place.open().await.map_err(|error| error.to_string())?;
        let any = store.any();
        if self.fate != Fate::Killed && self.is_held(&*any).await {
            // It stands still in the middle of a write to the file, which nobody else can write to then.
            seen.held += 1;
            sleep(self.lease).await;
        } else {
            // Nobody but the first drives them until its leases are over.
            settled(&*any, since).await?;
            seen.takeover = since.elapsed();
        }
        if seen.takeover > self.lease + MARGIN {
            let taken = seen.takeover;
            seen.violations.push(format!("it took {taken:?} to take over, with a lease of {:?}", self.lease));
        }
        if self.fate != Fate::Killed {
            signal(Signal::CONT)?;
            // What it does now is what this is about. Then it ends: an honest person waits until he knows.
            sleep(Duration::from_millis(700)).await;
            leave(a).await?;
        }
        let (runs, open) = settled(&*any, Instant::now()).await?;
        let told = {
            let promises = promises.lock().unwrap_or_else(PoisonError::into_inner);
            promises.clone()
        };
        let facts = answer_all(&store, runs, open, &ledger, told).await?;
        seen.accepted = facts.accepted().len();
        seen.claims = facts.claims();
        seen.in_doubt = facts.asked_in_doubt.len();
        seen.ended_late = facts.late().1.len();
        seen.violations.extend(facts.violations());
        store.close().await;
        leave(b).await
    }
}

impl Pair {
    /// Whether nothing can be written because a process that stands still has the lock of the file.
    async fn is_held(&self, store: &dyn AnyStore) -> bool {
        let lease = Lease { owner: "nobody".into(), until: 1 };
        // There is no such run; but to say so, a store must be able to write.
        let claimed = store.claim("nobody", lease, 0).await;
        self.place.kind() == Kind::Sqlite && matches!(claimed, Err(StoreError::Unavailable(_)))
    }
}

/// Takes down what a worker tells, until it ends.
pub fn listen(
    child: &mut Child,
    promises: &Arc<Mutex<Vec<Promise>>>,
    listeners: &mut JoinSet<()>,
    mut ready: Option<oneshot::Sender<()>>,
) {
    let Some(out) = child.stdout.take() else { return };
    let promises = promises.clone();
    listeners.spawn(async move {
        let mut lines = BufReader::<ChildStdout>::new(out).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "ready"
                && let Some(ready) = ready.take()
            {
                // Nobody may wait for it any more.
                let _ = ready.send(());
            }
            promises.lock().unwrap_or_else(PoisonError::into_inner).extend(heard(&line));
        }
    });
}

/// Until it has stopped itself.
async fn stopped(pid: Pid) -> Result<(), String> {
    let since = Instant::now();
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    loop {
        let stat = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return Ok(());
        }
        if since.elapsed() > Duration::from_secs(40) {
            return Err("it did not come by the place where it was to stand still".into());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

impl PairSeen {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.accepted += other.accepted;
        self.claims += other.claims;
        self.in_doubt += other.in_doubt;
        self.ended_late += other.ended_late;
        self.held += other.held;
        self.takeover = self.takeover.max(other.takeover);
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| store | one of two processes | lease | rounds | runs accepted | taken over | in doubt | effects of the \
             loser that had begun before and ended after | stood still with the file locked | slowest takeover | violations |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for PairLine { store, fate, lease, seen } in &self.lines {
            writeln!(
                f,
                "| {} | {} | {} s | {} | {} | {} | {} | {} | {} | {:.1} s | {} |",
                store.name(),
                fate.name(),
                lease.as_secs(),
                seen.rounds,
                seen.accepted,
                seen.claims,
                seen.in_doubt,
                seen.ended_late,
                seen.held,
                seen.takeover.as_secs_f64(),
                seen.violations.len()
            )?;
        }
        Ok(())
    }
}
