//! A store that kills its driver, and the life of a run that goes from process to process as text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambidex_core::BoxFuture;
use ambidex_core::definition::Approval;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::Message;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing, Why};
use ambidex_core::record::{Input, RecordKind};
use ambidex_core::run::Run;
use ambidex_core::store::{Batch, Lease, Store, StoreError, Stored};
use ambidex_core::tool::EffectClass;
use ambidex_engine::{Agent, ApprovalPolicy, Engine, RunFile, RunHandle, RunOptions, RunResult};
use futures_util::FutureExt;
use serde_json::json;

use crate::support::{Call, Planned, World, assert_answered, ms};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Death {
    /// The batch is stored; nothing that follows from it starts.
    After,
    /// Effects ran; what they returned is lost.
    Before,
    /// Harder than a real store allows: the batch is cut behind this record.
    Torn,
}

/// Kills whoever commits the nth record, then is never used again.
pub struct DeadlyStore {
    pub inner: MemoryStore,
    pub death: Death,
    /// The record, counted from 1.
    pub at: u64,
}

impl Store for DeadlyStore {
    fn claim(&self, run: &str, lease: Lease, now: u64) -> BoxFuture<'static, Result<u64, StoreError>> {
        self.inner.claim(run, lease, now)
    }

    fn renew(&self, run: &str, epoch: u64, until: u64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.inner.renew(run, epoch, until)
    }

    fn load(&self, run: &str) -> BoxFuture<'static, Result<Stored, StoreError>> {
        self.inner.load(run)
    }

    fn commit(
        &self,
        run: &str,
        epoch: u64,
        expected: u64,
        mut batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let deadly = expected < self.at && self.at <= expected + batch.records.len() as u64;
        if !deadly {
            return self.inner.commit(run, epoch, expected, batch);
        }
        if self.death == Death::Torn {
            batch.records.truncate((self.at - expected) as usize);
        }
        if self.death != Death::Before {
            self.inner.commit(run, epoch, expected, batch).now_or_never().unwrap().unwrap();
        }
        Box::pin(std::future::ready(Err(StoreError::Broken("killed".into()))))
    }
}

impl Questions for DeadlyStore {
    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Standing, StoreError>> {
        self.inner.ask(question)
    }

    fn withdraw(&self, id: &str) -> BoxFuture<'static, Result<Option<Answer>, StoreError>> {
        self.inner.withdraw(id)
    }

    fn answer(&self, id: &str, answer: Answer) -> BoxFuture<'static, Result<(), AnswerError>> {
        self.inner.answer(id, answer)
    }

    fn open(&self, run: Option<&str>) -> BoxFuture<'static, Result<Vec<Question>, StoreError>> {
        self.inner.open(run)
    }

    fn answered(&self, id: &str) -> BoxFuture<'static, Answer> {
        self.inner.answered(id)
    }
}

/// What a run is about: everything but the deaths.
#[derive(Clone, Debug)]
pub struct Plot {
    pub turns: Vec<Vec<Call>>,
    pub approvals: ApprovalPolicy,
    pub concurrency: u32,
    pub steering: bool,
}

pub const TOOLS: [(&str, EffectClass); 5] = [
    ("look", EffectClass::Read),
    ("put", EffectClass::Idempotent),
    ("pay", EffectClass::Once),
    ("send", EffectClass::Undeclared),
    ("sweep", EffectClass::Read),
];

impl Default for Plot {
    fn default() -> Self {
        Self { turns: vec![], approvals: ApprovalPolicy::default(), concurrency: 16, steering: false }
    }
}

/// How it went.
pub struct Told {
    pub result: RunResult,
    pub world: World,
    pub records: u64,
    pub deaths: usize,
    /// Times a person said that a call shall be repeated, by key.
    pub repeats: BTreeMap<String, usize>,
    /// Effects a person was asked about because they may have happened.
    pub doubts: BTreeSet<String>,
    /// `once` and undeclared effects that were in flight at a death.
    pub lost: BTreeSet<String>,
}

pub const RUN: &str = "run";
const STEERING: &str = "and mind the step";

impl Plot {
    /// A new process: a store, an engine and an agent that share nothing with those before but the world.
    fn agent(&self, store: Arc<DeadlyStore>, world: &World) -> Agent {
        let engine = Engine::builder().store(store).build();
        let mut builder = Agent::builder()
            .engine(&engine)
            .model(Planned::new(self.turns.clone()))
            .approvals(self.approvals)
            .tool_concurrency(self.concurrency);
        for (name, effect) in TOOLS {
            let tool = world.tool(name, effect);
            builder = builder.tool(match name {
                "sweep" => tool.exclusive(),
                "send" => tool.concurrency(1),
                _ => tool,
            });
        }
        builder.build().unwrap()
    }

    /// Goes from process to process through the given deaths to the end.
    pub async fn live(&self, death: Death, kills: &[u64]) -> Told {
        let world = World::default();
        let mut kills = kills.iter().copied();
        let (mut repeats, mut doubts) = (BTreeMap::new(), BTreeSet::new());
        let (mut lost, mut deaths) = (BTreeSet::new(), 0);
        let mut text: Option<String> = None;
        loop {
            let store = MemoryStore::new();
            if let Some(text) = &text {
                RunFile::parse(text).unwrap().restore(&store).unwrap();
            }
            let deadly = DeadlyStore { inner: store.clone(), death, at: kills.next().unwrap_or(u64::MAX) };
            let agent = self.agent(Arc::new(deadly), &world);
            let handle = self.start(&agent, text.is_some(), &store).await;
            let Some(handle) = handle else {
                deaths += 1;
                continue;
            };
            let mut outcome = std::pin::pin!(handle.outcome());
            let ended = loop {
                tokio::select! {
                    ended = &mut outcome => break ended,
                    () = ms(3) => self.answer_all(&store, &world, &mut repeats, &mut doubts).await,
                }
            };
            let error = match ended {
                Ok(result) => {
                    let records = store.load(RUN).await.unwrap().records.len() as u64;
                    return Told { result, world, records, deaths, repeats, doubts, lost };
                }
                Err(error) => error,
            };
            assert!(error.result.is_none(), "only deaths end it before its end: {error}");
            deaths += 1;
            // Nothing was stored by a process that died before its first commit.
            text = match store.load(RUN).await {
                Ok(stored) => {
                    lost.extend(in_flight(&stored));
                    Some(RunFile::new(RUN, stored).to_text().unwrap())
                }
                Err(error) => {
                    assert_eq!(error, StoreError::UnknownRun(RUN.into()));
                    None
                }
            };
        }
    }

    /// The person who steers says it again until it is stored.
    async fn start(&self, agent: &Agent, goes_on: bool, store: &MemoryStore) -> Option<RunHandle> {
        if goes_on {
            let stored = store.load(RUN).await.unwrap();
            let said = stored.records.iter().any(|record| matches!(record.kind, RecordKind::Message(_)));
            let inputs = match self.steering && !said {
                true => vec![Input::Message(Message::user(STEERING))],
                false => vec![],
            };
            return Some(agent.resume(RUN, inputs, RunOptions::default()).await.unwrap());
        }
        let options = RunOptions { id: Some(RUN.into()), ..RunOptions::default() };
        let handle = agent.start_unwatched("go", options).unwrap();
        if self.steering {
            handle.steer(STEERING).unwrap();
        }
        Some(handle)
    }

    /// An honest person, who decides by what stands in the arguments.
    async fn answer_all(
        &self,
        store: &MemoryStore,
        world: &World,
        repeats: &mut BTreeMap<String, usize>,
        doubts: &mut BTreeSet<String>,
    ) {
        for question in store.open(Some(RUN)).await.unwrap() {
            let key = format!("{RUN}/{}", question.about);
            let answer = match question.why {
                Why::Approval => match question.args["decision"].as_str() {
                    Some("edit") => Answer::Edit { args: json!({"ms": 2, "edited": true}) },
                    Some("reject") => Answer::Reject { reason: "not today".into() },
                    Some("answer") => Answer::Answer { answer: json!("it is done by hand") },
                    _ => Answer::Approve,
                },
                Why::Reply => panic!("no model here is a person"),
                Why::InDoubt => {
                    doubts.insert(key.clone());
                    let done = world.shared.done.lock().unwrap().get(&key).cloned();
                    match done {
                        Some(result) => Answer::Answer { answer: json!(result) },
                        None => {
                            *repeats.entry(key).or_default() += 1;
                            Answer::Repeat
                        }
                    }
                }
            };
            store.answer(&question.id, answer).await.unwrap();
        }
    }

    /// Lives through the deaths and compares with a life without.
    pub async fn check(&self, base: &Told, death: Death, kills: &[u64]) -> Told {
        let told = self.live(death, kills).await;
        let place = format!("{death:?} {kills:?} of {self:?}");
        assert_eq!(told.result.status, base.result.status, "{place}");
        assert_eq!(told.result.text, base.result.text, "{place}");
        assert_eq!(told.result.messages, base.result.messages, "{place}");
        assert_eq!(told.result.usage, base.result.usage, "{place}");
        assert_eq!(told.result.iterations_used, base.result.iterations_used, "{place}");
        assert_answered(&told.result.messages);
        assert_eq!(told.world.keys(), base.world.keys(), "one key, one call: {place}");
        for (key, calls) in told.world.shared.begun.lock().unwrap().iter() {
            assert!(calls.iter().all(|arguments| *arguments == calls[0]), "{key}: {place}");
            let once = calls.len() <= 1 + told.repeats.get(key).copied().unwrap_or(0);
            assert!(once || self.repeatable(key, base), "{key} ran {} times: {place}", calls.len());
        }
        assert_eq!(told.doubts, told.lost, "what was in flight is asked about, and nothing else: {place}");
        told
    }

    fn repeatable(&self, key: &str, base: &Told) -> bool {
        let call = key.strip_prefix("run/t").and_then(|place| place.split_once('.')).unwrap();
        let (turn, index): (usize, usize) = (call.0.parse().unwrap(), call.1.parse().unwrap());
        let name = &self.turns[turn][index].0;
        assert!(base.world.begun(key) > 0);
        TOOLS.iter().any(|(tool, effect)| tool == name && effect.repeatable())
    }
}

fn in_flight(stored: &Stored) -> Vec<String> {
    let run = Run::fold(RUN, stored.definition.clone(), &stored.records).unwrap();
    let open = run.effects().filter(|open| !open.intent.waits_for_a_person());
    let once = open.filter(|open| !open.intent.class.repeatable());
    once.map(|open| format!("{RUN}/{}", open.intent.id)).collect()
}

/// Before each call of these effects a person is asked.
pub fn asks(read: bool, idempotent: bool, once: bool) -> ApprovalPolicy {
    let of = |asks| if asks { Approval::Ask } else { Approval::Allow };
    ApprovalPolicy { read: of(read), idempotent: of(idempotent), once: of(once) }
}
