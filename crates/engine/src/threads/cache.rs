//! Threads in memory, before the store. What is here is used only where the store says that it is still so; a
//! thread that has grown meanwhile is read from where it was known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ambidex_core::message::Message;
use ambidex_core::store::{AnyStore, StoreError};
use ambidex_core::thread::{Summary, Thread};
use ambidex_core::wire::WireCache;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Messages read at a time.
const PAGE: usize = 1000;

/// A thread as a run begins with it: its summary, if it has one, then its messages from there.
#[derive(Clone)]
pub(crate) struct View {
    /// Of a thread that is there.
    pub(crate) thread: Option<Arc<Thread>>,
    pub(crate) messages: Arc<Vec<Arc<Message>>>,
    /// What its runs have encoded.
    pub(crate) wire: WireCache,
    bytes: u64,
}

/// What became of lookups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// All was there.
    pub hits: u64,
    /// It was there, and what others had added was read.
    pub grown: u64,
    pub misses: u64,
    pub threads: u64,
    /// Bytes, as far as they are counted.
    pub bytes: u64,
}

impl CacheStats {
    /// Between 0 and 1; nothing before the first lookup.
    #[expect(clippy::cast_precision_loss, reason = "lookups are far below 2^52")]
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.grown + self.misses;
        (all > 0).then(|| self.hits as f64 / all as f64)
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<String, View> for Weight {
    fn weight(&self, id: &String, view: &View) -> u64 {
        view.bytes + id.len() as u64 + 256
    }
}

pub(crate) struct ThreadCache {
    views: Cache<String, View, Weight>,
    hits: AtomicU64,
    grown: AtomicU64,
    misses: AtomicU64,
}

impl ThreadCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let threads = usize::try_from(bytes / 16_384).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        Self {
            views: Cache::with_weighter(threads, bytes, Weight),
            hits: AtomicU64::new(0),
            grown: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Relaxed),
            grown: self.grown.load(Relaxed),
            misses: self.misses.load(Relaxed),
            threads: self.views.len() as u64,
            bytes: self.views.weight(),
        }
    }

    /// The thread as it is now in the store.
    pub(crate) async fn view(
        &self,
        store: &Arc<dyn AnyStore>,
        id: &str,
        now: u64,
    ) -> Result<View, StoreError> {
        let thread = match store.thread(id, now).await {
            Ok(thread) => thread,
            Err(StoreError::UnknownThread(_)) => return Ok(View::empty()),
            Err(error) => return Err(error),
        };
        let known = self.views.get(id);
        let known = known.filter(|view| view.thread.as_ref().is_some_and(|known| known.is_before(&thread)));
        let (from, mut messages, wire, mut bytes) = match known {
            Some(view) if view.thread.as_ref().is_some_and(|known| known.version == thread.version) => {
                self.hits.fetch_add(1, Relaxed);
                return Ok(View { thread: Some(Arc::new(thread)), ..view });
            }
            Some(view) => {
                self.grown.fetch_add(1, Relaxed);
                let from = view.thread.as_ref().map_or(0, |known| known.messages);
                (from, view.messages.to_vec(), view.wire, view.bytes)
            }
            None => {
                self.misses.fetch_add(1, Relaxed);
                let summary: Vec<_> = thread.summary.iter().map(Summary::message).collect();
                let bytes = summary.iter().map(|message| size(message)).sum();
                let from = thread.summary.as_ref().map_or(0, |summary| summary.until);
                (from, summary, WireCache::default(), bytes)
            }
        };
        let mut next = from;
        while next < thread.messages {
            let limit = usize::try_from(thread.messages - next).unwrap_or(PAGE).min(PAGE);
            let page = store.messages(id, next, limit, now).await?;
            // It was forgotten, and perhaps made again, in between.
            let Some(last) = page.last() else { return Err(StoreError::ThreadChanged) };
            next = last.number + 1;
            bytes += page.iter().map(|message| size(&message.message)).sum::<u64>();
            messages.extend(page.into_iter().map(|message| message.message));
        }
        // It may have been forgotten and made again while it was read.
        if next > from && store.thread(id, now).await?.number != thread.number {
            return Err(StoreError::ThreadChanged);
        }
        let view = View { thread: Some(Arc::new(thread)), messages: Arc::new(messages), wire, bytes };
        self.keep(id, view.clone());
        Ok(view)
    }

    pub(crate) fn keep(&self, id: &str, view: View) {
        self.views.insert(id.to_owned(), view);
    }

    pub(crate) fn forget(&self, id: &str) {
        self.views.remove(id);
    }
}

impl View {
    pub(crate) fn empty() -> Self {
        Self { thread: None, messages: Arc::default(), wire: WireCache::default(), bytes: 0 }
    }

    /// With what a run added; the messages are those it had, so what is encoded stays so.
    pub(crate) fn grown(&self, added: &[Arc<Message>]) -> Option<Self> {
        let mut thread = Thread::clone(self.thread.as_deref()?);
        thread.messages += added.len() as u64;
        thread.version += u64::from(!added.is_empty());
        let bytes = self.bytes + added.iter().map(|message| size(message)).sum::<u64>();
        let messages = self.messages.iter().chain(added).cloned().collect();
        Some(Self {
            thread: Some(Arc::new(thread)),
            messages: Arc::new(messages),
            wire: self.wire.clone(),
            bytes,
        })
    }
}

trait Grows {
    /// Whether what is known of a thread is a beginning of what it is now: messages are only ever appended.
    fn is_before(&self, now: &Thread) -> bool;
}

impl Grows for Thread {
    fn is_before(&self, now: &Thread) -> bool {
        self.number == now.number && self.summary == now.summary && self.messages <= now.messages
    }
}

/// Twice: as it is, and as it is encoded.
fn size(message: &Message) -> u64 {
    use ambidex_core::message::{Arguments, ImageSource, Part};
    let part = |part: &Part| {
        64 + match part {
            Part::Text { text } | Part::Refusal { text } => text.len(),
            Part::Reasoning { text, state } => text.len() + state.as_ref().map_or(0, |it| it.json.len()),
            Part::Image(image) => match &image.source {
                ImageSource::Base64(data) => data.len(),
                ImageSource::Url(url) => url.len(),
            },
            Part::ToolCall(call) => match &call.arguments {
                Arguments::Json(json) => json.to_string().len(),
                Arguments::Invalid { raw, reason } => raw.len() + reason.len(),
            },
            Part::ToolResult(result) => result.text.len(),
            Part::Opaque { state } => state.json.len(),
        }
    };
    2 * message.parts.iter().map(part).sum::<usize>() as u64
}
