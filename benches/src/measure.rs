//! One contender doing one job: the child process of `run`. Everything is built and warmed up
//! before the clock starts; every answer is checked, so a fast wrong client is an error.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use crate::ambidex::Ambidex;
use crate::bare::Bare;
use crate::chat_loop::ChatLoop;
use crate::contender::{Contender, Name, Setup};
use crate::hyper_loop::Hyper;
use crate::machine::{self, Cpu};
use crate::reqwest_loop::Reqwest;
use crate::sample::{Sample, Turn};
use crate::scenario::{self, Scenario};
use crate::script::Script;
use crate::toolbox::Toolbox;
use crate::{Error, Result, hits, queue, routes};

/// Runs before the memory is looked at, so that code and pools are in place.
const WAITING_WARM_UP: u32 = 20;

#[derive(clap::Args, Clone)]
pub struct Job {
    #[arg(long)]
    pub contender: Name,
    #[arg(long)]
    pub scenario: Scenario,
    /// Address of the upstream, where the scenario has one
    #[arg(long, default_value = "")]
    pub upstream: String,
    /// Runs in flight; of `cache` the messages of a history, of `queue` the calls that wait
    #[arg(long, default_value_t = 1)]
    pub concurrency: u32,
    /// Runs measured
    #[arg(long, default_value_t = 1)]
    pub operations: u32,
    /// Turns of a long run
    #[arg(long, default_value_t = scenario::TURNS)]
    pub turns: u32,
}

pub fn client(job: &Job) -> Result<()> {
    let sample = match job.scenario {
        // One run keeps one thread busy; wake-ups across threads would be most of what is seen.
        Scenario::Long => on_one_thread(job)?,
        Scenario::Chat | Scenario::Agent | Scenario::Tokens | Scenario::Waiting => on_two_workers(job)?,
        Scenario::Route | Scenario::Race => routes::measure(job)?,
        Scenario::Cache => hits::measure(job)?,
        Scenario::Queue => queue::measure(job)?,
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&sample)?)?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn on_one_thread(job: &Job) -> Result<Sample> {
    contend(job).await
}

#[tokio::main(worker_threads = 2)]
async fn on_two_workers(job: &Job) -> Result<Sample> {
    contend(job).await
}

async fn contend(job: &Job) -> Result<Sample> {
    let setup = job.setup();
    match job.contender {
        Name::Hyper => measure(ChatLoop::new(Hyper::new(&setup.upstream)?, &setup)?, setup, job).await,
        Name::Ambidex => measure(Ambidex::new(&setup)?, setup, job).await,
        Name::Reqwest => measure(ChatLoop::new(Reqwest::new(&setup.upstream)?, &setup)?, setup, job).await,
    }
}

async fn measure<C: Contender>(contender: C, setup: Setup, job: &Job) -> Result<Sample> {
    let bench = Bench::new(contender, setup, job);
    match job.scenario {
        Scenario::Chat | Scenario::Agent | Scenario::Tokens => bench.throughput(job).await,
        Scenario::Waiting => bench.waiting(job).await,
        Scenario::Route | Scenario::Race | Scenario::Cache | Scenario::Queue => {
            Err(format!("`{}` is no contest", job.scenario.flag()).into())
        }
        Scenario::Long => {
            let setup = job.setup();
            let bare = Bench::new(Bare::record(&setup).await?, setup, job);
            long(&bench, &bare, job).await
        }
    }
}

impl Job {
    pub fn script(&self) -> Script {
        self.scenario.script(self.turns)
    }

    pub fn setup(&self) -> Setup {
        let toolbox = match self.scenario {
            Scenario::Long => Toolbox::with_clock(),
            _ => Toolbox::default(),
        };
        let (upstream, model) = (self.upstream.clone(), self.script().model());
        Setup { upstream, model, toolbox: Arc::new(toolbox) }
    }
}

pub struct Bench<C> {
    contender: Arc<C>,
    toolbox: Arc<Toolbox>,
    scenario: Scenario,
    script: Script,
}

impl<C: Contender> Bench<C> {
    pub fn new(contender: C, setup: Setup, job: &Job) -> Self {
        let (scenario, script) = (job.scenario, job.script());
        Bench { contender: Arc::new(contender), toolbox: setup.toolbox, scenario, script }
    }

    async fn throughput(&self, job: &Job) -> Result<Sample> {
        let warm_up = (job.operations / 10).max(job.concurrency * 2);
        self.runs(job.concurrency, warm_up).await?;
        let watch = Watch::start()?;
        self.runs(job.concurrency, job.operations).await?;
        watch.stop(job.operations)
    }

    async fn waiting(&self, job: &Job) -> Result<Sample> {
        let open_files = machine::raise_open_files()?;
        // A process needs a few files besides its sockets.
        if u64::from(job.concurrency) + 64 > open_files {
            return Err(format!(
                "{} runs at once need as many open files, and the hard limit is {open_files}; \
                 raise it with `ulimit -Hn` or ask for fewer with --waiting",
                job.concurrency
            )
            .into());
        }
        self.runs(WAITING_WARM_UP, WAITING_WARM_UP).await?;
        let mut watch = Watch::start()?;
        watch.open_files = open_files;
        self.runs(job.concurrency, job.concurrency).await?;
        watch.stop(job.concurrency)
    }

    /// The CPU of each turn of one run.
    async fn turns(&self) -> Result<Vec<Turn>> {
        self.toolbox.take_turns();
        let start = machine::cpu_nanoseconds()?;
        self.runs(1, 1).await?;
        Ok(turn_times(start, &self.toolbox.take_turns()))
    }

    /// Does `operations` runs, `concurrency` at a time, and checks each.
    pub async fn runs(&self, concurrency: u32, operations: u32) -> Result<()> {
        let earlier_calls = self.toolbox.calls();
        let (tools, answer) = (self.scenario.has_tools(), self.script.answer_bytes());
        let started = Arc::new(AtomicU32::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            let (contender, started) = (Arc::clone(&self.contender), Arc::clone(&started));
            workers.spawn(async move {
                while started.fetch_add(1, Ordering::Relaxed) < operations {
                    let text = if tools { contender.agent().await? } else { contender.chat().await? };
                    expect("bytes of text", answer, text)?;
                }
                Ok::<(), Error>(())
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        let calls = self.toolbox.calls() - earlier_calls;
        expect("tool calls", self.script.tool_calls() * u64::from(operations), calls)
    }
}

pub fn expect<T: PartialEq + Display>(what: &str, expected: T, got: T) -> Result<()> {
    if expected == got { Ok(()) } else { Err(format!("{got} {what}, where {expected} were to come").into()) }
}

/// The contender and the bare client take turns, so both meet the same state of the machine.
async fn long<C: Contender>(contender: &Bench<C>, bare: &Bench<Bare>, job: &Job) -> Result<Sample> {
    let (mut turns, mut bare_turns) = (contender.turns().await?, bare.turns().await?);
    turns.clear();
    bare_turns.clear();
    let watch = Watch::start()?;
    for _ in 0..job.operations {
        turns.extend(contender.turns().await?);
        bare_turns.extend(bare.turns().await?);
    }
    Ok(Sample { turns, bare_turns, ..watch.stop(job.operations)? })
}

/// A turn reaches from one tool call to the next; the first begins with the run.
fn turn_times(start: u64, marks: &[u64]) -> Vec<Turn> {
    let starts = std::iter::once(&start).chain(marks);
    let turn = |(number, (start, end)): (u32, (&u64, &u64))| Turn {
        number,
        microseconds: end.saturating_sub(*start) as f64 / 1_000.0,
    };
    (1..).zip(starts.zip(marks)).map(turn).collect()
}

struct Watch {
    cpu: Cpu,
    wall: Instant,
    resident: u64,
    open_files: u64,
}

impl Watch {
    fn start() -> Result<Self> {
        machine::forget_peak()?;
        let resident = machine::resident_bytes()?;
        Ok(Watch { cpu: machine::own_cpu()?, wall: Instant::now(), resident, open_files: 0 })
    }

    fn stop(self, operations: u32) -> Result<Sample> {
        let wall = self.wall.elapsed();
        let cpu = machine::own_cpu()?.since(self.cpu);
        Ok(Sample {
            operations,
            cpu_seconds: cpu.total().as_secs_f64(),
            user_seconds: cpu.user.as_secs_f64(),
            wall_seconds: wall.as_secs_f64(),
            resident_before: self.resident,
            resident_peak: machine::peak_resident_bytes()?,
            open_files: self.open_files,
            ..Sample::default()
        })
    }
}
