//! A task that reads, over a connection of its own that is made when it is wanted.

use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::{Client, Error};

use super::errors;
use super::read::Done;
use super::session::{Address, Role, Session};
use crate::rows::Reading;

/// Looks once. Gives the error back where the connection was lost, and then may look again.
type Look = Box<dyn FnMut(Arc<Client>) -> BoxFuture<'static, Option<Error>> + Send>;

/// A look, and who to tell when there is nobody to ask.
pub(super) struct Job {
    look: Look,
    unreachable: Box<dyn FnOnce(StoreError) + Send>,
}

impl Job {
    /// A job and what it will have found.
    pub(super) fn new<T: Send + 'static, F>(
        reading: &Reading,
        mut look: impl FnMut(Arc<Client>) -> F + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>)
    where
        F: Future<Output = Done<T>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
        let tell = {
            let sender = sender.clone();
            move |found| {
                let sender = sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                // Nobody may wait for it any more.
                sender.map(|sender: oneshot::Sender<_>| sender.send(found).is_ok());
            }
        };
        let (unreachable, reading) = (tell.clone(), reading.clone());
        let look: Look = Box::new(move |client| {
            let (found, tell, reading) = (look(client), tell.clone(), reading.clone());
            Box::pin(async move {
                match found.await {
                    Err(error) if errors::is_of_the_connection(&error) => return Some(error),
                    Err(error) => tell(Err(errors::of_postgres(&reading, &error))),
                    Ok(found) => tell(found),
                }
                None
            })
        });
        (Self { look, unreachable: Box::new(move |error| unreachable(Err(error))) }, receiver)
    }
}

pub(super) async fn run(address: Address, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut session: Option<Session> = None;
    while let Some(mut job) = jobs.recv().await {
        // Looking does no harm twice: a connection that was lost while nobody looked costs a second try.
        let mut tries = if session.is_some() { 2 } else { 1 };
        loop {
            let connected = match session.take().filter(|session| !session.is_lost()) {
                Some(session) => Ok(session),
                None => address.connect(&Role::Reader).await,
            };
            let error = match connected {
                Err(error) => error,
                Ok(connected) => {
                    match timeout(address.patience, (job.look)(connected.client.clone())).await {
                        Ok(None) => {
                            session = Some(connected);
                            break;
                        }
                        Ok(Some(error)) => errors::of_postgres(&address.reading, &error),
                        Err(_) => {
                            // Once more would take as long.
                            tries = 1;
                            errors::unreachable(
                                &address.reading,
                                format!("no answer within {:?}", address.patience),
                            )
                        }
                    }
                }
            };
            tries -= 1;
            if tries == 0 {
                (job.unreachable)(error);
                break;
            }
        }
    }
}
