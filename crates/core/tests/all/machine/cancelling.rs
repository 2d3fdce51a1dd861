//! A wish to end, in every phase. The machine is told, says so, and waits for what is in flight.

use ambidex_core::effect::EffectId;
use ambidex_core::event::Status;
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Outcome, Output, RecordKind};
use ambidex_core::run::Phase;
use ambidex_core::tool::{EffectClass, ToolOutput};
use serde_json::json;

use crate::support::*;

fn cancel(m: &mut Machine) {
    let step = m.input(Input::Cancel);
    assert!(matches!(step[0].kind, RecordKind::Stopping(Outcome::Cancelled)), "recorded before it is told");
}

#[test]
fn while_the_model_replies() {
    let mut m = Machine::start(agent(vec![]));
    cancel(&mut m);
    assert_eq!((m.run.status(), m.open()), (Status::Running, vec!["m0".to_owned()]));
    m.stop_all();
    assert_eq!((m.outcome(), m.heard()), (&Outcome::Cancelled, vec!["user: go".to_owned()]));
}

#[test]
fn while_tools_run() {
    let mut m = Machine::start(ambidex_core::definition::AgentDefinition {
        tool_concurrency: 2,
        ..agent(vec![read("look"), asking("pay", EffectClass::Once)])
    });
    m.reply(calls(&[
        ("look", json!({"n": 1})),
        ("look", json!({"n": 2})),
        ("look", json!({"n": 3})),
        ("pay", json!({})),
    ]));
    m.result("t0.0", "fast");
    assert_eq!(m.open(), ["ask:t0.3", "t0.1", "t0.2"]);
    cancel(&mut m);
    // One was faster than the wish.
    m.done("t0.1", Ok(Output::Tool(ToolOutput::Text("in time".into()))));
    m.stop_all();
    assert_eq!(m.outcome(), &Outcome::Cancelled);
    assert_eq!(
        m.heard()[2..],
        [
            "tool c0: fast",
            "tool c1: in time",
            "tool c2: cancelled: cancelled",
            "tool c3: cancelled: cancelled"
        ]
    );
}

#[test]
fn a_reply_that_came_in_spite_of_it_starts_nothing() {
    let mut m = Machine::start(agent(vec![read("look"), asking("pay", EffectClass::Once)]));
    cancel(&mut m);
    m.reply(calls(&[("look", json!({})), ("pay", json!({}))]));
    assert_eq!(m.outcome(), &Outcome::Cancelled);
    assert_eq!(m.heard()[2..], ["tool c0: cancelled: cancelled", "tool c1: cancelled: cancelled"]);
}

#[test]
fn while_a_person_is_asked() {
    let mut m = Machine::start(agent(vec![asking("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    cancel(&mut m);
    let step = m.done("ask:t0.0", Err(ambidex_core::Error::cancelled()));
    assert_eq!(m.run.withdrawn(&step).collect::<Vec<_>>(), ["run/ask:t0.0"]);
    assert_eq!(m.outcome(), &Outcome::Cancelled);
}

#[test]
fn an_approval_that_came_too_late_starts_nothing() {
    let mut m = Machine::start(agent(vec![asking("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    cancel(&mut m);
    let step = m.answer("ask:t0.0", Answer::Approve);
    assert_eq!(Machine::intents(&step), [""; 0]);
    assert_eq!((m.outcome(), &*m.heard()[2]), (&Outcome::Cancelled, "tool c0: cancelled: cancelled"));
}

#[test]
fn while_a_call_is_in_doubt() {
    let mut m = Machine::start(agent(vec![tool("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    m.claim();
    cancel(&mut m);
    assert_eq!(m.open(), ["doubt:t0.0.1"], "the call itself is given up at once");
    m.stop_all();
    assert_eq!(m.outcome(), &Outcome::Cancelled);
    assert!(m.heard()[2].starts_with("tool c0: in_doubt: the call may have happened"), "{:?}", m.heard());
}

#[test]
fn a_call_lost_while_stopping_is_not_asked_about() {
    let mut m = Machine::start(agent(vec![tool("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    cancel(&mut m);
    m.input(Input::Lost { effect: EffectId::new("t0.0"), attempt: 1 });
    assert_eq!(m.outcome(), &Outcome::Cancelled);
    assert!(m.heard()[2].starts_with("tool c0: in_doubt"), "{:?}", m.heard());
}

#[test]
fn while_paused_with_nothing_in_flight() {
    let mut m =
        Machine::start(ambidex_core::definition::AgentDefinition { max_iterations: 0, ..agent(vec![]) });
    m.pause();
    cancel(&mut m);
    assert_eq!(m.outcome(), &Outcome::Cancelled);
}

#[test]
fn while_paused_with_something_in_flight() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(look());
    m.input(Input::Pause);
    cancel(&mut m);
    m.stop_all();
    assert_eq!((m.outcome(), &*m.heard()[2]), (&Outcome::Cancelled, "tool c0: cancelled: cancelled"));
}

#[test]
fn while_the_finish_hook_runs() {
    let mut m =
        Machine::start(ambidex_core::definition::AgentDefinition { finish_hook: true, ..agent(vec![]) });
    m.reply(words("done"));
    assert_eq!(m.open(), ["finish"]);
    cancel(&mut m);
    m.stop_all();
    assert_eq!(m.outcome(), &Outcome::Cancelled);
}

#[test]
fn cancelled_twice_is_cancelled_once() {
    let mut m = Machine::start(agent(vec![]));
    cancel(&mut m);
    assert_eq!(m.input(Input::Cancel), []);
    assert_eq!(m.input(Input::Tick), []);
    assert_eq!(m.input(Input::Pause), []);
}

#[test]
fn a_new_process_ends_what_was_to_be_cancelled() {
    let mut m = Machine::start(agent(vec![read("look"), tool("pay", EffectClass::Once)]));
    m.reply(calls(&[("look", json!({})), ("pay", json!({}))]));
    cancel(&mut m);
    m.claim();
    assert_eq!(m.open(), ["t0.0"], "what may be repeated is started to be cancelled");
    m.stop_all();
    assert_eq!(m.outcome(), &Outcome::Cancelled);
    assert!(m.heard()[3].starts_with("tool c1: in_doubt"), "{:?}", m.heard());
    assert!(matches!(m.run.phase(), Phase::Finished(_)));
}
