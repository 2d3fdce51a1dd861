//! Many tasks: at once under a limit, or one after another on one thread of conversation.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ambidex_core::message::{History, Message};
use ambidex_core::{BoxFuture, BoxStream};
use futures_core::Stream;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Earlier, RunOptions, Task};
use crate::result::{RunError, RunResult};

/// How the tasks of a batch are run.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Runs at once, at least 1; 8 where it is not set. Each is a task of its own, so they use all cores.
    pub concurrency: usize,
    /// One after another, each with the conversation before it: a task that did not succeed is left out of it.
    /// `concurrency` does not count then.
    pub sequential: bool,
    /// For each run. An id is not used: each run has one of its own.
    pub run: RunOptions,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { concurrency: Self::CONCURRENCY, sequential: false, run: RunOptions::default() }
    }
}

impl BatchOptions {
    /// Runs at once, where it is not set.
    pub const CONCURRENCY: usize = 8;
}

/// What one task came to. A failure is a value.
pub type BatchItem = (usize, Result<RunResult, RunError>);

impl Agent {
    /// Runs many tasks. The results come as they are ready, each with the place of its task, counted from 0.
    ///
    /// Tasks are taken from the iterator when there is room for them, so it may have no end, and a consumer who
    /// is slow stops the intake. Nothing begins before the first poll; dropping the stream cancels what is
    /// under way.
    ///
    /// ```
    /// use ambidex_engine::{Agent, BatchOptions};
    /// # use ambidex_models::scripted::ScriptedModel;
    /// use futures_util::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = ScriptedModel::from_toml("[default]\ntext = \"{{ last }}\"")?;
    /// let agent = Agent::builder().model(model).build()?;
    /// let mut batch = agent.batch(["one", "two"], BatchOptions::default());
    /// while let Some((index, result)) = batch.next().await {
    ///     println!("{index}: {}", result?.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch<I>(&self, tasks: I, options: BatchOptions) -> Batch
    where
        I: IntoIterator<Item: Into<Task>>,
        I::IntoIter: Send + 'static,
    {
        self.batch_stream(stream::iter(tasks), options)
    }

    /// Like [`Agent::batch`], with tasks that come in over time.
    pub fn batch_stream<S>(&self, tasks: S, options: BatchOptions) -> Batch
    where
        S: Stream<Item: Into<Task>> + Send + 'static,
    {
        let BatchOptions { concurrency, sequential, mut run } = options;
        run.id = None;
        let running = RunSet::new();
        let token = running.token();
        let state = Intake {
            agent: self.clone(),
            tasks: Box::pin(tasks.map(Into::into).fuse()),
            taken: 0,
            ended: false,
            room: if sequential { 1 } else { concurrency.max(1) },
            conversation: sequential.then(|| Conversation::new(run.thread.clone())),
            run,
            running,
        };
        let items = stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        });
        Batch { items: items.boxed(), token }
    }
}

/// Results of a batch, in the order in which they are ready.
pub struct Batch {
    items: BoxStream<'static, BatchItem>,
    token: CancellationToken,
}

impl Batch {
    /// The next result; nothing when all tasks are through.
    pub async fn next(&mut self) -> Option<BatchItem> {
        self.items.next().await
    }

    /// Takes no more tasks and cancels the runs under way. Their results still come.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// A token that cancels the batch.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

impl Stream for Batch {
    type Item = BatchItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BatchItem>> {
        self.items.poll_next_unpin(cx)
    }
}

struct Intake {
    agent: Agent,
    tasks: BoxStream<'static, Task>,
    taken: usize,
    ended: bool,
    room: usize,
    conversation: Option<Conversation>,
    run: RunOptions,
    running: RunSet<usize>,
}

impl Intake {
    async fn next(&mut self) -> Option<BatchItem> {
        let token = self.running.token();
        loop {
            let open = !self.ended && !token.is_cancelled();
            if !open && self.running.is_empty() {
                return None;
            }
            tokio::select! {
                // First more runs, so that none idles while results wait for their reader.
                biased;
                task = self.tasks.next(), if open && self.running.len() < self.room => match task {
                    Some(task) => self.begin(task),
                    None => self.ended = true,
                },
                Some((index, result)) = self.running.next(), if !self.running.is_empty() => {
                    if let (Some(conversation), Ok(result)) = (&mut self.conversation, &result) {
                        conversation.heard(result);
                    }
                    return Some((index, result));
                }
                () = token.cancelled(), if open => {}
            }
        }
    }

    fn begin(&mut self, task: Task) {
        let (task, options) = match &self.conversation {
            Some(conversation) => conversation.next(task, &self.run),
            None => (task, self.run.clone()),
        };
        self.running.start(self.taken, &self.agent, task, options);
        self.taken += 1;
    }
}

/// Runs under way, as many as are started. Their results come in the order in which they are ready. Dropping the
/// set cancels its runs.
pub struct RunSet<T> {
    running: FuturesUnordered<BoxFuture<'static, (T, Result<RunResult, RunError>)>>,
    token: CancellationToken,
}

impl<T: Send + 'static> RunSet<T> {
    #[expect(clippy::new_without_default, reason = "an empty set is no default of anything")]
    pub fn new() -> Self {
        Self { running: FuturesUnordered::new(), token: CancellationToken::new() }
    }

    /// Starts a run that nobody watches; `tag` comes back with its result. One that cannot start is a result, too.
    pub fn start(&mut self, tag: T, agent: &Agent, task: impl Into<Task>, options: RunOptions) {
        let token = self.token.clone();
        let ended = match agent.start_unwatched(task, options) {
            Err(error) => future::ready((tag, Err(error.into()))).boxed(),
            Ok(handle) => async move {
                let run = handle.token();
                let mut outcome = std::pin::pin!(handle.outcome());
                let result = tokio::select! {
                    result = &mut outcome => result,
                    () = token.cancelled() => {
                        run.cancel();
                        outcome.await
                    }
                };
                (tag, result)
            }
            .boxed(),
        };
        self.running.push(ended);
    }

    /// The next result; nothing when no run is under way. May be dropped and called again.
    pub async fn next(&mut self) -> Option<(T, Result<RunResult, RunError>)> {
        self.running.next().await
    }

    /// Runs under way, those included whose results were not taken yet.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// A token that cancels all runs, also those that are started later. Their results still come.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

/// What runs one after another hand on.
#[derive(Clone, Debug)]
pub struct Conversation {
    thread: String,
    messages: History,
}

impl Conversation {
    /// An empty one; `thread` is a new one where it is not given.
    pub fn new(thread: Option<String>) -> Self {
        let new = || format!("thread_{}", crate::agent::unique());
        Self { thread: thread.unwrap_or_else(new), messages: History::default() }
    }

    /// With what was said before.
    #[must_use]
    pub fn with(mut self, messages: Vec<Arc<Message>>) -> Self {
        self.messages = Arc::new(messages);
        self
    }

    pub fn messages(&self) -> &History {
        &self.messages
    }

    /// The task behind all that was said.
    pub fn next(&self, task: impl Into<Task>, options: &RunOptions) -> (Task, RunOptions) {
        let new = task.into().0;
        // Without a new message there is nothing to do, whatever was said before.
        let messages = if new.is_empty() { new } else { self.messages.iter().cloned().chain(new).collect() };
        (
            Task(messages),
            RunOptions { thread: Some(self.thread.clone()), earlier: Earlier::Given, ..options.clone() },
        )
    }

    /// Takes in a run of it that succeeded; any other is left out, as if it had not been asked. Gives what it
    /// added.
    pub fn heard(&mut self, result: &RunResult) -> Vec<Arc<Message>> {
        if result.status != ambidex_core::event::Status::Succeeded {
            return Vec::new();
        }
        let added = result.messages.iter().skip(self.messages.len()).cloned().collect();
        self.messages = result.messages.clone();
        added
    }
}
