//! Prints the table. Exit code 1 where a row is violated or something could not be measured.

use std::process::ExitCode;
use std::sync::Arc;

use ambidex_faults::{Case, Peers, Provider, Report, Table};

const HELP: &str = "\
Usage: ambidex-faults [--rows] [--peers] [--only FAULT]...

  --rows        every row instead of a line for each fault
  --peers       the same faults met by openai, anthropic and litellm, which are installed from PyPI
  --only FAULT  this fault alone; may be given again
";

#[derive(Default)]
struct Arguments {
    rows: bool,
    peers: bool,
    only: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(said) => {
            eprint!("{said}");
            return ExitCode::FAILURE;
        }
    };
    let is_wanted = |case: &Case| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == case.fault.name())
    };
    let cases = Case::all().into_iter().filter(is_wanted).collect();
    let table = Table::of(cases, Arc::new(Provider)).await;
    let peers = if arguments.peers { Peers::measure().await.map(Some) } else { Ok(None) };
    let (peers, failure) = match peers {
        Ok(peers) => (peers, None),
        Err(failure) => (None, Some(failure)),
    };
    println!("{}", Report { table: &table, peers: peers.as_ref(), rows: arguments.rows });
    if let Some(failure) = &failure {
        eprintln!("{failure}");
    }
    if table.holds() && failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rows" => arguments.rows = true,
            "--peers" => arguments.peers = true,
            "--only" => arguments.only.push(words.next().ok_or(HELP)?),
            "--help" | "-h" => return Err(HELP.to_owned()),
            other => return Err(format!("There is no argument {other}.\n\n{HELP}")),
        }
    }
    match arguments.only.iter().find(|name| ambidex_fake_provider::Fault::by_name(name).is_none()) {
        Some(unknown) => {
            Err(format!("There is no fault {unknown:?}; `fake-provider --list-faults` has them.\n"))
        }
        None => Ok(arguments),
    }
}
