//! What must hold in a file, and whether it does.

use rusqlite::{Connection, ErrorCode};

use super::writer::Done;

/// Each finds what breaks a rule, as a sentence per place.
const RULES: &[&str] = &[
    "SELECT 'run `' || r.id || '` has ' || count(s.seq) || ' records, numbered up to ' || max(s.seq)
     FROM runs r JOIN records s ON s.run = r.no GROUP BY r.no
     HAVING count(s.seq) <> max(s.seq) + 1 OR min(s.seq) <> 0",
    "SELECT 'run `' || id || '` has no records' FROM runs
     WHERE NOT EXISTS (SELECT 1 FROM records WHERE run = runs.no)",
    "SELECT 'records of a run that is not there: number ' || run FROM records
     WHERE run NOT IN (SELECT no FROM runs) GROUP BY run",
    "SELECT 'the definition of run `' || id || '` is gone' FROM runs
     WHERE definition NOT IN (SELECT no FROM definitions)",
    "SELECT 'run `' || r.id || '` has a record of epoch ' || max(s.epoch) || ', above its own, ' || r.epoch
     FROM runs r JOIN records s ON s.run = r.no GROUP BY r.no HAVING max(s.epoch) > r.epoch",
    "SELECT 'the epochs of run `' || r.id || '` go back at record ' || later.seq
     FROM records later JOIN records earlier ON earlier.run = later.run AND earlier.seq = later.seq - 1
     JOIN runs r ON r.no = later.run WHERE later.epoch < earlier.epoch",
    "SELECT 'run `' || id || '` is ' || status || ', but its last record does not end it' FROM runs
     WHERE status IN ('succeeded', 'failed', 'cancelled')
     AND NOT EXISTS (SELECT 1 FROM records s WHERE s.run = runs.no AND s.kind LIKE '{\"finished\":%'
                     AND s.seq = (SELECT max(seq) FROM records WHERE run = runs.no))",
    "SELECT 'run `' || id || '` has ended, but is ' || status FROM runs
     WHERE status NOT IN ('succeeded', 'failed', 'cancelled')
     AND EXISTS (SELECT 1 FROM records s WHERE s.run = runs.no AND s.kind LIKE '{\"finished\":%')",
    "SELECT 'question `' || q.id || '` is open, but its run has ended' FROM questions q
     JOIN runs r ON r.id = q.run WHERE q.answer IS NULL AND q.withdrawn = 0
     AND r.status IN ('succeeded', 'failed', 'cancelled')",
    "SELECT 'run `' || id || '` waits, but nothing can make it go on' FROM runs
     WHERE status = 'waiting' AND wake IS NULL
     AND NOT EXISTS (SELECT 1 FROM questions q WHERE q.run = runs.id AND q.answer IS NULL AND q.withdrawn = 0)
     AND NOT EXISTS (SELECT 1 FROM questions q WHERE substr(q.run, 1, length(runs.id) + 1) = runs.id || '/'
                     AND q.taken = 0 AND q.withdrawn = 0)",
    "SELECT 'the snapshot of run `' || r.id || '` is ahead of its records' FROM snapshots s
     JOIN runs r ON r.no = s.run WHERE s.seq > (SELECT max(seq) + 1 FROM records WHERE run = r.no)",
    "SELECT 'thread `' || coalesce(t.id, t.no) || '` has ' || count(m.no) || ' messages of its own, where '
     || (t.messages - t.base_messages) || ' belong'
     FROM threads t LEFT JOIN messages m ON m.thread = t.no GROUP BY t.no
     HAVING count(m.no) <> t.messages - t.base_messages OR min(m.number) <> t.base_messages
     OR max(m.number) <> t.messages - 1",
    "SELECT 'messages of a thread that is not there: number ' || thread FROM messages
     WHERE thread NOT IN (SELECT no FROM threads) GROUP BY thread",
    "SELECT 'thread `' || coalesce(id, no) || '` shares messages that are gone' FROM threads t
     WHERE base IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM threads b WHERE b.no = t.base AND b.messages >= t.base_messages)",
    "SELECT 'thread `' || t.id || '` is held by run `' || t.holder || '`, which has ended or is not there'
     FROM threads t LEFT JOIN runs r ON r.id = t.holder WHERE t.holder IS NOT NULL
     AND (r.id IS NULL OR r.status IN ('succeeded', 'failed', 'cancelled'))",
    "SELECT 'run `' || l.run || '` is in line for a thread, but does not wait' FROM line l
     LEFT JOIN runs r ON r.id = l.run WHERE r.status IS NULL OR r.status <> 'queued'
     OR l.thread NOT IN (SELECT no FROM threads WHERE id IS NOT NULL)",
    "SELECT 'run `' || r.id || '` waits for its turn, but is in no line' FROM runs r
     WHERE r.status = 'queued' AND r.id NOT IN (SELECT run FROM line)",
    "SELECT 'run `' || s.run || '` has ended, and still was told something' FROM signals s
     JOIN runs r ON r.id = s.run WHERE r.status IN ('succeeded', 'failed', 'cancelled') GROUP BY s.run",
];

/// What is wrong, a sentence each; nothing in a sound file.
pub(super) fn check(db: &Connection) -> Done<Vec<String>> {
    let query = |sql: &str| -> rusqlite::Result<Vec<String>> {
        db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    // A file can be so damaged that looking for damage fails.
    let texts = |sql: &str| match query(sql) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok(vec![format!("not all of the file can be read: {error}")])
        }
        found => found,
    };
    let mut wrong = texts("PRAGMA integrity_check")?;
    wrong.retain(|found| found != "ok");
    // In a damaged file the rules would only repeat it.
    if wrong.is_empty() {
        for rule in RULES {
            wrong.extend(texts(rule)?);
        }
    }
    Ok(Ok(wrong))
}
