//! The task that writes. What has queued up while it was busy becomes one transaction, sent without waiting for
//! the answers in between, so that all of it costs one sync and two journeys.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ambidex_core::store::StoreError;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::errors;
use super::session::{Address, Function, Role, Session};

/// Operations in one transaction.
const GROUP: usize = 256;
/// How often a group is tried again that others were in the way of.
const COLLISIONS: usize = 5;
/// How long to wait before a lost connection is made again with nothing to write.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

/// What a function of the schema answers.
pub(super) struct Reply {
    pub(super) outcome: String,
    pub(super) number: Option<i64>,
    pub(super) first: Option<String>,
    pub(super) second: Option<String>,
}

/// One operation of a group.
pub(super) struct Operation {
    pub(super) call: Call,
    pub(super) end: End,
}

pub(super) struct Call {
    pub(super) function: Function,
    pub(super) parameters: Parameters,
}

/// Told once, when the group is stored or is not.
pub(super) type End = Box<dyn FnOnce(Result<Reply, StoreError>) + Send>;

pub(super) struct Writer {
    pub(super) address: Address,
    pub(super) role: Role,
    pub(super) operations: mpsc::UnboundedReceiver<Operation>,
    pub(super) session: Option<Session>,
    /// Commits do not wait for the disk, but are synced so soon afterwards.
    pub(super) sync_within: Option<Duration>,
    pub(super) unsynced: Option<Instant>,
}

/// Why a group was not stored.
enum Trouble {
    /// One operation cannot be done; the others can.
    Operation(usize, StoreError),
    Collision(StoreError),
    Connection(StoreError),
}

enum Woken {
    Operation(Operation),
    Sync,
    Lost,
    Again,
    Closed,
}

impl Writer {
    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Woken::Operation(first) => {
                    let mut group = VecDeque::from([first]);
                    while group.len() < GROUP
                        && let Ok(more) = self.operations.try_recv()
                    {
                        group.push_back(more);
                    }
                    self.group(group.into()).await;
                }
                Woken::Sync => self.sync().await,
                Woken::Lost => self.session = None,
                Woken::Again => self.session = self.address.connect(&self.role).await.ok(),
                Woken::Closed => break,
            }
        }
        self.sync().await;
    }

    async fn next(&mut self) -> Woken {
        let sync_at = self.unsynced.zip(self.sync_within).map(|(since, within)| since + within);
        let listens = matches!(&self.role, Role::Writer { notices: Some(_), .. });
        let has_session = self.session.is_some();
        let session = &mut self.session;
        let lost = async {
            match session {
                Some(session) => session.lost().await,
                None => std::future::pending().await,
            }
        };
        let sync = async {
            match sync_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = lost => Woken::Lost,
            () = sync => Woken::Sync,
            operation = self.operations.recv() => operation.map_or(Woken::Closed, Woken::Operation),
            // Others' answers are told to this connection.
            () = sleep(AGAIN), if listens && !has_session => Woken::Again,
        }
    }

    async fn sync(&mut self) {
        if self.unsynced.take().is_some() {
            let call = Call { function: Function::SyncNow, parameters: vec![] };
            let is_done = Arc::new(AtomicBool::new(false));
            let done = is_done.clone();
            self.group(vec![Operation { call, end: Box::new(move |end| done.store(end.is_ok(), Relaxed)) }])
                .await;
            // What was not synced is tried again.
            self.unsynced = (!is_done.load(Relaxed)).then(Instant::now);
        }
    }

    async fn group(&mut self, operations: Vec<Operation>) {
        let (mut calls, mut ends): (Vec<_>, Vec<_>) =
            operations.into_iter().map(|operation| (operation.call, operation.end)).unzip();
        let mut collisions = 0;
        while !calls.is_empty() {
            let error = match self.attempt(&calls).await {
                Ok(replies) => {
                    if self.sync_within.is_some() {
                        let _ = self.unsynced.get_or_insert_with(Instant::now);
                    }
                    return ends.into_iter().zip(replies).for_each(|(end, reply)| end(Ok(reply)));
                }
                Err(Trouble::Operation(index, error)) => {
                    drop(calls.remove(index));
                    (ends.remove(index))(Err(error));
                    continue;
                }
                Err(Trouble::Collision(_)) if collisions < COLLISIONS => {
                    collisions += 1;
                    continue;
                }
                Err(Trouble::Connection(error)) => {
                    self.session = None;
                    error
                }
                Err(Trouble::Collision(error)) => error,
            };
            return ends.into_iter().for_each(|end| end(Err(error.clone())));
        }
    }

    async fn attempt(&mut self, calls: &[Call]) -> Result<Vec<Reply>, Trouble> {
        let session = match self.session.take() {
            Some(session) if !session.is_lost() => session,
            _ => self.address.connect(&self.role).await.map_err(Trouble::Connection)?,
        };
        let session = self.session.insert(session);
        let patience = self.address.patience;
        match timeout(patience, transaction(session, calls)).await {
            Ok(Ok(replies)) => Ok(replies),
            Ok(Err((index, error))) => {
                let failed = errors::of_postgres(&self.address.reading, &error);
                if errors::is_of_the_connection(&error) {
                    return Err(Trouble::Connection(failed));
                }
                if errors::is_a_collision(&error) {
                    return Err(Trouble::Collision(failed));
                }
                Err(index
                    .map_or(Trouble::Connection(failed.clone()), |index| Trouble::Operation(index, failed)))
            }
            Err(_) => {
                let why = format!("no answer within {patience:?}; what was under way may have been stored");
                Err(Trouble::Connection(errors::unreachable(&self.address.reading, why)))
            }
        }
    }
}

/// What a call gave.
type Answer = Result<Row, Error>;

/// All of them in one transaction. An error comes with the place of the operation it is about.
async fn transaction(session: &Session, calls: &[Call]) -> Result<Vec<Reply>, (Option<usize>, Error)> {
    let client = &session.client;
    let mut begin = client.batch_execute("BEGIN").boxed();
    // Each is sent when it is first polled; the answers are collected afterwards.
    let begun = (&mut begin).now_or_never();
    let mut sent: Vec<(BoxFuture<'_, Answer>, Option<Answer>)> = Vec::new();
    for call in calls {
        let parameters: Vec<&(dyn ToSql + Sync)> =
            call.parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect();
        let statement = session.function(call.function);
        let mut answer = async move {
            match statement {
                Some(statement) => client.query_one(statement, &parameters).await,
                None => client.query_one("SELECT 1 / 0", &[]).await,
            }
        }
        .boxed();
        let done = (&mut answer).now_or_never();
        sent.push((answer, done));
    }
    let mut commit = client.batch_execute("COMMIT").boxed();
    let committed = (&mut commit).now_or_never();

    let begun = match begun {
        Some(begun) => begun,
        None => begin.await,
    };
    begun.map_err(|error| (None, error))?;
    let mut replies = Vec::with_capacity(sent.len());
    let mut failed = None;
    for (index, (answer, done)) in sent.into_iter().enumerate() {
        let done = match done {
            Some(done) => done,
            None => answer.await,
        };
        match done {
            Ok(row) => replies.push(Reply::read(&row).map_err(|error| (Some(index), error))),
            Err(error) if failed.is_none() && !errors::is_an_echo(&error) => failed = Some((index, error)),
            Err(_) => {}
        }
    }
    // After a failure this rolls back.
    let committed = match committed {
        Some(committed) => committed,
        None => commit.await,
    };
    if let Some((index, error)) = failed {
        return Err((Some(index), error));
    }
    committed.map_err(|error| (None, error))?;
    replies.into_iter().collect()
}

impl Reply {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            outcome: row.try_get(0)?,
            number: row.try_get(1)?,
            first: row.try_get(2)?,
            second: row.try_get(3)?,
        })
    }
}
