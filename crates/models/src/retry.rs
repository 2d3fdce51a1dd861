//! The one retry layer: a model around a model.
//!
//! An error that a retry may help is tried again after a wait with full jitter. What was shown before is
//! void then, and watchers are told; or it is an error at once, as the policy says.
//!
//! Retries do not multiply: the outermost retry around a call is the one that acts. It marks the context of
//! its attempts, and a retry that finds the mark passes the call on once. So a route with a retry around it
//! asks its targets once in each round, though each may have a retry of its own for when it is used alone.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::chunk::{AttemptEnd, AttemptNote, RouteNote};
use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request, Usage};
use futures_core::Stream;
use serde::Deserialize;
use tokio::time::{Instant, Sleep, sleep};

use crate::adapter::truncated;
use crate::meter::Meter;
use crate::retry_budget::RetryBudget;

/// When and how often a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// In all; 1 is no retry, and leaves it to a retry further in.
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
        let (floor, span) = self.window(failed, retry_after);
        floor.saturating_add(span.mul_f64(random))
    }

    /// The least that wait may be, and what comes on top at most.
    fn window(&self, failed: u32, retry_after: Option<Duration>) -> (Duration, Duration) {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let backoff = self.base.saturating_mul(doubled).min(self.cap);
        match retry_after {
            Some(wait) => (wait, Self::SPREAD.max(backoff)),
            None => (Duration::ZERO, backoff),
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
    /// In place of the budget's spread.
    random: Option<Random>,
}

impl Retry {
    /// `budget` is the provider's: all its models share one.
    pub fn new(inner: Arc<dyn Model>, policy: RetryPolicy, budget: Arc<RetryBudget>) -> Self {
        Self { inner, policy, budget, random: None }
    }

    /// Takes the jitter from elsewhere.
    #[must_use]
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = Some(random);
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
        if self.policy.attempts <= 1 || context.is_in_retry() {
            let total = self.policy.total;
            let left = context.time_left().map_or(total, |left| left.min(total));
            return self.inner.stream(request, context.with_time_left(left));
        }
        Box::pin(RetryStream {
            retry: self.clone(),
            request,
            context: context.in_retry(),
            started: None,
            attempt: None,
            wait: None,
            failed: 0,
            meter: Meter::default(),
            since: None,
            first_token: None,
            spent: Usage::default(),
            ready: VecDeque::new(),
            over: false,
        })
    }
}

struct RetryStream {
    retry: Retry,
    request: Request,
    context: Context,
    /// The first poll, the time there is in all, and what the run had waited for people until then.
    started: Option<(Instant, Duration, Duration)>,
    attempt: Option<BoxStream<'static, Result<Chunk, Error>>>,
    wait: Option<Pin<Box<Sleep>>>,
    failed: u32,
    /// Of the attempt under way: what it gave, when it began, and how long its first content took.
    meter: Meter,
    since: Option<Instant>,
    first_token: Option<Duration>,
    /// What failed attempts used.
    spent: Usage,
    /// To be given before anything else.
    ready: VecDeque<Result<Chunk, Error>>,
    over: bool,
}

impl Stream for RetryStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(item));
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
                None if this.meter.whole => {
                    this.over = true;
                    return Poll::Ready(None);
                }
                ended => {
                    let error = match ended {
                        Some(Err(error)) => error,
                        _ => truncated("it ends without its end"),
                    };
                    // Closes the connection before the wait.
                    this.attempt = None;
                    if let Err(error) = this.again(error) {
                        this.over = true;
                        this.ready.push_back(Err(error));
                    }
                }
            }
        }
    }
}

impl RetryStream {
    fn begin(&mut self) -> BoxStream<'static, Result<Chunk, Error>> {
        let now = Instant::now();
        let (_, total, _) = *self.started.get_or_insert_with(|| {
            let total = self.retry.policy.total;
            (now, self.context.time_left().map_or(total, |left| left.min(total)), self.context.waited())
        });
        let counts = self.retry.policy.after_first_token == AfterFirstToken::Fail;
        self.meter = Meter::new(counts);
        self.meter.asked = true;
        (self.since, self.first_token) = (Some(now), None);
        let context = self.context.with_time_left(total.saturating_sub(self.used()));
        self.retry.inner.stream(self.request.clone(), context)
    }

    /// The part of the time there is in all that is used up: a person's time is not counted.
    fn used(&self) -> Duration {
        let waited = |before| self.context.waited().saturating_sub(before);
        self.started
            .map_or(Duration::ZERO, |(started, _, before)| started.elapsed().saturating_sub(waited(before)))
    }

    fn pass(&mut self, mut chunk: Chunk) -> Chunk {
        let shown = self.meter.shown;
        self.meter.see(&chunk);
        if self.failed == 0 && matches!(chunk, Chunk::End(_)) {
            self.retry.budget.earn();
        }
        if !shown && self.meter.shown {
            self.first_token = self.since.map(|since| since.elapsed());
        }
        if let Chunk::Usage(usage) = &mut chunk {
            usage.add(&self.spent);
        }
        chunk
    }

    /// Prepares the next attempt, or says why there is none.
    fn again(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        if self.failed == 1 {
            self.retry.budget.earn();
        }
        let used = self.meter.spent(&self.request, self.retry.inner.info(), Some(&error));
        self.spent.add(&used);
        let (wait, result) = match self.wait_for(&error) {
            Ok(wait) => (Some(wait), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let target: Arc<str> = self.retry.inner.info().name.as_str().into();
        if wait.is_some() && self.meter.given {
            let note = RouteNote::Restarted { target: target.clone(), error: error.clone() };
            self.ready.push_back(Ok(Chunk::Note(note)));
        }
        if wait.is_some() {
            let note = AttemptNote {
                route: target.clone(),
                target,
                attempt: self.failed,
                end: AttemptEnd::Failed(error),
                took: self.since.map_or(Duration::ZERO, |since| since.elapsed()),
                first_token: self.first_token,
                usage: used,
                wait,
            };
            self.ready.push_back(Ok(Chunk::Note(RouteNote::Attempt(Box::new(note)))));
        }
        // Whoever is around hears of it also when no further attempt reports anything.
        if self.spent != Usage::default() {
            self.ready.push_back(Ok(Chunk::Usage(self.spent)));
        }
        self.wait = wait.map(|wait| Box::pin(sleep(wait)));
        result
    }

    /// How long to wait before the next attempt.
    ///
    /// # Errors
    /// There is none, and why.
    fn wait_for(&self, error: &Error) -> Result<Duration, Error> {
        let policy = self.retry.policy;
        let fails = |why: &str| Err(error.clone().context(format_args!("{why}, attempt {}", self.failed)));
        if !error.is_retryable() || self.context.is_cancelled() {
            return Err(error.clone());
        }
        if self.meter.shown && policy.after_first_token == AfterFirstToken::Fail {
            return Err(error.clone().after_shown(self.meter.characters));
        }
        if self.failed >= policy.attempts {
            return fails("gave up");
        }
        let asked = error.retry_after();
        if asked.is_some_and(|wait| wait > RetryPolicy::LONGEST_WAIT) {
            return fails("not tried again, for the provider asks for a longer wait than 60 s");
        }
        let (floor, span) = policy.window(self.failed, asked);
        let left = self.started.map(|(_, total, _)| total.saturating_sub(self.used()));
        let span = left.map_or(span, |left| span.min(left.saturating_sub(floor)));
        if left.is_some_and(|left| floor >= left) {
            return fails("not tried again, for no time is left");
        }
        if !self.retry.budget.spend() {
            return fails("not tried again, for the provider's retry budget is used up");
        }
        let place = match &self.retry.random {
            Some(random) => random(),
            None => self.retry.budget.spread(floor, span),
        };
        let wait = floor.saturating_add(span.mul_f64(place));
        Ok(wait)
    }
}

/// A number in 0..1, good enough to spread calls: the hasher of each map has keys of its own.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
pub fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
