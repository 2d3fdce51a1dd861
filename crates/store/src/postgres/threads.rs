//! What reads threads and sessions.

use std::sync::Arc;

use ambidex_core::record::Record;
use ambidex_core::session::{Session, SessionPage};
use ambidex_core::store::StoreError;
use ambidex_core::thread::{Cursor, Found, Line, Signal, Thread, ThreadMessage, ThreadPage, ThreadQuery};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::read::Done;
use crate::rows::{Reading, signed, unsigned};
use crate::threads::{SESSION, SessionColumns, THREAD, ThreadColumns, begins, page, put_back};

/// Its time is not over, or somebody is still at work on it. Takes `now` as `$1`.
const ALIVE: &str = "id IS NOT NULL AND (expires IS NULL OR expires > $1 OR holder IS NOT NULL
    OR EXISTS (SELECT 1 FROM line WHERE line.thread = threads.no))";

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

fn columns(row: &Row) -> Result<ThreadColumns, Error> {
    Ok(ThreadColumns {
        id: row.try_get(0)?,
        no: row.try_get(1)?,
        title: row.try_get(2)?,
        session: row.try_get(3)?,
        agent: row.try_get(4)?,
        created: row.try_get(5)?,
        updated: row.try_get(6)?,
        ttl: row.try_get(7)?,
        version: row.try_get(8)?,
        messages: row.try_get(9)?,
        parent: row.try_get(10)?,
        parent_messages: row.try_get(11)?,
        summary: row.try_get(12)?,
        metadata: row.try_get(13)?,
        holder: row.try_get(14)?,
    })
}

pub(super) async fn thread(client: Arc<Client>, reading: Reading, id: String, now: u64) -> Done<Thread> {
    let sql = format!("SELECT {THREAD} FROM threads WHERE {ALIVE} AND id = $2");
    let parameters: [Parameter<'_>; 2] = [(&signed(now), Type::INT8), (&id, Type::TEXT)];
    match client.query_typed_opt(&sql, &parameters).await? {
        Some(row) => Ok(reading.thread(columns(&row)?)),
        None => Ok(Err(StoreError::UnknownThread(id))),
    }
}

pub(super) async fn threads(
    client: Arc<Client>,
    reading: Reading,
    query: ThreadQuery,
    now: u64,
) -> Done<ThreadPage> {
    let limit = query.limit.clamp(1, 1000);
    let sql = format!(
        "SELECT {THREAD} FROM threads WHERE {ALIVE} AND ($2 IS NULL OR session = $2) AND ($3 IS NULL OR agent = $3)
         AND ($4 IS NULL OR (updated, id) < ($4, $5)) ORDER BY updated DESC, id DESC LIMIT $6"
    );
    let (updated, id) = query.cursor.map(|last| (signed(last.updated), last.id)).unzip();
    let most = i64::try_from(limit).unwrap_or(1000) + 1;
    let parameters: [Parameter<'_>; 6] = [
        (&signed(now), Type::INT8),
        (&query.session, Type::TEXT),
        (&query.agent, Type::TEXT),
        (&updated, Type::INT8),
        (&id, Type::TEXT),
        (&most, Type::INT8),
    ];
    let mut found = Vec::new();
    for row in client.query_typed(&sql, &parameters).await? {
        match reading.thread(columns(&row)?) {
            Ok(thread) => found.push(thread),
            Err(error) => return Ok(Err(error)),
        }
    }
    let cursor = |thread: &Thread| Cursor { updated: thread.updated, id: thread.id.clone() };
    let (threads, next) = page(found, limit, cursor);
    Ok(Ok(ThreadPage { threads, next }))
}

pub(super) async fn search(
    client: Arc<Client>,
    reading: Reading,
    words: Vec<String>,
    limit: usize,
    now: u64,
) -> Done<Vec<Found>> {
    if words.is_empty() {
        return Ok(Ok(vec![]));
    }
    let sql = format!(
        "WITH found AS (SELECT thread, max(number) AS number FROM messages WHERE words @> $2 GROUP BY thread)
         SELECT {THREAD}, (SELECT number FROM found WHERE found.thread = threads.no) FROM threads
         WHERE {ALIVE} AND (words @> $2 OR no IN (SELECT thread FROM found))
         ORDER BY updated DESC, id DESC LIMIT $3"
    );
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters: [Parameter<'_>; 3] =
        [(&signed(now), Type::INT8), (&words, Type::TEXT_ARRAY), (&most, Type::INT8)];
    let mut found = Vec::new();
    for row in client.query_typed(&sql, &parameters).await? {
        let (row, number) = (columns(&row)?, row.try_get::<_, Option<i64>>(15)?);
        let no = row.no;
        let thread = match reading.thread(row) {
            Ok(thread) => thread,
            Err(error) => return Ok(Err(error)),
        };
        let message = match number {
            None => None,
            Some(number) => match read_messages(&client, &reading, no, (number, number + 1), 1).await? {
                Ok(messages) => messages.into_iter().next(),
                Err(error) => return Ok(Err(error)),
            },
        };
        found.push(Found { thread, message });
    }
    Ok(Ok(found))
}

pub(super) async fn messages(
    client: Arc<Client>,
    reading: Reading,
    id: String,
    from: u64,
    limit: usize,
    now: u64,
) -> Done<Vec<ThreadMessage>> {
    let sql = format!("SELECT no, messages FROM threads WHERE {ALIVE} AND id = $2");
    let parameters: [Parameter<'_>; 2] = [(&signed(now), Type::INT8), (&id, Type::TEXT)];
    let Some(row) = client.query_typed_opt(&sql, &parameters).await? else {
        return Ok(Err(StoreError::UnknownThread(id)));
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    read_messages(&client, &reading, row.try_get(0)?, (signed(from), row.try_get(1)?), limit).await
}

/// Messages of a thread, those of others that come before its own included.
async fn read_messages(
    client: &Client,
    reading: &Reading,
    thread: i64,
    (from, until): (i64, i64),
    limit: i64,
) -> Done<Vec<ThreadMessage>> {
    let sql = "WITH RECURSIVE chain (no, base, first, until) AS (
                 SELECT no, base, base_messages, $3 FROM threads WHERE no = $1
                 UNION ALL
                 SELECT t.no, t.base, t.base_messages, least(chain.first, chain.until)
                 FROM chain JOIN threads t ON t.no = chain.base WHERE chain.first > $2
               )
               SELECT m.number, m.run, m.at, m.message FROM chain JOIN messages m ON m.thread = chain.no
               AND m.number >= greatest(chain.first, $2) AND m.number < chain.until ORDER BY m.number LIMIT $4";
    let parameters: [Parameter<'_>; 4] =
        [(&thread, Type::INT8), (&from, Type::INT8), (&until, Type::INT8), (&limit, Type::INT8)];
    let mut messages = Vec::new();
    for row in client.query_typed(sql, &parameters).await? {
        let number: i64 = row.try_get(0)?;
        let message = match reading.message(thread, number, row.try_get(3)?) {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        let at = unsigned(row.try_get(2)?);
        messages.push(ThreadMessage { number: unsigned(number), run: row.try_get(1)?, at, message });
    }
    Ok(Ok(messages))
}

/// Puts back what the first record of a run was stored without.
pub(super) async fn complete(
    client: &Client,
    reading: &Reading,
    run: i64,
    records: &mut [Record],
) -> Done<()> {
    if !begins(records) {
        return Ok(Ok(()));
    }
    let sql = "SELECT shared_thread, shared_place, shared_from, shared_until FROM runs
               WHERE no = $1 AND shared_thread IS NOT NULL";
    let Some(row) = client.query_typed_opt(sql, &[(&run, Type::INT8)]).await? else { return Ok(Ok(())) };
    let piece = (row.try_get(2)?, row.try_get(3)?);
    match read_messages(client, reading, row.try_get(0)?, piece, i64::MAX).await? {
        Ok(shared) => {
            let place = row.try_get(1)?;
            put_back(records, place, shared.into_iter().map(|message| message.message).collect());
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

pub(super) async fn line(client: Arc<Client>, id: String) -> Done<Line> {
    // One statement: one moment.
    let sql =
        "SELECT t.holder, coalesce(array_agg(l.run ORDER BY l.no) FILTER (WHERE l.run IS NOT NULL), '{}')
               FROM threads t LEFT JOIN line l ON l.thread = t.no WHERE t.id = $1 GROUP BY t.no";
    match client.query_typed_opt(sql, &[(&id, Type::TEXT)]).await? {
        Some(row) => Ok(Ok(Line { holder: row.try_get(0)?, waiting: row.try_get(1)? })),
        None => Ok(Err(StoreError::UnknownThread(id))),
    }
}

pub(super) async fn signals(
    client: Arc<Client>,
    reading: Reading,
    run: String,
    after: u64,
) -> Done<Vec<(u64, Signal)>> {
    let sql = "SELECT no, kind, message FROM signals WHERE run = $1 AND no > $2 ORDER BY no";
    let rows = client.query_typed(sql, &[(&run, Type::TEXT), (&signed(after), Type::INT8)]).await?;
    let mut signals = Vec::with_capacity(rows.len());
    for row in rows {
        match reading.signal(row.try_get(1)?, row.try_get(2)?) {
            Ok(signal) => signals.push((unsigned(row.try_get(0)?), signal)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(signals))
}

fn session_columns(row: &Row) -> Result<SessionColumns, Error> {
    Ok(SessionColumns {
        id: row.try_get(0)?,
        state: row.try_get(1)?,
        version: row.try_get(2)?,
        metadata: row.try_get(3)?,
        created: row.try_get(4)?,
        updated: row.try_get(5)?,
        ttl: row.try_get(6)?,
    })
}

pub(super) async fn session(client: Arc<Client>, reading: Reading, id: String, now: u64) -> Done<Session> {
    let sql = format!("SELECT {SESSION} FROM sessions WHERE id = $1 AND (expires IS NULL OR expires > $2)");
    match client.query_typed_opt(&sql, &[(&id, Type::TEXT), (&signed(now), Type::INT8)]).await? {
        Some(row) => Ok(reading.session(session_columns(&row)?)),
        None => Ok(Err(StoreError::UnknownSession(id))),
    }
}

pub(super) async fn sessions(
    client: Arc<Client>,
    reading: Reading,
    limit: usize,
    cursor: Option<Cursor>,
    now: u64,
) -> Done<SessionPage> {
    let limit = limit.clamp(1, 1000);
    let sql = format!(
        "SELECT {SESSION} FROM sessions WHERE (expires IS NULL OR expires > $1)
         AND ($2 IS NULL OR (updated, id) < ($2, $3)) ORDER BY updated DESC, id DESC LIMIT $4"
    );
    let (updated, id) = cursor.map(|last| (signed(last.updated), last.id)).unzip();
    let most = i64::try_from(limit).unwrap_or(1000) + 1;
    let parameters: [Parameter<'_>; 4] =
        [(&signed(now), Type::INT8), (&updated, Type::INT8), (&id, Type::TEXT), (&most, Type::INT8)];
    let mut found = Vec::new();
    for row in client.query_typed(&sql, &parameters).await? {
        match reading.session(session_columns(&row)?) {
            Ok(session) => found.push(session),
            Err(error) => return Ok(Err(error)),
        }
    }
    let cursor = |session: &Session| Cursor { updated: session.updated, id: session.id.clone() };
    let (sessions, next) = page(found, limit, cursor);
    Ok(Ok(SessionPage { sessions, next }))
}
