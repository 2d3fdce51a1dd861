//! New owners, lost calls, doubts.

use ambidex_core::effect::{EffectId, Work};
use ambidex_core::event::Status;
use ambidex_core::question::{Answer, Why};
use ambidex_core::record::{Input, Output, Record, RecordKind, Refused, VERSION};
use ambidex_core::run::Run;
use ambidex_core::tool::{EffectClass, ToolOutput};
use serde_json::json;

use crate::support::*;

fn one_of_each() -> Machine {
    let mut m = Machine::start(agent(vec![
        read("look"),
        tool("put", EffectClass::Idempotent),
        tool("pay", EffectClass::Once),
        tool("run", EffectClass::Undeclared),
    ]));
    m.reply(calls(&[("look", json!({})), ("put", json!({})), ("pay", json!({})), ("run", json!({}))]));
    m
}

#[test]
fn after_a_crash_only_what_may_be_repeated_is() {
    let mut m = one_of_each();
    m.claim();
    assert_eq!(m.open(), ["doubt:t0.2.1", "doubt:t0.3.1", "t0.0", "t0.1"]);
    assert_eq!((m.effect("t0.0").attempt, m.effect("t0.1").attempt), (2, 2));
    let Work::Ask(question) = m.effect("doubt:t0.2.1").work else { panic!() };
    assert_eq!(
        (question.why, question.about.as_str(), question.tool.as_str()),
        (Why::InDoubt, "t0.2", "pay")
    );

    let late = Input::Done {
        effect: EffectId::new("t0.0"),
        attempt: 1,
        result: Ok(Output::Tool(ToolOutput::Text("late".into()))),
    };
    assert_eq!(m.try_input(late), Err(Refused::NotOpen), "a result of a dead process comes too late");
}

#[test]
fn a_person_clears_a_doubt() {
    let mut m = one_of_each();
    m.result("t0.0", "");
    m.result("t0.1", "");
    m.claim();
    assert_eq!(m.run.status(), Status::Waiting);
    m.answer("doubt:t0.2.1", Answer::Answer { answer: json!("paid 5") });
    m.answer("doubt:t0.3.1", Answer::Repeat);
    assert_eq!(m.open(), ["t0.3"]);
    assert_eq!(m.effect("t0.3").attempt, 2);
    m.result("t0.3", "ran");
    assert_eq!(m.heard()[4..], ["tool c2: paid 5", "tool c3: ran"]);
}

#[test]
fn a_doubt_nobody_can_clear_is_told_to_the_model() {
    let mut m = one_of_each();
    m.result("t0.0", "");
    m.result("t0.1", "");
    m.claim();
    m.answer("doubt:t0.2.1", Answer::Reject { reason: "I cannot tell".into() });
    m.fails("doubt:t0.3.1", ambidex_core::ErrorKind::Timeout);
    let heard = m.heard();
    assert!(
        heard[4].starts_with("tool c2: in_doubt: ") && heard[4].contains("I cannot tell"),
        "{}",
        heard[4]
    );
    assert!(heard[5].starts_with("tool c3: in_doubt: "), "{}", heard[5]);
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn a_repeated_call_that_is_lost_again_is_a_new_question() {
    let mut m = Machine::start(agent(vec![tool("pay", EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    m.claim();
    m.claim();
    assert_eq!(m.open(), ["doubt:t0.0.1"], "still the same question");
    m.answer("doubt:t0.0.1", Answer::Repeat);
    m.claim();
    assert_eq!(m.open(), ["doubt:t0.0.2"]);
}

#[test]
fn one_lost_call_is_in_doubt_and_the_others_go_on() {
    let mut m = one_of_each();
    let lost = |id: &str, attempt| Input::Lost { effect: EffectId::new(id), attempt };
    for refused in [lost("t0.0", 1), lost("t0.1", 1), lost("t0.2", 2), lost("t9.9", 1)] {
        assert_eq!(m.try_input(refused), Err(Refused::NotOpen));
    }
    let step = m.input(lost("t0.2", 1));
    assert!(matches!(step[0].kind, RecordKind::Lost { .. }));
    m.input(lost("t0.3", 1));
    assert_eq!(m.open(), ["doubt:t0.2.1", "doubt:t0.3.1", "t0.0", "t0.1"]);
    assert_eq!((m.effect("t0.0").attempt, m.effect("t0.1").attempt), (1, 1));
    assert_eq!(m.try_input(lost("t0.2", 1)), Err(Refused::NotOpen), "lost once is enough");
}

#[test]
fn a_call_still_queued_at_a_crash_is_not_in_doubt() {
    let mut m = Machine::start(ambidex_core::definition::AgentDefinition {
        tool_concurrency: 1,
        ..agent(vec![tool("pay", EffectClass::Once)])
    });
    m.reply(calls(&[("pay", json!({"n": 1})), ("pay", json!({"n": 2}))]));
    m.claim();
    assert_eq!(m.open(), ["doubt:t0.0.1"]);
    m.answer("doubt:t0.0.1", Answer::Answer { answer: json!("paid") });
    assert_eq!((m.open(), m.effect("t0.1").attempt), (vec!["t0.1".to_owned()], 1));
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let m = one_of_each();
    let fold = |records: &[Record]| Run::fold("run", m.run.definition().clone(), records).map(|_| ());
    let corrupt = |records: &[Record]| matches!(fold(records), Err(Refused::Corrupt(_)));
    assert_eq!(fold(&m.records), Ok(()));
    assert!(corrupt(&m.records[1..]), "a gap");
    let changed = |index: usize, change: &dyn Fn(&mut Record)| {
        let mut records = m.records.clone();
        change(&mut records[index]);
        records
    };
    assert!(corrupt(&changed(2, &|record| record.v = VERSION + 1)), "a newer version");
    assert!(corrupt(&changed(1, &|record| record.kind = m.records[0].kind.clone())), "accepted twice");
    assert!(corrupt(&changed(0, &|record| record.kind = RecordKind::Claimed)), "never accepted");
    let other_attempt = |record: &mut Record| {
        if let RecordKind::Result { attempt, .. } = &mut record.kind {
            *attempt += 1;
        }
    };
    assert!(corrupt(&changed(2, &other_attempt)), "a result of an attempt that is not open");
    let other = pinned(agent(vec![]));
    assert!(matches!(Run::fold("run", other, &m.records), Err(Refused::Corrupt(_))), "another definition");
}

#[test]
fn inputs_before_the_acceptance_and_after_the_end_are_refused() {
    let mut run = Run::new("run", pinned(agent(vec![])));
    let stamp = ambidex_core::record::Stamp { at: 1, epoch: 1 };
    let mut unlimited = ambidex_core::run::Unlimited;
    assert_eq!(run.advance(Input::Tick, stamp, &mut unlimited, None), Err(Refused::NotAccepted));
    let mut m = Machine::start(agent(vec![]));
    let again = || Input::Accept {
        input: vec![].into(),
        thread: None,
        deadline_ms: None,
        parent: None,
        budget: None,
    };
    assert_eq!(m.try_input(again()), Err(Refused::AlreadyAccepted));
    assert_eq!(m.try_input(Input::Resume(Default::default())), Err(Refused::NotPaused));
    m.reply(words("done"));
    for input in [Input::Claim, Input::Cancel, Input::Tick, Input::Pause] {
        assert_eq!(m.try_input(input), Err(Refused::Finished));
    }
}
