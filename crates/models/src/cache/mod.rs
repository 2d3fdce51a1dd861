//! Replies kept for requests that come again, word for word.
//!
//! A [`ReplyCache`] is shared by all models of a process; a [`Cached`] is a model that looks into it first. Two
//! requests are equal when everything that decides the answer is: the model, instructions, history, tools, the
//! choice of tools, the output's schema and the settings. Requests that come while an equal one is under way are
//! answered together with it.
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use ambidex_core::Model;
//! use ambidex_models::cache::{Cached, ReplyCache};
//!
//! # fn example(model: Arc<dyn Model>) -> Cached {
//! let cache = Arc::new(ReplyCache::new(Duration::from_secs(3600), 10_000));
//! Cached::new(model, cache)
//! # }
//! ```
//!
//! Only replies are kept that are whole and with which the model said what it wanted: no errors, nothing cut
//! short, no refusal. When a shared call fails, those who had seen nothing of it try once more together.

mod flight;
mod kept;
mod key;
mod stream;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};
use quick_cache::unsync::Cache;
use tokio::time::Instant;

use flight::Flight;
use kept::{Kept, Weight};
use key::{Frames, Key};

/// The replies, and the calls under way.
pub struct ReplyCache {
    ttl: Duration,
    inside: Mutex<Inside>,
}

struct Inside {
    kept: Cache<Key, Kept, Weight>,
    /// With the number of those who wait for each.
    flights: HashMap<Key, (Arc<Flight>, usize)>,
    next_number: u64,
    counts: Counts,
}

/// How calls were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// From a kept reply.
    pub hits: u64,
    /// Together with an equal call under way.
    pub shared: u64,
    /// By the model.
    pub misses: u64,
}

/// What is known about a request.
enum Found {
    Kept(Kept),
    /// A call under way, the asker's number there, and whether he began it.
    Flight {
        flight: Arc<Flight>,
        number: u64,
        first: bool,
    },
}

impl ReplyCache {
    /// A reply is kept for `ttl` after its end. There is room for `capacity` replies of up to 16 KiB each;
    /// a longer one takes the room of several. Which ones have to go when it is full is decided by how lately
    /// and how often they were asked for.
    pub fn new(ttl: Duration, capacity: u32) -> Self {
        let room = capacity.max(1);
        let kept = Cache::with_weighter(room as usize, room.into(), Weight);
        Self {
            ttl,
            inside: Mutex::new(Inside {
                kept,
                flights: HashMap::new(),
                next_number: 0,
                counts: Counts::default(),
            }),
        }
    }

    /// Replies kept, some of which may be too old.
    pub fn len(&self) -> usize {
        self.inside().kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How calls were answered so far.
    pub fn counts(&self) -> Counts {
        self.inside().counts
    }

    /// Calls under way whose replies may be kept.
    pub fn in_flight(&self) -> usize {
        self.inside().flights.len()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply, or a call to wait for, which `begin` makes where there is none.
    fn find(&self, key: &Key, begin: impl FnOnce() -> Flight) -> Found {
        let now = Instant::now();
        let mut inside = self.inside();
        let inside = &mut *inside;
        let kept = inside.kept.get(key).cloned();
        match kept {
            Some(kept) if kept.until > now => {
                inside.counts.hits += 1;
                return Found::Kept(kept);
            }
            Some(_) => drop(inside.kept.remove(key)),
            None => {}
        }
        let number = inside.next_number;
        inside.next_number += 1;
        match inside.flights.get_mut(key) {
            Some((flight, waiting)) => {
                inside.counts.shared += 1;
                *waiting += 1;
                Found::Flight { flight: flight.clone(), number, first: false }
            }
            None => {
                inside.counts.misses += 1;
                let flight = Arc::new(begin());
                inside.flights.insert(*key, (flight.clone(), 1));
                Found::Flight { flight, number, first: true }
            }
        }
    }

    /// A call has ended; its reply is kept where there is one.
    fn land(&self, key: &Key, flight: &Flight, kept: Option<Kept>) {
        let mut inside = self.inside();
        let own = inside.flights.get(key).is_some_and(|(known, _)| std::ptr::eq(&raw const **known, flight));
        let landed = if own { inside.flights.remove(key) } else { None };
        if let Some(kept) = kept {
            inside.kept.insert(*key, kept);
        }
        drop(inside);
        drop(landed);
    }

    /// Somebody does not wait for a call any more. The last one to leave ends it.
    fn leave(&self, key: &Key, flight: &Arc<Flight>) {
        let mut inside = self.inside();
        let left = match inside.flights.get_mut(key) {
            Some((known, waiting)) if Arc::ptr_eq(known, flight) => {
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 { inside.flights.remove(key) } else { None }
            }
            _ => None,
        };
        drop(inside);
        drop(left);
    }
}

impl fmt::Debug for ReplyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyCache").field("ttl", &self.ttl).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A model that answers from a cache where it can.
#[derive(Clone)]
pub struct Cached(Arc<Shared>);

/// What every call of it uses.
struct Shared {
    inner: Arc<dyn Model>,
    cache: Arc<ReplyCache>,
    name: Arc<str>,
    frames: Frames,
}

impl Cached {
    /// Its replies are told apart from those of other models by provider and name. `inner` holds no second one
    /// of the same cache: a call would wait for itself.
    pub fn new(inner: Arc<dyn Model>, cache: Arc<ReplyCache>) -> Self {
        let frames = Frames::new(inner.info());
        let name = inner.info().name.as_str().into();
        Self(Arc::new(Shared { inner, cache, name, frames }))
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("model", &self.0.name).field("cache", &self.0.cache).finish()
    }
}

impl Model for Cached {
    fn info(&self) -> &ModelInfo {
        self.0.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(stream::CachedStream::new(self.0.clone(), request, context))
    }
}
