//! Durability `batch`: the thread that syncs what was written a moment ago.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ambidex_core::store::StoreError;
use tokio::sync::oneshot;

use super::errors;
use super::file::beside;
use crate::rows::Reading;

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    clock: Box<dyn SyncClock>,
}

/// The time that writes wait for their sync by.
pub(super) trait SyncClock: Send + Sync {
    fn now(&self) -> Duration;

    /// Waits until something has changed, or so long.
    fn wait<'a>(
        &self,
        changed: &Condvar,
        state: MutexGuard<'a, State>,
        long: Duration,
    ) -> MutexGuard<'a, State>;

    /// A sync begins.
    fn syncs(&self) {}
}

struct SystemClock(Instant);

impl SyncClock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait<'a>(
        &self,
        changed: &Condvar,
        state: MutexGuard<'a, State>,
        long: Duration,
    ) -> MutexGuard<'a, State> {
        changed.wait_timeout(state, long).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[derive(Default)]
pub(super) struct State {
    /// When the oldest commit was written that is not synced yet.
    unsynced: Option<Duration>,
    /// They want it now.
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Why a sync failed. There is no other after it.
    failure: Option<StoreError>,
    closed: bool,
    /// Nobody syncs any more.
    ended: bool,
}

impl Syncer {
    pub(super) fn start(
        database: &Path,
        reading: Reading,
        within: Duration,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        Self::start_by(Box::new(SystemClock(Instant::now())), database, reading, within)
    }

    pub(super) fn start_by(
        clock: Box<dyn SyncClock>,
        database: &Path,
        reading: Reading,
        within: Duration,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), clock });
        let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty());
        let work = Work {
            shared: shared.clone(),
            log: beside(database, "-wal"),
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            reading: reading.clone(),
            // The other half is for a machine that has much to do.
            wait: within / 2,
            named: None,
        };
        let thread = std::thread::Builder::new().name("ambidex-sync".into()).spawn(|| work.run());
        let thread = thread.map_err(|error| errors::of_io(&reading, &error))?;
        Ok((Self { shared }, thread))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit was written just now.
    pub(super) fn written(&self) {
        let mut state = self.state();
        if state.unsynced.is_none() {
            state.unsynced = Some(self.shared.clock.now());
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// Why a sync failed. Nothing more is taken: what it was for may be gone from the system's memory without being on
    /// the disk, a later sync would say nothing of that, and what is written behind a gap in the log is lost with it.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.state().failure.clone()
    }

    /// Syncs now what was written before.
    pub(super) fn flush(&self) -> oneshot::Receiver<Result<(), StoreError>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if !state.ended {
            state.waiting.push(sender);
        }
        drop(state);
        self.shared.changed.notify_all();
        receiver
    }

    /// Syncs what is left, and ends.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.shared.changed.notify_all();
    }
}

struct Work {
    shared: Arc<Shared>,
    log: PathBuf,
    folder: PathBuf,
    reading: Reading,
    /// From the first write on, for more to be synced with it.
    wait: Duration,
    /// The log whose name is on disk.
    named: Option<u64>,
}

impl Work {
    fn run(mut self) {
        while let Some((since, waiting)) = self.next() {
            let failed = self.state().failure.clone();
            let synced = match failed {
                Some(failure) => Err(failure),
                None => self.sync().map_err(|error| errors::of_sync(&self.reading, &error)),
            };
            let closed = {
                let mut state = self.state();
                state.failure = synced.clone().err();
                state.closed
            };
            for sender in waiting {
                drop(sender.send(synced.clone()));
            }
            if closed && (synced.is_err() || since.is_none()) {
                break;
            }
        }
        // Who comes now is told that the store was closed, by nobody being there.
        let mut state = self.state();
        state.ended = true;
        state.waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to sync, and it is time.
    #[expect(clippy::type_complexity, reason = "what is due, and who waits for it")]
    fn next(&self) -> Option<(Option<Duration>, Vec<oneshot::Sender<Result<(), StoreError>>>)> {
        let mut state = self.state();
        loop {
            let now = state.closed || !state.waiting.is_empty();
            match state.unsynced {
                Some(since) => {
                    let left = (since + self.wait).saturating_sub(self.shared.clock.now());
                    if now || left.is_zero() {
                        break;
                    }
                    state = self.shared.clock.wait(&self.shared.changed, state, left);
                }
                None if state.closed => return None,
                None if now => break,
                None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        Some((state.unsynced.take(), std::mem::take(&mut state.waiting)))
    }

    /// The log holds every commit that is not in the file yet. SQLite syncs it itself before it moves commits
    /// there, and the file after that.
    fn sync(&mut self) -> std::io::Result<()> {
        self.shared.clock.syncs();
        let log = match File::open(&self.log) {
            Ok(log) => log,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        log.sync_data()?;
        let number = Some(log.metadata()?.ino());
        if self.named != number {
            File::open(&self.folder)?.sync_all()?;
            self.named = number;
        }
        Ok(())
    }
}
