//! A second target when the first is slow.

use std::time::Duration;

use ambidex_core::ErrorKind;
use ambidex_core::chunk::{RouteNote, SwitchReason};
use ambidex_models::AfterFirstToken;
use ambidex_models::route::{Hedge, Stagger};
use tokio::time::Instant;

use super::support::*;

const STAGGER: Stagger = Stagger::Fixed(Duration::from_millis(100));

#[tokio::test(start_paused = true)]
async fn a_quick_first_target_is_asked_alone() {
    let a = Told::new("a", [slow(90, "a")]).arc();
    let b = Told::new("b", [good("b")]).arc();
    let seen = items(&Hedge::new("h", STAGGER, models([&a, &b]))).await;
    assert_eq!(attempts(&seen), ["a answered"]);
    assert_eq!((notes(&seen).len(), b.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn after_the_stagger_the_next_target_runs_beside_it_and_the_first_token_wins() {
    let a = Told::new("a", [slow(10_000, "a")]).arc();
    let b = Told::new("b", [slow(10_000, "b")]).arc();
    let c = Told::new("c", [slow(50, "c")]).arc();
    let started = Instant::now();
    let seen = items(&Hedge::new("h", STAGGER, models([&a, &b, &c]))).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(270), "{took:?}");
    assert_eq!(attempts(&seen), ["a lost", "b lost", "c answered"]);
    let slow_ones = notes(&seen).into_iter().filter(
        |note| matches!(note, RouteNote::Switched(note) if matches!(note.reason, SwitchReason::Slow(_))),
    );
    assert_eq!(slow_ones.count(), 2);
    assert_eq!((a.live(), b.live(), c.live()), (0, 0, 0));
    // The first one may still win.
    let a = Told::new("a", [slow(150, "a")]).arc();
    let b = Told::new("b", [slow(100, "b")]).arc();
    let seen = items(&Hedge::new("h", STAGGER, models([&a, &b]))).await;
    assert_eq!(attempts(&seen), ["b lost", "a answered"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_starts_the_next_target_at_once() {
    let a = Told::new("a", [vec![Step::Wait(10), fail(ErrorKind::Overloaded)]]).arc();
    let b = Told::new("b", [slow(20, "b")]).arc();
    let started = Instant::now();
    let seen = items(&Hedge::new("h", STAGGER, models([&a, &b]))).await;
    assert!(started.elapsed() < Duration::from_millis(50));
    assert_eq!(attempts(&seen), ["a failed", "b answered"]);
    // Not where it cannot help.
    let a = Told::new("a", [vec![fail(ErrorKind::ContentFilter)]]).arc();
    let b = Told::new("b", [good("b")]).arc();
    assert!(ask(&Hedge::new("h", STAGGER, models([&a, &b]))).await.is_err());
    assert_eq!(b.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_winner_that_breaks_off_gives_way_to_a_target_not_asked_yet() {
    let cut = || Told::new("a", [vec![say("half"), fail(ErrorKind::StreamTruncated)]]).arc();
    let b = Told::new("b", [good("whole")]).arc();
    let hedge = Hedge::new("h", STAGGER, models([&cut(), &b]));
    assert_eq!(ask(&hedge).await.unwrap().text(), "whole");
    let hedge = Hedge::new("h", STAGGER, models([&cut(), &b])).after_first_token(AfterFirstToken::Fail);
    assert_eq!(ask(&hedge).await.unwrap_err().shown(), Some(4));
    assert_eq!(b.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_stagger_follows_the_95th_percentile_of_what_was_seen() {
    // 94 of 100 calls take 50 ms, the others 400 ms; then one takes for ever.
    let mut plays: Vec<_> = (0..120).map(|call| slow(if call % 17 == 16 { 400 } else { 50 }, "a")).collect();
    plays.push(vec![Step::Hang]);
    let a = Told::new("a", plays).arc();
    let b = Told::new("b", [slow(5, "b")]).arc();
    let stagger = Stagger::P95 { until_known: Duration::from_secs(2) };
    let hedge = Hedge::new("h", stagger, models([&a, &b]));
    for _ in 0..120 {
        ask(&hedge).await.unwrap();
    }
    let hedged = b.calls();
    assert!(hedged <= 6, "{hedged}: about one call of twenty, once the percentile is known");
    let started = Instant::now();
    assert_eq!(ask(&hedge).await.unwrap().text(), "b");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(50) && took < Duration::from_millis(500), "{took:?}");
}
