//! One file of the store: opening it, its schema and its migrations.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::store::{FailureKind, StoreError};
use rusqlite::{Connection, OpenFlags};

use super::errors;
use crate::rows::{self, Reading};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Records,
    Events,
}

/// Where one is, and how it is opened.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) holds: Holds,
    /// SQLite's `synchronous`.
    pub(super) synchronous: &'static str,
    pub(super) busy_timeout: Duration,
    pub(super) reading: Reading,
}

/// `PRAGMA application_id`: "Ambx" and a letter less.
const APPLICATION: i64 = 0x416d_6278;

/// Each brings the schema on by one version. Never edited once released: added to.
const RECORDS: &[&str] = &["
CREATE TABLE definitions (no INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, text TEXT NOT NULL) STRICT;

CREATE TABLE runs (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  definition INTEGER NOT NULL,
  agent TEXT NOT NULL,
  thread TEXT,
  status TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  owner TEXT,
  lease INTEGER NOT NULL DEFAULT 0,
  due INTEGER,
  -- When it wants to be driven, were it not for the lease: 0 is always; null, never by itself.
  wake INTEGER,
  created INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_time ON runs (created, id);
CREATE INDEX runs_by_status ON runs (status, created, id);
CREATE INDEX runs_by_thread ON runs (thread, created, id) WHERE thread IS NOT NULL;
CREATE INDEX runs_ready ON runs (max(wake, lease)) WHERE wake IS NOT NULL;

-- Only ever appended to. A step writes to one page of it, and to no other while the run's standing is the same.
CREATE TABLE records (
  run INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  v INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (run INTEGER PRIMARY KEY, seq INTEGER NOT NULL, state BLOB NOT NULL) STRICT;

CREATE TABLE questions (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  run TEXT NOT NULL,
  due INTEGER,
  question TEXT NOT NULL,
  answer TEXT,
  -- Counts answers, so that what came since can be read.
  answered INTEGER,
  withdrawn INTEGER NOT NULL DEFAULT 0,
  taken INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX questions_by_run ON questions (run);
CREATE INDEX questions_open ON questions (no) WHERE answer IS NULL AND withdrawn = 0;
CREATE INDEX questions_answered ON questions (answered) WHERE answered IS NOT NULL;

CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('answers', 0);
", include_str!("threads.sql")];

const EVENTS: &[&str] = &["
CREATE TABLE logs (
  no INTEGER PRIMARY KEY,
  run TEXT NOT NULL UNIQUE,
  last INTEGER NOT NULL,
  epoch INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
  log INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  event TEXT NOT NULL,
  PRIMARY KEY (log, seq)
) STRICT, WITHOUT ROWID;
"];

impl Holds {
    fn migrations(self) -> &'static [&'static str] {
        match self {
            Self::Records => RECORDS,
            Self::Events => EVENTS,
        }
    }

    fn application(self) -> i64 {
        match self {
            Self::Records => APPLICATION,
            Self::Events => APPLICATION + 1,
        }
    }
}

/// `state.db` and `-bell` make `state.db-bell`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Database {
    pub(super) fn new(path: &Path, holds: Holds, synchronous: &'static str, busy: Duration) -> Self {
        let reading = Reading { place: Arc::from(path.display().to_string()) };
        Self { path: path.to_owned(), holds, synchronous, busy_timeout: busy, reading }
    }

    pub(super) fn failed(&self, error: &rusqlite::Error) -> StoreError {
        errors::of_sqlite(&self.reading, error)
    }

    /// For writing. Makes the file and brings its schema up to date where that is needed.
    pub(super) fn open(&self) -> Result<Connection, StoreError> {
        let io = |error: std::io::Error| errors::of_io(&self.reading, &error);
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        make_folder(folder).map_err(io)?;
        // One at a time makes a file, migrates it or changes its mode: SQLite itself would answer "busy" at once.
        let turn = options().open(beside(&self.path, "-bell")).map_err(io)?;
        turn.lock().map_err(io)?;
        let is_new = !self.path.exists();
        if is_new {
            // For its owner's eyes: it holds conversations. SQLite gives the files beside it the same mode.
            options().open(&self.path).map_err(io)?;
        }
        let connection = self.connect(self.holds, true)?;
        if is_new {
            // The names, too, must outlive a power cut.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        }
        Ok(connection)
    }

    /// For reading. Nothing while there is no file.
    pub(super) fn open_to_read(&self) -> Result<Option<Connection>, StoreError> {
        if !self.path.exists() {
            return Ok(None);
        }
        self.connect(self.holds, false).map(Some)
    }

    fn connect(&self, holds: Holds, writes: bool) -> Result<Connection, StoreError> {
        let failed = |error: rusqlite::Error| self.failed(&error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.busy_timeout(self.busy_timeout).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let version = self.version(&connection, holds)?;
        if !writes {
            connection.execute_batch("PRAGMA query_only = ON").map_err(failed)?;
            return Ok(connection);
        }
        let mode: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            let problem = format!("SQLite keeps it in the mode `{mode}` and not as a write-ahead log");
            let remedy = "Put it on a local disk: a network file system will not do".into();
            return Err(self.reading.failure(FailureKind::CannotOpen, problem, remedy));
        }
        // The schema is on disk before anything is stored, whatever the durability: so is the log file's name.
        connection
            .execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
                 PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864",
            )
            .map_err(failed)?;
        self.migrate(&connection, holds, version).map_err(failed)?;
        let synchronous = format!("PRAGMA synchronous = {}", self.synchronous);
        connection.execute_batch(&synchronous).map_err(failed)?;
        Ok(connection)
    }

    /// The version of the schema that is there.
    fn version(&self, connection: &Connection, holds: Holds) -> Result<usize, StoreError> {
        let read = |name: &str| -> rusqlite::Result<i64> {
            connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
        };
        let read = || -> rusqlite::Result<(i64, i64, i64)> {
            let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((read("application_id")?, read("user_version")?, tables))
        };
        let (application, version, tables) = read().map_err(|error| self.failed(&error))?;
        if tables > 0 && application != holds.application() {
            let problem = "this is a database of something else".into();
            let remedy = "Give the store a file of its own".into();
            return Err(self.reading.failure(FailureKind::Corrupt, problem, remedy));
        }
        let known = holds.migrations().len();
        match usize::try_from(version) {
            Ok(version) if version <= known => Ok(version),
            _ => {
                let problem = format!(
                    "a newer version of Ambidex wrote it: its schema has version {version}, this build knows up to \
                     {known}"
                );
                Err(self.reading.failure(FailureKind::Newer, problem, rows::newer()))
            }
        }
    }

    fn migrate(&self, connection: &Connection, holds: Holds, from: usize) -> rusqlite::Result<()> {
        let known = holds.migrations();
        if from == known.len() {
            return Ok(());
        }
        let transaction = connection.unchecked_transaction()?;
        for (migration, version) in known.iter().zip(1..).skip(from) {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", version)?;
        }
        transaction.pragma_update(None, "application_id", holds.application())?;
        transaction.commit()
    }
}

/// With those it is in. Their names, too, must outlive a power cut: each is on disk when the folder above it is synced.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}
