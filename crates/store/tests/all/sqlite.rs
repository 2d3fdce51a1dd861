//! What SQLite promises on top: durabilities, and several processes on one file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::question::Answer;
use ambidex_core::store::{AnyStore, FailureKind, StoreError};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::child;
use crate::support::*;

async fn open(path: &Path, options: SqliteOptions) -> (SqliteStore, Arc<dyn AnyStore>) {
    let store = SqliteStore::open(path, options).await.unwrap();
    (store.clone(), Arc::new(store))
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> FailureKind {
    match result.unwrap_err() {
        StoreError::Unavailable(failure) => failure.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_durability_keeps_what_was_stored() {
    for durability in [Durability::Sync, Durability::Batch, Durability::None] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("state.db");
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let (store, any) = open(&path, options.clone()).await;
        let mut driver = Driver::accept(&any, "a").await;
        driver.step().await.unwrap();
        store.flush().await.unwrap();
        driver.step().await.unwrap();
        drop((any, driver));
        store.close().await;
        let (_, any) = open(&path, options).await;
        assert_eq!(any.load("a").await.unwrap().records.len(), 5);
    }
}

#[tokio::test]
async fn what_was_queued_is_written_when_the_store_is_dropped() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path, SqliteOptions::default()).await;
    for n in 0..50 {
        let driver = Driver { store: any.clone(), run: format!("r{n}"), epoch: 1, next: 0, at: 1 };
        // Nobody waits for it.
        drop(any.commit(&driver.run, 1, 0, driver.acceptance("writer", None)));
    }
    drop((store, any));
    let (store, any) = open(&path, SqliteOptions::default()).await;
    assert_eq!(any.claimable(0, 100).await.unwrap().runs.len(), 50);
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = TempDir::new().unwrap();
    let (store, any) = open(&folder.path().join("state.db"), SqliteOptions::default()).await;
    let mut driver = Driver::accept(&any, "a").await;
    store.close().await;
    store.close().await;
    assert_eq!(kind(driver.step().await), FailureKind::Closed);
    assert_eq!(kind(any.load("a").await), FailureKind::Closed);
    assert_eq!(kind(any.append_events("a", 1, vec![]).await), FailureKind::Closed);
}

#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("new");
    let (_, any) = open(&inner.join("state.db"), SqliteOptions::default()).await;
    Driver::accept(&any, "a").await;
    any.append_events("a", 1, vec![note("a", "1")]).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(&inner).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen} files");
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o077, 0);
}

#[tokio::test]
async fn many_may_make_the_file_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let stores = (0..8).map(|_| SqliteStore::open(&path, SqliteOptions::default()));
    for (n, store) in join_all(stores).await.into_iter().enumerate() {
        let any: Arc<dyn AnyStore> = Arc::new(store.unwrap());
        Driver::accept(&any, &format!("r{n}")).await;
    }
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_is_an_error_and_no_more() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let options = SqliteOptions { busy_timeout: Duration::from_millis(20), ..SqliteOptions::default() };
    let (_, any) = open(&path, options).await;
    let mut driver = Driver::accept(&any, "a").await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = driver.step().await;
    assert!(failed.as_ref().is_err_and(StoreError::is_retryable));
    assert_eq!(kind(failed), FailureKind::Busy);
    assert_eq!(any.load("a").await.unwrap().records.len(), 1, "reading needs no turn");
    raw.execute_batch("ROLLBACK").unwrap();
    driver.step().await.unwrap();
}

#[tokio::test]
async fn events_are_in_a_file_that_may_be_lost() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path, SqliteOptions::default()).await;
    Driver::accept(&any, "a").await;
    any.append_events("a", 1, vec![note("a", "1")]).await.unwrap();
    drop(any);
    store.close().await;
    std::fs::remove_file(folder.path().join("state.db-events")).unwrap();
    let (_, any) = open(&path, SqliteOptions::default()).await;
    assert_eq!(any.events("a", 0, 9).await.unwrap(), []);
    assert_eq!(any.load("a").await.unwrap().records.len(), 1);
    assert_eq!(any.append_events("a", 1, vec![note("a", "2")]).await, Ok(1));
}

#[tokio::test]
async fn a_check_finds_what_breaks_a_rule() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path, SqliteOptions::default()).await;
    let mut gap = Driver::accept(&any, "gap").await;
    gap.step().await.unwrap();
    Driver::accept(&any, "ended").await.finish().await;
    Driver::accept(&any, "lost").await;
    Driver::accept(&any, "empty").await;
    Driver::accept(&any, "stuck").await.stand(ambidex_core::event::Status::Waiting, Some(5)).await;
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "DELETE FROM records WHERE seq = 1 AND run = (SELECT no FROM runs WHERE id = 'gap');
         DELETE FROM records WHERE run = (SELECT no FROM runs WHERE id = 'empty');
         UPDATE runs SET status = 'running' WHERE id = 'ended';
         UPDATE runs SET definition = 99, epoch = 0 WHERE id = 'lost';
         UPDATE runs SET wake = NULL WHERE id = 'stuck';",
    )
    .unwrap();
    let wrong = store.check().await.unwrap();
    for (part, run) in [
        ("numbered up to 2", "gap"),
        ("has no records", "empty"),
        ("has ended, but is running", "ended"),
        ("definition", "lost"),
        ("above its own", "lost"),
        ("nothing can make it go on", "stuck"),
    ] {
        let found = wrong.iter().any(|text| text.contains(part) && text.contains(&format!("`{run}`")));
        assert!(found, "{part}: {wrong:?}");
    }
    assert_eq!(wrong.len(), 6, "{wrong:?}");
}

#[tokio::test]
async fn processes_on_one_file_hear_each_others_answers() {
    if let Some(folder) = child::folder() {
        let (_, any) = open(&folder.join("state.db"), SqliteOptions::default()).await;
        any.answer("a/ask:1", Answer::Approve).await.unwrap();
        // The other one answers when it has heard this one.
        assert_eq!(any.answered("a/ask:2").await, Answer::Repeat);
        return;
    }
    let folder = TempDir::new().unwrap();
    let (_, any) = open(&folder.path().join("state.db"), SqliteOptions::default()).await;
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1", "ask:2"]).await;
    let (answered, counted) = (any.answered("a/ask:1"), any.answers_after(0));
    let test = "sqlite::processes_on_one_file_hear_each_others_answers";
    let command = child::again(test, folder.path());
    let other = tokio::task::spawn_blocking(move || child::passes(command));
    assert_eq!(answered.await, Answer::Approve);
    assert!(counted.await > 0);
    any.answer("a/ask:2", Answer::Repeat).await.unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn processes_on_one_file_take_turns_and_lose_nothing() {
    const STEPS: u64 = 20;
    if let Some(folder) = child::folder() {
        let (_, any) = open(&folder.join("state.db"), SqliteOptions::default()).await;
        let process = std::process::id();
        let drives = (0..8).map(|n| {
            let any = any.clone();
            async move {
                let mut driver = Driver::accept(&any, &format!("{process}-{n}")).await;
                for _ in 0..STEPS {
                    driver.step().await.unwrap();
                }
            }
        });
        join_all(drives).await;
        // All of them want this one; whoever has it shuts the one before it out.
        let mut mine = Driver { store: any.clone(), run: "shared".into(), epoch: 0, next: 0, at: 1 };
        let mut written = 0;
        while written < 5 {
            mine.epoch = any.claim("shared", lease(&format!("{process}"), 0), 1).await.unwrap();
            mine.next = any.load("shared").await.unwrap().records.len() as u64;
            match mine.step().await {
                Ok(()) => written += 1,
                Err(StoreError::Fenced | StoreError::Conflict { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        return;
    }
    let folder = TempDir::new().unwrap();
    let (store, any) = open(&folder.path().join("state.db"), SqliteOptions::default()).await;
    Driver::accept(&any, "shared").await;
    let test = "sqlite::processes_on_one_file_take_turns_and_lose_nothing";
    let processes = (0..3).map(|_| {
        let command = child::again(test, folder.path());
        tokio::task::spawn_blocking(move || child::passes(command))
    });
    for process in join_all(processes).await {
        process.unwrap();
    }
    let runs = any.claimable(0, 100).await.unwrap().runs;
    assert_eq!(runs.len(), 25);
    for run in runs {
        let records = any.load(&run).await.unwrap().records;
        let expected = if run == "shared" { 1 + 2 * 15 } else { 1 + 2 * STEPS };
        assert_eq!(records.len() as u64, expected, "{run}");
        assert!(records.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch));
    }
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_was_not_rung_for_is_found_by_the_sweep() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (_, any) = open(&path, SqliteOptions::default()).await;
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1"]).await;
    let mut waiting = any.answered("a/ask:1");
    // As by a process that died before it could ring.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "BEGIN; UPDATE counters SET value = value + 1 WHERE name = 'answers';
         UPDATE questions SET answer = '{\"decision\":\"repeat\"}', answered = 1 WHERE id = 'a/ask:1';
         UPDATE runs SET wake = 0 WHERE id = 'a'; COMMIT",
    )
    .unwrap();
    any.load("a").await.unwrap();
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(any.claimable(9, 9).await.unwrap().runs, ["a"]);
    assert_eq!(waiting.await, Answer::Repeat);
}

#[tokio::test]
async fn one_that_breaks_the_transaction_does_not_break_those_in_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path, SqliteOptions::default()).await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(
        "CREATE TRIGGER spoilt BEFORE INSERT ON records WHEN NEW.kind LIKE '%2 of r%' AND NEW.run % 5 = 0
         BEGIN SELECT RAISE(ABORT, 'spoilt'); END",
    )
    .unwrap();
    drop(raw);
    one_in_five_fails(&any).await;
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_flush_beside_a_close_ends() {
    let folder = TempDir::new().unwrap();
    for n in 0..40 {
        let options = SqliteOptions { durability: Durability::Batch, ..SqliteOptions::default() };
        let (store, any) = open(&folder.path().join(format!("{n}.db")), options).await;
        drop(any);
        let again = store.clone();
        let flush = tokio::spawn(async move { again.flush().await });
        let both = async { (store.close().await, store.flush().await, flush.await.unwrap()) };
        let ended = tokio::time::timeout(Duration::from_secs(30), both).await;
        let (_, late, flushed) = ended.expect("nobody ends the flush");
        assert_eq!(kind(late), FailureKind::Closed);
        // It came first, or too late.
        if flushed.is_err() {
            assert_eq!(kind(flushed), FailureKind::Closed);
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_system_without_watches_to_give_has_a_store_all_the_same() {
    let Some(folder) = child::folder() else {
        let folder = TempDir::new().unwrap();
        return child::passes(child::again_with_mounts(
            "sqlite::a_system_without_watches_to_give_has_a_store_all_the_same",
            folder.path(),
        ));
    };
    std::fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    let (store, any) = open(&folder.join("state.db"), SqliteOptions::default()).await;
    let mut driver = Driver::accept(&any, "a").await;
    driver.ask(&["ask:1"]).await;
    let waiting = any.answered("a/ask:1");
    let (other, answers) = open(&folder.join("state.db"), SqliteOptions::default()).await;
    answers.answer("a/ask:1", Answer::Approve).await.unwrap();
    // The next sweep finds it.
    any.claimable(1, 1).await.unwrap();
    assert_eq!(waiting.await, Answer::Approve);
    drop((any, answers, driver));
    store.close().await;
    other.close().await;
}
