//! Stores around another store: what they do not change.

use std::sync::Arc;

use crate::BoxFuture;
use crate::message::Message;
use crate::session::{NewSession, Session, SessionChange, SessionPage, Sessions};
use crate::store::{AnyStore, StoreError};
use crate::thread::{
    Cursor, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
    Threads,
};

type Result<T> = std::result::Result<T, StoreError>;

/// A store around another whose threads and sessions are those of the inner one.
pub trait Around: Send + Sync {
    fn inner(&self) -> &dyn AnyStore;
}

impl<S: Around> Threads for S {
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread>> {
        self.inner().create_thread(new, now)
    }

    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread>> {
        self.inner().thread(id, now)
    }

    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage>> {
        self.inner().threads(query, now)
    }

    fn search_threads(&self, text: &str, limit: usize, now: u64) -> BoxFuture<'static, Result<Vec<Found>>> {
        self.inner().search_threads(text, limit, now)
    }

    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>>> {
        self.inner().messages(id, from, limit, now)
    }

    fn change_thread(&self, id: &str, change: ThreadChange, now: u64) -> BoxFuture<'static, Result<Thread>> {
        self.inner().change_thread(id, change, now)
    }

    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread>> {
        self.inner().append_messages(id, version, messages, now)
    }

    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<()>> {
        self.inner().delete_thread(id)
    }

    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line>> {
        self.inner().line(id)
    }

    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64>> {
        self.inner().tell(id, run, signal)
    }

    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>>> {
        self.inner().signals(run, after)
    }

    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.inner().stirred(seen)
    }

    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64>> {
        self.inner().sweep(now, limit)
    }
}

impl<S: Around> Sessions for S {
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session>> {
        self.inner().create_session(new, now)
    }

    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session>> {
        self.inner().session(id, now)
    }

    fn sessions(
        &self,
        limit: usize,
        cursor: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage>> {
        self.inner().sessions(limit, cursor, now)
    }

    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session>> {
        self.inner().change_session(id, version, change, now)
    }

    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<()>> {
        self.inner().delete_session(id)
    }
}
