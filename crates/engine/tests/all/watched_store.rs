//! A store that counts claims, takes its time for them, and fails where it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::BoxFuture;
use ambidex_core::around::Around;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, FailureKind, Lease, RunIndex, RunPage, RunQuery, Store, StoreError,
    StoreFailure, Stored,
};

use crate::support::Gauge;

/// What a claim takes.
pub const CLAIM: Duration = Duration::from_millis(10);

pub struct Watched {
    inner: Arc<dyn AnyStore>,
    /// How often each run was claimed.
    pub claims: Mutex<BTreeMap<String, usize>>,
    /// Claims under way.
    pub gauge: Arc<Gauge>,
    /// This run commits so often, and then no more.
    pub fails: Mutex<Option<(String, usize)>>,
    /// What was added to a run since it was loaded cannot be read.
    pub is_unreadable: AtomicBool,
}

impl Watched {
    pub fn around(inner: Arc<dyn AnyStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            claims: Mutex::default(),
            gauge: Arc::default(),
            fails: Mutex::default(),
            is_unreadable: AtomicBool::new(false),
        })
    }
}

fn busy() -> StoreError {
    StoreError::Unavailable(Box::new(StoreFailure {
        kind: FailureKind::Busy,
        place: "here".into(),
        problem: "others hold it".into(),
        remedy: "Try again".into(),
    }))
}

impl Store for Watched {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        *self.claims.lock().unwrap().entry(run.to_owned()).or_default() += 1;
        let (claim, gauge) = (self.inner.claim(run, lease, now), self.gauge.clone());
        Box::pin(async move {
            let _inside = gauge.enter();
            tokio::time::sleep(CLAIM).await;
            claim.await
        })
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
        if let Some((failing, left)) = &mut *self.fails.lock().unwrap()
            && failing == run
        {
            if *left == 0 {
                return Box::pin(std::future::ready(Err(busy())));
            }
            *left -= 1;
        }
        self.inner.commit(run, epoch, expected, batch)
    }
}

impl RunIndex for Watched {
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
        if from > 0 && self.is_unreadable.load(SeqCst) {
            return Box::pin(std::future::ready(Err(busy())));
        }
        self.inner.records(run, from, limit)
    }
}

impl EventLog for Watched {
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

impl Around for Watched {
    fn inner(&self) -> &dyn AnyStore {
        &*self.inner
    }
}

impl Questions for Watched {
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
