//! The doors of [`SqliteStore`] to threads and sessions.

use std::future::ready;
use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::message::Message;
use ambidex_core::session::{NewSession, Session, SessionChange, SessionPage, Sessions};
use ambidex_core::store::StoreError;
use ambidex_core::thread::{
    Cursor, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
    Threads, check, words,
};

use super::{SqliteStore, sessions, threads};
use crate::threads::{ChangeRow, MessageRow, NewSessionRow, NewThreadRow, SessionChangeRow, SignalRow};

/// What cannot be written is told without going there.
macro_rules! row {
    ($row:expr) => {
        match $row {
            Ok(row) => row,
            Err(error) => return Box::pin(ready(Err(error))),
        }
    };
}

impl Threads for SqliteStore {
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let (row, reading) = (row!(NewThreadRow::new(&new)), self.shared.reading.clone());
        self.shared.records.write(move |db| threads::create(db, &reading, &row, now), |_| ())
    }

    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let (id, missing) = (id.to_owned(), StoreError::UnknownThread(id.to_owned()));
        let look = move |db: &_, reading: &_| threads::thread(db, reading, &id, now).map(Ok);
        let found = self.shared.readers.read(move || Err(missing), look);
        Box::pin(async move { found.await? })
    }

    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage, StoreError>> {
        let look = move |db: &_, reading: &_| threads::threads(db, reading, &query, now);
        self.shared.readers.read(ThreadPage::default, look)
    }

    fn search_threads(
        &self,
        text: &str,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<Found>, StoreError>> {
        let words = words(text);
        let look = move |db: &_, reading: &_| threads::search(db, reading, &words, limit, now);
        self.shared.readers.read(Vec::new, look)
    }

    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>, StoreError>> {
        let (id, missing) = (id.to_owned(), StoreError::UnknownThread(id.to_owned()));
        let look = move |db: &_, reading: &_| threads::messages(db, reading, &id, from, limit, now).map(Ok);
        let found = self.shared.readers.read(move || Err(missing), look);
        Box::pin(async move { found.await? })
    }

    fn change_thread(
        &self,
        id: &str,
        change: ThreadChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let (row, id, reading) = (row!(ChangeRow::new(change)), id.to_owned(), self.shared.reading.clone());
        self.shared.records.write(move |db| threads::change(db, &reading, &id, &row, now), |_| ())
    }

    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        row!(check(&messages).map_err(StoreError::Malformed));
        let rows: Vec<_> = row!(messages.iter().map(|message| MessageRow::new(message)).collect());
        let (id, reading) = (id.to_owned(), self.shared.reading.clone());
        let append = move |db: &_| threads::append(db, &reading, &id, version, &rows, now);
        self.shared.records.write(append, |_| ())
    }

    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let id = id.to_owned();
        self.shared.records.write(move |db| threads::delete(db, &id), |()| ())
    }

    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line, StoreError>> {
        let (id, missing) = (id.to_owned(), StoreError::UnknownThread(id.to_owned()));
        let look = move |db: &_, _: &_| threads::line(db, &id).map(Ok);
        let found = self.shared.readers.read(move || Err(missing), look);
        Box::pin(async move { found.await? })
    }

    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64, StoreError>> {
        let row = row!(SignalRow::new(&signal));
        let (id, run) = (id.to_owned(), run.to_owned());
        let stir = self.stir();
        self.shared.records.write(move |db| threads::tell(db, &id, &run, &row), move |_| stir())
    }

    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>, StoreError>> {
        let run = run.to_owned();
        let look = move |db: &_, reading: &_| threads::signals(db, reading, &run, after);
        self.shared.readers.read(Vec::new, look)
    }

    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.shared.stirs.after(seen)
    }

    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.shared.records.write(move |db| threads::sweep(db, now, limit), |_| ())
    }
}

impl SqliteStore {
    /// Wakes those who wait for a change of lines or signals, here and in other processes.
    pub(super) fn stir(&self) -> impl FnOnce() + Send + 'static {
        let (stirs, bell) = (self.shared.stirs.clone(), self.shared.bell.clone());
        move || {
            stirs.stir();
            bell.ring();
        }
    }
}

impl Sessions for SqliteStore {
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let (row, reading) = (row!(NewSessionRow::new(&new)), self.shared.reading.clone());
        self.shared.records.write(move |db| sessions::create(db, &reading, &row, now), |_| ())
    }

    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let (id, missing) = (id.to_owned(), StoreError::UnknownSession(id.to_owned()));
        let look = move |db: &_, reading: &_| sessions::session(db, reading, &id, now).map(Ok);
        let found = self.shared.readers.read(move || Err(missing), look);
        Box::pin(async move { found.await? })
    }

    fn sessions(
        &self,
        limit: usize,
        cursor: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage, StoreError>> {
        let look = move |db: &_, reading: &_| sessions::sessions(db, reading, limit, cursor.as_ref(), now);
        self.shared.readers.read(SessionPage::default, look)
    }

    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>> {
        let (row, id) = (row!(SessionChangeRow::new(&change)), id.to_owned());
        let reading = self.shared.reading.clone();
        let change = move |db: &_| sessions::change(db, &reading, &id, version, &row, now);
        self.shared.records.write(change, |_| ())
    }

    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let id = id.to_owned();
        self.shared.records.write(move |db| sessions::delete(db, &id), |()| ())
    }
}
