//! What is asked of a store, as plain data, and what it answers.

use ambidex_core::event::{Status, Timestamp};
use ambidex_core::message::Message;
use ambidex_core::question::Answer as CoreAnswer;
use ambidex_core::run::Patch;
use ambidex_core::store::{RunQuery, RunSummary, StoreError};
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::{Engine, Holder, RunResult as CoreResult};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::lazy::LazyStore;
use super::talk::Talk;
use crate::bridge::{Answer, Failure};
use crate::result::RunResult;
use crate::{convert, resume};

/// As `ambidex.store` writes them.
#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Open,
    Check,
    Runs {
        status: Vec<Status>,
        agent: Option<String>,
        thread: Option<String>,
        limit: usize,
        cursor: Option<String>,
    },
    /// A run's line and its result.
    Run {
        run: String,
    },
    Cancel {
        run: String,
    },
    Questions {
        run: Option<String>,
    },
    Answer {
        question: String,
        answer: CoreAnswer,
    },
    Checkpoints {
        run: String,
    },
    /// A run's result as it was after a record, and a graph's state; as they are, where none is named.
    At {
        run: String,
        at: Option<u64>,
    },
    /// Of threads and sessions.
    Talk {
        talk: Talk,
    },
    Fork {
        run: String,
        at: Option<u64>,
        state: Option<Map<String, Value>>,
        message: Option<Arc<Message>>,
    },
}

/// What a store answers.
pub(crate) enum Reply {
    Plain(Value),
    Run(Value, RunResult),
}

impl Answer for Reply {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Plain(value) => convert::to_python(py, &value).map(Bound::unbind),
            Self::Run(line, result) => {
                let line = convert::to_python(py, &line)?;
                Ok((line, result.into_python(py)?).into_pyobject(py)?.into_any().unbind())
            }
        }
    }
}

impl Request {
    pub(crate) async fn carry_out(
        self,
        engine: &Engine,
        store: Option<&LazyStore>,
    ) -> Result<Reply, Failure> {
        let now = || engine.clock().now();
        Ok(Reply::Plain(match self {
            Self::Open => {
                there(store)?.open().await.map_err(failed)?;
                Value::Null
            }
            Self::Check => json!(there(store)?.check().await.map_err(failed)?),
            Self::Runs { status, agent, thread, limit, cursor } => {
                let cursor = cursor.map(|cursor| cursor.parse()).transpose();
                let cursor = cursor.map_err(|why: String| Error::new(ErrorKind::InvalidRequest, why))?;
                let query = RunQuery { run: None, status, agent, thread, limit, cursor };
                let page = ambidex_core::store::RunIndex::runs(there(store)?, query).await.map_err(failed)?;
                let runs: Vec<_> = page.runs.iter().map(|run| line(run, now())).collect();
                json!({ "runs": runs, "next": page.next.map(|next| next.to_string()) })
            }
            Self::Run { run } => {
                let found = engine.find_run(&run).await?;
                let state = engine.run_at(&run, None).await?;
                let result = CoreResult::of(&state, found.updated);
                return Ok(Reply::Run(line(&found, now()), RunResult::new(result)));
            }
            Self::Cancel { run } => json!(engine.cancel_run(&run).await?),
            Self::Questions { run } => {
                json!(engine.questions().open(run.as_deref()).await.map_err(failed)?)
            }
            Self::Answer { question, answer } => {
                resume::answer(engine.clone(), question, answer).await?;
                Value::Null
            }
            Self::Checkpoints { run } => {
                let points = engine.checkpoints(&run).await?;
                let points = points.iter().map(|point| {
                    let effect = point.effect.as_ref().map(|effect| effect.as_str().to_owned());
                    json!({ "seq": point.seq, "time": Timestamp(point.at), "effect": effect })
                });
                points.collect()
            }
            Self::At { run, at } => {
                let state = engine.run_at(&run, at).await?;
                let result = CoreResult::of(&state, now());
                let line = state.state().map_or(Value::Null, |state| Value::Object((*state).clone()));
                return Ok(Reply::Run(line, RunResult::new(result)));
            }
            Self::Talk { talk } => talk.carry_out(engine).await?,
            Self::Fork { run, at, state, message } => {
                let patch = match (state, message) {
                    (Some(state), _) => Some(Patch::State(state)),
                    (None, message) => message.map(Patch::Message),
                };
                json!(engine.fork(&run, at, patch).await?)
            }
        }))
    }
}

fn there(store: Option<&LazyStore>) -> Result<&LazyStore, Error> {
    store.ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "there is no store here; open one with ax.open"))
}

fn failed(error: StoreError) -> Failure {
    let retryable = error.is_retryable();
    Error::new(ErrorKind::StoreFailed, error.to_string()).retryable(retryable).into()
}

fn line(run: &RunSummary, now: u64) -> Value {
    let driver = match Holder::of(run, now) {
        Some(Holder::There { name, is_here, .. }) => {
            json!(if is_here { "this process".into() } else { name })
        }
        Some(Holder::Gone) | None => Value::Null,
    };
    json!({
        "run_id": run.id,
        "status": run.status.as_str(),
        "agent": run.agent,
        "thread_id": run.thread,
        "created_at": Timestamp(run.created),
        "updated_at": Timestamp(run.updated),
        "records": run.records,
        "driven_by": driver,
    })
}
