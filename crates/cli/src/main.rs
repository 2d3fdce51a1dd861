//! The binary `ambidex`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ambidex_cli::main_with_args(std::env::args_os()).into()
}
