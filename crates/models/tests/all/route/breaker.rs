//! A target that failed too often.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::{Chunk, Context, Error, ErrorKind, Model, Request};
use ambidex_models::route::{Breaker, BreakerPolicy, BreakerState, Fallback};
use futures_util::StreamExt;
use tokio::time::{Instant, advance};

use super::support::*;

fn breaker(plays: impl IntoIterator<Item = Vec<Step>>) -> (Arc<Told>, Breaker) {
    let told = Told::new("t", plays).arc();
    (told.clone(), Breaker::new(told, BreakerPolicy::default()))
}

fn down() -> Vec<Step> {
    vec![fail(ErrorKind::ConnectFailed)]
}

async fn codes(breaker: &Breaker, calls: usize) -> Vec<&'static str> {
    let mut codes = Vec::new();
    for _ in 0..calls {
        codes.push(ask(breaker).await.err().map_or("ok", |error| error.code()));
    }
    codes
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it_and_probes_double_the_time() {
    let (told, breaker) = breaker([down()]);
    assert_eq!(codes(&breaker, 7).await[4..], ["connect_failed", "breaker_open", "breaker_open"]);
    assert_eq!(told.calls(), 5);
    let error = ask(&breaker).await.unwrap_err();
    assert!(error.is_retryable() && error.message().contains("15.0 s"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(15)));
    let mut calls = 5;
    for seconds in [15, 30, 60, 120, 240, 300, 300] {
        assert_eq!(breaker.state(), BreakerState::Open(Duration::from_secs(seconds)));
        advance(Duration::from_millis(seconds * 1000 - 1)).await;
        assert_eq!(codes(&breaker, 2).await, ["breaker_open"; 2]);
        advance(Duration::from_millis(1)).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(codes(&breaker, 3).await, ["connect_failed", "breaker_open", "breaker_open"]);
        calls += 1;
        assert_eq!(told.calls(), calls, "one probe per cool-down");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_answers_closes_it() {
    let plays =
        [down(), down(), down(), down(), down(), vec![Step::Wait(100), say("a"), Step::Hang], good("b")];
    let (told, breaker) = breaker(plays);
    codes(&breaker, 5).await;
    advance(Duration::from_secs(15)).await;
    let mut probe = breaker.stream(Request::user("Hi"), Context::detached());
    let (first, other) = tokio::join!(probe.next(), codes(&breaker, 2));
    assert!(first.unwrap().unwrap().is_content());
    assert_eq!(other, ["breaker_open"; 2], "one probe at a time");
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(codes(&breaker, 2).await, ["ok"; 2]);
    drop(probe);
    assert_eq!((breaker.state(), told.calls()), (BreakerState::Closed, 8));
    // The times begin again at the first.
    assert_eq!(ask(&breaker).await.unwrap().text(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_hung_up_on_is_not_repeated_at_once() {
    let mut plays = vec![down(); 5];
    plays.push(vec![Step::Hang]);
    plays.push(vec![Step::Say(Chunk::Start { request_id: None, model: None }), Step::Hang]);
    plays.push(good("b"));
    let (told, breaker) = breaker(plays);
    codes(&breaker, 5).await;
    advance(Duration::from_secs(15)).await;
    let poll = async || {
        let mut probe = breaker.stream(Request::user("Hi"), Context::detached());
        let _ = tokio::time::timeout(Duration::from_millis(10), probe.next()).await;
        let _ = tokio::time::timeout(Duration::from_millis(10), probe.next()).await;
    };
    poll().await;
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
    assert_eq!(codes(&breaker, 2).await, ["breaker_open"; 2]);
    advance(Duration::from_secs(15)).await;
    // This one was let in by the provider before it was hung up on: the provider is well.
    poll().await;
    assert_eq!((breaker.state(), told.calls()), (BreakerState::Closed, 7));
}

#[tokio::test(start_paused = true)]
async fn half_of_ten_calls_within_thirty_seconds_open_it() {
    let alternating: Vec<_> = (0..200).map(|call| if call % 2 == 0 { good("a") } else { down() }).collect();
    let (told, breaker) = breaker(alternating.clone());
    codes(&breaker, 20).await;
    assert_eq!(told.calls(), 10);
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
    // Over a longer time the same share does not.
    let (told, breaker) = self::breaker(alternating);
    for _ in 0..100 {
        ask(&breaker).await.ok();
        advance(Duration::from_millis(3_500)).await;
    }
    assert_eq!((told.calls(), breaker.state()), (100, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_targets_fault_does_not_count() {
    let counted = [
        ErrorKind::ConnectFailed,
        ErrorKind::BadUpstream,
        ErrorKind::StreamTruncated,
        ErrorKind::IdleTimeout,
        ErrorKind::Timeout,
        ErrorKind::Overloaded,
        ErrorKind::ProviderError,
    ];
    for (kind, _, _) in ErrorKind::ALL {
        let (told, breaker) = breaker([vec![fail(*kind)]]);
        codes(&breaker, 20).await;
        assert_eq!(told.calls(), if counted.contains(kind) { 5 } else { 20 }, "{kind}");
    }
    // The run's own deadline is not the target's.
    let (told, breaker) = breaker([vec![Step::Wait(50), fail(ErrorKind::Timeout)]]);
    for _ in 0..20 {
        let context = Context::detached().with_time_left(Duration::from_millis(50));
        let _: Items = breaker.stream(Request::user("Hi"), context).collect().await;
    }
    assert_eq!(told.calls(), 20);
}

/// One dead provider of two, four callers a second for five minutes.
#[tokio::test(start_paused = true)]
async fn with_one_dead_target_of_two_nearly_all_calls_succeed_and_probes_are_few() {
    let dead = Told::new("dead", [vec![Step::Wait(5_000), fail(ErrorKind::ConnectFailed)]]).arc();
    let fine = Told::new("fine", [slow(20, "fine")]).arc();
    let breaker = Breaker::new(dead.clone(), BreakerPolicy::default());
    let route = Arc::new(Fallback::new("r", [Arc::new(breaker) as Arc<dyn Model>, fine.clone() as _]));
    let started = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1_200 {
        let route = route.clone();
        calls.spawn(async move { ask(&*route).await });
        advance(Duration::from_millis(250)).await;
    }
    let results = calls.join_all().await;
    let good = results.iter().filter(|result| result.is_ok()).count();
    assert!(good * 100 >= results.len() * 99, "{good} of {}", results.len());
    // Those that were under way when it opened; then probes after 15, 30, 60 and 120 s.
    let minutes = started.elapsed().as_secs() / 60;
    let before_it_opened = 5_000 / 250 + 5;
    assert!(minutes >= 5 && dead.calls() <= before_it_opened + 4, "{} calls", dead.calls());
    assert_eq!(fine.calls(), 1_200);
}

#[tokio::test(start_paused = true)]
async fn when_every_breaker_is_open_the_route_says_when_one_is_free() {
    let route = |seconds| {
        let told = Told::new("t", [down()]).arc();
        let policy = BreakerPolicy { failures: 1, open_for: Duration::from_secs(seconds) };
        Arc::new(Breaker::new(told, policy)) as Arc<dyn Model>
    };
    let route = Fallback::new("r", [route(40), route(20)]);
    ask(&route).await.unwrap_err();
    let error: Error = ask(&route).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::BreakerOpen, Some(Duration::from_secs(20))));
    assert!(error.is_retryable());
}
