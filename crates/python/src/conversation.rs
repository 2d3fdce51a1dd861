//! Threads of conversation: those that an agent keeps in memory, whose runs take turns, and those of a store.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::message::History;
use ambidex_core::{Error, ErrorKind, Message};
use ambidex_engine::{Agent, Conversation, Engine, RunError, RunOptions, RunResult, Task};
use pyo3::prelude::*;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::asked::Asked;
use crate::bridge::{Answer, Caller, Failure};
use crate::{convert, store};

/// The conversations of one agent.
#[derive(Default)]
pub(crate) struct Conversations {
    threads: Mutex<HashMap<String, Kept>>,
    /// The thread that a chat goes on with.
    chat: Mutex<Option<String>>,
}

struct Kept {
    said: Arc<Mutex<Conversation>>,
    /// One run at a time. Of this generation: a turn that was taken when the process forked never ends in its child.
    turns: Arc<Semaphore>,
    generation: u64,
}

/// A run's place on a thread.
pub(crate) struct Turn {
    said: Arc<Mutex<Conversation>>,
    turns: Arc<Semaphore>,
}

impl Conversations {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn turn(&self, generation: u64, thread: String) -> Turn {
        let mut kept = self.lock();
        let kept = kept.entry(thread.clone()).or_insert_with(|| Kept {
            said: Arc::new(Mutex::new(Conversation::new(Some(thread)))),
            turns: Arc::new(Semaphore::new(1)),
            generation,
        });
        if kept.generation != generation {
            (kept.generation, kept.turns) = (generation, Arc::new(Semaphore::new(1)));
        }
        Turn { said: kept.said.clone(), turns: kept.turns.clone() }
    }

    /// The thread of the chat, a new one where none is under way.
    pub(crate) fn chat(&self) -> String {
        let mut chat = self.chat.lock().unwrap_or_else(PoisonError::into_inner);
        chat.get_or_insert_with(new_thread).clone()
    }

    /// What the chat said is forgotten, and it begins anew on another thread.
    pub(crate) fn clear_chat(&self) -> Option<String> {
        let thread = self.chat.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = &thread {
            self.forget(thread);
        }
        thread
    }

    /// What was said on a thread.
    pub(crate) fn messages(&self, thread: &str) -> History {
        let said = self.lock().get(thread).map(|kept| kept.said.clone());
        said.map(|said| lock(&said).messages().clone()).unwrap_or_default()
    }

    /// Forgets one thread. A run under way on it goes on with what it was given.
    pub(crate) fn forget(&self, thread: &str) {
        let forgotten = self.lock().remove(thread);
        drop(forgotten);
    }

    pub(crate) fn clear(&self) {
        let forgotten = std::mem::take(&mut *self.lock());
        drop(forgotten);
    }
}

/// Messages asked for at a time.
const PAGE: usize = 1000;

/// What was said on a stored thread; nothing where there is none.
pub(crate) async fn said(engine: Engine, thread: String) -> Result<Plain, Failure> {
    let mut said: Vec<Value> = Vec::new();
    loop {
        let page = match engine.threads().messages(&thread, said.len() as u64, PAGE).await {
            Ok(page) => page,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error.into()),
        };
        let is_last = page.len() < PAGE;
        let plain = page.iter().map(|it| serde_json::to_value(&*it.message));
        let plain = plain.collect::<Result<Vec<_>, _>>();
        said.extend(plain.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?);
        if is_last {
            break;
        }
    }
    Ok(Plain(Value::Array(said)))
}

/// Forgets a stored thread, if there is one.
pub(crate) async fn forget(engine: Engine, thread: String) -> Result<(), Failure> {
    match engine.threads().delete(&thread).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Has an agent's model summarise the older messages of a thread.
pub(crate) async fn compact(
    agent: Agent,
    thread: String,
    keep: u64,
    caller: Arc<Caller>,
) -> Result<Plain, Failure> {
    let threads = agent.engine().threads();
    let asked = Asked::new(&caller);
    let options = asked.options(RunOptions::default());
    let compacted = asked.settle_call(threads.compact_with(&thread, &agent, keep, options).await)?;
    Ok(Plain(store::thread_line(&compacted)))
}

/// Plain data that an operation gives.
pub(crate) struct Plain(pub(crate) Value);

impl Answer for Plain {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::to_python(py, &self.0).map(Bound::unbind)
    }
}

fn new_thread() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("thread_{:016x}{:016x}", number(), number())
}

fn lock(said: &Mutex<Conversation>) -> MutexGuard<'_, Conversation> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Runs a task behind all that was said on the thread, when its turn has come.
    pub(crate) async fn run(
        self,
        agent: &Agent,
        task: Task,
        options: RunOptions,
    ) -> Result<RunResult, RunError> {
        let (taken, task, options) = self.begin(task, options).await?;
        let result = agent.run_with(task, options).await?;
        taken.heard(&result);
        Ok(result)
    }

    /// Waits for the turn; the task then stands behind what was said.
    ///
    /// # Errors
    /// `cancelled`, while it waited.
    pub(crate) async fn begin(
        self,
        task: Task,
        options: RunOptions,
    ) -> Result<(TakenTurn, Task, RunOptions), Error> {
        let token = options.token.clone().unwrap_or_default();
        let permit = tokio::select! {
            biased;
            () = token.cancelled() => return Err(Error::cancelled()),
            // Never closed, so there is always a permit in the end.
            permit = self.turns.acquire_owned() => permit.ok(),
        };
        let (task, options) = lock(&self.said).next(task, &options);
        Ok((TakenTurn { said: self.said, _permit: permit }, task, options))
    }
}

/// Held by a run that is under way on a thread.
pub(crate) struct TakenTurn {
    said: Arc<Mutex<Conversation>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl TakenTurn {
    /// A run that did not succeed is left out, as if it had not been asked.
    pub(crate) fn heard(self, result: &RunResult) -> Vec<Arc<Message>> {
        lock(&self.said).heard(result)
    }
}
