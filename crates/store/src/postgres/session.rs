//! One connection: made, set up, and noticed when it ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::store::{FailureKind, StoreError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket, Statement};

use super::errors;
use super::tls::Tls;
use crate::rows::{Reading, newer};

/// Each brings the schema on by one version. Never edited once released: added to.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("threads.sql")];

/// What a write calls, in the order of [`Function`].
const FUNCTIONS: &[(&str, usize)] = &[
    ("commit_batch", 25),
    ("claim_run", 4),
    ("renew_lease", 3),
    ("ask_question", 4),
    ("withdraw_question", 1),
    ("answer_question", 2),
    ("append_events", 3),
    ("sync_now", 0),
    ("commit_on_thread", 47),
    ("insert_thread", 15),
    ("change_thread", 13),
    ("append_messages", 5),
    ("delete_thread", 1),
    ("tell_run", 5),
    ("sweep", 2),
    ("create_session", 5),
    ("change_session", 7),
    ("delete_session", 1),
    ("forget_runs", 2),
];

/// How long the server waits for the rest of a transaction, which is sent without waiting for anything. Who stands still
/// in the middle of it would keep his runs locked from those who take them over. Less than a lease should be.
const STILL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
pub(super) enum Function {
    CommitBatch,
    ClaimRun,
    RenewLease,
    AskQuestion,
    WithdrawQuestion,
    AnswerQuestion,
    AppendEvents,
    SyncNow,
    CommitOnThread,
    InsertThread,
    ChangeThread,
    AppendMessages,
    DeleteThread,
    TellRun,
    Sweep,
    CreateSession,
    ChangeSession,
    DeleteSession,
    ForgetRuns,
}

/// Where to connect, and how.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: Option<Tls>,
    /// A name that needs no quoting: checked when the store is opened.
    pub(super) schema: Arc<str>,
    pub(super) timeout: Duration,
    /// How long an answer may take.
    pub(super) patience: Duration,
    pub(super) reading: Reading,
}

/// What a connection is for.
#[derive(Clone)]
pub(super) enum Role {
    Reader,
    Writer { waits_for_disk: bool, notices: Option<mpsc::UnboundedSender<Notice>> },
}

/// What the server says by itself.
pub(super) enum Notice {
    /// This question was answered; empty where the id is too long to be told.
    Answered(String),
    /// Lines or signals of threads changed.
    Stirred,
    /// Nobody listened for a while.
    Listening,
}

pub(super) struct Session {
    pub(super) client: Arc<Client>,
    functions: Vec<Statement>,
    /// Ends with the connection, and ends it when it is dropped.
    connection: JoinSet<()>,
}

impl Address {
    pub(super) async fn connect(&self, role: &Role) -> Result<Session, StoreError> {
        let make = async {
            match &self.tls {
                Some(tls) => self.make(role, tls.clone()).await,
                None => self.make(role, NoTls).await,
            }
        };
        let made = tokio::time::timeout(self.timeout, make).await;
        let late = |_| errors::unreachable(&self.reading, format!("no answer within {:?}", self.timeout));
        made.map_err(late)?
    }

    async fn make<T>(&self, role: &Role, tls: T) -> Result<Session, StoreError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: AsyncRead + AsyncWrite + Send + 'static,
    {
        let failed = |error: tokio_postgres::Error| errors::of_postgres(&self.reading, &error);
        let (client, mut connection) = self.config.connect(tls).await.map_err(failed)?;
        let notices = match role {
            Role::Writer { notices, .. } => notices.clone(),
            Role::Reader => None,
        };
        let told = notices.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let (AsyncMessage::Notification(note), Some(told)) = (message, &told) {
                    let notice = match note.channel().ends_with("_threads") {
                        true => Notice::Stirred,
                        false => Notice::Answered(note.payload().to_owned()),
                    };
                    // Nobody listens any more once the store is closed.
                    drop(told.send(notice));
                }
            }
        });
        let schema = &self.schema;
        let still = STILL.as_millis();
        let set_up = format!("SET search_path = {schema}; SET idle_in_transaction_session_timeout = {still}");
        client.batch_execute(&set_up).await.map_err(failed)?;
        let mut functions = Vec::new();
        if let Role::Writer { waits_for_disk, .. } = role {
            self.migrate(&client).await?;
            let waits = if *waits_for_disk { "on" } else { "off" };
            client.batch_execute(&format!("SET synchronous_commit = {waits}")).await.map_err(failed)?;
            for (name, parameters) in FUNCTIONS {
                let places: Vec<_> = (1..=*parameters).map(|place| format!("${place}")).collect();
                let sql = format!("SELECT * FROM {name}({})", places.join(", "));
                functions.push(client.prepare(&sql).await.map_err(failed)?);
            }
        }
        if let Some(notices) = notices {
            client
                .batch_execute(&format!("LISTEN {schema}_answers; LISTEN {schema}_threads"))
                .await
                .map_err(failed)?;
            drop(notices.send(Notice::Listening));
        }
        Ok(Session { client: Arc::new(client), functions, connection: task })
    }

    /// Brings the schema up to date, one process at a time.
    async fn migrate(&self, client: &Client) -> Result<(), StoreError> {
        let failed = |error: tokio_postgres::Error| errors::of_postgres(&self.reading, &error);
        let schema = &self.schema;
        let version = self.version(client).await?;
        if version == MIGRATIONS.len() {
            return Ok(());
        }
        // Before the transaction: what it knows of the tables is as old as its beginning. Whoever makes other tables is
        // not in the way, and one that stands still in the middle of it is told from a server that does not answer.
        let patience = (self.timeout / 2).as_millis();
        let lock = format!("(4707175, hashtext('{schema}'))");
        let wait =
            format!("SET lock_timeout = {patience}; SELECT pg_advisory_lock{lock}; RESET lock_timeout");
        client.batch_execute(&wait).await.map_err(failed)?;
        client.batch_execute("BEGIN").await.map_err(failed)?;
        // Somebody else may have been faster.
        let version = self.version(client).await?;
        for (migration, number) in MIGRATIONS.iter().zip(1..).skip(version) {
            let begin = format!("CREATE SCHEMA IF NOT EXISTS {schema};");
            let end = format!(
                "INSERT INTO counters VALUES ('version', {number}) ON CONFLICT (name) DO UPDATE SET value = {number};"
            );
            client.batch_execute(&format!("{begin}{migration}{end}")).await.map_err(failed)?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        client.batch_execute(&format!("SELECT pg_advisory_unlock{lock}")).await.map_err(failed)
    }

    /// The version of the schema that is there.
    async fn version(&self, client: &Client) -> Result<usize, StoreError> {
        let failed = |error: tokio_postgres::Error| errors::of_postgres(&self.reading, &error);
        let table = format!("{}.counters", self.schema);
        let known =
            client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.map_err(failed)?;
        if !known.get::<_, bool>(0) {
            return Ok(0);
        }
        let sql = "SELECT coalesce(max(value), 0) FROM counters WHERE name = 'version'";
        let version: i64 = client.query_one(sql, &[]).await.map_err(failed)?.get(0);
        let known = MIGRATIONS.len();
        match usize::try_from(version) {
            Ok(version) if version <= known => Ok(version),
            _ => {
                let problem = format!(
                    "a newer version of Ambidex made the schema `{}`: it has version {version}, this build knows up \
                     to {known}",
                    self.schema
                );
                Err(self.reading.failure(FailureKind::Newer, problem, newer()))
            }
        }
    }
}

impl Session {
    pub(super) fn function(&self, function: Function) -> Option<&Statement> {
        self.functions.get(function as usize)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Resolves when the connection has ended.
    pub(super) async fn lost(&mut self) {
        self.connection.join_next().await;
    }
}
