//! Time travel.

use ambidex_core::Message;
use ambidex_core::effect::EffectId;
use ambidex_core::graph::{NodeDefinition, Reducer};
use ambidex_core::record::{Input, Outcome, Record, RecordKind, Refused, Stamp};
use ambidex_core::run::{Patch, Run, Unlimited, checkpoints};
use ambidex_core::tool::EffectClass;
use serde_json::{Value, json};

use super::support::*;
use crate::support::{Machine, agent, calls, pinned as agent_pinned, read, words};

const STAMP: Stamp = Stamp { at: 9_000_000, epoch: 1 };

fn counted() -> Driven {
    let a = NodeDefinition { next: chooses(&["a", "b"]), ..node("a", &[]) };
    let mut d = Driven::start(graph(vec![a, node("b", &[])], &[("n", Reducer::Add)]), json!({"n": 0}));
    for visit in 0..3 {
        let output = ambidex_core::graph::NodeOutput {
            value: json!({"n": 1}).into(),
            go: vec![if visit < 2 { "a" } else { "b" }.into()],
            ..Default::default()
        };
        d.done(&format!("a#{visit}"), Ok(ambidex_core::record::Output::Node(output)));
    }
    d.gives("b#0", json!({"n": 10}));
    d
}

fn up_to(d: &Driven, seq: u64) -> &[Record] {
    &d.records[..=usize::try_from(seq).unwrap()]
}

#[test]
fn the_state_at_every_checkpoint_can_be_read() {
    let d = counted();
    let points: Vec<_> = checkpoints(&d.records).collect();
    let states: Vec<_> = points
        .iter()
        .map(|point| {
            let run = Run::fold("run", d.run.definition().clone(), up_to(&d, point.seq)).unwrap();
            let effect = point.effect.as_ref().map_or("", EffectId::as_str);
            format!("{effect} {}", run.state().unwrap()["n"])
        })
        .collect();
    assert_eq!(states, [" 0", "a#0 1", "a#1 2", "a#2 3", "b#0 13", " 13"]);
}

#[test]
fn a_fork_goes_on_from_a_checkpoint_with_a_change() {
    let d = counted();
    let point = checkpoints(&d.records).nth(2).unwrap();
    let patch = Patch::State(object(json!({"n": 100, "who": "me"})));
    let definition = d.run.definition().clone();
    let (run, records) =
        Run::fork("fork", definition.clone(), up_to(&d, point.seq), Some(patch), STAMP).unwrap();
    assert_eq!(run, Run::fold("fork", definition, &records).unwrap());
    assert!(records.iter().zip(0..).all(|(record, seq)| record.seq == seq && record.epoch == 1));
    let mut fork = Driven { run, records, events: vec![], at: STAMP.at, epoch: 1 };
    assert_eq!(fork.open(), [""; 0]);
    fork.epoch = 2;
    let step = fork.run.advance(Input::Claim, Stamp { epoch: 2, ..STAMP }, &mut Unlimited, None).unwrap();
    fork.records.extend(step);
    assert_eq!(fork.seen("a#2"), json!({"n": 100, "who": "me"}));
    assert_eq!(fork.run.active_at(STAMP.at), 0, "the time between is not the fork's");
}

#[test]
fn a_change_reaches_every_path_under_way_and_stands_where_it_came() {
    let nodes = vec![
        node("s", &["a", "b", "c"]),
        node("a", &["a2"]),
        node("b", &["join"]),
        node("c", &[]),
        node("a2", &["join"]),
        node("join", &[]),
    ];
    let mut d = Driven::start(graph(nodes, &[("n", Reducer::Append)]), none());
    d.gives("s#0", json!({"n": "s"}));
    d.gives("b#0", json!({"n": "b"}));
    d.gives("c#0", json!({"n": "c"}));
    d.gives("a#0", json!({"n": "a"}));
    let patch = Patch::State(object(json!({"n": ["p"]})));
    let (run, records) =
        Run::fork("run", d.run.definition().clone(), &d.records, Some(patch), STAMP).unwrap();
    let mut fork = Driven { run, records, events: vec![], at: STAMP.at, epoch: 2 };
    fork.input(Input::Claim);
    assert_eq!((fork.seen("a2#0"), fork.state()), (json!({"n": ["p"]}), json!({"n": ["p"]})));
    fork.gives("a2#0", json!({"n": "a2"}));
    assert_eq!(fork.seen("join#0"), json!({"n": ["p", "a2"]}));
    fork.gives("join#0", json!({"n": "join"}));
    assert_eq!(fork.output(), &json!({"n": ["p", "a2", "join"]}));
}

#[test]
fn what_the_other_run_may_have_done_is_in_doubt_in_the_fork() {
    let pay = NodeDefinition { effect: EffectClass::Once, ..node("pay", &[]) };
    let d = Driven::start(graph(vec![pay], &[]), none());
    let definition = d.run.definition().clone();
    let (mut run, _) = Run::fork("fork", definition.clone(), &d.records, None, STAMP).unwrap();
    run.advance(Input::Claim, Stamp { epoch: 2, ..STAMP }, &mut Unlimited, None).unwrap();
    let open: Vec<_> = run.effects().map(|open| open.intent.id.to_string()).collect();
    assert_eq!(open, ["doubt:pay#0.1"]);
    // Before its intent nothing is in doubt.
    let (mut run, _) = Run::fork("fork", definition, &d.records[..1], None, STAMP).unwrap();
    run.advance(Input::Claim, Stamp { epoch: 2, ..STAMP }, &mut Unlimited, None).unwrap();
    let open: Vec<_> = run.effects().map(|open| open.intent.id.to_string()).collect();
    assert_eq!(open, ["pay#0"]);
}

#[test]
fn an_agent_is_forked_with_a_message() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(calls(&[("look", Value::Object(Default::default()))]));
    m.result("t0.0", "seen");
    m.reply(words("done"));
    let point = checkpoints(&m.records).find(|point| point.effect == Some(EffectId::new("t0.0"))).unwrap();
    let past = &m.records[..=usize::try_from(point.seq).unwrap()];
    let definition = agent_pinned(agent(vec![read("look")]));
    let patch = Some(Patch::Message(Message::user("look again")));
    let (mut run, _) = Run::fork("fork", definition.clone(), past, patch, STAMP).unwrap();
    run.advance(Input::Claim, Stamp { epoch: 2, ..STAMP }, &mut Unlimited, None).unwrap();
    let heard: Vec<_> = run.history().iter().map(|message| crate::support::line(message)).collect();
    assert_eq!(heard, ["user: go", "assistant: [look]", "tool c0: seen", "user: look again"]);

    let fork =
        |records: &[Record], patch| Run::fork("fork", definition.clone(), records, patch, STAMP).map(|_| ());
    assert!(matches!(fork(&m.records, None), Err(Refused::NoFork(_))), "it has ended");
    assert!(matches!(fork(past, Some(Patch::State(Default::default()))), Err(Refused::NoFork(_))));
    assert!(matches!(fork(&past[1..], None), Err(Refused::Corrupt(_))));
    assert_eq!(fork(&[], None), Err(Refused::NotAccepted));
}

#[test]
fn a_cancelled_run_can_be_forked_from_before() {
    let mut d = Driven::start(graph(vec![node("a", &["b"]), node("b", &[])], &[]), none());
    d.gives("a#0", json!({"n": 1}));
    d.input(Input::Cancel);
    d.stop_all();
    assert_eq!(d.outcome(), &Outcome::Cancelled);
    let before = d.records.iter().position(|record| matches!(record.kind, RecordKind::Stopping(_))).unwrap();
    let fork = Run::fork("fork", d.run.definition().clone(), &d.records[..before], None, STAMP);
    assert_eq!(fork.unwrap().0.state().unwrap()["n"], 1);
}
