//! Teams and handoffs against a provider that refuses what the vendors refuse, and over a store on disk.

use std::sync::Arc;

use ambidex_core::Model;
use ambidex_core::event::Status;
use ambidex_core::message::Message;
use ambidex_core::model::StructuredOutput;
use ambidex_core::store::{AnyStore, RunIndex, RunQuery};
use ambidex_engine::merge::Actor;
use ambidex_engine::{Agent, Engine, Handoff, OnWaiting, Passed, RunOptions, Team, TeamResult};
use ambidex_fake_provider::{FakeProvider, Match, Script, Turn, Wire};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use serde_json::{Value, json};

use crate::breaking::Breaking;
use crate::cancel::{WIRES, client, model};
use crate::support::ms;
use crate::team_world::{Says, agent, judge};

fn last(text: &str) -> Match {
    Match::LastContains(text.into())
}

/// Structured output, as the model of this wire gives it.
fn gives(model: &dyn Model, value: Value) -> Turn {
    match model.info().structured_output {
        StructuredOutput::Native => Turn::text(value.to_string()),
        StructuredOutput::NativeWithoutTools | StructuredOutput::Tool => Turn::call("final_output", value),
    }
}

fn plan() -> Value {
    json!({"complexity": "low", "summary": "Two parts.", "parts": [
        {"id": "code", "description": "Write the program", "agent": "coder", "needs": [], "expected": "a program"},
        {"id": "text", "description": "Write the manual", "agent": "writer", "needs": ["code"], "expected": "a manual"},
    ]})
}

#[tokio::test]
async fn planner_members_judges_and_integrator_send_what_vendors_take() {
    for wire in WIRES {
        let provider = FakeProvider::start(Script::new([])).await.unwrap();
        let client = client();
        let upstream = || model(&provider, wire, &client);
        let score = |letter: &str| json!({"candidate": letter, "score": 8, "reason": "good"});
        let verdict = json!({"verdicts": [score("A"), score("B")], "overall": 7.5, "remarks": "It fits."});
        let deploy = json!({
            "deployment": {"steps": ["copy it"], "checks": [], "risks": []},
            "actions": [{"what": "count lines", "who": "coder", "priority": "low"}],
        });
        provider.set_script(Script::new([
            gives(&upstream(), plan()).when(last("Give at most")),
            gives(&upstream(), verdict).when(last("Judge how well")),
            gives(&upstream(), deploy).when(last("Give deployment and actions")),
            Turn::text("```sh path=wc.sh\nwc -w\n```").when(last("Write the program")),
            Turn::text("```text path=use.md\nRun wc.sh.\n```").when(last("Write the manual")),
        ]));
        let engine = Engine::default();
        let member =
            |name: &str| Agent::builder().engine(&engine).name(name).model(upstream()).build().unwrap();
        let team = Team::builder().agent(member("coder")).agent(member("writer")).judge(upstream());
        let result = team.build().unwrap().run("A word counter").await.unwrap();
        let whole = result.integrated().unwrap();
        let paths: Vec<_> = whole.assets.iter().map(|asset| &*asset.path).collect();
        assert_eq!(
            (paths, whole.quality.overall, whole.quality.judges),
            (vec!["wc.sh", "use.md"], Some(7.5), 3)
        );
        assert_eq!((whole.quality.failed.len(), &*whole.actions[0].who), (0, "coder"), "{wire:?}");
        // Planner, two parts, three judges, integrator.
        assert_eq!(provider.request_count(), 7, "{wire:?}");
        assert!(result.run.usage.input_tokens > 0);
    }
}

#[tokio::test]
async fn a_cancelled_team_hangs_up_on_every_member() {
    let long = Turn::text("a".repeat(1_500)).chunks(1).pace(std::time::Duration::from_millis(20));
    let provider = FakeProvider::start(Script::new([long])).await.unwrap();
    let client = client();
    let engine = Engine::default();
    let member = |name: &str| {
        let upstream = model(&provider, Wire::OpenAi, &client);
        Agent::builder().engine(&engine).name(name).model(upstream).build().unwrap()
    };
    let team = Team::builder().agents(["a", "b", "c"].map(member)).build().unwrap();
    let handle = team.start("x", RunOptions::default()).unwrap();
    provider.wait_for_requests(3).await;
    ms(50).await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().error.code(), "cancelled");
    provider.wait_for_hangups(3).await;
    engine.idle().await;
}

#[tokio::test]
async fn a_conversation_that_was_handed_on_is_one_that_vendors_take() {
    for wire in WIRES {
        for passed in [Passed::All, Passed::Words, Passed::Asked] {
            let hand_on = |to: &str, turn| {
                let called = json!({"reason": "not mine"});
                Turn::call(format!("transfer_to_{to}"), called)
                    .when(Match::All(vec![last("help"), Match::Turn(turn)]))
            };
            let provider = FakeProvider::start(Script::new([])).await.unwrap();
            let client = client();
            provider.set_script(Script::new([
                Turn::text("You are paid back.").when(last("handed this conversation on to you")),
                hand_on("billing", 0),
                Turn::text("You are paid back.").when(Match::Any),
            ]));
            let engine = Engine::default();
            let member = |name: &str| {
                let upstream = model(&provider, wire, &client);
                Agent::builder().engine(&engine).name(name).model(upstream).build().unwrap()
            };
            let desk = Handoff::builder().agent(member("triage")).agent(member("billing")).passes(passed);
            let desk = desk.build().unwrap();
            let first = desk.run("help").await.unwrap();
            assert_eq!(
                (&*first.agent, &*first.text),
                ("billing", "You are paid back."),
                "{wire:?} {passed:?}"
            );
            let mut messages = first.messages;
            messages.push(Message::user("Thank you"));
            let next = desk.run_with(messages, Some("billing"), RunOptions::default()).await.unwrap();
            assert_eq!((&*next.text, provider.request_count()), ("You are paid back.", 3));
        }
    }
}

struct World {
    ann: Says,
    ben: Says,
}

impl World {
    /// A new process.
    fn team(&self, engine: &Engine) -> Team {
        let plan = json!({"complexity": "low", "summary": "", "parts": [
            {"id": "one", "description": "First", "agent": "ann", "needs": [], "expected": ""},
            {"id": "two", "description": "Second", "agent": "ben", "needs": ["one"], "expected": ""},
        ]});
        Team::builder()
            .agents([agent(engine, "ann", &self.ann), agent(engine, "ben", &self.ben)])
            .planner(Says::json(plan))
            .judged_by(Actor::Model(Arc::new(judge(|_| 8.0))))
            .build()
            .unwrap()
    }

    async fn live(&self, store: &SqliteStore, through: Arc<dyn AnyStore>) {
        let engine = Engine::builder().durable_store(through).build();
        let team = self.team(&engine);
        let options =
            RunOptions { id: Some("run".into()), on_waiting: OnWaiting::Return, ..RunOptions::default() };
        if status(store, "run").await.is_none() {
            drop(team.run_with("Make it", options).await);
        } else {
            drop(engine.recover_once(move |definition| team.runnable(definition)).await);
        }
        engine.idle().await;
    }
}

async fn status(store: &SqliteStore, run: &str) -> Option<Status> {
    let query = RunQuery { run: Some(run.to_owned()), ..RunQuery::default() };
    store.runs(query).await.unwrap().runs.first().map(|row| row.status)
}

#[tokio::test]
async fn a_team_on_disk_survives_its_processes_and_no_part_is_done_again() {
    let mut spared = 0;
    // The commit that breaks is lost: had it arrived and begun a run, that run's lease would have to run out first.
    for commits in (0..).step_by(3) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("state.db"), options).await.unwrap();
        let all: Arc<dyn AnyStore> = Arc::new(store.clone());
        let world = World { ann: Says::text("from ann"), ben: Says::text("from ben") };
        let first = Breaking::after(all.clone(), commits, false);
        world.live(&store, first.clone()).await;
        let done = status(&store, "run/parts#0/one#0").await == Some(Status::Succeeded);
        let before = world.ann.calls();
        // Killed again while it recovers.
        world.live(&store, Breaking::after(all.clone(), commits % 5, false)).await;
        for _ in 0..3 {
            world.live(&store, all.clone()).await;
        }
        assert_eq!(status(&store, "run").await, Some(Status::Succeeded), "after {commits} commits");
        let stored = ambidex_core::store::Store::load(&store, "run").await.unwrap();
        let run = ambidex_core::Run::load("run", &stored).unwrap();
        let result = TeamResult::of(ambidex_engine::RunResult::of(&run, 0));
        let texts: Vec<_> = result.parts.iter().map(|part| &*part.text).collect();
        assert_eq!(texts, ["from ann", "from ben"]);
        assert_eq!(result.integrated().unwrap().quality.overall, Some(8.0));
        if done {
            spared += 1;
            assert_eq!(world.ann.calls(), before, "after {commits} commits");
        }
        assert_eq!(store.check().await.unwrap(), [""; 0]);
        store.close().await;
        if !first.broke() {
            break;
        }
    }
    assert!(spared > 3, "{spared} parts were spared");
}
