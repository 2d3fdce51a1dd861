//! Runs that nobody drives any more, driven on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::definition::Definition;
use ambidex_core::record::RecordKind;
use ambidex_core::store::RunQuery;
use ambidex_core::{Error, ErrorKind};
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{OnWaiting, RunOptions};
use crate::carrier::Runnable;
use crate::engine::{Engine, store_error};
use crate::lease::Owner;
use crate::resume;

/// From one look at the store to the next, where nothing calls for one earlier.
const SWEEP: Duration = Duration::from_secs(10);
/// Runs taken at a time.
const PAGE: usize = 64;
/// Runs under way above which none is taken.
const AT_ONCE: usize = 256;

type Find = dyn Fn(&Definition) -> Option<Runnable> + Send + Sync;

/// What runs are carried out by, and with which options.
#[derive(Clone)]
struct Runnables {
    find: Arc<Find>,
    options: Arc<dyn Fn() -> RunOptions + Send + Sync>,
}

impl Runnables {
    fn new(find: impl Fn(&Definition) -> Option<Runnable> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find), options: Arc::new(RunOptions::default) }
    }
}

/// Drives on what is claimable, until it is dropped. Runs it has taken go on.
#[must_use = "recovery ends when this is dropped"]
pub struct Recovery {
    _task: AbortOnDropHandle<()>,
}

/// What one look at the store came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs that are driven on.
    pub taken: Vec<String>,
    /// Runs that cannot be driven on here, and why.
    pub left: Vec<(String, String)>,
    /// When the next becomes claimable by itself.
    pub next: Option<u64>,
}

/// Runs that could not be driven on here are not tried again: it would be in vain, and others stand behind them.
#[derive(Default)]
struct Sweep {
    left: HashSet<String>,
}

impl Engine {
    /// Takes over runs whose process is gone, whose question was answered, or whose time has come: now, each 10 s, and
    /// when an answer comes in. `runnables` finds the agent or the graph a run belongs to; runs of others are left
    /// alone. Needs a tokio runtime.
    ///
    /// # Errors
    /// The engine has no store that outlives it.
    pub fn recover(
        &self,
        runnables: impl Fn(&Definition) -> Option<Runnable> + Send + Sync + 'static,
    ) -> Result<Recovery, Error> {
        self.begin_recovery(Runnables::new(runnables))
    }

    /// Like [`Engine::recover`]; `options` are those of each run that is taken, such as its caller.
    ///
    /// # Errors
    /// As there.
    pub fn recover_with(
        &self,
        runnables: impl Fn(&Definition) -> Option<Runnable> + Send + Sync + 'static,
        options: impl Fn() -> RunOptions + Send + Sync + 'static,
    ) -> Result<Recovery, Error> {
        self.begin_recovery(Runnables { options: Arc::new(options), ..Runnables::new(runnables) })
    }

    fn begin_recovery(&self, runnables: Runnables) -> Result<Recovery, Error> {
        if self.durable().is_none() {
            return Err(no_store());
        }
        let engine = self.clone();
        let task = tokio::spawn(async move { engine.keep_sweeping(runnables).await });
        Ok(Recovery { _task: AbortOnDropHandle::new(task) })
    }

    /// One look of [`Engine::recover`].
    ///
    /// # Errors
    /// The store cannot be read, or there is none.
    pub async fn recover_once(
        &self,
        runnables: impl Fn(&Definition) -> Option<Runnable> + Send + Sync + 'static,
    ) -> Result<Swept, Error> {
        self.sweep(&mut Sweep::default(), &Runnables::new(runnables)).await
    }

    async fn keep_sweeping(&self, runnables: Runnables) {
        let Some(durable) = self.durable() else { return };
        let (mut sweep, mut seen) = (Sweep::default(), 0);
        loop {
            // In small portions: whoever writes meanwhile does not wait for long.
            if let Err(error) = self.tidy(PAGE).await {
                tracing::warn!(%error, "the store cannot be tidied");
            }
            let mut wait = SWEEP;
            match self.sweep(&mut sweep, &runnables).await {
                // There may be more.
                Ok(swept) if swept.taken.len() >= PAGE => continue,
                Ok(swept) => {
                    if let Some(next) = swept.next {
                        let left = Duration::from_millis(next.saturating_sub(self.clock().now()));
                        wait = wait.min(left.max(Duration::from_millis(100)));
                    }
                    for (run, why) in swept.left {
                        tracing::warn!(run, why, "the run cannot be driven on here");
                    }
                }
                Err(error) => tracing::warn!(%error, "the store cannot be swept"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                now = durable.store.answers_after(seen) => seen = now,
                () = durable.released.notified() => {}
            }
        }
    }

    async fn sweep(&self, sweep: &mut Sweep, runnables: &Runnables) -> Result<Swept, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        let room = PAGE.min(AT_ONCE.saturating_sub(self.active_runs()));
        let limit = room + sweep.left.len();
        let found = durable.store.claimable(self.clock().now(), limit.max(1)).await.map_err(store_error)?;
        let mut swept = Swept { next: found.next, ..Swept::default() };
        for run in found.runs {
            if swept.taken.len() >= room {
                break;
            }
            if sweep.left.contains(&run) {
                continue;
            }
            match self.take_over(&run, runnables).await {
                Ok(true) => swept.taken.push(run),
                Ok(false) => {}
                // Somebody was faster, or the store is busy with something else.
                Err(error) if error.is_retryable() => {}
                Err(error) => {
                    sweep.left.insert(run.clone());
                    swept.left.push((run, error.message().to_owned()));
                }
            }
        }
        Ok(swept)
    }

    /// False where somebody drives the run already.
    async fn take_over(&self, run: &str, runnables: &Runnables) -> Result<bool, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        let root = self.root(run).await?;
        if root != run && self.is_driven(&root).await? {
            return Ok(false);
        }
        let stored = durable.store.load(&root).await.map_err(store_error)?;
        let definition = &*stored.definition.definition;
        let runnable = (runnables.find)(definition).ok_or_else(|| {
            let kind = if definition.graph().is_some() { "graph" } else { "agent" };
            let text = format!("there is no {kind} `{}` here", definition.name());
            Error::new(ErrorKind::ConfigInvalid, text)
        })?;
        let options = RunOptions { on_waiting: OnWaiting::Rest, ..(runnables.options)() };
        let mut handle = resume::go_on(&runnable.carrier(), &root, vec![], &options, false).await?;
        handle.detach();
        Ok(true)
    }

    /// The run that this one is part of: its driver drives this one too.
    async fn root(&self, run: &str) -> Result<String, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        let mut root = run.to_owned();
        loop {
            let first = durable.store.records(&root, 0, 1).await.map_err(store_error)?;
            match first.into_iter().next().map(|record| record.kind) {
                Some(RecordKind::Accepted { parent: Some(parent), .. }) => root = parent,
                _ => return Ok(root),
            }
        }
    }

    async fn is_driven(&self, root: &str) -> Result<bool, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        let query = RunQuery { run: Some(root.to_owned()), ..RunQuery::default() };
        let page = durable.store.runs(query).await.map_err(store_error)?;
        let Some(row) = page.runs.into_iter().next() else {
            let text = format!("it is part of the run `{root}`, which is not there");
            return Err(Error::new(ErrorKind::StoreFailed, text).retryable(false));
        };
        if row.status.is_final() {
            let text = format!("it is part of the run `{root}`, which has ended");
            return Err(Error::new(ErrorKind::StoreFailed, text).retryable(false));
        }
        let held = row.lease.filter(|lease| lease.until > self.clock().now());
        Ok(held.is_some_and(|lease| Owner::parse(&lease.owner).is_none_or(|owner| !owner.is_gone())))
    }
}

fn no_store() -> Error {
    let text = "there is nothing to recover: the engine has no store that outlives its process";
    Error::new(ErrorKind::ConfigInvalid, text)
}
