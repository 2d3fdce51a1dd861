//! Sessions of the store in memory.

use std::cmp::Reverse;
use std::future::ready;

use super::MemoryStore;
use super::threads::Conversations;
use crate::BoxFuture;
use crate::session::{NewSession, Session, SessionChange, SessionPage, Sessions};
use crate::store::StoreError;
use crate::thread::Cursor;

impl Conversations {
    fn session(&mut self, id: &str, now: u64) -> Result<&mut Session, StoreError> {
        let session = self.sessions.get_mut(id).filter(|session| !is_over(session, now));
        session.ok_or_else(|| StoreError::UnknownSession(id.to_owned()))
    }

    pub(super) fn sweep_sessions(&mut self, now: u64, limit: usize) -> usize {
        let over = self.sessions.values().filter(|session| is_over(session, now));
        let over: Vec<String> = over.map(|session| session.id.clone()).take(limit).collect();
        over.iter().filter(|id| self.forget_session(id).is_ok()).count()
    }

    fn forget_session(&mut self, id: &str) -> Result<(), StoreError> {
        for thread in self.of_session(id)? {
            self.forget(&thread);
        }
        self.sessions.remove(id);
        Ok(())
    }
}

fn is_over(session: &Session, now: u64) -> bool {
    session.expires().is_some_and(|at| at <= now)
}

fn cursor(session: &Session) -> Cursor {
    Cursor { updated: session.updated, id: session.id.clone() }
}

impl MemoryStore {
    fn make_session(&self, new: NewSession, now: u64) -> Result<Session, StoreError> {
        let mut tables = self.tables();
        let conversations = &mut tables.conversations;
        if conversations.session(&new.id, now).is_ok() {
            return Err(StoreError::Exists(new.id));
        }
        let NewSession { id, state, metadata, ttl } = new;
        let session = Session { id, state, version: 1, metadata, created: now, updated: now, ttl };
        conversations.sessions.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    fn other_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> Result<Session, StoreError> {
        let mut tables = self.tables();
        let session = tables.conversations.session(id, now)?;
        if let Some(expected) = version.filter(|expected| *expected != session.version) {
            return Err(StoreError::VersionConflict { expected, found: session.version });
        }
        if let Some(state) = change.state {
            session.state = state;
            session.version += 1;
        }
        session.metadata = change.metadata.unwrap_or(session.metadata.take());
        session.ttl = change.ttl.unwrap_or(session.ttl);
        session.updated = now;
        Ok(session.clone())
    }
}

impl Sessions for MemoryStore {
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        Box::pin(ready(self.make_session(new, now)))
    }

    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let session = self.tables().conversations.session(id, now).cloned();
        Box::pin(ready(session))
    }

    fn sessions(
        &self,
        limit: usize,
        cursor_: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage, StoreError>> {
        let tables = self.tables();
        let sessions = tables.conversations.sessions.values().filter(|session| !is_over(session, now));
        let sessions = sessions.filter(|it| cursor_.as_ref().is_none_or(|last| cursor(it) < *last));
        let mut sessions: Vec<Session> = sessions.cloned().collect();
        sessions.sort_by_cached_key(|session| Reverse(cursor(session)));
        let limit = limit.clamp(1, 1000);
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| more).map(cursor);
        Box::pin(ready(Ok(SessionPage { sessions, next })))
    }

    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>> {
        Box::pin(ready(self.other_session(id, version, change, now)))
    }

    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut tables = self.tables();
        let deleted = match tables.conversations.sessions.contains_key(id) {
            true => tables.conversations.forget_session(id),
            false => Err(StoreError::UnknownSession(id.to_owned())),
        };
        Box::pin(ready(deleted))
    }
}
