//! Which calls start, beside what, and in which order they are answered.

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::definition::AgentDefinition;
use ambidex_core::effect::EffectId;
use ambidex_core::record::{Input, Output};
use ambidex_core::reply::{CallFault, Reply, ReplyBuilder};
use ambidex_core::run::Admission;
use ambidex_core::tool::{EffectClass, ToolOutput};
use ambidex_core::{Error, ErrorKind};
use serde_json::json;

use crate::support::*;

#[test]
fn calls_of_one_reply_stand_open_together_and_are_answered_in_their_order() {
    let mut m = Machine::start(agent(vec![read("look"), read("list")]));
    assert_eq!(m.open(), ["m0"]);
    m.reply(calls(&[("look", json!({"n": 1})), ("list", json!({})), ("look", json!({"n": 2}))]));
    assert_eq!(m.open(), ["t0.0", "t0.1", "t0.2"]);
    assert_eq!(m.arguments("t0.2"), json!({"n": 2}));
    m.result("t0.2", "third");
    m.result("t0.0", "first");
    assert_eq!(m.open(), ["t0.1"], "the model waits for the whole round");
    m.result("t0.1", "second");
    assert_eq!(m.open(), ["m1"]);
    assert_eq!(
        m.heard(),
        ["user: go", "assistant: [look list look]", "tool c0: first", "tool c1: second", "tool c2: third"]
    );
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn an_exclusive_call_waits_for_those_before_it_and_holds_back_those_after_it() {
    let mut m = Machine::start(agent(vec![read("look"), exclusive("alone")]));
    m.reply(calls(&[("look", json!({})), ("alone", json!({})), ("look", json!({})), ("alone", json!({}))]));
    assert_eq!(m.open(), ["t0.0"], "the third must not overtake the exclusive second");
    m.result("t0.0", "");
    assert_eq!(m.open(), ["t0.1"]);
    m.result("t0.1", "");
    assert_eq!(m.open(), ["t0.2"]);
    m.result("t0.2", "");
    assert_eq!(m.open(), ["t0.3"]);
    m.result("t0.3", "");
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn an_exclusive_call_takes_its_turn_after_its_approval() {
    let mut alone = exclusive("alone");
    alone.approval = ambidex_core::definition::Approval::Ask;
    let mut m = Machine::start(agent(vec![read("look"), alone]));
    m.reply(calls(&[("alone", json!({})), ("look", json!({})), ("look", json!({}))]));
    assert_eq!(m.open(), ["ask:t0.0", "t0.1", "t0.2"], "nobody waits for a person's answer to another call");
    m.answer("ask:t0.0", ambidex_core::question::Answer::Approve);
    m.result("t0.1", "");
    assert_eq!(m.open(), ["t0.2"]);
    m.result("t0.2", "");
    assert_eq!(m.open(), ["t0.0"]);
}

#[test]
fn no_more_calls_stand_open_than_the_run_allows() {
    let mut m = Machine::start(AgentDefinition { tool_concurrency: 2, ..agent(vec![read("look")]) });
    let four: Vec<_> = (0..4).map(|n| ("look", json!({"n": n}))).collect();
    let step = m.reply(calls(&four));
    assert_eq!(Machine::intents(&step), ["t0.0", "t0.1"], "a queued call has no intent");
    m.result("t0.1", "");
    assert_eq!(m.open(), ["t0.0", "t0.2"]);
    m.result("t0.0", "");
    m.result("t0.2", "");
    assert_eq!(m.open(), ["t0.3"]);
}

#[test]
fn a_call_starts_when_its_process_has_a_permit() {
    struct Permits(usize, Vec<String>);
    impl Admission for Permits {
        fn admit(&mut self, effect: &EffectId, tool: &str) -> bool {
            self.1.push(format!("{effect} {tool}"));
            let free = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            free
        }
    }
    let mut m = Machine::start(agent(vec![read("look"), exclusive("alone"), read("list")]));
    let result = Ok(Output::Reply(Box::new(calls(&[("look", json!({})), ("list", json!({}))]))));
    let mut permits = Permits(1, vec![]);
    let effect = EffectId::new("m0");
    m.input_with(Input::Done { effect, attempt: 1, result }, &mut permits).unwrap();
    assert_eq!(m.open(), ["t0.0"]);
    assert_eq!(permits.1[..2], ["t0.0 look", "t0.1 list"]);
    m.input_with(Input::Tick, &mut Permits(0, vec![])).unwrap();
    assert_eq!(m.open(), ["t0.0"]);
    m.input_with(Input::Tick, &mut Permits(1, vec![])).unwrap();
    assert_eq!(m.open(), ["t0.0", "t0.1"]);

    // An exclusive call that waits for its permit keeps its turn.
    m.result("t0.0", "");
    m.result("t0.1", "");
    let result = Ok(Output::Reply(Box::new(calls(&[("alone", json!({})), ("look", json!({}))]))));
    let mut only_look = Permits(0, vec![]);
    let effect = EffectId::new("m1");
    m.input_with(Input::Done { effect, attempt: 1, result }, &mut only_look).unwrap();
    assert_eq!(only_look.1, ["t1.0 alone"], "nobody behind it is asked about");
    assert_eq!(m.open(), [""; 0]);
    m.input(Input::Tick);
    assert_eq!(m.open(), ["t1.0"]);
}

#[test]
fn what_cannot_be_run_is_told_to_the_model_and_the_rest_runs() {
    let mut m = Machine::start(agent(vec![read("look"), denied("rm"), read("list")]));
    let mut reply = calls(&[
        ("fly", json!({})),
        ("look", json!("{\"n\": ")),
        ("look", json!("[1]")),
        ("rm", json!({})),
        ("list", json!({"n": "x"})),
        ("look", json!({"n": 1})),
    ]);
    reply.faults =
        vec![CallFault { call: 4, error: Error::new(ErrorKind::InvalidArguments, "`n` is no number") }];
    m.reply(reply);
    assert_eq!(m.open(), ["t0.5"]);
    m.result("t0.5", "seen");
    let heard = m.heard();
    assert_eq!(heard[2], "tool c0: unknown_tool: there is no tool `fly`; there are: look, rm, list");
    assert!(heard[3].starts_with("tool c1: invalid_arguments: the arguments are not JSON"), "{}", heard[3]);
    assert!(
        heard[4].starts_with("tool c2: invalid_arguments: the arguments are not a JSON object"),
        "{}",
        heard[4]
    );
    assert_eq!(heard[5], "tool c3: denied: the tool `rm` is not allowed here");
    assert_eq!(heard[6], "tool c4: invalid_arguments: `n` is no number");
    assert_eq!(heard[7], "tool c5: seen");
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn a_reply_whose_calls_are_all_refused_goes_straight_to_the_next_model_call() {
    let mut m = Machine::start(agent(vec![]));
    let step = m.reply(calls(&[("fly", json!({}))]));
    assert_eq!(Machine::intents(&step), ["m1"]);
}

#[test]
fn a_tools_failure_is_told_to_the_model() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(look());
    m.fails("t0.0", ErrorKind::ToolTimeout);
    assert_eq!(m.heard()[2], "tool c0: tool_timeout: so it is");
    assert_eq!(m.open(), ["m1"]);
}

/// A reply as it comes off the wire, through the builder.
fn streamed(calls: &[(&str, &str, &str)], finish: Finish) -> Result<Reply, Error> {
    let mut builder = ReplyBuilder::new();
    for (part, (id, name, text)) in (0..).zip(calls) {
        builder.push(Chunk::ToolCall { part, id: (*id).into(), name: (*name).into() })?;
        builder.push(Chunk::Arguments { part, text: (*text).into() })?;
    }
    builder.push(Chunk::End(finish))?;
    builder.finish()
}

#[test]
fn arguments_cut_by_the_token_limit_never_run() {
    for cut in ["", " ", "{\"path\": \"/etc", "{"] {
        let mut m = Machine::start(agent(vec![read("look")]));
        let reply = streamed(&[("a", "look", "{\"n\": 1}"), ("b", "look", cut)], Finish::Length).unwrap();
        m.reply(reply);
        assert_eq!(m.open(), ["t0.0"], "cut to {cut:?}");
        m.result("t0.0", "ok");
        let told = &m.heard()[3];
        assert!(told.starts_with("tool b: invalid_arguments: "), "{told}");
        assert!(told.contains("the reply was cut by the token limit. Nothing was run"), "{told}");
    }
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(streamed(&[("a", "look", "")], Finish::ToolCalls).unwrap());
    assert_eq!(m.arguments("t0.0"), json!({}), "in a whole reply no arguments are an empty object");
}

#[test]
fn equal_calls_with_one_id_are_one_call() {
    let mut m = Machine::start(agent(vec![read("look")]));
    let twice = [("a", "look", "{\"x\": 1, \"y\": 2}"), ("a", "look", "{\"y\":2,\"x\":1}")];
    m.reply(streamed(&twice, Finish::ToolCalls).unwrap());
    assert_eq!(m.open(), ["t0.0"]);
    let unequal = [("a", "look", "{\"x\": 1}"), ("a", "look", "{\"x\": 2}")];
    assert_eq!(streamed(&unequal, Finish::ToolCalls).unwrap_err().kind(), ErrorKind::BadUpstream);
}

#[test]
fn a_reply_with_hundreds_of_calls_runs_the_first_32() {
    let mut m = Machine::start(AgentDefinition { tool_concurrency: 1000, ..agent(vec![read("look")]) });
    let many: Vec<_> = (0..40).map(|n| ("look", json!({"n": n}))).collect();
    m.reply(calls(&many));
    assert_eq!(m.open().len(), 32);
    for id in m.open() {
        m.result(&id, "");
    }
    assert_eq!(m.heard()[34], "tool c32: denied: at most 32 calls in one reply are run; call it again");
    assert_eq!(m.open(), ["m1"]);
}

#[test]
fn the_model_reads_the_head_and_the_tail_of_a_large_result() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(look());
    let large = format!("head{}tail", "ü".repeat(40_000));
    m.done("t0.0", Ok(Output::Tool(ToolOutput::Text(large))));
    let told = &m.heard()[2];
    assert!(told.len() < 33 * 1024 && told.starts_with("tool c0: head") && told.ends_with("tail"));
    assert!(told.contains("bytes left out"));
}

#[test]
fn the_same_call_with_the_same_result_is_told_at_three_and_stopped_at_five() {
    let mut m = Machine::start(agent(vec![read("look")]));
    for turn in 0..5 {
        assert_eq!(m.open(), [format!("m{turn}")]);
        m.reply(look());
        m.result(&format!("t{turn}.0"), "same");
        let told = m.heard().pop().unwrap();
        assert_eq!(told.contains("Do something else"), matches!(turn, 2 | 3), "turn {turn}: {told}");
    }
    assert_eq!(m.failure().kind(), ErrorKind::RepeatedCalls);
    assert_eq!(
        m.failure().message(),
        "`look` was called 5 times with the same arguments and the same result"
    );
}

#[test]
fn another_result_or_other_arguments_are_no_repeat() {
    let mut m = Machine::start(agent(vec![read("look"), read("list")]));
    for turn in 0..8 {
        let name = if turn % 2 == 0 { "look" } else { "list" };
        m.reply(calls(&[(name, json!({"n": turn / 4}))]));
        let result = format!("{}", turn % 4 / 2);
        m.result(&format!("t{turn}.0"), &result);
    }
    assert!(m.heard().iter().all(|line| !line.contains("Do something else")), "{:#?}", m.heard());
    assert_eq!(m.open(), ["m8"]);
}

#[test]
fn which_of_equal_parallel_calls_is_told_does_not_depend_on_who_was_first() {
    let told = |order: [&str; 4]| {
        let mut m = Machine::start(agent(vec![read("look")]));
        let empty = || ("look", json!({}));
        m.reply(calls(&[empty(), empty(), empty(), empty()]));
        for id in order {
            m.result(id, "same");
        }
        m.heard()
    };
    assert_eq!(told(["t0.0", "t0.1", "t0.2", "t0.3"]), told(["t0.3", "t0.2", "t0.1", "t0.0"]));
    assert!(told(["t0.2", "t0.0", "t0.3", "t0.1"])[4].contains("Do something else"));
}

#[test]
fn a_result_of_an_effect_that_is_not_open_is_refused() {
    let mut m = Machine::start(agent(vec![tool("look", EffectClass::Read)]));
    m.reply(look());
    let late = |effect: &str, attempt| Input::Done {
        effect: EffectId::new(effect),
        attempt,
        result: Ok(Output::Tool(ToolOutput::Text("late".into()))),
    };
    for input in [late("m0", 1), late("t0.1", 1), late("t0.0", 2), late("t0.0", 0)] {
        assert_eq!(m.try_input(input), Err(ambidex_core::record::Refused::NotOpen));
    }
    m.result("t0.0", "ok");
    assert!(m.try_input(late("t0.0", 1)).is_err(), "answered twice");
}
