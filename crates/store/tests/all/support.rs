//! Places to keep runs in, and runs to keep.

use std::sync::Arc;

use ambidex_core::definition::{AgentDefinition, Definition, Mode, Pinned, StopConditions};
use ambidex_core::effect::{EffectId, Intent, Task};
use ambidex_core::event::{Event, EventKind, Status, Timestamp};
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::Message;
use ambidex_core::model::{Settings, ToolChoice};
use ambidex_core::question::{Answer, Question, Why};
use ambidex_core::record::{Outcome, Output, Record, RecordKind};
use ambidex_core::store::{AnyStore, Batch, FailureKind, Lease, RunStanding, StoreError};
use ambidex_core::tool::EffectClass;
use ambidex_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use serde_json::json;
use tempfile::TempDir;

use crate::cluster;

/// Where runs are kept; two stores opened on it see the same.
pub enum Place {
    Memory(MemoryStore),
    Sqlite(TempDir),
    /// A schema of the shared server.
    Postgres(String),
}

impl Place {
    pub async fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    pub async fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().unwrap())
    }

    pub async fn postgres() -> Self {
        Self::Postgres(cluster::fresh_schema())
    }

    pub async fn open(&self) -> Arc<dyn AnyStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(folder) => {
                let path = folder.path().join("new/state.db");
                Arc::new(SqliteStore::open(path, SqliteOptions::default()).await.unwrap())
            }
            Self::Postgres(schema) => {
                let options = PostgresOptions { schema: schema.clone(), ..PostgresOptions::default() };
                Arc::new(PostgresStore::connect(&cluster::shared().url(), options).await.unwrap())
            }
        }
    }
}

/// A definition that only its name tells from others.
pub fn pinned(name: &str) -> Pinned {
    let agent = AgentDefinition {
        name: name.into(),
        mode: Mode::Auto,
        model: "none".into(),
        instructions: String::new(),
        tools: vec![],
        tool_choice: ToolChoice::default(),
        settings: Settings::default(),
        output: None,
        output_tool: None,
        max_iterations: 9,
        tool_concurrency: 9,
        budget: Default::default(),
        stop: StopConditions::default(),
        context: None,
        finish_hook: false,
    };
    Pinned::new(Definition::Agent(Arc::new(agent))).unwrap()
}

/// Lasts until that time.
pub fn lease(owner: &str, until: u64) -> Lease {
    Lease { owner: owner.into(), until }
}

pub fn standing(status: Status) -> Option<RunStanding> {
    Some(RunStanding { status, due: None })
}

/// A run as its driver sees it.
pub struct Driver {
    pub store: Arc<dyn AnyStore>,
    pub run: String,
    pub epoch: u64,
    pub next: u64,
    /// Wall time of what is recorded next.
    pub at: u64,
}

impl Driver {
    /// One that has accepted a run.
    pub async fn accept(store: &Arc<dyn AnyStore>, run: &str) -> Self {
        Self::accept_as(store, run, "writer", None, 1).await
    }

    pub async fn accept_as(
        store: &Arc<dyn AnyStore>,
        run: &str,
        agent: &str,
        thread: Option<&str>,
        at: u64,
    ) -> Self {
        let mut driver = Self { store: store.clone(), run: run.into(), epoch: 1, next: 0, at };
        let batch = driver.acceptance(agent, thread);
        driver.commit(batch).await.unwrap();
        driver
    }

    /// The same run under another owner.
    pub async fn taken_over(&self, store: &Arc<dyn AnyStore>, lease: Lease, now: u64) -> Self {
        let epoch = store.claim(&self.run, lease, now).await.unwrap();
        let (run, next, at) = (self.run.clone(), self.next, self.at);
        Self { store: store.clone(), run, epoch, next, at }
    }

    pub fn acceptance(&self, agent: &str, thread: Option<&str>) -> Batch {
        let definition = pinned(agent);
        let accepted = RecordKind::Accepted {
            definition: definition.hash.clone(),
            input: vec![Message::user("go \u{0} on, \"Zoë\" \u{1f980}\n")].into(),
            thread: thread.map(str::to_owned),
            deadline_ms: None,
            parent: None,
            budget: None,
        };
        Batch { definition: Some(definition), ..self.batch(vec![accepted]) }
    }

    pub fn batch(&self, kinds: Vec<RecordKind>) -> Batch {
        let records = (self.next..).zip(kinds);
        let records = records.map(|(seq, kind)| Record { v: 1, seq, epoch: self.epoch, at: self.at, kind });
        Batch { records: records.collect(), ..Batch::default() }
    }

    pub async fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        let records = batch.records.len() as u64;
        self.store.commit(&self.run, self.epoch, self.next, batch).await?;
        self.next += records;
        Ok(())
    }

    /// A step like any other.
    pub async fn step(&mut self) -> Result<(), StoreError> {
        let message = RecordKind::Message(Message::user(format!("{} of {}", self.next, self.run)));
        let batch = self.batch(vec![message, RecordKind::Claimed]);
        self.commit(batch).await
    }

    pub fn question(&self, name: &str) -> Question {
        Question {
            id: format!("{}/{name}", self.run),
            run: self.run.clone(),
            about: EffectId::new("t0.0"),
            why: Why::Approval,
            tool: "pay".into(),
            args: json!({"amount": 1.5, "to": "Zoë"}),
            due: None,
            relay: None,
        }
    }

    /// Asks a person, and waits.
    pub async fn ask(&mut self, names: &[&str]) {
        let intent = |name: &&str| {
            let task = Task::Ask { about: EffectId::new("t0.0"), why: Why::Approval };
            RecordKind::Intent(Intent { id: EffectId::new(*name), class: EffectClass::Idempotent, task })
        };
        let mut batch = self.batch(names.iter().map(intent).collect());
        batch.asked = names.iter().map(|name| self.question(name)).collect();
        batch.standing = standing(Status::Waiting);
        self.commit(batch).await.unwrap();
    }

    pub async fn answer(&self, name: &str) {
        self.store.answer(&format!("{}/{name}", self.run), Answer::Approve).await.unwrap();
    }

    /// Takes an answer in; the run stands as told afterwards.
    pub async fn take_in(&mut self, name: &str, status: Status) {
        let result = Ok(Output::Answer(Answer::Approve));
        let kind = RecordKind::Result { effect: EffectId::new(name), attempt: 1, result };
        let batch = Batch { standing: standing(status), ..self.batch(vec![kind]) };
        self.commit(batch).await.unwrap();
    }

    pub async fn stand(&mut self, status: Status, due: Option<u64>) {
        let batch = self.batch(vec![RecordKind::Claimed]);
        let standing = Some(RunStanding { status, due });
        self.commit(Batch { standing, ..batch }).await.unwrap();
    }

    pub async fn finish(&mut self) {
        let batch = self.batch(vec![RecordKind::Finished(Outcome::Cancelled)]);
        self.commit(batch).await.unwrap();
    }
}

pub fn note(run: &str, text: &str) -> Event {
    Event {
        seq: 77,
        ts: Timestamp(1_700_000_000_123),
        run: run.into(),
        thread: None,
        step: None,
        agent: Some("writer".into()),
        attempt: None,
        kind: EventKind::Note { text: text.into() },
    }
}

/// For a store where something refuses the third record of every fifth run: others in its group are stored.
pub async fn one_in_five_fails(store: &Arc<dyn AnyStore>) {
    let mut drivers = Vec::new();
    for n in 1..=40 {
        let mut driver = Driver::accept(store, &format!("r{n}")).await;
        driver.stand(Status::Running, None).await;
        drivers.push((n, driver));
    }
    let steps = drivers.iter_mut().map(|(n, driver)| async move { (*n, driver.step().await) });
    for (n, stored) in futures_util::future::join_all(steps).await {
        match stored {
            Ok(()) => assert_ne!(n % 5, 0),
            Err(StoreError::Unavailable(failure)) => {
                assert_eq!((n % 5, failure.kind), (0, FailureKind::Other), "{failure}");
                assert!(failure.problem.contains("spoilt"), "{failure}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    for (n, driver) in drivers {
        let records = store.load(&driver.run).await.unwrap().records.len();
        assert_eq!(records, if n % 5 == 0 { 2 } else { 4 });
    }
}

/// The first record of a run on a thread that was only a name, as it is stored.
pub fn first_record(run: &str) -> String {
    let store: Arc<dyn AnyStore> = Arc::new(MemoryStore::new());
    let driver = Driver { store, run: run.into(), epoch: 1, next: 0, at: 5 };
    serde_json::to_string(&driver.acceptance("writer", Some("talk")).records[0].kind).unwrap()
}

/// What an earlier version stored is read, and what it did not know is there.
pub async fn goes_on_as_new(store: &Arc<dyn AnyStore>) {
    use ambidex_core::thread::NewThread;
    let records = store.load("old").await.unwrap().records;
    let mut driver =
        Driver { store: store.clone(), run: "old".into(), epoch: 1, next: records.len() as u64, at: 6 };
    driver.step().await.unwrap();
    let id = format!("t{}", records.len());
    store.create_thread(NewThread::new(id.as_str()), 7).await.unwrap();
    assert_eq!(store.thread(&id, 8).await.unwrap().messages, 0);
}
