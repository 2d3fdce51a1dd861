//! Samples as Markdown tables. Figures are medians over the repetitions. A ratio is the median of the
//! ratios within each repetition, where both contenders met the same state of the machine.

mod beside;

use crate::contender::Name;
use crate::orchestrate::Series;
use crate::sample::{Sample, Seen, Turn};
use crate::scenario::Scenario;

/// The turns of a long run that are shown, each with how many turns on both sides count for it.
const TURNS: [(u32, u32); 4] = [(1, 0), (10, 2), (100, 5), (1_000, 10)];

pub fn print(scenario: Scenario, all: &[Series]) {
    match scenario {
        Scenario::Chat => cpu("A chat of one call: client CPU, µs", all),
        Scenario::Agent => cpu("An agent run of 3 rounds x 2 tools, 4 calls: client CPU, µs", all),
        Scenario::Tokens => cpu("A streamed token, 500 in one reply: client CPU, µs", all),
        Scenario::Waiting => waiting(all),
        Scenario::Long => long(all),
        Scenario::Route => beside::route(all),
        Scenario::Race => beside::race(all),
        Scenario::Cache => beside::cache(all),
        Scenario::Queue => beside::queue(all),
    }
    if scenario.has_upstream() {
        sent(all);
    }
}

fn cpu(title: &str, all: &[Series]) {
    println!("\n## {title}\n");
    println!(
        "| at once | contender | median | min to max | in user mode | x reqwest | x hyper | per second |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|");
    for series in all {
        let units = f64::from(series.scenario.units());
        let per_unit = |sample: &Sample| sample.cpu_seconds * 1e6 / f64::from(sample.operations) / units;
        let costs = values(series, |sample, _| per_unit(sample));
        let user = values(series, |sample, _| sample.user_seconds / sample.cpu_seconds * 100.0);
        let rate = values(series, |sample, _| f64::from(sample.operations) * units / sample.wall_seconds);
        println!(
            "| {} | {} | {:.2} | {} | {:.0} % | {} | {} | {:.0} |",
            series.concurrency,
            series.contender,
            median(&costs),
            spread(&costs),
            median(&user),
            ratio(all, series, Name::Reqwest, per_unit),
            ratio(all, series, Name::Hyper, per_unit),
            median(&rate),
        );
    }
}

fn waiting(all: &[Series]) {
    let (Some(first), bytes) = (all.first(), |sample: &Sample| {
        sample.resident_peak.saturating_sub(sample.resident_before) as f64 / f64::from(sample.operations)
    }) else {
        return;
    };
    println!("\n## {} runs waiting 1 s at once: memory and wall time\n", first.concurrency);
    println!(
        "| contender | KiB per run | min to max | x hyper | x reqwest | wall s | x hyper | CPU µs per run | \
         at rest, MiB | waiting at once |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for series in all {
        let kibibytes = values(series, |sample, _| bytes(sample) / 1024.0);
        let wall = values(series, |sample, _| sample.wall_seconds);
        let cpu = values(series, |sample, _| sample.cpu_seconds * 1e6 / f64::from(sample.operations));
        let rest = values(series, |sample, _| sample.resident_before as f64 / 1_048_576.0);
        let together = values(series, |_, seen| seen.waiting_at_once as f64);
        println!(
            "| {} | {:.1} | {} | {} | {} | {:.2} | {} | {:.0} | {:.1} | {:.0} |",
            series.contender,
            median(&kibibytes),
            spread(&kibibytes),
            ratio(all, series, Name::Hyper, bytes),
            ratio(all, series, Name::Reqwest, bytes),
            median(&wall),
            ratio(all, series, Name::Hyper, |sample| sample.wall_seconds),
            median(&cpu),
            median(&rest),
            median(&together),
        );
    }
    let files = values(first, |sample, _| sample.open_files as f64);
    println!("\nLimit of open files: {:.0}.", median(&files));
}

fn long(all: &[Series]) {
    println!("\n## One long run, a tool call each turn: client CPU of turn n, µs\n");
    let turns: Vec<String> = TURNS.iter().map(|(turn, _)| format!("n = {turn}")).collect();
    println!("| contender | {} | turn 1000 / turn 10 |", turns.join(" | "));
    println!("|---|{}--:|", "--:|".repeat(TURNS.len()));
    for series in all {
        let whole = TURNS.map(|turn| median(&turn_costs(series, turn, |sample| &sample.turns)));
        let bare = TURNS.map(|turn| median(&turn_costs(series, turn, |sample| &sample.bare_turns)));
        let own = std::array::from_fn(|place| whole[place] - bare[place]);
        print_turns(&series.contender.to_string(), whole);
        print_turns("bare client beside it", bare);
        print_turns("its own work: the difference", own);
    }
}

fn print_turns(what: &str, costs: [f64; 4]) {
    let cells = costs.map(|cost| number(cost, 1));
    let [_, tenth, _, thousandth] = costs;
    println!("| {what} | {} | {} |", cells.join(" | "), number(thousandth / tenth, 2));
}

/// A figure, or a dash for what was not measured.
fn number(value: f64, places: usize) -> String {
    if value.is_finite() { format!("{value:.places$}") } else { "–".to_owned() }
}

/// The CPU of turn `number` in all runs of all samples, and of its neighbours.
fn turn_costs(series: &Series, (number, around): (u32, u32), turns: fn(&Sample) -> &[Turn]) -> Vec<f64> {
    let turns = series.samples.iter().flat_map(|(sample, _)| turns(sample));
    turns.filter(|turn| turn.number.abs_diff(number) <= around).map(|turn| turn.microseconds).collect()
}

/// What the upstream saw: proof that all did the same exchanges.
fn sent(all: &[Series]) {
    println!("\nSeen by the upstream in the last sample, warm-up included:\n");
    println!("| at once | contender | requests | bytes of body each | largest body | connections |");
    println!("|--:|---|--:|--:|--:|--:|");
    for series in all {
        let Some((_, seen)) = series.samples.last() else { continue };
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            series.concurrency,
            series.contender,
            seen.requests,
            seen.body_bytes / seen.requests.max(1),
            seen.largest_body,
            seen.connections,
        );
    }
}

fn values(series: &Series, value: impl Fn(&Sample, &Seen) -> f64) -> Vec<f64> {
    series.samples.iter().map(|(sample, seen)| value(sample, seen)).collect()
}

/// The median over the repetitions of `series` divided by `other` at the same concurrency.
fn ratio(all: &[Series], series: &Series, other: Name, value: impl Fn(&Sample) -> f64) -> String {
    let same =
        |candidate: &&Series| candidate.contender == other && candidate.concurrency == series.concurrency;
    let Some(other) = all.iter().find(same) else { return "–".to_owned() };
    let pairs = series.samples.iter().zip(&other.samples);
    let ratios: Vec<f64> = pairs.map(|((ours, _), (theirs, _))| value(ours) / value(theirs)).collect();
    format!("{:.2}", median(&ratios))
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(below), Some(above)) if sorted.len().is_multiple_of(2) => (below + above) / 2.0,
        (_, Some(value)) => *value,
        (_, None) => f64::NAN,
    }
}

/// The value below which this part of them lies.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (part * sorted.len().saturating_sub(1) as f64).round();
    sorted.get(place as usize).copied().unwrap_or(f64::NAN)
}

pub fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{least:.2} to {most:.2}")
}
