//! Where the runs of one round are kept.

use std::path::PathBuf;
use std::sync::Arc;

use ambidex_core::store::{AnyStore, StoreError};
use ambidex_store::{Durability, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use serde::{Deserialize, Serialize};

/// A store, as it is told to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Sqlite { path: PathBuf },
    Postgres { url: String, schema: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}

/// One of the two, open.
#[derive(Clone)]
pub enum Opened {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Place {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sqlite { .. } => Kind::Sqlite,
            Self::Postgres { .. } => Kind::Postgres,
        }
    }

    /// At durability `sync`.
    pub async fn open(&self) -> Result<Opened, StoreError> {
        self.open_at(Durability::Sync).await
    }

    pub async fn open_at(&self, durability: Durability) -> Result<Opened, StoreError> {
        match self {
            Self::Sqlite { path } => {
                let options = SqliteOptions { durability, ..SqliteOptions::default() };
                SqliteStore::open(path, options).await.map(Opened::Sqlite)
            }
            Self::Postgres { url, schema } => {
                let options =
                    PostgresOptions { durability, schema: schema.clone(), ..PostgresOptions::default() };
                PostgresStore::connect(url, options).await.map(Opened::Postgres)
            }
        }
    }
}

impl Opened {
    pub fn any(&self) -> Arc<dyn AnyStore> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What `ambidex doctor` looks for.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Sqlite(store) => store.check().await,
            Self::Postgres(store) => store.check().await,
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}
