//! Threads of conversation that an agent keeps in memory. Runs on one thread take turns.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::message::History;
use ambidex_core::{Error, Message};
use ambidex_engine::{Agent, Conversation, RunError, RunOptions, RunResult, Task};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    pub(crate) fn clear_chat(&self) {
        let thread = self.chat.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.forget(&thread);
        }
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
