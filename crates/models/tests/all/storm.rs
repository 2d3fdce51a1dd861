//! A provider that refuses everybody for half a minute, on a paused clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model, Request};
use ambidex_models::{Retry, RetryBudget, RetryPolicy, collect};
use futures_util::stream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CALLERS: u64 = 1000;
const STORM: Duration = Duration::from_secs(30);

/// Answers 429 as long as the storm lasts, each answer after some tens of milliseconds.
struct Stormy {
    info: ModelInfo,
    since: Instant,
    /// What it says at this time since the storm began.
    retry_after: fn(Duration) -> Duration,
    calls: Mutex<Vec<Duration>>,
}

impl Model for Stormy {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let latency = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(self.since.elapsed());
            Duration::from_millis(20 + calls.len() as u64 * 7919 % 130)
        };
        let (since, retry_after) = (self.since, self.retry_after);
        Box::pin(stream::once(async move {
            sleep(latency).await;
            let at = since.elapsed();
            if at >= STORM {
                return Ok(Chunk::End(Finish::Stop));
            }
            let error = Error::new(ErrorKind::RateLimited, "told").with_status(429);
            Err(error.with_retry_after(Some(retry_after(at))))
        }))
    }
}

/// Notes when each call of one caller began, and what it was told.
struct Watched {
    inner: Arc<Stormy>,
    /// When the next call may begin at the earliest.
    not_before: Arc<Mutex<Option<Duration>>>,
    retries: Arc<Mutex<Vec<Duration>>>,
}

impl Model for Watched {
    fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        use futures_util::StreamExt;
        let since = self.inner.since;
        if let Some(earliest) = *self.not_before.lock().unwrap() {
            let at = since.elapsed();
            assert!(at >= earliest, "a retry at {at:?}, before the {earliest:?} it was told");
            self.retries.lock().unwrap().push(at);
        }
        let not_before = self.not_before.clone();
        let note = move |item: &Result<Chunk, Error>| {
            if let Err(error) = item {
                *not_before.lock().unwrap() = error.retry_after().map(|wait| since.elapsed() + wait);
            }
        };
        Box::pin(self.inner.stream(request, context).inspect(note))
    }
}

/// Callers that begin within `arrival`; how many calls there were, and when the retries.
async fn storm(arrival: Duration, retry_after: fn(Duration) -> Duration) -> (u64, Vec<Duration>) {
    let info = ModelInfo::new("m", "p");
    let stormy = Arc::new(Stormy { info, since: Instant::now(), retry_after, calls: Mutex::default() });
    let (budget, retries) = (Arc::new(RetryBudget::default()), Arc::default());
    let mut tasks = JoinSet::new();
    for caller in 0..CALLERS {
        let (inner, retries) = (stormy.clone(), Arc::clone(&retries));
        let watched = Arc::new(Watched { inner, not_before: Arc::default(), retries });
        let model = Retry::new(watched, RetryPolicy::default(), budget.clone());
        let begins = arrival.mul_f64(caller as f64 / CALLERS as f64);
        tasks.spawn(async move {
            sleep(begins).await;
            let context = Context::detached();
            drop(collect(model.stream(Request::user("Hi"), context)).await);
        });
    }
    tasks.join_all().await;
    let (calls, retries) = (stormy.calls.lock().unwrap().len() as u64, retries.lock().unwrap().clone());
    (calls, retries)
}

fn fullest_bin(retries: &[Duration]) -> usize {
    let mut bins = HashMap::new();
    retries.iter().for_each(|at| *bins.entry(at.as_millis() / 100).or_insert(0) += 1);
    bins.into_values().max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn in_a_storm_nobody_retries_before_he_may_nor_all_at_once_nor_too_often() {
    let whole_seconds = |at: Duration| Duration::from_secs((STORM - at).as_secs() + 1);
    for arrival in [0, 5, 25] {
        for _ in 0..5 {
            let (calls, retries) = storm(Duration::from_secs(arrival), whole_seconds).await;
            assert!(calls <= CALLERS * 12 / 10, "{calls} calls of {CALLERS} callers");
            assert!(retries.len() >= 80, "a tenth of the calls is tried again: {}", retries.len());
            let fullest = fullest_bin(&retries);
            assert!(fullest * 20 <= retries.len(), "{fullest} of {} retries within 100 ms", retries.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_the_same_wait_all_through_the_storm_is_not_asked_more() {
    for _ in 0..5 {
        let (calls, retries) = storm(Duration::ZERO, |_| Duration::from_secs(10)).await;
        assert!(calls <= CALLERS * 12 / 10, "{calls} calls of {CALLERS} callers");
        let fullest = fullest_bin(&retries);
        assert!(fullest * 20 <= retries.len(), "{fullest} of {} retries within 100 ms", retries.len());
    }
}
