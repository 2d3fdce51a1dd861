//! The in-memory store, with the semantics of a real one. Records never change once made, so it keeps them as
//! they come; who reads gets them through JSON, as from any other store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::BoxFuture;
use crate::definition::Pinned;
use crate::question::{Answer, AnswerError, Question, Questions, Standing};
use crate::record::{Record, RecordKind};
use crate::store::{Batch, Store, StoreError, Stored};

/// Runs, definitions and questions of one process. Cheap to clone; clones share what they hold.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    tables: Mutex<Tables>,
    answered: Notify,
    keep_finished: Option<usize>,
}

#[derive(Default)]
struct Tables {
    definitions: HashMap<Arc<str>, Arc<str>>,
    runs: HashMap<String, Row>,
    questions: BTreeMap<String, Asked>,
    asked: u64,
    /// Finished runs, oldest first.
    finished: VecDeque<String>,
    commits: u64,
}

struct Row {
    epoch: u64,
    definition: Arc<str>,
    records: Records,
    /// Ids of its questions, so that they can go with it.
    questions: Vec<String>,
}

/// Records of one run, batch by batch as they came: nothing is moved when more come.
#[derive(Default)]
struct Records {
    batches: Vec<Vec<Record>>,
    count: u64,
}

struct Asked {
    order: u64,
    question: Question,
    answer: Option<Answer>,
    withdrawn: bool,
    /// A reply that is being written.
    written: String,
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
        let Pinned { hash, text, .. } = stored.definition.clone();
        tables.definitions.entry(hash.clone()).or_insert(text);
        tables.runs.insert(run.to_owned(), Row { epoch, definition: hash, records, questions: vec![] });
        for question in open {
            tables.ask(run, question);
        }
        let ends = stored.records.last().is_some_and(ends);
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

    /// Resolves when `look` finds in the question what it looks for.
    fn until<T: Send + 'static>(
        &self,
        id: &str,
        look: impl Fn(&Asked) -> Option<T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let (shared, id) = (self.shared.clone(), id.to_owned());
        Box::pin(async move {
            loop {
                // Listen before looking, or what came in between would be missed.
                let mut next = std::pin::pin!(shared.answered.notified());
                next.as_mut().enable();
                let found = {
                    let tables = shared.tables.lock().unwrap_or_else(PoisonError::into_inner);
                    tables.questions.get(&id).and_then(&look)
                };
                match found {
                    Some(found) => return found,
                    None => next.await,
                }
            }
        })
    }

    fn write_batch(&self, run: &str, epoch: u64, expected: u64, batch: Batch) -> Result<(), StoreError> {
        let ends = batch.records.iter().any(ends);
        let mut tables = self.tables();
        match tables.runs.get(run) {
            Some(row) if row.epoch != epoch => return Err(StoreError::Fenced),
            Some(row) if row.records.len() != expected => {
                return Err(StoreError::Conflict { expected, found: row.records.len() });
            }
            Some(_) => {}
            None => {
                let Some(Pinned { hash, text, .. }) =
                    batch.definition.filter(|_| expected == 0 && epoch == 1)
                else {
                    return Err(StoreError::UnknownRun(run.to_owned()));
                };
                tables.definitions.entry(hash.clone()).or_insert(text);
                let row = Row { epoch, definition: hash, records: Records::default(), questions: vec![] };
                tables.runs.insert(run.to_owned(), row);
            }
        }
        for question in batch.asked {
            tables.ask(run, question);
        }
        for id in batch.withdrawn {
            if let Some(asked) = tables.questions.get_mut(&id) {
                asked.withdrawn = asked.answer.is_none();
            }
        }
        if let Some(row) = tables.runs.get_mut(run) {
            row.records.append(batch.records);
        }
        tables.commits += 1;
        let forgotten = if ends { self.finished(&mut tables, run) } else { vec![] };
        drop(tables);
        // Not under the lock: a long run is many pieces.
        drop(forgotten);
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
        let text = tables.definitions.get(&row.definition);
        let text = text.ok_or_else(|| StoreError::Broken(format!("no definition {}", row.definition)))?;
        let definition = Pinned::read(&row.definition, text).map_err(StoreError::Broken)?;
        let records = row.records.iter().map(|record| serde_json::from_slice(&serde_json::to_vec(record)?));
        let records = records.collect::<Result<_, serde_json::Error>>();
        Ok(Stored { definition, records: records.map_err(|error| StoreError::Broken(error.to_string()))? })
    }
}

fn ends(record: &Record) -> bool {
    matches!(record.kind, RecordKind::Finished(_))
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
}

impl Tables {
    /// Idempotent on its id: a question asked before keeps its answer.
    fn ask(&mut self, run: &str, question: Question) {
        if self.questions.contains_key(&question.id) {
            return;
        }
        self.asked += 1;
        if let Some(row) = self.runs.get_mut(run) {
            row.questions.push(question.id.clone());
        }
        let asked =
            Asked { order: self.asked, answer: None, withdrawn: false, written: String::new(), question };
        self.questions.insert(asked.question.id.clone(), asked);
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
        if !self.runs.values().any(|other| other.definition == row.definition) {
            self.definitions.remove(&row.definition);
        }
        Some(row)
    }
}

impl Store for MemoryStore {
    fn claim(&self, run: &str) -> BoxFuture<'static, Result<u64, StoreError>> {
        let claimed = match self.tables().runs.get_mut(run) {
            Some(row) => {
                row.epoch += 1;
                Ok(row.epoch)
            }
            None => Err(StoreError::UnknownRun(run.to_owned())),
        };
        Box::pin(std::future::ready(claimed))
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

impl Questions for MemoryStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        let (id, run) = (question.id.clone(), question.run.clone());
        let mut tables = self.tables();
        tables.ask(&run, question);
        let standing = tables.questions.get(&id).map(|asked| Standing {
            question: asked.question.clone(),
            answer: asked.answer.clone(),
            withdrawn: asked.withdrawn,
        });
        let standing = standing.ok_or_else(|| StoreError::Broken(format!("no question {id}")));
        Box::pin(std::future::ready(standing))
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        let answer = self.tables().questions.get_mut(id).and_then(|asked| {
            asked.withdrawn = asked.answer.is_none();
            asked.answer.clone()
        });
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        let taken = match self.tables().questions.get_mut(id) {
            None => Err(AnswerError::Unknown),
            Some(asked) if asked.withdrawn => Err(AnswerError::Withdrawn),
            Some(asked) if asked.answer.is_some() => Err(AnswerError::AlreadyAnswered),
            Some(asked) => {
                asked.answer = Some(answer);
                Ok(())
            }
        };
        if taken.is_ok() {
            self.shared.answered.notify_waiters();
        }
        Box::pin(std::future::ready(taken))
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Vec<Question>> {
        let tables = self.tables();
        let open = tables.questions.values().filter(|asked| {
            asked.answer.is_none() && !asked.withdrawn && run.is_none_or(|run| asked.question.run == run)
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|asked| asked.order);
        let open = open.into_iter().map(|asked| asked.question.clone()).collect();
        Box::pin(std::future::ready(open))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.until(id, |asked| asked.answer.clone())
    }

    fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        let written = match self.tables().questions.get_mut(id) {
            None => Err(AnswerError::Unknown),
            Some(asked) if asked.withdrawn => Err(AnswerError::Withdrawn),
            Some(asked) if asked.answer.is_some() => Err(AnswerError::AlreadyAnswered),
            Some(asked) => {
                asked.written.push_str(text);
                Ok(())
            }
        };
        self.shared.answered.notify_waiters();
        written
    }

    fn written(&self, id: &str, seen: usize) -> BoxFuture<'static, String> {
        self.until(id, move |asked| (asked.written.len() > seen).then(|| asked.written.clone()))
    }
}
