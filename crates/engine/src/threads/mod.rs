//! Stored conversations: the doors to threads and sessions, and how runs are on a thread.

mod cache;
mod compact;
mod file;
mod sessions;
mod stop;
mod turn;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambidex_core::message::Message;
use ambidex_core::store::AnyStore;
use ambidex_core::thread::{
    Fork, Found, Line, NewThread, Signal, Thread, ThreadChange, ThreadMessage, ThreadPage, ThreadQuery,
};
use ambidex_core::{Error, ErrorKind};
use serde_json::Value;
use tokio::sync::watch;

use crate::agent::unique;
use crate::engine::{Engine, store_error};

use cache::ThreadCache;

pub use cache::CacheStats;
pub use file::ThreadFile;
pub use sessions::Sessions;
pub(crate) use turn::Turn;

/// What a message does that comes while another run has the thread. In each way the thread ends as if one had come
/// after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// Waits in line: first come, first served. It is stored before it waits.
    #[default]
    Enqueue,
    /// Is refused with `busy`.
    Reject,
    /// Cancels the run that has the thread, which keeps what it had said, and gets in line.
    Interrupt,
    /// Cancels it, and nothing of it stays on the thread.
    Rollback,
    /// Goes to the run that has the thread; the result is that run's.
    Steer,
}

impl OnBusy {
    pub const ALL: [(&'static str, Self); 5] = [
        ("enqueue", Self::Enqueue),
        ("reject", Self::Reject),
        ("interrupt", Self::Interrupt),
        ("rollback", Self::Rollback),
        ("steer", Self::Steer),
    ];
}

impl std::str::FromStr for OnBusy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, policy)| policy);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            Error::new(ErrorKind::InvalidRequest, format!("on_busy is one of {names}, and not `{text}`"))
        })
    }
}

/// Where the engine keeps threads.
pub(crate) struct Conversations {
    pub(crate) store: Arc<dyn AnyStore>,
    pub(crate) cache: ThreadCache,
    driven: Arc<DrivenRuns>,
}

/// Runs on threads that this engine drives.
#[derive(Default)]
struct DrivenRuns {
    runs: Mutex<HashSet<Arc<str>>>,
    /// How often one was let go of.
    left: watch::Sender<u64>,
}

impl DrivenRuns {
    fn runs(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them, as long as this lives.
pub(crate) struct Driven {
    runs: Arc<DrivenRuns>,
    run: Arc<str>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.runs.runs().remove(&self.run);
        self.runs.left.send_modify(|left| *left += 1);
    }
}

impl Conversations {
    pub(crate) fn new(store: Arc<dyn AnyStore>, cache: u64) -> Self {
        Self { store, cache: ThreadCache::new(cache), driven: Arc::default() }
    }

    fn drive(&self, run: Arc<str>) -> Driven {
        self.driven.runs().insert(run.clone());
        Driven { runs: self.driven.clone(), run }
    }

    fn drives(&self, run: &str) -> bool {
        self.driven.runs().contains(run)
    }

    /// Resolves when one is let go of after this call.
    fn undriven(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut left = self.driven.left.subscribe();
        async move {
            if left.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// What a new thread is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThreadOptions {
    /// A new one where it is not given.
    pub id: Option<String>,
    pub title: String,
    pub session: Option<String>,
    /// How long it is kept after its last change; for ever where it is not given.
    pub ttl: Option<std::time::Duration>,
    /// An object.
    pub metadata: Option<Value>,
}

/// The threads of an engine's store. Cheap to clone.
#[derive(Clone)]
pub struct Threads {
    engine: Engine,
}

impl Engine {
    /// Stored conversations.
    pub fn threads(&self) -> Threads {
        Threads { engine: self.clone() }
    }

    /// Stored sessions.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.clone())
    }

    /// What became of lookups of threads in memory.
    pub fn thread_cache_stats(&self) -> CacheStats {
        self.conversations().map(|conversations| conversations.cache.stats()).unwrap_or_default()
    }

    pub(crate) fn keeps_conversations(&self) -> Result<&Conversations, Error> {
        self.conversations().ok_or_else(|| {
            let text = "the engine's store keeps no threads or sessions; give it one that does";
            Error::new(ErrorKind::ConfigInvalid, text)
        })
    }
}

impl Threads {
    fn store(&self) -> Result<(&Arc<dyn AnyStore>, u64), Error> {
        Ok((&self.engine.keeps_conversations()?.store, self.engine.clock().now()))
    }

    /// An empty one.
    ///
    /// # Errors
    /// `conflict`: there is one of this id.
    pub async fn create(&self, options: ThreadOptions) -> Result<Thread, Error> {
        self.make(NewThread::new(""), options).await
    }

    async fn make(&self, new: NewThread, options: ThreadOptions) -> Result<Thread, Error> {
        let (store, now) = self.store()?;
        let ThreadOptions { id, title, session, ttl, metadata } = options;
        if metadata.as_ref().is_some_and(|metadata| !metadata.is_object()) {
            return Err(Error::new(ErrorKind::InvalidRequest, "the metadata of a thread are an object"));
        }
        let new = NewThread {
            id: id.unwrap_or_else(new_thread_id),
            title: if title.is_empty() { new.title } else { title },
            session: session.or(new.session),
            ttl: ttl.map(crate::clock::millis).or(new.ttl),
            metadata: metadata.unwrap_or(new.metadata),
            ..new
        };
        store.create_thread(new, now).await.map_err(store_error)
    }

    /// # Errors
    /// `not_found`.
    pub async fn load(&self, id: &str) -> Result<Thread, Error> {
        let (store, now) = self.store()?;
        store.thread(id, now).await.map_err(store_error)
    }

    /// Those that changed last come first, a page at a time.
    pub async fn list(&self, query: ThreadQuery) -> Result<ThreadPage, Error> {
        let (store, now) = self.store()?;
        store.threads(query, now).await.map_err(store_error)
    }

    /// Threads whose title has all these words, or one of whose messages has: whole words, whatever their case.
    pub async fn search(&self, text: &str, limit: usize) -> Result<Vec<Found>, Error> {
        let (store, now) = self.store()?;
        store.search_threads(text, limit, now).await.map_err(store_error)
    }

    /// Messages from this number on, at most `limit`.
    pub async fn messages(&self, id: &str, from: u64, limit: usize) -> Result<Vec<ThreadMessage>, Error> {
        let (store, now) = self.store()?;
        store.messages(id, from, limit, now).await.map_err(store_error)
    }

    /// Gives it another title.
    pub async fn rename(&self, id: &str, title: impl Into<String>) -> Result<Thread, Error> {
        self.change(id, ThreadChange { title: Some(title.into()), ..ThreadChange::default() }).await
    }

    /// What is to be another; the rest stays.
    pub async fn change(&self, id: &str, change: ThreadChange) -> Result<Thread, Error> {
        let (store, now) = self.store()?;
        store.change_thread(id, change, now).await.map_err(store_error)
    }

    /// Appends messages by hand.
    ///
    /// # Errors
    /// `busy`: a run has the thread. `invalid_request`: messages that no provider takes.
    pub async fn append(&self, id: &str, messages: Vec<Arc<Message>>) -> Result<Thread, Error> {
        let (store, now) = self.store()?;
        let version = store.thread(id, now).await.map_err(store_error)?.version;
        store.append_messages(id, version, messages, now).await.map_err(store_error)
    }

    /// Another thread that shares the first `messages` of this one; all where it is not given.
    ///
    /// # Errors
    /// `invalid_request`: there are not so many, or a call would be parted from its result.
    pub async fn fork(
        &self,
        id: &str,
        messages: Option<u64>,
        options: ThreadOptions,
    ) -> Result<Thread, Error> {
        self.branch(id, messages, vec![], options).await
    }

    /// A branch in which this message stands in place of the one of that number, and nothing after it: the thread
    /// itself stays as it is.
    pub async fn edit(
        &self,
        id: &str,
        number: u64,
        message: Arc<Message>,
        options: ThreadOptions,
    ) -> Result<Thread, Error> {
        let messages = self.load(id).await?.messages;
        if number >= messages {
            let text = format!("thread `{id}` has {messages} messages, counted from 0; there is no {number}");
            return Err(Error::new(ErrorKind::InvalidRequest, text));
        }
        let edited = ThreadMessage { number, run: None, at: self.engine.clock().now(), message };
        self.branch(id, Some(number), vec![edited], options).await
    }

    async fn branch(
        &self,
        id: &str,
        messages: Option<u64>,
        own: Vec<ThreadMessage>,
        options: ThreadOptions,
    ) -> Result<Thread, Error> {
        let parent = self.load(id).await?;
        let count = messages.unwrap_or(parent.messages);
        let new = NewThread {
            title: parent.title,
            session: parent.session,
            agent: parent.agent,
            ttl: parent.ttl,
            metadata: parent.metadata,
            summary: parent.summary.filter(|summary| summary.until <= count),
            fork: Some(Fork { thread: id.to_owned(), messages: count }),
            messages: own,
            ..NewThread::new("")
        };
        self.make(new, options).await
    }

    /// Forgets it. Messages that forks share live on with them.
    ///
    /// # Errors
    /// `busy`: a run has it.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        let (store, _) = self.store()?;
        store.delete_thread(id).await.map_err(store_error)?;
        self.engine.keeps_conversations()?.cache.forget(id);
        Ok(())
    }

    /// The whole thread, to be kept elsewhere.
    pub async fn export(&self, id: &str) -> Result<ThreadFile, Error> {
        let thread = self.load(id).await?;
        let limit = usize::try_from(thread.messages).unwrap_or(usize::MAX);
        let messages = self.messages(id, 0, limit).await?;
        Ok(ThreadFile::new(thread, messages))
    }

    /// Makes a thread of an exported one, under its id or another.
    ///
    /// # Errors
    /// `conflict`: there is one of this id.
    pub async fn import(&self, file: ThreadFile, id: Option<String>) -> Result<Thread, Error> {
        let id = id.unwrap_or_else(|| file.id.clone());
        self.make(file.into_new(), ThreadOptions { id: Some(id), ..ThreadOptions::default() }).await
    }

    /// Who is at work on it, and who is in line.
    pub async fn line(&self, id: &str) -> Result<Line, Error> {
        let (store, _) = self.store()?;
        store.line(id).await.map_err(store_error)
    }

    /// Tells the run that has the thread to end; what it has said stays. False where none has it.
    pub async fn stop(&self, id: &str) -> Result<bool, Error> {
        let (store, _) = self.store()?;
        let Some(holder) = self.line(id).await?.holder else { return Ok(false) };
        match store.tell(id, &holder, Signal::Stop).await {
            Ok(_) => {
                self.engine.stop_resting(&holder).await.map_err(store_error)?;
                Ok(true)
            }
            Err(ambidex_core::store::StoreError::ThreadChanged) => Ok(false),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Forgets threads and sessions whose time is over, at most so many. Gives how many it were.
    pub async fn sweep(&self, limit: usize) -> Result<u64, Error> {
        let (store, now) = self.store()?;
        store.sweep(now, limit).await.map_err(store_error)
    }
}

fn new_thread_id() -> String {
    format!("thread_{}", unique())
}
