//! Questions of nodes, approvals of them, and time that is let pass.

use ambidex_core::effect::Work;
use ambidex_core::event::{EventKind, Status, StepKind};
use ambidex_core::graph::{NodeDefinition, NodeWork, OnError, Source};
use ambidex_core::question::Answer;
use ambidex_core::record::{Input, Outcome, Refused};
use ambidex_core::{ErrorKind, Message};
use serde_json::json;

use super::support::*;

fn ask() -> NodeDefinition {
    let work = NodeWork::Ask { form: Some(json!({"type": "boolean"})), expire_ms: Some(5000) };
    NodeDefinition { input: Source::Value(json!("Publish?")), ..works("ask", work, &["after"]) }
}

#[test]
fn a_person_answers_a_node() {
    let mut d = Driven::start(graph(vec![ask(), node("after", &[])], &[]), none());
    assert_eq!((d.open(), d.run.status()), (vec!["human:ask#0".to_owned()], Status::Waiting));
    let question = d.run.questions().next().unwrap();
    assert_eq!((question.id.as_str(), question.due), ("run/human:ask#0", Some(d.at + 5000)));
    assert_eq!(question.args, json!({"question": "Publish?", "form": {"type": "boolean"}}));
    assert_eq!(
        d.run.asked(&d.records).collect::<Vec<_>>(),
        std::slice::from_ref(&question),
        "it is stored with the intent"
    );
    d.at += 3_600_000;
    d.claim();
    assert_eq!(d.run.questions().next().unwrap(), question, "asked again it is the same question");
    assert_eq!((d.run.active_at(d.at), d.run.next_tick(d.at)), (0, None), "a person's time is not the run's");
    d.answer("human:ask#0", Answer::Answer { answer: json!(true) });
    assert_eq!(d.seen("after#0"), json!({"ask": true}));
    assert_eq!(d.shown(|kind| matches!(kind, EventKind::ApprovalAsked { tool, .. } if tool == "ask")), 1);
}

#[test]
fn a_question_may_come_from_the_state_and_may_be_refused() {
    let ask = NodeDefinition { input: Source::Field("text.0".into()), on_error: goes_to("after"), ..ask() };
    let mut d = Driven::start(graph(vec![ask, node("after", &[])], &[]), json!({"text": ["Really?"]}));
    assert_eq!(d.run.questions().next().unwrap().args["question"], "Really?");
    d.answer("human:ask#0", Answer::Reject { reason: "no".into() });
    assert_eq!(d.open(), ["after#0"]);
}

#[test]
fn a_question_that_expires_or_is_not_needed_is_withdrawn() {
    let mut d = Driven::start(graph(vec![ask(), node("after", &[])], &[]), none());
    let records = d.fails("human:ask#0", ErrorKind::Timeout);
    assert_eq!(d.run.withdrawn(&records).collect::<Vec<_>>(), ["run/human:ask#0"]);
    assert_eq!(d.failure().kind(), ErrorKind::Timeout);
    let mut d = Driven::start(graph(vec![ask(), node("after", &[])], &[]), none());
    d.input(Input::Cancel);
    d.stop_all();
    assert_eq!(d.outcome(), &Outcome::Cancelled);
}

#[test]
fn nodes_are_approved_edited_answered_and_refused_as_tools_are() {
    use ambidex_core::definition::Approval;
    let start = || {
        let pay = NodeDefinition {
            approval: Approval::Ask,
            on_error: OnError::Continue,
            ..node("pay", &["after"])
        };
        Driven::start(graph(vec![pay, node("after", &[])], &[]), json!({"n": 1}))
    };
    let mut d = start();
    assert_eq!(d.open(), ["ask:pay#0"]);
    let question = d.run.questions().next().unwrap();
    assert_eq!((question.tool.as_str(), &question.args), ("pay", &json!({"n": 1})));
    d.answer("ask:pay#0", Answer::Edit { args: json!({"n": 2}) });
    let Work::Code { call, .. } = d.effect("pay#0").work else { panic!() };
    assert_eq!((call.input(), call.is_edited()), (Some(json!({"n": 2})), true));
    d.pass(&["pay#0"]);
    assert_eq!(d.open(), ["after#0"]);

    let mut d = start();
    d.answer("ask:pay#0", Answer::Answer { answer: json!({"paid": true}) });
    assert_eq!(d.seen("after#0"), json!({"n": 1, "paid": true}));
    let mut d = start();
    d.answer("ask:pay#0", Answer::Reject { reason: "no".into() });
    assert_eq!((d.open(), d.intents("pay")), (vec!["after#0".to_owned()], 0));

    let deny = NodeDefinition { approval: Approval::Deny, ..node("pay", &[]) };
    let d = Driven::start(graph(vec![deny], &[]), none());
    assert_eq!(d.failure().kind(), ErrorKind::Denied);
}

#[test]
fn an_approval_holds_for_the_attempts_that_follow() {
    use ambidex_core::definition::Approval;
    let retry = ambidex_core::graph::Retry { attempts: 2, ..Default::default() };
    let pay = NodeDefinition { approval: Approval::Ask, retry, ..node("pay", &[]) };
    let mut d = Driven::start(graph(vec![pay], &[]), json!({"n": 1}));
    d.answer("ask:pay#0", Answer::Edit { args: json!({"n": 2}) });
    d.fails("pay#0", ErrorKind::Overloaded);
    d.pass(&["retry:pay#0.1"]);
    let Work::Code { call, .. } = d.effect("pay#0").work else { panic!() };
    assert_eq!(call.input(), Some(json!({"n": 2})));
}

#[test]
fn a_wait_has_a_time_of_its_own() {
    let wait = |ms, input| NodeDefinition { input, ..works("wait", NodeWork::Wait { ms }, &["after"]) };
    let start =
        |node_: NodeDefinition, state| Driven::start(graph(vec![node_, node("after", &[])], &[]), state);
    let mut d = start(wait(Some(250), Source::State), none());
    assert_eq!((d.run.status(), d.run.next_wait()), (Status::Waiting, Some(d.at + 250)));
    assert_eq!(d.run.next_tick(d.at), None, "which is not the run's");
    let due = d.run.next_wait();
    d.at += 100;
    d.claim();
    assert_eq!(d.run.next_wait(), due, "nor begins anew in another process");
    d.at += 150;
    d.pass(&["wait#0"]);
    assert_eq!((d.open(), d.run.active_at(d.at)), (vec!["after#0".to_owned()], 0));
    assert_eq!(d.shown(|kind| matches!(kind, EventKind::StepFinished { kind: StepKind::Wait, .. })), 1);

    let d = start(wait(None, Source::Field("when".into())), json!({"when": "2026-01-31T09:00:00Z"}));
    assert_eq!(d.run.next_wait(), Some(1_769_850_000_000));
    let d = start(wait(None, Source::Value(json!(2_000_000))), none());
    assert_eq!(d.run.next_wait(), Some(2_000_000));
    let d = start(wait(None, Source::Value(json!("soon"))), none());
    assert_eq!(d.failure().kind(), ErrorKind::InvalidArguments);
    assert!(d.failure().message().contains("`soon` is no time such as"), "{}", d.failure());
}

#[test]
fn a_graph_takes_no_messages() {
    let mut d = Driven::start(graph(vec![node("a", &[])], &[]), none());
    assert_eq!(d.try_input(Input::Message(Message::user("hm"))), Err(Refused::TakesNoMessage));
}

#[test]
fn watchers_see_steps_and_changes() {
    let a = NodeDefinition { next: branch("pick", &["b"]), ..node("a", &[]) };
    let child = NodeWork::Agent { agent: "writer".into(), pinned: None };
    let mut d = Driven::start(graph(vec![a, works("b", child, &[])], &[]), none());
    d.gives("a#0", json!({"n": 1}));
    d.chooses("a#0?", &["b"]);
    let ended = ambidex_core::record::Output::Child {
        outcome: Box::new(Outcome::Succeeded { text: "hi".into(), output: None, completed: true }),
        usage: Box::default(),
    };
    d.done("b#0", Ok(ended));
    let lines: Vec<_> = d
        .events
        .iter()
        .map(|shown| {
            let step =
                shown.step.as_ref().map_or_else(String::new, |(id, attempt)| format!("{id} {attempt} "));
            format!("{step}{}", serde_json::to_string(&shown.kind).unwrap())
        })
        .collect();
    assert_eq!(
        lines[2..lines.len() - 1],
        [
            r#"a#0 1 {"type":"step.started","data":{"kind":"code"}}"#,
            r#"a#0 1 {"type":"state.changed","data":{"node":"a","update":{"n":1}}}"#,
            r#"a#0 1 {"type":"step.finished","data":{"kind":"code","ok":true,"seconds":0.0}}"#,
            r#"a#0? 1 {"type":"step.started","data":{"kind":"branch"}}"#,
            r#"a#0? 1 {"type":"step.finished","data":{"kind":"branch","ok":true,"seconds":0.0}}"#,
            r#"b#0 1 {"type":"step.started","data":{"kind":"agent"}}"#,
            r#"b#0 1 {"type":"state.changed","data":{"node":"b","update":{"b":"hi"}}}"#,
            r#"b#0 1 {"type":"step.finished","data":{"kind":"agent","ok":true,"seconds":0.0}}"#,
        ]
    );
}
