//! One round: processes that are killed one after another over one store, then one that lives, and what it makes of
//! what they left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ambidex_core::event::Status;
use ambidex_core::question::{Answer, AnswerError, Question, Why};
use ambidex_core::store::{AnyStore, RunQuery, RunSummary, StoreError};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::facts::{Facts, RunFacts};
use crate::failpoint::{Failpoint, Mishap};
use crate::ledger;
use crate::place::{Opened, Place};
use crate::random::Random;
use crate::store::Promise;
use crate::worker::{Orders, heard};

/// What is demanded of recovery: from the restart until every run has ended or waits on a listed question, and from
/// the last answer until it has ended.
pub const LIMIT: Duration = Duration::from_secs(45);
/// Runs that a process starts.
pub const STARTS: u32 = 9;
/// A process that did not come by its failpoint in this time will not.
const PATIENCE: Duration = Duration::from_secs(40);

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// Somebody else kills it, so long after it was started.
    After(Duration),
    /// The same, so long after it has opened its store.
    Working(Duration),
    /// It comes by this place for the nth time.
    At(Failpoint, u32),
}

#[derive(Clone, Debug)]
pub struct Round {
    /// The line of the table it counts for.
    pub line: usize,
    pub seed: u64,
    pub kills: Vec<Kill>,
    /// None is the engine's own.
    pub lease: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub kills: usize,
    /// Runs that were told to be accepted.
    pub accepted: usize,
    /// When all was settled after the restart.
    pub ended: usize,
    pub waiting: usize,
    /// Times that somebody took over a run.
    pub claims: usize,
    /// Calls of idempotent tools that were made once more under their key.
    pub repeated: usize,
    /// Calls that were put before a person because they may have happened.
    pub in_doubt: usize,
    pub recovery: Duration,
    pub violations: Vec<String>,
}

/// Who carries rounds out, and where.
#[derive(Clone, Debug)]
pub struct Arena {
    /// The program that is a worker when it is told so.
    pub program: PathBuf,
}

impl Arena {
    /// Starts a worker.
    pub fn start(&self, orders: &Orders) -> Result<Child, String> {
        let text = serde_json::to_string(orders).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.arg("worker").arg(text).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))
    }

    pub async fn carry_out(&self, round: &Round, place: &Place, folder: &Path) -> Seen {
        let mut seen = Seen::default();
        if let Err(problem) = self.all(round, place, folder, &mut seen).await {
            seen.violations.push(problem);
        }
        seen
    }

    async fn all(&self, round: &Round, place: &Place, folder: &Path, seen: &mut Seen) -> Result<(), String> {
        let ledger = folder.join("ledger");
        let mut promises = Vec::new();
        let orders = |life: usize| Orders {
            place: place.clone(),
            ledger: ledger.clone(),
            seed: round.seed.wrapping_add(u64::try_from(life).unwrap_or(0)),
            starts: STARTS,
            name: format!("r{life}."),
            lease: round.lease,
            answers: true,
            failpoint: None,
            mishap: Mishap::Killed,
            takes: Duration::ZERO,
        };
        for (life, kill) in round.kills.iter().enumerate() {
            promises.extend(self.live(orders(life), *kill).await?);
            seen.kills += 1;
        }
        let restart = Instant::now();
        let last = Orders { starts: 0, answers: false, ..orders(round.kills.len()) };
        let child = self.start(&last)?;
        let store = place.open().await.map_err(|error| format!("after the kill: {error}"))?;
        let end = self.observe(&store, restart, &ledger, promises, seen).await;
        let left = leave(child).await;
        store.close().await;
        end.and(left)
    }

    /// A process from its start to its kill, and what it was promised.
    async fn live(&self, mut orders: Orders, kill: Kill) -> Result<Vec<Promise>, String> {
        if let Kill::At(point, nth) = kill {
            orders.failpoint = Some((point, nth));
        }
        let mut child = self.start(&orders)?;
        // Kept: a worker whose pipe is closed ends by itself.
        let _pipe = child.stdin.take();
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err("a worker has no pipes".into());
        };
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let opened = Notify::new();
        let listening = async {
            while let Ok(1..) = out.read_buf(&mut said).await {
                if said.windows(6).any(|six| six == b"ready\n") {
                    opened.notify_one();
                }
            }
        };
        let patience = match kill {
            Kill::After(moment) | Kill::Working(moment) => moment,
            Kill::At(..) => PATIENCE,
        };
        let end = async {
            if let Kill::Working(_) = kill {
                // One that does not open its store is killed, too.
                drop(timeout(PATIENCE, opened.notified()).await);
            }
            let ended = timeout(patience, child.wait()).await;
            if ended.is_err() {
                // It may have ended this very moment.
                drop(child.start_kill());
            }
            (ended.is_ok(), child.wait().await)
        };
        let ((by_itself, status), _, _) = tokio::join!(end, listening, err.read_to_end(&mut complained));
        let complained = String::from_utf8_lossy(&complained);
        let status = status.map_err(|error| error.to_string())?;
        if std::os::unix::process::ExitStatusExt::signal(&status) != Some(libc::SIGKILL) {
            return Err(format!("a worker ended by itself ({status}): {complained}"));
        }
        if let (Kill::At(point, _), false) = (kill, by_itself) {
            return Err(format!("no process came by the failpoint {point}"));
        }
        // A line that was cut was not told.
        let whole = said.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(String::from_utf8_lossy(&said[..whole]).lines().filter_map(heard).collect())
    }

    async fn observe(
        &self,
        store: &Opened,
        restart: Instant,
        ledger: &Path,
        promises: Vec<Promise>,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let (runs, open) = settled(&*store.any(), restart).await?;
        seen.recovery = restart.elapsed();
        seen.ended = runs.iter().filter(|run| run.status.is_final()).count();
        seen.waiting = runs.len() - seen.ended;
        let facts = answer_all(store, runs, open, ledger, promises).await?;
        seen.accepted = facts.accepted().len();
        seen.claims = facts.claims();
        seen.repeated = facts.repeated();
        seen.in_doubt = facts.asked_in_doubt.len();
        seen.violations.extend(facts.violations());
        Ok(())
    }
}

/// Answers what is open until every run has ended, and gathers what is known then.
pub async fn answer_all(
    store: &Opened,
    mut runs: Vec<RunSummary>,
    mut open: Vec<Question>,
    ledger: &Path,
    promises: Vec<Promise>,
) -> Result<Facts, String> {
    let any = store.any();
    let mut asked = BTreeSet::new();
    while !open.is_empty() {
        for question in open {
            if question.why == Why::InDoubt {
                asked.insert(format!("{}/{}", question.run, question.about));
            }
            let answer = honest(&question, ledger)?;
            match any.answer(&question.id, answer).await {
                // A process beside us was faster.
                Ok(()) | Err(AnswerError::AlreadyAnswered | AnswerError::Withdrawn) => {}
                Err(error) => return Err(format!("{}: {error}", question.id)),
            }
        }
        (runs, open) = settled(&*any, Instant::now()).await?;
    }
    Ok(Facts {
        promises,
        runs: load_all(&*any, runs).await.map_err(|error| error.to_string())?,
        asked_in_doubt: asked,
        ledger: ledger::read(ledger)?,
        check: store.check().await.map_err(|error| error.to_string())?,
    })
}

/// Lets a worker go: it ends when its pipe is closed.
pub async fn leave(mut child: Child) -> Result<(), String> {
    drop(child.stdin.take());
    match timeout(PATIENCE, child.wait_with_output()).await {
        Err(_) => Err("a worker does not end".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let complained = String::from_utf8_lossy(&output.stderr);
            Err(format!("a worker ended with {}: {complained}", output.status))
        }
    }
}

/// Waits until every run has ended or waits on a listed question. It looks again and again, from outside, so as not to
/// take part in how the process under test is woken.
pub async fn settled(
    store: &dyn AnyStore,
    since: Instant,
) -> Result<(Vec<RunSummary>, Vec<Question>), String> {
    loop {
        let text = |error: StoreError| error.to_string();
        let open = store.open(None).await.map_err(text)?;
        let runs = all_runs(store).await.map_err(text)?;
        let rests = |run: &&RunSummary| {
            let waits = run.status == Status::Waiting && open.iter().any(|question| question.run == run.id);
            run.status.is_final() || waits
        };
        let restless: Vec<_> = runs.iter().filter(|run| !rests(run)).collect();
        if restless.is_empty() {
            return Ok((runs, open));
        }
        if since.elapsed() > LIMIT {
            let names: Vec<_> = restless.iter().map(|run| format!("{} ({:?})", run.id, run.status)).collect();
            return Err(format!("{LIMIT:?} later these neither ended nor wait: {}", names.join(", ")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn all_runs(store: &dyn AnyStore) -> Result<Vec<RunSummary>, StoreError> {
    let mut query = RunQuery { limit: 1000, ..RunQuery::default() };
    let mut runs = Vec::new();
    loop {
        let page = store.runs(query.clone()).await?;
        runs.extend(page.runs);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(runs),
        }
    }
}

pub async fn load_all(store: &dyn AnyStore, runs: Vec<RunSummary>) -> Result<Vec<RunFacts>, StoreError> {
    let mut facts = Vec::new();
    for summary in runs {
        let definition = store.load(&summary.id).await?.definition;
        let records = store.records(&summary.id, 0, usize::MAX).await?;
        facts.push(RunFacts { summary, definition, records });
    }
    Ok(facts)
}

/// What a person says who looks at the world: allowed, it happened, or do it again.
pub fn honest(question: &Question, ledger: &Path) -> Result<Answer, String> {
    Ok(match question.why {
        Why::Approval => Answer::Approve,
        Why::Reply => Answer::Answer { answer: json!("well") },
        Why::InDoubt => {
            let key = format!("{}/{}", question.run, question.about);
            match ledger::deeds(&ledger::read(ledger)?).contains_key(&*key) {
                true => Answer::Answer { answer: json!("it happened") },
                false => Answer::Repeat,
            }
        }
    })
}

impl Round {
    /// A kill at any moment of a process that does its work; one in five while it starts.
    pub fn any_moment(random: &mut Random) -> Kill {
        if random.one_in(5) {
            Kill::After(random.millis(0, 300))
        } else {
            Kill::Working(random.millis(0, 500))
        }
    }

    /// A kill about when it takes over what the one before left: when that one's lease is over.
    pub fn in_recovery(random: &mut Random) -> Kill {
        let lease = u64::try_from(crate::table::LEASE.as_millis()).unwrap_or(0);
        Kill::Working(random.millis(lease * 8 / 10, lease * 14 / 10))
    }
}
