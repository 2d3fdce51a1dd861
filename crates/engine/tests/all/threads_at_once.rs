//! Many messages at once on one thread: under each policy it reads as if one had come after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambidex_core::ErrorKind;
use ambidex_core::definition::Approval;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::{Message, Role};
use ambidex_core::store::{AnyStore, RunQuery};
use ambidex_core::thread::{ThreadMessage, check};
use ambidex_engine::{Engine, OnBusy};
use ambidex_store::{Durability, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::cluster;
use crate::support::heard;
use crate::threads::{Ended, agent, on};

/// Where threads are kept; two engines on it are two processes.
pub enum Place {
    Memory(MemoryStore),
    Sqlite(TempDir),
    Postgres(String),
}

impl Place {
    pub async fn store(&self) -> Arc<dyn AnyStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(folder) => {
                // What is tried here is order, not the disk.
                let options = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
                Arc::new(SqliteStore::open(folder.path().join("state.db"), options).await.unwrap())
            }
            Self::Postgres(schema) => {
                let options = PostgresOptions {
                    schema: schema.clone(),
                    durability: Durability::None,
                    ..PostgresOptions::default()
                };
                Arc::new(PostgresStore::connect(&cluster::shared().url(), options).await.unwrap())
            }
        }
    }
}

/// A die that falls the same way each time.
struct Die(u64);

impl Die {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What must hold of a thread after some came at once.
fn assert_serial(policy: OnBusy, tasks: &[String], ended: &[Ended], messages: &[ThreadMessage]) {
    let whole: Vec<Arc<Message>> = messages.iter().map(|it| it.message.clone()).collect();
    check(&whole).unwrap();
    let story =
        || format!("{policy:?}\n{:#?}\n{:#?}", heard(&whole), ended.iter().map(brief).collect::<Vec<_>>());
    // What one run added stands together.
    let mut blocks: Vec<(&str, Vec<&Arc<Message>>)> = Vec::new();
    for message in messages {
        let run = message.run.as_deref().unwrap();
        match blocks.last_mut() {
            Some((last, block)) if *last == run => block.push(&message.message),
            _ => blocks.push((run, vec![&message.message])),
        }
    }
    let runs: BTreeSet<_> = blocks.iter().map(|(run, _)| *run).collect();
    assert_eq!(runs.len(), blocks.len(), "a run was interrupted: {}", story());
    // Each message is there once, or not at all.
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let asked: Vec<String> =
        whole.iter().filter(|it| it.role == Role::User).map(|message| message.text()).collect();
    for text in &asked {
        *times.entry(text).or_default() += 1;
    }
    for (task, ended) in tasks.iter().zip(ended) {
        let there = times.get(task.as_str()).copied().unwrap_or_default();
        let expected = match (policy, ended) {
            (OnBusy::Enqueue | OnBusy::Steer, Ok(_)) => 1,
            (OnBusy::Reject, Ok(_)) => 1,
            (OnBusy::Reject, Err(error)) if error.kind() == ErrorKind::Busy => {
                assert!(error.error.is_retryable());
                0
            }
            (OnBusy::Interrupt, Ok(_)) => 1,
            (OnBusy::Interrupt, Err(error)) if error.kind() == ErrorKind::Cancelled => 1,
            (OnBusy::Rollback, Ok(_)) => 1,
            (OnBusy::Rollback, Err(error)) if error.kind() == ErrorKind::Cancelled => 0,
            (_, Err(error)) => panic!("{task}: {error} {}", story()),
        };
        assert_eq!(there, expected, "{task}: {}", story());
    }
    assert_eq!(times.len(), times.values().sum::<usize>());
    // Those that ended well said their last word to what was asked of them, and nobody else's message is in between.
    for (task, ended) in tasks.iter().zip(ended) {
        let Ok(result) = ended else { continue };
        assert_eq!(result.status, Status::Succeeded);
        let (_, block) = blocks.iter().find(|(run, _)| *run == result.run).unwrap();
        let last = block.last().unwrap();
        assert_eq!(last.role, Role::Assistant, "{}", story());
        assert_eq!(last.text(), result.text);
        if policy == OnBusy::Steer {
            assert!(block.iter().any(|message| message.text() == *task), "{}", story());
        } else {
            assert_eq!(block[0].text(), *task);
            assert_eq!(result.text, format!("re: {task}"), "{}", story());
            let users = block.iter().filter(|message| message.role == Role::User).count();
            assert_eq!(users, 1, "{}", story());
        }
    }
    assert!(ended.iter().any(Result::is_ok), "{}", story());
}

fn brief(ended: &Ended) -> String {
    match ended {
        Ok(result) => format!("{}: {}", result.run, result.text),
        Err(error) => error.to_string(),
    }
}

const POLICIES: [OnBusy; 5] =
    [OnBusy::Enqueue, OnBusy::Reject, OnBusy::Interrupt, OnBusy::Rollback, OnBusy::Steer];

/// So many rounds of each policy; more where the variable says so.
fn rounds(usual: u64) -> u64 {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

async fn at_once(place: &Place, rounds: u64) {
    let stores = [place.store().await, place.store().await];
    let engines = stores.clone().map(|store| Engine::builder().durable_store(store).build());
    let go = Arc::new(Notify::new());
    let agents = engines.each_ref().map(|engine| agent(engine, &go, Approval::Allow));
    let mut die = Die(20_261_121);
    let mut messages_in_all = 0;
    for policy in POLICIES {
        let mut refused = 0;
        for round in 0..rounds {
            let thread = format!("{policy:?}-{round}");
            let count = 2 + die.roll(19);
            let tasks: Vec<String> = (0..count)
                .map(|n| format!("{round} {n}{}", if die.roll(3) == 0 { " tool" } else { "" }))
                .collect();
            let runs = tasks.iter().map(|task| {
                let (agent, late) = (agents[die.roll(2) as usize].clone(), die.roll(40));
                let (task, options) = (task.clone(), on(&thread, policy));
                // Tasks of their own: they come from several threads of the machine.
                let run = async move {
                    for _ in 0..late {
                        tokio::task::yield_now().await;
                    }
                    agent.run_with(task, options).await
                };
                tokio::spawn(run)
            });
            let ended: Vec<Ended> = join_all(runs).await.into_iter().map(Result::unwrap).collect();
            refused += ended.iter().filter(|ended| ended.is_err()).count();
            let messages = stores[0].messages(&thread, 0, 10_000, u64::MAX / 4).await.unwrap();
            assert_serial(policy, &tasks, &ended, &messages);
            messages_in_all += count;
            let line = stores[1].line(&thread).await.unwrap();
            assert_eq!((line.holder, line.waiting.len()), (None, 0));
        }
        // They did come at once.
        assert_eq!(refused > 0, matches!(policy, OnBusy::Reject | OnBusy::Interrupt | OnBusy::Rollback));
    }
    eprintln!("{rounds} rounds of each policy, {messages_in_all} messages");
    for store in stores {
        let running = RunQuery { status: vec![Status::Queued, Status::Running], ..RunQuery::default() };
        assert_eq!(store.runs(running).await.unwrap().runs, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_memory() {
    at_once(&Place::Memory(MemoryStore::new()), rounds(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_two_processes_on_one_file() {
    let place = Place::Sqlite(TempDir::new().unwrap());
    at_once(&place, rounds(40)).await;
    let Place::Sqlite(folder) = &place else { panic!() };
    let store = SqliteStore::open(folder.path().join("state.db"), SqliteOptions::default()).await.unwrap();
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_have_a_serial_history_in_two_processes_on_one_server() {
    let schema = cluster::fresh_schema();
    at_once(&Place::Postgres(schema.clone()), rounds(40)).await;
    let options = PostgresOptions { schema, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&cluster::shared().url(), options).await.unwrap();
    assert_eq!(store.check().await.unwrap(), [""; 0]);
}
