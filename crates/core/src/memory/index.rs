//! What the store in memory lists, and its log of events.

use std::cmp::Reverse;

use super::{MemoryStore, Row, Tables};
use crate::BoxFuture;
use crate::event::{Event, Status};
use crate::record::{Record, RecordKind};
use crate::store::{Claimable, EventLog, RunCursor, RunIndex, RunPage, RunQuery, RunSummary, StoreError};

/// Events of one run.
#[derive(Default)]
pub(super) struct Events {
    epoch: u64,
    events: Vec<Event>,
}

impl Tables {
    /// From when on the run is to be claimed; nothing while only somebody outside can make it go on.
    fn ready_at(&self, row: &Row) -> Option<u64> {
        let wake = match row.standing.status {
            Status::Queued | Status::Running => Some(0),
            Status::Paused => row.standing.due,
            Status::Waiting => self.waits_until(row),
            Status::Succeeded | Status::Failed | Status::Cancelled => None,
        };
        wake.map(|wake| wake.max(row.lease.as_ref().map_or(0, |lease| lease.until)))
    }

    fn waits_until(&self, row: &Row) -> Option<u64> {
        let questions = row.questions.iter().filter_map(|id| self.questions.get(id));
        let due = questions
            .filter(|asked| !asked.taken && !asked.withdrawn)
            .filter_map(|asked| if asked.answer.is_some() { Some(0) } else { asked.question.due });
        due.chain(row.standing.due).min()
    }

    fn summary(&self, id: &str, row: &Row) -> RunSummary {
        RunSummary {
            id: id.to_owned(),
            status: row.standing.status,
            agent: self.definitions.get(&row.definition).map(|known| known.agent.clone()).unwrap_or_default(),
            thread: row.thread.clone(),
            created: row.records.iter().next().map_or(0, |record| record.at),
            updated: row.records.last().map_or(0, |record| record.at),
            records: row.records.len(),
            epoch: row.epoch,
            lease: row.lease.clone(),
        }
    }

    fn page(&self, query: &RunQuery) -> RunPage {
        let rows = self.runs.iter().filter(|(id, row)| {
            query.run.as_ref().is_none_or(|run| run == *id)
                && (query.status.is_empty() || query.status.contains(&row.standing.status))
                && (query.thread.is_none() || query.thread == row.thread)
        });
        let runs = rows.map(|(id, row)| self.summary(id, row));
        let mut runs: Vec<_> = runs
            .filter(|run| query.agent.as_ref().is_none_or(|agent| *agent == run.agent))
            .filter(|run| query.cursor.as_ref().is_none_or(|last| cursor(run) < *last))
            .collect();
        runs.sort_by_cached_key(|run| Reverse(cursor(run)));
        let limit = query.limit.clamp(1, 1000);
        let more = runs.len() > limit;
        runs.truncate(limit);
        let next = runs.last().filter(|_| more).map(cursor);
        RunPage { runs, next }
    }
}

fn cursor(run: &RunSummary) -> RunCursor {
    RunCursor { created: run.created, id: run.id.clone() }
}

impl RunIndex for MemoryStore {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        let tables = self.tables();
        let all = tables.runs.iter().filter_map(|(id, row)| Some((tables.ready_at(row)?, row.number, id)));
        let (mut ready, later): (Vec<_>, Vec<_>) = all.partition(|(at, _, _)| *at <= now);
        ready.sort_unstable();
        ready.truncate(limit);
        let runs = ready.into_iter().map(|(_, _, id)| id.clone()).collect();
        let next = later.into_iter().map(|(at, _, _)| at).min();
        Box::pin(std::future::ready(Ok(Claimable { runs, next })))
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.until_answers(seen)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        Box::pin(std::future::ready(Ok(self.tables().page(&query))))
    }

    fn forget_runs(&self, before: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        let mut tables = self.tables();
        let ended = tables.runs.iter().filter(|(_, row)| row.standing.status.is_final());
        // An open parent may have yet to take over what its child came to.
        let ended = ended.filter(|(_, row)| {
            let parent = row.records.iter().next().and_then(|first| match &first.kind {
                RecordKind::Accepted { parent, .. } => tables.runs.get(parent.as_ref()?),
                _ => None,
            });
            parent.is_none_or(|parent| parent.standing.status.is_final())
        });
        let ended = ended.filter_map(|(id, row)| Some((row.records.last()?.at, row.number, id.clone())));
        let mut old: Vec<_> = ended.filter(|(at, ..)| *at < before).collect();
        old.sort_unstable();
        old.truncate(limit);
        let forgotten: Vec<Row> = old.iter().filter_map(|(.., id)| tables.forget(id)).collect();
        tables.finished.retain(|run| old.iter().all(|(.., id)| id != run));
        drop(tables);
        Box::pin(std::future::ready(Ok(forgotten.len() as u64)))
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        let tables = self.tables();
        let records = match tables.runs.get(run) {
            None => Err(StoreError::UnknownRun(run.to_owned())),
            Some(row) => row.records.read(from, limit),
        };
        Box::pin(std::future::ready(records))
    }
}

impl EventLog for MemoryStore {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        let mut tables = self.tables();
        let log = tables.events.entry(run.to_owned()).or_default();
        let first = log.events.len() as u64 + 1;
        let appended = if epoch < log.epoch {
            Err(StoreError::Fenced)
        } else {
            log.epoch = epoch;
            log.events.extend((first..).zip(events).map(|(seq, event)| Event { seq, ..event }));
            Ok(first)
        };
        Box::pin(std::future::ready(appended))
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        let tables = self.tables();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let events = tables.events.get(run).map(|log| log.events.iter().skip(after).take(limit).cloned());
        Box::pin(std::future::ready(Ok(events.map(Iterator::collect).unwrap_or_default())))
    }
}
