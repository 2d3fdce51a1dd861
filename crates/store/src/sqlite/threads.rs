//! Threads in the file: what writes them, inside a transaction, and what reads them.

use std::sync::Arc;

use ambidex_core::message::Message;
use ambidex_core::record::Record;
use ambidex_core::store::StoreError;
use ambidex_core::thread::{
    Cursor, Found, Line, Signal, Thread, ThreadMessage, ThreadPage, ThreadQuery, check,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::write;
use super::writer::Done;
use crate::rows::{BatchRow, Reading, signed, unsigned};
use crate::threads::{
    ChangeRow, MessageRow, NewThreadRow, SignalRow, StepRow, THREAD, ThreadColumns, begins, page, put_back,
};

/// What of a thread's row decides about a write.
struct ThreadRow {
    no: i64,
    version: i64,
    messages: i64,
    holder: Option<String>,
}

/// Its time is not over, or somebody is still at work on it. Takes `now` as `?1`.
const ALIVE: &str = "id IS NOT NULL AND (expires IS NULL OR expires > ?1 OR holder IS NOT NULL
    OR EXISTS (SELECT 1 FROM line WHERE line.thread = threads.no))";

impl ThreadRow {
    fn alive(db: &Connection, id: &str, now: i64) -> rusqlite::Result<Option<Self>> {
        let sql = format!("SELECT no, version, messages, holder FROM threads WHERE {ALIVE} AND id = ?2");
        let read = |row: &Row<'_>| {
            Ok(Self { no: row.get(0)?, version: row.get(1)?, messages: row.get(2)?, holder: row.get(3)? })
        };
        db.prepare_cached(&sql)?.query_row(params![now, id], read).optional()
    }

    fn first_in_line(&self, db: &Connection) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT run FROM line WHERE thread = ?1 ORDER BY no LIMIT 1";
        db.prepare_cached(sql)?.query_row([self.no], |row| row.get(0)).optional()
    }

    /// Whoever is at work on it, or next.
    fn held_by(&self, db: &Connection) -> rusqlite::Result<Option<String>> {
        match &self.holder {
            Some(holder) => Ok(Some(holder.clone())),
            None => self.first_in_line(db),
        }
    }

    fn append(
        &self,
        db: &Connection,
        run: Option<&str>,
        at: i64,
        messages: &[MessageRow],
    ) -> rusqlite::Result<i64> {
        let mut insert = db.prepare_cached(
            "INSERT INTO messages (thread, number, run, at, message) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut index = db.prepare_cached("INSERT INTO words (rowid, text) VALUES (?1, ?2)")?;
        let mut number = self.messages;
        for message in messages {
            let run = message.run.as_deref().or(run);
            insert.execute(params![self.no, number, run, message.at.unwrap_or(at), message.message])?;
            index.execute(params![db.last_insert_rowid(), message.words])?;
            number += 1;
        }
        Ok(number)
    }
}

fn unknown<T>(id: &str) -> Done<T> {
    Ok(Err(StoreError::UnknownThread(id.to_owned())))
}

/// A batch with what it does to its run's thread: both or neither.
pub(super) fn commit(db: &Connection, batch: &BatchRow) -> Done<()> {
    let found = match write::find(db, batch)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(step) = &batch.thread else { return write::store(db, batch, found) };
    if let Err(refused) = allows(db, &batch.run, step)? {
        return Ok(Err(refused));
    }
    match write::store(db, batch, found)? {
        Ok(()) => apply(db, &batch.run, step),
        Err(refused) => Ok(Err(refused)),
    }
}

fn allows(db: &Connection, run: &str, step: &StepRow) -> Done<()> {
    if step.begins {
        match ThreadRow::alive(db, &step.thread, step.at)? {
            None if step.known.is_some() => return Ok(Err(StoreError::ThreadChanged)),
            None => {}
            Some(row) => {
                if let Some(other) = row.held_by(db)?.filter(|held| held != run) {
                    return Ok(Err(StoreError::ThreadHeld(other)));
                }
                if step.known != Some((row.no, row.version)) {
                    return Ok(Err(StoreError::ThreadChanged));
                }
            }
        }
    }
    if step.ends && step.unheard == "refuse" {
        let sql = "SELECT no FROM signals WHERE run = ?1 AND kind = 'message'";
        let mut statement = db.prepare_cached(sql)?;
        let told = statement.query_map([run], |row| row.get::<_, i64>(0))?;
        for no in told {
            if !step.heard.contains(&no?) {
                return Ok(Err(StoreError::Unheard));
            }
        }
    }
    Ok(Ok(()))
}

fn apply(db: &Connection, run: &str, step: &StepRow) -> Done<()> {
    for no in &step.heard {
        db.prepare_cached("DELETE FROM signals WHERE no = ?1 AND run = ?2")?.execute(params![no, run])?;
    }
    let mut row = ThreadRow::alive(db, &step.thread, step.at)?;
    if let (None, Some(new)) = (&row, &step.new) {
        if let Err(refused) = insert(db, new, step.at)? {
            return Ok(Err(refused));
        }
        row = ThreadRow::alive(db, &step.thread, step.at)?;
    }
    let Some(row) = row else {
        // Nobody has it any more; the run's end stands all the same.
        db.prepare_cached("DELETE FROM signals WHERE run = ?1")?.execute([run])?;
        return Ok(Ok(()));
    };
    if step.waits {
        if let (Some(holder), Some(stop)) = (&row.holder, step.stop) {
            let sql = "INSERT INTO signals (run, kind) VALUES (?1, ?2)";
            db.prepare_cached(sql)?.execute(params![holder, stop])?;
        }
        let sql = "INSERT INTO line (thread, run) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        db.prepare_cached(sql)?.execute(params![row.no, run])?;
    }
    if step.begins {
        db.prepare_cached("DELETE FROM line WHERE run = ?1")?.execute([run])?;
        let agent = step.new.as_ref().and_then(|new| new.agent.as_deref());
        let sql = "UPDATE threads SET holder = ?2, agent = coalesce(?3, agent) WHERE no = ?1";
        db.prepare_cached(sql)?.execute(params![row.no, run, agent])?;
        let (place, from, until) = step.shared;
        if until > from {
            let sql =
                "UPDATE runs SET shared_thread = ?2, shared_place = ?3, shared_from = ?4, shared_until = ?5
                       WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![run, row.no, place, from, until])?;
        }
    }
    if step.ends {
        let row = ThreadRow::alive(db, &step.thread, step.at)?.unwrap_or(row);
        db.prepare_cached("DELETE FROM line WHERE run = ?1")?.execute([run])?;
        if row.holder.as_deref() == Some(run) {
            let mut late = Vec::new();
            if step.unheard == "keep" {
                let sql =
                    "SELECT message, words FROM signals WHERE run = ?1 AND kind = 'message' ORDER BY no";
                let mut statement = db.prepare_cached(sql)?;
                let told = statement.query_map([run], |row| {
                    Ok(MessageRow { run: None, at: None, message: row.get(0)?, words: row.get(1)? })
                })?;
                late = told.collect::<rusqlite::Result<_>>()?;
            }
            let after = row.append(db, Some(run), step.at, &step.messages)?;
            let after = ThreadRow { messages: after, ..row }.append(db, Some(run), step.at, &late)?;
            let sql = "UPDATE threads SET version = version + (messages <> ?2), messages = ?2, updated = ?3,
                       expires = ?3 + ttl, holder = NULL WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![step.thread, after, step.at])?;
        }
        db.prepare_cached("DELETE FROM signals WHERE run = ?1")?.execute([run])?;
    }
    Ok(Ok(()))
}

/// Makes the row and its messages, all checked before.
fn insert(db: &Connection, new: &NewThreadRow, now: i64) -> Done<i64> {
    if ThreadRow::alive(db, &new.id, now)?.is_some() {
        return Ok(Err(StoreError::Exists(new.id.clone())));
    }
    let mut base: Option<(i64, i64)> = None;
    if let Some((parent, count)) = &new.fork {
        let Some(row) = ThreadRow::alive(db, parent, now)? else { return unknown(parent) };
        if *count > row.messages {
            return Ok(Err(too_far(parent, row.messages)));
        }
        // Whoever has the last of them: chains of forks do not grow longer than they must.
        let mut owner = row.no;
        loop {
            let sql = "SELECT base, base_messages FROM threads WHERE no = ?1 AND base IS NOT NULL";
            let elder = db.prepare_cached(sql)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)));
            match elder.optional()? {
                Some((elder, shared)) if *count <= shared => owner = elder,
                Some::<(i64, i64)>(_) | None => break,
            }
        }
        base = (*count > 0).then_some((owner, *count));
    }
    // One whose time is over makes room.
    forget(db, &new.id)?;
    let first = base.map_or(0, |(_, count)| count);
    let messages = first + i64::try_from(new.messages.len()).unwrap_or(i64::MAX);
    let (parent, parent_messages) = new.fork.clone().unzip();
    let sql =
        "INSERT INTO threads (id, title, session, agent, created, updated, ttl, expires, version, messages,
               parent, parent_messages, base, base_messages, summary, metadata)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?5 + ?6, 1, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    db.prepare_cached(sql)?.execute(params![
        new.id,
        new.title,
        new.session,
        new.agent,
        now,
        new.ttl,
        messages,
        parent,
        parent_messages,
        base.map(|(owner, _)| owner),
        first,
        new.summary,
        new.metadata
    ])?;
    let no = db.last_insert_rowid();
    let sql = "INSERT INTO words (rowid, text) VALUES (?1, ?2)";
    db.prepare_cached(sql)?.execute(params![-no, new.words])?;
    let row = ThreadRow { no, version: 1, messages: first, holder: None };
    row.append(db, None, now, &new.messages)?;
    Ok(Ok(no))
}

fn too_far(thread: &str, messages: i64) -> StoreError {
    StoreError::Malformed(format!("thread `{thread}` has {messages} messages; fork it at one of them"))
}

/// Its messages go with the last that shares them.
fn forget(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    let sql = "UPDATE threads SET id = NULL WHERE id = ?1 RETURNING no";
    let found: Option<i64> = db.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    let mut next = found;
    while let Some(no) = next {
        let sql = "SELECT base FROM threads WHERE no = ?1 AND id IS NULL
                   AND NOT EXISTS (SELECT 1 FROM threads fork WHERE fork.base = ?1)";
        let gone = db.prepare_cached(sql)?.query_row([no], |row| row.get::<_, Option<i64>>(0)).optional()?;
        let Some(base) = gone else { break };
        let sql =
            "DELETE FROM words WHERE rowid = ?1 OR rowid IN (SELECT no FROM messages WHERE thread = -?1)";
        db.prepare_cached(sql)?.execute([-no])?;
        db.prepare_cached("DELETE FROM messages WHERE thread = ?1")?.execute([no])?;
        db.prepare_cached("DELETE FROM line WHERE thread = ?1")?.execute([no])?;
        db.prepare_cached("DELETE FROM threads WHERE no = ?1")?.execute([no])?;
        next = base;
    }
    Ok(found.is_some())
}

pub(super) fn create(db: &Connection, reading: &Reading, new: &NewThreadRow, now: u64) -> Done<Thread> {
    let now = signed(now);
    let mut all: Vec<Arc<Message>> = Vec::new();
    if let Some((parent, count)) = &new.fork {
        let Some(row) = ThreadRow::alive(db, parent, now)? else { return unknown(parent) };
        if *count > row.messages {
            return Ok(Err(too_far(parent, row.messages)));
        }
        // To see that no call is parted from its result.
        match read_messages(db, reading, row.no, (0, *count), i64::MAX)? {
            Ok(shared) => all.extend(shared.into_iter().map(|message| message.message)),
            Err(error) => return Ok(Err(error)),
        }
    }
    for (number, row) in (0..).zip(&new.messages) {
        match reading.message(0, number, &row.message) {
            Ok(message) => all.push(message),
            Err(error) => return Ok(Err(error)),
        }
    }
    if let Err(why) = check(&all) {
        return Ok(Err(StoreError::Malformed(why)));
    }
    match insert(db, new, now)? {
        Ok(_) => thread(db, reading, &new.id, unsigned(now)),
        Err(error) => Ok(Err(error)),
    }
}

pub(super) fn change(
    db: &Connection,
    reading: &Reading,
    id: &str,
    change: &ChangeRow,
    now: u64,
) -> Done<Thread> {
    let at = signed(now);
    let Some(row) = ThreadRow::alive(db, id, at)? else { return unknown(id) };
    if let Some((version, summary)) = &change.summary {
        if let Some(run) = row.held_by(db)? {
            return Ok(Err(StoreError::ThreadHeld(run)));
        }
        if row.version != *version {
            return Ok(Err(StoreError::ThreadChanged));
        }
        let sql = "UPDATE threads SET summary = ?2, version = version + 1 WHERE no = ?1";
        db.prepare_cached(sql)?.execute(params![row.no, summary])?;
    }
    if let Some((title, words)) = &change.title {
        db.prepare_cached("UPDATE threads SET title = ?2 WHERE no = ?1")?.execute(params![row.no, title])?;
        db.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([-row.no])?;
        let sql = "INSERT INTO words (rowid, text) VALUES (?1, ?2)";
        db.prepare_cached(sql)?.execute(params![-row.no, words])?;
    }
    if let Some(session) = &change.session {
        let sql = "UPDATE threads SET session = ?2 WHERE no = ?1";
        db.prepare_cached(sql)?.execute(params![row.no, session])?;
    }
    if let Some(agent) = &change.agent {
        db.prepare_cached("UPDATE threads SET agent = ?2 WHERE no = ?1")?.execute(params![row.no, agent])?;
    }
    if let Some(ttl) = &change.ttl {
        db.prepare_cached("UPDATE threads SET ttl = ?2 WHERE no = ?1")?.execute(params![row.no, ttl])?;
    }
    if let Some(metadata) = &change.metadata {
        let sql = "UPDATE threads SET metadata = ?2 WHERE no = ?1";
        db.prepare_cached(sql)?.execute(params![row.no, metadata])?;
    }
    let sql = "UPDATE threads SET updated = ?2, expires = ?2 + ttl WHERE no = ?1";
    db.prepare_cached(sql)?.execute(params![row.no, at])?;
    thread(db, reading, id, now)
}

pub(super) fn append(
    db: &Connection,
    reading: &Reading,
    id: &str,
    version: u64,
    messages: &[MessageRow],
    now: u64,
) -> Done<Thread> {
    let at = signed(now);
    let Some(row) = ThreadRow::alive(db, id, at)? else { return unknown(id) };
    if let Some(run) = row.held_by(db)? {
        return Ok(Err(StoreError::ThreadHeld(run)));
    }
    if row.version != signed(version) {
        return Ok(Err(StoreError::ThreadChanged));
    }
    let after = row.append(db, None, at, messages)?;
    let sql = "UPDATE threads SET version = version + 1, messages = ?2, updated = ?3, expires = ?3 + ttl WHERE no = ?1";
    db.prepare_cached(sql)?.execute(params![row.no, after, at])?;
    thread(db, reading, id, now)
}

pub(super) fn delete(db: &Connection, id: &str) -> Done<()> {
    let sql = "SELECT coalesce(holder, (SELECT run FROM line WHERE line.thread = threads.no ORDER BY line.no LIMIT 1))
               FROM threads WHERE id = ?1";
    match db.prepare_cached(sql)?.query_row([id], |row| row.get::<_, Option<String>>(0)).optional()? {
        None => unknown(id),
        Some(Some(run)) => Ok(Err(StoreError::ThreadHeld(run))),
        Some(None) => {
            forget(db, id)?;
            Ok(Ok(()))
        }
    }
}

pub(super) fn tell(db: &Connection, id: &str, run: &str, signal: &SignalRow) -> Done<u64> {
    let sql = "SELECT 1 FROM threads WHERE id = ?1 AND holder = ?2";
    if db.prepare_cached(sql)?.query_row([id, run], |_| Ok(())).optional()?.is_none() {
        return Ok(Err(StoreError::ThreadChanged));
    }
    let (message, words) = signal.message.as_ref().map(|row| (&row.message, &row.words)).unzip();
    let sql = "INSERT INTO signals (run, kind, message, words) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(sql)?.execute(params![run, signal.kind, message, words])?;
    Ok(Ok(unsigned(db.last_insert_rowid())))
}

/// Those of a session go with it, unless somebody is at work on one.
pub(super) fn forget_session(db: &Connection, session: &str) -> Done<()> {
    let sql = "SELECT id, coalesce(holder, (SELECT run FROM line WHERE line.thread = threads.no ORDER BY line.no LIMIT 1))
               FROM threads WHERE session = ?1 AND id IS NOT NULL";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([session], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, Option<String>)> = rows.collect::<rusqlite::Result<_>>()?;
    if let Some(run) = rows.iter().find_map(|(_, held)| held.clone()) {
        return Ok(Err(StoreError::ThreadHeld(run)));
    }
    for (id, _) in rows {
        forget(db, &id)?;
    }
    db.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([session])?;
    Ok(Ok(()))
}

pub(super) fn sweep(db: &Connection, now: u64, limit: usize) -> Done<u64> {
    let (now, limit) = (signed(now), i64::try_from(limit).unwrap_or(i64::MAX));
    let ids = |sql: &str, limit: i64| -> rusqlite::Result<Vec<String>> {
        db.prepare_cached(sql)?.query_map([now, limit], |row| row.get(0))?.collect()
    };
    let threads = ids(
        "SELECT id FROM threads WHERE id IS NOT NULL AND expires <= ?1 AND holder IS NULL
         AND NOT EXISTS (SELECT 1 FROM line WHERE line.thread = threads.no) LIMIT ?2",
        limit,
    )?;
    for id in &threads {
        forget(db, id)?;
    }
    let left = limit - i64::try_from(threads.len()).unwrap_or(limit);
    let mut swept = threads.len() as u64;
    for id in ids("SELECT id FROM sessions WHERE expires <= ?1 LIMIT ?2", left)? {
        swept += u64::from(forget_session(db, &id)?.is_ok());
    }
    Ok(Ok(swept))
}

fn columns(row: &Row<'_>) -> rusqlite::Result<ThreadColumns> {
    Ok(ThreadColumns {
        id: row.get(0)?,
        no: row.get(1)?,
        title: row.get(2)?,
        session: row.get(3)?,
        agent: row.get(4)?,
        created: row.get(5)?,
        updated: row.get(6)?,
        ttl: row.get(7)?,
        version: row.get(8)?,
        messages: row.get(9)?,
        parent: row.get(10)?,
        parent_messages: row.get(11)?,
        summary: row.get(12)?,
        metadata: row.get(13)?,
        holder: row.get(14)?,
    })
}

pub(super) fn thread(db: &Connection, reading: &Reading, id: &str, now: u64) -> Done<Thread> {
    let sql = format!("SELECT {THREAD} FROM threads WHERE {ALIVE} AND id = ?2");
    let row = db.prepare_cached(&sql)?.query_row(params![signed(now), id], columns).optional()?;
    Ok(row.map_or_else(|| Err(StoreError::UnknownThread(id.to_owned())), |row| reading.thread(row)))
}

pub(super) fn threads(db: &Connection, reading: &Reading, query: &ThreadQuery, now: u64) -> Done<ThreadPage> {
    let limit = query.limit.clamp(1, 1000);
    let sql = format!(
        "SELECT {THREAD} FROM threads WHERE {ALIVE} AND (?2 IS NULL OR session = ?2) AND (?3 IS NULL OR agent = ?3)
         AND (?4 IS NULL OR (updated, id) < (?4, ?5)) ORDER BY updated DESC, id DESC LIMIT ?6"
    );
    let (updated, id) = query.cursor.as_ref().map(|last| (signed(last.updated), &last.id)).unzip();
    let most = i64::try_from(limit).unwrap_or(1000) + 1;
    let mut statement = db.prepare_cached(&sql)?;
    let rows =
        statement.query_map(params![signed(now), query.session, query.agent, updated, id, most], columns)?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let found: Result<Vec<_>, _> = rows.into_iter().map(|row| reading.thread(row)).collect();
    Ok(found.map(|found| {
        let cursor = |thread: &Thread| Cursor { updated: thread.updated, id: thread.id.clone() };
        let (threads, next) = page(found, limit, cursor);
        ThreadPage { threads, next }
    }))
}

pub(super) fn search(
    db: &Connection,
    reading: &Reading,
    words: &[String],
    limit: usize,
    now: u64,
) -> Done<Vec<Found>> {
    if words.is_empty() {
        return Ok(Ok(vec![]));
    }
    let wanted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let sql = format!(
        "WITH hits AS (SELECT rowid AS no FROM words WHERE words MATCH ?2),
         found AS (SELECT m.thread AS thread, m.number AS number FROM hits JOIN messages m ON m.no = hits.no
                   UNION ALL SELECT -no, -1 FROM hits WHERE no < 0)
         SELECT {THREAD}, (SELECT max(number) FROM found WHERE found.thread = threads.no) FROM threads
         WHERE {ALIVE} AND no IN (SELECT thread FROM found) ORDER BY updated DESC, id DESC LIMIT ?3"
    );
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![signed(now), wanted.join(" "), most], |row| {
        Ok((columns(row)?, row.get::<_, i64>(15)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (row, number) = row?;
        let no = row.no;
        let thread = match reading.thread(row) {
            Ok(thread) => thread,
            Err(error) => return Ok(Err(error)),
        };
        let message = match number {
            ..0 => None,
            _ => match read_messages(db, reading, no, (number, number + 1), 1)? {
                Ok(messages) => messages.into_iter().next(),
                Err(error) => return Ok(Err(error)),
            },
        };
        found.push(Found { thread, message });
    }
    Ok(Ok(found))
}

pub(super) fn messages(
    db: &Connection,
    reading: &Reading,
    id: &str,
    from: u64,
    limit: usize,
    now: u64,
) -> Done<Vec<ThreadMessage>> {
    let Some(row) = ThreadRow::alive(db, id, signed(now))? else { return unknown(id) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    read_messages(db, reading, row.no, (signed(from), row.messages), limit)
}

/// Messages of a thread, those of others that come before its own included.
fn read_messages(
    db: &Connection,
    reading: &Reading,
    thread: i64,
    (from, until): (i64, i64),
    limit: i64,
) -> Done<Vec<ThreadMessage>> {
    let sql = "WITH RECURSIVE chain (no, base, first, until) AS (
                 SELECT no, base, base_messages, ?3 FROM threads WHERE no = ?1
                 UNION ALL
                 SELECT t.no, t.base, t.base_messages, min(chain.first, chain.until)
                 FROM chain JOIN threads t ON t.no = chain.base WHERE chain.first > ?2
               )
               SELECT m.number, m.run, m.at, m.message FROM chain JOIN messages m ON m.thread = chain.no
               AND m.number >= max(chain.first, ?2) AND m.number < chain.until ORDER BY m.number LIMIT ?4";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![thread, from, until, limit])?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        let message = match reading.message(thread, number, row.get_ref(3)?.as_str()?) {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        let (run, at) = (row.get(1)?, unsigned(row.get(2)?));
        messages.push(ThreadMessage { number: unsigned(number), run, at, message });
    }
    Ok(Ok(messages))
}

/// Puts back what the first record of a run was stored without.
pub(super) fn complete(db: &Connection, reading: &Reading, run: i64, records: &mut [Record]) -> Done<()> {
    if !begins(records) {
        return Ok(Ok(()));
    }
    let sql = "SELECT shared_thread, shared_place, shared_from, shared_until FROM runs
               WHERE no = ?1 AND shared_thread IS NOT NULL";
    let shared = db
        .prepare_cached(sql)?
        .query_row([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((thread, place, from, until)) = shared else { return Ok(Ok(())) };
    match read_messages(db, reading, thread, (from, until), i64::MAX)? {
        Ok(shared) => {
            put_back(records, place, shared.into_iter().map(|message| message.message).collect());
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

pub(super) fn line(db: &Connection, id: &str) -> Done<Line> {
    let sql = "SELECT no, holder FROM threads WHERE id = ?1";
    let found = db.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((no, holder)) = found else { return unknown(id) };
    let no: i64 = no;
    let mut statement = db.prepare_cached("SELECT run FROM line WHERE thread = ?1 ORDER BY no")?;
    let waiting = statement.query_map([no], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Ok(Line { holder, waiting }))
}

pub(super) fn signals(db: &Connection, reading: &Reading, run: &str, after: u64) -> Done<Vec<(u64, Signal)>> {
    let sql = "SELECT no, kind, message FROM signals WHERE run = ?1 AND no > ?2 ORDER BY no";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![run, signed(after)])?;
    let mut signals = Vec::new();
    while let Some(row) = rows.next()? {
        match reading.signal(row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str_or_null()?) {
            Ok(signal) => signals.push((unsigned(row.get(0)?), signal)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(signals))
}
