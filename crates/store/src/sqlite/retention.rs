//! Runs that ended long ago, forgotten a few at a time.

use rusqlite::Connection;

use super::writer::Done;
use crate::rows::signed;

/// Ids of runs whose last record is older, oldest first.
pub(super) fn old(db: &Connection, before: u64, limit: usize) -> Done<Vec<String>> {
    // A run that began later has not ended before: the index cuts off what is young. An open parent may have yet to
    // take over what its child came to.
    let sql = "SELECT id FROM runs WHERE status IN ('succeeded', 'failed', 'cancelled') AND created < ?1
               AND (SELECT at FROM records WHERE run = runs.no ORDER BY seq DESC LIMIT 1) < ?1
               AND NOT EXISTS (
                 SELECT 1 FROM records first JOIN runs parent
                   ON parent.id = json_extract(first.kind, '$.accepted.parent')
                 WHERE first.run = runs.no AND first.seq = 0
                   AND parent.status NOT IN ('succeeded', 'failed', 'cancelled'))
               ORDER BY created, id LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ids = statement.query_map([signed(before), limit], |row| row.get(0))?;
    Ok(Ok(ids.collect::<rusqlite::Result<_>>()?))
}

pub(super) fn forget_events(db: &Connection, runs: &[String]) -> Done<()> {
    for run in runs {
        db.prepare_cached("DELETE FROM events WHERE log IN (SELECT no FROM logs WHERE run = ?1)")?
            .execute([run])?;
        db.prepare_cached("DELETE FROM logs WHERE run = ?1")?.execute([run])?;
    }
    Ok(Ok(()))
}

/// What ended stays so: they need not be looked at again. Others may have been faster.
pub(super) fn forget(db: &Connection, runs: &[String]) -> Done<u64> {
    let mut forgotten = 0;
    for run in runs {
        for table in ["records", "snapshots"] {
            let sql = format!("DELETE FROM {table} WHERE run = (SELECT no FROM runs WHERE id = ?1)");
            db.prepare_cached(&sql)?.execute([run])?;
        }
        db.prepare_cached("DELETE FROM questions WHERE run = ?1")?.execute([run])?;
        forgotten += db.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([run])? as u64;
    }
    Ok(Ok(forgotten))
}
