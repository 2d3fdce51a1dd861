//! All rounds of a table: which there are, and what they come to.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failpoint::{Failpoint, Side, Step};
use crate::place::{Kind, Place};
use crate::random::Random;
use crate::round::{Arena, Kill, Round, Seen};

/// The lease of most rounds: with the engine's own, each kill would cost half a minute.
pub const LEASE: Duration = Duration::from_secs(1);

/// How much is done.
#[derive(Clone, Debug)]
pub struct Extent {
    pub seed: u64,
    /// Kills at random moments per store.
    pub moments: usize,
    /// Kills per failpoint and store.
    pub each: usize,
    /// Rounds with the engine's own lease per store.
    pub default_lease: usize,
    /// Rounds of two processes per store and fate.
    pub pairs: usize,
    /// Power cuts per durability.
    pub cuts: usize,
    /// Rounds under way at once.
    pub at_once: usize,
    pub only: Option<Failpoint>,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    pub store: Kind,
    pub what: String,
    pub rounds: usize,
    pub seen: Seen,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    pub lines: Vec<Line>,
    pub took: Duration,
}

impl Table {
    /// Which rounds a table of this extent is made of.
    fn plan(&mut self, store: Kind, extent: &Extent) -> Vec<Round> {
        let mut rounds = Vec::new();
        let mut line = |what: String, count: usize, kills: &dyn Fn(&mut Random) -> Vec<Kill>, lease| {
            let place = self.lines.len();
            for number in 0..count {
                let number = u64::try_from(number).unwrap_or(0);
                let mut random = Random::of(extent.seed, &format!("{} {what}", store.name()), number);
                let kills = kills(&mut random);
                rounds.push(Round { line: place, seed: random.number(), kills, lease });
            }
            self.lines.push(Line { store, what, rounds: count, seen: Seen::default() });
        };
        if extent.only.is_none() {
            let once: &dyn Fn(&mut Random) -> Vec<Kill> = &|random| vec![Round::any_moment(random)];
            let working: &dyn Fn(&mut Random) -> Vec<Kill> =
                &|random| vec![Kill::Working(random.millis(50, 250))];
            line("any moment, the engine's own lease".into(), extent.default_lease, working, None);
            line("any moment".into(), extent.moments, once, Some(LEASE));
            let twice: &dyn Fn(&mut Random) -> Vec<Kill> = &|random| {
                vec![Round::any_moment(random), Round::in_recovery(random), Round::in_recovery(random)]
            };
            line(
                "any moment, and twice more in recovery".into(),
                extent.moments.div_ceil(10),
                twice,
                Some(LEASE),
            );
        }
        for point in Failpoint::all().filter(|point| extent.only.is_none_or(|only| only == *point)) {
            let kills = move |random: &mut Random| {
                let nth =
                    |random: &mut Random, most: usize| u32::try_from(1 + random.below(most)).unwrap_or(1);
                if !point.step.is_of_recovery() {
                    return vec![Kill::At(point, nth(random, point.step.times()))];
                }
                // A kill that leaves something to recover, then one within that.
                let intent = Failpoint { step: Step::Intent, side: Side::After };
                vec![Kill::At(intent, nth(random, 4)), Kill::At(point, 1)]
            };
            line(point.to_string(), extent.each, &kills, Some(LEASE));
        }
        rounds
    }

    /// Carries all rounds out. `places` gives each a store of its own.
    pub async fn of(
        stores: &[Kind],
        extent: &Extent,
        arena: &Arena,
        folder: &Path,
        places: impl Fn(Kind, usize) -> Place,
    ) -> Self {
        let began = Instant::now();
        let mut table = Self::default();
        let mut rounds: Vec<Round> = stores.iter().flat_map(|store| table.plan(*store, extent)).collect();
        // Those that take long begin first.
        rounds.sort_by_key(|round| round.lease.is_some());
        let permits = Arc::new(Semaphore::new(extent.at_once));
        let waiting = Arc::new(Semaphore::new(extent.default_lease.max(1) * stores.len()));
        let mut tasks = JoinSet::new();
        for (number, round) in rounds.into_iter().enumerate() {
            let place = places(table.lines[round.line].store, number);
            // A round that only waits for a lease holds nobody up.
            let permits = if round.lease.is_some() { permits.clone() } else { waiting.clone() };
            let (arena, folder) = (arena.clone(), folder.join(format!("round{number}")));
            tasks.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let made = std::fs::create_dir_all(&folder);
                let mut seen = match made {
                    Ok(()) => arena.carry_out(&round, &place, &folder).await,
                    Err(error) => Seen { violations: vec![error.to_string()], ..Seen::default() },
                };
                for violation in &mut seen.violations {
                    *violation = format!("{violation} [seed {}, kills {:?}]", round.seed, round.kills);
                }
                if seen.violations.is_empty() {
                    drop(std::fs::remove_dir_all(&folder));
                }
                (round.line, seen)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((line, seen)) => table.lines[line].seen.add(seen),
                Err(error) => {
                    if let Some(line) = table.lines.first_mut() {
                        line.seen.violations.push(format!("a round was lost: {error}"));
                    }
                }
            }
        }
        table.took = began.elapsed();
        table
    }

    pub fn violations(&self) -> impl Iterator<Item = String> {
        self.lines.iter().flat_map(|line| {
            line.seen
                .violations
                .iter()
                .map(move |text| format!("{}, {}: {text}", line.store.name(), line.what))
        })
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.accepted += other.accepted;
        self.ended += other.ended;
        self.waiting += other.waiting;
        self.claims += other.claims;
        self.repeated += other.repeated;
        self.in_doubt += other.in_doubt;
        self.recovery = self.recovery.max(other.recovery);
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| store | killed | kills | runs accepted | taken over | final | waiting | idempotent repeated | in doubt \
             | slowest recovery | violations |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        let mut total = Seen::default();
        for line in &self.lines {
            row(f, line.store.name(), &line.what, &line.seen)?;
            total.add(line.seen.clone());
        }
        row(f, "all", "", &total)
    }
}

fn row(f: &mut fmt::Formatter<'_>, store: &str, what: &str, seen: &Seen) -> fmt::Result {
    writeln!(
        f,
        "| {store} | {what} | {} | {} | {} | {} | {} | {} | {} | {:.1} s | {} |",
        seen.kills,
        seen.accepted,
        seen.claims,
        seen.ended,
        seen.waiting,
        seen.repeated,
        seen.in_doubt,
        seen.recovery.as_secs_f64(),
        seen.violations.len()
    )
}
