//! What reads, each in a transaction of its own, so that it sees one moment.

use ambidex_core::question::Question;
use ambidex_core::record::Record;
use ambidex_core::store::{Claimable, Lease, RunPage, RunQuery, RunSummary, Snapshot, StoreError, Stored};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::threads;
use super::writer::Done;
use crate::listing::{Listing, Parameter};
use crate::rows::{Reading, signed, unsigned};

fn run_number(db: &Connection, run: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT no FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0)).optional()
}

pub(super) fn load(db: &Connection, reading: &Reading, run: &str) -> Done<Stored> {
    let Some(no) = run_number(db, run)? else {
        return Ok(Err(StoreError::UnknownRun(run.to_owned())));
    };
    let sql = "SELECT d.hash, d.text FROM runs r JOIN definitions d ON d.no = r.definition WHERE r.no = ?1";
    let found = db.prepare_cached(sql)?.query_row([no], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (hash, text): (String, String) = found.unwrap_or_default();
    let sql = "SELECT seq, state FROM snapshots WHERE run = ?1";
    let snapshot = db
        .prepare_cached(sql)?
        .query_row([no], |row| Ok(Snapshot { seq: unsigned(row.get(0)?), state: row.get(1)? }))
        .optional()?;
    let from = snapshot.as_ref().map_or(0, |snapshot| signed(snapshot.seq));
    let records = match read_records(db, reading, run, (no, from, i64::MAX))? {
        Ok(records) => records,
        Err(error) => return Ok(Err(error)),
    };
    let definition = reading.definition(run, &hash, &text);
    Ok(definition.map(|definition| Stored { definition, snapshot, records }))
}

pub(super) fn records(
    db: &Connection,
    reading: &Reading,
    run: &str,
    from: u64,
    limit: usize,
) -> Done<Vec<Record>> {
    match run_number(db, run)? {
        None => Ok(Err(StoreError::UnknownRun(run.to_owned()))),
        Some(no) => read_records(db, reading, run, (no, signed(from), count(limit))),
    }
}

fn read_records(
    db: &Connection,
    reading: &Reading,
    run: &str,
    (no, from, limit): (i64, i64, i64),
) -> Done<Vec<Record>> {
    let sql =
        "SELECT v, seq, epoch, at, kind FROM records WHERE run = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([no, from, limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let frame = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        match reading.record(run, frame, row.get_ref(4)?.as_str()?) {
            Ok(record) => records.push(record),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(threads::complete(db, reading, no, &mut records)?.map(|()| records))
}

pub(super) fn claimable(db: &Connection, now: u64, limit: usize) -> Done<Claimable> {
    let sql = "SELECT id FROM runs WHERE wake IS NOT NULL AND max(wake, lease) <= ?1
               ORDER BY max(wake, lease), no LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let runs = statement.query_map([signed(now), count(limit)], |row| row.get(0))?;
    let runs = runs.collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT max(wake, lease) FROM runs WHERE wake IS NOT NULL AND max(wake, lease) > ?1
               ORDER BY max(wake, lease) LIMIT 1";
    let next: Option<i64> = db.prepare_cached(sql)?.query_row([signed(now)], |row| row.get(0)).optional()?;
    Ok(Ok(Claimable { runs, next: next.map(unsigned) }))
}

pub(super) fn runs(db: &Connection, reading: &Reading, query: &RunQuery) -> Done<RunPage> {
    let listing = Listing::new(query);
    let parameters = listing.parameters.iter().map(|parameter| match parameter {
        Parameter::Text(text) => Value::Text(text.clone()),
        Parameter::Number(number) => Value::Integer(*number),
    });
    let mut statement = db.prepare(&listing.sql)?;
    let mut rows = statement.query(params_from_iter(parameters))?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        match summary(reading, row)? {
            Ok(run) => runs.push(run),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(listing.page(runs)))
}

fn summary(reading: &Reading, row: &Row<'_>) -> Done<RunSummary> {
    let id: String = row.get(0)?;
    let status = match reading.status(&id, row.get_ref(1)?.as_str()?) {
        Ok(status) => status,
        Err(error) => return Ok(Err(error)),
    };
    let owner: Option<String> = row.get(6)?;
    let until = unsigned(row.get(7)?);
    Ok(Ok(RunSummary {
        status,
        agent: row.get(2)?,
        thread: row.get(3)?,
        created: unsigned(row.get(4)?),
        epoch: unsigned(row.get(5)?),
        lease: owner.map(|owner| Lease { owner: owner.into(), until }),
        updated: unsigned(row.get(8)?),
        records: unsigned(row.get(9)?),
        id,
    }))
}

pub(super) fn open(db: &Connection, reading: &Reading, run: Option<&str>) -> Done<Vec<Question>> {
    const OPEN: &str = "SELECT id, question FROM questions WHERE answer IS NULL AND withdrawn = 0";
    let (mut statement, parameter) = match run {
        Some(run) => (db.prepare_cached(&format!("{OPEN} AND run = ?1 ORDER BY no"))?, vec![run]),
        None => (db.prepare_cached(&format!("{OPEN} ORDER BY no"))?, vec![]),
    };
    let mut rows = statement.query(params_from_iter(parameter))?;
    let mut questions = Vec::new();
    while let Some(row) = rows.next()? {
        match reading.question(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?) {
            Ok(question) => questions.push(question),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(questions))
}

pub(super) fn answer_to(db: &Connection, id: &str) -> Done<Option<String>> {
    let sql = "SELECT answer FROM questions WHERE id = ?1";
    let answer = db.prepare_cached(sql)?.query_row([id], |row| row.get::<_, Option<String>>(0)).optional()?;
    Ok(Ok(answer.flatten()))
}

/// Answers given so far.
pub(super) fn answers(db: &Connection) -> Done<i64> {
    let sql = "SELECT value FROM counters WHERE name = 'answers'";
    Ok(Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}

/// Answers after this one: number, question, answer.
pub(super) fn answers_since(db: &Connection, seen: i64) -> Done<Vec<(i64, String, String)>> {
    let sql = "SELECT answered, id, answer FROM questions WHERE answered > ?1 ORDER BY answered";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([seen], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect::<rusqlite::Result<_>>().map(Ok)
}

pub(super) fn events(
    db: &Connection,
    reading: &Reading,
    run: &str,
    after: u64,
    limit: usize,
) -> Done<Vec<ambidex_core::Event>> {
    let sql = "SELECT e.seq, e.event FROM logs l JOIN events e ON e.log = l.no
               WHERE l.run = ?1 AND e.seq > ?2 ORDER BY e.seq LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![run, signed(after), count(limit)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        match reading.event(run, seq, row.get_ref(1)?.as_str()?) {
            Ok(event) => events.push(ambidex_core::Event { seq: unsigned(seq), ..event }),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(events))
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
