//! The seam to threads for work that blocks.
//!
//! A driver reserves a thread before it records that a call starts, so a call that still waits for one
//! never comes back in doubt, and hands it down in the [`Context`](crate::Context).

use std::any::Any;

use crate::BoxFuture;
use crate::error::Error;

/// A piece of work that blocks.
pub type BlockingJob = Box<dyn FnOnce() + Send>;

/// A bounded number of threads.
pub trait BlockingThreads: Send + Sync {
    /// Waits for a free thread, first come, first served. Dropping the future gives up the place in the
    /// queue.
    fn reserve(&self) -> BoxFuture<'static, Result<Box<dyn BlockingThread>, Error>>;
}

/// A thread kept for one job. Dropped unused, it is free again.
pub trait BlockingThread: Send {
    /// Keeps something until the job has ended, also when nobody waits for it any more.
    fn keep(&mut self, kept: Box<dyn Any + Send>);

    /// Starts the job; ready when it has ended. Dropping the future does not end the job: the thread
    /// stays taken until the job returns.
    ///
    /// # Errors
    /// The thread could not be started, or the job panicked.
    fn run(self: Box<Self>, job: BlockingJob) -> BoxFuture<'static, Result<(), Error>>;

    /// The same for a job that ends at once, and only says what whoever drives the thread does next. The thread may
    /// be one that does others of this kind first, as long as they do not take long.
    ///
    /// # Errors
    /// Those of `run`.
    fn leave(self: Box<Self>, job: BlockingJob) -> BoxFuture<'static, Result<(), Error>> {
        self.run(job)
    }
}
