//! A file for each verb.

mod batch;
mod bench;
mod chat;
mod config;
mod demo;
mod doctor;
mod flow;
mod help;
mod keep;
mod models;
mod replay;
mod resume;
mod run;
mod runs;
mod schema;
mod sessions;
mod threads;
mod tools;
mod watch;
mod workflow;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Verb};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::GRACE;

/// Verbs of the public surface that this version does not have.
const LATER: [&str; 8] = ["serve", "worker", "attach", "approve", "relay", "mcp", "keys", "status"];

pub fn carry_out(cli: Cli, console: &mut Console) -> Result<Exit, Failure> {
    let common = &cli.common;
    match cli.verb {
        None => print(console, &Cli::command().render_help().to_string()),
        Some(Verb::Version) => print(console, &format!("ambidex {}", env!("CARGO_PKG_VERSION"))),
        Some(Verb::Help { topic }) => help::help(&topic, console),
        Some(Verb::Completion { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ambidex", &mut script);
            print(console, &String::from_utf8_lossy(&script))
        }
        Some(Verb::Schema { of }) => schema::schema(of, console),
        Some(Verb::Config(verb)) => config::config(&verb, common, console),
        Some(Verb::Run(args)) => asynchronously(|at_once| run::run(&args, common, console, at_once)),
        Some(Verb::Batch(args)) => asynchronously(|at_once| batch::batch(&args, common, console, at_once)),
        Some(Verb::Flow(verb)) => flow::flow(verb, common, console),
        Some(Verb::Runs(args)) => asynchronously(|at_once| runs::runs(&args, common, console, at_once)),
        Some(Verb::Threads(args)) => {
            asynchronously(|at_once| threads::threads(&args, common, console, at_once))
        }
        Some(Verb::Sessions(args)) => {
            asynchronously(|at_once| sessions::sessions(&args, common, console, at_once))
        }
        Some(Verb::Replay(args)) => asynchronously(|at_once| replay::replay(&args, common, console, at_once)),
        Some(Verb::Chat(args)) => asynchronously(|at_once| chat::chat(&args, common, console, at_once)),
        Some(Verb::Models(verb)) => asynchronously(|at_once| models::models(&verb, common, console, at_once)),
        Some(Verb::Tools(verb)) => asynchronously(|at_once| tools::tools(&verb, common, console, at_once)),
        Some(Verb::Doctor) => asynchronously(|at_once| doctor::doctor(common, console, at_once)),
        Some(Verb::Demo(args)) => asynchronously(|at_once| demo::demo(&args, common, console, at_once)),
    }
}

/// The complaint about what clap does not know and we do: a verb of a later version, a flag before its verb,
/// a task without quotes.
pub fn known_better(error: &clap::Error) -> Option<Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(said)) => Some(said.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let verb = said(ContextKind::InvalidSubcommand).filter(|verb| LATER.contains(verb))?;
            let text = format!("`{verb}` is planned and not in this version ({version})");
            Some(Failure::usage(text).help("`ambidex --help` lists what there is"))
        }
        ErrorKind::UnknownArgument => {
            let flag = said(ContextKind::InvalidArg)?;
            let usage = match error.get(ContextKind::Usage) {
                Some(ContextValue::StyledStr(usage)) => usage.to_string(),
                _ => return None,
            };
            if !flag.starts_with('-') && usage.contains("ambidex run [OPTIONS]") {
                let text = format!("`{flag}` is one word too many; a task is one argument");
                return Some(
                    Failure::usage(text).help("put the task in quotes: ambidex run \"list files in .\""),
                );
            }
            // Below a verb, clap's own tip is the better one.
            if !usage.trim_end().ends_with("ambidex [OPTIONS] [COMMAND]") || !is_of_run(flag) {
                return None;
            }
            let text = format!("`{flag}` stands before the verb it belongs to");
            Some(Failure::usage(text).help(format!("put it behind: ambidex run {flag} ...")))
        }
        _ => None,
    }
}

fn is_of_run(flag: &str) -> bool {
    let command = Cli::command();
    let run = command.find_subcommand("run");
    run.into_iter().flat_map(clap::Command::get_arguments).filter(|argument| !argument.is_hide_set()).any(
        |argument| match flag.strip_prefix("--") {
            Some(long) => argument.get_long() == Some(long),
            None => argument.get_short().is_some_and(|short| flag == format!("-{short}")),
        },
    )
}

fn print(console: &mut Console, text: &str) -> Result<Exit, Failure> {
    console.print_line(text).map_err(Failure::from_stdout)?;
    Ok(Exit::Done)
}

/// The one place where a command enters the asynchronous world. Threads that cannot be stopped, such as one
/// that reads stdin, are not waited for.
fn asynchronously<V>(verb: impl FnOnce(CancellationToken) -> V) -> Result<Exit, Failure>
where
    V: Future<Output = Result<Exit, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("ambidex").enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Exit::Failed, format!("the runtime's threads cannot be started: {error}"))
            .help("raise the limit of processes (`ulimit -u`) or of open files (`ulimit -n`)")
    })?;
    let at_once = CancellationToken::new();
    let verb = verb(at_once.clone());
    let ended = runtime.block_on(at_once.run_until_cancelled(verb));
    match ended {
        Some(ended) => {
            runtime.shutdown_background();
            ended
        }
        None => {
            // What runs is dropped by its threads, and processes of tools end with it.
            runtime.shutdown_timeout(GRACE);
            Err(Failure::Closed(Exit::Cancelled))
        }
    }
}
