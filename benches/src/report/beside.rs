//! What Ambidex does beside itself: with and without, few and many. Each figure has its target next to it.

use super::{median, number, quantile, spread, values};
use crate::beside;
use crate::orchestrate::Series;
use crate::sample::{Pair, Sample, Seen};

pub fn route(all: &[Series]) {
    println!("\n## A chat behind a route of depth 4: client CPU, µs\n");
    println!("fallback over balance over hedge over breaker over the model, which all answers come from.\n");
    println!(
        "| at once | without | with | the route's share of a call | half of all pairs | pairs | target | \
         requests per call |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for series in all {
        let shares = pairs(series, |pair| (pair.other / pair.plain - 1.0) * 100.0);
        // More than one, where a hedge was due.
        let requests = |sample: &Sample, seen: &Seen| {
            let calls = 2 * beside::done(sample.operations, series.concurrency);
            seen.requests as f64 / f64::from(calls)
        };
        println!(
            "| {} | {:.2} | {:.2} | {:.1} % | {:.1} to {:.1} | {} | at most 5 % | {:.3} |",
            series.concurrency,
            median(&pairs(series, |pair| pair.plain)),
            median(&pairs(series, |pair| pair.other)),
            median(&shares),
            quantile(&shares, 0.25),
            quantile(&shares, 0.75),
            shares.len(),
            median(&values(series, requests)),
        );
    }
}

pub fn race(all: &[Series]) {
    println!("\n## A race of 3, two losers hung up on: client CPU, µs\n");
    println!(
        "| at once | a call | a race | min to max | x a call | losers whose request arrived | hung up on | \
         target | requests open at once |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for series in all {
        let arrived = |sample: &Sample, requests: u64| {
            // A call and a winner each have one answer; all other requests are losers'.
            requests.saturating_sub(2 * u64::from(beside::done(sample.operations, series.concurrency))) as f64
        };
        println!(
            "| {} | {:.1} | {:.1} | {} | {:.2} | {:.0} | {:.0} | all | {:.0} |",
            series.concurrency,
            median(&pairs(series, |pair| pair.plain)),
            median(&pairs(series, |pair| pair.other)),
            spread(&values(series, |sample, _| of_sample(sample, |pair| pair.other))),
            median(&pairs(series, |pair| pair.other / pair.plain)),
            values(series, |sample, seen| arrived(sample, seen.requests)).iter().sum::<f64>(),
            values(series, |_, seen| seen.hung_up as f64).iter().sum::<f64>(),
            median(&values(series, |_, seen| seen.waiting_at_once as f64)),
        );
    }
}

pub fn cache(all: &[Series]) {
    println!("\n## A reply from the cache: CPU of the call, µs\n");
    println!(
        "| messages in the history | a later call of its run | min to max | target | the first call of a run | \
         min to max |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for series in all {
        println!(
            "| {} | {:.2} | {} | under 10 | {:.2} | {} |",
            series.concurrency,
            median(&pairs(series, |pair| pair.plain)),
            spread(&values(series, |sample, _| of_sample(sample, |pair| pair.plain))),
            median(&pairs(series, |pair| pair.other)),
            spread(&values(series, |sample, _| of_sample(sample, |pair| pair.other))),
        );
    }
}

pub fn queue(all: &[Series]) {
    let Some(first) = all.first() else { return };
    let few = first.concurrency;
    println!("\n## Calls behind one limit: memory and CPU of a call\n");
    println!(
        "| calls in the queue | KiB each | x {few} | coming in, µs | x {few} | its turn and its reply, µs | \
         x {few} | target of x |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    let memory = |sample: &Sample, calls: u32| {
        sample.resident_peak.saturating_sub(sample.resident_before) as f64 / f64::from(calls) / 1024.0
    };
    let entering = |sample: &Sample, _: u32| sample.queueing_seconds * 1e6 / f64::from(sample.operations);
    let turn = |sample: &Sample, _: u32| sample.cpu_seconds * 1e6 / f64::from(sample.operations);
    for series in all {
        println!(
            "| {} | {} | {} | {} | about 1: linear |",
            series.concurrency,
            figure_and_ratio(first, series, memory),
            figure_and_ratio(first, series, entering),
            figure_and_ratio(first, series, turn),
        );
    }
}

/// A median, and the median of the ratios to what `first` has in the same repetition.
fn figure_and_ratio(first: &Series, series: &Series, figure: impl Fn(&Sample, u32) -> f64) -> String {
    let figures = |series: &Series| values(series, |sample, _| figure(sample, series.concurrency));
    let (base, own) = (figures(first), figures(series));
    let ratios: Vec<f64> = own.iter().zip(&base).map(|(own, base)| own / base).collect();
    format!("{:.2} | {}", median(&own), number(median(&ratios), 2))
}

/// A figure of each pair of all samples.
fn pairs(series: &Series, figure: impl Fn(&Pair) -> f64) -> Vec<f64> {
    series.samples.iter().flat_map(|(sample, _)| &sample.pairs).map(figure).collect()
}

fn of_sample(sample: &Sample, figure: impl Fn(&Pair) -> f64) -> f64 {
    median(&sample.pairs.iter().map(figure).collect::<Vec<_>>())
}
