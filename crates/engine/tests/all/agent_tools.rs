//! Agents that are tools of agents.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, Questions};
use ambidex_core::record::{Record, RecordKind};
use ambidex_core::run::Run;
use ambidex_core::store::{RunIndex, RunQuery, Store};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::merge::Actor;
use ambidex_engine::{Agent, ApprovalPolicy, Clock, Engine, RunOptions, Team};
use serde_json::json;

use crate::support::{Planned, World, call, until};
use crate::team_world::{Says, agent, judge};
use crate::watched_store::Watched;

fn options() -> RunOptions {
    RunOptions { id: Some("run".into()), ..RunOptions::default() }
}

/// Asks both agents at once.
fn supervisor(engine: &Engine, agents: impl IntoIterator<Item = Agent>) -> Agent {
    let turns = vec![vec![call("ann", json!({"task": "one"})), call("ben", json!({"task": "two"}))]];
    Agent::builder()
        .engine(engine)
        .name("boss")
        .model(Planned::new(turns))
        .supervises(agents)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_calls_agents_and_what_they_use_is_its_own() {
    let engine = Engine::default();
    let (ann, ben) = (Says::text("from ann"), Says::text("from ben"));
    let boss = supervisor(&engine, [agent(&engine, "ann", &ann), agent(&engine, "ben", &ben)]);
    let spec = &boss.definition().tools[0].spec;
    assert_eq!((&*spec.name, &*spec.description), ("ann", "You are ann."));
    let result = boss.run_with("go", options()).await.unwrap();
    assert!(result.text.contains("from ann") && result.text.contains("from ben"), "{}", result.text);
    assert_eq!((ann.prompts(), ben.prompts()), (vec!["one".to_owned()], vec!["two".to_owned()]));
    // The call that asks for both, and a call of each.
    assert_eq!((result.usage.input_tokens, result.usage.output_tokens), (30, 3));
    let stored = engine.store().load("run/t0.0").await.unwrap();
    let child = Run::fold("x", stored.definition, &stored.records).unwrap();
    assert_eq!((child.parent(), child.status()), (Some("run"), Status::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_is_a_call_that_failed_and_costs_what_it_cost() {
    let engine = Engine::default();
    let failing = Says::new(|_, _| Err(Error::new(ErrorKind::Refused, "not this")));
    let boss =
        supervisor(&engine, [agent(&engine, "ann", &failing), agent(&engine, "ben", &Says::text("fine"))]);
    let result = boss.run("go").await.unwrap();
    assert!(result.text.contains("not this") && result.text.contains("fine"), "{}", result.text);
    assert_eq!(result.usage.input_tokens, 30);
}

#[tokio::test(start_paused = true)]
async fn an_agent_whose_failure_may_be_tried_again_is_called_once() {
    let engine = Engine::default();
    let failing = Says::new(|_, _| Err(Error::new(ErrorKind::ToolFailed, "not now").retryable(true)));
    let boss =
        supervisor(&engine, [agent(&engine, "ann", &failing), agent(&engine, "ben", &Says::text("fine"))]);
    let result = boss.run("go").await.unwrap();
    assert!(result.text.contains("not now") && result.text.contains("fine"), "{}", result.text);
}

#[tokio::test(start_paused = true)]
async fn what_befalls_the_driver_of_an_agent_is_no_result_of_the_call() {
    for commits in 0..4 {
        let store = MemoryStore::new();
        let watched = Watched::around(Arc::new(store.clone()));
        let engine = Engine::builder().durable_store(watched.clone()).clock(Clock::system()).build();
        let (ann, ben) = (Says::text("from ann"), Says::text("from ben"));
        let boss = supervisor(&engine, [agent(&engine, "ann", &ann), agent(&engine, "ben", &ben)]);
        *watched.fails.lock().unwrap() = Some(("run/t0.0".to_owned(), commits));
        let ran = boss.run_with("go", options()).await;
        engine.idle().await;
        if let Ok(result) = ran {
            assert!(commits > 1 && result.text.contains("from ann"), "{commits}: {}", result.text);
            return;
        }
        assert_eq!(ran.unwrap_err().error.code(), "store_failed", "{commits}");
        let records = store.records("run", 0, 100).await.unwrap();
        let of_ann = |record: &&Record| matches!(&record.kind, RecordKind::Result { effect, .. } if effect.as_str() == "t0.0");
        assert_eq!(records.iter().filter(of_ann).count(), 0, "{commits}: {records:?}");
        for row in store.runs(RunQuery::default()).await.unwrap().runs {
            assert_eq!(row.lease, None, "{commits}: {}", row.id);
        }
        *watched.fails.lock().unwrap() = None;
        let known = boss.clone();
        let swept = engine.recover_once(move |of| (of.name() == "boss").then(|| known.clone().into())).await;
        assert_eq!(swept.unwrap().left, vec![], "{commits}");
        engine.idle().await;
        for run in ["run", "run/t0.0", "run/t0.1"] {
            let stored = store.load(run).await.unwrap();
            let run = Run::fold(run, stored.definition, &stored.records).unwrap();
            assert_eq!(run.status(), Status::Succeeded, "{commits}: {}", run.id());
        }
    }
    panic!("the agent never came to its end");
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_the_agents_and_is_recorded_with_them() {
    let engine = Engine::default();
    let slow = Says::text("late").after(Duration::from_secs(3600));
    let boss = supervisor(&engine, [agent(&engine, "ann", &slow), agent(&engine, "ben", &slow)]);
    let handle = boss.start("go", options()).unwrap();
    until("both work", || slow.seen.gauge.now() == 2).await;
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
    engine.idle().await;
    assert_eq!(slow.seen.gauge.now(), 0);
    for child in ["run/t0.0", "run/t0.1"] {
        let stored = engine.store().load(child).await.unwrap();
        assert_eq!(Run::fold("x", stored.definition, &stored.records).unwrap().status(), Status::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_is_asked_by_an_agent_below_is_waited_for() {
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::builder().store(store.clone()).build();
    let world = World::default();
    let policy = ApprovalPolicy { once: Approval::Ask, ..ApprovalPolicy::default() };
    let pays = Agent::builder().engine(&engine).name("ann").approvals(policy);
    let pays = pays
        .model(Planned::new(vec![vec![call("pay", json!({}))]]))
        .tool(world.tool("pay", EffectClass::Once));
    let boss = supervisor(&engine, [pays.build().unwrap(), agent(&engine, "ben", &Says::text("fine"))]);
    let running = tokio::spawn({
        let boss = boss.clone();
        async move { boss.run_with("go", options()).await }
    });
    let question = loop {
        if let Some(question) = store.open(None).await.unwrap().pop() {
            break question;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&*question.run, world.begun("run/t0.0/t0.0")), ("run/t0.0", 0));
    store.answer(&question.id, Answer::Approve).await.unwrap();
    let result = running.await.unwrap().unwrap();
    assert!(result.text.contains("pay did"), "{}", result.text);
    assert_eq!(world.begun("run/t0.0/t0.0"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_the_same_run_goes_on() {
    let store = MemoryStore::new();
    let world = World::default();
    let engine = || Engine::builder().store(Arc::new(store.clone())).build();
    let build = |engine: &Engine, slow: bool| {
        let look = world.tool("look", EffectClass::Idempotent);
        let turns = vec![
            vec![call("look", json!({}))],
            vec![call("look", json!({"ms": if slow { 3_600_000 } else { 1 }}))],
        ];
        let ann = Agent::builder()
            .engine(engine)
            .name("ann")
            .model(Planned::new(turns))
            .tool(look)
            .build()
            .unwrap();
        supervisor(engine, [ann, agent(engine, "ben", &Says::text("fine"))])
    };
    // The first process hangs in ann's second call, and is gone.
    let (sender, first) = (world.clone(), engine());
    let boss = build(&first, true);
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = tokio::spawn(async move { boss.run_with("go", options()).await });
            while sender.begun("run/t0.0/t1.0") == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Nobody polls it any more, and nothing tells it to stop.
            std::mem::forget(running);
        });
        drop(runtime);
    });
    process.join().unwrap();
    let second = engine();
    let resumed = build(&second, false).resume("run", vec![], options()).await.unwrap();
    let result = resumed.outcome().await.unwrap();
    assert!(result.text.contains("fine"), "{}", result.text);
    let records = store.load("run/t0.0").await.unwrap().records;
    assert!(records.iter().any(|record| record.epoch > 1), "the agent's run was gone on with");
    assert_eq!(world.begun("run/t0.0/t0.0"), 1, "what it had done is not done again");
}

#[tokio::test(start_paused = true)]
async fn the_best_of_several_a_vote_and_a_fusion_in_a_line() {
    let engine = Engine::default();
    let counting = Says::new(|_, before| match before {
        1 => Err(Error::new(ErrorKind::Refused, "no")),
        n => Ok(format!("try {n}")),
    });
    let best = Team::best_of(
        &agent(&engine, "ann", &counting),
        4,
        Actor::Model(Arc::new(judge(|text| if text.contains('2') { 9.0 } else { 4.0 }))),
    );
    let result = best.unwrap().run("x").await.unwrap();
    assert_eq!((result.text(), counting.calls()), ("try 2", 4));
    assert_eq!(result.merged()["failed"][0]["code"], "refused");

    let says = |name: &str, text: &str| agent(&engine, name, &Says::text(text));
    let vote = Team::vote(
        [says("a", "{\"ok\": true}"), says("b", "{\"ok\": false}"), says("c", "{\"ok\": true}")],
        "ok",
    );
    assert_eq!(vote.unwrap().run("x").await.unwrap().merged()["ok"], true);

    let fused =
        Team::fuse([says("a", "red"), says("b", "blue")], Actor::Model(Arc::new(Says::text("purple"))));
    assert_eq!(fused.unwrap().run("x").await.unwrap().text(), "purple");
    assert!(Team::best_of(&says("a", "x"), 0, Actor::Model(Arc::new(Says::text("x")))).is_err());
}
