//! Limits of a provider over models that take their time, on a paused clock.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::context::{EventSink, RunScope};
use ambidex_core::event::EventKind;
use ambidex_core::model::{ModelInfo, Settings};
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Finish, Model, Request, Usage};
use ambidex_models::limit::{Limit, Limiter, Limits};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

/// Answers after a while, and keeps count.
struct Slow {
    info: ModelInfo,
    takes: Duration,
    /// What the n-th call uses.
    usage: Box<dyn Fn(u64) -> Result<Usage, Error> + Send + Sync>,
    started: Mutex<Vec<(Instant, String)>>,
    running: Arc<AtomicU32>,
    most: AtomicU32,
}

impl Slow {
    fn new(takes: Duration) -> Arc<Self> {
        Self::using(takes, |_| Ok(Usage::default()))
    }

    fn using(
        takes: Duration,
        usage: impl Fn(u64) -> Result<Usage, Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo::new("slow", "p"),
            takes,
            usage: Box::new(usage),
            started: Mutex::default(),
            running: Arc::default(),
            most: AtomicU32::default(),
        })
    }

    /// When calls began, since the first.
    fn starts(&self) -> Vec<Duration> {
        let started = self.started.lock().unwrap();
        started.iter().map(|(at, _)| *at - started[0].0).collect()
    }

    fn order(&self) -> Vec<String> {
        self.started.lock().unwrap().iter().map(|(_, run)| run.clone()).collect()
    }
}

struct Running(Arc<AtomicU32>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Model for Slow {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let number = {
            let mut started = self.started.lock().unwrap();
            started.push((Instant::now(), context.run().to_owned()));
            started.len() as u64 - 1
        };
        let now = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let (takes, usage) = (self.takes, (self.usage)(number));
        let running = Running(self.running.clone());
        let answer = async move {
            sleep(takes).await;
            match usage {
                Ok(usage) => {
                    vec![
                        Ok(Chunk::Text { part: 0, text: "yes".into() }),
                        Ok(Chunk::Usage(usage)),
                        Ok(Chunk::End(Finish::Stop)),
                    ]
                }
                Err(error) => vec![Err(error)],
            }
        };
        // The guard ends with the stream, not with its last item.
        Box::pin(stream::once(answer).flat_map(stream::iter).map(move |item| {
            let _ = &running;
            item
        }))
    }
}

fn context(run: &str) -> Context {
    context_with(run, CancellationToken::new(), None)
}

fn context_with(run: &str, token: CancellationToken, left: Option<Duration>) -> Context {
    let scope = RunScope { run: run.into(), ..RunScope::default() };
    Context::new(Arc::new(scope), "m1".into(), 1, token, left)
}

fn limited(model: &Arc<Slow>, limits: Limits) -> (Limit, Arc<Limiter>) {
    let limiter = Arc::new(Limiter::new("p", limits));
    (Limit::new(model.clone(), limiter.clone()), limiter)
}

async fn call(model: &Limit, context: Context) -> Result<(), Error> {
    call_with(model, Request::user("Hi"), context).await
}

async fn call_with(model: &Limit, request: Request, context: Context) -> Result<(), Error> {
    let mut stream = model.stream(request, context);
    while let Some(item) = stream.next().await {
        item?;
    }
    Ok(())
}

fn used(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

/// Some number, the same for each call and run of the test.
fn mixed(number: u64) -> u64 {
    number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

/// How long each run waited for each of its calls.
type Waits = Arc<Mutex<HashMap<usize, Vec<Duration>>>>;

/// So many runs that call one after another for three minutes; their waits, those of the start left out.
async fn three_minutes(model: &Limit, runs: usize, takes: Duration, request: &Request) -> Waits {
    let waits = Waits::default();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for run in 0..runs {
        let (model, request, waits) = (model.clone(), request.clone(), waits.clone());
        tasks.spawn(async move {
            let context = context(&format!("run {run}"));
            loop {
                let asked = Instant::now();
                call_with(&model, request.clone(), context.clone()).await.unwrap();
                if asked - started > Duration::from_secs(10) {
                    waits.lock().unwrap().entry(run).or_default().push(asked.elapsed() - takes);
                }
            }
        });
    }
    sleep(3 * MINUTE).await;
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    waits
}

/// No wait and no run's mean is more than twice the mean of all.
fn assert_fair(waits: &Waits, runs: usize) {
    let waits = waits.lock().unwrap();
    assert_eq!(waits.len(), runs, "every run went on");
    let mean = |waits: &[Duration]| waits.iter().sum::<Duration>() / u32::try_from(waits.len()).unwrap();
    let all: Vec<Duration> = waits.values().flatten().copied().collect();
    let overall = mean(&all);
    assert!(overall > Duration::from_secs(1), "they do wait: {overall:?}");
    let longest = all.iter().max().unwrap();
    assert!(*longest <= overall * 2, "a call waited {longest:?}, the mean is {overall:?}");
    for (run, waits) in waits.iter() {
        assert!(mean(waits) <= overall * 2, "run {run} waits {:?}, the mean is {overall:?}", mean(waits));
    }
}

/// The most in any minute.
fn busiest(events: &[(Duration, u64)]) -> u64 {
    let within = |from: Duration| events.iter().filter(move |(at, _)| (from..from + MINUTE).contains(at));
    events.iter().map(|(from, _)| within(*from).map(|(_, amount)| amount).sum()).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn six_hundred_requests_per_minute_are_held_over_three_minutes_and_shared_fairly() {
    let takes = Duration::from_millis(700);
    let slow = Slow::new(takes);
    let (model, limiter) = limited(&slow, Limits { requests_per_minute: Some(600), ..Limits::default() });
    let waits = three_minutes(&model, 50, takes, &Request::user("Hi")).await;
    let starts = slow.starts();
    assert!((1764..=1836).contains(&starts.len()), "{} requests in three minutes", starts.len());
    let busiest = busiest(&starts.iter().map(|at| (*at, 1)).collect::<Vec<_>>());
    assert!(busiest <= 600, "{busiest} requests in one minute");
    assert_fair(&waits, 50);
    assert_eq!((limiter.running(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_tokens_per_minute_are_held_over_three_minutes_and_shared_fairly() {
    // The prompt is estimated about right; the limit of the reply is far above what replies have.
    let truth = |number: u64| used(1200 + mixed(number) % 100, 300 + mixed(number) % 400);
    let takes = Duration::from_secs(2);
    let slow = Slow::using(takes, move |number| Ok(truth(number)));
    let (model, limiter) = limited(&slow, Limits { tokens_per_minute: Some(100_000), ..Limits::default() });
    let settings = Settings { max_tokens: Some(4096), ..Settings::default() };
    let request = Request { settings: Arc::new(settings), ..Request::user("x".repeat(5000)) };
    let waits = three_minutes(&model, 50, takes, &request).await;
    let tokens = |(number, at): (usize, &Duration)| (*at, truth(number as u64).total_tokens());
    let events: Vec<_> = slow.starts().iter().enumerate().map(tokens).collect();
    let all: u64 = events.iter().map(|(_, tokens)| tokens).sum();
    assert!((294_000..=306_000).contains(&all), "{all} tokens in three minutes");
    let busiest = busiest(&events);
    assert!(busiest <= 102_000, "{busiest} tokens in one minute");
    assert_fair(&waits, 50);
    assert_eq!((limiter.running(), limiter.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn both_rates_hold_together() {
    let takes = Duration::from_secs(1);
    let slow = Slow::using(takes, |_| Ok(used(100, 60)));
    let limits =
        Limits { requests_per_minute: Some(600), tokens_per_minute: Some(100_000), ..Limits::default() };
    let (model, _) = limited(&slow, limits);
    let waits = three_minutes(&model, 50, takes, &Request::user("x".repeat(400))).await;
    let calls = slow.starts().len() as u64;
    assert!((1764..=1836).contains(&calls) && calls * 160 <= 306_000, "{calls} requests in three minutes");
    assert_fair(&waits, 50);
}

#[tokio::test(start_paused = true)]
async fn a_small_limit_is_not_spread_for_one_who_comes_alone() {
    let slow = Slow::new(Duration::from_secs(1));
    let (model, _) = limited(&slow, Limits { requests_per_minute: Some(5), ..Limits::default() });
    for _ in 0..7 {
        call(&model, context("a")).await.unwrap();
    }
    let starts: Vec<u64> = slow.starts().iter().map(Duration::as_secs).collect();
    assert_eq!(starts, [0, 1, 2, 3, 4, 60, 61]);
}

#[tokio::test(start_paused = true)]
async fn a_call_larger_than_the_limit_goes_alone_in_its_minute() {
    let slow = Slow::using(Duration::from_secs(1), |_| Ok(used(20_000, 0)));
    let (model, _) = limited(&slow, Limits { tokens_per_minute: Some(10_000), ..Limits::default() });
    for _ in 0..3 {
        let request = Request::user("x".repeat(80_000));
        call_with(&model, request, context("a")).await.unwrap();
    }
    assert_eq!(slow.starts().iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 60, 120]);
}

#[tokio::test(start_paused = true)]
async fn whatever_a_provider_says_was_used_nobody_waits_for_ever() {
    let slow = Slow::using(Duration::from_secs(1), |_| Ok(used(u64::MAX, u64::MAX)));
    let (model, _) = limited(&slow, Limits { tokens_per_minute: Some(10_000), ..Limits::default() });
    let started = Instant::now();
    for _ in 0..3 {
        call(&model, context("a")).await.unwrap();
    }
    assert!(started.elapsed() <= Duration::from_secs(130), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_stream_has_ended_failed_or_is_dropped() {
    let fails = |number| match number {
        1 => Err(Error::new(ErrorKind::Overloaded, "told")),
        _ => Ok(Usage::default()),
    };
    let slow = Slow::using(Duration::from_secs(1), fails);
    let (model, limiter) = limited(&slow, Limits { concurrent: Some(1), ..Limits::default() });
    let mut ended = model.stream(Request::user("Hi"), context("a"));
    assert_eq!(limiter.running(), 0, "nothing happens before the first poll");
    assert!(ended.next().await.is_some());
    assert_eq!(limiter.running(), 1);
    let mut next = model.stream(Request::user("Hi"), context("a"));
    assert!(timeout(MINUTE, next.next()).await.is_err(), "it has content, but has not ended");
    assert!(ended.by_ref().count().await == 2 && limiter.running() == 1);
    assert!(next.next().await.unwrap().is_err());
    assert_eq!(limiter.running(), 0, "an error is the end");
    let mut dropped = model.stream(Request::user("Hi"), context("a"));
    assert!(dropped.next().await.is_some());
    assert_eq!(limiter.running(), 1);
    drop(dropped);
    assert_eq!(limiter.running(), 0);
    call(&model, context("a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn models_of_one_key_share_its_places() {
    let (one, two) = (Slow::new(Duration::from_secs(1)), Slow::new(Duration::from_secs(1)));
    let limits = Limits { concurrent: Some(2), ..Limits::default() };
    let (first, limiter) = limited(&one, limits);
    let second = Limit::new(two.clone(), limiter);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        for model in [first.clone(), second.clone()] {
            tasks.spawn(async move { call(&model, context("a")).await.unwrap() });
        }
    }
    let started = Instant::now();
    tasks.join_all().await;
    assert_eq!(started.elapsed().as_secs(), 4);
    assert!(one.most.load(Ordering::Relaxed) <= 2 && two.most.load(Ordering::Relaxed) <= 2);
}

#[tokio::test(start_paused = true)]
async fn runs_take_turns_however_many_calls_they_have() {
    let slow = Slow::new(Duration::from_secs(1));
    let limits = Limits { concurrent: Some(1), queue: Some(100), ..Limits::default() };
    let (model, limiter) = limited(&slow, limits);
    let mut tasks = JoinSet::new();
    for run in ["a", "a", "a", "a", "b", "b", "c"] {
        let model = model.clone();
        tasks.spawn(async move { call(&model, context(run)).await.unwrap() });
        tokio::task::yield_now().await;
    }
    assert_eq!(limiter.waiting(), 6);
    tasks.join_all().await;
    // The first was in at once.
    assert_eq!(slow.order(), ["a", "a", "b", "c", "a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_busy_and_says_when_to_come_back() {
    let slow = Slow::new(Duration::from_secs(10));
    let limits = Limits { concurrent: Some(2), ..Limits::default() };
    assert_eq!(limits.queue_size(), 256, "at least");
    assert_eq!(Limits { concurrent: Some(100), ..limits }.queue_size(), 400, "four times the limit");
    let (model, limiter) = limited(&slow, Limits { queue: Some(8), ..limits });
    call(&model, context("first")).await.unwrap();
    let mut tasks = JoinSet::new();
    for run in 0..10 {
        let model = model.clone();
        tasks.spawn(async move { call(&model, context(&format!("{run}"))).await });
        tokio::task::yield_now().await;
    }
    assert_eq!((limiter.running(), limiter.waiting()), (2, 8), "no more than may wait");
    let error = call(&model, context("late")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable(), error.provider()), (ErrorKind::Busy, true, Some("p")));
    assert!(error.message().contains("8 calls wait for provider `p`"), "{error}");
    assert!(error.message().contains("2 calls at once"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(20)), "half the queue, two at once, 10 s each");
    assert!(tasks.join_all().await.into_iter().all(|ended| ended.is_ok()));
    assert_eq!(Limits { queue: Some(3), ..*limiter.limits() }.queue_size(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_its_time_and_its_run() {
    let slow = Slow::new(Duration::from_secs(100));
    let (model, limiter) = limited(&slow, Limits { concurrent: Some(1), ..Limits::default() });
    let mut holds = model.stream(Request::user("Hi"), context("a"));
    assert!(holds.next().now_or_never().is_none());
    let started = Instant::now();
    let late = context_with("b", CancellationToken::new(), Some(Duration::from_secs(7)));
    let error = call(&model, late).await.unwrap_err();
    assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::Busy, 7));
    assert!(error.message().contains("7.0 s in the queue of provider `p`"), "{error}");

    let token = CancellationToken::new();
    let cancelled = call(&model, context_with("c", token.clone(), None));
    let (error, ()) = tokio::join!(cancelled, async {
        sleep(Duration::from_secs(1)).await;
        token.cancel();
    });
    assert_eq!((error.unwrap_err().kind(), started.elapsed().as_secs()), (ErrorKind::Cancelled, 8));
    assert_eq!((limiter.running(), limiter.waiting(), slow.starts().len()), (1, 0, 1));
    let error = call(&model, context_with("c", token, None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn watchers_hear_once_of_a_wait_that_is_worth_a_word() {
    struct Sink;
    impl EventSink for Sink {
        fn emit(&self, _: &Arc<str>, _: u32, _: EventKind) {}
    }
    let slow = Slow::new(Duration::from_secs(10));
    let (model, _) = limited(&slow, Limits { concurrent: Some(1), ..Limits::default() });
    let watched = || {
        let sink: Option<Arc<dyn EventSink>> = Some(Arc::new(Sink));
        let scope = RunScope { run: "b".into(), sink, ..RunScope::default() };
        Context::new(Arc::new(scope), "m1".into(), 1, CancellationToken::new(), None)
    };
    let mut holds = model.stream(Request::user("Hi"), watched());
    assert!(holds.next().now_or_never().is_none());
    let mut waits = model.stream(Request::user("Hi"), watched());
    let mut unwatched = model.stream(Request::user("Hi"), context("a"));
    let started = Instant::now();
    let (note, _) = tokio::join!(waits.next(), async { unwatched.next().now_or_never() });
    let Chunk::Note(note) = note.unwrap().unwrap() else { panic!("no note") };
    assert_eq!(started.elapsed().as_secs(), 1);
    let EventKind::Note { text } = EventKind::from(note) else { panic!("no note of it") };
    assert_eq!(text, "`slow` waits for a place at provider `p`; 2 calls do (its limits: 1 calls at once)");
    drop(holds);
    let rest: Vec<_> = waits.collect().await;
    assert!(rest.iter().all(|item| !matches!(item, Ok(Chunk::Note(_)))), "{rest:?}");
    let rest: Vec<_> = unwatched.collect().await;
    assert!(rest.iter().all(|item| !matches!(item, Ok(Chunk::Note(_)))), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_time_after_the_wait_is_passed_on() {
    struct Asks(ModelInfo, Mutex<Option<Duration>>);
    impl Model for Asks {
        fn info(&self) -> &ModelInfo {
            &self.0
        }
        fn stream(&self, _: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
            *self.1.lock().unwrap() = context.time_left();
            Box::pin(stream::iter([Ok(Chunk::End(Finish::Stop))]))
        }
    }
    let slow = Slow::new(Duration::from_secs(3));
    let (first, limiter) = limited(&slow, Limits { concurrent: Some(1), ..Limits::default() });
    let asks = Arc::new(Asks(ModelInfo::new("m", "p"), Mutex::default()));
    let second = Limit::new(asks.clone(), limiter);
    let ten = context_with("b", CancellationToken::new(), Some(Duration::from_secs(10)));
    let (one, two) = tokio::join!(call(&first, context("a")), call(&second, ten));
    assert!(one.is_ok() && two.is_ok());
    let left = asks.1.lock().unwrap().unwrap();
    assert!(left <= Duration::from_secs(7) && left > Duration::from_secs(6), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_watched_by_the_next_when_the_first_in_the_queue_leaves() {
    let slow = Slow::new(Duration::ZERO);
    let (model, limiter) = limited(&slow, Limits { requests_per_minute: Some(1), ..Limits::default() });
    call(&model, context("a")).await.unwrap();
    let mut first = model.stream(Request::user("Hi"), context("b"));
    assert!(first.next().now_or_never().is_none());
    let second = tokio::spawn({
        let model = model.clone();
        async move { call(&model, context("c")).await }
    });
    sleep(Duration::from_secs(30)).await;
    assert_eq!(limiter.waiting(), 2);
    drop(first);
    timeout(Duration::from_secs(31), second).await.expect("somebody watches the clock").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_given_to_a_call_that_left_goes_to_the_next() {
    let slow = Slow::new(Duration::from_secs(1));
    let (model, limiter) = limited(&slow, Limits { concurrent: Some(1), ..Limits::default() });
    let mut holds = model.stream(Request::user("Hi"), context("a"));
    assert!(holds.next().now_or_never().is_none());
    let mut next = model.stream(Request::user("Hi"), context("b"));
    assert!(next.next().now_or_never().is_none());
    drop(holds);
    assert_eq!((limiter.running(), limiter.waiting()), (1, 0), "it is the next one's, who was not polled");
    let waits = call(&model, context("c"));
    let (ended, ()) = tokio::join!(timeout(MINUTE, waits), async { drop(next) });
    ended.unwrap().unwrap();
    assert_eq!((limiter.running(), slow.starts().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_used_is_given_back() {
    // A refusal uses no tokens; a call that hung up has used its prompt.
    let refused = |_| Err(Error::new(ErrorKind::RateLimited, "told"));
    let slow = Slow::using(Duration::from_secs(1), refused);
    let limits = Limits { tokens_per_minute: Some(1000), ..Limits::default() };
    let (model, _) = limited(&slow, limits);
    let settings = Settings { max_tokens: Some(900), ..Settings::default() };
    let request = Request { settings: Arc::new(settings), ..Request::user("x".repeat(160)) };
    let started = Instant::now();
    for _ in 0..5 {
        assert!(call_with(&model, request.clone(), context("a")).await.is_err());
    }
    assert_eq!(started.elapsed().as_secs(), 5, "none waited for another");
    for _ in 0..2 {
        let mut hangs_up = model.stream(request.clone(), context("a"));
        assert!(hangs_up.next().now_or_never().is_none());
    }
    assert_eq!(started.elapsed().as_secs(), 5);
    let (ended, ()) = tokio::join!(call_with(&model, request, context("a")), async {});
    assert!(ended.is_err() && started.elapsed() > Duration::from_secs(7), "two prompts take some seconds");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_wait_behind_one_place_and_each_gets_its_turn() {
    const CALLS: usize = 10_000;
    let slow = Slow::new(Duration::from_millis(1));
    let limits = Limits { concurrent: Some(1), queue: Some(10_000), ..Limits::default() };
    let (model, limiter) = limited(&slow, limits);
    let ended = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..CALLS {
        let (model, ended) = (model.clone(), ended.clone());
        tasks.spawn(async move {
            call(&model, context(&format!("{}", number % 100))).await.unwrap();
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    while limiter.waiting() < CALLS - 1 {
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert_eq!(ended.load(Ordering::Relaxed), CALLS);
    assert_eq!(slow.most.load(Ordering::Relaxed), 1);
    for (round, runs) in slow.order()[1..].chunks(100).enumerate().take(99) {
        let distinct: std::collections::HashSet<_> = runs.iter().collect();
        assert_eq!(distinct.len(), runs.len(), "every run has one turn in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_callers_do_the_limits_hold_and_nothing_is_left_behind() {
    for seed in 0..20 {
        let fails = move |number| match mixed(seed * 1000 + number) % 5 {
            0 => Err(Error::new(ErrorKind::Overloaded, "told")),
            _ => Ok(used(mixed(number) % 300, mixed(number + 7) % 300)),
        };
        let slow = Slow::using(Duration::from_millis(300), fails);
        let limits = Limits {
            concurrent: Some(7),
            requests_per_minute: Some(900),
            tokens_per_minute: Some(200_000),
            queue: Some(400),
        };
        let (model, limiter) = limited(&slow, limits);
        let mut tasks = JoinSet::new();
        for number in 0..300_u64 {
            let (model, token) = (model.clone(), CancellationToken::new());
            let say = mixed(seed * 7919 + number);
            let left = say.is_multiple_of(3).then(|| Duration::from_millis(say % 20_000));
            let context = context_with(&format!("{}", number % 9), token.clone(), left);
            tasks.spawn(async move {
                let patience = Duration::from_millis(say % 30_000);
                match say % 4 {
                    0 => drop(timeout(patience, call(&model, context)).await),
                    1 => {
                        let _ = tokio::join!(call(&model, context), async {
                            sleep(patience).await;
                            token.cancel();
                        });
                    }
                    _ => drop(call(&model, context).await),
                }
            });
        }
        timeout(20 * MINUTE, tasks.join_all()).await.expect("nobody waits for ever");
        assert_eq!((limiter.running(), limiter.waiting()), (0, 0), "seed {seed}");
        assert!(slow.most.load(Ordering::Relaxed) <= 7, "seed {seed}");
        let busiest = busiest(&slow.starts().iter().map(|at| (*at, 1)).collect::<Vec<_>>());
        assert!(busiest <= 900, "seed {seed}: {busiest}");
        call(&model, context("after")).await.ok();
    }
}
