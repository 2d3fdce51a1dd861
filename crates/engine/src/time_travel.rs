//! Runs that go on from what another was, and runs whose state was changed.

use ambidex_core::definition::Pinned;
use ambidex_core::graph::State;
use ambidex_core::message::Message;
use ambidex_core::record::{Input, Record, Refused, Stamp};
use ambidex_core::run::{Patch, Run};
use ambidex_core::store::{Batch, RunStanding};
use ambidex_core::{Error, ErrorKind};

use crate::agent::{Agent, RunOptions, new_run_id};
use crate::carrier::Carrier;
use crate::engine::store_error;
use crate::graph::Graph;
use crate::handle::RunHandle;

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
    let (definition, records) = carrier.engine().history(run, Some(seq)).await?;
    if records.last().is_none_or(|last| last.seq != seq) {
        let text = format!("the run `{run}` has {} records, and none is number {seq}", records.len());
        return Err(Error::new(ErrorKind::InvalidRequest, text));
    }
    fork_of(carrier, run, definition, &records, patch, options).await
}

/// A new run with this past of another.
pub(crate) async fn fork_of(
    carrier: &Carrier,
    run: &str,
    definition: Pinned,
    records: &[Record],
    patch: Option<Patch>,
    options: &RunOptions,
) -> Result<RunHandle, Error> {
    const EPOCH: u64 = 1;
    let engine = carrier.engine();
    let carrier = carrier.pinned_as(&definition)?;
    let id = options.id.clone().unwrap_or_else(new_run_id);
    let now = engine.clock().now();
    let stamp = Stamp { at: now, epoch: EPOCH };
    let forked = Run::fork(id.as_str(), definition.clone(), records, patch, stamp);
    let (fork, records) = forked.map_err(|refused| {
        let kind = if matches!(refused, Refused::Corrupt(_)) {
            ErrorKind::StoreFailed
        } else {
            ErrorKind::InvalidRequest
        };
        Error::new(kind, format!("the run `{run}`: {refused}")).retryable(false)
    })?;
    let batch = Batch {
        definition: Some(definition),
        // Those of its past have their answers in the records.
        asked: fork.questions().collect(),
        records,
        standing: Some(RunStanding { status: fork.status(), due: None }),
        lease: engine.durable().map(|durable| durable.lease(now)),
        ..Batch::default()
    };
    engine.store().commit(&id, EPOCH, 0, batch).await.map_err(store_error)?;
    RunHandle::launch(carrier, id.into(), Some((fork, EPOCH)), vec![Input::Claim], options, true)
}
