//! The thread that writes. What has queued up while it was busy becomes one transaction, so that all of it costs
//! one sync.

use std::sync::Arc;
use std::thread::JoinHandle;

use ambidex_core::BoxFuture;
use ambidex_core::store::{FailureKind, StoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::errors;
use super::file::Database;
use super::syncer::Syncer;
use crate::queue::Queue;
use crate::rows::Reading;

/// Operations in one transaction.
const GROUP: usize = 1024;

/// What SQLite says outside, what the store says inside.
pub(super) type Done<T, E = StoreError> = rusqlite::Result<Result<T, E>>;

/// One operation of a group. It checks before it writes, so one that is refused leaves nothing behind. It may be
/// run again: when another of its group breaks the transaction.
trait Operation: Send {
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;

    /// The group is stored, or it is not.
    fn end(self: Box<Self>, group: Result<(), StoreError>);
}

struct Write<T, E, F, D> {
    run: F,
    outcome: Option<Result<T, E>>,
    sender: oneshot::Sender<Result<T, E>>,
    done: D,
}

impl<T, E, F, D> Operation for Write<T, E, F, D>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnMut(&Connection) -> Done<T, E> + Send,
    D: FnOnce(&T) + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = None;
        self.outcome = Some((self.run)(connection)?);
        Ok(())
    }

    fn end(self: Box<Self>, group: Result<(), StoreError>) {
        let outcome = match (group, self.outcome) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::Broken("the operation was not run".into()).into()),
        };
        if let Ok(value) = &outcome {
            (self.done)(value);
        }
        // Nobody may wait for it any more; it is stored all the same.
        drop(self.sender.send(outcome));
    }
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Writer {
    queue: Arc<Queue<Box<dyn Operation>>>,
    reading: Reading,
}

impl Writer {
    /// Starts the thread, with the connection where it is open already.
    pub(super) fn start(
        database: Database,
        connection: Option<Connection>,
        syncer: Option<Syncer>,
        name: &str,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let queue = Arc::new(Queue::new());
        let reading = database.reading.clone();
        let work = Work { queue: queue.clone(), database, connection, syncer };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(|| work.run());
        let thread = thread.map_err(|error| errors::of_io(&reading, &error))?;
        Ok((Self { queue, reading }, thread))
    }

    /// Queues an operation, at once. `done` is called on the thread, after the commit and before anybody hears of
    /// it, also where nobody waits any more.
    pub(super) fn write<T, E>(
        &self,
        run: impl FnMut(&Connection) -> Done<T, E> + Send + 'static,
        done: impl FnOnce(&T) + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let closed = closed(&self.reading);
        if let Err(refused) = self.queue.push(Box::new(Write { run, outcome: None, sender, done })) {
            refused.end(Err(closed.clone()));
        }
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(closed.into())) })
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }
}

pub(super) fn closed(reading: &Reading) -> StoreError {
    reading.failure(FailureKind::Closed, "the store was closed".into(), "Open it again".into())
}

struct Work {
    queue: Arc<Queue<Box<dyn Operation>>>,
    database: Database,
    /// None after a failure, until the next group: what it held may be part of the trouble.
    connection: Option<Connection>,
    syncer: Option<Syncer>,
}

/// Why a group was not stored.
enum Trouble {
    /// One operation cannot be done; the others can.
    Operation(usize, StoreError),
    Place(StoreError),
}

impl Work {
    fn run(mut self) {
        while let Some(operations) = self.queue.take(GROUP) {
            self.group(operations);
        }
    }

    fn group(&mut self, mut operations: Vec<Box<dyn Operation>>) {
        while !operations.is_empty() {
            let outcome = match self.attempt(&mut operations) {
                Ok(()) => Ok(()),
                Err(Trouble::Operation(index, error)) => {
                    operations.remove(index).end(Err(error));
                    continue;
                }
                Err(Trouble::Place(error)) => {
                    self.connection = None;
                    Err(error)
                }
            };
            for operation in operations.drain(..) {
                operation.end(outcome.clone());
            }
        }
    }

    fn attempt(&mut self, operations: &mut [Box<dyn Operation>]) -> Result<(), Trouble> {
        if let Some(error) = self.syncer.as_ref().and_then(Syncer::failure) {
            return Err(Trouble::Place(error));
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.open().map_err(Trouble::Place)?,
        };
        let place = |error: rusqlite::Error| Trouble::Place(self.database.failed(&error));
        connection.execute_batch("BEGIN IMMEDIATE").map_err(place)?;
        for (index, operation) in operations.iter_mut().enumerate() {
            if let Err(error) = operation.run(&connection) {
                let failed = self.database.failed(&error);
                // Dropping the connection rolls back, too.
                let back = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
                if errors::is_of_the_place(&error) || !back {
                    return Err(Trouble::Place(failed));
                }
                self.connection = Some(connection);
                return Err(Trouble::Operation(index, failed));
            }
        }
        connection.execute_batch("COMMIT").map_err(place)?;
        self.connection = Some(connection);
        if let Some(syncer) = &self.syncer {
            syncer.written();
        }
        Ok(())
    }
}
