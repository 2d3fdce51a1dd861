//! The deadline, and clocks that stand still.

use ambidex_core::ErrorKind;
use ambidex_core::budget::Budget;
use ambidex_core::definition::AgentDefinition;
use ambidex_core::effect::EffectId;
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Output, Pause};
use ambidex_core::run::Admission;
use ambidex_core::tool::EffectClass;
use serde_json::json;

use crate::support::*;

const HOUR: u64 = 3_600_000;

#[test]
fn a_deadline_stops_the_run_and_fails_it() {
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    m.at += 60;
    m.reply(calls(&[("look", json!({"n": 1})), ("look", json!({"n": 2}))]));
    m.result("t0.0", "in time");
    assert_eq!((m.run.next_tick(m.at), m.run.time_left(m.at)), (Some(40), Some(40)));
    m.at += 39;
    assert_eq!(m.input(Input::Tick), []);
    m.at += 1;
    m.input(Input::Tick);
    assert_eq!((m.open(), m.run.next_tick(m.at)), (vec!["t0.1".to_owned()], None));
    m.input(Input::Cancel);
    m.stop_all();
    assert_eq!(m.failure().kind(), ErrorKind::Timeout, "the first reason counts");
    assert_eq!(m.failure().message(), "the run's deadline passed after 0.1 s");
    assert_eq!(m.heard()[2..], ["tool c0: in time", "tool c1: cancelled: cancelled"]);
}

#[test]
fn the_clock_stands_while_only_a_person_is_waited_for() {
    let mut m = Machine::start_with(agent(vec![asking("pay", EffectClass::Once), read("look")]), Some(100));
    m.at += 10;
    m.reply(calls(&[("pay", json!({})), ("look", json!({}))]));
    m.at += 10;
    m.result("t0.1", "beside a person work counts");
    assert_eq!((m.run.active_at(m.at), m.run.next_tick(m.at)), (20, None));
    m.at += HOUR;
    assert_eq!(m.input(Input::Tick), []);
    m.answer("ask:t0.0", Answer::Approve);
    assert_eq!((m.run.active_at(m.at), m.run.next_tick(m.at)), (20, Some(80)));
    m.at += 5;
    m.result("t0.0", "paid");
    m.reply(words("done"));
    assert_eq!(m.run.active_at(m.at + HOUR), 25, "a finished run does not age");
}

#[test]
fn the_clock_stands_while_paused_once_the_last_effect_has_ended() {
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    m.at += 10;
    m.reply(look());
    m.input(Input::Pause);
    m.at += 10;
    assert_eq!(m.run.next_tick(m.at), Some(80), "its effect still works");
    m.result("t0.0", "a");
    m.at += HOUR;
    assert_eq!((m.run.active_at(m.at), m.run.next_tick(m.at)), (20, None));
    m.resume(0, Budget::default());
    assert_eq!(m.run.next_tick(m.at), Some(80));
}

#[test]
fn a_deadline_passes_in_a_paused_run_whose_effect_hangs() {
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    m.reply(look());
    m.input(Input::Pause);
    m.at += 100;
    m.input(Input::Tick);
    m.stop_all();
    assert_eq!(m.failure().kind(), ErrorKind::Timeout);
}

#[test]
fn dead_time_does_not_count() {
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    m.at += 10;
    m.reply(look());
    m.at += HOUR;
    m.claim();
    assert_eq!((m.run.active_at(m.at), m.open()), (10, vec!["t0.0".to_owned()]));
    m.at += 5;
    m.result("t0.0", "a");
    assert_eq!(m.run.active_at(m.at), 15);
}

#[test]
fn a_doubt_stops_the_clock() {
    let mut m = Machine::start_with(agent(vec![tool("pay", EffectClass::Once)]), Some(100));
    m.reply(calls(&[("pay", json!({}))]));
    m.at += 10;
    m.input(Input::Lost { effect: EffectId::new("t0.0"), attempt: 1 });
    m.at += HOUR;
    assert_eq!((m.run.active_at(m.at), m.run.next_tick(m.at)), (10, None));
}

#[test]
fn a_call_queued_for_a_permit_waits_under_the_deadline() {
    struct None;
    impl Admission for None {
        fn admit(&mut self, _: &EffectId, _: &str) -> bool {
            false
        }
    }
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    let result = Ok(Output::Reply(Box::new(look())));
    m.input_with(Input::Done { effect: EffectId::new("m0"), attempt: 1, result }, &mut None).unwrap();
    assert_eq!((m.open(), m.run.next_tick(m.at)), (vec![], Some(100)));
    m.at += 100;
    m.input_with(Input::Tick, &mut None).unwrap();
    assert_eq!(m.failure().kind(), ErrorKind::Timeout);
}

#[test]
fn the_sooner_of_deadline_and_time_budget_is_the_next_tick() {
    let budget = Budget { wall_ms: Some(50), ..Budget::default() };
    let mut m = Machine::start_with(AgentDefinition { budget, ..agent(vec![]) }, Some(100));
    assert_eq!(m.run.next_tick(m.at), Some(50));
    m.at += 50;
    m.input(Input::Tick);
    assert!(matches!(m.pause(), Pause::Budget(_)));
    assert_eq!(m.run.next_tick(m.at), Some(50), "only the deadline is left");
    assert_eq!(Machine::start(agent(vec![])).run.next_tick(0), None, "no limit, no tick");
}

#[test]
fn a_clock_set_back_takes_no_time_away() {
    let mut m = Machine::start_with(agent(vec![read("look")]), Some(100));
    m.at += 30;
    m.reply(look());
    m.at -= 20;
    m.result("t0.0", "a");
    assert_eq!(m.run.active_at(m.at), 30);
    m.at += 5;
    assert_eq!(m.run.active_at(m.at), 35);
}
