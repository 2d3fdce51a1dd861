//! Agents that hand a conversation on.

use std::sync::Arc;

use ambidex_core::ErrorKind;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::{Part, Role};
use ambidex_engine::{Agent, Engine, Handoff, HandoffResult, Passed, RunOptions};
use ambidex_models::scripted::{ScriptedModel, Turn, When};
use serde_json::json;

use crate::support::heard;
use crate::watched_store::Watched;

fn scripted(engine: &Engine, name: &str, model: ScriptedModel) -> Agent {
    Agent::builder()
        .engine(engine)
        .name(name)
        .instructions(format!("You do {name}."))
        .model(model)
        .build()
        .unwrap()
}

/// Hands on to billing, which answers.
fn desk(engine: &Engine, passed: Passed) -> Handoff {
    let triage = ScriptedModel::new([
        Turn::text("One moment.").and_call("transfer_to_billing", json!({"reason": "it is about money"}))
    ]);
    let billing =
        ScriptedModel::new(Vec::<Turn>::new()).otherwise(Turn::template("You said: {{ user }}").unwrap());
    Handoff::builder()
        .agent(scripted(engine, "triage", triage))
        .agent(scripted(engine, "billing", billing))
        .passes(passed)
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_conversation_goes_on_with_another_agent() {
    let engine = Engine::default();
    let result = desk(&engine, Passed::All).run("I paid twice").await.unwrap();
    assert_eq!((&*result.agent, &*result.text), ("billing", "You said: I paid twice"));
    assert_eq!(result.path, ["triage", "billing"]);
    let lines = heard(&result.messages);
    assert_eq!(
        lines,
        [
            "User I paid twice",
            "Assistant One moment.[call_1_1 transfer_to_billing]",
            "Tool call_1_1: billing has the conversation now.",
            "Assistant You said: I paid twice",
        ]
    );
    // Each agent's run is one of its own, and what it used counts.
    let run = &result.run;
    for (child, name) in [("talk#0", "triage"), ("talk#1", "billing")] {
        let stored = engine.store().load(&format!("{}/{child}", run.run)).await.unwrap();
        assert_eq!(stored.definition.definition.name(), name);
        let child = ambidex_core::run::Run::fold("x", stored.definition, &stored.records).unwrap();
        assert_eq!(child.parent(), Some(&*run.run));
        assert!(child.usage().output_tokens > 0 && child.usage().output_tokens < run.usage.output_tokens);
    }
}

#[tokio::test]
async fn what_befalls_the_driver_of_an_agent_is_no_end_of_the_conversation() {
    let watched = Watched::around(Arc::new(MemoryStore::new()));
    let engine = Engine::builder().durable_store(watched.clone()).build();
    let desk = desk(&engine, Passed::All);
    *watched.fails.lock().unwrap() = Some(("r/talk#1".to_owned(), 1));
    let options = RunOptions { id: Some("r".into()), ..RunOptions::default() };
    let error = desk.run_with("I paid twice", None, options).await.unwrap_err();
    assert_eq!((error.error.code(), error.error.is_retryable()), ("store_failed", true), "{}", error.error);
    *watched.fails.lock().unwrap() = None;
    let resumed = desk.resume("r", vec![], RunOptions::default()).await.unwrap();
    let result = HandoffResult::of(resumed.outcome().await.unwrap());
    assert_eq!((&*result.agent, &*result.text), ("billing", "You said: I paid twice"));
}

#[tokio::test]
async fn what_the_next_agent_is_given_is_said() {
    let result = desk(&Engine::default(), Passed::Words).run("I paid twice").await.unwrap();
    assert_eq!(result.text, "You said: (triage has handed this conversation on to you: it is about money)");
    let engine = Engine::default();
    let result = desk(&engine, Passed::Asked).run("I paid twice").await.unwrap();
    let stored = engine.store().load(&format!("{}/talk#1", result.run.run)).await.unwrap();
    let child = ambidex_core::run::Run::fold("x", stored.definition, &stored.records).unwrap();
    let roles: Vec<_> = child.history().iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::User, Role::Assistant]);
    assert!(
        child
            .history()
            .iter()
            .all(|message| message.parts.iter().all(|part| matches!(part, Part::Text { .. })))
    );
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_was() {
    let engine = Engine::default();
    let desk = desk(&engine, Passed::All);
    let first = desk.run("I paid twice").await.unwrap();
    let mut messages = first.messages.clone();
    messages.push(ambidex_core::message::Message::user("And now?"));
    let next = desk.run_with(messages, Some(&first.agent), RunOptions::default()).await.unwrap();
    assert_eq!((next.path, &*next.text), (vec!["billing".to_owned()], "You said: And now?"));
}

#[tokio::test]
async fn a_conversation_that_is_handed_round_and_round_ends() {
    let engine = Engine::default();
    let passes = |name: &str, to: &str| {
        let turn = Turn::call(format!("transfer_to_{to}"), json!({"reason": "not mine"})).when(When::new());
        scripted(&engine, name, ScriptedModel::new([turn]))
    };
    let round = Handoff::builder().agent(passes("a", "b")).agent(passes("b", "a")).most(3).build().unwrap();
    let failed = round.run("x").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::LoopLimit);
    assert!(failed.error.message().contains("more than 3 times: a to b to a to b to a"), "{}", failed.error);
}

#[tokio::test]
async fn an_agent_hands_on_to_those_alone_that_it_may() {
    let engine = Engine::default();
    let plain = |name: &str| scripted(&engine, name, ScriptedModel::new(["hello"]));
    let ends = Handoff::builder()
        .agent_to(plain("a"), ["b"])
        .agent_to(plain("b"), Vec::<String>::new())
        .agent(plain("c"));
    assert_eq!(ends.build().unwrap().run("x").await.unwrap().text, "hello");
    let unknown = Handoff::builder().agent_to(plain("a"), ["zoe"]).build().err().unwrap();
    assert!(unknown.message().contains("may hand on to `zoe`, which is no agent here"), "{unknown}");
    let twice = Handoff::builder().agent(plain("a")).agent(plain("a")).build().err().unwrap();
    assert!(twice.message().contains("two agents `a`"), "{twice}");
    assert!(Handoff::builder().build().err().unwrap().message().contains("no agents"));
}
