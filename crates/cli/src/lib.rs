//! The command line of Ambidex. The binary only calls [`main_with_args`].
//!
//! `args` says what may be typed, `verbs` has a file for each verb, `show` turns events into lines,
//! `markdown` turns a model's words into a terminal's. [`Exit`] is the table of exit codes.

mod approvals;
mod args;
mod console;
mod exit;
mod failure;
mod form;
mod hint;
mod input;
mod interrupts;
mod markdown;
mod paint;
mod project;
mod relay;
mod show;
mod store;
mod table;
mod thread_args;
mod verbs;

use std::ffi::OsString;

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;

pub use exit::Exit;

use crate::args::Cli;
use crate::console::Console;
use crate::failure::Failure;

/// Carries out one command line, whose first word is the program's name, and says how it ended.
/// Never panics, and a reader that closes our stdout ends it quietly.
pub fn main_with_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let mut console = Console::of_process(cli.common.quiet);
    let ended = verbs::carry_out(cli, &mut console);
    match ended.and_then(|exit| console.flush().map(|()| exit).map_err(Failure::from_stdout)) {
        Ok(exit) => exit,
        Err(failure) => failure.report(&mut console),
    }
}

fn not_parsed(error: &clap::Error) -> Exit {
    let mut console = Console::of_process(false);
    let text = error.render().to_string();
    match error.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion => {
            match console.print(&text).and_then(|()| console.flush()) {
                Ok(()) => Exit::Done,
                Err(error) => Failure::from_stdout(error).report(&mut console),
            }
        }
        ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console.complain(&text);
            Exit::Usage
        }
        _ => {
            if let Some(failure) = verbs::known_better(error) {
                return failure.report(&mut console);
            }
            console.complain(text.trim_end());
            Exit::Usage
        }
    }
}
