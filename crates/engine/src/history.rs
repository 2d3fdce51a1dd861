//! Stored runs, looked at and changed by those who do not drive them: their history, forks, and an end for runs that
//! nobody drives.

use std::sync::Arc;

use ambidex_core::definition::Pinned;
use ambidex_core::effect::{EffectId, Task, Work};
use ambidex_core::event::Status;
use ambidex_core::graph::NodeDefinition;
use ambidex_core::record::{Input, Outcome, Output, Record, RecordKind, Refused, Stamp};
use ambidex_core::run::{Admission, Checkpoint, Patch, Phase, Run, checkpoints};
use ambidex_core::store::{AnyStore, Batch, RunQuery, RunStanding, RunSummary, StoreError};
use ambidex_core::{Error, ErrorKind};

use crate::agent::new_run_id;
use crate::engine::{Engine, store_error};
use crate::lease::Owner;

/// Records read at a time.
const PAGE: usize = 1000;

/// Who drives a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process of this name has it until then, in milliseconds since 1970, unless it renews its lease.
    There { name: String, until: u64, is_here: bool },
    /// Its process has ended, or was not heard of for the time of its lease.
    Gone,
}

impl Holder {
    /// As the run's lease says at this time, in milliseconds since 1970. None where nobody has the run.
    pub fn of(run: &RunSummary, now: u64) -> Option<Self> {
        let lease = run.lease.as_ref()?;
        let owner = Owner::parse(&lease.owner);
        if lease.until <= now || owner.as_ref().is_some_and(Owner::is_gone) {
            return Some(Self::Gone);
        }
        let is_here = owner.as_ref().is_some_and(Owner::is_here);
        let name = match owner {
            Some(owner) => format!("process {} on {}", owner.pid, owner.host),
            None => format!("`{}`", lease.owner),
        };
        Some(Self::There { name, until: lease.until, is_here })
    }
}

/// Admits nothing: a run that is to end starts nothing more.
struct Nothing;

impl Admission for Nothing {
    fn admit(&mut self, _: &EffectId, _: &str) -> bool {
        false
    }

    fn admit_node(&mut self, _: &EffectId, _: &NodeDefinition) -> bool {
        false
    }
}

impl Engine {
    fn stored_runs(&self) -> Result<&Arc<dyn AnyStore>, Error> {
        self.durable_store().ok_or_else(|| {
            let text = "the engine has no store that outlives it, so it has no runs to look at; open one";
            Error::new(ErrorKind::ConfigInvalid, text)
        })
    }

    /// The line of one run, as listings have it.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub async fn find_run(&self, run: &str) -> Result<RunSummary, Error> {
        let query = RunQuery { run: Some(run.to_owned()), limit: 1, ..RunQuery::default() };
        let page = self.stored_runs()?.runs(query).await.map_err(store_error)?;
        let found = page.runs.into_iter().next();
        found.ok_or_else(|| store_error(StoreError::UnknownRun(run.to_owned())))
    }

    /// What a run is made of, from its first record to this one; to the last where none is named.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub async fn history(&self, run: &str, until: Option<u64>) -> Result<(Pinned, Vec<Record>), Error> {
        let stored = self.store().load(run).await.map_err(store_error)?;
        let Some(store) = self.durable_store() else {
            // Of a store that is this engine's alone no snapshots are kept, so all records are there.
            let mut records = stored.records;
            records.retain(|record| until.is_none_or(|until| record.seq <= until));
            return Ok((stored.definition, records));
        };
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = records.last().map_or(0, |last| last.seq + 1);
            let left = until.map_or(PAGE as u64, |until| (until + 1).saturating_sub(from).min(PAGE as u64));
            let limit = usize::try_from(left).unwrap_or(PAGE);
            if limit == 0 {
                break;
            }
            let page = store.records(run, from, limit).await.map_err(store_error)?;
            let is_last = page.len() < limit;
            records.extend(page);
            if is_last {
                break;
            }
        }
        Ok((stored.definition, records))
    }

    /// A run as it was after a record; as it is, where none is named.
    ///
    /// # Errors
    /// There is no such run or record, or the store failed.
    pub async fn run_at(&self, run: &str, at: Option<u64>) -> Result<Run, Error> {
        let (definition, records) = self.history(run, at).await?;
        reached(&records, at)?;
        Run::fold(run, definition, &records).map_err(corrupt)
    }

    /// The points of a run to look at and to fork from, oldest first.
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub async fn checkpoints(&self, run: &str) -> Result<Vec<Checkpoint>, Error> {
        let (_, records) = self.history(run, None).await?;
        Ok(checkpoints(&records).collect())
    }

    /// Stores a new run that has the past of another up to a record (the last that can be gone on from, where none is
    /// named), and a change after it. Nobody drives it before somebody resumes it. Gives its id.
    ///
    /// # Errors
    /// There is no such run or record, nothing can go on from there, or the store failed.
    pub async fn fork(&self, run: &str, at: Option<u64>, patch: Option<Patch>) -> Result<String, Error> {
        let (definition, mut records) = self.history(run, at).await?;
        reached(&records, at)?;
        if at.is_none() {
            // Its end is nothing to go on from.
            let ends =
                |record: &Record| matches!(record.kind, RecordKind::Stopping(_) | RecordKind::Finished(_));
            let end = records.iter().position(ends).unwrap_or(records.len());
            records.truncate(end);
        }
        let id = new_run_id();
        let stamp = Stamp { at: self.clock().now(), epoch: 1 };
        let forked = Run::fork(id.as_str(), definition.clone(), &records, patch, stamp);
        let (run, records) = forked.map_err(|refused| {
            Error::new(ErrorKind::InvalidRequest, format!("the run `{run}`: {refused}"))
        })?;
        let batch = Batch {
            definition: Some(definition),
            // Those of its past have their answers in the records.
            asked: run.questions().collect(),
            // No sweep is to take it before somebody says so.
            standing: Some(RunStanding { status: Status::Paused, due: None }),
            records,
            ..Batch::default()
        };
        self.store().commit(&id, 1, 0, batch).await.map_err(store_error)?;
        Ok(id)
    }

    /// Ends a stored run that nobody drives, and those of its nodes: calls without a result are answered as cancelled,
    /// questions are withdrawn.
    /// False where it had ended before.
    ///
    /// # Errors
    /// There is no such run, somebody drives it (`busy`), or the store failed.
    pub async fn cancel_run(&self, run: &str) -> Result<bool, Error> {
        let found = self.find_run(run).await?;
        if found.status.is_final() {
            return Ok(false);
        }
        if let Some(Holder::There { name, is_here, .. }) = Holder::of(&found, self.clock().now()) {
            let whose = if is_here { "this process".to_owned() } else { name };
            let text = format!("the run `{run}` is driven by {whose}; cancel it there, by what waits for it");
            return Err(Error::new(ErrorKind::Busy, text));
        }
        let Some(durable) = self.durable() else { return Ok(false) };
        let epoch = durable.claim(run, self.clock().now()).await.map_err(store_error)?;
        let (definition, records) = self.history(run, None).await?;
        let mut state = Run::fold(run, definition, &records).map_err(corrupt)?;
        for child in children(&state) {
            match Box::pin(self.cancel_run(&child)).await {
                // One that never began is none.
                Err(error) if error.message().contains("there is no run") => {}
                ended => drop(ended?),
            }
        }
        let expected = state.next_seq();
        let stamp = Stamp { at: self.clock().now(), epoch };
        let mut records = Vec::new();
        let mut inputs = vec![Input::Claim, Input::Cancel];
        while !inputs.is_empty() {
            for input in inputs {
                match state.advance(input, stamp, &mut Nothing, None) {
                    Ok(more) => records.extend(more),
                    Err(Refused::Corrupt(why)) => return Err(corrupt(Refused::Corrupt(why))),
                    // Of an effect that went with another.
                    Err(_) => {}
                }
            }
            inputs = state
                .effects()
                .map(|open| {
                    let result = match open.intent.task {
                        Task::FinishHook => Ok(Output::Outcome(Box::new(Outcome::Cancelled))),
                        _ => Err(Error::cancelled()),
                    };
                    Input::Done { effect: open.intent.id.clone(), attempt: open.attempt, result }
                })
                .collect();
        }
        if !matches!(state.phase(), Phase::Finished(_)) {
            return Err(Error::new(ErrorKind::Internal, format!("the run `{run}` does not end")));
        }
        let batch = Batch {
            asked: state.asked(&records).collect(),
            withdrawn: state.withdrawn(&records).collect(),
            records,
            thread: self.ended_step(&state, stamp.at).await.map_err(store_error)?,
            ..Batch::default()
        };
        self.store().commit(run, epoch, expected, batch).await.map_err(store_error)?;
        Ok(true)
    }
}

/// The runs of its nodes that are under way.
fn children(run: &Run) -> Vec<String> {
    let works = run.effects().filter_map(|open| run.effect(open));
    let children = works.filter_map(|effect| match effect.work {
        Work::Child { run, .. } => Some(run),
        _ => None,
    });
    children.collect()
}

fn reached(records: &[Record], at: Option<u64>) -> Result<(), Error> {
    let last = records.last().map(|last| last.seq);
    match at {
        Some(at) if last != Some(at) => {
            let has = last.map_or_else(|| "none".to_owned(), |last| format!("0 to {last}"));
            let text =
                format!("the run has no record {at}; its records are {has}. Checkpoints name those to go by");
            Err(Error::new(ErrorKind::InvalidRequest, text))
        }
        _ => Ok(()),
    }
}

fn corrupt(refused: Refused) -> Error {
    Error::new(ErrorKind::StoreFailed, refused.to_string())
}
