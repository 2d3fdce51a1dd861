//! The store in a file.

mod bell;
mod check;
mod conversations;
mod errors;
mod file;
mod read;
mod readers;
mod retention;
mod sessions;
mod syncer;
#[cfg(test)]
mod syncer_tests;
mod threads;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    Batch, Claimable, EventLog, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};
use tokio::sync::oneshot;

use bell::Bell;
use file::{Database, Holds, beside};
use readers::Readers;
use syncer::Syncer;
use writer::Writer;

use crate::answers::Answers;
use crate::durability::Durability;
use crate::rows::{BatchRow, QuestionRow, Reading, answer_text, event_text, signed};
use crate::threads::Stirs;

/// Settings of a [`SqliteStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub durability: Durability,
    /// How long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// Threads that read, at least one.
    pub readers: usize,
    /// With durability `batch`: how long a write waits for its sync at most.
    pub sync_within: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            busy_timeout: Duration::from_secs(5),
            readers: 2,
            sync_within: Duration::from_millis(50),
        }
    }
}

/// Runs, questions and events in a SQLite file. Cheap to clone; clones share what they hold. When the last is
/// dropped, what was queued is written and the threads end; [`close`](Self::close) does so without holding up the
/// thread it is called on.
///
/// Several processes may have one file open. Each looks at the epoch in the transaction that writes, and hears of
/// the others' answers through the file `-bell` beside it. Events are in `-events`, a file of its own that is
/// never synced by us and may be deleted while nobody has it open.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    reading: Reading,
    durability: Durability,
    records: Writer,
    readers: Readers,
    events: Writer,
    event_readers: Readers,
    syncer: Option<Syncer>,
    answers: Arc<Answers>,
    stirs: Arc<Stirs>,
    bell: Arc<Bell>,
    catch_up: CatchUp,
    #[cfg(target_os = "linux")]
    watch: Mutex<Option<bell::Watch>>,
    threads: Mutex<Threads>,
}

/// In the order they end in: whoever closes the file last tidies it up, and what was written last is synced.
#[derive(Default)]
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writers: Vec<JoinHandle<()>>,
    syncer: Option<JoinHandle<()>>,
}

/// Ends what was started, where opening fails half way.
#[derive(Default)]
struct Undo(Vec<Box<dyn FnOnce()>>);

impl Undo {
    fn push(&mut self, end: impl FnOnce() + 'static) {
        self.0.push(Box::new(end));
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|end| end());
    }
}

/// Finds the answers of other processes.
#[derive(Clone)]
struct CatchUp {
    readers: Readers,
    answers: Arc<Answers>,
    /// Number of the last answer that was delivered here.
    seen: Arc<AtomicI64>,
}

impl CatchUp {
    fn look(&self) {
        let (answers, seen) = (self.answers.clone(), self.seen.clone());
        let look = self.readers.read(
            || (),
            move |db, reading| {
                let found = read::answers_since(db, seen.load(Ordering::Acquire))?;
                for (number, id, text) in found.unwrap_or_default() {
                    // What cannot be read would not be better the next time.
                    if let Ok(answer) = reading.answer(&id, &text) {
                        answers.deliver(&id, &answer);
                    }
                    seen.fetch_max(number, Ordering::AcqRel);
                }
                Ok(Ok(()))
            },
        );
        // It goes on by itself.
        drop(look);
    }
}

impl SqliteStore {
    /// Opens the store in this file; makes it, and the folder it is in, where there is none.
    ///
    /// # Errors
    /// `Unavailable`: it cannot be made or opened, is damaged, is something else, or was written by a newer
    /// version of Ambidex.
    pub fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
    ) -> BoxFuture<'static, Result<Self, StoreError>> {
        let path = path.as_ref().to_owned();
        let (sender, receiver) = oneshot::channel();
        let reading = Reading { place: path.display().to_string().into() };
        // Opening waits for the disk: not on the caller's thread.
        let thread = std::thread::Builder::new().name("ambidex-open".into());
        let thread = thread.spawn(move || drop(sender.send(Self::start(path, &options))));
        Box::pin(async move {
            thread.map_err(|error| errors::of_io(&reading, &error))?;
            receiver.await.unwrap_or_else(|_| Err(StoreError::Broken("opening the store failed".into())))
        })
    }

    fn start(path: PathBuf, options: &SqliteOptions) -> Result<Self, StoreError> {
        let synchronous = match options.durability {
            Durability::Sync => "FULL",
            Durability::Batch => "NORMAL",
            Durability::None => "OFF",
        };
        let database = Database::new(&path, Holds::Records, synchronous, options.busy_timeout);
        let reading = database.reading.clone();
        let connection = database.open()?;
        let seen = match read::answers(&connection) {
            Ok(seen) => seen?,
            Err(error) => return Err(database.failed(&error)),
        };
        let events = Database::new(&beside(&path, "-events"), Holds::Events, "NORMAL", options.busy_timeout);
        let mut threads = Threads::default();
        let mut undo = Undo::default();
        let syncer = match options.durability {
            Durability::Batch => {
                let (syncer, thread) = Syncer::start(&path, reading.clone(), options.sync_within)?;
                threads.syncer = Some(thread);
                let started = syncer.clone();
                undo.push(move || started.close());
                Some(syncer)
            }
            Durability::Sync | Durability::None => None,
        };
        let bell = Arc::new(Bell::new(&path));
        let (readers, more) = Readers::start(&database, options.readers.max(1), "ambidex-read")?;
        threads.readers.extend(more);
        let started = readers.clone();
        undo.push(move || started.close());
        let (event_readers, more) = Readers::start(&events, 1, "ambidex-read-events")?;
        threads.readers.extend(more);
        let started = event_readers.clone();
        undo.push(move || started.close());
        let (records, thread) = Writer::start(database, Some(connection), syncer.clone(), "ambidex-write")?;
        threads.writers.push(thread);
        let started = records.clone();
        undo.push(move || started.close());
        let (events, thread) = Writer::start(events, None, None, "ambidex-write-events")?;
        threads.writers.push(thread);
        let answers = Arc::new(Answers::default());
        let seen = Arc::new(AtomicI64::new(seen));
        let catch_up = CatchUp { readers: readers.clone(), answers: answers.clone(), seen };
        let stirs = Arc::new(Stirs::default());
        #[cfg(target_os = "linux")]
        let watch = {
            let (heard, stirs) = (catch_up.clone(), stirs.clone());
            let rung = move || {
                heard.look();
                stirs.stir();
            };
            // A system has few of what this takes. Without it, answers of other processes are found as they are elsewhere.
            let watch = bell::Watch::start(&path, &reading, rung).ok();
            let (watch, thread) = watch.unzip();
            threads.readers.extend(thread);
            Mutex::new(watch)
        };
        undo.0.clear();
        // What came in since it was first looked at was not rung for.
        catch_up.look();
        let durability = options.durability;
        let shared = Shared {
            path,
            reading,
            durability,
            records,
            readers,
            events,
            event_readers,
            syncer,
            answers,
            stirs,
            bell,
            catch_up,
            #[cfg(target_os = "linux")]
            watch,
            threads: Mutex::new(threads),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// Resolves when everything that was acknowledged before is on disk. At durability `none` it is written, and
    /// no more.
    pub fn flush(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        // Behind what is queued; at `sync` its commit is a sync.
        let written = self.shared.records.write(|_| Ok(Ok(())), |()| ());
        let syncer = self.shared.syncer.clone();
        let closed = writer::closed(&self.shared.reading);
        Box::pin(async move {
            written.await?;
            match syncer {
                Some(syncer) => syncer.flush().await.unwrap_or(Err(closed)),
                None => Ok(()),
            }
        })
    }

    /// Looks for damage: SQLite's own check of the file, then what must hold between its rows. Gives what is
    /// wrong, a sentence each. Takes as long as reading the whole file.
    pub fn check(&self) -> BoxFuture<'static, Result<Vec<String>, StoreError>> {
        self.shared.readers.read(Vec::new, |db, _| check::check(db))
    }

    /// Writes what is queued and lets go of the file. Whoever still uses the store is told that it was closed.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        let (sender, receiver) = oneshot::channel();
        let ended = move || {
            shared.end();
            let _ = sender.send(());
        };
        let thread = std::thread::Builder::new().name("ambidex-close".into()).spawn(ended);
        Box::pin(async move {
            if thread.is_ok() {
                // An error means the same: it has ended.
                drop(receiver.await);
            }
        })
    }
}

impl Shared {
    fn end(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let join = |threads: Vec<JoinHandle<()>>| {
            for thread in threads {
                // One that panicked has ended, too.
                drop(thread.join());
            }
        };
        #[cfg(target_os = "linux")]
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.readers.close();
        self.event_readers.close();
        join(threads.readers);
        self.records.close();
        self.events.close();
        join(threads.writers);
        if let Some(syncer) = &self.syncer {
            syncer.close();
        }
        join(threads.syncer.into_iter().collect());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl Store for SqliteStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        let run = run.to_owned();
        self.shared.records.write(move |db| write::claim(db, &run, &lease, now), |_| ())
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        let run = run.to_owned();
        self.shared.records.write(move |db| write::renew(db, &run, signed(epoch), until), |()| ())
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let (run, missing) = (run.to_owned(), run.to_owned());
        let found = self.shared.readers.read(
            move || Err(StoreError::UnknownRun(missing)),
            move |db, reading| read::load(db, reading, &run).map(Ok),
        );
        Box::pin(async move { found.await? })
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let row = match BatchRow::new(run, epoch, expected, batch) {
            Ok(row) => Arc::new(row),
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (answers, stored) = (self.shared.answers.clone(), row.clone());
        let stir = row.thread.as_ref().filter(|step| step.stirs()).map(|_| self.stir());
        let done = move |(): &()| {
            stored.withdrawn.iter().for_each(|id| answers.closed(id));
            if let Some(stir) = stir {
                stir();
            }
        };
        self.shared.records.write(move |db| threads::commit(db, &row), done)
    }
}

impl RunIndex for SqliteStore {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        self.shared.catch_up.look();
        self.shared.readers.read(Claimable::default, move |db, _| read::claimable(db, now, limit))
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.shared.answers.after(seen)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.shared.readers.read(RunPage::default, move |db, reading| read::runs(db, reading, &query))
    }

    fn forget_runs(&self, before: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        let old = self.shared.readers.read(Vec::new, move |db, _| retention::old(db, before, limit));
        let store = self.clone();
        Box::pin(async move {
            let runs = Arc::new(old.await?);
            if runs.is_empty() {
                return Ok(0);
            }
            // Their events first: once the runs are gone nobody finds these any more.
            let of = runs.clone();
            store.shared.events.write(move |db| retention::forget_events(db, &of), |()| ()).await?;
            store.shared.records.write(move |db| retention::forget(db, &runs), |_| ()).await
        })
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        let run = run.to_owned();
        self.shared.readers.read(Vec::new, move |db, reading| read::records(db, reading, &run, from, limit))
    }
}

impl EventLog for SqliteStore {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        let events: Result<Vec<_>, _> = events.iter().map(event_text).collect();
        let (run, events) = match events {
            Ok(events) => (run.to_owned(), events),
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        self.shared.events.write(move |db| write::append_events(db, &run, signed(epoch), &events), |_| ())
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        let run = run.to_owned();
        let look =
            move |db: &rusqlite::Connection, reading: &Reading| read::events(db, reading, &run, after, limit);
        self.shared.event_readers.read(Vec::new, look)
    }
}

impl Questions for SqliteStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        let row = match QuestionRow::new(&question) {
            Ok(row) => row,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (id, asked, reading) = (question.id.clone(), question.id, self.shared.reading.clone());
        let answers = self.shared.answers.clone();
        let done = move |(_, answer, withdrawn): &write::StandingRow| {
            if answer.is_none() && !withdrawn {
                answers.asked(&asked);
            }
        };
        let stored = self.shared.records.write(move |db| write::ask(db, &row), done);
        Box::pin(async move {
            let (question, answer, withdrawn) = stored.await?;
            let answer = answer.map(|text| reading.answer(&id, &text)).transpose()?;
            Ok(Standing { question: reading.question(&id, &question)?, answer, withdrawn })
        })
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        let (id, run, closed) = (id.to_owned(), id.to_owned(), id.to_owned());
        let (answers, reading) = (self.shared.answers.clone(), self.shared.reading.clone());
        let done = move |_: &Option<String>| answers.closed(&closed);
        let stored = self.shared.records.write(move |db| write::withdraw(db, &run), done);
        Box::pin(async move { stored.await?.map(|text| reading.answer(&id, &text)).transpose() })
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        let text = match answer_text(&answer) {
            Ok(text) => text,
            Err(error) => return Box::pin(std::future::ready(Err(error.into()))),
        };
        let (id, delivered) = (id.to_owned(), id.to_owned());
        let (answers, bell) = (self.shared.answers.clone(), self.shared.bell.clone());
        let done = move |(): &()| {
            answers.deliver(&delivered, &answer);
            bell.ring();
        };
        self.shared.records.write(move |db| write::answer(db, &id, &text), done)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        let run = run.map(str::to_owned);
        self.shared.readers.read(Vec::new, move |db, reading| read::open(db, reading, run.as_deref()))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        // Registered before it is looked at: an answer that comes in between is delivered.
        let waiting = self.shared.answers.wait(id);
        let (id, question) = (id.to_owned(), id.to_owned());
        let found = self.shared.readers.read(|| None, move |db, _| read::answer_to(db, &question));
        let (reading, seen) = (self.shared.reading.clone(), self.shared.catch_up.seen.clone());
        Box::pin(async move {
            match found.await {
                Ok(Some(text)) => {
                    if let Ok(answer) = reading.answer(&id, &text) {
                        return answer;
                    }
                }
                Ok(None) => {}
                // It may have been given before: whoever catches up looks at all of them.
                Err(_) => seen.store(0, Ordering::Release),
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
