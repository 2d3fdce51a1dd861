//! Near the limit of its context the model is given a summary of what was before; the history stays whole.

use ambidex_core::definition::{AgentDefinition, Compaction};
use ambidex_core::effect::Work;
use ambidex_core::event::{EventKind, StepKind};
use ambidex_core::message::History;
use ambidex_core::record::{Input, Outcome, Output, Stamp};
use ambidex_core::reply::Reply;
use ambidex_core::run::{Run, Unlimited};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::json;

use crate::support::*;

/// Half of 1000 tokens, which are 4 bytes each until a provider says otherwise.
fn near(keep_last: u32) -> AgentDefinition {
    with(Compaction { compact_at: 0.5, keep_last, window: Some(1000), ..Compaction::default() })
}

fn with(context: Compaction) -> AgentDefinition {
    AgentDefinition { context: Some(context), ..agent(vec![read("look")]) }
}

fn view(m: &Machine, id: &str) -> Vec<String> {
    match m.effect(id).work {
        Work::Model { history, .. } => lines(&history),
        Work::Summarise { history } => lines(&history),
        work => panic!("{work:?}"),
    }
}

fn lines(history: &History) -> Vec<String> {
    assert_answered_in(history);
    let short = |line: String| match line.split_once("\n\n") {
        Some((_, summary)) => format!("summary: {summary}"),
        None => line.chars().take(14).collect(),
    };
    history.iter().map(|message| short(line(message))).collect()
}

/// A round: one call of `look`, whose result is this long.
fn round(m: &mut Machine, bytes: usize) {
    let turn = m.run.iterations();
    m.reply(calls(&[("look", json!({"turn": turn}))]));
    m.result(&format!("t{turn}.0"), &"x".repeat(bytes));
}

fn summary(text: &str, tokens: u64) -> Result<Output, Error> {
    let usage = Usage { input_tokens: tokens, ..Usage::default() };
    Ok(Output::Reply(Box::new(Reply { usage, ..words(text) })))
}

fn too_long() -> Result<Output, Error> {
    Err(Error::new(ErrorKind::ContextTooLong, "far too long"))
}

#[test]
fn near_the_limit_the_model_is_given_a_summary_and_the_history_stays_whole() {
    let mut m = Machine::start(near(2));
    round(&mut m, 900);
    assert_eq!(m.open(), ["m1"], "far from it");
    round(&mut m, 1200);
    assert_eq!(m.open(), ["c2.0"]);
    assert_eq!(view(&m, "c2.0"), ["user: go", "assistant: [lo", "tool c0: xxxxx"]);
    m.steer("more");
    assert_eq!(m.open(), ["c2.0"], "one thing at a time");
    m.done("c2.0", summary("looked once", 70));
    let short = ["user: go", "summary: looked once", "assistant: [lo", "tool c0: xxxxx", "user: more"];
    assert_eq!(view(&m, "m2"), short);
    assert_eq!(m.run.usage().input_tokens, 70);
    m.reply(words("done"));
    let whole = ["user: go", "assistant: [lo", "tool c0: xxxxx", "assistant: [lo", "tool c0: xxxxx"];
    assert_eq!(lines(m.run.history())[..5], whole);
    assert_eq!((m.text(), m.run.iterations()), ("done", 3));
    let steps = m.events.iter().filter(|event| {
        let kind = StepKind::Summarise;
        event.kind == EventKind::StepStarted { kind }
            || matches!(event.kind, EventKind::StepFinished { kind: StepKind::Summarise, ok: true, .. })
    });
    assert_eq!(steps.count(), 2);
}

#[test]
fn a_later_summary_takes_the_earlier_one_in() {
    let mut m = Machine::start(near(2));
    round(&mut m, 1000);
    round(&mut m, 1000);
    m.done("c2.0", summary("first", 0));
    round(&mut m, 1000);
    assert_eq!(view(&m, "c3.0"), ["summary: first", "assistant: [lo", "tool c0: xxxxx"]);
    m.done("c3.0", summary("second", 0));
    assert_eq!(view(&m, "m3"), ["user: go", "summary: second", "assistant: [lo", "tool c0: xxxxx"]);
}

#[test]
fn the_count_of_the_provider_is_trusted_within_bounds() {
    for (tokens, summarised) in [(0, false), (1_000_000, true), (1, false)] {
        let mut m = Machine::start(near(1));
        round(&mut m, 500);
        let usage = Usage { input_tokens: tokens, ..Usage::default() };
        m.reply(Reply { usage, ..look() });
        m.result("t1.0", &"x".repeat(700));
        assert_eq!(m.open(), [if summarised { "c2.0" } else { "m2" }], "{tokens}");
    }
}

#[test]
fn a_reply_stays_with_the_results_of_its_calls() {
    let mut m = Machine::start(near(2));
    round(&mut m, 1500);
    m.reply(calls(&[("look", json!({"n": 1})), ("look", json!({"n": 2})), ("look", json!({"n": 3}))]));
    for id in ["t1.0", "t1.1", "t1.2"] {
        m.result(id, &"y".repeat(300));
    }
    m.done("c2.0", summary("s", 0));
    assert_eq!(view(&m, "m2")[2..], ["assistant: [lo", "tool c0: yyyyy", "tool c1: yyyyy", "tool c2: yyyyy"]);
}

#[test]
fn a_failed_summary_is_no_fault_of_the_run_and_is_not_tried_with_every_turn() {
    let failed = || summary("   ", 5);
    let longer = || summary(&"z".repeat(5000), 5);
    for result in [failed(), longer(), Err(Error::new(ErrorKind::Overloaded, "busy"))] {
        let mut m = Machine::start(near(4));
        round(&mut m, 1000);
        round(&mut m, 100);
        round(&mut m, 1000);
        m.done("c3.0", result);
        assert_eq!(view(&m, "m3").len(), 7, "all of it");
        round(&mut m, 10);
        assert_eq!(m.open(), ["m4"], "not again at once");
        round(&mut m, 10);
        assert_eq!(m.open(), ["c5.0"]);
    }
}

#[test]
fn what_would_gain_little_is_not_summarised() {
    let mut m = Machine::start(near(2));
    round(&mut m, 10);
    round(&mut m, 5000);
    assert_eq!(m.open(), ["m2"], "nearly all of it is in the last round");
    let mut m = Machine::start(near(12));
    round(&mut m, 5000);
    assert_eq!(m.open(), ["m1"], "all of it is kept");
}

#[test]
fn a_prompt_that_was_too_long_is_summarised_and_sent_again_once() {
    // No window is known, and the last message alone may stay: twelve would keep all.
    let mut m = Machine::start(with(Compaction::default()));
    for _ in 0..3 {
        round(&mut m, 1000);
    }
    m.done("m3", too_long());
    assert_eq!(m.open(), ["c3.0"]);
    m.done("c3.0", summary("looked", 9));
    assert_eq!(m.open(), ["m3.1"]);
    let seen = view(&m, "m3.1");
    assert_eq!(seen[..2], ["user: go", "summary: looked"]);
    assert!(seen.len() < 7, "{seen:?}");
    m.events.clear();
    m.done("m3.1", Ok(Output::Reply(Box::new(calls(&[("look", json!({})), ("fly", json!({}))])))));
    let called: Vec<_> = m
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolCalled { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(called, ["t3.1", "t3.0"], "calls are named by their turn");
    m.result("t3.0", "seen");
    assert_eq!(m.open(), ["m4"]);
    m.done("m4", too_long());
    m.done("c4.0", summary("looked more", 9));
    m.done("m4.1", too_long());
    assert_eq!(m.failure().kind(), ErrorKind::ContextTooLong, "once in a turn");
    assert_eq!(m.run.history().len(), 10, "{:?}", m.heard());
}

#[test]
fn where_no_summary_comes_the_model_has_the_last_word() {
    let mut m = Machine::start(with(Compaction { keep_last: 2, ..Compaction::default() }));
    round(&mut m, 1000);
    round(&mut m, 10);
    m.done("m2", too_long());
    m.fails("c2.0", ErrorKind::Unauthorized);
    assert_eq!((m.failure().kind(), m.failure().message()), (ErrorKind::ContextTooLong, "far too long"));

    let mut m = Machine::start(with(Compaction::default()));
    m.done("m0", too_long());
    assert_eq!(m.failure().kind(), ErrorKind::ContextTooLong, "there is nothing to leave out");

    let mut m = Machine::start(agent(vec![read("look")]));
    round(&mut m, 1000);
    m.done("m1", too_long());
    assert_eq!(m.failure().kind(), ErrorKind::ContextTooLong, "nobody wanted summaries");
}

#[test]
fn a_cancelled_run_waits_for_no_summary() {
    let mut m = Machine::start(near(2));
    round(&mut m, 1000);
    round(&mut m, 1000);
    m.input(Input::Cancel);
    m.stop_all();
    assert_eq!(*m.outcome(), Outcome::Cancelled);
}

/// Another process takes over behind every record, also in the middle of a batch.
#[test]
fn a_death_behind_any_record_changes_nothing() {
    fn play(run: &mut Run, records: &mut Vec<ambidex_core::record::Record>, epoch: u64) -> Vec<String> {
        let mut seen = vec![];
        let mut next = |run: &mut Run, input| {
            let stamp = Stamp { at: 2_000_000, epoch };
            records.extend(run.advance(input, stamp, &mut Unlimited, None).unwrap());
        };
        if epoch > 1 && !run.status().is_final() {
            next(run, Input::Claim);
        }
        while !run.status().is_final() {
            let open = run.effects().next().unwrap().clone();
            let effect = run.effect(&open).unwrap();
            let turn = run.iterations();
            let result = match &effect.work {
                Work::Model { history, .. } => {
                    seen.push(format!("{} {:?}", effect.id, lines(history)));
                    match effect.id.as_str() {
                        "m4" => too_long(),
                        _ if turn == 6 => Ok(Output::Reply(Box::new(words("done")))),
                        _ => Ok(Output::Reply(Box::new(calls(&[("look", json!({"turn": turn}))])))),
                    }
                }
                Work::Summarise { history } => summary(&format!("{} lines", lines(history).len()), 3),
                Work::Tool { .. } => Ok(Output::Tool(ambidex_core::ToolOutput::Text("x".repeat(700)))),
                work => panic!("{work:?}"),
            };
            next(run, Input::Done { effect: effect.id, attempt: effect.attempt, result });
        }
        seen
    }
    let mut m = Machine::start(near(2));
    let all = play(&mut m.run, &mut m.records, 1);
    let (records, end) = (m.records.clone(), m.run);
    let summaries = all.iter().filter(|line| line.contains("summary: ")).count();
    assert!(summaries >= 3 && all.iter().any(|line| line.starts_with("m4.1")), "{all:#?}");
    for length in 1..=records.len() {
        let mut records = records[..length].to_vec();
        let mut run = Run::fold("run", end.definition().clone(), &records).unwrap();
        let seen = play(&mut run, &mut records, 2);
        assert_eq!(seen[..], all[all.len() - seen.len()..], "from record {length}");
        assert_eq!((run.history(), run.phase(), run.usage()), (end.history(), end.phase(), end.usage()));
    }
}

#[test]
fn a_definition_of_before_has_no_context() {
    let text = serde_json::to_value(agent(vec![])).unwrap();
    assert!(text.get("context").is_none(), "and its hash stays as it was");
    let full: AgentDefinition = serde_json::from_value(serde_json::to_value(near(2)).unwrap()).unwrap();
    assert_eq!(full, near(2));
}
