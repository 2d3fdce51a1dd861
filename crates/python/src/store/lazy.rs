//! A store that is opened when it is first used: by whoever awaits that, so no loop stands still for it, and again by
//! the next one where it failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use ambidex_core::event::Event;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::session::{NewSession, Session, SessionChange, SessionPage, Sessions};
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, FailureKind, Lease, RunIndex, RunPage, RunQuery, Store, StoreError,
    StoreFailure, Stored,
};
use ambidex_core::thread::{
    Cursor, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
    Threads,
};
use ambidex_core::{BoxFuture, Message};
use ambidex_store::OpenStore;
use tokio::sync::OnceCell;

use super::place::Location;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct LazyStore(Arc<Inner>);

struct Inner {
    location: Location,
    opened: OnceCell<Opened>,
    closed: AtomicBool,
}

struct Opened {
    store: Arc<dyn AnyStore>,
    /// Where it is one on disk.
    on_disk: Option<OpenStore>,
}

impl LazyStore {
    pub(crate) fn new(location: Location) -> Self {
        Self(Arc::new(Inner { location, opened: OnceCell::new(), closed: AtomicBool::new(false) }))
    }

    /// The store, opened now at the latest.
    ///
    /// # Errors
    /// `Unavailable`: it cannot be opened, or was closed.
    pub(crate) async fn open(&self) -> Result<&Arc<dyn AnyStore>, StoreError> {
        self.opened().await.map(|opened| &opened.store)
    }

    async fn opened(&self) -> Result<&Opened, StoreError> {
        if self.0.closed.load(SeqCst) {
            return Err(self.closed());
        }
        self.0.opened.get_or_try_init(|| self.begin()).await
    }

    async fn begin(&self) -> Result<Opened, StoreError> {
        let Location { place, durability } = &self.0.location;
        let Some(place) = place else {
            return Ok(Opened { store: Arc::new(MemoryStore::new()), on_disk: None });
        };
        let opened = OpenStore::open(place, *durability).await?;
        Ok(Opened { store: opened.as_any(), on_disk: Some(opened) })
    }

    fn closed(&self) -> StoreError {
        StoreError::Unavailable(Box::new(StoreFailure {
            kind: FailureKind::Closed,
            place: "the store".into(),
            problem: "it was closed".into(),
            remedy: "Open it again with ax.open, or close it later".into(),
        }))
    }

    /// Sentences about what is wrong with what is stored.
    pub(crate) async fn check(&self) -> Result<Vec<String>, StoreError> {
        match &self.opened().await?.on_disk {
            Some(store) => store.check().await,
            None => Ok(vec![]),
        }
    }

    /// Writes what is queued and lets go of the place. Twice is once.
    pub(crate) async fn close(&self) {
        self.0.closed.store(true, SeqCst);
        if let Some(Opened { on_disk: Some(store), .. }) = self.0.opened.get() {
            store.close().await;
        }
    }

    fn pass<T, E>(
        &self,
        call: impl FnOnce(&dyn AnyStore) -> BoxFuture<'static, Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>>
    where
        E: From<StoreError> + 'static,
        T: 'static,
    {
        if let Some(opened) = self.0.opened.get() {
            return call(&*opened.store);
        }
        let this = self.clone();
        Box::pin(async move {
            let called = call(&**this.open().await?);
            called.await
        })
    }

    /// The same for what cannot fail: where the store cannot be opened, nothing ever comes of it.
    fn await_on<T: 'static>(
        &self,
        call: impl FnOnce(&dyn AnyStore) -> BoxFuture<'static, T> + Send + 'static,
    ) -> BoxFuture<'static, T> {
        if let Some(opened) = self.0.opened.get() {
            return call(&*opened.store);
        }
        let this = self.clone();
        Box::pin(async move {
            let Ok(store) = this.open().await else { return std::future::pending().await };
            let called = call(&**store);
            called.await
        })
    }
}

impl Store for LazyStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.claim(&run, lease, now))
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.renew(&run, epoch, until))
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.load(&run))
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.commit(&run, epoch, expected, batch))
    }
}

impl RunIndex for LazyStore {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        self.pass(move |store| store.claimable(now, limit))
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.await_on(move |store| store.answers_after(seen))
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.pass(move |store| store.runs(query))
    }

    fn forget_runs(&self, before: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.pass(move |store| store.forget_runs(before, limit))
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.records(&run, from, limit))
    }
}

impl EventLog for LazyStore {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.append_events(&run, epoch, events))
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.events(&run, after, limit))
    }
}

impl Questions for LazyStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.pass(move |store| store.ask(question))
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.withdraw(&id))
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        let id = id.to_owned();
        self.pass(move |store| Questions::answer(store, &id, answer))
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        let run = run.map(str::to_owned);
        self.pass(move |store| Questions::open(store, run.as_deref()))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        let id = id.to_owned();
        self.await_on(move |store| store.answered(&id))
    }

    fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        match self.0.opened.get() {
            Some(opened) => opened.store.write(id, text),
            None => Err(AnswerError::Unknown),
        }
    }

    fn written(&self, id: &str, seen: usize) -> BoxFuture<'static, String> {
        let id = id.to_owned();
        self.await_on(move |store| store.written(&id, seen))
    }
}

impl Threads for LazyStore {
    fn create_thread(&self, new: NewThread, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        self.pass(move |store| store.create_thread(new, now))
    }

    fn thread(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.thread(&id, now))
    }

    fn threads(&self, query: ThreadQuery, now: u64) -> BoxFuture<'static, Result<ThreadPage, StoreError>> {
        self.pass(move |store| store.threads(query, now))
    }

    fn search_threads(
        &self,
        text: &str,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<Found>, StoreError>> {
        let text = text.to_owned();
        self.pass(move |store| store.search_threads(&text, limit, now))
    }

    fn messages(
        &self,
        id: &str,
        from: u64,
        limit: usize,
        now: u64,
    ) -> BoxFuture<'static, Result<Vec<ThreadMessage>, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.messages(&id, from, limit, now))
    }

    fn change_thread(
        &self,
        id: &str,
        change: ThreadChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.change_thread(&id, change, now))
    }

    fn append_messages(
        &self,
        id: &str,
        version: u64,
        messages: Vec<Arc<Message>>,
        now: u64,
    ) -> BoxFuture<'static, Result<Thread, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.append_messages(&id, version, messages, now))
    }

    fn delete_thread(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.delete_thread(&id))
    }

    fn line(&self, id: &str) -> BoxFuture<'static, Result<Line, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.line(&id))
    }

    fn tell(&self, id: &str, run: &str, signal: Signal) -> BoxFuture<'static, Result<u64, StoreError>> {
        let (id, run) = (id.to_owned(), run.to_owned());
        self.pass(move |store| store.tell(&id, &run, signal))
    }

    fn signals(&self, run: &str, after: u64) -> BoxFuture<'static, Result<Vec<(u64, Signal)>, StoreError>> {
        let run = run.to_owned();
        self.pass(move |store| store.signals(&run, after))
    }

    fn stirred(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.await_on(move |store| store.stirred(seen))
    }

    fn sweep(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.pass(move |store| store.sweep(now, limit))
    }
}

impl Sessions for LazyStore {
    fn create_session(&self, new: NewSession, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        self.pass(move |store| store.create_session(new, now))
    }

    fn session(&self, id: &str, now: u64) -> BoxFuture<'static, Result<Session, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.session(&id, now))
    }

    fn sessions(
        &self,
        limit: usize,
        cursor: Option<Cursor>,
        now: u64,
    ) -> BoxFuture<'static, Result<SessionPage, StoreError>> {
        self.pass(move |store| store.sessions(limit, cursor, now))
    }

    fn change_session(
        &self,
        id: &str,
        version: Option<u64>,
        change: SessionChange,
        now: u64,
    ) -> BoxFuture<'static, Result<Session, StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.change_session(&id, version, change, now))
    }

    fn delete_session(&self, id: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        let id = id.to_owned();
        self.pass(move |store| store.delete_session(&id))
    }
}
