//! Sessions in the file.

use ambidex_core::session::{Session, SessionPage};
use ambidex_core::store::StoreError;
use ambidex_core::thread::Cursor;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::threads;
use super::writer::Done;
use crate::rows::{Reading, signed, unsigned};
use crate::threads::{NewSessionRow, SESSION, SessionChangeRow, SessionColumns, page};

fn unknown<T>(id: &str) -> Done<T> {
    Ok(Err(StoreError::UnknownSession(id.to_owned())))
}

fn columns(row: &Row<'_>) -> rusqlite::Result<SessionColumns> {
    Ok(SessionColumns {
        id: row.get(0)?,
        state: row.get(1)?,
        version: row.get(2)?,
        metadata: row.get(3)?,
        created: row.get(4)?,
        updated: row.get(5)?,
        ttl: row.get(6)?,
    })
}

pub(super) fn session(db: &Connection, reading: &Reading, id: &str, now: u64) -> Done<Session> {
    let sql = format!("SELECT {SESSION} FROM sessions WHERE id = ?1 AND (expires IS NULL OR expires > ?2)");
    match db.prepare_cached(&sql)?.query_row(params![id, signed(now)], columns).optional()? {
        Some(row) => Ok(reading.session(row)),
        None => unknown(id),
    }
}

pub(super) fn sessions(
    db: &Connection,
    reading: &Reading,
    limit: usize,
    cursor: Option<&Cursor>,
    now: u64,
) -> Done<SessionPage> {
    let limit = limit.clamp(1, 1000);
    let sql = format!(
        "SELECT {SESSION} FROM sessions WHERE (expires IS NULL OR expires > ?1)
         AND (?2 IS NULL OR (updated, id) < (?2, ?3)) ORDER BY updated DESC, id DESC LIMIT ?4"
    );
    let (updated, id) = cursor.map(|last| (signed(last.updated), &last.id)).unzip();
    let most = i64::try_from(limit).unwrap_or(1000) + 1;
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(params![signed(now), updated, id, most], columns)?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let found: Result<Vec<_>, _> = rows.into_iter().map(|row| reading.session(row)).collect();
    Ok(found.map(|found| {
        let cursor = |session: &Session| Cursor { updated: session.updated, id: session.id.clone() };
        let (sessions, next) = page(found, limit, cursor);
        SessionPage { sessions, next }
    }))
}

pub(super) fn create(db: &Connection, reading: &Reading, new: &NewSessionRow, now: u64) -> Done<Session> {
    let sql = "INSERT INTO sessions VALUES (?1, ?2, 1, ?3, ?4, ?4, ?5, ?4 + ?5)
               ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = 1, metadata = excluded.metadata,
               created = excluded.created, updated = excluded.updated, ttl = excluded.ttl, expires = excluded.expires
               WHERE sessions.expires <= ?4";
    let NewSessionRow { id, state, metadata, ttl } = new;
    match db.prepare_cached(sql)?.execute(params![id, state, metadata, signed(now), ttl])? {
        0 => Ok(Err(StoreError::Exists(id.clone()))),
        _ => session(db, reading, id, now),
    }
}

pub(super) fn change(
    db: &Connection,
    reading: &Reading,
    id: &str,
    version: Option<u64>,
    change: &SessionChangeRow,
    now: u64,
) -> Done<Session> {
    let sql = "SELECT version FROM sessions WHERE id = ?1 AND (expires IS NULL OR expires > ?2)";
    let found = db.prepare_cached(sql)?.query_row(params![id, signed(now)], |row| row.get(0)).optional()?;
    let Some(found) = found.map(unsigned) else { return unknown(id) };
    if let Some(expected) = version.filter(|expected| *expected != found) {
        return Ok(Err(StoreError::VersionConflict { expected, found }));
    }
    let sql = "UPDATE sessions SET state = coalesce(?2, state), version = version + (?2 IS NOT NULL),
               metadata = coalesce(?3, metadata), ttl = iif(?4, ?5, ttl), updated = ?6,
               expires = ?6 + iif(?4, ?5, ttl) WHERE id = ?1";
    let ttl = change.ttl.flatten();
    let parameters = params![id, change.state, change.metadata, change.ttl.is_some(), ttl, signed(now)];
    db.prepare_cached(sql)?.execute(parameters)?;
    session(db, reading, id, now)
}

pub(super) fn delete(db: &Connection, id: &str) -> Done<()> {
    let sql = "SELECT 1 FROM sessions WHERE id = ?1";
    match db.prepare_cached(sql)?.query_row([id], |_| Ok(())).optional()? {
        Some(()) => threads::forget_session(db, id),
        None => unknown(id),
    }
}
