//! Ending a run that rests, so that the next on its thread can begin.

use ambidex_core::Error;
use ambidex_core::event::Status;
use ambidex_core::record::{Input, Record, Refused, Stamp};
use ambidex_core::run::{Phase, Run, Unlimited};
use ambidex_core::store::{Batch, Lease, RunQuery, RunStanding, StoreError};
use ambidex_core::thread::{End, Signal, ThreadStep, Unheard};

use super::turn::kept;
use crate::engine::Engine;
use crate::lease::Owner;
use crate::resume;

impl Engine {
    /// Cancels the run if nobody drives it and it was told to stop. Where somebody has it, gives the time when its
    /// lease is over.
    pub(super) async fn stop_resting(&self, run: &str) -> Result<Option<u64>, StoreError> {
        let Some(conversations) = self.conversations() else { return Ok(None) };
        let told = conversations.store.signals(run, 0).await?;
        // Whoever had the thread when somebody came was told; who got it since keeps it.
        match told.iter().any(|(_, signal)| matches!(signal, Signal::Stop | Signal::RollBack)) {
            true => self.end_undriven(run, |_| true).await,
            false => Ok(None),
        }
    }

    /// Cancels a run in line that nobody waits with. Where somebody does, gives the time when its lease is over.
    pub(super) async fn stop_in_line(&self, run: &str) -> Result<Option<u64>, StoreError> {
        self.end_undriven(run, |status| status == Status::Queued).await
    }

    /// It need not be carried out for that: what stands open is given up.
    async fn end_undriven(
        &self,
        run: &str,
        is_meant: impl Fn(Status) -> bool,
    ) -> Result<Option<u64>, StoreError> {
        let Some(conversations) = self.conversations() else { return Ok(None) };
        let (store, now) = (&conversations.store, self.clock().now());
        let query = RunQuery { run: Some(run.to_owned()), ..RunQuery::default() };
        let Some(row) = store.runs(query).await?.runs.into_iter().next() else { return Ok(None) };
        if row.status.is_final() || !is_meant(row.status) || conversations.drives(run) {
            return Ok(None);
        }
        let epoch = match self.durable() {
            Some(durable) => {
                if let Some(lease) = row.lease.filter(|lease| lease.until > now) {
                    let gone = Owner::parse(&lease.owner).is_some_and(|owner| owner.is_gone());
                    if !gone {
                        return Ok(Some(lease.until));
                    }
                }
                match durable.claim(run, now).await {
                    Err(StoreError::Owned { until, .. }) => return Ok(Some(until)),
                    claimed => claimed?,
                }
            }
            None if matches!(row.status, Status::Queued | Status::Running) => return Ok(None),
            None => store.claim(run, Lease { owner: "".into(), until: 0 }, now).await?,
        };
        let stored = store.load(run).await?;
        let broken = |refused: Refused| StoreError::Broken(refused.to_string());
        let folded = resume::run_of(self, run, stored).await;
        let folded = folded.map_err(|error| StoreError::Broken(error.message().to_owned()))?;
        let expected = folded.next_seq();
        let Some((ended, records)) = give_up(folded, Stamp { at: now, epoch }).map_err(broken)? else {
            return Ok(None);
        };
        let step = self.ended_step(&ended, now).await?;
        let batch = Batch {
            withdrawn: ended.withdrawn(&records).collect(),
            standing: Some(RunStanding { status: ended.status(), due: None }),
            records,
            thread: step,
            ..Batch::default()
        };
        match store.commit(run, epoch, expected, batch).await {
            // Somebody was faster.
            Ok(()) | Err(StoreError::Fenced | StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the end of a run that nobody drove does with its thread: what it said stays, unless it was to be rolled
    /// back, and the next has its turn.
    pub(crate) async fn ended_step(
        &self,
        run: &Run,
        now: u64,
    ) -> Result<Option<Box<ThreadStep>>, StoreError> {
        let (Some(conversations), Some(thread)) = (self.conversations(), run.thread()) else {
            return Ok(None);
        };
        let store = &conversations.store;
        let holder = match store.line(thread).await {
            Ok(line) => line.holder,
            Err(StoreError::UnknownThread(_)) => None,
            Err(error) => return Err(error),
        };
        let told = store.signals(run.id(), 0).await?;
        let rolled_back = told.iter().any(|(_, signal)| *signal == Signal::RollBack);
        let messages = match run.phase() {
            // One in line leaves the line, and has said nothing.
            Phase::Finished(outcome) if !rolled_back && holder.as_deref() == Some(&**run.id()) => {
                let given = conversations.cache.view(store, thread, now).await?.messages.len();
                kept(run, given, outcome)
            }
            _ => vec![],
        };
        let unheard = if rolled_back { Unheard::Drop } else { Unheard::Keep };
        let end = Some(End { messages, unheard });
        Ok(Some(Box::new(ThreadStep { end, ..ThreadStep::new(thread, now) })))
    }
}

/// The run cancelled, with everything that stood open given up. Nothing where it had ended.
fn give_up(mut run: Run, stamp: Stamp) -> Result<Option<(Run, Vec<Record>)>, Refused> {
    if matches!(run.phase(), Phase::Finished(_)) {
        return Ok(None);
    }
    let mut records = Vec::new();
    for input in [Input::Claim, Input::Cancel] {
        records.extend(run.advance(input, stamp, &mut Unlimited, None)?);
    }
    while !matches!(run.phase(), Phase::Finished(_)) {
        let open: Vec<_> = run.effects().map(|open| (open.intent.id.clone(), open.attempt)).collect();
        if open.is_empty() {
            return Err(Refused::Corrupt("the run does not end".into()));
        }
        for (effect, attempt) in open {
            let input = Input::Done { effect, attempt, result: Err(Error::cancelled()) };
            match run.advance(input, stamp, &mut Unlimited, None) {
                Ok(more) => records.extend(more),
                // Given up with another.
                Err(Refused::NotOpen | Refused::Finished) => {}
                Err(refused) => return Err(refused),
            }
        }
    }
    Ok(Some((run, records)))
}
