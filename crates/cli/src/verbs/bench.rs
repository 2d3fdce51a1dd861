//! `ambidex models bench`: models and routes side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use ambidex_config::{CacheKind, Environment};
use ambidex_core::ErrorKind;
use ambidex_engine::project::Project;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::{BenchArgs, Common};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::hint::hint;
use crate::interrupts::Interrupts;
use crate::project;
use crate::show::{number, pretty};
use crate::table::table;

use super::models::{Called, call, check_not_human, configured};

/// Of one call; a model's own limits are shorter.
const LIMIT: Duration = Duration::from_secs(3600);

pub async fn bench(
    args: &BenchArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let stop = CancellationToken::new();
    interrupts.guard(stop.clone());
    let mut loaded = project::load(common, false)?;
    // The models are to be compared, and it has none to answer.
    loaded.config.cache.kind = CacheKind::None;
    let mut project = Project::new(loaded, Environment::of_process());
    for name in &args.names {
        project::check_model(&project, Some(name))?;
        check_not_human(&project, name)?;
    }
    let names = if args.names.is_empty() { configured(&project) } else { args.names.clone() };
    let mut targets: Vec<Target> = names.into_iter().map(Target::new).collect();
    let mut models = Vec::new();
    for (at, target) in targets.iter_mut().enumerate() {
        match project.model(&target.name) {
            Ok(model) => models.push((at, model)),
            Err(error) => target.called.push(Called::failed(error)),
        }
    }
    // They take turns.
    let turns = (0..args.runs).flat_map(|_| &models);
    let (stopped, all) = (stop.clone(), args.runs as usize * models.len());
    let mut calls = stream::iter(turns)
        .take_while(|_| std::future::ready(!stopped.is_cancelled()))
        .map(|(at, model)| async { (*at, call(model, &args.prompt, None, LIMIT, &stop).await) })
        .buffer_unordered(args.concurrency as usize);
    let mut done = 0;
    loop {
        if console.stderr_is_terminal() && !console.quiet {
            console.show_transient(&format!("  {done} of {}", number::counted(all as u64, "call")));
        }
        let Some((at, called)) = calls.next().await else { break };
        let cancelled = matches!(&called.ended, Err(error) if error.kind() == ErrorKind::Cancelled);
        if !(cancelled && stop.is_cancelled()) {
            targets[at].called.push(called);
        }
        done += 1;
    }
    console.wipe();
    let paint = console.stdout_paint();
    if args.json {
        let all = targets.iter().map(Target::object).collect();
        super::print(console, &pretty(&Value::Array(all), paint))?;
    } else {
        let rows: Vec<Vec<String>> = targets.iter().map(Target::row).collect();
        let head = ["TARGET", "FIRST TOKEN", "TOTAL", "P95", "TOKENS/S", "COST/CALL", "FAILED"];
        super::print(console, &table(&head, &rows, paint))?;
        targets.iter().for_each(|target| target.tell_failures(console));
    }
    let dead = targets.iter().any(|target| target.whole().next().is_none());
    Ok(match () {
        () if stop.is_cancelled() => Exit::Cancelled,
        () if dead => Exit::Failed,
        () => Exit::Done,
    })
}

struct Target {
    name: String,
    called: Vec<Called>,
}

impl Target {
    fn new(name: String) -> Self {
        Self { name, called: Vec::new() }
    }

    /// The calls with a whole answer.
    fn whole(&self) -> impl Iterator<Item = &Called> {
        self.called.iter().filter(|called| called.ended.is_ok())
    }

    fn failed(&self) -> usize {
        self.called.len() - self.whole().count()
    }

    /// Of the answers' values, the one that this share of them does not exceed.
    fn at(&self, share: f64, value: impl Fn(&Called) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.whole().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied()
    }

    fn first_token(&self) -> Option<f64> {
        self.at(0.5, |called| called.first_token.map(|time| time.as_secs_f64()))
    }

    fn total(&self, share: f64) -> Option<f64> {
        self.at(share, |called| Some(called.total.as_secs_f64()))
    }

    fn tokens_per_second(&self) -> Option<f64> {
        self.at(0.5, |called| {
            let tokens = called.usage.output_tokens as f64;
            (tokens > 0.0).then(|| tokens / called.total.as_secs_f64().max(1e-6))
        })
    }

    /// All that was spent, for failures too.
    fn usd(&self) -> Option<f64> {
        self.called.iter().filter_map(|called| called.usage.usd).reduce(|sum, usd| sum + usd)
    }

    fn row(&self) -> Vec<String> {
        let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), number::seconds);
        let estimated = self.whole().any(|called| called.usage.estimated);
        let about = if estimated { "~" } else { "" };
        let speed = self.tokens_per_second();
        let cost = self.usd().map(|usd| usd / self.called.len() as f64);
        vec![
            self.name.clone(),
            time(self.first_token()),
            time(self.total(0.5)),
            time(self.total(0.95)),
            speed.map_or_else(|| "-".to_owned(), |speed| format!("{about}{speed:.0}")),
            cost.map_or_else(|| "-".to_owned(), |usd| format!("{about}{}", number::dollars(usd))),
            format!("{} of {}", self.failed(), self.called.len()),
        ]
    }

    fn codes(&self) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::new();
        for error in self.called.iter().filter_map(|called| called.ended.as_ref().err()) {
            *codes.entry(error.code()).or_insert(0) += 1;
        }
        codes
    }

    /// The first failure of each kind.
    fn tell_failures(&self, console: &mut Console) {
        for (code, times) in self.codes() {
            let errors = self.called.iter().filter_map(|called| called.ended.as_ref().err());
            if let Some(error) = errors.into_iter().find(|error| error.code() == code) {
                let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
                console.error(&format!("{}: {} [{code}]{times}", self.name, error.message()), hint(error));
            }
        }
    }

    fn object(&self) -> Value {
        let sum = |of: fn(&Called) -> u64| self.called.iter().map(of).sum::<u64>();
        json!({
            "name": self.name,
            "calls": self.called.len(),
            "failed": self.failed(),
            "errors": self.codes(),
            "first_token_seconds": { "median": self.first_token() },
            "seconds": { "median": self.total(0.5), "p95": self.total(0.95) },
            "tokens_per_second": self.tokens_per_second(),
            "input_tokens": sum(|called| called.usage.input_tokens),
            "output_tokens": sum(|called| called.usage.output_tokens),
            "usd": self.usd(),
        })
    }
}
