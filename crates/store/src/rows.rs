//! Batches as rows, and rows as what they were. Text is made where the caller is, not on the writer's thread.

use std::sync::Arc;

use ambidex_core::definition::Pinned;
use ambidex_core::event::{Event, Status};
use ambidex_core::question::{Answer, Question};
use ambidex_core::record::{Record, RecordKind, VERSION};
use ambidex_core::store::{Batch, FailureKind, Lease, RunStanding, Snapshot, StoreError, StoreFailure};

use crate::threads::{StepRow, without_shared};

/// A batch, ready to be written.
pub(crate) struct BatchRow {
    pub(crate) run: String,
    pub(crate) epoch: i64,
    pub(crate) expected: i64,
    /// Why it is no batch; told only to whom might have written it.
    pub(crate) malformed: Option<StoreError>,
    pub(crate) definition: Option<DefinitionRow>,
    pub(crate) records: Vec<RecordRow>,
    pub(crate) asked: Vec<QuestionRow>,
    pub(crate) withdrawn: Vec<String>,
    pub(crate) taken: Vec<String>,
    pub(crate) standing: Option<RunStanding>,
    pub(crate) lease: Option<Lease>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) thread: Option<StepRow>,
}

pub(crate) struct DefinitionRow {
    pub(crate) hash: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) agent: String,
    pub(crate) thread: Option<String>,
}

pub(crate) struct RecordRow {
    pub(crate) v: i64,
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) kind: String,
}

pub(crate) struct QuestionRow {
    pub(crate) id: String,
    pub(crate) run: String,
    pub(crate) due: Option<i64>,
    pub(crate) question: String,
}

/// Stores count in signed numbers.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(crate) fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Malformed(error.to_string())
}

impl BatchRow {
    pub(crate) fn new(run: &str, epoch: u64, expected: u64, batch: Batch) -> Result<Self, StoreError> {
        let malformed = batch.check(epoch, expected).err();
        let (standing, taken) = (batch.standing_after(), batch.taken(run));
        let thread = batch.thread().map(str::to_owned);
        let definition = batch.definition.map(|pinned| {
            let agent = pinned.agent_name().to_owned();
            DefinitionRow { hash: pinned.hash, text: pinned.text, agent, thread }
        });
        let begin = batch.thread.as_ref().and_then(|step| step.begin.as_ref());
        let shared = begin.map(|begin| begin.shared).filter(|shared| !shared.is_empty());
        let record = |record: &Record| match shared.and_then(|shared| without_shared(record, shared)) {
            Some(record) => RecordRow::new(&record),
            None => RecordRow::new(record),
        };
        let records = batch.records.iter().map(record).collect::<Result<_, _>>()?;
        let asked = batch.asked.iter().map(QuestionRow::new).collect::<Result<_, _>>()?;
        Ok(Self {
            run: run.to_owned(),
            epoch: signed(epoch),
            expected: signed(expected),
            malformed,
            definition,
            records,
            asked,
            withdrawn: batch.withdrawn,
            taken,
            standing,
            lease: batch.lease,
            snapshot: batch.snapshot,
            thread: batch.thread.map(|step| StepRow::new(*step)).transpose()?,
        })
    }

    /// When the run began, if this is its first batch.
    pub(crate) fn created(&self) -> i64 {
        self.records.first().map_or(0, |record| record.at)
    }

    /// The definition, where this batch may create its run.
    pub(crate) fn creates(&self) -> Option<&DefinitionRow> {
        self.definition.as_ref().filter(|_| self.expected == 0 && self.epoch == 1)
    }
}

impl RecordRow {
    fn new(record: &Record) -> Result<Self, StoreError> {
        let kind = serde_json::to_string(&record.kind).map_err(unwritable)?;
        Ok(Self { v: record.v.into(), seq: signed(record.seq), at: signed(record.at), kind })
    }
}

impl QuestionRow {
    pub(crate) fn new(question: &Question) -> Result<Self, StoreError> {
        let text = serde_json::to_string(question).map_err(unwritable)?;
        let due = question.due.map(signed);
        Ok(Self { id: question.id.clone(), run: question.run.clone(), due, question: text })
    }
}

pub(crate) fn answer_text(answer: &Answer) -> Result<String, StoreError> {
    serde_json::to_string(answer).map_err(unwritable)
}

pub(crate) fn event_text(event: &Event) -> Result<String, StoreError> {
    serde_json::to_string(event).map_err(unwritable)
}

/// Reads what a store holds and says where what cannot be read stands.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) place: Arc<str>,
}

impl Reading {
    pub(crate) fn wrong(&self, what: &str, why: impl std::fmt::Display) -> StoreError {
        self.failure(FailureKind::Corrupt, format!("{what} cannot be read: {why}"), damaged())
    }

    pub(crate) fn failure(&self, kind: FailureKind, problem: String, remedy: String) -> StoreError {
        let place = self.place.to_string();
        StoreError::Unavailable(Box::new(StoreFailure { kind, place, problem, remedy }))
    }

    pub(crate) fn record(
        &self,
        run: &str,
        (v, seq, epoch, at): (i64, i64, i64, i64),
        kind: &str,
    ) -> Result<Record, StoreError> {
        let what = format!("record {seq} of run `{run}`");
        if v > i64::from(VERSION) {
            let problem = format!("{what} has version {v}, and this build reads up to {VERSION}");
            return Err(self.failure(FailureKind::Newer, problem, newer()));
        }
        let kind: RecordKind = serde_json::from_str(kind).map_err(|error| self.wrong(&what, error))?;
        let v = u8::try_from(v).map_err(|error| self.wrong(&what, error))?;
        Ok(Record { v, seq: unsigned(seq), epoch: unsigned(epoch), at: unsigned(at), kind })
    }

    pub(crate) fn definition(&self, run: &str, hash: &str, text: &str) -> Result<Pinned, StoreError> {
        Pinned::read(hash, text).map_err(|why| self.wrong(&format!("the definition of run `{run}`"), why))
    }

    pub(crate) fn question(&self, id: &str, text: &str) -> Result<Question, StoreError> {
        serde_json::from_str(text).map_err(|error| self.wrong(&format!("question `{id}`"), error))
    }

    pub(crate) fn answer(&self, id: &str, text: &str) -> Result<Answer, StoreError> {
        serde_json::from_str(text).map_err(|error| self.wrong(&format!("the answer to `{id}`"), error))
    }

    pub(crate) fn event(&self, run: &str, seq: i64, text: &str) -> Result<Event, StoreError> {
        let event = serde_json::from_str(text);
        event.map_err(|error| self.wrong(&format!("event {seq} of run `{run}`"), error))
    }

    pub(crate) fn status(&self, run: &str, text: &str) -> Result<Status, StoreError> {
        let status = [
            Status::Queued,
            Status::Running,
            Status::Waiting,
            Status::Paused,
            Status::Succeeded,
            Status::Failed,
            Status::Cancelled,
        ];
        let found = status.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| self.wrong(&format!("run `{run}`"), format_args!("its status is `{text}`")))
    }
}

pub(crate) fn damaged() -> String {
    "What is whole can still be read; restore a backup to have the rest".into()
}

pub(crate) fn newer() -> String {
    "Use the version of Ambidex that wrote it or a later one, or another store".into()
}
