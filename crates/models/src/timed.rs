//! Limits of time for a model that keeps none itself, such as a script.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Model, Request};
use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::provider::Timeouts;

/// A model that is given up when its first content, its next content or its end does not come in time. Models of
/// providers keep their limits themselves.
#[derive(Clone)]
pub struct Timed {
    inner: Arc<dyn Model>,
    timeouts: Timeouts,
}

impl Timed {
    /// `connect` does not count: nothing is connected to.
    pub fn new(inner: Arc<dyn Model>, timeouts: Timeouts) -> Self {
        Self { inner, timeouts }
    }
}

impl std::fmt::Debug for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.inner.info().name;
        f.debug_struct("Timed").field("model", name).field("timeouts", &self.timeouts).finish()
    }
}

impl Model for Timed {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let first_token = self.timeouts.first_token(&request);
        let total = context.time_left().map_or(self.timeouts.total, |left| left.min(self.timeouts.total));
        Box::pin(TimedStream {
            inner: Some(self.inner.stream(request, context)),
            timers: None,
            silence: first_token,
            idle: self.timeouts.idle,
            total,
            begun: false,
        })
    }
}

struct TimedStream {
    /// None once it is over.
    inner: Option<BoxStream<'static, Result<Chunk, Error>>>,
    /// Set with the first poll.
    timers: Option<Timers>,
    /// How long the next content may take.
    silence: Duration,
    idle: Duration,
    total: Duration,
    /// Whether content has come.
    begun: bool,
}

struct Timers {
    content: Pin<Box<Sleep>>,
    whole: Pin<Box<Sleep>>,
}

impl Stream for TimedStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let timers = this.timers.get_or_insert_with(|| Timers {
            content: Box::pin(sleep(this.silence)),
            whole: Box::pin(sleep(this.total)),
        });
        if let Poll::Ready(item) = inner.as_mut().poll_next(cx) {
            match &item {
                Some(Ok(chunk)) if chunk.is_content() => {
                    (this.begun, this.silence) = (true, this.idle);
                    timers.content.as_mut().reset(Instant::now() + this.idle);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => this.inner = None,
            }
            return Poll::Ready(item);
        }
        let error = if timers.whole.as_mut().poll(cx).is_ready() {
            let text =
                "the call took longer than its limit of time; raise `timeout.total` or the run's deadline";
            Error::new(ErrorKind::Timeout, text)
        } else {
            ready!(timers.content.as_mut().poll(cx));
            match this.begun {
                true => {
                    let text = format!("no content for {:?}; raise `timeout.idle`", this.silence);
                    Error::new(ErrorKind::IdleTimeout, text)
                }
                false => {
                    let text = format!("no content within {:?}; raise `timeout.first_token`", this.silence);
                    Error::new(ErrorKind::Timeout, text)
                }
            }
        };
        this.inner = None;
        Poll::Ready(Some(Err(error)))
    }
}
