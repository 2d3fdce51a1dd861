//! Many tasks of one agent: at once under a limit, or one after another on one thread. Failures are values.

use std::sync::Arc;

use ambidex_engine::{Agent, Conversation, RunOptions, RunResult as CoreResult, RunSet, Task};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::asked::Asked;
use crate::bridge::{Answer, Caller, Failure};
use crate::failure;
use crate::result::RunResult;

/// A batch that is about to begin.
pub(crate) struct BatchStart {
    pub(crate) agent: Agent,
    pub(crate) tasks: Vec<Task>,
    pub(crate) options: RunOptions,
    /// Runs at once.
    pub(crate) concurrency: usize,
    /// Each with the conversation before it.
    pub(crate) sequential: bool,
}

/// What each task came to, in the order of the tasks: results, and exceptions of those that failed.
pub(crate) struct BatchAnswer(Vec<Option<Item>>);

struct Item {
    ended: Result<CoreResult, Failure>,
    cause: Option<PyErr>,
}

impl Answer for BatchAnswer {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let list = PyList::empty(py);
        for item in self.0 {
            let one = match item {
                Some(Item { ended: Ok(result), .. }) => RunResult::new(result).into_python(py)?,
                Some(Item { ended: Err(failed), cause }) => {
                    failure::raised(py, failed, cause).into_value(py).into_any()
                }
                None => py.None(),
            };
            list.append(one)?;
        }
        Ok(list.into_any().unbind())
    }
}

impl BatchStart {
    pub(crate) async fn run(self, caller: Arc<Caller>) -> Result<BatchAnswer, Failure> {
        let Self { agent, tasks, options, concurrency, sequential } = self;
        let room = if sequential { 1 } else { concurrency.max(1) };
        let mut conversation = sequential.then(|| Conversation::new(options.thread.clone()));
        let mut items: Vec<Option<Item>> = Vec::new();
        items.resize_with(tasks.len(), || None);
        let mut running = RunSet::new();
        let mut tasks = tasks.into_iter().enumerate();
        loop {
            while running.len() < room && !caller.token().is_cancelled() {
                let Some((index, task)) = tasks.next() else { break };
                let (task, options) = match &conversation {
                    Some(conversation) => conversation.next(task, &options),
                    None => (task, options.clone()),
                };
                // Each of its own: one that raises ends no other.
                let asked = Asked::new(&caller);
                let options = asked.options(options);
                running.start((index, asked), &agent, task, options);
            }
            let Some(((index, asked), ended)) = running.next().await else { break };
            if let (Some(conversation), Ok(result)) = (&mut conversation, &ended) {
                conversation.heard(result);
            }
            let cause = ended.as_ref().err().and_then(|failed| asked.cause_of(&failed.error));
            if let Some(item) = items.get_mut(index) {
                *item = Some(Item { ended: asked.settle_run(ended), cause });
            }
        }
        Ok(BatchAnswer(items))
    }
}
