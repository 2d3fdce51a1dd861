//! Threads that read, each with a connection of its own, so that no reader waits for a sync.

use std::sync::Arc;
use std::thread::JoinHandle;

use ambidex_core::BoxFuture;
use ambidex_core::store::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::errors;
use super::file::Database;
use super::writer::{Done, closed};
use crate::queue::Queue;
use crate::rows::Reading;

/// Called with a connection, or why there is none. Says whether the connection is still good.
type Job = Box<dyn FnOnce(Result<Option<&Connection>, StoreError>) -> bool + Send>;

/// The way to the threads.
#[derive(Clone)]
pub(super) struct Readers {
    queue: Arc<Queue<Job>>,
    reading: Reading,
}

impl Readers {
    pub(super) fn start(
        database: &Database,
        threads: usize,
        name: &str,
    ) -> Result<(Self, Vec<JoinHandle<()>>), StoreError> {
        let queue = Arc::new(Queue::<Job>::new());
        let reading = database.reading.clone();
        let start = |_| {
            let (queue, database) = (queue.clone(), database.clone());
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&queue, &database)).map_err(|error| errors::of_io(&reading, &error))
        };
        let threads = (0..threads).map(start).collect::<Result<_, _>>().inspect_err(|_| queue.close())?;
        Ok((Self { queue, reading: database.reading.clone() }, threads))
    }

    /// Queues a look at the store, at once. `empty` is what there is while there is no file.
    pub(super) fn read<T: Send + 'static>(
        &self,
        empty: impl FnOnce() -> T + Send + 'static,
        look: impl FnOnce(&Connection, &Reading) -> Done<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (sender, receiver) = oneshot::channel();
        let (reading, failed) = (self.reading.clone(), closed(&self.reading));
        let job = move |connection: Result<Option<&Connection>, StoreError>| {
            let (found, good) = match connection {
                Err(error) => (Err(error), false),
                Ok(None) => (Ok(empty()), false),
                Ok(Some(connection)) => match in_one_moment(connection, |db| look(db, &reading)) {
                    Ok(found) => (found, true),
                    Err(error) => (Err(errors::of_sqlite(&reading, &error)), false),
                },
            };
            // Nobody may wait for it any more.
            drop(sender.send(found));
            good
        };
        drop(self.queue.push(Box::new(job)));
        Box::pin(async move { receiver.await.unwrap_or(Err(failed)) })
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }
}

fn in_one_moment<T>(connection: &Connection, look: impl FnOnce(&Connection) -> Done<T>) -> Done<T> {
    // Rolled back when it is dropped: there is nothing to commit.
    let transaction = connection.unchecked_transaction()?;
    look(&transaction)
}

fn work(queue: &Queue<Job>, database: &Database) {
    let mut connection: Option<Connection> = None;
    while let Some(jobs) = queue.take(1) {
        for job in jobs {
            let opened = match connection.take() {
                Some(connection) => Ok(Some(connection)),
                None => database.open_to_read(),
            };
            // What failed may be part of the trouble: the next look is through a new one.
            let good = job(opened.as_ref().map(Option::as_ref).map_err(Clone::clone));
            connection = opened.ok().flatten().filter(|_| good);
        }
    }
}
