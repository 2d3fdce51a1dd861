//! A model's effect that asks a person.

use ambidex_core::ErrorKind;
use ambidex_core::effect::EffectId;
use ambidex_core::event::{EventKind, Status};
use ambidex_core::question::{Question, Why};
use ambidex_core::record::{Input, RecordKind, Refused};
use ambidex_core::relay::{Closing, RelayRequest};
use ambidex_core::run::Run;
use serde_json::Value;

use crate::support::*;

const HOUR: u64 = 3_600_000;

fn question() -> Question {
    let relay = RelayRequest {
        model: "desk".into(),
        queue: "editors".into(),
        instructions: None,
        messages: vec![],
        earlier: 0,
        tools: vec![],
        tool_choice: Default::default(),
        output: None,
    };
    Question {
        id: "run/relay:m0:desk".into(),
        run: "run".into(),
        about: EffectId::new("m0"),
        why: Why::Reply,
        tool: String::new(),
        args: Value::Null,
        due: Some(HOUR),
        relay: Some(Box::new(relay)),
    }
}

fn asks(attempt: u32, beside: bool) -> Input {
    Input::Asked { effect: EffectId::new("m0"), attempt, question: Box::new(question()), beside }
}

fn closes(closing: Closing) -> Input {
    Input::Closed { effect: EffectId::new("m0"), attempt: 1, question: question().id, closing }
}

#[test]
fn the_run_waits_and_its_clock_stands_until_the_question_is_closed() {
    let mut m = Machine::start_with(agent(vec![]), Some(100));
    m.at += 10;
    let records = m.input(asks(1, false));
    assert_eq!(m.run.asked(&records).collect::<Vec<_>>(), [question()], "it is stored with the records");
    assert_eq!(m.run.questions().collect::<Vec<_>>(), [question()]);
    assert_eq!((m.run.status(), m.run.waits_for_a_person()), (Status::Waiting, true));
    assert_eq!(m.input(asks(1, false)), [], "asking twice is asking once");
    m.at += 5 * HOUR;
    assert_eq!((m.run.next_tick(m.at), m.input(Input::Tick)), (None, vec![]));
    // The next target of its route works, and that is the run's time again.
    let records = m.input(closes(Closing::Expired));
    assert_eq!(m.run.withdrawn(&records).collect::<Vec<_>>(), [question().id]);
    assert_eq!((m.run.status(), m.run.next_tick(m.at)), (Status::Running, Some(90)));
    m.at += 20;
    m.reply(words("done"));
    assert_eq!(m.run.active_at(m.at), 30);
    let said: Vec<_> = m.events.iter().map(|event| &event.kind).collect();
    let asked = EventKind::RelayAsked { id: question().id, queue: "editors".into() };
    let closed = EventKind::RelayAnswered { id: question().id, decision: "expired".into() };
    assert!(said.contains(&&asked) && said.contains(&&closed), "{said:?}");
}

#[test]
fn beside_others_that_work_the_run_does_not_wait() {
    let mut m = Machine::start_with(agent(vec![]), Some(100));
    m.input(asks(1, true));
    assert_eq!((m.run.status(), m.run.next_tick(m.at)), (Status::Running, Some(100)));
    assert_eq!(m.run.questions().count(), 1, "it may be answered all the same");
    let records = m.reply(words("another was faster"));
    assert_eq!(m.run.withdrawn(&records).collect::<Vec<_>>(), [question().id]);
}

#[test]
fn an_answered_question_is_not_withdrawn() {
    let mut m = Machine::start(agent(vec![]));
    m.input(asks(1, false));
    let closed = m.input(closes(Closing::Reply));
    let ended = m.reply(words("by hand"));
    assert_eq!(m.run.withdrawn(&closed).chain(m.run.withdrawn(&ended)).count(), 0);
}

#[test]
fn a_cancelled_run_withdraws_it_and_is_asked_nothing_more() {
    let mut m = Machine::start(agent(vec![]));
    m.input(asks(1, false));
    m.input(Input::Cancel);
    assert_eq!(m.input(asks(1, false)), []);
    let records = m.fails("m0", ErrorKind::Cancelled);
    assert_eq!(m.run.withdrawn(&records).collect::<Vec<_>>(), [question().id]);
    let closed = records.iter().position(|record| matches!(record.kind, RecordKind::Closed { .. }));
    let ended = records.iter().position(|record| matches!(record.kind, RecordKind::Result { .. }));
    assert!(closed < ended, "{records:?}");
}

#[test]
fn a_new_owner_hears_of_it_when_the_effect_asks_again() {
    let mut m = Machine::start(agent(vec![]));
    m.input(asks(1, false));
    let folded = Run::fold("run", m.run.definition().clone(), &m.records).unwrap();
    assert_eq!(folded, m.run);
    m.claim();
    assert_eq!((m.run.questions().count(), m.run.status()), (0, Status::Running));
    assert_eq!(m.try_input(asks(1, false)), Err(Refused::NotOpen), "the old process is late");
    m.input(asks(2, false));
    assert_eq!(m.run.status(), Status::Waiting);
}
