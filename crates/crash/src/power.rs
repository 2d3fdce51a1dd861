//! Power cuts: what the process did to its files is recorded, the power goes at any moment of it, and the store is
//! opened on what a disk may hold then.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::question::{Answer, Questions as _, Why};
use ambidex_core::record::Record;
use ambidex_core::store::StoreError;
use ambidex_engine::Engine;
use ambidex_store::Durability;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::disk::Image;
use crate::failpoint::{Mishap, Trigger};
use crate::place::Place;
use crate::random::Random;
use crate::record::{self, Event};
use crate::round::all_runs;
use crate::store::{Promise, WatchedStore};
use crate::workload::{Workload, open_ledger};

/// Runs of a recording, in each of the times that the store is opened.
const RUNS: u32 = 36;
const OPENED: usize = 2;

/// What the process did and promised, and what its store held in the end.
struct Recorded {
    events: Vec<Event>,
    records: BTreeMap<String, Vec<Record>>,
}

#[derive(Clone, Debug)]
pub struct PowerLine {
    pub durability: Durability,
    pub cuts: usize,
    /// What was recorded.
    pub writes: usize,
    pub syncs: usize,
    pub promises: usize,
    /// Over all cuts: records that were acknowledged before, and of those the ones that must be there.
    pub acknowledged: u64,
    pub due: u64,
    /// Of those that must be there.
    pub lost: u64,
    /// Of the others.
    pub lost_allowed: u64,
    pub violations: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Power {
    pub lines: Vec<PowerLine>,
}

impl Power {
    /// So many cuts at `sync`, and as many at `batch`.
    pub async fn of(cuts: usize, seed: u64, folder: &Path) -> Result<Self, String> {
        let mut lines = Vec::new();
        for durability in [Durability::Sync, Durability::Batch] {
            let place = folder.join(format!("power-{durability}"));
            std::fs::create_dir_all(&place).map_err(|error| error.to_string())?;
            let recorded = Arc::new(recorded(durability, seed, &place).await?);
            lines.push(line(durability, cuts, seed, &place, recorded).await);
        }
        Ok(Self { lines })
    }

    pub fn violations(&self) -> impl Iterator<Item = String> {
        self.lines.iter().flat_map(|line| {
            line.violations.iter().map(move |text| format!("power cut at `{}`: {text}", line.durability))
        })
    }
}

/// Carries runs out and records what that does to the files.
async fn recorded(durability: Durability, seed: u64, folder: &Path) -> Result<Recorded, String> {
    let text = |error: StoreError| error.to_string();
    let disk = folder.join("disk");
    std::fs::create_dir_all(&disk).map_err(|error| error.to_string())?;
    // Two folders that are not there yet.
    let place = Place::Sqlite { path: disk.join("new/deep/state.db") };
    let ledger = open_ledger(&folder.join("ledger"))?;
    let trigger = Arc::new(Trigger::new(None, Mishap::Killed));
    record::begin(&disk)?;
    let mut records = BTreeMap::new();
    for time in 0..OPENED {
        let opened = place.open_at(durability).await.map_err(text)?;
        let heard = Arc::new(record::promised);
        let store = Arc::new(WatchedStore::new(opened.any(), trigger.clone(), heard));
        let engine = Engine::builder().durable_store(store.clone()).build();
        let workload = Workload::new(&engine, &ledger, &trigger, seed, Duration::ZERO);
        let workload = workload.map_err(|error| error.to_string())?;
        let known = workload.clone();
        let recovery = engine.recover(move |definition| known.find(definition));
        let recovery = recovery.map_err(|error| error.to_string())?;
        for number in 0..RUNS {
            let mut handle =
                workload.start(number, format!("p{time}.{number}")).map_err(|error| error.to_string())?;
            handle.detach();
        }
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            for question in store.open(None).await.map_err(text)? {
                if question.why == Why::Approval {
                    drop(store.answer(&question.id, Answer::Approve).await);
                }
            }
            let any = opened.any();
            let runs = all_runs(&*any).await.map_err(text)?;
            let all = usize::try_from(RUNS).unwrap_or(0) * (time + 1);
            if runs.len() == all && runs.iter().all(|run| run.status.is_final()) {
                for run in runs {
                    let found = any.records(&run.id, 0, usize::MAX).await.map_err(text)?;
                    records.insert(run.id, found);
                }
                break;
            }
        }
        drop(recovery);
        engine.idle().await;
        opened.close().await;
    }
    Ok(Recorded { events: record::end(), records })
}

async fn line(
    durability: Durability,
    cuts: usize,
    seed: u64,
    folder: &Path,
    recorded: Arc<Recorded>,
) -> PowerLine {
    let events = &recorded.events;
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    let mut line = PowerLine {
        durability,
        cuts,
        writes: count(|event| matches!(event, Event::Written { .. })),
        syncs: count(|event| matches!(event, Event::SyncEnded { .. })),
        promises: count(|event| matches!(event, Event::Promised(_))),
        acknowledged: 0,
        due: 0,
        lost: 0,
        lost_allowed: 0,
        violations: vec![],
    };
    let permits = Arc::new(Semaphore::new(4));
    let mut tasks = JoinSet::new();
    for number in 0..u64::try_from(cuts).unwrap_or(0) {
        let (permits, recorded, folder) = (permits.clone(), recorded.clone(), folder.to_owned());
        // What was left is looked at in memory, where there is such a place: it was a disk's before.
        let memory = Path::new("/dev/shm");
        let near = if memory.is_dir() { memory } else { &folder };
        let to = near.join(format!("ambidex-cut-{}-{durability}-{number}", std::process::id()));
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let mut random = Random::of(seed, &format!("power {durability}"), number);
            let at = random.below(recorded.events.len() + 1);
            let cut = Cut { durability, at, recorded };
            let found = cut.look(&folder.join("disk"), &to, &mut random).await;
            if found.as_ref().is_ok_and(|found| found.violations.is_empty()) {
                drop(std::fs::remove_dir_all(&to));
            }
            (number, at, found)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((number, at, Ok(found))) => {
                line.acknowledged += found.acknowledged;
                line.due += found.due;
                line.lost += found.lost;
                line.lost_allowed += found.lost_allowed;
                let named =
                    found.violations.into_iter().map(|text| format!("{text} [cut {number} before {at}]"));
                line.violations.extend(named);
            }
            Ok((number, at, Err(problem))) => {
                line.violations.push(format!("{problem} [cut {number} before {at}]"))
            }
            Err(error) => line.violations.push(error.to_string()),
        }
    }
    line
}

#[derive(Default)]
struct Found {
    acknowledged: u64,
    due: u64,
    lost: u64,
    lost_allowed: u64,
    violations: Vec<String>,
}

struct Cut {
    durability: Durability,
    /// The first event that did not happen.
    at: usize,
    recorded: Arc<Recorded>,
}

impl Cut {
    /// What of the promises must hold: all, or at `batch` those made before the last sync of the log began that has
    /// ended.
    fn due_before(&self) -> usize {
        if self.durability == Durability::Sync {
            return self.at;
        }
        let (mut began, mut due) = (BTreeMap::new(), 0);
        for (place, event) in self.recorded.events[..self.at].iter().enumerate() {
            match event {
                Event::SyncBegan { path, number } if path.to_string_lossy().ends_with("-wal") => {
                    began.insert(*number, place);
                }
                Event::SyncEnded { number } => due = began.get(number).map_or(due, |place| due.max(*place)),
                _ => {}
            }
        }
        due
    }

    /// Records per run that were promised before this place.
    fn promised(&self, before: usize) -> BTreeMap<&str, u64> {
        let mut runs = BTreeMap::new();
        for event in &self.recorded.events[..before] {
            if let Event::Promised(Promise::Committed { run, records, .. }) = event {
                let most = runs.entry(&**run).or_insert(0);
                *most = (*records).max(*most);
            }
        }
        runs
    }

    async fn look(&self, from: &Path, to: &Path, random: &mut Random) -> Result<Found, String> {
        let text = |error: StoreError| error.to_string();
        let from = from.canonicalize().map_err(|error| error.to_string())?;
        std::fs::create_dir_all(to).map_err(|error| error.to_string())?;
        let image = Image::of(&self.recorded.events[..self.at]);
        image.write(&from, to, random).map_err(|error| error.to_string())?;
        let place = Place::Sqlite { path: to.join("new/deep/state.db") };
        let store = place.open_at(self.durability).await.map_err(text)?;
        let mut found = Found::default();
        found.violations.extend(store.check().await.map_err(text)?);
        let any = store.any();
        let must = self.promised(self.due_before());
        for (run, acknowledged) in self.promised(self.at) {
            let due = must.get(run).copied().unwrap_or(0);
            let records = match any.records(run, 0, usize::MAX).await {
                Ok(records) => records,
                Err(StoreError::UnknownRun(_)) => vec![],
                Err(error) => return Err(error.to_string()),
            };
            let there = u64::try_from(records.len()).unwrap_or(0);
            found.acknowledged += acknowledged;
            found.due += due;
            if there < due {
                found.lost += due - there;
                found.violations.push(format!("{run}: {due} records were promised, {there} are there"));
            }
            found.lost_allowed += acknowledged.saturating_sub(there.max(due));
            let whole = self.recorded.records.get(run).map_or(&[][..], |records| records);
            if whole.get(..records.len()) != Some(&records[..]) {
                found.violations.push(format!("{run}: its records are others than those that were written"));
            }
        }
        store.close().await;
        Ok(found)
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| durability | power cuts | writes recorded | syncs | promises | records acknowledged before a cut | must be \
             there | of these lost | of the others lost | violations |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for line in &self.lines {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                line.durability,
                line.cuts,
                line.writes,
                line.syncs,
                line.promises,
                line.acknowledged,
                line.due,
                line.lost,
                line.lost_allowed,
                line.violations.len()
            )?;
        }
        Ok(())
    }
}
