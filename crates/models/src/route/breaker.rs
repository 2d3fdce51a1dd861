//! A target that failed too often is left alone for a while.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, ErrorKind, Model, Request};
use futures_core::Stream;
use tokio::time::Instant;

use super::breaker_state::{BreakerState, Circuit};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it. It opens as well when half of at least ten calls within 30 s
    /// failed.
    pub failures: u32,
    /// How long it is open the first time. Each probe that fails doubles it, up to [`Self::LONGEST`].
    pub open_for: Duration,
}

impl BreakerPolicy {
    /// The window of the second rule.
    pub const WINDOW: Duration = Duration::from_secs(30);
    /// The calls within it that the second rule needs.
    pub const CALLS: u32 = 10;
    /// No breaker is open longer without a probe, unless `open_for` is.
    pub const LONGEST: Duration = Duration::from_secs(300);
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(15) }
    }
}

/// A model that is not asked while it keeps failing.
///
/// While it is open, calls fail at once with `breaker_open`, which says when to come again; a route passes
/// on to its next target. Then one call is let through as a probe. Its first content closes the
/// breaker, its failure opens it for twice as long, and when it is hung up on before the provider accepted
/// it, the breaker stays open as long again.
///
/// Failures are the target's: no connection, 5xx, overload, silence, a broken or cut answer. What is wrong
/// with the request, the key or the account (4xx, a rate limit among them), a refusal, and a call that was
/// cancelled or had no time left, do not count.
///
/// Clones share their state: all routes over one target should share one breaker.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Model>,
    policy: BreakerPolicy,
    circuit: Mutex<Circuit>,
}

impl Shared {
    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    pub fn new(inner: Arc<dyn Model>, policy: BreakerPolicy) -> Self {
        Self(Arc::new(Shared { inner, policy, circuit: Mutex::default() }))
    }

    /// Whether it is open now.
    pub fn state(&self) -> BreakerState {
        self.0.circuit().state(Instant::now())
    }
}

impl Model for Breaker {
    fn info(&self) -> &ModelInfo {
        self.0.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(BreakerStream {
            shared: self.0.clone(),
            time_left: context.time_left(),
            // Nothing is sent before it is polled.
            stream: Some(self.0.inner.stream(request, context)),
            begun: false,
            probes: false,
            admitted: None,
            accepted: false,
        })
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.info().name;
        f.debug_struct("Breaker").field("model", name).field("state", &self.state()).finish()
    }
}

struct BreakerStream {
    shared: Arc<Shared>,
    /// None once it is over.
    stream: Option<BoxStream<'static, Result<Chunk, Error>>>,
    begun: bool,
    /// Whether it is a probe without an answer yet.
    probes: bool,
    /// Whether the provider let the call in.
    accepted: bool,
    /// Since when this is a call whose outcome was not counted yet.
    admitted: Option<Instant>,
    time_left: Option<Duration>,
}

impl Stream for BreakerStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Nearly all chunks pass here as they lie. One value is returned in one place, and is so never copied.
        let polled;
        match &mut this.stream {
            Some(stream) if this.begun => {
                polled = stream.as_mut().poll_next(cx);
                // The rest says nothing about the target, but for the first content of a probe.
                let tells = match &polled {
                    Poll::Pending => false,
                    Poll::Ready(Some(Ok(chunk))) => matches!(chunk, Chunk::Start { .. } | Chunk::End(_)),
                    Poll::Ready(_) => true,
                };
                if tells || this.probes {
                    this.see(&polled);
                }
            }
            _ => polled = this.begin(cx),
        }
        polled
    }
}

// What is done a few times in a call stays out of line, so that passing a chunk on is short.
impl BreakerStream {
    #[inline(never)]
    fn begin(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        self.begun = true;
        let now = Instant::now();
        let admitted = self.shared.circuit().admit(now);
        match admitted {
            Ok(probes) => self.probes = probes,
            Err(left) => {
                self.stream = None;
                return Poll::Ready(Some(Err(self.refused(left))));
            }
        }
        self.admitted = Some(now);
        let polled = stream.as_mut().poll_next(cx);
        self.see(&polled);
        polled
    }

    fn refused(&self, left: Duration) -> Error {
        let ModelInfo { name, provider, .. } = self.shared.inner.info();
        let text = format!("`{name}` failed too often; it is asked again in {:.1} s", left.as_secs_f64());
        Error::new(ErrorKind::BreakerOpen, text).with_provider(provider).with_retry_after(Some(left))
    }

    #[inline(never)]
    fn see(&mut self, polled: &Poll<Option<Result<Chunk, Error>>>) {
        let Poll::Ready(item) = polled else { return };
        match item {
            Some(Ok(Chunk::Start { .. })) => self.accepted = true,
            Some(Ok(Chunk::End(_))) => {
                if self.admitted.take().is_some() {
                    self.shared.circuit().succeeded(self.probes, Instant::now());
                }
            }
            Some(Ok(chunk)) => {
                if self.probes && self.admitted.is_some() && chunk.is_content() {
                    // It answers: from here on this is a call like any other.
                    self.probes = false;
                    self.shared.circuit().probe_answered();
                }
            }
            Some(Err(error)) => {
                self.failed(error);
                self.stream = None;
            }
            None => self.stream = None,
        }
    }

    fn failed(&mut self, error: &Error) {
        let Some(since) = self.admitted.take() else { return };
        let now = Instant::now();
        let late = error.kind() == ErrorKind::Timeout
            && self.time_left.is_some_and(|left| now.duration_since(since) >= left);
        let mut circuit = self.shared.circuit();
        match counts(error) && !late {
            true => circuit.failed(self.probes, now, &self.shared.policy),
            // The target answered, if only to say no.
            false if error.status().is_some() => circuit.answered(self.probes),
            false => circuit.dropped(self.probes, now),
        }
    }
}

impl Drop for BreakerStream {
    fn drop(&mut self) {
        if self.admitted.take().is_none() {
            return;
        }
        let mut circuit = self.shared.circuit();
        match self.accepted {
            true => circuit.answered(self.probes),
            false => circuit.dropped(self.probes, Instant::now()),
        }
    }
}

/// Whether a failure is the target's.
fn counts(error: &Error) -> bool {
    use ErrorKind::{
        BadUpstream, ConnectFailed, IdleTimeout, Overloaded, ProviderError, StreamTruncated, Timeout,
    };
    matches!(
        error.kind(),
        BadUpstream | ConnectFailed | IdleTimeout | Overloaded | ProviderError | StreamTruncated | Timeout
    )
}
