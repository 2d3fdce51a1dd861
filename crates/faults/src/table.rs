//! All rows and their totals.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex::Error;
use ambidex_fake_provider::Wire;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::{Case, Strikes};
use crate::expected::{Due, due};
use crate::limits;
use crate::run::{self, Connect};
use crate::seen::Row;
use crate::verdict::{Kind, Violation, stalls, violations};

/// Rows under way at once.
const AT_ONCE: usize = 24;

/// Every row with what is wrong with it.
#[derive(Debug, Default)]
pub struct Table {
    pub rows: Vec<(Row, Vec<Violation>)>,
    /// Rows that could not be carried out.
    pub lost: Vec<String>,
    pub took: Duration,
}

impl Table {
    /// Carries out these rows.
    pub async fn of(cases: Vec<Case>, connect: Arc<dyn Connect>) -> Self {
        let started = Instant::now();
        let order = |case: &Case| cases.iter().position(|it| it == case);
        let mut table = Self::default();
        // Silence is measured, so its rows run before the machine has other work.
        let is_silent = |case: &Case| limits::of_silence(case.fault).is_some();
        let (silent, mut others): (Vec<Case>, Vec<Case>) = cases.iter().partition(|case| is_silent(case));
        others.sort_by_key(|case| std::cmp::Reverse(waiting_time(*case)));
        for cases in [silent, others] {
            table.carry_out(cases, &connect).await;
        }
        table.rows.sort_by_key(|(row, _)| order(&row.case));
        table.took = started.elapsed();
        table
    }

    async fn carry_out(&mut self, cases: Vec<Case>, connect: &Arc<dyn Connect>) {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for case in cases {
            let (permits, connect) = (permits.clone(), connect.clone());
            tasks.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let row = run::row(case, &*connect).await;
                row.map_err(|error: Error| format!("{}: {error}", case.name()))
            });
        }
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(row)) => {
                    let violations = violations(&row);
                    self.rows.push((row, violations));
                }
                Ok(Err(lost)) => self.lost.push(lost),
                Err(error) => self.lost.push(error.to_string()),
            }
        }
    }

    /// Whether every row is as it should be.
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.rows.iter().all(|(_, violations)| violations.is_empty())
    }

    /// The rows that are not, one a line, each with what is wrong.
    pub fn faults(&self) -> String {
        let mut text = String::new();
        for (row, violations) in &self.rows {
            for violation in violations {
                let _ = writeln!(text, "{}: {violation}", row.case.name());
            }
        }
        for lost in &self.lost {
            let _ = writeln!(text, "{lost}");
        }
        text
    }

    pub fn totals(&self) -> Totals {
        self.totals_of(None)
    }

    /// The totals of the rows in this format.
    pub fn totals_of(&self, wire: Option<Wire>) -> Totals {
        let all: Vec<&(Row, Vec<Violation>)> =
            self.rows.iter().filter(|(row, _)| wire.is_none_or(|wire| row.case.wire == wire)).collect();
        let sum = |of: &dyn Fn(&Row) -> usize| all.iter().map(|(row, _)| of(row)).sum();
        let count = |kind: Kind| all.iter().flat_map(|(_, all)| all).filter(|it| it.kind == kind).count();
        let is_silent = |row: &Row| limits::of_silence(row.case.fault).is_some();
        let silent = || all.iter().map(|(row, _)| row).filter(|row| is_silent(row));
        // A row that was lost belongs to no format that is known.
        let lost = if wire.is_none() { self.lost.len() } else { 0 };
        Totals {
            rows: all.len() + lost,
            violated: all.iter().filter(|(_, violations)| !violations.is_empty()).count() + lost,
            requests: sum(&|row| row.provider.requests),
            struck: sum(&|row| row.provider.struck),
            not_whole: count(Kind::NotWhole),
            partial_arguments: count(Kind::PartialArguments),
            tools_run: sum(&|row| row.ran.len()),
            longest_stall: silent().flat_map(stalls).max().unwrap_or_default(),
            lateness: silent().map(|row| row.lateness).max().unwrap_or_default(),
            given_up: silent().map(|row| row.provider.struck).sum(),
            hangups: silent().map(|row| row.provider.hangups.len()).sum(),
            sockets_held: sum(&|row| row.sockets_held),
            sockets_left: sum(&|row| row.sockets_left),
            redirects: sum(&|row| row.provider.redirected),
            refused: sum(&|row| row.provider.refusals.len()),
            took: self.took,
        }
    }
}

/// What all rows come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    pub rows: usize,
    pub violated: usize,
    pub requests: usize,
    pub struck: usize,
    /// Successes that are not what the model said.
    pub not_whole: usize,
    pub partial_arguments: usize,
    pub tools_run: usize,
    /// Beyond the limit.
    pub longest_stall: Duration,
    /// How late this process was at worst to wake up meanwhile.
    pub lateness: Duration,
    pub given_up: usize,
    pub hangups: usize,
    pub sockets_held: usize,
    pub sockets_left: usize,
    pub redirects: usize,
    pub refused: usize,
    pub took: Duration,
}

/// Roughly how long a row waits by its nature: the long ones begin first.
fn waiting_time(case: Case) -> Duration {
    let times = if case.strikes == Strikes::First { 3 } else { 2 };
    match due(case.fault, case.wire) {
        Due::Again { wait, .. } => wait * times,
        _ => Duration::ZERO,
    }
}
