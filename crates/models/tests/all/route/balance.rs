//! Everyone's share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::{Context, ErrorKind, Model, Request};
use ambidex_models::route::{Balance, Breaker, BreakerPolicy, Pick};
use futures_util::StreamExt;

use super::support::*;

async fn order(route: &Balance, calls: usize) -> String {
    let mut order = String::new();
    for _ in 0..calls {
        order.push_str(&ask(route).await.unwrap().text());
    }
    order
}

fn three() -> [Arc<Told>; 3] {
    ["a", "b", "c"].map(|name| Told::new(name, [good(name)]).arc())
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns() {
    let [a, b, c] = &three();
    assert_eq!(order(&Balance::new("r", Pick::RoundRobin, models([a, b, c])), 7).await, "abcabca");
}

#[tokio::test(start_paused = true)]
async fn weights_are_kept_and_spread() {
    let [a, b, c] = &three();
    let route = Balance::new("r", Pick::Weighted(vec![5, 1, 1]), models([a, b, c]));
    assert_eq!(order(&route, 14).await, "aabacaaaabacaa");
    // A target without a weight has one; one of weight zero is only for need.
    let broken = Told::new("x", [vec![fail(ErrorKind::Overloaded)]]).arc();
    let route = Balance::new("r", Pick::Weighted(vec![0]), models([a, b]));
    assert_eq!(order(&route, 3).await, "bbb");
    let route = Balance::new("r", Pick::Weighted(vec![0, 1]), models([a, &broken]));
    assert_eq!(order(&route, 3).await, "aaa");
}

#[tokio::test(start_paused = true)]
async fn the_least_busy_is_asked() {
    let told = ["a", "b", "c"].map(|name| Told::new(name, [vec![say(name), Step::Hang]]).arc());
    let [a, b, c] = &told;
    let route = Balance::new("r", Pick::LeastBusy, models([a, b, c]));
    let mut open = Vec::new();
    for _ in 0..9 {
        let mut stream = route.stream(Request::user("Hi"), Context::detached());
        stream.next().await.unwrap().unwrap();
        open.push(stream);
    }
    assert_eq!(told.each_ref().map(|told| told.live()), [3, 3, 3]);
    // Two of one target's calls are hung up on: it is next, twice.
    let calls = a.calls();
    let mut of_a: Vec<_> = open.into_iter().enumerate().collect();
    of_a.retain(|(index, _)| index % 3 != 0 || *index == 0);
    assert_eq!(a.live(), 1);
    for _ in 0..2 {
        let mut stream = route.stream(Request::user("Hi"), Context::detached());
        stream.next().await.unwrap().unwrap();
        of_a.push((0, stream));
    }
    assert_eq!((a.calls() - calls, a.live()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn the_quickest_is_asked_and_one_that_recovered_is_found_again() {
    let a = Told::new("a", [slow(100, "a")]).arc();
    let b = Told::new("b", [slow(10, "b")]).arc();
    // Slow for its first three calls.
    let c = Told::new("c", [slow(500, "c"), slow(500, "c"), slow(500, "c"), slow(1, "c")]).arc();
    let route = Balance::new("r", Pick::LowestLatency, models([&a, &b, &c]));
    let mut counts = BTreeMap::new();
    for answer in order(&route, 60).await.chars() {
        *counts.entry(answer).or_insert(0) += 1;
    }
    assert!(counts[&'b'] > 40, "{counts:?}");
    let later = order(&route, 400).await;
    let recent = later.chars().skip(300).filter(|answer| *answer == 'c').count();
    assert!(recent > 80, "{recent}: {later}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_gives_way_and_an_open_breaker_costs_no_time() {
    let dead = Told::new("dead", [vec![Step::Wait(1_000), fail(ErrorKind::ConnectFailed)]]).arc();
    let fine = Told::new("fine", [good("fine")]).arc();
    let breaker = Arc::new(Breaker::new(dead.clone(), BreakerPolicy::default()));
    let route = Balance::new("r", Pick::RoundRobin, [breaker as _, fine.clone() as _]);
    for _ in 0..20 {
        assert_eq!(ask(&route).await.unwrap().text(), "fine");
    }
    assert_eq!((dead.calls(), fine.calls()), (5, 20));
    let started = tokio::time::Instant::now();
    for _ in 0..20 {
        ask(&route).await.unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    // Lowest latency finds a way around it by itself.
    let route = Balance::new("r", Pick::LowestLatency, models([&dead, &fine]));
    let before = dead.calls();
    for _ in 0..100 {
        ask(&route).await.unwrap();
    }
    assert!(dead.calls() - before <= 12, "{}", dead.calls() - before);
}
