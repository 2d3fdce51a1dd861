//! The parent: starts an upstream and a client for each sample, contenders taking turns, and prints
//! the tables when all samples are there.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::contender::Name;
use crate::measure::Job;
use crate::sample::{Sample, Seen};
use crate::scenario::{self, Scenario};
use crate::{Result, machine, report, startup};

/// A race waits for its winner, so one at a time would take long.
const RACES_AT_ONCE: u32 = 64;
/// Messages of the histories that are looked up in the cache.
const HISTORIES: [u32; 3] = [1, 100, 1_000];

#[derive(clap::Args)]
pub struct Options {
    /// Samples of each contender
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Whom to measure; the ratios are to reqwest and hyper where they take part
    #[arg(long, value_delimiter = ',', default_value = "hyper,reqwest,ambidex")]
    contenders: Vec<Name>,
    /// What to measure
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "chat,agent,tokens,waiting,long,route,race,cache,queue"
    )]
    scenarios: Vec<Scenario>,
    /// Runs in flight
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    concurrency: Vec<u32>,
    /// Runs waiting at once
    #[arg(long, default_value_t = 10_000)]
    waiting: u32,
    /// Calls that wait behind one limit; the first number is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    queued: Vec<u32>,
    /// Turns of the long run
    #[arg(long, default_value_t = scenario::TURNS)]
    turns: u32,
    /// Events the upstream writes at once; see README.md
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    events_per_write: u16,
    /// A fiftieth of the operations: shows that it works, the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// The `ambidex` command whose start is measured; the one built beside this is taken if it is there
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// All samples of one contender at one scenario and concurrency.
pub struct Series {
    pub contender: Name,
    pub scenario: Scenario,
    /// Runs in flight; of `cache` the messages of a history, of `queue` the calls that wait.
    pub concurrency: u32,
    pub samples: Vec<(Sample, Seen)>,
}

pub fn run(options: &Options) -> Result<()> {
    let command: Vec<String> = env::args().skip(1).collect();
    println!("# What a run costs\n");
    println!("`ambidex-benches {}`; {}", command.join(" "), machine::facts());
    for scenario in &options.scenarios {
        let concurrencies = match scenario {
            Scenario::Chat | Scenario::Agent | Scenario::Tokens | Scenario::Route => {
                options.concurrency.clone()
            }
            Scenario::Waiting => vec![options.waiting],
            Scenario::Long => vec![1],
            Scenario::Race => vec![RACES_AT_ONCE],
            Scenario::Cache => HISTORIES.to_vec(),
            Scenario::Queue => options.queued.clone(),
        };
        let mut all = Vec::new();
        for concurrency in concurrencies {
            all.extend(measure(options, *scenario, concurrency)?);
        }
        report::print(*scenario, &all);
    }
    match options.binary.clone().or_else(startup::binary_beside) {
        Some(binary) => startup::print(&binary)?,
        None => println!(
            "\nThe start was not measured: build `ambidex` in the same profile, or name one with --binary."
        ),
    }
    println!("\nLoad at the end: {}", machine::load());
    Ok(())
}

fn measure(options: &Options, scenario: Scenario, concurrency: u32) -> Result<Vec<Series>> {
    let contenders: &[Name] = if scenario.is_contest() { &options.contenders } else { &[Name::Ambidex] };
    let mut all: Vec<Series> = contenders
        .iter()
        .map(|&contender| Series { contender, scenario, concurrency, samples: Vec::new() })
        .collect();
    for repetition in 1..=options.repetitions {
        for series in &mut all {
            eprintln!(
                "{} at {concurrency}, {repetition} of {}: {}",
                scenario.flag(),
                options.repetitions,
                series.contender
            );
            series.samples.push(sample(options, series)?);
        }
    }
    Ok(all)
}

fn sample(options: &Options, series: &Series) -> Result<(Sample, Seen)> {
    let upstream = match series.scenario.has_upstream() {
        true => Some(Upstream::start(options.events_per_write)?),
        false => None,
    };
    let operations = series.scenario.operations(series.concurrency);
    let job = Job {
        contender: series.contender,
        scenario: series.scenario,
        upstream: upstream.as_ref().map(|it| it.address.clone()).unwrap_or_default(),
        concurrency: series.concurrency,
        operations: if options.quick { operations.div_ceil(50) } else { operations },
        turns: options.turns,
    };
    let sample = client(&job)?;
    Ok((sample, upstream.map(Upstream::end).transpose()?.unwrap_or_default()))
}

fn client(job: &Job) -> Result<Sample> {
    let output = Command::new(env::current_exe()?)
        .args(["client", "--contender", job.contender.flag(), "--scenario", job.scenario.flag()])
        .args(["--upstream", &job.upstream])
        .args(["--concurrency", &job.concurrency.to_string()])
        .args(["--operations", &job.operations.to_string()])
        .args(["--turns", &job.turns.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        let (contender, scenario) = (job.contender, job.scenario.flag());
        return Err(format!("{contender} at `{scenario}` ended with {}; see above", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A running upstream process. It ends with its standard input, so it cannot outlive its parent.
struct Upstream {
    process: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Upstream {
    fn start(events_per_write: u16) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["upstream", "--events-per-write", &events_per_write.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("the upstream has no standard output")?;
        let mut output = BufReader::new(output);
        let mut address = String::new();
        output.read_line(&mut address)?;
        Ok(Upstream { process, output, address: address.trim().to_owned() })
    }

    fn end(mut self) -> Result<Seen> {
        drop(self.process.stdin.take());
        let mut seen = String::new();
        self.output.read_line(&mut seen)?;
        self.process.wait()?;
        Ok(serde_json::from_str(&seen)?)
    }
}
