//! Each promise that is broken is told.

use ambidex_crash::facts::Facts;
use ambidex_crash::ledger::{Deed, Line};
use ambidex_crash::store::Promise;

fn deed(tool: &str, key: &str, pid: u32, at: u64) -> Deed {
    Deed { tool: tool.into(), key: key.into(), arguments: "{}".into(), pid, at }
}

fn told(facts: &Facts) -> String {
    facts.violations().join("; ")
}

#[test]
fn a_run_that_was_promised_and_is_not_there_is_told() {
    let promise = Promise::Committed { run: "r".into(), records: 3, accepted: true, finished: false };
    let facts = Facts { promises: vec![promise], ..Facts::default() };
    assert_eq!(told(&facts), "r: 3 records were acknowledged, 0 are there");
    assert_eq!(facts.accepted().len(), 1);
}

#[test]
fn what_the_check_finds_is_told() {
    let facts = Facts { check: vec!["a page is gone".into()], ..Facts::default() };
    assert_eq!(told(&facts), "the store's check: a page is gone");
}

#[test]
fn a_payment_that_was_made_twice_is_told() {
    let twice = vec![Line::Done(deed("pay", "r/t0.0", 1, 1)), Line::Done(deed("pay", "r/t0.0", 2, 2))];
    let told = told(&Facts { ledger: twice, ..Facts::default() });
    assert!(told.contains("r/t0.0: `pay` is to be done once, and was 2 times"), "{told}");
    assert!(told.contains("r/t0.0: it was done, and no intent is stored"), "{told}");
}

#[test]
fn a_repeated_call_that_is_another_is_told() {
    let other = Deed { arguments: "{\"n\":2}".into(), ..deed("put", "r/t0.0", 2, 2) };
    let lines = vec![Line::Done(deed("put", "r/t0.0", 1, 1)), Line::Done(other)];
    let facts = Facts { ledger: lines, ..Facts::default() };
    assert_eq!(facts.repeated(), 1);
    assert!(told(&facts).contains("r/t0.0: one key, two different calls"));
}

#[test]
fn an_effect_that_began_after_its_run_was_lost_is_told() {
    let claimed = Line::Claimed { run: "r".into(), epoch: 2, pid: 2, at: 10 };
    let before = deed("look", "r/t0.0", 1, 9);
    let after = deed("look", "r/t0.1", 1, 11);
    let lines = vec![
        Line::Begun(before.clone()),
        claimed,
        Line::Done(before.clone()),
        // It took its time to be written down.
        Line::Begun(deed("look", "r/t0.2", 1, 9)),
        Line::Begun(after.clone()),
        Line::Begun(deed("look", "r/t0.3", 2, 12)),
    ];
    let facts = Facts { ledger: lines, ..Facts::default() };
    assert_eq!(facts.late(), (vec![&after], vec![&before]));
    assert!(told(&facts).contains("r/t0.1: process 1 began it after it had lost the run"));
}
