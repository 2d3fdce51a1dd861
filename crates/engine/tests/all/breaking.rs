//! A store whose disk is gone after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use ambidex_core::around::Around;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};
use ambidex_core::{BoxFuture, Context};

/// Commits so often, then never again; the one at which it breaks may have been written.
pub struct Breaking {
    inner: Arc<dyn AnyStore>,
    left: AtomicI64,
    writes_the_last: bool,
}

impl Breaking {
    pub fn after(inner: Arc<dyn AnyStore>, commits: i64, writes_the_last: bool) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicI64::new(commits), writes_the_last })
    }

    pub fn broke(&self) -> bool {
        self.left.load(SeqCst) < 0
    }
}

impl Store for Breaking {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.inner.claim(run, lease, now)
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.renew(run, epoch, until)
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.inner.load(run)
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let left = self.left.fetch_sub(1, SeqCst);
        if left > 0 {
            return self.inner.commit(run, epoch, expected, batch);
        }
        let last =
            (left == 0 && self.writes_the_last).then(|| self.inner.commit(run, epoch, expected, batch));
        Box::pin(async move {
            if let Some(last) = last {
                last.await?;
            }
            Err(StoreError::Broken("the disk is gone".into()))
        })
    }
}

impl RunIndex for Breaking {
    fn claimable(&self, now: u64, limit: usize) -> BoxFuture<'static, Result<Claimable, StoreError>> {
        self.inner.claimable(now, limit)
    }

    fn answers_after(&self, seen: u64) -> BoxFuture<'static, u64> {
        self.inner.answers_after(seen)
    }

    fn runs(&self, query: RunQuery) -> BoxFuture<'static, Result<RunPage, StoreError>> {
        self.inner.runs(query)
    }

    fn records(
        &self,
        run: &str,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Record>, StoreError>> {
        self.inner.records(run, from, limit)
    }
}

impl EventLog for Breaking {
    fn append_events(
        &self,
        run: &str,
        epoch: u64,
        events: Vec<Event>,
    ) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.inner.append_events(run, epoch, events)
    }

    fn events(
        &self,
        run: &str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        self.inner.events(run, after, limit)
    }
}

impl Around for Breaking {
    fn inner(&self) -> &dyn AnyStore {
        &*self.inner
    }
}

impl Questions for Breaking {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.inner.ask(question)
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.inner.withdraw(id)
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.inner.answer(id, answer)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.inner.open(run)
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.inner.answered(id)
    }
}

/// Of calls with side effects: how often each was begun, by its key.
#[derive(Clone, Default)]
pub struct Begun(Arc<std::sync::Mutex<std::collections::BTreeMap<String, usize>>>);

impl Begun {
    pub fn count(&self, context: &Context) {
        *self.0.lock().unwrap().entry(context.idempotency_key()).or_default() += 1;
    }

    pub fn all(&self) -> std::collections::BTreeMap<String, usize> {
        self.0.lock().unwrap().clone()
    }
}
