//! Limits that pause a run, and what a resume grants.

use ambidex_core::Usage;
use ambidex_core::budget::{Budget, BudgetKind};
use ambidex_core::definition::AgentDefinition;
use ambidex_core::event::{EventKind, Status};
use ambidex_core::record::{Input, Pause};
use ambidex_core::reply::Reply;
use serde_json::json;

use crate::support::*;

fn with_budget(budget: Budget) -> Machine {
    Machine::start(AgentDefinition { budget, ..agent(vec![read("look"), read("list")]) })
}

fn used(reply: Reply, tokens: u64, usd: f64) -> Reply {
    let usage = Usage { input_tokens: tokens - 1, output_tokens: 1, usd: Some(usd), ..Usage::default() };
    Reply { usage, ..reply }
}

#[test]
fn an_iteration_is_a_model_call_and_the_last_one_pauses() {
    let mut m = Machine::start(AgentDefinition { max_iterations: 2, ..agent(vec![read("look")]) });
    for turn in ["t0.0", "t1.0"] {
        m.reply(look());
        m.result(turn, turn);
    }
    assert_eq!((m.pause(), m.run.status(), m.run.iterations()), (Pause::MaxIterations, Status::Paused, 2));
    assert_answered(&m.run);
    m.resume(0, Budget::default());
    assert_eq!(m.pause(), Pause::MaxIterations, "nothing was granted");
    m.resume(1, Budget::default());
    assert_eq!(m.open(), ["m2"]);
    m.reply(look());
    m.result("t2.0", "");
    assert_eq!(m.pause(), Pause::MaxIterations);
    m.resume(1, Budget::default());
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn a_reply_that_ends_the_run_at_its_last_iteration_ends_it() {
    let mut m = Machine::start(AgentDefinition { max_iterations: 1, ..agent(vec![]) });
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn money() {
    let mut m = with_budget(Budget { usd: Some(1.0), ..Budget::default() });
    m.reply(used(look(), 10, 0.75));
    m.result("t0.0", "a");
    assert_eq!(m.open(), ["m1"], "below the limit");
    m.reply(used(look(), 10, 0.25));
    assert_eq!(m.pause(), Pause::Budget(BudgetKind::Usd));
    m.resume(0, Budget { tokens: Some(1000), ..Budget::default() });
    assert_eq!(m.pause(), Pause::Budget(BudgetKind::Usd), "granted something else");
    m.resume(0, Budget { usd: Some(0.5), ..Budget::default() });
    assert_eq!(m.open(), ["t1.0"]);
    m.result("t1.0", "b");
    m.reply(used(words("done"), 10, 0.5));
    assert_eq!((m.text(), m.run.usage().usd), ("done", Some(1.5)), "a finished run is not paused");
}

#[test]
fn tokens() {
    let mut m = with_budget(Budget { tokens: Some(100), ..Budget::default() });
    m.reply(used(look(), 99, 0.0));
    m.result("t0.0", "a");
    m.reply(used(look(), 1, 0.0));
    assert_eq!(m.pause(), Pause::Budget(BudgetKind::Tokens));
    m.resume(0, Budget { tokens: Some(1), ..Budget::default() });
    assert_eq!(m.open(), ["t1.0"]);
}

#[test]
fn tool_calls() {
    let mut m = with_budget(Budget { tool_calls: Some(3), ..Budget::default() });
    m.reply(calls(&[("look", json!({"n": 1})), ("look", json!({"n": 2}))]));
    m.result("t0.0", "");
    m.result("t0.1", "");
    let step =
        m.reply(calls(&[("look", json!({"n": 3})), ("look", json!({"n": 4})), ("look", json!({"n": 5}))]));
    assert_eq!(Machine::intents(&step), ["t1.0"], "three and no more");
    assert_eq!(m.pause(), Pause::Budget(BudgetKind::ToolCalls));
    m.result("t1.0", "reports while paused");
    m.resume(0, Budget { tool_calls: Some(1), ..Budget::default() });
    assert_eq!((m.pause(), m.open()), (Pause::Budget(BudgetKind::ToolCalls), vec!["t1.1".to_owned()]));
    m.result("t1.1", "");
    m.resume(0, Budget { tool_calls: Some(1), ..Budget::default() });
    m.result("t1.2", "");
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn working_time() {
    let mut m = with_budget(Budget { wall_ms: Some(100), ..Budget::default() });
    m.at += 60;
    m.reply(look());
    assert_eq!(m.run.next_tick(m.at), Some(40));
    m.at += 39;
    assert_eq!(m.input(Input::Tick), []);
    m.at += 1;
    m.input(Input::Tick);
    assert_eq!((m.pause(), m.open()), (Pause::Budget(BudgetKind::Wall), vec!["t0.0".to_owned()]));
    m.at += 10;
    m.result("t0.0", "late, and taken");
    m.at += 100_000;
    m.resume(0, Budget { wall_ms: Some(50), ..Budget::default() });
    assert_eq!(m.open(), ["m1"]);
    assert_eq!(m.run.next_tick(m.at), Some(40), "110 of 150 ms are used");
    m.reply(words("done"));
    assert_eq!(m.text(), "done");
}

#[test]
fn a_grant_raises_no_limit_that_was_not_set() {
    let mut m = with_budget(Budget { usd: Some(0.5), ..Budget::default() });
    m.reply(used(look(), 10, 0.5));
    m.resume(0, Budget { usd: Some(1.0), tokens: Some(5), tool_calls: Some(0), wall_ms: Some(1) });
    m.result("t0.0", "");
    m.reply(used(words("done"), 10, 0.0));
    assert_eq!(m.text(), "done");
}

#[test]
fn no_budget_stands_between_a_finished_work_and_its_finish_hook() {
    let budget = Budget { usd: Some(0.5), ..Budget::default() };
    let mut m = Machine::start(AgentDefinition { budget, finish_hook: true, ..agent(vec![]) });
    m.reply(used(words("done"), 10, 0.5));
    assert_eq!(m.open(), ["finish"]);
}

#[test]
fn a_limit_is_shown() {
    let m = Machine::start(AgentDefinition { max_iterations: 0, ..agent(vec![]) });
    assert_eq!(m.pause(), Pause::MaxIterations);
    let m = with_budget(Budget { usd: Some(0.0), ..Budget::default() }).events;
    let budgets = m.iter().filter_map(|event| match &event.kind {
        EventKind::BudgetReached { budget } => Some(budget.as_str()),
        _ => None,
    });
    assert_eq!(budgets.collect::<Vec<_>>(), ["usd"]);
}

#[test]
fn somebody_pauses_a_run_with_effects_in_flight() {
    let mut m = Machine::start(AgentDefinition {
        tool_concurrency: 2,
        ..agent(vec![read("look"), asking("pay", ambidex_core::tool::EffectClass::Once)])
    });
    m.reply(calls(&[
        ("look", json!({"n": 1})),
        ("look", json!({"n": 2})),
        ("look", json!({"n": 3})),
        ("pay", json!({})),
    ]));
    m.input(Input::Pause);
    assert_eq!(m.pause(), Pause::Operator);
    assert_eq!(m.input(Input::Pause), [], "paused is paused");
    m.result("t0.0", "a");
    m.answer("ask:t0.3", ambidex_core::question::Answer::Approve);
    assert_eq!(m.open(), ["t0.1"], "nothing new starts");
    m.resume(0, Budget::default());
    assert_eq!(m.open(), ["t0.1", "t0.2"]);
    m.result("t0.1", "b");
    assert_eq!(m.open(), ["t0.2", "t0.3"]);
    m.result("t0.2", "c");
    m.result("t0.3", "paid");
    assert_eq!(m.heard()[2..], ["tool c0: a", "tool c1: b", "tool c2: c", "tool c3: paid"]);
}

#[test]
fn a_paused_run_that_is_claimed_stays_paused() {
    let mut m = Machine::start(agent(vec![tool("pay", ambidex_core::tool::EffectClass::Once)]));
    m.reply(calls(&[("pay", json!({}))]));
    m.input(Input::Pause);
    let step = m.claim();
    assert_eq!((step.len(), m.pause(), m.open()), (1, Pause::Operator, vec![]));
    m.resume(0, Budget::default());
    assert_eq!(m.open(), ["doubt:t0.0.1"]);
}
