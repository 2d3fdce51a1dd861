//! The retry layer over a model that fails as told, on a paused clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::RouteNote;
use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model, Request, Usage};
use ambidex_models::{AfterFirstToken, Retry, RetryBudget, RetryPolicy, collect};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;

type Items = Vec<Result<Chunk, Error>>;

/// Gives the n-th list of items to the n-th call, and the last one for ever.
struct Told {
    info: ModelInfo,
    calls: AtomicU32,
    attempts: Vec<Items>,
    time_left: Mutex<Vec<Option<Duration>>>,
}

impl Told {
    fn new(attempts: impl IntoIterator<Item = Items>) -> Arc<Self> {
        let (info, time_left) = (ModelInfo::new("m", "p"), Mutex::default());
        Arc::new(Self { info, calls: AtomicU32::new(0), attempts: attempts.into_iter().collect(), time_left })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Model for Told {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) as usize;
        self.time_left.lock().unwrap().push(context.time_left());
        let items = self.attempts.get(call).or(self.attempts.last()).unwrap().clone();
        Box::pin(stream::iter(items))
    }
}

fn text(text: &str) -> Result<Chunk, Error> {
    Ok(Chunk::Text { part: 0, text: text.into() })
}

fn failed(kind: ErrorKind) -> Result<Chunk, Error> {
    Err(Error::new(kind, "told"))
}

fn limited(seconds: u64) -> Result<Chunk, Error> {
    Err(Error::new(ErrorKind::RateLimited, "told").with_retry_after(Some(Duration::from_secs(seconds))))
}

fn used(output_tokens: u64) -> Result<Chunk, Error> {
    Ok(Chunk::Usage(Usage { output_tokens, ..Usage::default() }))
}

fn good() -> Items {
    vec![text("good"), used(2), Ok(Chunk::End(Finish::Stop))]
}

fn retry(model: &Arc<Told>, policy: RetryPolicy, random: f64) -> Retry {
    Retry::new(model.clone(), policy, Arc::new(RetryBudget::default())).with_random(Arc::new(move || random))
}

async fn run(model: &Retry) -> Items {
    model.stream(Request::user("Hi"), Context::detached()).collect().await
}

fn waits(items: &Items) -> Vec<u64> {
    let wait = |item: &Result<Chunk, Error>| match item {
        Ok(Chunk::Note(RouteNote::Attempt(note))) => note.wait.map(|wait| wait.as_millis() as u64),
        _ => None,
    };
    items.iter().filter_map(wait).collect()
}

#[tokio::test(start_paused = true)]
async fn the_waits_double_up_to_the_cap_with_full_jitter() {
    let told = Told::new([vec![failed(ErrorKind::Overloaded)]]);
    let policy = RetryPolicy { attempts: 9, ..RetryPolicy::default() };
    let started = Instant::now();
    let items = run(&retry(&told, policy, 1.0)).await;
    let expected = vec![500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000];
    assert_eq!(waits(&items), expected);
    let total: u64 = expected.iter().sum();
    let took = u64::try_from(started.elapsed().as_millis()).unwrap();
    assert!((total..total + 20).contains(&took), "{took}");
    assert_eq!(told.calls(), 9);
    let error = items.last().unwrap().clone().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.message().contains("gave up, attempt 9"), "{error}");
    assert_eq!(waits(&run(&retry(&told, policy, 0.0)).await), vec![0; 8]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_above_what_the_provider_asks_for_and_spread() {
    let policy = RetryPolicy::default();
    for (random, expected) in [(0.0, 10_000), (0.5, 12_000), (1.0, 14_000)] {
        let told = Told::new([vec![limited(10)], good()]);
        assert_eq!(waits(&run(&retry(&told, policy, random)).await), vec![expected]);
    }
    // A backoff above the spread takes its place.
    assert_eq!(policy.wait(6, Some(Duration::from_secs(1)), 1.0), Duration::from_secs(17));
}

#[tokio::test(start_paused = true)]
async fn a_wait_too_long_is_a_failure_at_once() {
    let fails_at_once = async |retry: Retry, told: &Told, why: &str| {
        let started = Instant::now();
        let items = run(&retry).await;
        let error = items.last().unwrap().clone().unwrap_err();
        assert!(error.kind() == ErrorKind::RateLimited && error.message().contains(why), "{error}");
        assert_eq!((told.calls(), started.elapsed()), (1, Duration::ZERO));
    };
    let told = Told::new([vec![limited(86_400)]]);
    fails_at_once(retry(&told, RetryPolicy::default(), 0.0), &told, "longer wait than 60 s").await;
    let told = Told::new([vec![limited(30)]]);
    let policy = RetryPolicy { total: Duration::from_secs(20), ..RetryPolicy::default() };
    fails_at_once(retry(&told, policy, 0.0), &told, "no time is left").await;
}

#[tokio::test(start_paused = true)]
async fn every_attempt_gets_the_time_that_is_left() {
    let told = Told::new([vec![limited(10)], good()]);
    let policy = RetryPolicy { total: Duration::from_secs(100), ..RetryPolicy::default() };
    run(&retry(&told, policy, 0.0)).await;
    let left: Vec<u64> = told.time_left.lock().unwrap().iter().map(|left| left.unwrap().as_secs()).collect();
    assert!(left == [100, 90] || left == [100, 89], "{left:?}");
    let context = Context::detached().with_time_left(Duration::from_secs(7));
    let told = Told::new([good()]);
    let _: Items = retry(&told, policy, 0.0).stream(Request::user("Hi"), context).collect().await;
    assert_eq!(*told.time_left.lock().unwrap(), [Some(Duration::from_secs(7))]);
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_cannot_help_is_not_retried() {
    for (kind, _, retryable) in ErrorKind::ALL {
        let told = Told::new([vec![failed(*kind)], good()]);
        let items = run(&retry(&told, RetryPolicy::default(), 0.0)).await;
        assert_eq!(told.calls(), if *retryable { 2 } else { 1 }, "{kind}");
        assert_eq!(items.last().unwrap().is_ok(), *retryable, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_first_token_the_text_is_void_or_the_call_fails() {
    let attempts = || [vec![text("half"), used(5), failed(ErrorKind::StreamTruncated)], good()];
    let told = Told::new(attempts());
    let model = retry(&told, RetryPolicy::default(), 0.0);
    let items = run(&model).await;
    let position = |wanted: fn(&Chunk) -> bool| items.iter().position(|item| item.as_ref().is_ok_and(wanted));
    let void = position(|chunk| matches!(chunk, Chunk::Note(RouteNote::Restarted { .. }))).unwrap();
    assert!(position(|chunk| matches!(chunk, Chunk::Text { text, .. } if text == "half")).unwrap() < void);
    assert!(position(|chunk| matches!(chunk, Chunk::Text { text, .. } if text == "good")).unwrap() > void);
    let told = Told::new(attempts());
    let reply =
        collect(retry(&told, RetryPolicy::default(), 0.0).stream(Request::user("Hi"), Context::detached()))
            .await
            .unwrap();
    assert_eq!(reply.text(), "good");
    assert_eq!(reply.usage.output_tokens, 7, "the voided attempt was paid for too");

    let told = Told::new(attempts());
    let policy = RetryPolicy { after_first_token: AfterFirstToken::Fail, ..RetryPolicy::default() };
    let items = run(&retry(&told, policy, 0.0)).await;
    assert_eq!(items.last().unwrap().clone().unwrap_err().kind(), ErrorKind::StreamTruncated);
    assert_eq!(told.calls(), 1);
    // Nothing was shown: still a silent retry.
    let told = Told::new([vec![used(1), failed(ErrorKind::StreamTruncated)], good()]);
    let items = run(&retry(&told, policy, 0.0)).await;
    assert!(items.last().unwrap().is_ok() && told.calls() == 2);
    assert!(!items.iter().any(|item| matches!(item, Ok(Chunk::Note(RouteNote::Restarted { .. })))));
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_tenth_of_the_calls_after_a_burst_of_ten() {
    let told = Told::new([vec![failed(ErrorKind::Overloaded)]]);
    let policy = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let model = retry(&told, policy, 0.0);
    let calls = 200;
    let mut used_up = 0;
    for _ in 0..calls {
        let error = run(&model).await.last().unwrap().clone().unwrap_err();
        used_up += u32::from(error.message().contains("retry budget"));
    }
    let retries = told.calls() - calls;
    // Ten at first; then a tenth of the 200 calls, less what the full bucket could not take.
    assert!((28..=30).contains(&retries), "{retries}");
    assert_eq!(used_up, calls - retries);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_not_tried_again() {
    let told = Told::new([vec![failed(ErrorKind::Overloaded)], good()]);
    let context = Context::detached();
    let mut stream = retry(&told, RetryPolicy::default(), 0.0).stream(Request::user("Hi"), context.clone());
    context.token().cancel();
    assert!(stream.next().await.unwrap().is_err());
    assert!(stream.next().await.is_none());
    assert_eq!(told.calls(), 1);
}
