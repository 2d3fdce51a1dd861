//! The in-memory store, with the semantics of a real one. Records never change once made, so it keeps them as
//! they come; who reads gets them through JSON, as from any other store.

mod index;
mod questions;
mod sessions;
mod threads;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::BoxFuture;
use crate::definition::Pinned;
use crate::event::Status;
use crate::question::Question;
use crate::record::Record;
use crate::store::{Batch, Lease, RunStanding, Snapshot, Store, StoreError, Stored};

use index::Events;
use questions::Asked;
use threads::Conversations;

/// Runs, definitions and questions of one process. Cheap to clone; clones share what they hold.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tables: Mutex<Tables>,
    /// Answers taken so far.
    answers: AtomicU64,
    answered: Notify,
    /// Changes of lines and signals so far.
    stirs: watch::Sender<u64>,
    keep_finished: Option<usize>,
}

#[derive(Default)]
struct Tables {
    definitions: HashMap<Arc<str>, Defined>,
    runs: HashMap<String, Row>,
    /// Runs so far, those that are forgotten too.
    created: u64,
    questions: BTreeMap<String, Asked>,
    asked: u64,
    events: HashMap<String, Events>,
    /// Finished runs, oldest first.
    finished: VecDeque<String>,
    commits: u64,
    conversations: Conversations,
}

struct Defined {
    text: Arc<str>,
    agent: String,
}

struct Row {
    /// Counts runs in the order they were created.
    number: u64,
    epoch: u64,
    definition: Arc<str>,
    thread: Option<String>,
    standing: RunStanding,
    lease: Option<Lease>,
    records: Records,
    snapshot: Option<Snapshot>,
    /// Ids of its questions, so that they can go with it.
    questions: Vec<String>,
}

/// Records of one run, batch by batch as they came: nothing is moved when more come.
#[derive(Default)]
struct Records {
    batches: Vec<Vec<Record>>,
    count: u64,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the oldest finished runs when there are more than this many.
    pub fn keeping(finished: usize) -> Self {
        Self { shared: Arc::new(Shared { keep_finished: Some(finished), ..Shared::default() }) }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic elsewhere leaves no half-made batch here: batches are checked, then written.
        self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches written so far.
    pub fn commits(&self) -> u64 {
        self.tables().commits
    }

    /// Stored bytes, record by record.
    pub fn sizes(&self, run: &str) -> Vec<usize> {
        let tables = self.tables();
        let size = |record| serde_json::to_vec(record).map_or(0, |json| json.len());
        tables.runs.get(run).map(|row| row.records.iter().map(size).collect()).unwrap_or_default()
    }

    /// Puts in a run that was taken out of a store elsewhere, with its open questions. Its owner's epoch is
    /// that of its last record.
    ///
    /// # Errors
    /// `Conflict` where there is a run of this id.
    pub fn restore(&self, run: &str, stored: &Stored, open: Vec<Question>) -> Result<(), StoreError> {
        let records = Records::of(stored.records.clone());
        let epoch = stored.records.last().map_or(1, |record| record.epoch);
        let mut tables = self.tables();
        if let Some(row) = tables.runs.get(run) {
            return Err(StoreError::Conflict { expected: 0, found: row.records.len() });
        }
        let whole = Batch { records: stored.records.clone(), ..Batch::default() };
        // It rests, or it would not have been taken out.
        let rests = if open.is_empty() { Status::Paused } else { Status::Waiting };
        let standing = whole.standing_after().unwrap_or(RunStanding { status: rests, due: None });
        tables.create(run, epoch, stored.definition.clone(), whole.thread());
        if let Some(row) = tables.runs.get_mut(run) {
            (row.records, row.standing) = (records, standing);
            row.snapshot.clone_from(&stored.snapshot);
        }
        for question in open {
            tables.ask(run, question);
        }
        let ends = standing.status.is_final();
        let forgotten = if ends { self.finished(&mut tables, run) } else { vec![] };
        drop(tables);
        drop(forgotten);
        Ok(())
    }

    /// Forgets a run at rest, its questions too: one that waits or is paused and is kept elsewhere.
    pub fn forget(&self, run: &str) {
        let mut tables = self.tables();
        let forgotten = tables.forget(run);
        drop(tables);
        drop(forgotten);
    }

    fn write_batch(&self, run: &str, epoch: u64, expected: u64, batch: Batch) -> Result<(), StoreError> {
        let (standing, done) = (batch.standing_after(), batch.taken(run));
        let mut tables = self.tables();
        match tables.runs.get(run) {
            Some(row) if row.epoch != epoch => return Err(StoreError::Fenced),
            Some(row) if row.records.len() != expected => {
                return Err(StoreError::Conflict { expected, found: row.records.len() });
            }
            Some(_) => {
                batch.check(epoch, expected)?;
                if let Some(step) = &batch.thread {
                    tables.conversations.check(run, step)?;
                }
            }
            None => {
                let first = batch.definition.as_ref().filter(|_| expected == 0 && epoch == 1);
                let definition = first.ok_or_else(|| StoreError::UnknownRun(run.to_owned()))?;
                batch.check(epoch, expected)?;
                if let Some(step) = &batch.thread {
                    tables.conversations.check(run, step)?;
                }
                tables.create(run, epoch, definition.clone(), batch.thread());
            }
        }
        for question in batch.asked {
            tables.ask(run, question);
        }
        for id in batch.withdrawn {
            tables.withdraw(&id);
        }
        for id in done {
            if let Some(asked) = tables.questions.get_mut(&id) {
                asked.taken = true;
            }
        }
        let ends = standing.is_some_and(|standing| standing.status.is_final());
        if let Some(row) = tables.runs.get_mut(run) {
            row.records.append(batch.records);
            row.standing = standing.unwrap_or(row.standing);
            row.lease = batch.lease.or(row.lease.take()).filter(|lease| !ends && lease.until > 0);
            row.snapshot = batch.snapshot.or(row.snapshot.take());
        }
        if ends {
            tables.close_questions(run);
        }
        tables.commits += 1;
        let stirs = batch.thread.is_some_and(|step| tables.conversations.apply(run, *step));
        let forgotten = if ends { self.finished(&mut tables, run) } else { vec![] };
        drop(tables);
        // Not under the lock: a long run is many pieces.
        drop(forgotten);
        if stirs {
            self.shared.stirs.send_modify(|stirs| *stirs += 1);
        }
        Ok(())
    }

    /// Gives the runs that are forgotten for it.
    fn finished(&self, tables: &mut Tables, run: &str) -> Vec<Row> {
        let Some(keep) = self.shared.keep_finished else {
            return vec![];
        };
        tables.finished.push_back(run.to_owned());
        let excess = tables.finished.len().saturating_sub(keep);
        (0..excess).filter_map(|_| tables.forget_oldest()).collect()
    }

    fn read(&self, run: &str) -> Result<Stored, StoreError> {
        let tables = self.tables();
        let row = tables.runs.get(run).ok_or_else(|| StoreError::UnknownRun(run.to_owned()))?;
        let known = tables.definitions.get(&row.definition);
        let known = known.ok_or_else(|| StoreError::Broken(format!("no definition {}", row.definition)))?;
        let definition = Pinned::read(&row.definition, &known.text).map_err(StoreError::Broken)?;
        let from = row.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let records = row.records.read(from, usize::MAX)?;
        Ok(Stored { definition, snapshot: row.snapshot.clone(), records })
    }
}

impl Records {
    fn of(batch: Vec<Record>) -> Self {
        let mut records = Self::default();
        records.append(batch);
        records
    }

    fn append(&mut self, batch: Vec<Record>) {
        self.count += batch.len() as u64;
        self.batches.push(batch);
    }

    fn len(&self) -> u64 {
        self.count
    }

    fn iter(&self) -> impl Iterator<Item = &Record> {
        self.batches.iter().flatten()
    }

    fn last(&self) -> Option<&Record> {
        self.batches.iter().rev().find_map(|batch| batch.last())
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.iter().skip_while(|record| record.seq < from).take(limit);
        let records = records.map(|record| serde_json::from_slice(&serde_json::to_vec(record)?));
        let records = records.collect::<Result<_, serde_json::Error>>();
        records.map_err(|error| StoreError::Broken(error.to_string()))
    }
}

impl Tables {
    fn create(&mut self, run: &str, epoch: u64, definition: Pinned, thread: Option<&str>) {
        let agent = definition.agent_name().to_owned();
        let Pinned { hash, text, .. } = definition;
        self.definitions.entry(hash.clone()).or_insert(Defined { text, agent });
        self.created += 1;
        let row = Row {
            number: self.created,
            epoch,
            definition: hash,
            thread: thread.map(str::to_owned),
            standing: RunStanding { status: Status::Running, due: None },
            lease: None,
            records: Records::default(),
            snapshot: None,
            questions: vec![],
        };
        self.runs.insert(run.to_owned(), row);
    }

    /// Nobody waits for an answer to a run that has ended.
    fn close_questions(&mut self, run: &str) {
        for id in self.runs.get(run).iter().flat_map(|row| &row.questions) {
            if let Some(asked) = self.questions.get_mut(id) {
                asked.withdrawn |= asked.answer.is_none();
            }
        }
    }

    fn forget_oldest(&mut self) -> Option<Row> {
        let oldest = self.finished.pop_front()?;
        self.forget(&oldest)
    }

    fn forget(&mut self, run: &str) -> Option<Row> {
        let row = self.runs.remove(run)?;
        for question in &row.questions {
            self.questions.remove(question);
        }
        self.events.remove(run);
        if !self.runs.values().any(|other| other.definition == row.definition) {
            self.definitions.remove(&row.definition);
        }
        Some(row)
    }
}

impl Store for MemoryStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        let claimed = match self.tables().runs.get_mut(run) {
            None => Err(StoreError::UnknownRun(run.to_owned())),
            Some(Row { lease: Some(held), .. }) if held.until > now && held.owner != lease.owner => {
                Err(StoreError::Owned { owner: held.owner.to_string(), until: held.until })
            }
            Some(row) => {
                row.epoch += 1;
                row.lease = Some(lease).filter(|lease| lease.until > 0);
                Ok(row.epoch)
            }
        };
        Box::pin(std::future::ready(claimed))
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        let renewed = match self.tables().runs.get_mut(run) {
            None => Err(StoreError::UnknownRun(run.to_owned())),
            Some(row) if row.epoch != epoch || (row.lease.is_none() && until > 0) => Err(StoreError::Fenced),
            Some(row) => {
                row.lease = row.lease.take().map(|lease| Lease { until, ..lease });
                row.lease = row.lease.take().filter(|lease| lease.until > 0);
                Ok(())
            }
        };
        Box::pin(std::future::ready(renewed))
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        Box::pin(std::future::ready(self.read(run)))
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(std::future::ready(self.write_batch(run, epoch, expected, batch)))
    }
}
