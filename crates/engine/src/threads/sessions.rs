//! The door to sessions.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::session::{NewSession, Session, SessionChange, SessionPage};
use ambidex_core::store::AnyStore;
use ambidex_core::thread::Cursor;
use ambidex_core::{Error, ErrorKind};
use serde_json::Value;

use crate::agent::unique;
use crate::engine::{Engine, store_error};

/// The sessions of an engine's store: named containers of threads and of state. Cheap to clone. Threads of a session
/// are listed by [`Threads::list`](super::Threads::list).
#[derive(Clone)]
pub struct Sessions {
    engine: Engine,
}

impl Sessions {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn store(&self) -> Result<(&Arc<dyn AnyStore>, u64), Error> {
        Ok((&self.engine.keeps_conversations()?.store, self.engine.clock().now()))
    }

    /// With this id, or a new one; kept for `ttl` after its last change, or for ever.
    ///
    /// # Errors
    /// `conflict`: there is one of this id.
    pub async fn create(
        &self,
        id: Option<String>,
        state: Value,
        ttl: Option<Duration>,
    ) -> Result<Session, Error> {
        let (store, now) = self.store()?;
        let id = id.unwrap_or_else(|| format!("session_{}", unique()));
        let ttl = ttl.map(crate::clock::millis);
        store.create_session(NewSession { state, ttl, ..NewSession::new(id) }, now).await.map_err(store_error)
    }

    /// # Errors
    /// `not_found`.
    pub async fn load(&self, id: &str) -> Result<Session, Error> {
        let (store, now) = self.store()?;
        store.session(id, now).await.map_err(store_error)
    }

    /// Those that changed last come first, a page at a time.
    pub async fn list(&self, limit: usize, cursor: Option<Cursor>) -> Result<SessionPage, Error> {
        let (store, now) = self.store()?;
        store.sessions(limit, cursor, now).await.map_err(store_error)
    }

    /// Gives it another state, where it still has the version that the caller knows, if one is given.
    ///
    /// # Errors
    /// `conflict`: somebody else was faster; load it again. `not_found`.
    pub async fn save(&self, id: &str, version: Option<u64>, state: Value) -> Result<Session, Error> {
        self.change(id, version, SessionChange { state: Some(state), ..SessionChange::default() }).await
    }

    /// What is to be another; the rest stays.
    ///
    /// # Errors
    /// As of [`save`](Self::save).
    pub async fn change(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
    ) -> Result<Session, Error> {
        if change.metadata.as_ref().is_some_and(|metadata| !metadata.is_object()) {
            return Err(Error::new(ErrorKind::InvalidRequest, "the metadata of a session are an object"));
        }
        let (store, now) = self.store()?;
        store.change_session(id, version, change, now).await.map_err(store_error)
    }

    /// Forgets it with its threads.
    ///
    /// # Errors
    /// `busy`: a run has one of them. `not_found`.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let (store, _) = self.store()?;
        store.delete_session(id).await.map_err(store_error)
    }
}
