//! A store that is slow to say that it has stored something.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::around::Around;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};

/// The commit of this number, counted from 0, is stored at once, and heard of that much later.
pub struct Late {
    inner: Arc<dyn AnyStore>,
    left: AtomicI64,
    by: Duration,
}

impl Late {
    pub fn at(inner: Arc<dyn AnyStore>, commit: i64, by: Duration) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicI64::new(commit), by })
    }
}

impl Store for Late {
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
        let commit = self.inner.commit(run, epoch, expected, batch);
        let late = (self.left.fetch_sub(1, SeqCst) == 0).then_some(self.by);
        Box::pin(async move {
            commit.await?;
            if let Some(by) = late {
                tokio::time::sleep(by).await;
            }
            Ok(())
        })
    }
}

impl RunIndex for Late {
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

impl EventLog for Late {
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

impl Around for Late {
    fn inner(&self) -> &dyn AnyStore {
        &*self.inner
    }
}

impl Questions for Late {
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
