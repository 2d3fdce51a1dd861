//! Limits of a provider's key: calls at once, requests and tokens per minute.
//!
//! A [`Limiter`] is shared by all models of one provider and key; a [`Limit`] is a model that asks it before
//! each call. Who finds no room waits in a bounded queue, in which runs take turns. A call holds its place as
//! long as its stream lives.
//!
//! ```
//! # use std::sync::Arc;
//! # use ambidex_core::Model;
//! use ambidex_models::limit::{Limit, Limiter, Limits};
//!
//! # fn example(big: Arc<dyn Model>, small: Arc<dyn Model>) -> (Limit, Limit) {
//! let limits = Limits { concurrent: Some(64), requests_per_minute: Some(500), ..Limits::default() };
//! let limiter = Arc::new(Limiter::new("openai", limits));
//! (Limit::new(big, limiter.clone()), Limit::new(small, limiter))
//! # }
//! ```
//!
//! A full queue is the error `busy`, which says when to come back; a call whose time passes in the queue is
//! `busy` too.

mod estimate;
mod limiter;
mod queue;
mod rate;
mod stream;

use std::fmt;
use std::sync::Arc;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};

pub use limiter::Limiter;

/// What a provider allows one key. Without any of them nothing is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way, each until its stream has ended.
    pub concurrent: Option<u32>,
    /// Never more in any 60 s.
    pub requests_per_minute: Option<u32>,
    /// Input and output together. What a call will use is estimated, and settled when it has ended.
    pub tokens_per_minute: Option<u64>,
    /// Calls that may wait. None: four times as many as are allowed at once or in a minute, whichever is more,
    /// and at least 256.
    pub queue: Option<u32>,
}

impl Limits {
    /// Tokens a call is taken to use where only tokens are limited and the queue's length is not set.
    const TOKENS_OF_A_CALL: u64 = 1000;
    /// A queue is there to wait in: a batch over one slow call at a time is no overload.
    const LEAST_QUEUE: u64 = 256;

    pub fn is_unlimited(&self) -> bool {
        self.concurrent.is_none() && self.requests_per_minute.is_none() && self.tokens_per_minute.is_none()
    }

    /// Calls that may wait.
    pub fn queue_size(&self) -> usize {
        let calls = self.concurrent.max(self.requests_per_minute).map(u64::from);
        let tokens = self.tokens_per_minute.map(|tokens| tokens.div_ceil(Self::TOKENS_OF_A_CALL));
        let allowed = calls.or(tokens).unwrap_or(1).max(1);
        self.queue.map_or_else(
            || usize::try_from(allowed.saturating_mul(4).max(Self::LEAST_QUEUE)).unwrap_or(usize::MAX),
            |it| it as usize,
        )
    }
}

/// `64 calls at once, 500 requests per minute`.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            self.concurrent.map(|it| format!("{it} calls at once")),
            self.requests_per_minute.map(|it| format!("{it} requests per minute")),
            self.tokens_per_minute.map(|it| format!("{it} tokens per minute")),
        ];
        let set: Vec<_> = all.into_iter().flatten().collect();
        f.write_str(if set.is_empty() { "none" } else { "" })?;
        f.write_str(&set.join(", "))
    }
}

/// A model whose calls are held to the limits of its provider.
#[derive(Clone)]
pub struct Limit {
    inner: Arc<dyn Model>,
    limiter: Arc<Limiter>,
}

impl Limit {
    /// `limiter` is the provider's: all its models under one key share one.
    pub fn new(inner: Arc<dyn Model>, limiter: Arc<Limiter>) -> Self {
        Self { inner, limiter }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("model", &self.inner.info().name)
            .field("limiter", &self.limiter)
            .finish()
    }
}

impl Model for Limit {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(stream::LimitStream::new(self.inner.clone(), self.limiter.clone(), request, context))
    }
}
