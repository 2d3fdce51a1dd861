//! Several models as one: what is switched is said, and the answer comes all the same.
//!
//! `cargo run -p ambidex --example routes`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ambidex::models::{
    Breaker, BreakerPolicy, Fallback, Fault, Race, Retry, RetryBudget, RetryPolicy, ScriptedModel, Turn,
    Winner,
};
use ambidex::{Agent, ErrorKind, EventKind};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let down = Turn::text("never said").fault(Fault::new(ErrorKind::Overloaded).always());
    let big = Arc::new(ScriptedModel::new([down]).named("big"));
    let near = ScriptedModel::new(["Hello from nearby."]).named("near").delay(Duration::from_millis(20));
    let far = ScriptedModel::new(["Hello from afar."]).named("far").delay(Duration::from_millis(200));

    let big = Breaker::new(big, BreakerPolicy::default());
    let quick = Race::new("quick", Winner::FirstToken, [Arc::new(near) as _, Arc::new(far) as _]);
    let smart = Fallback::new("smart", [Arc::new(big) as _, Arc::new(quick) as _]);
    // Rounds over all targets, where none of them answers.
    let smart = Retry::new(Arc::new(smart), RetryPolicy::default(), Arc::new(RetryBudget::default()));

    let agent = Agent::builder().model(smart).build()?;
    let mut events = agent.stream("Say hello")?;
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::RouteSwitched { from, target, reason, .. } => println!("{from} -> {target}: {reason}"),
            EventKind::RouteRace { target, losers, .. } => println!("{target} was faster than {losers:?}"),
            EventKind::ModelDelta { text } => println!("{text}"),
            _ => {}
        }
    }
    Ok(())
}
