//! Structured output: enforced by the provider, or given by a call of an output tool.

use ambidex_core::ErrorKind;
use ambidex_core::chunk::Finish;
use ambidex_core::definition::{AgentDefinition, StopConditions};
use ambidex_core::model::OutputSchema;
use ambidex_core::record::Outcome;
use ambidex_core::reply::Reply;
use serde_json::{Value, json};

use crate::support::*;

fn native() -> AgentDefinition {
    let output = OutputSchema { name: "answer".into(), schema: json!({"type": ["object", "null"]}) };
    AgentDefinition { output: Some(output), ..agent(vec![read("look")]) }
}

fn by_tool() -> AgentDefinition {
    AgentDefinition { output_tool: Some("answer".into()), ..native() }
}

/// As a driver has checked it.
fn valid(reply: Reply, output: Value) -> Reply {
    Reply { output: Some(output), ..reply }
}

fn invalid(reply: Reply) -> Reply {
    Reply { output_fault: Some("`n` is missing".into()), ..reply }
}

fn output(m: &Machine) -> Option<&Value> {
    match m.outcome() {
        Outcome::Succeeded { output, completed: true, .. } => output.as_ref(),
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_valid_output_is_the_result() {
    let mut m = Machine::start(native());
    m.reply(valid(words("{\"n\":1}"), json!({"n": 1})));
    assert_eq!((output(&m), m.text()), (Some(&json!({"n": 1})), "{\"n\":1}"));
}

#[test]
fn an_output_may_be_null() {
    let mut m = Machine::start(native());
    m.reply(valid(words("null"), Value::Null));
    assert_eq!(output(&m), Some(&Value::Null));
}

#[test]
fn an_invalid_output_is_repaired_once() {
    let mut m = Machine::start(native());
    m.reply(invalid(words("{}")));
    assert_eq!(
        m.heard()[2],
        "user: Your reply does not match the output schema: `n` is missing. \
         Reply again with nothing but JSON that matches the schema."
    );
    m.reply(valid(words("{\"n\":1}"), json!({"n": 1})));
    assert_eq!(output(&m), Some(&json!({"n": 1})));
}

#[test]
fn a_second_invalid_output_fails() {
    let mut m = Machine::start(native());
    m.reply(invalid(words("{}")));
    m.reply(look());
    m.result("t1.0", "a");
    m.reply(invalid(words("{}")));
    assert_eq!(m.failure().kind(), ErrorKind::OutputInvalid);
    assert_eq!(m.failure().message(), "`n` is missing (after 1 repair)");
}

#[test]
fn a_cut_output_is_neither_continued_nor_repaired() {
    let mut m = Machine::start(native());
    m.reply(ended("{\"n\":", Finish::Length));
    assert_eq!(m.failure().kind(), ErrorKind::ReplyTruncated);
}

fn answers(arguments: &[Value]) -> Reply {
    let calls_of: Vec<_> = arguments.iter().map(|arguments| ("answer", arguments.clone())).collect();
    calls(&calls_of)
}

#[test]
fn a_call_of_the_output_tool_ends_the_run() {
    let mut m = Machine::start(by_tool());
    let reply = calls(&[("look", json!({})), ("answer", json!({"n": 1}))]);
    m.reply(valid(reply, json!({"n": 1})));
    assert_eq!(output(&m), Some(&json!({"n": 1})));
    let heard = &m.heard()[2..];
    assert_eq!(heard, ["tool c0: cancelled: not run: the run ended with this reply", "tool c1: taken"]);
}

#[test]
fn an_invalid_call_of_the_output_tool_is_repaired_once() {
    let mut m = Machine::start(by_tool());
    m.reply(invalid(answers(&[json!({})])));
    assert_eq!(m.heard()[2], "tool c0: output_invalid: `n` is missing");
    assert_eq!(m.open(), ["m1"]);
    m.reply(valid(answers(&[json!({"n": 1})]), json!({"n": 1})));
    assert_eq!(output(&m), Some(&json!({"n": 1})));

    let mut m = Machine::start(by_tool());
    m.reply(invalid(answers(&[json!({})])));
    m.reply(invalid(answers(&[json!({})])));
    assert_eq!(m.failure().kind(), ErrorKind::OutputInvalid);
}

#[test]
fn broken_arguments_of_the_output_tool_count_as_an_invalid_output() {
    let mut m = Machine::start(by_tool());
    m.reply(answers(&[json!("{\"n\":")]));
    assert!(m.heard()[2].starts_with("tool c0: invalid_arguments"), "{:?}", m.heard());
    m.reply(answers(&[json!("{\"n\":")]));
    assert_eq!(m.failure().message(), "the arguments are not JSON (after 1 repair)");
}

#[test]
fn two_invalid_calls_of_the_output_tool_are_both_answered() {
    let mut m = Machine::start(by_tool());
    m.reply(invalid(answers(&[json!({}), json!({"m": 1})])));
    assert_eq!(m.open(), ["m1"], "nobody is asked to approve the second");
    assert_eq!(m.heard()[3], "tool c1: output_invalid: `n` is missing");
}

#[test]
fn tools_beside_an_invalid_output_still_run() {
    let mut m = Machine::start(by_tool());
    m.reply(invalid(calls(&[("answer", json!({})), ("look", json!({}))])));
    assert_eq!(m.open(), ["t0.1"]);
    m.result("t0.1", "a");
    assert_eq!(m.heard()[2..], ["tool c0: output_invalid: `n` is missing", "tool c1: a"]);
}

#[test]
fn words_instead_of_the_output_tool_are_repaired() {
    let mut m = Machine::start(by_tool());
    m.reply(invalid(words("It is one.")));
    assert!(m.heard()[2].ends_with("Call `answer` with arguments that match its schema."), "{:?}", m.heard());
}

#[test]
fn a_stop_condition_without_the_output_is_not_complete() {
    let stop = StopConditions { text: Some("DONE".into()), ..Default::default() };
    let mut m = Machine::start(AgentDefinition { stop, ..native() });
    m.reply(invalid(words("DONE")));
    assert!(matches!(m.outcome(), Outcome::Succeeded { output: None, completed: false, .. }));
}
