//! Against the driver of graphs: random graphs in random orders, processes that die at any commit, cancels at any
//! moment. Nothing may differ in the end, be done twice, or be left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::Grant;
use ambidex_core::event::Status;
use ambidex_core::graph::GraphDefinition;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, Questions, Why};
use ambidex_core::record::{Input, Outcome, Pause, RecordKind};
use ambidex_core::run::Phase;
use ambidex_core::store::{AnyStore, Lease, RunIndex, RunQuery, StoreError};
use ambidex_core::tool::EffectClass;
use ambidex_engine::{Clock, Engine, Graph, RunOptions, Runnable};
use ambidex_store::{Durability, SqliteOptions, SqliteStore};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::graph_world::{World, deep, hash, plans, standings, told};
use crate::mortal::{Death, Mortal};

const RUN: &str = "run";
/// More than a lease.
const LATER: Duration = Duration::from_secs(31);

fn state() -> Value {
    json!({"list": [{"n": 1}, {"n": 2}, {"n": 3}], "last": "x"})
}

fn options() -> RunOptions {
    RunOptions { id: Some(RUN.into()), ..RunOptions::default() }
}

/// How the run ended, or nothing where the graph goes round too long.
#[derive(Clone, Debug, PartialEq)]
struct End {
    status: Status,
    /// Text, so that the order of fields counts. Who failed first is a matter of order, and so is what was done by
    /// then.
    output: Option<String>,
}

/// A run that goes from process to process.
struct Life {
    definition: GraphDefinition,
    world: World,
    store: Arc<dyn AnyStore>,
    clock: Clock,
    deaths: usize,
    /// Times a person said that a call shall be repeated, by key.
    repeats: BTreeMap<String, usize>,
    /// What was recorded as done when a process died, and how often it had begun by then.
    settled: BTreeMap<String, usize>,
    /// Why the run failed.
    error: String,
}

impl Life {
    fn new(definition: GraphDefinition, seed: u64) -> Self {
        Self::on(Arc::new(MemoryStore::new()), definition, seed)
    }

    fn on(store: Arc<dyn AnyStore>, definition: GraphDefinition, seed: u64) -> Self {
        Self {
            definition,
            world: World::new(seed),
            store,
            clock: Clock::system(),
            deaths: 0,
            repeats: BTreeMap::new(),
            settled: BTreeMap::new(),
            error: String::new(),
        }
    }

    /// A process that dies at this commit. `sweeps`: it finds the run by itself.
    async fn process(&mut self, death: Death, at: u64, sweeps: bool) -> Option<Option<End>> {
        let mortal = Mortal::new(self.store.clone(), death, at);
        let engine = Engine::builder().durable_store(mortal.clone()).clock(self.clock).build();
        let graph = self.world.graph(self.definition.clone(), &engine);
        let mut recovery = None;
        let begun = match self.store.load(RUN).await {
            Err(StoreError::UnknownRun(_)) => graph.start_unwatched(state(), options()).map(Some),
            Err(error) => panic!("{error}"),
            Ok(_) if sweeps => {
                let found = graph.clone();
                let runnables = move |_: &_| Some(Runnable::from(found.clone()));
                recovery = Some(engine.recover(runnables).unwrap());
                Ok(None)
            }
            Ok(_) => graph.resume(RUN, vec![], RunOptions::default()).await.map(Some),
        };
        if let Ok(Some(mut handle)) = begun {
            handle.detach();
        }
        let ended = loop {
            tokio::select! {
                biased;
                () = mortal.died.notified() => break None,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            if let Some(end) = self.look(&graph, &engine, &mortal).await {
                break Some(end);
            }
        };
        drop(recovery);
        engine.idle().await;
        assert_eq!(self.world.in_flight(), 0, "whoever lost its store leaves nothing behind");
        if ended.is_none() {
            self.deaths += 1;
            self.note_settled().await;
            self.let_go().await;
        }
        ended
    }

    /// The leases of a process that is gone are over.
    async fn let_go(&self) {
        for run in standings(&*self.store).await.into_keys() {
            let query = RunQuery { run: Some(run.clone()), ..RunQuery::default() };
            for row in self.store.runs(query).await.unwrap().runs {
                self.store.release(&run, row.epoch).await.unwrap();
            }
        }
    }

    /// A person, who answers what is open and goes on with what is paused. Tells the end.
    async fn look(&mut self, graph: &Graph, engine: &Engine, mortal: &Mortal) -> Option<Option<End>> {
        for question in self.store.open(None).await.unwrap() {
            let answer = match question.why {
                Why::InDoubt => Answer::Repeat,
                _ if question.id.contains("/human:") => {
                    Answer::Answer { answer: json!(hash(&question.id) % 5) }
                }
                _ => Answer::Approve,
            };
            let repeats = answer == Answer::Repeat;
            // It may have been closed since.
            if self.store.answer(&question.id, answer).await.is_ok() && repeats {
                *self.repeats.entry(format!("{}/{}", question.run, question.about)).or_default() += 1;
            }
        }
        let (_, run) = told(&*self.store, RUN).await?;
        match run.phase() {
            Phase::Finished(_) => {
                let output = Value::Object((*run.state().unwrap()).clone()).to_string();
                let status = run.status();
                self.error = match run.phase() {
                    Phase::Finished(Outcome::Failed(error)) => error.to_string(),
                    _ => String::new(),
                };
                Some(Some(End { status, output: (status == Status::Succeeded).then_some(output) }))
            }
            Phase::Paused(Pause::MaxIterations) => Some(None),
            Phase::Paused(_) if engine.active_runs() == 0 && !mortal.is_dead() => {
                let more = vec![Input::Resume(Grant::default())];
                if let Ok(mut handle) = graph.resume(RUN, more, RunOptions::default()).await {
                    handle.detach();
                }
                None
            }
            _ => None,
        }
    }

    async fn note_settled(&mut self) {
        let begun = self.world.begun();
        for run in standings(&*self.store).await.into_keys() {
            for record in told(&*self.store, &run).await.unwrap().0 {
                if let RecordKind::Result { effect, result: Ok(_), .. } = record.kind {
                    let key = format!("{run}/{effect}");
                    let times = begun.get(&key).copied().unwrap_or(0);
                    self.settled.entry(key).or_insert(times);
                }
            }
        }
    }

    /// Through these deaths to the end.
    async fn live(&mut self, deaths: &[(Death, u64)], sweeps: bool) -> Option<End> {
        let mut deaths = deaths.iter().copied();
        loop {
            let (death, at) = deaths.next().unwrap_or((Death::After, u64::MAX));
            if let Some(end) = self.process(death, at, sweeps).await {
                if end.is_some() {
                    self.check().await;
                }
                return end;
            }
        }
    }

    /// Two processes that recover what they find, and a third that takes runs from them, children among them, and
    /// does nothing with them until its lease is over. Between two thefts the run is paused.
    async fn contested(&mut self, thefts: &[(u64, usize)]) -> Option<End> {
        let mortal = Mortal::new(self.store.clone(), Death::After, u64::MAX);
        let engines =
            [0, 1].map(|_| Engine::builder().durable_store(mortal.clone()).clock(self.clock).build());
        let graphs = engines.each_ref().map(|engine| self.world.graph(self.definition.clone(), engine));
        let recoveries = [0, 1].map(|at| {
            let found = graphs[at].clone();
            engines[at].recover(move |_| Some(Runnable::from(found.clone()))).unwrap()
        });
        let mut handle = graphs[0].start_unwatched(state(), options()).unwrap();
        handle.detach();
        let mut thefts = thefts.iter();
        let end = loop {
            let theft = thefts.next();
            let wait = theft.map_or(20, |(after, _)| *after);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if let Some((_, which)) = theft {
                self.steal(*which).await;
                tokio::time::sleep(Duration::from_millis(wait)).await;
                drop(handle.pause());
            }
            if let Some(end) = self.look(&graphs[1], &engines[1], &mortal).await {
                break end;
            }
        };
        drop(recoveries);
        for engine in &engines {
            engine.idle().await;
        }
        assert_eq!(self.world.in_flight(), 0);
        if end.is_some() {
            self.check().await;
        }
        end
    }

    async fn steal(&mut self, which: usize) {
        let all = standings(&*self.store).await;
        let open: Vec<_> = all.iter().filter(|(_, status)| !status.is_final()).collect();
        let Some((run, _)) = open.get(which % open.len().max(1)) else { return };
        self.deaths += 1;
        self.note_settled().await;
        let now = self.clock.now();
        let lease = Lease { owner: "thief".into(), until: now + 5_000 };
        // His clock is ahead, so he sees no lease.
        self.store.claim(run, lease, now + 3_600_000).await.unwrap();
    }

    async fn check(&self) {
        for (run, status) in standings(&*self.store).await {
            assert!(status.is_final(), "`{run}` is {status:?}");
            let (records, _) = told(&*self.store, &run).await.unwrap();
            let ends = records.iter().filter(|record| matches!(record.kind, RecordKind::Finished(_)));
            assert_eq!(ends.count(), 1, "`{run}` ends once");
        }
        for (key, begun) in self.world.begun() {
            let repeats = self.repeats.get(&key).copied().unwrap_or(0);
            let again = match self.world.class(&key) {
                EffectClass::Once | EffectClass::Undeclared => repeats,
                _ => self.world.failed(&key) + self.deaths,
            };
            assert!(begun <= 1 + again, "`{key}` has begun {begun} times, {again} of them with reason");
            if let Some(settled) = self.settled.get(&key) {
                assert_eq!(begun, *settled, "`{key}` was done, and is done again");
            }
        }
    }
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn deaths() -> impl Strategy<Value = Vec<(Death, u64)>> {
    let death = prop_oneof![Just(Death::After), Just(Death::Before)];
    prop::collection::vec((death, 1..40u64), 1..5)
}

/// With real threads and real time, of which nothing is measured.
#[test]
fn on_a_disk_too() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let mut died = 0;
    for seed in 0..12 {
        let definition = plans().new_tree(&mut runner).unwrap().current().definition();
        let deaths = deaths().new_tree(&mut runner).unwrap().current();
        let base = paused(Life::new(definition.clone(), seed).live(&[], false));
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { durability: Durability::None, ..SqliteOptions::default() };
        let end = runtime.block_on(async {
            let store = SqliteStore::open(folder.path().join("state.db"), options).await.unwrap();
            let mut life = Life::on(Arc::new(store), definition, seed ^ 1);
            let end = life.live(&deaths, seed % 2 == 0).await;
            died += life.deaths;
            end
        });
        assert_eq!(base, end, "{deaths:?}");
    }
    assert!(died > 8, "{died}");
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn whatever_completes_first_the_run_ends_the_same(plan in plans(), seeds in any::<[u64; 2]>()) {
        let ends = seeds.map(|seed| paused(Life::new(plan.definition(), seed).live(&[], false)));
        prop_assert_eq!(&ends[0], &ends[1]);
    }

    #[test]
    fn a_process_that_dies_at_any_commit_changes_nothing(
        plan in plans(),
        seed in any::<u64>(),
        deaths in deaths(),
        sweeps in any::<bool>(),
    ) {
        let base = paused(Life::new(plan.definition(), seed).live(&[], false));
        let other = paused(Life::new(plan.definition(), seed ^ 1).live(&deaths, sweeps));
        prop_assert_eq!(base, other);
    }

    #[test]
    fn runs_that_are_taken_away_and_paused_end_the_same(
        plan in plans(),
        seed in any::<u64>(),
        thefts in prop::collection::vec((0..60u64, 0..8usize), 1..5),
    ) {
        let base = paused(Life::new(plan.definition(), seed).live(&[], false));
        let other = paused(Life::new(plan.definition(), seed ^ 1).contested(&thefts));
        prop_assert_eq!(base, other);
    }

    #[test]
    fn a_run_cancelled_at_any_moment_has_one_end_and_leaves_nothing(
        plan in plans(),
        seed in any::<u64>(),
        after in 0..400u64,
        drops in any::<bool>(),
    ) {
        paused(cancelled_after(plan.definition(), seed, after, drops));
    }
}

async fn cancelled_after(definition: GraphDefinition, seed: u64, after: u64, drops: bool) {
    let (world, store) = (World::new(seed), MemoryStore::new());
    let engine = Engine::builder().durable_store(Arc::new(store.clone())).build();
    let graph = world.graph(definition, &engine);
    let mut handle = graph.start_unwatched(state(), options()).unwrap();
    // Somebody answers, but only until then.
    for _ in 0..=after / 20 {
        tokio::time::sleep(Duration::from_millis(after.min(20))).await;
        for question in store.open(None).await.unwrap() {
            let answer = match question.id.contains("/human:") {
                true => Answer::Answer { answer: json!(1) },
                false => Answer::Approve,
            };
            store.answer(&question.id, answer).await.unwrap();
        }
    }
    let at_rest = engine.active_runs() == 0;
    if at_rest {
        // Paused: it is cancelled by whoever goes on with it.
        if let Ok(resumed) = graph.resume(RUN, vec![Input::Cancel], RunOptions::default()).await {
            drop(std::mem::replace(&mut handle, resumed).outcome().await);
        }
    }
    if drops {
        drop(handle);
    } else {
        handle.cancel();
        let _ = handle.outcome().await;
    }
    engine.idle().await;
    assert_eq!(world.in_flight(), 0);
    let begun = world.begun();
    for (run, status) in standings(&store).await {
        assert!(status.is_final(), "`{run}` is {status:?}");
        let (records, _) = told(&store, &run).await.unwrap();
        let ends = records.iter().filter(|record| matches!(record.kind, RecordKind::Finished(_)));
        assert_eq!(ends.count(), 1, "`{run}` ends once");
    }
    assert!(store.open(None).await.unwrap().is_empty(), "nobody is asked about what has ended");
    tokio::time::sleep(LATER).await;
    assert_eq!(begun, world.begun(), "nothing starts after the end");
    assert!(store.claimable(u64::MAX, 10).await.unwrap().runs.is_empty());
}

/// Records of the whole family of runs, when nobody dies: there are no more commits than that.
async fn records(definition: GraphDefinition) -> u64 {
    let mut life = Life::new(definition, 7);
    life.live(&[], false).await;
    let mut records = 0;
    for run in standings(&*life.store).await.into_keys() {
        records += told(&*life.store, &run).await.unwrap().0.len() as u64;
    }
    records
}

#[test]
fn three_graphs_deep_every_commit_may_be_the_last() {
    let mut life = Life::new(deep(), 7);
    let base = paused(life.live(&[], false)).unwrap();
    assert_eq!(base.status, Status::Succeeded, "{}", life.error);
    let records = paused(records(deep()));
    let mut died = 0;
    for at in 1..=records {
        for death in [Death::After, Death::Before] {
            // Once, and again while it recovers.
            let again = vec![(death, at), (death, 2), (Death::After, 1)];
            for (kills, sweeps) in [(vec![(death, at)], at % 2 == 0), (again, at % 2 == 1)] {
                let mut life = Life::new(deep(), at);
                let end = paused(life.live(&kills, sweeps));
                assert_eq!(end.as_ref(), Some(&base), "{kills:?} {sweeps}");
                died += life.deaths;
            }
        }
    }
    assert!(died > 100, "{died} deaths of {records} records");
}

/// The graphs are worth driving: most end well, with runs in runs, people and failures on the way.
#[test]
fn the_graphs_are_rich() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut told = BTreeMap::<String, usize>::new();
    for seed in 0..150 {
        let plan = plans().new_tree(&mut runner).unwrap().current();
        let mut life = Life::new(plan.definition(), seed);
        let end = paused(life.live(&[(Death::After, 1 + seed % 30)], seed % 2 == 0));
        let mut count = |what: &str| *told.entry(what.to_owned()).or_default() += 1;
        match end.map(|end| end.status) {
            Some(Status::Succeeded) => count("succeeded"),
            Some(Status::Failed) => count(&format!("failed: {}", &life.error[..life.error.len().min(60)])),
            Some(status) => panic!("{status:?}"),
            None => count("long"),
        }
        for _ in 0..life.deaths {
            count("died");
        }
        if !life.repeats.is_empty() {
            count("doubts");
        }
        let runs = paused(standings(&*life.store)).len();
        if runs > 1 {
            count("children");
        }
    }
    let of = |what: &str| told.get(what).copied().unwrap_or(0);
    println!("{told:#?}");
    assert!(of("succeeded") > 80 && of("died") > 60, "{told:#?}");
    assert!(of("children") > 30 && of("doubts") > 10, "{told:#?}");
}
