//! The one retry layer: a model around a model.
//!
//! An error that a retry may help is tried again after a wait with full jitter. What was shown before is
//! void then, and watchers are told; or it is an error at once, as the policy says.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::RouteNote;
use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request, Usage};
use futures_core::Stream;
use serde::Deserialize;
use tokio::time::{Instant, Sleep, sleep};

use crate::retry_budget::RetryBudget;

/// When and how often a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// In all; 1 is no retry.
    pub attempts: u32,
    /// The first wait is at most this; each further one at most twice the one before.
    pub base: Duration,
    /// No wait without the provider's word is longer.
    pub cap: Duration,
    pub after_first_token: AfterFirstToken,
    /// All attempts and waits together.
    pub total: Duration,
}

/// What to do about a failure when something of the answer was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFirstToken {
    /// Say that the text is void, and begin again.
    #[default]
    Restart,
    Fail,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            after_first_token: AfterFirstToken::Restart,
            total: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// A provider that wants a longer wait than this is not waited for.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
    /// Calls that were told the same time spread over at least this.
    pub const SPREAD: Duration = Duration::from_secs(4);

    /// The wait before the next attempt, `failed` of them having failed. `random` is in 0..1.
    pub fn wait(&self, failed: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let backoff = self.base.saturating_mul(doubled).min(self.cap);
        match retry_after {
            Some(wait) => wait.saturating_add(Self::SPREAD.max(backoff).mul_f64(random)),
            None => backoff.mul_f64(random),
        }
    }
}

/// Gives numbers in 0..1.
pub type Random = Arc<dyn Fn() -> f64 + Send + Sync>;

/// A model that tries again.
#[derive(Clone)]
pub struct Retry {
    inner: Arc<dyn Model>,
    policy: RetryPolicy,
    budget: Arc<RetryBudget>,
    random: Random,
}

impl Retry {
    /// `budget` is the provider's: all its models share one.
    pub fn new(inner: Arc<dyn Model>, policy: RetryPolicy, budget: Arc<RetryBudget>) -> Self {
        Self { inner, policy, budget, random: Arc::new(random) }
    }

    /// Takes the jitter from elsewhere.
    #[must_use]
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("model", &self.inner.info().name).field("policy", &self.policy).finish()
    }
}

impl Model for Retry {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(RetryStream {
            retry: self.clone(),
            request,
            context,
            started: None,
            attempt: None,
            wait: None,
            failed: 0,
            shown: false,
            spent: Usage::default(),
            latest: Usage::default(),
            notes: VecDeque::new(),
            over: false,
        })
    }
}

struct RetryStream {
    retry: Retry,
    request: Request,
    context: Context,
    /// The first poll, and the time there is in all.
    started: Option<(Instant, Duration)>,
    attempt: Option<BoxStream<'static, Result<Chunk, Error>>>,
    wait: Option<Pin<Box<Sleep>>>,
    failed: u32,
    /// Whether content of the attempt under way was given.
    shown: bool,
    /// What failed attempts used.
    spent: Usage,
    /// What the attempt under way used so far.
    latest: Usage,
    notes: VecDeque<RouteNote>,
    over: bool,
}

impl Stream for RetryStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(note) = this.notes.pop_front() {
                return Poll::Ready(Some(Ok(Chunk::Note(note))));
            }
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(wait) = &mut this.wait {
                ready!(wait.as_mut().poll(cx));
                this.wait = None;
            }
            let attempt = match &mut this.attempt {
                Some(attempt) => attempt,
                None => {
                    let stream = this.begin();
                    this.attempt.insert(stream)
                }
            };
            match ready!(attempt.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => return Poll::Ready(Some(Ok(this.pass(chunk)))),
                Some(Err(error)) => {
                    // Closes the connection before the wait.
                    this.attempt = None;
                    if let Err(error) = this.again(error) {
                        this.over = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                None => {
                    this.over = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl RetryStream {
    fn begin(&mut self) -> BoxStream<'static, Result<Chunk, Error>> {
        let now = Instant::now();
        let (started, total) = *self.started.get_or_insert_with(|| {
            self.retry.budget.earn();
            let total = self.retry.policy.total;
            (now, self.context.time_left().map_or(total, |left| left.min(total)))
        });
        let context = self.context.with_time_left(total.saturating_sub(now - started));
        self.retry.inner.stream(self.request.clone(), context)
    }

    fn pass(&mut self, chunk: Chunk) -> Chunk {
        self.shown |= chunk.is_content();
        match chunk {
            Chunk::Usage(mut usage) => {
                self.latest = usage;
                usage.add(&self.spent);
                Chunk::Usage(usage)
            }
            other => other,
        }
    }

    /// Prepares the next attempt, or says why there is none.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        let policy = self.retry.policy;
        let fails = |why: &str| Err(error.clone().context(format_args!("{why}, attempt {}", self.failed)));
        if !error.is_retryable() || self.context.is_cancelled() {
            return Err(error);
        }
        if self.shown && policy.after_first_token == AfterFirstToken::Fail {
            return Err(error);
        }
        if self.failed >= policy.attempts {
            return if policy.attempts > 1 { fails("gave up") } else { Err(error) };
        }
        let asked = error.retry_after();
        if asked.is_some_and(|wait| wait > RetryPolicy::LONGEST_WAIT) {
            return fails("not tried again, for the provider asks for a longer wait than 60 s");
        }
        let wait = policy.wait(self.failed, asked, (self.retry.random)());
        let left = self.started.map(|(started, total)| total.saturating_sub(started.elapsed()));
        if left.is_some_and(|left| wait >= left) {
            return fails("not tried again, for no time is left");
        }
        if !self.retry.budget.spend() {
            return fails("not tried again, for the provider's retry budget is used up");
        }
        let target = self.retry.inner.info().name.clone();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if std::mem::take(&mut self.shown) {
            self.notes.push_back(RouteNote::Restarted { target: target.clone(), error: error.clone() });
        }
        self.notes.push_back(RouteNote::Retry { target, attempt: self.failed, error, wait_ms });
        self.spent.add(&std::mem::take(&mut self.latest));
        self.wait = Some(Box::pin(sleep(wait)));
        Ok(())
    }
}

/// A number in 0..1, good enough to spread calls: the hasher of each map has keys of its own.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
pub fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
