//! What a long run writes, and what it is loaded from.

use std::sync::Arc;

use ambidex_core::Run;
use ambidex_core::budget::Grant;
use ambidex_core::event::Status;
use ambidex_core::graph::{NodeCall, NodeOutput, Reducer};
use ambidex_core::memory::MemoryStore;
use ambidex_core::record::Input;
use ambidex_core::store::{Batch, RunIndex, Snapshot, Store};
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error};
use ambidex_engine::{Engine, Graph, RunOptions};
use serde_json::json;

const STEPS: i64 = 1_000;

/// Goes round, and pauses each 250 times.
fn cycle(engine: &Engine) -> Graph {
    Graph::builder("cycle")
        .engine(engine)
        .node("add", |_: NodeCall, _: Context| async { Ok::<_, Error>(json!({"n": 1})) })
        .reducer("n", Reducer::Add)
        .branch("add", ["add", "end"], |call: NodeCall, _: Context| async move {
            let next = if call.state()["n"].as_i64() < Some(STEPS) { "add" } else { "end" };
            Ok::<_, Error>(NodeOutput::go([next]))
        })
        .with("add", |node| node.effect = EffectClass::Read)
        .with_definition(|graph| graph.max_steps = 250)
        .build()
        .unwrap()
}

async fn rounds(store: &MemoryStore, damage: impl Fn(&mut Snapshot)) -> Run {
    let mut loaded = vec![];
    for round in 0..4 {
        let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
        let graph = cycle(&engine);
        let result = if round == 0 {
            let options = RunOptions { id: Some("r".into()), ..RunOptions::default() };
            graph.run_with(json!({}), options).await.unwrap()
        } else {
            let grant = Grant { iterations: 250, ..Grant::default() };
            let inputs = vec![Input::Resume(grant)];
            graph.resume("r", inputs, RunOptions::default()).await.unwrap().outcome().await.unwrap()
        };
        if round == 3 {
            assert_eq!((result.status, result.output), (Status::Succeeded, Some(json!({"n": STEPS}))));
            break;
        }
        assert_eq!(result.status, Status::Paused);
        let mut stored = store.load("r").await.unwrap();
        loaded.push(stored.records.len());
        let mut snapshot = stored.snapshot.take().expect("it is worth one");
        damage(&mut snapshot);
        let row = ambidex_core::store::RunQuery { run: Some("r".into()), ..Default::default() };
        let row = store.runs(row).await.unwrap().runs.remove(0);
        let batch = Batch { snapshot: Some(snapshot), ..Batch::default() };
        store.commit("r", row.epoch, row.records, batch).await.unwrap();
    }
    assert!(loaded.iter().all(|records| *records < 100), "{loaded:?}");
    let stored = store.load("r").await.unwrap();
    Run::fold("r", stored.definition, &store.records("r", 0, 100_000).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_load_reads_little_of_a_long_run_and_a_step_writes_as_much_as_the_first() {
    let store = MemoryStore::new();
    let run = rounds(&store, |_| {}).await;
    assert_eq!(run.state().unwrap()["n"], json!(STEPS));
    let sizes = store.sizes("r");
    let step = |from: usize| sizes[from..from + 40].iter().sum::<usize>();
    let (early, late) = (step(40), step(sizes.len() - 100));
    assert!(late <= early + early / 10, "{early} bytes for ten steps at first, {late} at last");
}

#[tokio::test]
async fn a_damaged_snapshot_is_done_without() {
    let cut = |snapshot: &mut Snapshot| snapshot.state.truncate(snapshot.state.len() / 2);
    let run = rounds(&MemoryStore::new(), cut).await;
    assert_eq!(run.state().unwrap()["n"], json!(STEPS));
    let elsewhere = |snapshot: &mut Snapshot| {
        let text = String::from_utf8(snapshot.state.clone()).unwrap();
        snapshot.state = text.replace("\"in_flight\":0", "\"in_flight\":7").into_bytes();
    };
    let run = rounds(&MemoryStore::new(), elsewhere).await;
    assert_eq!(run.state().unwrap()["n"], json!(STEPS));
}
