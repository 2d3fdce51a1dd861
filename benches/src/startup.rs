//! The CPU of `ambidex version`, from exec to exit.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::report::{median, spread};
use crate::{Result, machine};

const STARTS: u32 = 20;

#[derive(clap::Args)]
pub struct Options {
    /// The `ambidex` command
    binary: PathBuf,
}

pub fn run(options: &Options) -> Result<()> {
    print(&options.binary)
}

/// The `ambidex` of the same build, if there is one.
pub fn binary_beside() -> Option<PathBuf> {
    let binary = env::current_exe().ok()?.with_file_name("ambidex");
    binary.exists().then_some(binary)
}

pub fn print(binary: &Path) -> Result<()> {
    start(binary)?;
    let mut milliseconds = Vec::new();
    for _ in 0..STARTS {
        milliseconds.push(start(binary)?);
    }
    println!("\n## Start\n");
    println!("| command | CPU ms, median of {STARTS} | min to max |\n|---|--:|--:|");
    println!("| `ambidex version` | {:.2} | {} |", median(&milliseconds), spread(&milliseconds));
    Ok(())
}

/// Milliseconds of CPU from exec to exit.
fn start(binary: &Path) -> Result<f64> {
    let before = machine::children_cpu()?;
    let status =
        Command::new(binary).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(
            |error| {
                format!("{}: {error}; build it first: cargo build --release -p ambidex-cli", binary.display())
            },
        )?;
    if !status.success() {
        return Err(format!("`{} version` ended with {status}", binary.display()).into());
    }
    Ok(machine::children_cpu()?.since(before).total().as_secs_f64() * 1_000.0)
}
