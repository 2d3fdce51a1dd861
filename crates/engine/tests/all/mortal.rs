//! A way to a store that ends with its process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::around::Around;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};
use tokio::sync::Notify;

/// When a process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Death {
    /// The batch is stored; nothing that follows from it starts.
    After,
    /// Effects ran; what they returned is lost.
    Before,
}

/// A process's way to the store. Dies at its nth commit, whichever run's that is: from then on nothing passes.
pub struct Mortal {
    inner: Arc<dyn AnyStore>,
    death: Death,
    left: AtomicU64,
    is_dead: AtomicBool,
    pub died: Notify,
    release_takes: Duration,
}

impl Mortal {
    pub fn new(inner: Arc<dyn AnyStore>, death: Death, at: u64) -> Arc<Self> {
        let (left, is_dead) = (AtomicU64::new(at), AtomicBool::new(false));
        Arc::new(Self { inner, death, left, is_dead, died: Notify::new(), release_takes: Duration::ZERO })
    }

    /// Lives for ever, and takes its time to let go of a run.
    pub fn slow_to_release(inner: Arc<dyn AnyStore>, release_takes: Duration) -> Arc<Self> {
        let (left, is_dead) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
        let death = Death::After;
        Arc::new(Self { inner, death, left, is_dead, died: Notify::new(), release_takes })
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(SeqCst)
    }

    fn alive<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn AnyStore) -> BoxFuture<'static, Result<T, StoreError>>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if self.is_dead() { Box::pin(async { Err(killed()) }) } else { call(&*self.inner) }
    }
}

fn killed() -> StoreError {
    StoreError::Broken("killed".into())
}

impl Store for Mortal {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.alive(|store| store.claim(run, lease, now))
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.alive(|store| store.renew(run, epoch, until))
    }

    fn release(&self, run: &str, epoch: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        let (released, takes) = (self.alive(|store| store.release(run, epoch)), self.release_takes);
        Box::pin(async move {
            if takes > Duration::ZERO {
                tokio::time::sleep(takes).await;
            }
            released.await
        })
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.alive(|store| store.load(run))
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        if self.is_dead() {
            return Box::pin(async { Err(killed()) });
        }
        if self.left.fetch_sub(1, SeqCst) != 1 {
            return self.inner.commit(run, epoch, expected, batch);
        }
        self.is_dead.store(true, SeqCst);
        self.died.notify_one();
        let stored = (self.death == Death::After).then(|| self.inner.commit(run, epoch, expected, batch));
        Box::pin(async move {
            if let Some(stored) = stored {
                stored.await?;
            }
            Err(killed())
        })
    }
}

impl RunIndex for Mortal {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        self.alive(|store| store.claimable(now, limit))
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.inner.answers_after(seen)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.alive(|store| store.runs(query))
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        self.alive(|store| store.records(run, from, limit))
    }
}

impl EventLog for Mortal {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.alive(|store| store.append_events(run, epoch, events))
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        self.alive(|store| store.events(run, after, limit))
    }
}

impl Around for Mortal {
    fn inner(&self) -> &dyn AnyStore {
        &*self.inner
    }
}

impl Questions for Mortal {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.alive(|store| store.ask(question))
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.alive(|store| store.withdraw(id))
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.inner.answer(id, answer)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.alive(|store| store.open(run))
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.inner.answered(id)
    }
}
