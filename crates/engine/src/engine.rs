//! What the runs of a process share: the store, the clock, permits and threads.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::blocking::BlockingThreads;
use ambidex_core::memory::MemoryStore;
use ambidex_core::question::{Answer, AnswerError, Question, Questions, Why};
use ambidex_core::store::{AnyStore, Store, StoreError};
use ambidex_core::{Error, ErrorKind};
use ambidex_models::human::HumanModel;
use ambidex_tools::BlockingPool;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::blocking::OwnedRuntime;
use crate::clock::Clock;
use crate::lease::{Durable, Term};
use crate::threads::Conversations;

/// Shared by all agents that are to share limits and a store. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    questions: Arc<dyn Questions>,
    /// The store again, where others use it too.
    durable: Option<Durable>,
    conversations: Option<Conversations>,
    keep: Option<Duration>,
    clock: Clock,
    tool_permits: Arc<Semaphore>,
    threads: Arc<dyn BlockingThreads>,
    runs: TaskTracker,
    runtime: OwnedRuntime,
}

/// Settings of an [`Engine`].
pub struct EngineBuilder {
    store: Option<(Arc<dyn Store>, Arc<dyn Questions>)>,
    durable: Option<Arc<dyn AnyStore>>,
    tools_at_once: usize,
    threads: Option<Arc<dyn BlockingThreads>>,
    sync_workers: usize,
    clock: Option<Clock>,
    thread_cache: u64,
    keep: Option<Duration>,
    term: Term,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            store: None,
            durable: None,
            tools_at_once: Engine::TOOLS_AT_ONCE,
            threads: None,
            sync_workers: Engine::SYNC_WORKERS,
            clock: None,
            thread_cache: Engine::THREAD_CACHE,
            keep: None,
            term: Term::DEFAULT,
        }
    }
}

impl EngineBuilder {
    /// Where runs are kept; without it, in memory, the last 16 finished ones.
    #[must_use]
    pub fn store<S: Store + Questions + 'static>(mut self, store: Arc<S>) -> Self {
        self.store = Some((store.clone(), store));
        self.durable = None;
        self
    }

    /// A store that outlives the process and that other processes may use: runs are held by leases, and
    /// [`Engine::recover`] drives on those that lost their process.
    #[must_use]
    pub fn durable_store(mut self, store: Arc<dyn AnyStore>) -> Self {
        self.store = Some((store.clone(), store.clone()));
        self.durable = Some(store);
        self
    }

    /// Tool calls at once over all runs.
    #[must_use]
    pub fn tools_at_once(mut self, calls: usize) -> Self {
        self.tools_at_once = calls.max(1);
        self
    }

    /// Threads for tools that block, started on demand.
    #[must_use]
    pub fn sync_workers(mut self, threads: usize) -> Self {
        self.sync_workers = threads.max(1);
        self
    }

    /// Threads of the caller's choice for tools that block.
    #[must_use]
    pub fn threads(mut self, threads: Arc<dyn BlockingThreads>) -> Self {
        self.threads = Some(threads);
        self
    }

    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Bytes of threads that are kept in memory beside the store.
    #[must_use]
    pub fn thread_cache(mut self, bytes: u64) -> Self {
        self.thread_cache = bytes;
        self
    }

    /// How long runs are kept in a durable store after they have ended; for ever where it is not said. What they left
    /// on threads stays. [`Engine::tidy`] forgets them, which a recovery calls by itself.
    #[must_use]
    pub fn keep(mut self, keep: Option<Duration>) -> Self {
        self.keep = keep;
        self
    }

    /// How long a run in a durable store belongs to its process after it was last heard of; 30 s where it is not given.
    /// The shorter it is, the sooner others take over what a lost process drove, and the sooner a process that stood
    /// still for a while has lost its runs. It is renewed each third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.term = Term::new(lease);
        self
    }

    pub fn build(self) -> Engine {
        let mut conversations = self.durable.clone();
        let (store, questions): (Arc<dyn Store>, Arc<dyn Questions>) = self.store.unwrap_or_else(|| {
            let memory = Arc::new(MemoryStore::keeping(Engine::FINISHED_RUNS));
            conversations = Some(memory.clone());
            (memory.clone(), memory)
        });
        let threads = self.threads.unwrap_or_else(|| Arc::new(BlockingPool::new(self.sync_workers)));
        Engine {
            shared: Arc::new(Shared {
                store,
                questions,
                conversations: conversations.map(|store| Conversations::new(store, self.thread_cache)),
                keep: self.keep,
                durable: self.durable.map(|store| Durable::new(store, self.term)),
                clock: self.clock.unwrap_or_else(Clock::system),
                tool_permits: Arc::new(Semaphore::new(self.tools_at_once)),
                threads,
                runs: TaskTracker::new(),
                runtime: OwnedRuntime::default(),
            }),
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        EngineBuilder::default().build()
    }
}

impl Engine {
    /// Tool calls at once over all runs, where it is not set.
    pub const TOOLS_AT_ONCE: usize = 256;
    /// Threads for tools that block, where it is not set.
    pub const SYNC_WORKERS: usize = 32;
    /// Finished runs that are kept in memory where there is no other store.
    pub const FINISHED_RUNS: usize = 16;
    /// Bytes of threads that are kept in memory, where it is not set.
    pub const THREAD_CACHE: u64 = 64 * 1024 * 1024;
    /// Active time of a run, where it is not set.
    pub const RUN_TIMEOUT: Duration = Duration::from_secs(3600);

    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Whether it is the same engine.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The store with all it can do, where it outlives the process.
    pub fn durable_store(&self) -> Option<&Arc<dyn AnyStore>> {
        self.shared.durable.as_ref().map(|durable| &durable.store)
    }

    pub(crate) fn conversations(&self) -> Option<&Conversations> {
        self.shared.conversations.as_ref()
    }

    pub(crate) fn durable(&self) -> Option<&Durable> {
        self.shared.durable.as_ref()
    }

    pub fn questions(&self) -> &Arc<dyn Questions> {
        &self.shared.questions
    }

    /// Answers a question of any run, once it is known to be an answer to what was asked.
    ///
    /// # Errors
    /// There is no such question, it is closed, or (`Invalid`) this is no answer to it and it stays open: a
    /// reply that calls a tool that is not there, or does not match a schema; an answer that does not fit a form, or
    /// comes after the question's time.
    pub async fn answer(&self, id: &str, mut answer: Answer) -> Result<(), AnswerError> {
        let open = self.questions().open(None).await?;
        if let Some(question) = open.iter().find(|question| question.id == id) {
            if let Some(due) = question.due.filter(|due| *due <= self.clock().now()) {
                let text = format!("its time was over at {}", ambidex_core::event::Timestamp(due));
                return Err(AnswerError::Invalid(text));
            }
            ambidex_models::human::check(question, &answer).map_err(AnswerError::Invalid)?;
            decides(question, &answer).map_err(AnswerError::Invalid)?;
            answer = crate::form::answer(question, answer).map_err(AnswerError::Invalid)?;
        }
        self.questions().answer(id, answer).await
    }

    /// A model of this name that a person answers for, asked through this engine's questions.
    pub fn human(&self, name: impl Into<String>) -> HumanModel {
        let clock = *self.clock();
        HumanModel::new(name, self.questions().clone()).clock(Arc::new(move || clock.now()))
    }

    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Forgets what is no longer to be kept in the durable store: threads and sessions whose time is over, and ended
    /// runs that are older than the engine keeps them. At most so many of each; gives how many it were.
    ///
    /// # Errors
    /// The store failed.
    pub async fn tidy(&self, limit: usize) -> Result<u64, Error> {
        let Some(durable) = self.durable() else { return Ok(0) };
        let now = self.clock().now();
        let mut tidied = durable.store.sweep(now, limit).await.map_err(store_error)?;
        if let Some(keep) = self.shared.keep {
            let before = now.saturating_sub(crate::clock::millis(keep));
            tidied += durable.store.forget_runs(before, limit).await.map_err(store_error)?;
        }
        Ok(tidied)
    }

    pub(crate) fn tool_permits(&self) -> &Arc<Semaphore> {
        &self.shared.tool_permits
    }

    pub fn blocking_threads(&self) -> &Arc<dyn BlockingThreads> {
        &self.shared.threads
    }

    pub(crate) fn runs(&self) -> &TaskTracker {
        &self.shared.runs
    }

    pub(crate) fn runtime(&self) -> &OwnedRuntime {
        &self.shared.runtime
    }

    /// Runs under way.
    pub fn active_runs(&self) -> usize {
        self.shared.runs.len()
    }

    /// Waits until no run is under way.
    pub async fn idle(&self) {
        self.shared.runs.close();
        self.shared.runs.wait().await;
        self.shared.runs.reopen();
    }
}

/// Whether it is an answer of the kind that was asked for.
fn decides(question: &Question, answer: &Answer) -> Result<(), String> {
    if question.why == Why::InDoubt && matches!(answer, Answer::Edit { .. }) {
        return Err("the call may have happened with the arguments it had; say that it is to be repeated, that it is \
                    not, or what came of it"
            .into());
    }
    Ok(())
}

pub(crate) fn store_error(error: StoreError) -> Error {
    let retryable = error.is_retryable() || matches!(error, StoreError::Conflict { .. });
    let kind = match &error {
        StoreError::ThreadHeld(_) => ErrorKind::Busy,
        StoreError::UnknownThread(_) | StoreError::UnknownSession(_) => ErrorKind::NotFound,
        StoreError::ThreadChanged | StoreError::Exists(_) | StoreError::VersionConflict { .. } => {
            ErrorKind::Conflict
        }
        StoreError::Malformed(_) => ErrorKind::InvalidRequest,
        StoreError::Fenced
        | StoreError::Conflict { .. }
        | StoreError::Unheard
        | StoreError::UnknownRun(_)
        | StoreError::Owned { .. }
        | StoreError::Unavailable(_)
        | StoreError::Broken(_) => ErrorKind::StoreFailed,
    };
    Error::new(kind, error.to_string()).retryable(retryable)
}
