//! A machine that is suspended.

use std::time::Duration;

use crate::clock::Machine;

fn seconds(awake: f64, all: f64) -> Machine {
    Machine { awake: Duration::from_secs_f64(awake), all: Duration::from_secs_f64(all) }
}

#[test]
fn the_time_of_a_suspension_counts() {
    let start = seconds(100.0, 150.0);
    let counted = Duration::from_secs(10);
    assert_eq!(seconds(110.0, 160.0).passed(start, counted), counted, "it was awake all the time");
    let slept = seconds(110.0, 3_760.0).passed(start, counted);
    assert_eq!(slept, Duration::from_secs(3_610), "an hour with the lid closed");
}

#[test]
fn two_looks_at_a_clock_are_no_suspension() {
    let start = seconds(100.0, 150.0);
    // Tokio's clock is paused, and the test takes its time.
    assert_eq!(seconds(103.0, 153.002).passed(start, Duration::ZERO), Duration::ZERO);
    assert_eq!(seconds(103.002, 153.0).passed(start, Duration::ZERO), Duration::ZERO);
}

#[test]
fn time_does_not_go_back() {
    let start = seconds(0.0, 0.0);
    let mut last = Duration::ZERO;
    for (awake, all) in [(1.0, 1.0), (2.0, 2.4), (3.0, 3.6), (3.1, 9.0), (4.0, 9.9)] {
        let now = seconds(awake, all).passed(start, Duration::from_secs_f64(awake));
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
    }
}
