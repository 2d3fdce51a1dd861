//! What SQLite and the disk say, in words that help.

use std::io;

use ambidex_core::store::{FailureKind, StoreError};
use rusqlite::ErrorCode;

use crate::rows::{Reading, damaged};

/// Whether an error is about the file or the disk, and not about one statement.
pub(super) fn is_of_the_place(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::PermissionDenied
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NotADatabase
        )
    )
}

pub(super) fn of_sqlite(reading: &Reading, error: &rusqlite::Error) -> StoreError {
    let (kind, problem, remedy) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => full(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => read_only(),
        Some(ErrorCode::CannotOpen) => cannot_open(error.to_string()),
        Some(ErrorCode::DatabaseCorrupt) => {
            (FailureKind::Corrupt, format!("the file is damaged ({error})"), damaged())
        }
        Some(ErrorCode::NotADatabase) => {
            let remedy = "Give the store a file of its own, or restore a backup";
            (FailureKind::Corrupt, "this is no SQLite database".into(), remedy.into())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            let problem = format!("another process kept it locked for too long ({error})");
            (FailureKind::Busy, problem, "Look for what else has it open; trying again may help".into())
        }
        Some(ErrorCode::SystemIoFailure) => disk(error.to_string()),
        _ => {
            let remedy = "Nothing of it was stored. The same again would fail again";
            (FailureKind::Other, error.to_string(), remedy.into())
        }
    };
    reading.failure(kind, problem, remedy)
}

pub(super) fn of_io(reading: &Reading, error: &io::Error) -> StoreError {
    let (kind, problem, remedy) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => read_only(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            cannot_open(error.to_string())
        }
        _ => disk(error.to_string()),
    };
    reading.failure(kind, problem, remedy)
}

/// A sync failed: what was written before is there or not, and nothing says which.
pub(super) fn of_sync(reading: &Reading, error: &io::Error) -> StoreError {
    let problem = format!("the disk failed to keep what was written ({error})");
    let remedy = "The last moments may be lost, and nothing more is taken. Look at the disk and the system's log, then \
                  start this process again: it goes on from what is there";
    reading.failure(FailureKind::Other, problem, remedy.into())
}

fn full() -> (FailureKind, String, String) {
    let remedy = "Nothing of it was stored. Make room; the store goes on by itself then";
    (FailureKind::Full, "the disk is full".into(), remedy.into())
}

fn read_only() -> (FailureKind, String, String) {
    let remedy = "Nothing of it was stored. Mount the disk for writing, or let this user write to the file and its folder";
    (FailureKind::ReadOnly, "it cannot be written to".into(), remedy.into())
}

fn cannot_open(why: String) -> (FailureKind, String, String) {
    let remedy = "See that the folder is there and this user may read and write in it";
    (FailureKind::CannotOpen, format!("it cannot be opened ({why})"), remedy.into())
}

fn disk(why: String) -> (FailureKind, String, String) {
    let remedy = "Look at the disk and the system's log; the store tries again with the next step";
    (FailureKind::CannotOpen, format!("the disk failed ({why})"), remedy.into())
}
