//! Stores on disk: SQLite in a file, and Postgres. Both have the semantics of
//! [`MemoryStore`](ambidex_core::memory::MemoryStore), and one suite of tests runs over all three.
//!
//! ```no_run
//! # async fn example() -> Result<(), ambidex_core::store::StoreError> {
//! use ambidex_store::{Durability, SqliteOptions, SqliteStore};
//!
//! let options = SqliteOptions { durability: Durability::Sync, ..SqliteOptions::default() };
//! let store = SqliteStore::open(".ambidex/state.db", options).await?;
//! # store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A store has threads of its own and needs no runtime of the caller's: its futures can be awaited anywhere.

mod answers;
mod durability;
mod listing;
mod opened;
mod postgres;
mod queue;
mod rows;
mod sqlite;
mod threads;

pub use durability::Durability;
pub use opened::{OpenStore, Place};
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::{SqliteOptions, SqliteStore};
