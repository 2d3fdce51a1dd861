//! A person beside running calls.

use ambidex_core::ErrorKind;
use ambidex_core::effect::Work;
use ambidex_core::event::Status;
use ambidex_core::question::{Answer, Why};
use ambidex_core::tool::EffectClass;
use serde_json::json;

use crate::support::*;

fn asked() -> Machine {
    let mut m = Machine::start(agent(vec![read("look"), asking("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({"usd": 5})), ("look", json!({}))]));
    m
}

#[test]
fn a_question_stands_open_beside_the_calls_that_need_none() {
    let mut m = asked();
    assert_eq!(m.open(), ["ask:t0.0", "t0.1"]);
    assert_eq!(m.run.status(), Status::Running);
    let Work::Ask(question) = m.effect("ask:t0.0").work else { panic!() };
    assert_eq!((question.id.as_str(), question.tool.as_str()), ("run/ask:t0.0", "pay"));
    assert_eq!((question.why, question.args), (Why::Approval, json!({"usd": 5})));
    m.result("t0.1", "seen");
    assert_eq!(m.run.status(), Status::Waiting);
    assert!(m.run.waits_for_a_person());
    m.answer("ask:t0.0", Answer::Approve);
    assert_eq!(m.open(), ["t0.0"], "the approved call then really runs");
    assert_eq!(m.arguments("t0.0"), json!({"usd": 5}));
    m.result("t0.0", "paid");
    assert_eq!(m.heard()[2..], ["tool c0: paid", "tool c1: seen"]);
}

#[test]
fn an_edited_call_runs_with_the_persons_arguments() {
    let mut m = asked();
    m.answer("ask:t0.0", Answer::Edit { args: json!({"usd": 1}) });
    assert_eq!(m.arguments("t0.0"), json!({"usd": 1}));
    m.claim();
    let Work::Ask(question) = m.effect("doubt:t0.0.1").work else { panic!() };
    assert_eq!(question.args, json!({"usd": 1}), "a person is asked about what was really run");
}

#[test]
fn a_rejected_call_is_not_run_and_the_model_hears_why() {
    let mut m = asked();
    m.result("t0.1", "seen");
    m.answer("ask:t0.0", Answer::Reject { reason: "too much".into() });
    assert_eq!(m.open(), ["m1"]);
    assert_eq!(m.heard()[2], "tool c0: denied: too much");
}

#[test]
fn an_answer_may_stand_in_for_the_result() {
    let mut m = asked();
    m.result("t0.1", "seen");
    m.answer("ask:t0.0", Answer::Answer { answer: json!({"receipt": 7}) });
    assert_eq!(m.open(), ["m1"]);
    assert_eq!(m.heard()[2], "tool c0: {\"receipt\":7}");
}

#[test]
fn every_call_is_asked_about_by_itself() {
    let mut m = Machine::start(agent(vec![asking("pay", EffectClass::Once)]));
    let step = m.reply(calls(&[("pay", json!({"n": 1})), ("pay", json!({"n": 2}))]));
    let asked: Vec<_> = m.run.asked(&step).map(|question| (question.id, question.args)).collect();
    let expected = [("run/ask:t0.0", json!({"n": 1})), ("run/ask:t0.1", json!({"n": 2}))];
    assert_eq!(asked, expected.map(|(id, args)| (id.to_owned(), args)));
    m.answer("ask:t0.1", Answer::Approve);
    assert_eq!(m.open(), ["ask:t0.0", "t0.1"]);
    assert_eq!(m.run.questions().map(|question| question.id).collect::<Vec<_>>(), ["run/ask:t0.0"]);
}

#[test]
fn a_question_that_fails_denies_its_call() {
    let mut m = asked();
    m.result("t0.1", "seen");
    let step = m.fails("ask:t0.0", ErrorKind::Timeout);
    assert_eq!(m.run.withdrawn(&step).collect::<Vec<_>>(), ["run/ask:t0.0"]);
    assert_eq!(m.heard()[2], "tool c0: timeout: so it is");
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn a_call_whose_arguments_are_broken_is_never_asked_about() {
    let mut m = Machine::start(agent(vec![asking("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!("{\"usd\":"))]));
    assert_eq!(m.open(), ["m1"]);
}
