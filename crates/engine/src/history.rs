//! Time travel: what a stored run was, and another run that goes on from there.

use ambidex_core::graph::State;
use ambidex_core::message::Message;
use ambidex_core::record::{Input, Record, Refused, Stamp};
use ambidex_core::run::{Checkpoint, Patch, Run, checkpoints};
use ambidex_core::store::{Batch, RunStanding, Stored};
use ambidex_core::{Error, ErrorKind};

use crate::agent::{Agent, RunOptions, new_run_id};
use crate::carrier::Carrier;
use crate::engine::{Engine, store_error};
use crate::graph::Graph;
use crate::handle::RunHandle;

/// Records read at a time.
const PAGE: usize = 10_000;

impl Engine {
    /// The points of a stored run to look at and to fork from, oldest first.
    ///
    /// # Errors
    /// There is no such run, or it cannot be read.
    pub async fn checkpoints(&self, run: &str) -> Result<Vec<Checkpoint>, Error> {
        let (_, records) = self.whole(run).await?;
        Ok(checkpoints(&records).collect())
    }

    /// A stored run as it was after this record; as it is where none is given. [`Run::state`] is the state of a graph
    /// there, [`Run::history`] the conversation of an agent.
    ///
    /// # Errors
    /// There is no such run or record, or it cannot be read.
    pub async fn run_at(&self, run: &str, seq: Option<u64>) -> Result<Run, Error> {
        let (stored, records) = self.whole(run).await?;
        let until = up_to(run, &records, seq)?;
        Run::fold(run, stored.definition, until).map_err(|refused| unread(run, &refused))
    }

    /// A run with all its records, whatever a snapshot stands for.
    async fn whole(&self, run: &str) -> Result<(Stored, Vec<Record>), Error> {
        let mut stored = self.store().load(run).await.map_err(store_error)?;
        let mut records = std::mem::take(&mut stored.records);
        let Some(snapshot) = &stored.snapshot else { return Ok((stored, records)) };
        let durable = self.durable().ok_or_else(|| {
            let text = format!(
                "the first {} records of the run `{run}` cannot be had from this store",
                snapshot.seq
            );
            Error::new(ErrorKind::StoreFailed, text).retryable(false)
        })?;
        records.clear();
        loop {
            let from = records.len() as u64;
            let more = durable.store.records(run, from, PAGE).await.map_err(store_error)?;
            let ends = more.len() < PAGE;
            records.extend(more);
            if ends {
                return Ok((stored, records));
            }
        }
    }

    /// Stores the new run, which nobody drives yet.
    async fn forked(
        &self,
        run: &str,
        seq: Option<u64>,
        patch: Option<Patch>,
        id: &str,
    ) -> Result<(Run, u64), Error> {
        const EPOCH: u64 = 1;
        let (stored, records) = self.whole(run).await?;
        let until = up_to(run, &records, seq)?;
        let now = self.clock().now();
        let stamp = Stamp { at: now, epoch: EPOCH };
        let forked = Run::fork(id, stored.definition.clone(), until, patch, stamp);
        let (fork, records) = forked.map_err(|refused| match refused {
            Refused::NoFork(_) | Refused::TakesNoMessage | Refused::NotAccepted => {
                Error::new(ErrorKind::InvalidRequest, refused.to_string())
            }
            refused => unread(run, &refused),
        })?;
        let batch = Batch {
            definition: Some(stored.definition),
            records,
            standing: Some(RunStanding { status: fork.status(), due: None }),
            lease: self.durable().map(|durable| durable.lease(now)),
            ..Batch::default()
        };
        self.store().commit(id, EPOCH, 0, batch).await.map_err(store_error)?;
        Ok((fork, EPOCH))
    }
}

impl Graph {
    /// A new run with the past of another of this graph, up to and with this record, and with these fields of the state
    /// changed. What was open there is in doubt where it must not be repeated; runs of nodes that were open begin again.
    ///
    /// # Errors
    /// There is no such run or record, the run was ending there, or something it needs is gone.
    pub async fn fork(
        &self,
        run: &str,
        seq: u64,
        change: Option<State>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        let carrier = Carrier::Graph(self.runtime.clone());
        fork(&carrier, run, seq, change.map(Patch::State), &options).await
    }

    /// Changes fields of the state of a run at rest, for every path under way, and goes on with it as
    /// [`Graph::resume`] does: one that was paused, with `Input::Resume` among the inputs.
    ///
    /// # Errors
    /// As there.
    pub async fn patch(
        &self,
        run: &str,
        change: State,
        inputs: Vec<Input>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        let inputs = std::iter::once(Input::Patch(change)).chain(inputs).collect();
        self.resume(run, inputs, options).await
    }
}

impl Agent {
    /// A new run with the past of another of this agent, up to and with this record, and a message after it.
    ///
    /// # Errors
    /// There is no such run or record, the run was ending there, or a tool of it is gone.
    pub async fn fork(
        &self,
        run: &str,
        seq: u64,
        message: Option<std::sync::Arc<Message>>,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        let carrier = Carrier::Agent(self.runtime.clone());
        fork(&carrier, run, seq, message.map(Patch::Message), &options).await
    }
}

async fn fork(
    carrier: &Carrier,
    run: &str,
    seq: u64,
    patch: Option<Patch>,
    options: &RunOptions,
) -> Result<RunHandle, Error> {
    let engine = carrier.engine();
    let stored = engine.store().load(run).await.map_err(store_error)?;
    let carrier = carrier.pinned_as(&stored.definition)?;
    let id = options.id.clone().unwrap_or_else(new_run_id);
    let forked = engine.forked(run, Some(seq), patch, &id).await?;
    RunHandle::launch(carrier, id.into(), Some(forked), vec![Input::Claim], options, true)
}

/// The records up to and with this one.
fn up_to<'a>(run: &str, records: &'a [Record], seq: Option<u64>) -> Result<&'a [Record], Error> {
    let Some(seq) = seq else { return Ok(records) };
    let count = usize::try_from(seq).unwrap_or(usize::MAX).saturating_add(1);
    records.get(..count).ok_or_else(|| {
        let text = format!("the run `{run}` has {} records, and none is number {seq}", records.len());
        Error::new(ErrorKind::InvalidRequest, text)
    })
}

fn unread(run: &str, refused: &Refused) -> Error {
    Error::new(ErrorKind::StoreFailed, format!("the run `{run}`: {refused}")).retryable(false)
}
