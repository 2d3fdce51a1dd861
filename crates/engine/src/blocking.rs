//! The sync door: runs on a runtime that the engine owns, while the calling thread waits on a channel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ambidex_core::{Error, ErrorKind, Event};
use futures_core::Stream;
use tokio::runtime::{Handle, Runtime};

use crate::agent::{Agent, RunEvents, RunOptions, Task};
use crate::batch::{Batch, BatchItem, BatchOptions};
use crate::result::{RunError, RunResult};

/// The runtime of an engine's sync door, made when it is first needed.
#[derive(Default)]
pub(crate) struct OwnedRuntime {
    runtime: Mutex<Option<Runtime>>,
    warned: AtomicBool,
}

impl OwnedRuntime {
    /// A handle to it. Made under the lock: one made in vain could not be dropped inside another runtime.
    fn get(&self) -> Result<Handle, Error> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = tokio::runtime::Builder::new_multi_thread().thread_name("ambidex").enable_all().build();
        let made = made.map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the runtime's threads cannot be started: {error}"))
        })?;
        Ok(runtime.insert(made).handle().clone())
    }

    fn warn_inside_a_runtime(&self) {
        if tokio::runtime::Handle::try_current().is_ok() && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "`.blocking()` inside a tokio runtime blocks one of its workers; use the async door"
            );
        }
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        // The last owner may be dropped inside another runtime, where waiting for threads is not allowed.
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

/// An agent for code that is not async. Works on any thread, inside a tokio runtime too (there it blocks
/// that worker, and warns once).
#[derive(Clone)]
pub struct BlockingAgent {
    agent: Agent,
}

impl Agent {
    /// The sync door to this agent.
    pub fn blocking(&self) -> BlockingAgent {
        BlockingAgent { agent: self.clone() }
    }
}

impl BlockingAgent {
    /// Runs a task until the run comes to rest; see [`Agent::run`].
    pub fn run(&self, task: impl Into<Task>) -> Result<RunResult, RunError> {
        self.run_with(task, RunOptions::default())
    }

    /// Like [`BlockingAgent::run`], with options.
    pub fn run_with(&self, task: impl Into<Task>, options: RunOptions) -> Result<RunResult, RunError> {
        let owned = self.agent.engine().runtime();
        owned.warn_inside_a_runtime();
        let runtime = owned.get()?;
        let (agent, task) = (self.agent.clone(), task.into());
        let (sender, receiver) = mpsc::sync_channel(1);
        self.agent.engine().runs().spawn_on(
            async move {
                // The caller waits; it is gone only when its thread is.
                let _ = sender.send(agent.run_with(task, options).await);
            },
            &runtime,
        );
        waiting(&runtime, || receiver.recv()).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the engine's runtime was shut down during the run").into())
        })
    }

    /// The events of a run, one by one. Dropping the iterator cancels the run.
    pub fn stream(&self, task: impl Into<Task>) -> Result<BlockingEvents, Error> {
        let owned = self.agent.engine().runtime();
        owned.warn_inside_a_runtime();
        let runtime = owned.get()?;
        let events = {
            let _inside = runtime.enter();
            self.agent.stream(task)?
        };
        Ok(BlockingEvents { events, runtime })
    }

    /// Results of many tasks, one by one; see [`Agent::batch`]. Dropping the iterator cancels what is under way.
    pub fn batch<I>(&self, tasks: I, options: BatchOptions) -> Result<BlockingBatch, Error>
    where
        I: IntoIterator<Item: Into<Task>>,
        I::IntoIter: Send + 'static,
    {
        let owned = self.agent.engine().runtime();
        owned.warn_inside_a_runtime();
        Ok(BlockingBatch { runtime: owned.get()?, batch: self.agent.batch(tasks, options) })
    }
}

/// Events of a run on the calling thread.
pub struct BlockingEvents {
    events: RunEvents,
    runtime: Handle,
}

impl Iterator for BlockingEvents {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        waiting(&self.runtime, || wait_for_next(&mut self.events))
    }
}

/// Results of a batch on the calling thread.
pub struct BlockingBatch {
    batch: Batch,
    runtime: Handle,
}

impl BlockingBatch {
    /// Takes no more tasks and cancels the runs under way. Their results still come.
    pub fn cancel(&self) {
        self.batch.cancel();
    }
}

impl Iterator for BlockingBatch {
    type Item = BatchItem;

    fn next(&mut self) -> Option<BatchItem> {
        waiting(&self.runtime, || {
            // Runs are started while the results are waited for.
            let _inside = self.runtime.enter();
            wait_for_next(&mut self.batch)
        })
    }
}

/// Waits for what goes on in this runtime. One of its own workers hands on its other tasks first: what is waited for
/// may be among them.
fn waiting<T>(runtime: &Handle, wait: impl FnOnce() -> T) -> T {
    // A tool that blocks, and waits for a run whose tools block, has none of its pool's threads meanwhile.
    let _lent = ambidex_tools::BlockingPool::lend();
    let is_worker = Handle::try_current().is_ok_and(|current| current.id() == runtime.id());
    if is_worker { tokio::task::block_in_place(wait) } else { wait() }
}

fn wait_for_next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match Stream::poll_next(std::pin::Pin::new(stream), &mut context) {
            std::task::Poll::Ready(item) => return item,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
