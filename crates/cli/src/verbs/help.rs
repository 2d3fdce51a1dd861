//! `ambidex help`.

use ambidex_core::ErrorKind;
use clap::CommandFactory;

use crate::args::Cli;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;

pub fn help(topic: &[String], console: &mut Console) -> Result<Exit, Failure> {
    if topic == ["codes"] {
        return super::print(console, &codes(console));
    }
    let mut command = Cli::command();
    // Names and usages are complete only in a built command.
    command.build();
    let mut found = &mut command;
    for word in topic {
        let known: Vec<_> = found.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        found = found.find_subcommand_mut(word).ok_or_else(|| {
            Failure::usage(format!("there is no help on `{}`", topic.join(" ")))
                .help(format!("topics are: codes, {}", known.join(", ")))
        })?;
    }
    let text = if topic.is_empty() { found.render_help() } else { found.render_long_help() };
    super::print(console, &text.to_string())
}

fn codes(console: &Console) -> String {
    let paint = console.stdout_paint();
    let mut out = format!("{}\n", paint.bold("Exit codes"));
    for (exit, meaning) in Exit::ALL {
        out.push_str(&format!("  {}  {meaning}\n", exit.code()));
    }
    out.push_str(&format!("\n{}\n", paint.bold("Error codes (in `error.code`; * a retry may help)")));
    let width = ErrorKind::ALL.iter().map(|(kind, _, _)| kind.code().len()).max().unwrap_or(0);
    for (kind, meaning, retryable) in ErrorKind::ALL {
        let mark = if *retryable { "*" } else { " " };
        out.push_str(&format!("  {:width$} {mark} {meaning}\n", kind.code()));
    }
    out
}
