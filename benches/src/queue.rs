//! Calls that wait behind one limit of one call at once, each a task in a run of its own, with a deadline and
//! watchers.

use std::sync::Arc;
use std::time::Duration;

use ambidex::models::{Limit, Limiter, Limits};
use ambidex::{Context, EventKind, Model, Request};
use ambidex_core::context::{EventSink, RunScope};
use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::canned::{Canned, text_bytes};
use crate::measure::{Job, expect};
use crate::sample::Sample;
use crate::script::{ANSWER_TOKENS, Script};
use crate::toolbox::TASK;
use crate::{Result, machine};

const DEADLINE: Duration = Duration::from_secs(600);
/// Calls of the first round, which is not looked at: code and thread are in place after it.
const WARM_UP: u32 = 50;

/// The CPU is that of all rounds from the moment the place was free, by call. The memory is that of the first.
#[tokio::main(flavor = "current_thread")]
pub async fn measure(job: &Job) -> Result<Sample> {
    let model = Canned::new();
    round(&model, WARM_UP).await?;
    let rounds = (job.operations / job.concurrency).max(1);
    let mut sample = round(&model, job.concurrency).await?;
    for _ in 1..rounds {
        let round = round(&model, job.concurrency).await?;
        sample.cpu_seconds += round.cpu_seconds;
        sample.queueing_seconds += round.queueing_seconds;
    }
    sample.operations = job.concurrency * rounds;
    Ok(sample)
}

async fn round(model: &Arc<Canned>, calls: u32) -> Result<Sample> {
    let limits = Limits { concurrent: Some(1), queue: Some(calls), ..Limits::default() };
    let limiter = Arc::new(Limiter::new("bench", limits));
    let limit = Limit::new(model.clone(), limiter.clone());
    let request = Request::user(TASK);
    let mut place = limit.stream(request.clone(), context("first"));
    place.next().await.ok_or("the first call was not let in")??;

    let (resident_before, start) = (machine::resident_bytes()?, machine::cpu_nanoseconds()?);
    let mut waiting = JoinSet::new();
    for number in 0..calls {
        let (limit, request) = (limit.clone(), request.clone());
        waiting.spawn(async move {
            // Made here, where a run makes it.
            let context = context(&format!("run-{number}"));
            text_bytes(limit.stream(request, context)).await
        });
    }
    // One thread: the calls come in while this one stands back.
    while limiter.waiting() < calls as usize {
        tokio::task::yield_now().await;
    }
    let (resident_peak, queued) = (machine::resident_bytes()?, machine::cpu_nanoseconds()?);

    drop(place);
    let answer = Script::Chat { tokens: ANSWER_TOKENS }.answer_bytes();
    while let Some(text) = waiting.join_next().await {
        expect("bytes of text", answer, text??)?;
    }
    let done = machine::cpu_nanoseconds()?;
    let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
    Ok(Sample {
        operations: calls,
        cpu_seconds: seconds(queued, done),
        queueing_seconds: seconds(start, queued),
        resident_before,
        resident_peak,
        ..Sample::default()
    })
}

fn context(run: &str) -> Context {
    let sink: Arc<dyn EventSink> = Arc::new(Nobody);
    let scope = RunScope { run: run.into(), sink: Some(sink), ..RunScope::default() };
    Context::new(Arc::new(scope), "m1".into(), 1, CancellationToken::new(), Some(DEADLINE))
}

/// A watcher that forgets.
struct Nobody;

impl EventSink for Nobody {
    fn emit(&self, _: &Arc<str>, _: u32, _: EventKind) {}
}
