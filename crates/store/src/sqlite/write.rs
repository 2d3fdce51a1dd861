//! What writes, inside a transaction: each looks before it changes anything.

use ambidex_core::event::Status;
use ambidex_core::question::AnswerError;
use ambidex_core::store::{Lease, RunStanding, StoreError};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::writer::Done;
use crate::rows::{BatchRow, DefinitionRow, QuestionRow, signed, unsigned};

/// The part of a run's row that changes.
#[derive(Clone, PartialEq)]
pub(super) struct RunRow {
    no: i64,
    epoch: i64,
    status: String,
    due: Option<i64>,
    wake: Option<i64>,
    owner: Option<String>,
    lease: i64,
}

impl RunRow {
    fn find(db: &Connection, run: &str) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT no, epoch, status, due, wake, owner, lease FROM runs WHERE id = ?1";
        db.prepare_cached(sql)?.query_row([run], Self::read).optional()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            no: row.get(0)?,
            epoch: row.get(1)?,
            status: row.get(2)?,
            due: row.get(3)?,
            wake: row.get(4)?,
            owner: row.get(5)?,
            lease: row.get(6)?,
        })
    }

    fn create(db: &Connection, batch: &BatchRow, definition: &DefinitionRow) -> rusqlite::Result<Self> {
        let find = "SELECT no FROM definitions WHERE hash = ?1";
        let known = db.prepare_cached(find)?.query_row([&*definition.hash], |row| row.get(0)).optional()?;
        let pinned: i64 = match known {
            Some(pinned) => pinned,
            None => {
                let sql = "INSERT INTO definitions (hash, text) VALUES (?1, ?2)";
                db.prepare_cached(sql)?.execute(params![&*definition.hash, &*definition.text])?;
                db.last_insert_rowid()
            }
        };
        let status = Status::Running.as_str();
        let sql = "INSERT INTO runs (id, definition, agent, thread, status, epoch, wake, created)
                   VALUES (:run, :pinned, :agent, :thread, :status, :epoch, 0, :created)";
        db.prepare_cached(sql)?.execute(named_params! {
            ":run": batch.run, ":pinned": pinned, ":agent": definition.agent, ":thread": definition.thread,
            ":status": status, ":epoch": batch.epoch, ":created": batch.created(),
        })?;
        let no = db.last_insert_rowid();
        let epoch = batch.epoch;
        Ok(Self { no, epoch, status: status.into(), due: None, wake: Some(0), owner: None, lease: 0 })
    }

    fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE runs SET epoch = ?2, status = ?3, due = ?4, wake = ?5, owner = ?6, lease = ?7 WHERE no = ?1";
        let Self { no, epoch, status, due, wake, owner, lease } = self;
        db.prepare_cached(sql)?.execute(params![no, epoch, status, due, wake, owner, lease]).map(drop)
    }

    fn stand(&mut self, standing: RunStanding) {
        self.status = standing.status.as_str().into();
        self.due = standing.due.map(signed);
        if standing.status.is_final() {
            (self.owner, self.lease) = (None, 0);
        }
    }

    fn lease(&mut self, lease: &Lease) {
        self.lease = signed(lease.until);
        self.owner = (self.lease > 0).then(|| lease.owner.to_string());
    }

    /// When the run wants to be driven on, as it stands.
    fn rouse(&mut self, db: &Connection, run: &str) -> rusqlite::Result<()> {
        self.wake = match &*self.status {
            "queued" | "running" => Some(0),
            "paused" => self.due,
            "waiting" => {
                let sql = "SELECT min(iif(answer IS NULL, due, 0)) FROM questions
                           WHERE run = ?1 AND taken = 0 AND withdrawn = 0";
                let asked: Option<i64> = db.prepare_cached(sql)?.query_row([run], |row| row.get(0))?;
                asked.into_iter().chain(self.due).min()
            }
            _ => None,
        };
        Ok(())
    }
}

/// The run a batch is for, or why it is refused. Changes nothing.
pub(super) fn find(db: &Connection, batch: &BatchRow) -> Done<Option<RunRow>> {
    let found = RunRow::find(db, &batch.run)?;
    if let Some(row) = &found {
        if row.epoch != batch.epoch {
            return Ok(Err(StoreError::Fenced));
        }
        let sql = "SELECT coalesce(max(seq) + 1, 0) FROM records WHERE run = ?1";
        let next: i64 = db.prepare_cached(sql)?.query_row([row.no], |row| row.get(0))?;
        if next != batch.expected {
            let (expected, found) = (unsigned(batch.expected), unsigned(next));
            return Ok(Err(StoreError::Conflict { expected, found }));
        }
    } else if batch.creates().is_none() {
        return Ok(Err(StoreError::UnknownRun(batch.run.clone())));
    }
    if let Some(malformed) = &batch.malformed {
        return Ok(Err(malformed.clone()));
    }
    Ok(Ok(found))
}

/// Stores a batch that is not refused.
pub(super) fn store(db: &Connection, batch: &BatchRow, found: Option<RunRow>) -> Done<()> {
    let before = match (found, batch.creates()) {
        (Some(row), _) => row,
        (None, Some(definition)) => RunRow::create(db, batch, definition)?,
        (None, None) => return Ok(Err(StoreError::UnknownRun(batch.run.clone()))),
    };
    let mut insert = db.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for record in &batch.records {
        insert.execute(params![before.no, record.seq, record.v, batch.epoch, record.at, record.kind])?;
    }
    for question in &batch.asked {
        insert_question(db, question)?;
    }
    for id in &batch.withdrawn {
        close_question(db, id)?;
    }
    for id in &batch.taken {
        db.prepare_cached("UPDATE questions SET taken = 1 WHERE id = ?1")?.execute([id])?;
    }
    if let Some(snapshot) = &batch.snapshot {
        let sql = "INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3)";
        db.prepare_cached(sql)?.execute(params![before.no, signed(snapshot.seq), snapshot.state])?;
    }
    let mut after = before.clone();
    if let Some(lease) = &batch.lease {
        after.lease(lease);
    }
    if let Some(standing) = batch.standing {
        after.stand(standing);
        if standing.status.is_final() {
            let sql = "UPDATE questions SET withdrawn = 1 WHERE run = ?1 AND answer IS NULL";
            db.prepare_cached(sql)?.execute([&batch.run])?;
        }
    }
    after.rouse(db, &batch.run)?;
    // A step that changes none of it touches the records alone.
    if after != before {
        after.save(db)?;
    }
    Ok(Ok(()))
}

pub(super) fn claim(db: &Connection, run: &str, lease: &Lease, now: u64) -> Done<u64> {
    let Some(mut row) = RunRow::find(db, run)? else {
        return Ok(Err(StoreError::UnknownRun(run.to_owned())));
    };
    match &row.owner {
        Some(owner) if row.lease > signed(now) && **owner != *lease.owner => {
            return Ok(Err(StoreError::Owned { owner: owner.clone(), until: unsigned(row.lease) }));
        }
        _ => {}
    }
    row.epoch += 1;
    row.lease(lease);
    row.save(db)?;
    Ok(Ok(unsigned(row.epoch)))
}

pub(super) fn renew(db: &Connection, run: &str, epoch: i64, until: u64) -> Done<()> {
    match RunRow::find(db, run)? {
        None => Ok(Err(StoreError::UnknownRun(run.to_owned()))),
        Some(row) if row.epoch != epoch || (row.owner.is_none() && until > 0) => Ok(Err(StoreError::Fenced)),
        Some(mut row) => {
            if let Some(owner) = row.owner.take() {
                row.lease(&Lease { owner: owner.into(), until });
                row.save(db)?;
            }
            Ok(Ok(()))
        }
    }
}

/// A question's row as text: question, answer, withdrawn.
pub(super) type StandingRow = (String, Option<String>, bool);

pub(super) fn ask(db: &Connection, question: &QuestionRow) -> Done<StandingRow> {
    insert_question(db, question)?;
    rouse(db, &question.run)?;
    let sql = "SELECT question, answer, withdrawn FROM questions WHERE id = ?1";
    let standing = db
        .prepare_cached(sql)?
        .query_row([&question.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Ok(standing))
}

pub(super) fn withdraw(db: &Connection, id: &str) -> Done<Option<String>> {
    close_question(db, id)?;
    let sql = "SELECT run, answer FROM questions WHERE id = ?1";
    let found = db.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((run, answer)): Option<(String, Option<String>)> = found else {
        return Ok(Ok(None));
    };
    rouse(db, &run)?;
    Ok(Ok(answer))
}

pub(super) fn answer(db: &Connection, id: &str, answer: &str) -> Done<(), AnswerError> {
    let sql = "SELECT run, answer IS NOT NULL, withdrawn FROM questions WHERE id = ?1";
    let found = db.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let run: String = match found.optional()? {
        None => return Ok(Err(AnswerError::Unknown)),
        Some((_, _, true)) => return Ok(Err(AnswerError::Withdrawn)),
        Some((_, true, _)) => return Ok(Err(AnswerError::AlreadyAnswered)),
        Some((run, false, false)) => run,
    };
    let sql = "UPDATE counters SET value = value + 1 WHERE name = 'answers' RETURNING value";
    let number: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "UPDATE questions SET answer = ?2, answered = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, answer, number])?;
    rouse(db, &run)?;
    Ok(Ok(()))
}

/// Appends to a run's log of events and gives the number of the first.
pub(super) fn append_events(db: &Connection, run: &str, epoch: i64, events: &[String]) -> Done<u64> {
    let sql = "SELECT no, last, epoch FROM logs WHERE run = ?1";
    let found = db.prepare_cached(sql)?.query_row([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (log, last): (i64, i64) = match found.optional()? {
        Some((_, _, written)) if epoch < written => return Ok(Err(StoreError::Fenced)),
        Some((log, last, _)) => (log, last),
        None => {
            db.prepare_cached("INSERT INTO logs (run, last, epoch) VALUES (?1, 0, ?2)")?
                .execute(params![run, epoch])?;
            (db.last_insert_rowid(), 0)
        }
    };
    let mut insert = db.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3)")?;
    let mut seq = last;
    for event in events {
        seq += 1;
        insert.execute(params![log, seq, event])?;
    }
    let sql = "UPDATE logs SET last = ?2, epoch = ?3 WHERE no = ?1";
    db.prepare_cached(sql)?.execute(params![log, seq, epoch])?;
    Ok(Ok(unsigned(last + 1)))
}

fn insert_question(db: &Connection, question: &QuestionRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO questions (id, run, due, question) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let QuestionRow { id, run, due, question } = question;
    db.prepare_cached(sql)?.execute(params![id, run, due, question]).map(drop)
}

fn close_question(db: &Connection, id: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE questions SET withdrawn = 1 WHERE id = ?1 AND answer IS NULL";
    db.prepare_cached(sql)?.execute([id]).map(drop)
}

/// A question of the run has changed.
fn rouse(db: &Connection, run: &str) -> rusqlite::Result<()> {
    if let Some(before) = RunRow::find(db, run)? {
        let mut after = before.clone();
        after.rouse(db, run)?;
        if after != before {
            after.save(db)?;
        }
    }
    Ok(())
}
