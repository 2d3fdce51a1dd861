//! Events: numbered, in order, complete, and never a reason to wait.

use std::time::Duration;

use ambidex_core::event::{Event, EventKind, Status};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, ToolSpec};
use ambidex_engine::{Agent, OnWaiting, RunOptions};
use ambidex_models::scripted::{ScriptedModel, Turn};
use ambidex_tools::FunctionTool;
use futures_util::StreamExt;
use serde_json::json;

use crate::agent::looking;
use crate::support::{Planned, World, call, ms};

fn name(event: &Event) -> String {
    serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned()
}

/// Numbered from 1 without gaps, as the schema says.
fn assert_well_formed(events: &[Event]) {
    let schema = jsonschema::validator_for(&ambidex_core::schema::events()).unwrap();
    for (seq, event) in (1..).zip(events) {
        assert_eq!(event.seq, seq);
        let value = serde_json::to_value(event).unwrap();
        let faults: Vec<String> = schema.iter_errors(&value).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{value}: {faults:?}");
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), *event);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_the_run_from_created_to_finished() {
    let world = World::default();
    let agent = looking(1, &world).name("looker").build().unwrap();
    let options = RunOptions { id: Some("r1".into()), thread: Some("t1".into()), ..RunOptions::default() };
    let mut handle = agent.start("go", options).unwrap();
    let events: Vec<Event> = handle.take_events().collect().await;
    assert!(handle.take_events().next().await.is_none(), "they are taken once");
    assert_well_formed(&events);
    let names: Vec<String> = events.iter().map(name).collect();
    let expected = "run.created run.started step.started model.started model.finished step.finished step.started \
                    tool.called tool.finished step.finished step.started model.started model.delta model.finished \
                    step.finished run.finished";
    assert_eq!(names.join(" "), expected);
    assert!(events.iter().all(|event| &*event.run == "r1" && event.thread.as_deref() == Some("t1")));
    assert!(events.iter().all(|event| event.agent.as_deref() == Some("looker")));
    let EventKind::RunFinished { status, text, .. } = &events.last().unwrap().kind else { panic!() };
    assert_eq!((*status, text), (Status::Succeeded, &handle.outcome().await.unwrap().text));
}

#[tokio::test(start_paused = true)]
async fn a_run_at_rest_ends_its_stream_without_a_finish() {
    let world = World::default();
    let agent = looking(9, &world).max_iterations(1).build().unwrap();
    let events: Vec<Event> = agent.stream("go").unwrap().collect().await;
    assert_well_formed(&events);
    assert_eq!(name(events.last().unwrap()), "run.status");
    assert!(events.iter().all(|event| !matches!(event.kind, EventKind::RunFinished { .. })));
    let _ = OnWaiting::Return;
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_gets_joined_deltas_and_everything_else() {
    let words = "one two three four five six seven eight nine ten ";
    let noisy = FunctionTool::dynamic(ToolSpec::new("noisy", "x"), |_, context: Context| async move {
        for n in 0..5 {
            context.progress(json!(n));
            ms(1).await;
        }
        Ok("done".into())
    });
    let turn = Turn::call("noisy", json!({})).and_text(words.repeat(20));
    let model = ScriptedModel::new([turn, Turn::text(words.repeat(20))]).pace(Duration::from_millis(1));
    let agent = Agent::builder().model(model).tool(noisy).build().unwrap();
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let (quick, mut slow) = (agent.stream("go").unwrap(), handle.take_events());
    let quick: Vec<Event> = quick.collect().await;
    handle.outcome().await.unwrap();
    let mut late = vec![];
    while let Some(event) = slow.next().await {
        late.push(event);
    }
    assert_well_formed(&quick);
    assert_well_formed(&late);
    let said = |events: &[Event]| {
        let deltas = events.iter().filter_map(|event| match &event.kind {
            EventKind::ModelDelta { text } => Some(text.clone()),
            _ => None,
        });
        deltas.collect::<Vec<_>>()
    };
    assert!(said(&quick).len() > 300, "{}", said(&quick).len());
    assert_eq!(said(&late).len(), 2, "one delta for each reply");
    assert_eq!(said(&late).concat(), said(&quick).concat());
    let rest =
        |events: &[Event]| events.iter().map(name).filter(|name| name != "model.delta").collect::<Vec<_>>();
    assert_eq!(rest(&late), rest(&quick));
    assert_eq!(rest(&late).iter().filter(|name| *name == "tool.progress").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn of_a_flood_of_progress_the_latest_of_each_call_waits() {
    let noisy = FunctionTool::dynamic(ToolSpec::new("noisy", "x"), |_, context: Context| async move {
        for n in 0..500 {
            context.progress(json!(n));
            tokio::task::yield_now().await;
        }
        Ok("done".into())
    });
    let model = Planned::new(vec![vec![call("noisy", json!({})), call("noisy", json!({}))]]);
    let agent = Agent::builder().model(model).tool(noisy).build().unwrap();
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let unread = handle.take_events();
    handle.outcome().await.unwrap();
    let events: Vec<Event> = unread.collect().await;
    assert_well_formed(&events);
    for effect in ["t0.0", "t0.1"] {
        let said: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::ToolProgress { id, data } if id == effect => data.as_u64(),
                _ => None,
            })
            .collect();
        assert_eq!(said, (436..500).collect::<Vec<_>>(), "{effect}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_leaves_or_does_not_read_holds_nothing_up() {
    let world = World::default();
    let agent = looking(20, &world).build().unwrap();
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    drop(handle.take_events());
    assert!(handle.outcome().await.unwrap().task_completed);
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let unread = handle.take_events();
    assert!(handle.outcome().await.unwrap().task_completed);
    assert_well_formed(&unread.collect::<Vec<_>>().await);
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_not_run_are_shown_too() {
    let world = World::default();
    let model = Planned::new(vec![vec![call("lock", json!({})), call("look", json!({}))]]);
    let agent = Agent::builder().model(model).tool(world.tool("look", EffectClass::Read)).build().unwrap();
    let events: Vec<Event> = agent.stream("go").unwrap().collect().await;
    assert_well_formed(&events);
    let finished: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ToolFinished { id, name, ok, .. } => Some((id.as_str(), name.as_str(), *ok)),
            _ => None,
        })
        .collect();
    assert_eq!(finished, [("t0.0", "lock", false), ("t0.1", "look", true)]);
}

#[test]
fn a_watcher_hears_when_the_runtime_is_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let agent =
        Agent::builder().model(ScriptedModel::new(["x"]).delay(Duration::from_secs(600))).build().unwrap();
    let mut handle = runtime.block_on(async { agent.start("go", RunOptions::default()).unwrap() });
    let mut events = handle.take_events();
    runtime.block_on(async { while name(&events.next().await.unwrap()) != "model.started" {} });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end = other.block_on(async { tokio::time::timeout(Duration::from_secs(5), events.next()).await });
    assert!(end.unwrap().is_none());
    let error = other.block_on(handle.outcome()).unwrap_err();
    assert!(error.error.message().contains("runtime"), "{error}");
}
