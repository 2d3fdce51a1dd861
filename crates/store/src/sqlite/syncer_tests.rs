//! When what was written is synced, by a clock that is counted and not slept by, and what a sync that fails means.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::syncer::{State, SyncClock, Syncer};
use crate::rows::Reading;

const WITHIN: Duration = Duration::from_millis(50);

/// Time passes only where the thread waits for it.
#[derive(Clone, Default)]
struct Counted {
    now: Arc<AtomicU64>,
    syncs: Arc<Mutex<Vec<Duration>>>,
}

impl SyncClock for Counted {
    fn now(&self) -> Duration {
        Duration::from_micros(self.now.load(SeqCst))
    }

    fn wait<'a>(&self, _: &Condvar, state: MutexGuard<'a, State>, long: Duration) -> MutexGuard<'a, State> {
        self.now.fetch_add(long.as_micros() as u64, SeqCst);
        state
    }

    fn syncs(&self) {
        self.syncs.lock().unwrap().push(self.now());
    }
}

fn reading() -> Reading {
    Reading { place: "state.db".into() }
}

#[test]
fn a_sync_starts_at_most_50_ms_after_the_write() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    fs::write(folder.path().join("state.db-wal"), "frames").unwrap();
    let clock = Counted::default();
    let (syncer, thread) = Syncer::start_by(Box::new(clock.clone()), &path, reading(), WITHIN).unwrap();
    let mut writes = Vec::new();
    for n in 0..2_000 {
        // Some come together, some much later.
        if n % 7 == 0 {
            futures_util::FutureExt::now_or_never(syncer.flush());
        }
        writes.push(clock.now());
        syncer.written();
        if n % 3 == 0 {
            std::thread::yield_now();
        }
    }
    syncer.close();
    thread.join().unwrap();
    let syncs = clock.syncs.lock().unwrap();
    for write in &writes {
        // A sync that began at the very time of a write may have begun before it, and then another follows.
        let synced = syncs.iter().filter(|sync| *sync >= write).min().expect("it is synced");
        assert!(*synced - *write <= WITHIN, "written at {write:?}, synced at {synced:?}");
    }
    let last = syncs.last().unwrap();
    assert!(last >= writes.last().unwrap());
}

#[test]
fn after_a_sync_that_failed_nothing_is_promised_any_more() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let log = folder.path().join("state.db-wal");
    // What cannot be synced.
    symlink("/proc/self/status", &log).unwrap();
    let (syncer, thread) = Syncer::start(&path, reading(), WITHIN).unwrap();
    syncer.written();
    let failed = syncer.flush().blocking_recv().unwrap().unwrap_err();
    assert!(failed.to_string().contains("the disk failed to keep what was written"), "{failed}");
    assert!(failed.to_string().contains("start this process again"), "{failed}");
    assert!(!failed.is_retryable());
    // The disk is well again; what it lost it does not say.
    fs::remove_file(&log).unwrap();
    fs::write(&log, "frames").unwrap();
    syncer.written();
    assert_eq!(syncer.flush().blocking_recv().unwrap().unwrap_err(), failed);
    assert_eq!(syncer.failure(), Some(failed));
    syncer.close();
    thread.join().unwrap();
    assert!(syncer.flush().blocking_recv().is_err(), "nobody is there");
}
