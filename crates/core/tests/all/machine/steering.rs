//! Messages from outside while the run works.

use ambidex_core::chunk::Finish;
use ambidex_core::definition::AgentDefinition;
use ambidex_core::record::{Input, Outcome};
use serde_json::json;

use crate::support::*;

#[test]
fn while_tools_run_it_joins_behind_their_answers() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(calls(&[("look", json!({"n": 1})), ("look", json!({"n": 2}))]));
    m.result("t0.1", "b");
    m.steer("hurry");
    assert_eq!(m.heard().len(), 2, "no message between a call and its answer");
    m.result("t0.0", "a");
    assert_eq!(m.heard()[2..], ["tool c0: a", "tool c1: b", "user: hurry"]);
}

#[test]
fn while_the_model_replies_it_forces_another_turn() {
    let mut m = Machine::start(agent(vec![]));
    m.steer("and in French");
    m.steer("please");
    assert_eq!(m.heard(), ["user: go"], "the call in flight has not seen it");
    m.reply(words("done"));
    assert_eq!(m.open(), ["m1"]);
    assert_eq!(m.heard(), ["user: go", "assistant: done", "user: and in French", "user: please"]);
    m.reply(words("fini"));
    assert_eq!(m.text(), "fini");
}

#[test]
fn while_paused_it_joins_before_the_next_call() {
    let mut m = Machine::start(AgentDefinition { max_iterations: 1, ..agent(vec![read("look")]) });
    m.reply(look());
    m.result("t0.0", "a");
    m.pause();
    m.steer("go on with b");
    m.resume(1, Default::default());
    assert_eq!(m.heard()[3], "user: go on with b");
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn while_paused_beside_a_model_call_it_waits_for_the_reply() {
    let mut m = Machine::start(agent(vec![]));
    m.input(Input::Pause);
    m.steer("wait, in French");
    m.resume(0, Default::default());
    m.reply(words("done"));
    assert_eq!(m.heard(), ["user: go", "assistant: done", "user: wait, in French"]);
    assert_eq!(m.open(), ["m1"], "the model must still hear it");
}

#[test]
fn a_turn_the_provider_paused_is_not_interrupted() {
    let mut m = Machine::start(agent(vec![]));
    m.steer("in French");
    m.reply(ended("Searching... ", Finish::Paused));
    assert_eq!(m.heard(), ["user: go", "assistant: Searching... "], "asked again with the same history");
    m.reply(words("found"));
    assert_eq!(m.heard()[2..], ["assistant: found", "user: in French"]);
    assert_eq!(m.open(), ["m2"]);
    m.reply(words("trouvé"));
    assert_eq!(m.text(), "trouvé");
}

#[test]
fn what_came_too_late_stays_in_history() {
    let mut m = Machine::start(agent(vec![]));
    m.steer("wait");
    m.input(Input::Cancel);
    m.stop_all();
    assert_eq!((m.outcome(), m.heard()), (&Outcome::Cancelled, vec!["user: go".into(), "user: wait".into()]));
}
