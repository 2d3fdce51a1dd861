//! Runs that nobody drives any more, driven on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::definition::Definition;
use ambidex_core::record::RecordKind;
use ambidex_core::store::RunQuery;
use ambidex_core::{Error, ErrorKind};
use futures_util::stream::{self, StreamExt};
use indexmap::IndexMap;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{OnWaiting, RunOptions};
use crate::carrier::Runnable;
use crate::engine::{Engine, store_error};
use crate::lease::Owner;
use crate::resume;

/// From one look at the store to the next, where nothing calls for one earlier.
const SWEEP: Duration = Duration::from_secs(10);
/// Runs under way above which none is taken.
const AT_ONCE: usize = 256;
/// Runs looked up and claimed beside each other: a store writes what is claimed together together.
const BESIDE: usize = 64;
/// Of a kind tidied at a time: whoever writes meanwhile does not wait for long.
const TIDIED: usize = 64;
/// From one time to the next, where there is little to tidy.
const TIDY: Duration = Duration::from_secs(1);

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
    /// There may be more than the last look took.
    more: bool,
}

impl Sweep {
    fn leave(&mut self, runs: Vec<String>, error: &Error, swept: &mut Swept) {
        // Somebody was faster, or the store is busy with something else.
        if error.is_retryable() {
            return;
        }
        for run in runs {
            self.left.insert(run.clone());
            swept.left.push((run, error.message().to_owned()));
        }
    }
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
        let (mut sweep, mut seen, mut tidy) = (Sweep::default(), 0, Instant::now());
        loop {
            let mut is_behind = false;
            if Instant::now() >= tidy {
                match self.tidy(TIDIED).await {
                    Ok(tidied) if tidied >= TIDIED as u64 => is_behind = true,
                    Ok(_) => tidy = Instant::now() + TIDY,
                    Err(error) => {
                        tidy = Instant::now() + TIDY;
                        tracing::warn!(%error, "the store cannot be tidied");
                    }
                }
            }
            let mut wait = SWEEP;
            match self.sweep(&mut sweep, &runnables).await {
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
            if is_behind || (sweep.more && self.room() > 0) {
                continue;
            }
            tokio::select! {
                () = durable.ended.notified(), if sweep.more => {}
                () = tokio::time::sleep(wait) => {}
                now = durable.store.answers_after(seen) => seen = now,
                () = durable.released.notified() => {}
            }
        }
    }

    /// Runs that may be taken now.
    fn room(&self) -> usize {
        AT_ONCE.saturating_sub(self.active_runs())
    }

    async fn sweep(&self, sweep: &mut Sweep, runnables: &Runnables) -> Result<Swept, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        sweep.more = false;
        let room = self.room();
        let limit = (room + sweep.left.len()).max(1);
        let found = durable.store.claimable(self.clock().now(), limit).await.map_err(store_error)?;
        let is_cut = found.runs.len() >= limit;
        let mut swept = Swept { next: found.next, ..Swept::default() };
        let mut ready = found.runs;
        ready.retain(|run| !sweep.left.contains(run));
        if room > 0 {
            let mut families = self.families(ready, sweep, &mut swept).await.into_iter();
            while swept.taken.len() < room {
                let some: Vec<_> = families.by_ref().take(room - swept.taken.len()).collect();
                if some.is_empty() {
                    break;
                }
                self.take_over_all(some, runnables, sweep, &mut swept).await;
            }
        }
        // Where none could be taken, it is in vain to look at the same again at once.
        sweep.more = is_cut && (room == 0 || !swept.taken.is_empty());
        Ok(swept)
    }

    /// Runs by the root whose driver drives them on, in their order: it is to be taken over once.
    async fn families(
        &self,
        runs: Vec<String>,
        sweep: &mut Sweep,
        swept: &mut Swept,
    ) -> IndexMap<String, Vec<String>> {
        let looked_up = runs.into_iter().map(|run| {
            let engine = self.clone();
            Box::pin(async move { (engine.root(&run).await, run) })
        });
        let mut looked_up = stream::iter(looked_up).buffered(BESIDE);
        let mut families: IndexMap<_, Vec<_>> = IndexMap::new();
        while let Some((root, run)) = looked_up.next().await {
            match root {
                Ok(root) => families.entry(root).or_default().push(run),
                Err(error) => sweep.leave(vec![run], &error, swept),
            }
        }
        families
    }

    async fn take_over_all(
        &self,
        families: Vec<(String, Vec<String>)>,
        runnables: &Runnables,
        sweep: &mut Sweep,
        swept: &mut Swept,
    ) {
        let taken = families.into_iter().map(|(root, runs)| {
            let (engine, runnables) = (self.clone(), runnables.clone());
            Box::pin(async move { (engine.take_over(&root, runs.contains(&root), &runnables).await, runs) })
        });
        let mut taken = stream::iter(taken).buffer_unordered(BESIDE);
        while let Some((taken, mut runs)) = taken.next().await {
            match taken {
                Ok(true) => swept.taken.push(runs.swap_remove(0)),
                Ok(false) => {}
                Err(error) => sweep.leave(runs, &error, swept),
            }
        }
    }

    /// False where somebody drives the run already. `is_ready`: the store has said that it is to be had.
    async fn take_over(&self, root: &str, is_ready: bool, runnables: &Runnables) -> Result<bool, Error> {
        let durable = self.durable().ok_or_else(no_store)?;
        if !is_ready && self.is_driven(root).await? {
            return Ok(false);
        }
        let stored = durable.store.load(root).await.map_err(store_error)?;
        let definition = &*stored.definition.definition;
        let runnable = (runnables.find)(definition).ok_or_else(|| {
            let kind = if definition.graph().is_some() { "graph" } else { "agent" };
            let text = format!("there is no {kind} `{}` here", definition.name());
            Error::new(ErrorKind::ConfigInvalid, text)
        })?;
        let options = RunOptions { on_waiting: OnWaiting::Rest, ..(runnables.options)() };
        let prepared =
            resume::prepare_loaded(&runnable.carrier(), root, stored, vec![], &options, false).await?;
        let (handle, run_loop, inputs) = prepared;
        handle.driven(run_loop, inputs).detach();
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
