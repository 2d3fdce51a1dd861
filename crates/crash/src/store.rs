//! A store that is the real one, but for two things: what was acknowledged is told to somebody outside, and at its
//! failpoint the process kills itself.

use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::around::Around;
use ambidex_core::event::Event;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::record::Record;
use ambidex_core::store::{
    AnyStore, Batch, Claimable, EventLog, Lease, RunIndex, RunPage, RunQuery, Store, StoreError, Stored,
};

use crate::failpoint::{Side, Step, Trigger};

/// What a store has promised, once it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promise {
    /// The run has so many records, and what this batch began and ended stands.
    Committed { run: String, records: u64, accepted: bool, finished: bool },
    /// This question has an answer.
    Answered { question: String },
    /// This run is ours.
    Claimed { run: String, epoch: u64 },
}

/// Hears of promises at once.
pub type Heard = Arc<dyn Fn(Promise) + Send + Sync>;

/// Steps, in the order in which a batch of several is looked at.
const OF_BATCHES: [Step; 10] = [
    Step::Accept,
    Step::Intent,
    Step::Result,
    Step::Snapshot,
    Step::Timer,
    Step::TimerOver,
    Step::Question,
    Step::Taken,
    Step::Finish,
    Step::Claimed,
];

/// The wrapper.
#[derive(Clone)]
pub struct WatchedStore {
    inner: Arc<dyn AnyStore>,
    trigger: Arc<Trigger>,
    heard: Heard,
}

impl WatchedStore {
    pub fn new(inner: Arc<dyn AnyStore>, trigger: Arc<Trigger>, heard: Heard) -> Self {
        Self { inner, trigger, heard }
    }
}

impl Around for WatchedStore {
    fn inner(&self) -> &dyn AnyStore {
        &*self.inner
    }
}

impl Store for WatchedStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.trigger.pass(Step::Claim, Side::Before);
        let (claim, run, this) = (self.inner.claim(run, lease, now), run.to_owned(), self.clone());
        Box::pin(async move {
            let epoch = claim.await?;
            this.trigger.pass(Step::Claim, Side::After);
            (this.heard)(Promise::Claimed { run, epoch });
            Ok(epoch)
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
        let steps: Vec<Step> = OF_BATCHES.into_iter().filter(|step| step.is_in(&batch)).collect();
        for step in &steps {
            self.trigger.pass(*step, Side::Before);
        }
        let promise = Promise::Committed {
            run: run.to_owned(),
            records: expected + u64::try_from(batch.records.len()).unwrap_or(0),
            accepted: steps.contains(&Step::Accept),
            finished: steps.contains(&Step::Finish),
        };
        let (commit, this) = (self.inner.commit(run, epoch, expected, batch), self.clone());
        Box::pin(async move {
            commit.await?;
            for step in steps {
                this.trigger.pass(step, Side::After);
            }
            (this.heard)(promise);
            Ok(())
        })
    }
}

impl Questions for WatchedStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.inner.ask(question)
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.inner.withdraw(id)
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.trigger.pass(Step::Answer, Side::Before);
        let (answering, question, this) = (self.inner.answer(id, answer), id.to_owned(), self.clone());
        Box::pin(async move {
            answering.await?;
            this.trigger.pass(Step::Answer, Side::After);
            (this.heard)(Promise::Answered { question });
            Ok(())
        })
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.inner.open(run)
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.inner.answered(id)
    }

    fn write(&self, id: &str, text: &str) -> Result<(), AnswerError> {
        self.inner.write(id, text)
    }

    fn written(&self, id: &str, seen: usize) -> BoxFuture<'static, String> {
        self.inner.written(id, seen)
    }
}

impl RunIndex for WatchedStore {
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

impl EventLog for WatchedStore {
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
