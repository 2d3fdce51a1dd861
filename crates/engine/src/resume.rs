//! A stored run, gone on with under a new epoch.

use ambidex_core::record::{Input, Refused};
use ambidex_core::run::Run;
use ambidex_core::store::{Lease, StoreError, Stored};
use ambidex_core::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::agent::RunOptions;
use crate::carrier::Carrier;
use crate::engine::{Engine, store_error};
use crate::handle::RunHandle;
use crate::run_loop::RunLoop;

/// Records read at a time.
const PAGE: usize = 10_000;

/// The inputs come after the claim.
///
/// # Errors
/// There is no such run, it cannot be had, or what it needs is not here; nothing has happened to it then.
pub(crate) async fn go_on(
    carrier: &Carrier,
    run: &str,
    inputs: Vec<Input>,
    options: &RunOptions,
    watched: bool,
) -> Result<RunHandle, Error> {
    let (handle, run_loop, inputs) = prepare(carrier, run, inputs, options, watched).await?;
    Ok(handle.driven(run_loop, inputs))
}

/// The same of a run that nobody drives yet, with all its inputs.
///
/// # Errors
/// As [`go_on`].
pub(crate) async fn prepare(
    carrier: &Carrier,
    run: &str,
    inputs: Vec<Input>,
    options: &RunOptions,
    watched: bool,
) -> Result<(RunHandle, Box<RunLoop>, Vec<Input>), Error> {
    let stored = carrier.engine().store().load(run).await.map_err(store_error)?;
    prepare_loaded(carrier, run, stored, inputs, options, watched).await
}

/// The same of a run that was loaded just now.
///
/// # Errors
/// As [`go_on`].
pub(crate) async fn prepare_loaded(
    carrier: &Carrier,
    run: &str,
    stored: Stored,
    inputs: Vec<Input>,
    options: &RunOptions,
    watched: bool,
) -> Result<(RunHandle, Box<RunLoop>, Vec<Input>), Error> {
    let engine = carrier.engine();
    let now = engine.clock().now();
    let carrier = carrier.pinned_as(&stored.definition)?;
    let mut claimed = Claimed::new(engine, run, now).await.map_err(store_error)?;
    let epoch = claimed.epoch;
    let stored = run_of(engine, run, whole(engine, run, stored).await?).await?;
    let (handle, run_loop) =
        RunHandle::prepare(carrier, run.into(), Some((stored, epoch)), options, watched)?;
    claimed.is_driven = true;
    let mut all = vec![Input::Claim];
    all.extend(inputs);
    Ok((handle, run_loop, all))
}

/// Of nobody who drives it yet. Dropped before, it is let go of, so that others need not wait for its lease.
struct Claimed {
    engine: Engine,
    run: String,
    epoch: u64,
    is_driven: bool,
}

impl Claimed {
    /// The claim comes to its end also where nobody waits for it any more: it may have been stored.
    async fn new(engine: &Engine, run: &str, now: u64) -> Result<Self, StoreError> {
        if engine.durable().is_none() {
            // Nobody else has this store: the run is held by its epoch alone.
            let epoch = engine.store().claim(run, Lease { owner: "".into(), until: 0 }, now).await?;
            return Ok(Self { engine: engine.clone(), run: run.to_owned(), epoch, is_driven: false });
        }
        let (sender, receiver) = oneshot::channel();
        let (engine, run) = (engine.clone(), run.to_owned());
        engine.clone().runs().spawn(async move {
            let Some(durable) = engine.durable() else { return };
            let claimed = durable.claim(&run, now).await;
            let claimed = claimed.map(|epoch| Self { engine: engine.clone(), run, epoch, is_driven: false });
            drop(sender.send(claimed));
        });
        let gone = || StoreError::Broken("the claim was not waited for: its runtime was shut down".into());
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_driven
            && let Some(durable) = self.engine.durable()
            && let Ok(runtime) = Handle::try_current()
        {
            let released = durable.store.release(&self.run, self.epoch);
            self.engine.runs().spawn_on(async move { drop(released.await) }, &runtime);
        }
    }
}

/// With what was stored until the run was claimed.
async fn whole(engine: &Engine, run: &str, mut stored: Stored) -> Result<Stored, Error> {
    let Some(durable) = engine.durable() else {
        return engine.store().load(run).await.map_err(store_error);
    };
    let covered = stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
    loop {
        let next = stored.records.last().map_or(covered, |record| record.seq + 1);
        let records = durable.store.records(run, next, PAGE).await.map_err(store_error)?;
        let is_last = records.len() < PAGE;
        stored.records.extend(records);
        if is_last {
            return Ok(stored);
        }
    }
}

/// The run that was stored. A snapshot that is of no use is done without: the records are the truth.
///
/// # Errors
/// What is stored makes no run, or cannot be read.
pub(crate) async fn run_of(engine: &Engine, id: &str, stored: Stored) -> Result<Run, Error> {
    let broken = |refused: Refused| {
        Error::new(ErrorKind::StoreFailed, format!("the run `{id}`: {refused}")).retryable(false)
    };
    let refused = match (Run::load(id, &stored), &stored.snapshot) {
        (Ok(run), _) => return Ok(run),
        (Err(refused), None) => return Err(broken(refused)),
        (Err(refused), Some(_)) => refused,
    };
    let Some(durable) = engine.durable() else { return Err(broken(refused)) };
    tracing::warn!(run = id, %refused, "a snapshot is done without");
    let mut run = Run::new(id, stored.definition);
    loop {
        let records = durable.store.records(id, run.next_seq(), PAGE).await.map_err(store_error)?;
        for record in &records {
            run.apply(record).map_err(broken)?;
        }
        if records.len() < PAGE {
            return Ok(run);
        }
    }
}
