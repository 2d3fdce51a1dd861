//! Sessions: named containers of threads and of state that users work with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::BoxFuture;
use crate::store::StoreError;
use crate::thread::Cursor;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    pub id: String,
    /// Any JSON.
    pub state: Value,
    /// Grows by one with each change of the state.
    pub version: u64,
    /// An object.
    pub metadata: Value,
    /// Wall time in milliseconds since 1970.
    pub created: u64,
    pub updated: u64,
    /// Milliseconds it is kept after its last change; for ever where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// What a session begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    pub id: String,
    pub state: Value,
    pub metadata: Value,
    pub ttl: Option<u64>,
}

impl NewSession {
    pub fn new(id: impl Into<String>) -> Self {
        let empty = || Value::Object(serde_json::Map::new());
        Self { id: id.into(), state: empty(), metadata: empty(), ttl: None }
    }
}

/// What is to be another; the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionChange {
    pub state: Option<Value>,
    pub metadata: Option<Value>,
    pub ttl: Option<Option<u64>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Cursor>,
}

/// Stored sessions. One whose time is over is not given any more. As everywhere, the time comes with the call.
pub trait Sessions: Send + Sync {
    /// # Errors
    /// `Exists`.
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session, StoreError>>;

    /// # Errors
    /// `UnknownSession`.
    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session, StoreError>>;

    /// Those that changed last come first, at most `limit` (1 to 1000).
    fn sessions(
        &self,
        limit: usize,
        cursor: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage, StoreError>>;

    /// Changes it where it has this version, if one is given.
    ///
    /// # Errors
    /// `VersionConflict`, `UnknownSession`.
    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>>;

    /// Its threads go with it.
    ///
    /// # Errors
    /// `ThreadHeld`: a run is at work on one of them. `UnknownSession`.
    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>>;
}

impl Session {
    /// When it is no longer given, in milliseconds since 1970.
    pub fn expires(&self) -> Option<u64> {
        self.ttl.map(|ttl| self.updated.saturating_add(ttl))
    }
}
