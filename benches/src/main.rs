//! `ambidex-benches run` measures; the other verbs are the processes it starts. See README.md.

mod ambidex;
mod bare;
mod beside;
mod canned;
mod chat_loop;
mod contender;
mod graph_recovery;
mod graphs;
mod hits;
mod hyper_loop;
mod machine;
mod measure;
mod orchestrate;
mod queue;
mod report;
mod reqwest_loop;
mod routes;
mod sample;
mod scenario;
mod script;
mod sse;
mod startup;
mod toolbox;
mod upstream;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Any failure ends the measurement: a number from a broken run is worth nothing.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Parser)]
#[command(name = "ambidex-benches", about = "What a run costs, beside bare loops doing the same exchanges")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure everything and print the tables
    Run(orchestrate::Options),
    /// What a step of a graph costs, by store
    Graphs(graphs::Options),
    /// Waiting runs found and driven on, in a process of their own (started by `graphs`)
    Recover(graph_recovery::Options),
    /// CPU of `BINARY version`
    Startup(startup::Options),
    /// The model's side, in a process of its own (started by `run`)
    Upstream(upstream::Options),
    /// One contender doing one job, in a process of its own (started by `run`)
    Client(measure::Job),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Run(options) => orchestrate::run(&options),
        Verb::Graphs(options) => graphs::run(&options),
        Verb::Recover(options) => graph_recovery::run(&options),
        Verb::Startup(options) => startup::run(&options),
        Verb::Upstream(options) => upstream::serve(&options),
        Verb::Client(job) => measure::client(&job),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ambidex-benches: {error}");
            ExitCode::FAILURE
        }
    }
}
