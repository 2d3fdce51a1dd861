//! A store on disk of either kind, for those who only know where it is.

use std::path::PathBuf;
use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::store::{AnyStore, StoreError};

use crate::durability::Durability;
use crate::postgres::{PostgresOptions, PostgresStore};
use crate::sqlite::{SqliteOptions, SqliteStore};

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    Sqlite(PathBuf),
    /// The URL of a database, which may hold a password.
    Postgres(String),
}

/// An open store. Cheap to clone.
#[derive(Clone)]
pub enum OpenStore {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl OpenStore {
    /// Opens the store at this place; makes what is missing.
    ///
    /// # Errors
    /// `Unavailable`, with what to do about it.
    pub async fn open(place: &Place, durability: Durability) -> Result<Self, StoreError> {
        match place {
            Place::Sqlite(path) => {
                let options = SqliteOptions { durability, ..SqliteOptions::default() };
                SqliteStore::open(path, options).await.map(Self::Sqlite)
            }
            Place::Postgres(url) => {
                let options = PostgresOptions { durability, ..PostgresOptions::default() };
                PostgresStore::connect(url, options).await.map(Self::Postgres)
            }
        }
    }

    /// As an engine takes it.
    pub fn as_any(&self) -> Arc<dyn AnyStore> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What is wrong with what is stored, a sentence each. Takes as long as reading all of it.
    pub fn check(&self) -> BoxFuture<'static, Result<Vec<String>, StoreError>> {
        match self {
            Self::Sqlite(store) => store.check(),
            Self::Postgres(store) => store.check(),
        }
    }

    /// Writes what is queued and lets go of the place.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        match self {
            Self::Sqlite(store) => store.close(),
            Self::Postgres(store) => store.close(),
        }
    }

    pub fn durability(&self) -> Durability {
        match self {
            Self::Sqlite(store) => store.durability(),
            Self::Postgres(store) => store.durability(),
        }
    }
}
