//! How the table is printed: a line for each fault, a column for each format.

use std::fmt::{self, Write as _};

use ambidex_fake_provider::{Demand, Fault, Wire};

use crate::case::{Case, Strikes};
use crate::expected::{Due, due};
use crate::limits;
use crate::peers::{COLUMNS, HANG, Outcome, Peers};
use crate::seen::Row;
use crate::table::{Table, Totals};
use crate::verdict::Violation;

/// The printed form of a table.
pub struct Report<'a> {
    pub table: &'a Table,
    pub peers: Option<&'a Peers>,
    /// Whether every row is printed, not only the line of its fault.
    pub rows: bool,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Limits: connect {:?}; where silence is the fault: first token {:?}, idle {:?}, pings at most {:?}.\n",
            limits::CONNECT,
            limits::FIRST_TOKEN,
            limits::IDLE,
            limits::PINGS
        )?;
        if self.rows {
            self.rows(f)?
        } else {
            self.faults(f)?
        }
        totals(f, self.table)?;
        if let Some(peers) = self.peers {
            self.peers(f, peers)?;
        }
        let faults = self.table.faults();
        if !faults.is_empty() {
            writeln!(f, "\nViolations:\n\n{faults}")?;
        }
        Ok(())
    }
}

impl Report<'_> {
    /// The faults of this table, in their order.
    fn each(&self) -> impl Iterator<Item = Fault> {
        let is_there = |fault: &Fault| self.table.rows.iter().any(|(row, _)| row.case.fault == *fault);
        Fault::all().iter().copied().filter(is_there)
    }

    fn faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Each cell is two runs: the fault strikes first attempts, or all of them. `ok 6, 3` says that both ended as \
             demanded, and how many requests each took.\n"
        )?;
        let names = Wire::ALL.map(Wire::as_str).join(" | ");
        writeln!(f, "| fault | demanded | {names} |\n|---|---|{}", "---|".repeat(Wire::ALL.len()))?;
        for fault in self.each() {
            let cells = Wire::ALL.map(|wire| self.cell(fault, wire)).join(" | ");
            writeln!(f, "| {} | {} | {cells} |", fault.name(), demanded(fault))?;
        }
        writeln!(f)
    }

    fn cell(&self, fault: Fault, wire: Wire) -> String {
        let rows: Vec<&(Row, Vec<Violation>)> = self
            .table
            .rows
            .iter()
            .filter(|(row, _)| (row.case.fault, row.case.wire) == (fault, wire))
            .collect();
        if rows.is_empty() {
            return "·".to_owned();
        }
        let holds = rows.iter().all(|(_, violations)| violations.is_empty());
        let requests: Vec<String> = rows.iter().map(|(row, _)| row.provider.requests.to_string()).collect();
        format!("{} {}", if holds { "ok" } else { "VIOLATED" }, requests.join(", "))
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | wire | struck | demanded | outcome | attempts | tools run | seconds | verdict |"
        )?;
        writeln!(f, "|---|---|---|---|---|--:|--:|--:|---|")?;
        for (row, violations) in &self.table.rows {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {:.2} | {} |",
                row.case.fault.name(),
                row.case.wire.as_str(),
                row.case.strikes.as_str(),
                demanded_of(row.case),
                outcome(row),
                row.provider.requests,
                row.ran.len(),
                row.took.as_secs_f64(),
                if violations.is_empty() { "ok" } else { "VIOLATED" },
            )?;
        }
        writeln!(f)
    }

    fn peers(&self, f: &mut fmt::Formatter<'_>, peers: &Peers) -> fmt::Result {
        let versions: Vec<String> =
            peers.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        writeln!(
            f,
            "\nThe same faults on all attempts of one call, met by {}: streamed, with their own defaults. `whole` is the \
             answer as the model said it, `cut` another or a partial one returned without an error, `nothing` an empty \
             one, `repaired` an object in place of arguments that are none, `hang` no end within {} s. **Bold** is not \
             what is demanded: an answer where there is none, or none where there is one. Broken calls, ends that say so \
             themselves and what only goes beyond our limits may be returned as sent.\n",
            versions.join(", "),
            HANG.as_secs()
        )?;
        let names = COLUMNS.map(|(library, wire)| format!("{library} {}", door(wire))).join(" | ");
        writeln!(f, "| fault | demanded | Ambidex, all formats | {names} |")?;
        writeln!(f, "|---|---|---|{}", "---|".repeat(COLUMNS.len()))?;
        for fault in self.each() {
            let outcomes = COLUMNS.map(|column| peers.outcome(column, fault));
            if outcomes.iter().all(Option::is_none) {
                continue;
            }
            let mut own = self.table.rows.iter().filter(|(row, _)| row.case.fault == fault);
            let own = if own.all(|(_, violations)| violations.is_empty()) { "ok" } else { "VIOLATED" };
            let cells = outcomes.map(|outcome| outcome.map_or("·".to_owned(), |it| peer_cell(fault, it)));
            writeln!(f, "| {} | {} | {own} | {} |", fault.name(), word(fault), cells.join(" | "))?;
        }
        let wrong = COLUMNS.map(|column| {
            let outcomes = self.each().filter_map(|fault| Some((fault, peers.outcome(column, fault)?)));
            let (all, wrong) = outcomes.fold((0, 0), |(all, wrong), (fault, outcome)| {
                (all + 1, wrong + usize::from(!is_right(fault, outcome)))
            });
            format!("{wrong} of {all}")
        });
        writeln!(f, "| not as demanded | | | {} |", wrong.join(" | "))
    }
}

/// What a library calls the format.
fn door(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi => "chat",
        Wire::Responses => "responses",
        Wire::Anthropic => "messages",
        Wire::Gemini | Wire::Ollama => wire.as_str(),
    }
}

fn peer_cell(fault: Fault, outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Whole if fault.name().starts_with("redirect") => "followed".to_owned(),
        Outcome::Whole => "whole".to_owned(),
        Outcome::Repaired => "repaired".to_owned(),
        Outcome::Other if may_return(fault) => "as sent".to_owned(),
        Outcome::Other => "cut".to_owned(),
        Outcome::Nothing => "nothing".to_owned(),
        Outcome::Error(name) => name.clone(),
        Outcome::Hang => "hang".to_owned(),
    };
    if is_right(fault, outcome) { text } else { format!("**{text}**") }
}

/// Whether a library that runs no tools may return what was sent: it says by itself what is wrong with it, or it is
/// no more than our limits allow.
fn may_return(fault: Fault) -> bool {
    let says_so = matches!(fault, Fault::FinishLength | Fault::ContentFilter | Fault::Refusal);
    let calls = matches!(fault, Fault::DuplicateIdEqual | Fault::DuplicateIdUnequal);
    let ours = matches!(fault, Fault::HugeEvent | Fault::HugeAnswer);
    says_so || calls || ours || fault.demand() == Demand::Withhold
}

fn is_right(fault: Fault, outcome: &Outcome) -> bool {
    match (fault.demand(), outcome) {
        (_, Outcome::Hang | Outcome::Repaired) => false,
        (Demand::Whole, Outcome::Whole) => true,
        (Demand::Whole, Outcome::Other) => may_return(fault),
        (Demand::Whole, _) => false,
        (Demand::Unusable | Demand::Final | Demand::Withhold, Outcome::Error(_)) => true,
        (Demand::Unusable | Demand::Final | Demand::Withhold, _) => may_return(fault),
    }
}

fn word(fault: Fault) -> &'static str {
    match fault.demand() {
        Demand::Whole => "whole",
        Demand::Unusable => "unusable",
        Demand::Final => "final",
        Demand::Withhold => "withhold",
    }
}

/// What is demanded of a fault in all formats; where one differs, it is named.
fn demanded(fault: Fault) -> String {
    let phrase = |wire: Wire| match due(fault, wire) {
        Due::Whole => "delivered".to_owned(),
        Due::Again { codes, .. } => format!("retried; in the end {}", codes.join(" or ")),
        Due::Fail { code } => format!("fails at once: {code}"),
        Due::Withhold { code } => format!("{code} to the model"),
        Due::GoOn => "gone on with; never a result".to_owned(),
    };
    let wires = fault.wires();
    let Some(&first) = wires.first() else { return String::new() };
    let common = phrase(first);
    let mut text = format!("{}: {common}", word(fault));
    for &wire in wires.iter().filter(|wire| phrase(**wire) != common) {
        let _ = write!(text, " ({}: {})", wire.as_str(), phrase(wire));
    }
    text
}

fn demanded_of(case: Case) -> String {
    let word = word(case.fault);
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

/// What a line of the totals says of some rows.
type Measure = (&'static str, fn(&Totals) -> String);

const MEASURES: [Measure; 12] = [
    ("rows", |it| it.rows.to_string()),
    ("rows violated", |it| it.violated.to_string()),
    ("requests, of which struck by the fault", |it| format!("{}, {}", it.requests, it.struck)),
    ("truncated answers reported as whole", |it| it.not_whole.to_string()),
    ("tools run, of which on partial arguments", |it| format!("{}, {}", it.tools_run, it.partial_arguments)),
    ("longest stall beyond its limit (1 s is allowed)", |it| {
        format!("{:.3} s", it.longest_stall.as_secs_f64())
    }),
    ("how late this process was to wake up meanwhile, at worst", |it| {
        format!("{:.3} s", it.lateness.as_secs_f64())
    }),
    ("answers given up in silence, hang-ups seen of them", |it| format!("{}, {}", it.given_up, it.hangups)),
    ("sockets open at the end, besides those resting in the pool", |it| it.sockets_held.to_string()),
    ("sockets open after the client was dropped", |it| it.sockets_left.to_string()),
    ("redirects followed", |it| it.redirects.to_string()),
    ("our requests that a strict vendor refuses", |it| it.refused.to_string()),
];

fn totals(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    let names = Wire::ALL.map(Wire::as_str).join(" | ");
    writeln!(f, "| total | {names} | all |\n|---|{}--:|", "--:|".repeat(Wire::ALL.len()))?;
    let each = Wire::ALL.map(|wire| table.totals_of(Some(wire)));
    let all = table.totals();
    for (name, measure) in MEASURES {
        let cells = each.iter().chain([&all]).map(measure).collect::<Vec<_>>().join(" | ");
        writeln!(f, "| {name} | {cells} |")?;
    }
    writeln!(f, "\n{:.1} s in all.", table.took.as_secs_f64())
}
