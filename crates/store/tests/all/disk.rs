//! Disks that are full, cannot be written to, or have lost what was on them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ambidex_core::store::{AnyStore, FailureKind, StoreError, StoreFailure};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::child;
use crate::support::*;

fn failure<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreFailure {
    match result.unwrap_err() {
        StoreError::Unavailable(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

async fn open(path: &Path) -> (SqliteStore, Arc<dyn AnyStore>) {
    let store = SqliteStore::open(path, SqliteOptions::default()).await.unwrap();
    (store.clone(), Arc::new(store))
}

fn mount(options: &str, folder: &Path) {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status();
    assert!(status.unwrap().success(), "cannot mount a disk of the test's own");
}

#[tokio::test]
async fn a_store_goes_on_when_a_full_disk_has_room_again() {
    let Some(folder) = child::folder() else {
        let folder = TempDir::new().unwrap();
        return child::passes(child::again_with_mounts(
            "disk::a_store_goes_on_when_a_full_disk_has_room_again",
            folder.path(),
        ));
    };
    mount("size=2m", &folder);
    for durability in [Durability::Sync, Durability::Batch, Durability::None] {
        let path = folder.join(format!("{durability}/state.db"));
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let store = SqliteStore::open(&path, options).await.unwrap();
        let any: Arc<dyn AnyStore> = Arc::new(store.clone());
        let mut driver = Driver::accept(&any, "a").await;
        let mut other = Driver::accept(&any, "b").await;
        let mut ballast = File::create(folder.join("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
        // What the log has room for already still goes in.
        let failed = loop {
            match driver.step().await {
                Ok(()) => assert!(driver.next < 5000, "the disk is never full"),
                failed => break failure(failed),
            }
        };
        assert_eq!(failed.kind, FailureKind::Full, "{failed}");
        assert_eq!(failed.place, path.display().to_string());
        assert!(
            failed.to_string().contains("the disk is full. Nothing of it was stored. Make room"),
            "{failed}"
        );
        assert_eq!(failure(other.step().await).kind, FailureKind::Full, "and again");
        assert_eq!(any.load("a").await.unwrap().records.len() as u64, driver.next, "reading goes on");
        drop(ballast);
        fs::remove_file(folder.join("ballast")).unwrap();
        driver.step().await.unwrap();
        other.step().await.unwrap();
        store.flush().await.unwrap();
        assert_eq!(any.load("a").await.unwrap().records.len() as u64, driver.next);
        assert_eq!(store.check().await.unwrap(), [""; 0]);
        drop((any, driver, other));
        store.close().await;
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_to_is_named() {
    let Some(folder) = child::folder() else {
        let folder = TempDir::new().unwrap();
        return child::passes(child::again_with_mounts(
            "disk::a_disk_that_cannot_be_written_to_is_named",
            folder.path(),
        ));
    };
    mount("size=2m", &folder);
    let path = folder.join("state.db");
    let (store, any) = open(&path).await;
    Driver::accept(&any, "a").await;
    drop(any);
    store.close().await;
    let remount = |how: &str| {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&folder).status();
        assert!(status.unwrap().success());
    };
    remount("ro");
    for path in [&path, &folder.join("other.db"), &folder.join("new/other.db")] {
        let failed = failure(SqliteStore::open(path, SqliteOptions::default()).await.map(drop));
        assert_eq!(failed.kind, FailureKind::ReadOnly, "{failed}");
        assert!(failed.to_string().starts_with(&format!("{}: it cannot be written to. ", path.display())));
        assert!(failed.kind.is_retryable());
    }
    remount("rw");
    let (store, any) = open(&path).await;
    assert_eq!(any.load("a").await.unwrap().records.len(), 1);
    drop(any);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_file_is_found_and_what_is_whole_still_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path).await;
    for n in 0..60 {
        let mut driver = Driver::accept(&any, &format!("r{n}")).await;
        for _ in 0..20 {
            driver.step().await.unwrap();
        }
    }
    assert_eq!(store.check().await.unwrap(), [""; 0]);
    drop(any);
    store.close().await;
    // Closed, everything is in the one file. Some pages of it are lost.
    assert!(!folder.path().join("state.db-wal").exists());
    let mut bytes = fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 40, "{pages}");
    for page in (pages - 20)..(pages - 14) {
        bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
    }
    fs::write(&path, bytes).unwrap();
    let (store, any) = open(&path).await;
    assert!(!store.check().await.unwrap().is_empty());
    let (mut whole, mut lost) = (0, 0);
    for n in 0..60 {
        match any.load(&format!("r{n}")).await {
            Ok(stored) => {
                assert_eq!(stored.records.len(), 41);
                whole += 1;
            }
            failed => {
                let failed = failure(failed);
                assert_eq!(failed.kind, FailureKind::Corrupt, "{failed}");
                assert!(failed.to_string().contains(&path.display().to_string()), "{failed}");
                assert!(!failed.kind.is_retryable());
                lost += 1;
            }
        }
    }
    assert!(whole > 30 && lost > 0, "{whole} whole, {lost} lost");
    Driver::accept(&any, "new").await.step().await.unwrap();
    drop(any);
    store.close().await;
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = TempDir::new().unwrap();
    let refused = async |path: &Path| {
        let failed = failure(SqliteStore::open(path, SqliteOptions::default()).await.map(drop));
        assert_eq!(failed.place, path.display().to_string());
        (failed.kind, failed.to_string())
    };
    let text = folder.path().join("text");
    fs::write(&text, "once upon a time ".repeat(1000)).unwrap();
    let (kind, said) = refused(&text).await;
    assert_eq!(kind, FailureKind::Corrupt);
    assert!(said.contains("this is no SQLite database"), "{said}");
    assert!(fs::read_to_string(&text).unwrap().starts_with("once upon"), "it is left alone");

    let foreign = folder.path().join("foreign.db");
    let raw = rusqlite::Connection::open(&foreign).unwrap();
    raw.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    let (kind, said) = refused(&foreign).await;
    assert_eq!(kind, FailureKind::Corrupt);
    assert!(said.contains("a database of something else. Give the store a file of its own"), "{said}");

    let (kind, said) = refused(folder.path()).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{said}");
    let (kind, said) = refused(&text.join("state.db")).await;
    assert_eq!(kind, FailureKind::CannotOpen, "{said}");
}

#[tokio::test]
async fn a_file_of_version_1_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(include_str!("versions/sqlite_1.sql")).unwrap();
    let (definition, record) = (pinned("writer"), first_record("old"));
    let sql = "INSERT INTO definitions (no, hash, text) VALUES (1, ?1, ?2)";
    raw.execute(sql, [&*definition.hash, &*definition.text]).unwrap();
    let sql = "INSERT INTO runs (no, id, definition, agent, thread, status, epoch, wake, created)
               VALUES (1, 'old', 1, 'writer', 'talk', 'running', 1, 0, 5)";
    raw.execute(sql, []).unwrap();
    raw.execute("INSERT INTO records VALUES (1, 0, 1, 1, 5, ?1)", [record]).unwrap();
    drop(raw);
    for _ in 0..2 {
        let (store, any) = open(&path).await;
        assert_eq!(store.check().await.unwrap(), [""; 0]);
        goes_on_as_new(&any).await;
        drop(any);
        store.close().await;
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    let (store, any) = open(&path).await;
    Driver::accept(&any, "a").await;
    drop(any);
    store.close().await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 7).unwrap();
    let failed = failure(SqliteStore::open(&path, SqliteOptions::default()).await.map(drop));
    assert_eq!(failed.kind, FailureKind::Newer);
    let expected = format!(
        "{}: a newer version of Ambidex wrote it: its schema has version 7, this build knows up to 2. Use the version \
         of Ambidex that wrote it or a later one, or another store",
        path.display()
    );
    assert_eq!(failed.to_string(), expected);
    raw.pragma_update(None, "user_version", 2).unwrap();
    drop(raw);
    // A record of a newer version is told apart from a damaged one.
    let (_, any) = open(&path).await;
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE records SET v = 2, kind = '{\"later\":1}'", []).unwrap();
    let failed = failure(any.load("a").await);
    assert_eq!(failed.kind, FailureKind::Newer);
    assert!(failed.problem.contains("record 0 of run `a` has version 2, and this build reads up to 1"));
    raw.execute("UPDATE records SET v = 1", []).unwrap();
    assert_eq!(failure(any.load("a").await).kind, FailureKind::Corrupt);
}
