//! What reads, a statement at a time.

use std::sync::Arc;

use ambidex_core::event::Event;
use ambidex_core::question::Question;
use ambidex_core::record::Record;
use ambidex_core::store::{Claimable, Lease, RunPage, RunQuery, RunSummary, Snapshot, StoreError, Stored};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::threads;
use crate::listing::{Listing, Parameter};
use crate::rows::{Reading, signed, unsigned};

/// What Postgres says outside, what the store says inside.
pub(super) type Done<T> = Result<Result<T, StoreError>, Error>;

pub(super) async fn load(client: Arc<Client>, reading: Reading, run: String) -> Done<Stored> {
    let sql =
        "SELECT d.hash, d.text, r.no, s.seq, s.state FROM runs r JOIN definitions d ON d.no = r.definition
               LEFT JOIN snapshots s ON s.run = r.no WHERE r.id = $1";
    let Some(row) = client.query_typed_opt(sql, &[(&run, Type::TEXT)]).await? else {
        return Ok(Err(StoreError::UnknownRun(run)));
    };
    let (hash, text, no): (&str, &str, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let snapshot = match row.try_get::<_, Option<i64>>(3)? {
        Some(seq) => Some(Snapshot { seq: unsigned(seq), state: row.try_get(4)? }),
        None => None,
    };
    // A moment later than the snapshot, which does no harm: records are only ever added.
    let from = snapshot.as_ref().map_or(0, |snapshot| signed(snapshot.seq));
    let records = match read_records(&client, &reading, &run, (no, from, i64::MAX)).await? {
        Ok(records) => records,
        Err(error) => return Ok(Err(error)),
    };
    let definition = reading.definition(&run, hash, text);
    Ok(definition.map(|definition| Stored { definition, snapshot, records }))
}

pub(super) async fn records(
    client: Arc<Client>,
    reading: Reading,
    run: String,
    from: u64,
    limit: usize,
) -> Done<Vec<Record>> {
    let found = client.query_typed_opt("SELECT no FROM runs WHERE id = $1", &[(&run, Type::TEXT)]).await?;
    match found {
        None => Ok(Err(StoreError::UnknownRun(run))),
        Some(row) => {
            read_records(&client, &reading, &run, (row.try_get(0)?, signed(from), count(limit))).await
        }
    }
}

async fn read_records(
    client: &Client,
    reading: &Reading,
    run: &str,
    (no, from, limit): (i64, i64, i64),
) -> Done<Vec<Record>> {
    let sql =
        "SELECT v, seq, epoch, at, kind FROM records WHERE run = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    let rows =
        client.query_typed(sql, &[(&no, Type::INT8), (&from, Type::INT8), (&limit, Type::INT8)]).await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let frame = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        match reading.record(run, frame, row.try_get(4)?) {
            Ok(record) => records.push(record),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(threads::complete(client, reading, no, &mut records).await?.map(|()| records))
}

pub(super) async fn claimable(client: Arc<Client>, now: u64, limit: usize) -> Done<Claimable> {
    let (now, limit) = (signed(now), count(limit));
    let sql = "SELECT id FROM runs WHERE wake IS NOT NULL AND greatest(wake, lease) <= $1
               ORDER BY greatest(wake, lease), no LIMIT $2";
    let rows = client.query_typed(sql, &[(&now, Type::INT8), (&limit, Type::INT8)]).await?;
    let runs = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let sql =
        "SELECT min(greatest(wake, lease)) FROM runs WHERE wake IS NOT NULL AND greatest(wake, lease) > $1";
    let row = client.query_typed_one(sql, &[(&now, Type::INT8)]).await?;
    let next: Option<i64> = row.try_get(0)?;
    Ok(Ok(Claimable { runs, next: next.map(unsigned) }))
}

pub(super) async fn runs(client: Arc<Client>, reading: Reading, query: RunQuery) -> Done<RunPage> {
    let listing = Listing::new(&query);
    let parameters = listing.parameters.iter().map(|parameter| match parameter {
        Parameter::Text(text) => (text as &(dyn ToSql + Sync), Type::TEXT),
        Parameter::Number(number) => (number as &(dyn ToSql + Sync), Type::INT8),
    });
    let parameters: Vec<_> = parameters.collect();
    let rows = client.query_typed(&listing.sql, &parameters).await?;
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        match summary(&reading, row)? {
            Ok(run) => runs.push(run),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(listing.page(runs)))
}

fn summary(reading: &Reading, row: &Row) -> Done<RunSummary> {
    let id: String = row.try_get(0)?;
    let status = match reading.status(&id, row.try_get(1)?) {
        Ok(status) => status,
        Err(error) => return Ok(Err(error)),
    };
    let owner: Option<String> = row.try_get(6)?;
    let until = unsigned(row.try_get(7)?);
    Ok(Ok(RunSummary {
        status,
        agent: row.try_get(2)?,
        thread: row.try_get(3)?,
        created: unsigned(row.try_get(4)?),
        epoch: unsigned(row.try_get(5)?),
        lease: owner.map(|owner| Lease { owner: owner.into(), until }),
        updated: unsigned(row.try_get(8)?),
        records: unsigned(row.try_get(9)?),
        id,
    }))
}

pub(super) async fn open(client: Arc<Client>, reading: Reading, run: Option<String>) -> Done<Vec<Question>> {
    const OPEN: &str = "SELECT id, question FROM questions WHERE answer IS NULL AND NOT withdrawn";
    let rows = match &run {
        Some(run) => {
            client.query_typed(&format!("{OPEN} AND run = $1 ORDER BY no"), &[(run, Type::TEXT)]).await?
        }
        None => client.query_typed(&format!("{OPEN} ORDER BY no"), &[]).await?,
    };
    let mut questions = Vec::with_capacity(rows.len());
    for row in rows {
        match reading.question(row.try_get(0)?, row.try_get(1)?) {
            Ok(question) => questions.push(question),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(questions))
}

/// The answers there are to these questions.
pub(super) async fn answers_to(client: Arc<Client>, ids: Vec<String>) -> Done<Vec<(String, String)>> {
    let sql = "SELECT id, answer FROM questions WHERE id = ANY ($1) AND answer IS NOT NULL";
    let rows = client.query_typed(sql, &[(&ids, Type::TEXT_ARRAY)]).await?;
    let answers = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok(Ok(answers.collect::<Result<_, Error>>()?))
}

pub(super) async fn events(
    client: Arc<Client>,
    reading: Reading,
    run: String,
    after: u64,
    limit: usize,
) -> Done<Vec<Event>> {
    let sql = "SELECT e.seq, e.event FROM logs l JOIN events e ON e.log = l.no
               WHERE l.run = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3";
    let (after, limit) = (signed(after), count(limit));
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&run, Type::TEXT), (&after, Type::INT8), (&limit, Type::INT8)];
    let mut events = Vec::new();
    for row in client.query_typed(sql, &parameters).await? {
        let seq = row.try_get(0)?;
        match reading.event(&run, seq, row.try_get(1)?) {
            Ok(event) => events.push(Event { seq: unsigned(seq), ..event }),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(events))
}

/// Each finds what breaks a rule, as a sentence per place.
const RULES: &[&str] = &[
    "SELECT format('run `%s` has %s records, numbered up to %s', r.id, count(s.seq), max(s.seq))
     FROM runs r LEFT JOIN records s ON s.run = r.no GROUP BY r.no
     HAVING count(s.seq) <> coalesce(max(s.seq), -1) + 1 OR count(s.seq) = 0 OR min(s.seq) <> 0",
    "SELECT format('the definition of run `%s` is gone', id) FROM runs
     WHERE definition NOT IN (SELECT no FROM definitions)",
    "SELECT format('run `%s` has a record of epoch %s, above its own, %s', r.id, max(s.epoch), r.epoch)
     FROM runs r JOIN records s ON s.run = r.no GROUP BY r.no HAVING max(s.epoch) > r.epoch",
    "SELECT format('the epochs of run `%s` go back at record %s', r.id, later.seq)
     FROM records later JOIN records earlier ON earlier.run = later.run AND earlier.seq = later.seq - 1
     JOIN runs r ON r.no = later.run WHERE later.epoch < earlier.epoch",
    "SELECT format('run `%s` is %s, but its last record does not end it', id, status) FROM runs
     WHERE status IN ('succeeded', 'failed', 'cancelled')
     AND NOT EXISTS (SELECT 1 FROM records s WHERE s.run = runs.no AND s.kind LIKE '{\"finished\":%'
                     AND s.seq = (SELECT max(seq) FROM records WHERE run = runs.no))",
    "SELECT format('run `%s` has ended, but is %s', id, status) FROM runs
     WHERE status NOT IN ('succeeded', 'failed', 'cancelled')
     AND EXISTS (SELECT 1 FROM records s WHERE s.run = runs.no AND s.kind LIKE '{\"finished\":%')",
    "SELECT format('question `%s` is open, but its run has ended', q.id) FROM questions q
     JOIN runs r ON r.id = q.run WHERE q.answer IS NULL AND NOT q.withdrawn
     AND r.status IN ('succeeded', 'failed', 'cancelled')",
    "SELECT format('run `%s` waits, but nothing can make it go on', id) FROM runs
     WHERE status = 'waiting' AND wake IS NULL
     AND NOT EXISTS (SELECT 1 FROM questions q WHERE q.run = runs.id AND q.answer IS NULL AND NOT q.withdrawn)
     AND NOT EXISTS (SELECT 1 FROM questions q WHERE starts_with(q.run, runs.id || '/')
                     AND NOT q.taken AND NOT q.withdrawn)",
    "SELECT format('the snapshot of run `%s` is ahead of its records', r.id) FROM snapshots s
     JOIN runs r ON r.no = s.run WHERE s.seq > (SELECT max(seq) + 1 FROM records WHERE run = r.no)",
    "SELECT format('thread `%s` has %s messages of its own, where %s belong', coalesce(t.id, t.no::text),
                   count(m.number), t.messages - t.base_messages)
     FROM threads t LEFT JOIN messages m ON m.thread = t.no GROUP BY t.no
     HAVING count(m.number) <> t.messages - t.base_messages OR min(m.number) <> t.base_messages
     OR max(m.number) <> t.messages - 1",
    "SELECT format('messages of a thread that is not there: number %s', thread) FROM messages
     WHERE thread NOT IN (SELECT no FROM threads) GROUP BY thread",
    "SELECT format('thread `%s` shares messages that are gone', coalesce(id, no::text)) FROM threads t
     WHERE base IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM threads b WHERE b.no = t.base AND b.messages >= t.base_messages)",
    "SELECT format('thread `%s` is held by run `%s`, which has ended or is not there', t.id, t.holder)
     FROM threads t LEFT JOIN runs r ON r.id = t.holder WHERE t.holder IS NOT NULL
     AND (r.id IS NULL OR r.status IN ('succeeded', 'failed', 'cancelled'))",
    "SELECT format('run `%s` is in line for a thread, but does not wait', l.run) FROM line l
     LEFT JOIN runs r ON r.id = l.run WHERE r.status IS DISTINCT FROM 'queued'
     OR l.thread NOT IN (SELECT no FROM threads WHERE id IS NOT NULL)",
    "SELECT format('run `%s` waits for its turn, but is in no line', r.id) FROM runs r
     WHERE r.status = 'queued' AND r.id NOT IN (SELECT run FROM line)",
    "SELECT format('run `%s` has ended, and still was told something', s.run) FROM signals s
     JOIN runs r ON r.id = s.run WHERE r.status IN ('succeeded', 'failed', 'cancelled') GROUP BY s.run",
];

/// What is wrong, a sentence each; nothing in a sound store.
pub(super) async fn check(client: Arc<Client>) -> Done<Vec<String>> {
    let mut wrong = Vec::new();
    for rule in RULES {
        for row in client.query_typed(rule, &[]).await? {
            wrong.push(row.try_get(0)?);
        }
    }
    Ok(Ok(wrong))
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
