//! The driver of a team dies at every commit, of any of its runs; a new process goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ambidex_core::BoxFuture;
use ambidex_core::event::Status;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Standing};
use ambidex_core::run::Run;
use ambidex_core::store::{Batch, Lease, Store, StoreError, Stored};
use ambidex_engine::{Engine, RunOptions, Team};
use serde_json::{Value, json};

use crate::team_world::{Says, agent, judge};

/// Breaks with the nth commit, of whichever run, and stays so.
struct Doomed {
    inner: MemoryStore,
    left: AtomicU64,
    /// Whether the last commit is stored, and only its driver does not hear of it.
    stored: bool,
}

impl Store for Doomed {
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
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let left = self.left.fetch_update(SeqCst, SeqCst, |left| Some(left.saturating_sub(1))).unwrap();
        if left > 1 {
            return self.inner.commit(run, epoch, expected, batch);
        }
        let stored = (left == 1 && self.stored).then(|| self.inner.commit(run, epoch, expected, batch));
        Box::pin(async move {
            if let Some(stored) = stored {
                stored.await?;
            }
            Err(StoreError::Broken("killed".into()))
        })
    }
}

impl Questions for Doomed {
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

/// What outlives a process: what models were asked.
struct World {
    planner: Says,
    ann: Says,
    ben: Says,
    judge: Says,
}

impl World {
    fn new() -> Self {
        let plan = json!({"complexity": "medium", "summary": "", "parts": [
            {"id": "draft", "description": "Draft it", "agent": "ann", "needs": [], "expected": ""},
            {"id": "notes", "description": "Take notes", "agent": "ben", "needs": [], "expected": ""},
            {"id": "text", "description": "Write it", "agent": "ben", "needs": ["draft", "notes"], "expected": ""},
        ]});
        let better = |prompt: &str, _: usize| {
            Ok(if prompt.contains("not good enough yet") { "better" } else { "rough" }.to_owned())
        };
        Self {
            planner: Says::json(plan),
            ann: Says::new(better),
            ben: Says::text("fine"),
            judge: judge(|text| if text.contains("rough") { 3.0 } else { 8.0 }),
        }
    }

    /// A new process.
    fn team(&self, engine: &Engine) -> Team {
        Team::builder()
            .engine(engine)
            .agents([agent(engine, "ann", &self.ann), agent(engine, "ben", &self.ben)])
            .planner(self.planner.clone())
            .judge(self.judge.clone())
            .threshold(7.0)
            .build()
            .unwrap()
    }
}

/// By part and round: whether its run had ended.
async fn ended(store: &MemoryStore) -> Vec<String> {
    let mut ended = vec![];
    for child in ["parts#0/draft#0", "parts#0/notes#0", "parts#0/text#0", "parts#1/draft#0", "parts#1/text#0"]
    {
        if let Ok(stored) = store.load(&format!("run/{child}")).await {
            let run = Run::fold("x", stored.definition, &stored.records).unwrap();
            if run.status() == Status::Succeeded {
                ended.push(child.to_owned());
            }
        }
    }
    ended
}

async fn finish(team: &Team, store: &MemoryStore) -> Value {
    let options = || RunOptions { id: Some("run".into()), ..RunOptions::default() };
    let result = match store.load("run").await {
        Ok(_) => team.resume("run", vec![], options()).await.unwrap().outcome().await.unwrap(),
        // It died before anything was promised.
        Err(_) => team.run_with("Make a booklet", options()).await.unwrap().run,
    };
    result.output.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_team_killed_at_any_commit_goes_on_and_does_no_finished_part_again() {
    let options = || RunOptions { id: Some("run".into()), ..RunOptions::default() };
    let world = World::new();
    let counting =
        Arc::new(Doomed { inner: MemoryStore::new(), left: AtomicU64::new(u64::MAX), stored: true });
    let engine = Engine::builder().store(counting.clone()).build();
    let base = world.team(&engine).run_with("Make a booklet", options()).await.unwrap();
    assert_eq!((base.rounds, base.parts[0].text.as_str()), (1, "better"));
    let commits = u64::MAX - counting.left.load(SeqCst);
    let calls = |world: &World| [world.planner.calls(), world.ann.calls(), world.ben.calls()];
    assert_eq!(calls(&world), [1, 2, 3]);
    let mut spared = 0;
    for at in 1..=commits {
        // Whether the last commit arrived or not: each in turn.
        let stored = at % 2 == 0;
        let world = World::new();
        let memory = MemoryStore::new();
        let doomed = Doomed { inner: memory.clone(), left: AtomicU64::new(at), stored };
        let engine = Engine::builder().store(Arc::new(doomed)).build();
        let died = world.team(&engine).run_with("Make a booklet", options()).await;
        assert!(died.is_err(), "{at}");
        engine.idle().await;
        let (done, before) = (ended(&memory).await, calls(&world));
        spared += done.len();
        let engine = Engine::builder().store(Arc::new(memory.clone())).build();
        let output = finish(&world.team(&engine), &memory).await;
        assert_eq!(output, base.run.output.clone().unwrap(), "killed at commit {at}, stored: {stored}");
        let after = calls(&world);
        // Each part that had not ended is done once more, and no other.
        let of = |member: &[&str]| {
            done.iter().filter(|part| member.iter().any(|name| part.contains(name))).count()
        };
        assert_eq!(after[1] - before[1], 2 - of(&["draft"]), "ann: {at} {stored} {done:?}");
        assert_eq!(after[2] - before[2], 3 - of(&["notes", "text"]), "ben: {at} {stored} {done:?}");
    }
    assert!(
        commits > 30 && spared > 30,
        "the deaths must hit something: {commits} commits, {spared} parts spared"
    );
}
