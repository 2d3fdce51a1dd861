//! The store in a Postgres database.

mod conversations;
mod errors;
mod read;
mod reader;
mod session;
mod threads;
mod tls;
mod writer;

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    Batch, Claimable, EventLog, FailureKind, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config};

use read::Done;
use reader::Job;
use session::{Address, Function, Notice, Role};
use tls::Tls;
use writer::{Call, Operation, Parameters, Reply, Writer};

use crate::answers::Answers;
use crate::durability::Durability;
use crate::rows::{BatchRow, QuestionRow, Reading, answer_text, event_text, signed, unsigned};
use crate::threads::Stirs;

/// Settings of a [`PostgresStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `sync` and `batch` promise what they say as far as the server's `fsync` and its disks do.
    pub durability: Durability,
    /// Where the tables are: a name of small letters, digits and `_`. It is made where there is none.
    pub schema: String,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may take for an answer before its connection is given up.
    pub answer_timeout: Duration,
    /// With `sslmode=require` in the URL: a PEM file of the certificates to trust in place of the platform's.
    pub root_certificates: Option<PathBuf>,
    /// Connections that read, at least one. Two more write: records, and events.
    pub readers: usize,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            schema: "ambidex".into(),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            root_certificates: None,
            readers: 2,
        }
    }
}

/// With durability `batch`: how long a commit waits for its sync. The promise is 50 ms: the other half is for a
/// machine that has much to do.
const SYNC_WITHIN: Duration = Duration::from_millis(25);
/// From a look for answers that failed to the next.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs, questions and events in a Postgres database, version 14 or later, for any number of processes. Cheap to
/// clone; clones share what they hold. It drives its connections on a thread of its own and makes them again
/// when they are lost; meanwhile each call fails with a retryable error, and who waits for an answer goes on
/// waiting. When the last clone is dropped, what was queued is still written.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    reading: Reading,
    durability: Durability,
    /// None once it was closed.
    ways: Mutex<Option<Ways>>,
    /// Whose turn it is to read.
    turn: AtomicUsize,
    answers: Arc<Answers>,
    stirs: Arc<Stirs>,
    /// Resolves with an error when the thread has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

struct Ways {
    records: mpsc::UnboundedSender<Operation>,
    events: mpsc::UnboundedSender<Operation>,
    readers: Vec<mpsc::UnboundedSender<Job>>,
    /// Tells the one who passes on answers that some may have been missed.
    missed: mpsc::UnboundedSender<Notice>,
}

impl PostgresStore {
    /// Connects to the database of this URL, such as `postgres://user@host/database`, and makes the tables where
    /// there are none. With `sslmode=require` (or `verify-full`) in it the connection is encrypted and the server's
    /// certificate checked, its name included; without it, nothing is encrypted.
    ///
    /// # Errors
    /// `Unavailable`: the URL is none, the server cannot be reached or refuses us, or the tables were made by a
    /// newer version of Ambidex.
    pub fn connect(url: &str, options: PostgresOptions) -> BoxFuture<'static, Result<Self, StoreError>> {
        // A connection that is encrypted is checked in full, whatever the word for it.
        let url = url.replace("sslmode=verify-full", "sslmode=require");
        let address = match Self::address(&url, &options) {
            Ok(address) => address,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (opened, receiver) = oneshot::channel();
        let failed = address.reading.failure(
            FailureKind::CannotOpen,
            "its thread cannot be started".into(),
            "See how many threads this process may have".into(),
        );
        let thread = std::thread::Builder::new().name("ambidex-postgres".into());
        let thread = thread.spawn(move || drive(address, &options, opened));
        Box::pin(async move {
            match thread {
                Ok(_) => receiver.await.unwrap_or(Err(failed)),
                Err(_) => Err(failed),
            }
        })
    }

    fn address(url: &str, options: &PostgresOptions) -> Result<Address, StoreError> {
        let nowhere = Reading { place: "the Postgres store".into() };
        let remedy = "Write it as postgres://user:password@host:port/database".to_owned();
        // The URL is not repeated: it may hold a password.
        let mut config = Config::from_str(url).map_err(|error| {
            nowhere.failure(FailureKind::CannotOpen, format!("its URL cannot be read ({error})"), remedy)
        })?;
        let reading = Reading { place: place(&config).into() };
        let named = options.schema.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !named || options.schema.is_empty() || options.schema.len() > 40 {
            let problem = format!("`{}` is no name of a schema", options.schema);
            let remedy = "Use small letters, digits and `_`, at most 40".into();
            return Err(reading.failure(FailureKind::CannotOpen, problem, remedy));
        }
        // A server that vanished without a word is noticed.
        config.keepalives_idle(Duration::from_secs(30)).application_name("ambidex");
        let schema = options.schema.as_str().into();
        // Made on the store's own thread: the platform's certificates are many files.
        let tls = None;
        let (timeout, patience) = (options.connect_timeout, options.answer_timeout);
        Ok(Address { config, tls, schema, timeout, patience, reading })
    }

    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// Resolves when everything that was acknowledged before is on disk. At durability `none` it is written, and
    /// no more.
    pub fn flush(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        if self.shared.durability == Durability::None {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.write(Function::SyncNow, vec![], |_| Ok::<_, StoreError>(()))
    }

    /// Looks for what breaks a rule that must hold between rows. Gives what is wrong, a sentence each. Reads all
    /// of the store.
    pub fn check(&self) -> BoxFuture<'static, Result<Vec<String>, StoreError>> {
        self.read(read::check)
    }

    /// Writes what is queued and lets go of the connections. Whoever still uses the store is told that it was
    /// closed.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        drop(lock(&self.shared.ways).take());
        let ended = lock(&self.shared.ended).take();
        Box::pin(async move {
            if let Some(ended) = ended {
                // An error means the same: it has ended.
                drop(ended.await);
            }
        })
    }

    fn closed(&self) -> StoreError {
        let reading = &self.shared.reading;
        reading.failure(FailureKind::Closed, "the store was closed".into(), "Open it again".into())
    }

    fn write<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        function: Function,
        parameters: Parameters,
        end: impl FnOnce(Reply) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>> {
        let (sender, receiver) = oneshot::channel();
        let end = Box::new(move |reply: Result<Reply, StoreError>| {
            // Nobody may wait for it any more; it is stored all the same.
            drop(sender.send(reply.map_err(E::from).and_then(end)));
        });
        let operation = Operation { call: Call { function, parameters }, end };
        if let Some(ways) = &*lock(&self.shared.ways) {
            let way = match function {
                Function::AppendEvents => &ways.events,
                _ => &ways.records,
            };
            // What cannot be sent is dropped, and so is who tells of it.
            drop(way.send(operation));
        }
        let closed = self.closed();
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(closed.into())) })
    }

    fn read<T: Send + 'static, F>(
        &self,
        look: impl FnMut(Arc<Client>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>>
    where
        F: Future<Output = Done<T>> + Send + 'static,
    {
        let (job, receiver) = Job::new(&self.shared.reading, look);
        if let Some(ways) = &*lock(&self.shared.ways) {
            let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed) % ways.readers.len();
            // As above.
            drop(ways.readers[turn].send(job));
        }
        let closed = self.closed();
        Box::pin(async move { receiver.await.unwrap_or(Err(closed)) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database as people call it, without its password.
fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("postgres://{host}:{port}/{database}")
}

/// The thread: a small runtime that drives the connections until the store is closed.
fn drive(
    mut address: Address,
    options: &PostgresOptions,
    opened: oneshot::Sender<Result<PostgresStore, StoreError>>,
) {
    if address.config.get_ssl_mode() == SslMode::Require {
        match Tls::new(options.root_certificates.as_deref()) {
            Ok(tls) => address.tls = Some(tls),
            Err(why) => {
                let remedy =
                    "Give a PEM file with the certificate that the server's own was signed with".into();
                let failed = address.reading.failure(FailureKind::CannotOpen, why, remedy);
                return drop(opened.send(Err(failed)));
            }
        }
    } else {
        // Not "if the server likes": what is not checked protects nobody.
        address.config.ssl_mode(SslMode::Disable);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        // Whoever opens it sees that nobody answers.
        Err(_) => return,
    };
    runtime.block_on(async {
        let (notices, heard) = mpsc::unbounded_channel();
        let missed = notices.clone();
        let waits_for_disk = options.durability == Durability::Sync;
        let role = Role::Writer { waits_for_disk, notices: Some(notices) };
        let session = match address.connect(&role).await {
            Ok(session) => session,
            Err(error) => return drop(opened.send(Err(error))),
        };
        let mut tasks = JoinSet::new();
        let (records, operations) = mpsc::unbounded_channel();
        let sync_within = (options.durability == Durability::Batch).then_some(SYNC_WITHIN);
        let (session, unsynced) = (Some(session), None);
        let writer = Writer { address: address.clone(), role, operations, session, sync_within, unsynced };
        tasks.spawn(writer.run());
        let (events, operations) = mpsc::unbounded_channel();
        let role = Role::Writer { waits_for_disk: false, notices: None };
        let (session, sync_within) = (None, None);
        let writer = Writer { address: address.clone(), role, operations, session, sync_within, unsynced };
        tasks.spawn(writer.run());
        let readers = (0..options.readers.max(1)).map(|_| {
            let (sender, jobs) = mpsc::unbounded_channel();
            tasks.spawn(reader::run(address.clone(), jobs));
            sender
        });
        let ways = Ways { records, events, readers: readers.collect(), missed };
        let (ending, ended) = oneshot::channel();
        let shared = Arc::new(Shared {
            reading: address.reading.clone(),
            durability: options.durability,
            ways: Mutex::new(Some(ways)),
            turn: AtomicUsize::new(0),
            answers: Arc::default(),
            stirs: Arc::default(),
            ended: Mutex::new(Some(ended)),
        });
        tasks.spawn(listen(heard, Arc::downgrade(&shared)));
        drop(opened.send(Ok(PostgresStore { shared })));
        while tasks.join_next().await.is_some() {}
        let _ = ending.send(());
    });
}

/// Passes on the answers that the server tells of.
async fn listen(mut heard: mpsc::UnboundedReceiver<Notice>, shared: std::sync::Weak<Shared>) {
    let mut first = true;
    while let Some(notice) = heard.recv().await {
        let Some(held) = shared.upgrade() else { return };
        // What was told while nobody listened was missed.
        if matches!(notice, Notice::Stirred | Notice::Listening) {
            held.stirs.stir();
        }
        let store = PostgresStore { shared: held };
        let mut ids = store.shared.answers.waited_for();
        match notice {
            Notice::Answered(id) if !id.is_empty() => {
                ids.retain(|waited| *waited == id);
                // Those who sweep hear of it, whoever waits for it or not.
                store.shared.answers.count();
            }
            Notice::Stirred => continue,
            // Nothing was missed before the first connection.
            Notice::Listening if std::mem::take(&mut first) => continue,
            Notice::Answered(_) | Notice::Listening => store.shared.answers.count(),
        }
        if ids.is_empty() {
            continue;
        }
        let answers = store.shared.answers.clone();
        drop(store);
        deliver(&shared, &answers, ids).await;
    }
}

/// Looks these up and passes on what there is; again and again while the server cannot be asked, for nobody tells of
/// them a second time.
async fn deliver(shared: &std::sync::Weak<Shared>, answers: &Answers, ids: Vec<String>) {
    loop {
        let Some(store) = shared.upgrade().map(|shared| PostgresStore { shared }) else { return };
        let ids = ids.clone();
        let found = store.read(move |client| read::answers_to(client, ids.clone()));
        let reading = store.shared.reading.clone();
        drop(store);
        match found.await {
            Ok(found) => {
                for (id, text) in found {
                    if let Ok(answer) = reading.answer(&id, &text) {
                        answers.deliver(&id, &answer);
                    }
                }
                return;
            }
            Err(error) if error.is_retryable() => tokio::time::sleep(AGAIN).await,
            Err(_) => return,
        }
    }
}

/// What a function has to say besides "done".
fn refused(reply: &Reply, run: &str, expected: i64) -> Option<StoreError> {
    match &*reply.outcome {
        "done" => None,
        "fenced" => Some(StoreError::Fenced),
        "conflict" => Some(StoreError::Conflict {
            expected: unsigned(expected),
            found: unsigned(reply.number.unwrap_or_default()),
        }),
        "unknown" => Some(StoreError::UnknownRun(run.to_owned())),
        "owned" => Some(StoreError::Owned {
            owner: reply.first.clone().unwrap_or_default(),
            until: unsigned(reply.number.unwrap_or_default()),
        }),
        other => Some(StoreError::Broken(format!("the store answered `{other}`"))),
    }
}

impl Store for PostgresStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        let run = run.to_owned();
        let owner = lease.owner.to_string();
        let parameters: Parameters = vec![
            Box::new(run.clone()),
            Box::new(owner),
            Box::new(signed(lease.until)),
            Box::new(signed(now)),
        ];
        self.write(Function::ClaimRun, parameters, move |reply| match refused(&reply, &run, 0) {
            Some(refused) => Err(refused),
            None => Ok(unsigned(reply.number.unwrap_or_default())),
        })
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        let run = run.to_owned();
        let parameters: Parameters =
            vec![Box::new(run.clone()), Box::new(signed(epoch)), Box::new(signed(until))];
        self.write(Function::RenewLease, parameters, move |reply| {
            refused(&reply, &run, 0).map_or(Ok(()), Err)
        })
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let (run, reading) = (run.to_owned(), self.shared.reading.clone());
        self.read(move |client| read::load(client, reading.clone(), run.clone()))
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let row = match BatchRow::new(run, epoch, expected, batch) {
            Ok(row) => row,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (run, expected, malformed) = (row.run.clone(), row.expected, row.malformed.clone());
        let (closed, answers) = (row.withdrawn.clone(), self.shared.answers.clone());
        let mut row = row;
        let step = row.thread.take();
        let stirs = step.as_ref().filter(|step| step.stirs()).map(|_| self.shared.stirs.clone());
        let thread = step.as_ref().map(|step| step.thread.clone());
        let (function, parameters) = match step {
            None => (Function::CommitBatch, parameters(row)),
            Some(step) => {
                let mut parameters = parameters(row);
                parameters.extend(conversations::step_parameters(step));
                (Function::CommitOnThread, parameters)
            }
        };
        self.write(function, parameters, move |reply| {
            if reply.outcome == "malformed" {
                return Err(malformed.unwrap_or(StoreError::Malformed("its records".into())));
            }
            if let (Some(thread), "held" | "changed" | "unheard") = (&thread, &*reply.outcome) {
                return conversations::refused(&reply, thread).map_or(Ok(()), Err);
            }
            if let Some(refused) = refused(&reply, &run, expected) {
                return Err(refused);
            }
            if let Some(stirs) = stirs {
                stirs.stir();
            }
            closed.iter().for_each(|id| answers.closed(id));
            Ok(())
        })
    }
}

/// A batch as the parameters of `commit_batch`.
fn parameters(row: BatchRow) -> Parameters {
    let created = row.created();
    let first = row.definition;
    let (hash, text) = first.as_ref().map(|first| (first.hash.to_string(), first.text.to_string())).unzip();
    let (agent, thread) = first.map(|first| (first.agent, first.thread)).unzip();
    let mut records = (vec![], vec![], vec![], vec![]);
    for record in row.records {
        records.0.push(record.seq);
        records.1.push(record.v);
        records.2.push(record.at);
        records.3.push(record.kind);
    }
    let mut asked = (vec![], vec![], vec![], vec![]);
    for question in row.asked {
        asked.0.push(question.id);
        asked.1.push(question.run);
        asked.2.push(question.due);
        asked.3.push(question.question);
    }
    let status = row.standing.map(|standing| standing.status.as_str());
    let due = row.standing.and_then(|standing| standing.due).map(signed);
    let (owner, until) = row.lease.map(|lease| (lease.owner.to_string(), signed(lease.until))).unzip();
    let (seq, state) = row.snapshot.map(|snapshot| (signed(snapshot.seq), snapshot.state)).unzip();
    vec![
        Box::new(row.run),
        Box::new(row.epoch),
        Box::new(row.expected),
        Box::new(row.malformed.is_some()),
        Box::new(hash),
        Box::new(text),
        Box::new(agent),
        Box::new(thread.flatten()),
        Box::new(created),
        Box::new(records.0),
        Box::new(records.1),
        Box::new(records.2),
        Box::new(records.3),
        Box::new(asked.0),
        Box::new(asked.1),
        Box::new(asked.2),
        Box::new(asked.3),
        Box::new(row.withdrawn),
        Box::new(row.taken),
        Box::new(status),
        Box::new(due),
        Box::new(owner),
        Box::new(until),
        Box::new(seq),
        Box::new(state),
    ]
}

impl RunIndex for PostgresStore {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        self.read(move |client| read::claimable(client, now, limit))
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.shared.answers.after(seen)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        let reading = self.shared.reading.clone();
        self.read(move |client| read::runs(client, reading.clone(), query.clone()))
    }

    fn forget_runs(&self, before: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: Parameters = vec![Box::new(signed(before)), Box::new(limit)];
        self.write(Function::ForgetRuns, parameters, |reply| Ok(unsigned(reply.number.unwrap_or_default())))
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        let (run, reading) = (run.to_owned(), self.shared.reading.clone());
        self.read(move |client| read::records(client, reading.clone(), run.clone(), from, limit))
    }
}

impl EventLog for PostgresStore {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        let events: Vec<String> = match events.iter().map(event_text).collect() {
            Ok(events) => events,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let run = run.to_owned();
        let parameters: Parameters = vec![Box::new(run.clone()), Box::new(signed(epoch)), Box::new(events)];
        self.write(Function::AppendEvents, parameters, move |reply| match refused(&reply, &run, 0) {
            Some(refused) => Err(refused),
            None => Ok(unsigned(reply.number.unwrap_or_default())),
        })
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        let (run, reading) = (run.to_owned(), self.shared.reading.clone());
        self.read(move |client| read::events(client, reading.clone(), run.clone(), after, limit))
    }
}

impl Questions for PostgresStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        let row = match QuestionRow::new(&question) {
            Ok(row) => row,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let parameters: Parameters =
            vec![Box::new(row.id), Box::new(row.run), Box::new(row.due), Box::new(row.question)];
        let (answers, reading) = (self.shared.answers.clone(), self.shared.reading.clone());
        self.write(Function::AskQuestion, parameters, move |reply| {
            let withdrawn = reply.outcome == "withdrawn";
            let stored = reading.question(&question.id, reply.first.as_deref().unwrap_or_default())?;
            let answer = reply.second.map(|text| reading.answer(&question.id, &text)).transpose()?;
            if answer.is_none() && !withdrawn {
                answers.asked(&question.id);
            }
            Ok(Standing { question: stored, answer, withdrawn })
        })
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        let id = id.to_owned();
        let (answers, reading) = (self.shared.answers.clone(), self.shared.reading.clone());
        self.write(Function::WithdrawQuestion, vec![Box::new(id.clone())], move |reply| {
            answers.closed(&id);
            reply.first.map(|text| reading.answer(&id, &text)).transpose()
        })
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        let text = match answer_text(&answer) {
            Ok(text) => text,
            Err(error) => return Box::pin(std::future::ready(Err(error.into()))),
        };
        let (id, answers) = (id.to_owned(), self.shared.answers.clone());
        let parameters: Parameters = vec![Box::new(id.clone()), Box::new(text)];
        self.write(Function::AnswerQuestion, parameters, move |reply| match &*reply.outcome {
            "done" => {
                answers.deliver(&id, &answer);
                Ok(())
            }
            "unknown" => Err(AnswerError::Unknown),
            "withdrawn" => Err(AnswerError::Withdrawn),
            _ => Err(AnswerError::AlreadyAnswered),
        })
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        let (run, reading) = (run.map(str::to_owned), self.shared.reading.clone());
        self.read(move |client| read::open(client, reading.clone(), run.clone()))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        // Registered before it is looked at: an answer that comes in between is delivered.
        let waiting = self.shared.answers.wait(id);
        let (id, ids) = (id.to_owned(), vec![id.to_owned()]);
        let found = self.read(move |client| read::answers_to(client, ids.clone()));
        let (reading, shared) = (self.shared.reading.clone(), Arc::downgrade(&self.shared));
        Box::pin(async move {
            let found = found.await;
            if found.is_err()
                && let Some(shared) = shared.upgrade()
                && let Some(ways) = &*lock(&shared.ways)
            {
                // It may have been given before: all who wait are looked up until the server says.
                drop(ways.missed.send(Notice::Listening));
            }
            for (_, text) in found.unwrap_or_default() {
                if let Ok(answer) = reading.answer(&id, &text) {
                    return answer;
                }
            }
            waiting.answer().await
        })
    }

    fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        self.shared.answers.write(id, text)
    }

    fn written(&self, id: &str, seen: usize) -> BoxFuture<'static, String> {
        self.shared.answers.written(id, seen)
    }
}
