use std::time::{Duration, Instant};

use crate::pace::{Comes, Pace};

const QUICK: Duration = Duration::from_micros(20);
const SLOW: Duration = Duration::from_millis(50);

/// One job from its coming to its end, on a thread that rests before and after.
fn done(pace: &mut Pace, after: Duration) {
    let mut thread = None;
    pace.woken(1);
    pace.has_come();
    pace.takes(&mut thread, true);
    let era = pace.begins();
    pace.ended(era, after);
    pace.rests(&mut thread);
}

/// A pace that knows quick jobs, many at once, and is looked after.
fn hurried(now: Instant) -> Pace {
    let mut pace = Pace::default();
    for _ in 0..8 {
        assert_eq!(pace.comes(now), Comes::Woken);
        done(&mut pace, QUICK);
    }
    for _ in 0..3 {
        assert_eq!(pace.comes(now), Comes::Woken);
        done(&mut pace, QUICK);
    }
    assert_eq!(pace.comes(now), Comes::Watched);
    done(&mut pace, QUICK);
    pace
}

#[test]
fn quick_jobs_are_left_to_a_thread_that_is_at_work_and_to_no_other() {
    let now = Instant::now();
    let mut pace = hurried(now);
    assert_eq!(pace.comes(now), Comes::Woken, "nobody is at work");
    pace.woken(1);
    assert_eq!(pace.comes(now), Comes::Left, "somebody is on his way");
    pace.has_come();
    let mut thread = None;
    pace.takes(&mut thread, true);
    assert_eq!(pace.comes(now), Comes::Left);
    pace.rests(&mut thread);
    assert_eq!(pace.comes(now), Comes::Woken);
}

#[test]
fn nothing_is_left_to_a_thread_whose_job_another_has_taken() {
    let now = Instant::now();
    let mut pace = hurried(now);
    pace.woken(1);
    // One that had just ended was faster.
    let mut thread = None;
    pace.takes(&mut thread, true);
    pace.rests(&mut thread);
    assert_eq!(pace.comes(now), Comes::Woken);
}

#[test]
fn nothing_is_left_to_a_thread_with_a_job_that_is_not_quick_by_nature() {
    let now = Instant::now();
    let mut pace = hurried(now);
    pace.takes(&mut None, false);
    assert_eq!(pace.comes(now), Comes::Woken);
}

#[test]
fn jobs_that_come_now_and_then_are_not_looked_after() {
    let mut now = Instant::now();
    let mut pace = Pace::default();
    for _ in 0..100 {
        assert_eq!(pace.comes(now), Comes::Woken);
        done(&mut pace, QUICK);
        now += Duration::from_millis(6);
    }
}

#[test]
fn slow_jobs_wake_a_thread_each() {
    let now = Instant::now();
    let mut pace = hurried(now);
    for _ in 0..3 {
        done(&mut pace, SLOW);
    }
    pace.woken(1);
    assert_eq!(pace.comes(now), Comes::Woken);
}

#[test]
fn what_waits_behind_a_job_that_blocks_gets_threads_of_its_own() {
    let now = Instant::now();
    let mut pace = hurried(now);
    let mut stuck = None;
    pace.takes(&mut stuck, true);
    let era = pace.begins();
    assert_eq!(pace.comes(now), Comes::Left);
    assert_eq!((pace.looks(1), pace.looks(1), pace.looks(1)), (false, false, true));
    // Whoever is stuck is not counted on any longer, and his end changes nothing.
    assert_eq!(pace.comes(now), Comes::Woken);
    pace.ended(era, SLOW);
    pace.rests(&mut stuck);
    pace.woken(1);
    assert_eq!(pace.comes(now), Comes::Woken);
}

#[test]
fn a_thread_that_is_late_is_waited_for_longer_than_one_that_is_stuck() {
    let now = Instant::now();
    let mut pace = hurried(now);
    pace.woken(1);
    assert_eq!(pace.comes(now), Comes::Left);
    assert_eq!((0..30).position(|_| pace.looks(1)), Some(20));
}

#[test]
fn nobody_looks_for_long_where_no_job_comes() {
    let now = Instant::now();
    let mut pace = hurried(now);
    let looks = (0..10).take_while(|_| {
        assert!(!pace.looks(0));
        pace.is_watched()
    });
    assert_eq!(looks.count(), 4, "and then a fifth");
}
