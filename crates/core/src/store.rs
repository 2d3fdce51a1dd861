//! The store seam. Everything of one step goes in as one batch: all or nothing.

use crate::BoxFuture;
use crate::definition::Pinned;
use crate::question::Question;
use crate::record::Record;

/// What one step writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Given with the first batch of a run.
    pub definition: Option<Pinned>,
    pub records: Vec<Record>,
    pub asked: Vec<Question>,
    /// Ids of questions whose effect closed without needing the answer.
    pub withdrawn: Vec<String>,
}

/// A run as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    pub definition: Pinned,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A newer epoch owns the run. The driver that reads this must stop at once.
    #[error("another process owns the run now")]
    Fenced,
    #[error("the run has {found} records where {expected} were expected; load it again")]
    Conflict { expected: u64, found: u64 },
    #[error("there is no run `{0}`")]
    UnknownRun(String),
    #[error("the store failed: {0}")]
    Broken(String),
}

/// Keeps runs. The first batch of a run (expected record 0, epoch 1) creates it.
pub trait Store: Send + Sync {
    /// Makes the caller the owner of a stored run under a new epoch, and returns the epoch.
    fn claim(&self, run: &str) -> BoxFuture<'static, Result<u64, StoreError>>;

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>>;

    /// Compare and set: refused unless the epoch is the owner's and `expected` the next record's number.
    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}
