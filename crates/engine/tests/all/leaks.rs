//! After many runs everything is as it was: threads, file descriptors, memory. In a process of its own.

use std::time::Duration;

use ambidex_core::memory::MemoryStore;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_engine::{Agent, Engine, RunOptions};
use ambidex_fake_provider::{FakeProvider, Part, Script, Turn};
use ambidex_tools::{BlockingTool, FunctionTool};
use serde_json::json;

use crate::cancel::{WIRES, client, model};
use crate::process::{again, child_folder};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

pub fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[derive(Debug)]
struct Levels {
    threads: usize,
    files: usize,
    kib: usize,
}

impl Levels {
    fn now() -> Self {
        Self { threads: count("/proc/self/task"), files: count("/proc/self/fd"), kib: resident_kib() }
    }
}

#[test]
fn two_thousand_runs_leave_nothing_behind() {
    if child_folder().is_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = again("leaks::two_thousand_runs_leave_nothing_behind", folder.path());
        assert!(child.status().unwrap().success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let calls = ["work", "block", "work"].map(|name| Part::call(name, json!({})));
        let script = Script::new([Turn::new(calls), Turn::text("done").chunks(1)]);
        let provider = FakeProvider::start(script).await.unwrap();
        provider.keep_bodies(false);
        let store = std::sync::Arc::new(MemoryStore::keeping(50));
        let engine = Engine::builder().store(store.clone()).sync_workers(4).build();
        let client = client();
        let bare = |name: &str| ToolSpec::new(name, "for tests");
        let agents = WIRES.map(|wire| {
            Agent::builder()
                .engine(&engine)
                .model(model(&provider, wire, &client))
                .tool(
                    FunctionTool::dynamic(bare("work"), |_, _| async { Ok("x".repeat(2_000).into()) })
                        .effect(EffectClass::Read),
                )
                .tool(BlockingTool::dynamic(bare("block"), |_, _| Ok("done".into())))
                .build()
                .unwrap()
        });
        let mut ids = vec![];
        let mut some = async |runs: usize| {
            for round in 0..runs / 10 {
                let ten = (0..10).map(|n| {
                    let agent = agents[n % 2].clone();
                    async move {
                        let mut handle = agent.start("go", RunOptions::default()).unwrap();
                        let id = handle.id().to_owned();
                        match n {
                            // Watched, cancelled in the middle, dropped; the others run to their end.
                            0 => drop(handle.take_events()),
                            1 => {
                                tokio::time::sleep(Duration::from_micros(300 * (round as u64 % 20))).await;
                                handle.cancel();
                            }
                            2 => return id,
                            _ => {}
                        }
                        let _ = handle.outcome().await;
                        id
                    }
                });
                ids.extend(futures_util::future::join_all(ten).await);
            }
            engine.idle().await;
            provider.forget();
            Levels::now()
        };
        let before = some(300).await;
        let after = some(2_000).await;
        println!("{before:?} {after:?}");
        assert!(after.threads <= before.threads + 2, "{before:?} {after:?}");
        assert!(after.files <= before.files + 20, "{before:?} {after:?}");
        assert!(after.kib <= before.kib + 12 * 1024, "{before:?} {after:?}");
        assert_eq!(engine.active_runs(), 0);
        assert_eq!(client.census().in_flight, 0);
        let kept = ids.iter().filter(|id| !store.sizes(id).is_empty()).count();
        assert!(kept <= 50, "{kept} runs are kept");
    });
}
