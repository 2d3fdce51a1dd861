use std::time::Duration;

use ambidex_core::ToolSpec;

use crate::retry::{policy, wait};

fn waits(base: Option<u64>, cap: Option<u64>) -> Vec<u128> {
    let mut spec = ToolSpec::new("t", "for tests");
    (spec.retry_base_ms, spec.retry_cap_ms) = (base, cap);
    [1, 2, 3, 7, 20, u32::MAX].map(|failed| policy(&spec).wait(failed, None, 1.0).as_millis()).to_vec()
}

#[test]
fn waits_double_from_the_base_to_the_cap() {
    assert_eq!(waits(None, None), [500, 1_000, 2_000, 20_000, 20_000, 20_000]);
    assert_eq!(waits(Some(3), Some(100)), [3, 6, 12, 100, 100, 100]);
    assert_eq!(waits(Some(40_000), None), [20_000; 6]);
    assert_eq!(waits(Some(0), None), [0; 6]);
    assert_eq!(waits(None, Some(u64::MAX))[4], 500 << 19);
    assert!(waits(Some(u64::MAX), Some(u64::MAX)).iter().all(|wait| *wait > 1 << 63));
}

#[test]
fn what_the_other_side_asked_for_is_waited_whatever_the_tool_says() {
    let mut spec = ToolSpec::new("t", "for tests");
    (spec.retry_base_ms, spec.retry_cap_ms) = (Some(0), Some(0));
    let asked = Duration::from_secs(2);
    assert!(wait(&policy(&spec), 1, Some(asked), None).is_some_and(|wait| wait >= asked));
    assert_eq!(wait(&policy(&spec), 1, None, None), Some(Duration::ZERO));
    assert_eq!(wait(&policy(&spec), 1, Some(Duration::from_secs(61)), None), None);
    assert_eq!(
        wait(&policy(&spec), 1, Some(asked), Some(asked)),
        None,
        "no time is left for another attempt"
    );
}
