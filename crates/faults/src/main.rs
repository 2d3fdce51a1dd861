//! Prints the table. Exit code 1 where a row is violated.

use std::process::ExitCode;
use std::sync::Arc;

use ambidex_faults::{Case, Provider, Table};

#[tokio::main]
async fn main() -> ExitCode {
    let table = Table::of(Case::all(), Arc::new(Provider)).await;
    println!("{table}");
    if table.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
