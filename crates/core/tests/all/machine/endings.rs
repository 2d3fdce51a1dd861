//! What ends a run, and what a reply that is no answer leads to.

use ambidex_core::chunk::Finish;
use ambidex_core::definition::{AgentDefinition, Mode, StopConditions};
use ambidex_core::effect::Work;
use ambidex_core::message::{Message, Part, Role};
use ambidex_core::record::{Outcome, Output};
use ambidex_core::reply::Reply;
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::json;

use crate::support::*;

fn completed(m: &Machine) -> bool {
    matches!(m.outcome(), Outcome::Succeeded { completed: true, .. })
}

#[test]
fn a_whole_reply_that_asks_for_no_tool_is_the_answer() {
    for finish in [Finish::Stop, Finish::Other] {
        let mut m = Machine::start(agent(vec![]));
        m.reply(ended("done", finish));
        assert_eq!((m.text(), completed(&m)), ("done", true));
    }
}

#[test]
fn a_failed_model_call_fails_the_run() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(look());
    m.result("t0.0", "a");
    m.fails("m1", ErrorKind::StreamTruncated);
    assert_eq!(m.failure().kind(), ErrorKind::StreamTruncated);
    assert_eq!(m.heard().len(), 3, "partial text never enters history");
}

#[test]
fn cut_replies_are_continued_and_their_text_is_joined() {
    let mut m = Machine::start(agent(vec![]));
    m.reply(ended("one two th", Finish::Length));
    assert_eq!(m.heard()[2], "user: Your reply was cut at the token limit. Go on exactly where it stopped.");
    m.reply(ended("ree fo", Finish::Length));
    m.reply(words("ur"));
    assert_eq!((m.text(), completed(&m)), ("one two three four", true));
}

#[test]
fn what_was_cut_before_a_tool_call_is_no_part_of_the_answer() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(ended("Let me th", Finish::Length));
    m.reply(look());
    m.result("t1.0", "a");
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn in_a_chat_a_cut_reply_is_an_answer_that_says_so() {
    let mut m = Machine::start(AgentDefinition { mode: Mode::Chat, ..agent(vec![]) });
    m.reply(ended("one two th", Finish::Length));
    assert_eq!((m.text(), completed(&m)), ("one two th", false));
}

#[test]
fn replies_that_are_cut_before_a_word_came_fail() {
    let mut m = Machine::start(agent(vec![]));
    m.reply(nothing(Finish::Length));
    assert_eq!(m.open(), ["m1"]);
    m.reply(nothing(Finish::Length));
    assert_eq!(m.failure().kind(), ErrorKind::ReplyTruncated);
    assert!(m.failure().message().contains("`max_tokens`"));
}

#[test]
fn an_empty_reply_is_nudged_once() {
    for empty in [nothing(Finish::Stop), words(""), words(" \n")] {
        let mut m = Machine::start(agent(vec![read("look")]));
        m.reply(empty.clone());
        assert_eq!(m.heard(), ["user: go", "user: Your reply was empty. Answer in words, or call a tool."]);
        m.reply(empty.clone());
        assert_eq!(m.failure().kind(), ErrorKind::EmptyReply);

        let mut m = Machine::start(agent(vec![read("look")]));
        m.reply(empty.clone());
        m.reply(look());
        m.result("t1.0", "a");
        m.reply(empty);
        assert_eq!(m.open(), ["m3"], "not twice in a row");
        m.reply(words("done"));
        assert_eq!(m.text(), "done");
    }
}

#[test]
fn a_refusal_fails_with_the_models_words() {
    let mut m = Machine::start(agent(vec![]));
    let parts = vec![Part::Refusal { text: "I will not".into() }];
    m.reply(Reply::new(Message::new(Role::Assistant, parts), Finish::Refusal, Usage::default()));
    assert_eq!(
        (m.failure().kind(), m.failure().message()),
        (ErrorKind::Refused, "the model refused: I will not")
    );
    let mut m = Machine::start(agent(vec![]));
    m.reply(ended("sorry", Finish::Refusal));
    assert_eq!(m.failure().message(), "the model refused: sorry");
    let mut m = Machine::start(agent(vec![]));
    m.reply(nothing(Finish::Refusal));
    assert_eq!(m.failure().message(), "the model refused");
}

#[test]
fn a_filtered_reply_fails_and_its_calls_are_answered_not_run() {
    for (finish, kind) in
        [(Finish::ContentFilter, ErrorKind::ContentFilter), (Finish::Refusal, ErrorKind::Refused)]
    {
        let mut m = Machine::start(agent(vec![read("look")]));
        let step = m.reply(Reply { finish, ..look() });
        assert_eq!(Machine::intents(&step), [""; 0]);
        assert_eq!(m.failure().kind(), kind);
        assert!(m.heard()[2].starts_with("tool c0: cancelled: the run failed: "), "{:?}", m.heard());
    }
}

#[test]
fn a_stop_text_ends_the_run_with_its_reply() {
    let stop = StopConditions { text: Some("DONE".into()), ..Default::default() };
    let definition = || AgentDefinition { stop: stop.clone(), ..agent(vec![read("look")]) };
    let mut m = Machine::start(definition());
    let mut reply = look();
    let mut parts = reply.message.parts.clone();
    parts.insert(0, Part::text("all DONE"));
    reply.message = Message::new(Role::Assistant, parts);
    m.reply(reply);
    assert_eq!((m.text(), completed(&m)), ("all DONE", false));
    assert_eq!(m.heard()[2], "tool c0: cancelled: not run: the run ended with this reply");

    let mut m = Machine::start(definition());
    m.reply(words("all DONE"));
    assert!(completed(&m), "it would have ended all the same");
}

#[test]
fn a_stop_condition_in_user_code_ends_the_run() {
    let mut m = Machine::start(agent(vec![read("look")]));
    m.reply(Reply { stop: true, ..look() });
    assert_eq!((m.text(), completed(&m)), ("", false));
}

#[test]
fn a_run_may_end_after_a_tool_has_succeeded() {
    let stop = StopConditions { after_tools: vec!["submit".into()], ..Default::default() };
    let mut m = Machine::start(AgentDefinition { stop, ..agent(vec![read("look"), read("submit")]) });
    m.reply(calls(&[("submit", json!({}))]));
    m.fails("t0.0", ErrorKind::ToolFailed);
    assert_eq!(m.open(), ["m1"], "it failed");
    m.reply(calls(&[("submit", json!({})), ("look", json!({}))]));
    m.result("t1.0", "taken");
    assert_eq!(m.open(), ["t1.1"], "the round is not over");
    m.result("t1.1", "seen");
    assert_eq!((m.text(), completed(&m)), ("taken", false));
}

fn hooked() -> Machine {
    let mut m = Machine::start(AgentDefinition { finish_hook: true, ..agent(vec![]) });
    m.reply(words("done"));
    m
}

#[test]
fn a_finish_hook_sees_the_outcome_and_may_change_it() {
    let mut m = hooked();
    let Work::FinishHook { outcome: Outcome::Succeeded { text, .. } } = m.effect("finish").work else {
        panic!()
    };
    assert_eq!(text, "done");
    let better = Outcome::Succeeded { text: "better".into(), output: None, completed: true };
    m.done("finish", Ok(Output::Outcome(Box::new(better))));
    assert_eq!(m.text(), "better");
}

#[test]
fn a_finish_hook_that_fails_fails_the_run() {
    let mut m = hooked();
    m.fails("finish", ErrorKind::HookFailed);
    assert_eq!(m.failure().kind(), ErrorKind::HookFailed);
}

#[test]
fn a_finish_hook_is_run_again_by_a_new_process_and_only_then() {
    let mut m = hooked();
    m.claim();
    assert_eq!(m.effect("finish").attempt, 2);
    m.done("finish", Ok(Output::Outcome(Box::new(Outcome::Failed(Error::new(ErrorKind::Refused, "no"))))));
    assert_eq!(m.failure().message(), "no");
}

#[test]
fn a_failure_is_shown_to_the_finish_hook_too() {
    let mut m = Machine::start(AgentDefinition { finish_hook: true, ..agent(vec![]) });
    m.fails("m0", ErrorKind::Overloaded);
    let Work::FinishHook { outcome: Outcome::Failed(_) } = m.effect("finish").work else { panic!() };
}

#[test]
fn a_result_of_another_kind_is_our_defect() {
    let mut m = Machine::start(agent(vec![]));
    m.done("m0", Ok(Output::Tool("text".into())));
    assert_eq!(m.failure().kind(), ErrorKind::Internal);
}
