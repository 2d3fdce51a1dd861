//! Runs that rest: answers to what a person was asked, and going on.

use std::sync::Arc;

use ambidex_core::budget::Grant;
use ambidex_core::definition::Definition;
use ambidex_core::question::{Answer as CoreAnswer, AnswerError};
use ambidex_core::record::{Input, Pause};
use ambidex_core::run::Phase;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::{Agent, Engine, Graph, RunOptions};

use crate::asked::Asked;
use crate::bridge::{Caller, Failure};
use crate::failure;
use crate::process;
use crate::result::RunResult;

/// Answers a question of a run.
pub(crate) async fn answer(engine: Engine, question: String, answer: CoreAnswer) -> Result<(), Failure> {
    engine.answer(&question, answer).await.map_err(|refused| {
        let text = format!("question `{question}`: {refused}");
        match refused {
            // The class of its code would be that of models.
            AnswerError::Unknown => Failure::Python(failure::usage(&format!(
                "{text}; open are those of `result.questions` and of events `approval.asked` and `relay.asked`, in \
                 the process that asked them"
            ))),
            AnswerError::Store(_) => Error::new(ErrorKind::StoreFailed, text).into(),
            AnswerError::AlreadyAnswered | AnswerError::Withdrawn | AnswerError::Invalid(_) => {
                Error::new(ErrorKind::InvalidRequest, text).into()
            }
        }
    })
}

/// Goes on with a run that waits or is paused. A paused one is granted something.
pub(crate) async fn resume(
    agent: Agent,
    run: String,
    grant: Option<Grant>,
    options: RunOptions,
    caller: Arc<Caller>,
) -> Result<RunResult, Failure> {
    let asked = Asked::new(&caller);
    let grant = match grant {
        Some(grant) => Some(grant),
        None => wanted(agent.engine(), &run).await?,
    };
    let inputs = grant.map(Input::Resume).into_iter().collect();
    let resumed = agent.resume(&run, inputs, asked.options(options)).await;
    let handle = resumed.map_err(|error| Failure::Core(error.context(format!("run `{run}`"))))?;
    if let Some(process) = process::existing() {
        process.resting().resumed(&run);
    }
    asked.settle_run(handle.outcome().await).map(RunResult::new)
}

/// The same of a graph's run.
pub(crate) async fn resume_graph(
    graph: Graph,
    run: String,
    grant: Option<Grant>,
    options: RunOptions,
    caller: Arc<Caller>,
) -> Result<RunResult, Failure> {
    let asked = Asked::new(&caller);
    let grant = match grant {
        Some(grant) => Some(grant),
        None => wanted(graph.engine(), &run).await?,
    };
    let inputs = grant.map(Input::Resume).into_iter().collect();
    let resumed = graph.resume(&run, inputs, asked.options(options)).await;
    let handle = resumed.map_err(|error| Failure::Core(error.context(format!("run `{run}`"))))?;
    if let Some(process) = process::existing() {
        process.resting().resumed(&run);
    }
    asked.settle_run(handle.outcome().await).map(RunResult::new)
}

/// What a run that is paused needs to go on, where nothing is said: as many iterations as it had.
async fn wanted(engine: &Engine, run: &str) -> Result<Option<Grant>, Failure> {
    let state = engine.run_at(run, None).await.map_err(|error| error.context(format!("run `{run}`")))?;
    let iterations = match state.phase() {
        Phase::Paused(Pause::MaxIterations) => match &*state.definition().definition {
            Definition::Agent(agent) => agent.max_iterations,
            Definition::Graph(graph) => graph.max_steps,
        },
        Phase::Paused(_) => 0,
        _ => return Ok(None),
    };
    Ok(Some(Grant { iterations, ..Grant::default() }))
}
