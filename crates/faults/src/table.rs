//! All rows, their totals, and how they are printed.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex::Error;
use ambidex_fake_provider::Demand;
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

    /// How many violations of this kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.rows.iter().flat_map(|(_, all)| all).filter(|violation| violation.kind == kind).count()
    }

    pub fn totals(&self) -> Totals {
        let sum = |of: &dyn Fn(&Row) -> usize| self.rows.iter().map(|(row, _)| of(row)).sum();
        let is_silent = |row: &Row| limits::of_silence(row.case.fault).is_some();
        let silent = || self.rows.iter().map(|(row, _)| row).filter(|row| is_silent(row));
        Totals {
            rows: self.rows.len() + self.lost.len(),
            violated: self.rows.iter().filter(|(_, violations)| !violations.is_empty()).count()
                + self.lost.len(),
            requests: sum(&|row| row.provider.requests),
            struck: sum(&|row| row.provider.struck),
            not_whole: self.count(Kind::NotWhole),
            partial_arguments: self.count(Kind::PartialArguments),
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

/// The last lines of the table.
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

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Limits: connect {:?}; where silence is the fault: first token {:?}, idle {:?}, pings at most {:?}.\n",
            limits::CONNECT,
            limits::FIRST_TOKEN,
            limits::IDLE,
            limits::PINGS
        )?;
        writeln!(
            f,
            "| fault | wire | struck | demanded | outcome | attempts | tools run | seconds | verdict |"
        )?;
        writeln!(f, "|---|---|---|---|---|--:|--:|--:|---|")?;
        for (row, violations) in &self.rows {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {:.2} | {} |",
                row.case.fault.name(),
                row.case.wire.as_str(),
                row.case.strikes.as_str(),
                demanded(row.case),
                outcome(row),
                row.provider.requests,
                row.ran.len(),
                row.took.as_secs_f64(),
                if violations.is_empty() { "ok" } else { "VIOLATED" },
            )?;
        }
        writeln!(f, "\n{}", self.totals())?;
        let faults = self.faults();
        if !faults.is_empty() {
            writeln!(f, "\nViolations:\n\n{faults}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| total | |\n|---|--:|")?;
        writeln!(f, "| rows | {} |", self.rows)?;
        writeln!(f, "| rows violated | {} |", self.violated)?;
        writeln!(f, "| requests, of which struck by the fault | {}, {} |", self.requests, self.struck)?;
        writeln!(f, "| truncated answers reported as whole | {} |", self.not_whole)?;
        writeln!(
            f,
            "| tools run, of which on partial arguments | {}, {} |",
            self.tools_run, self.partial_arguments
        )?;
        let (longest, late) = (self.longest_stall.as_secs_f64(), self.lateness.as_secs_f64());
        writeln!(f, "| longest stall beyond its limit (1 s is allowed) | {longest:.3} s |")?;
        writeln!(f, "| how late this process was to wake up meanwhile, at worst | {late:.3} s |")?;
        writeln!(
            f,
            "| answers given up in silence, hang-ups seen of them | {}, {} |",
            self.given_up, self.hangups
        )?;
        writeln!(
            f,
            "| sockets open at the end, besides those resting in the pool | {} |",
            self.sockets_held
        )?;
        writeln!(f, "| sockets open after the client was dropped | {} |", self.sockets_left)?;
        writeln!(f, "| redirects followed | {} |", self.redirects)?;
        writeln!(f, "| our requests that a strict vendor refuses | {} |", self.refused)?;
        write!(f, "| seconds in all | {:.1} |", self.took.as_secs_f64())
    }
}

fn demanded(case: Case) -> String {
    let word = match case.fault.demand() {
        Demand::Whole => "whole",
        Demand::Unusable => "unusable",
        Demand::Final => "final",
        Demand::Withhold => "withhold",
    };
    match (due(case.fault, case.wire), case.strikes) {
        (Due::Whole, _) => format!("{word}: delivered"),
        (Due::Again { .. }, Strikes::First) => format!("{word}: retried, succeeds"),
        (Due::Again { codes, .. }, Strikes::Always) => format!("{word}: fails, {}", codes.join(" or ")),
        (Due::Fail { code }, _) => format!("{word}: fails at once, {code}"),
        (Due::Withhold { code }, _) => format!("{word}: {code} to the model"),
        (Due::GoOn, Strikes::First) => format!("{word}: gone on with, succeeds"),
        (Due::GoOn, Strikes::Always) => format!("{word}: never completed"),
    }
}

fn outcome(row: &Row) -> String {
    let status = row.status.map_or("hung", |status| status.as_str());
    match &row.code {
        Some(code) => format!("{status} {code}"),
        None => status.to_owned(),
    }
}
