//! Routes beside the model they end at: the same chat through both, in turns.

use std::sync::Arc;

use ambidex::models::{Balance, Breaker, BreakerPolicy, Fallback, Hedge, Pick, Race, Stagger, Winner};
use ambidex::{Engine, Model};

use crate::ambidex::{Ambidex, Provider};
use crate::contender::Setup;
use crate::measure::{Bench, Job};
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::script::Script;
use crate::{Result, beside};

/// What a loser of a race would take for its reply.
const LOSER: Script = Script::Wait { milliseconds: 600_000 };

#[tokio::main(worker_threads = 2)]
pub async fn measure(job: &Job) -> Result<Sample> {
    let setup = job.setup();
    let provider = Provider::new(&setup)?;
    let plain = provider.model(&setup.model)?;
    let route: Arc<dyn Model> = match job.scenario {
        Scenario::Race => Arc::new(race_of_three(&provider, plain.clone())?),
        _ => Arc::new(depth_four(&provider, &setup)?),
    };
    let engine = Engine::default();
    let plain = Bench::new(Ambidex::over(plain, &setup, &engine)?, job.setup(), job);
    let route = Bench::new(Ambidex::over(route, &setup, &engine)?, job.setup(), job);
    let pairs = beside::turns(
        job.operations,
        job.concurrency,
        async |operations| plain.runs(job.concurrency, operations).await,
        async |operations| route.runs(job.concurrency, operations).await,
    )
    .await?;
    Ok(Sample { operations: job.operations, pairs, ..Sample::default() })
}

/// Every route has a second target, so it has something to choose from, and every model a breaker.
fn depth_four(provider: &Provider, setup: &Setup) -> Result<Fallback> {
    let hedge = |name: &str| -> Result<Arc<dyn Model>> {
        Ok(Arc::new(Hedge::new(
            name,
            Stagger::default(),
            [guarded(provider, setup)?, guarded(provider, setup)?],
        )))
    };
    let pool = Arc::new(Balance::new("pool", Pick::RoundRobin, [hedge("left")?, hedge("right")?]));
    Ok(Fallback::new("smart", [pool, guarded(provider, setup)?]))
}

fn guarded(provider: &Provider, setup: &Setup) -> Result<Arc<dyn Model>> {
    Ok(Arc::new(Breaker::new(provider.model(&setup.model)?, BreakerPolicy::default())))
}

/// The winner and two that would still be waiting for their reply.
fn race_of_three(provider: &Provider, winner: Arc<dyn Model>) -> Result<Race> {
    let loser = || provider.model(&LOSER.model());
    Ok(Race::new("first", Winner::FirstToken, [loser()?, winner, loser()?]))
}
