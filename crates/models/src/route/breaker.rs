//! A target that failed too often is left alone for a while.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
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
pub struct Breaker {
    inner: Arc<dyn Model>,
    shared: Arc<Shared>,
}

struct Shared {
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
        Self { inner, shared: Arc::new(Shared { policy, circuit: Mutex::default() }) }
    }

    /// Whether it is open now.
    pub fn state(&self) -> BreakerState {
        self.shared.circuit().state(Instant::now())
    }
}

impl Model for Breaker {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let breaker = self.clone();
        Box::pin(BreakerStream {
            breaker,
            state: State::Start { request, context },
            admitted: None,
            accepted: false,
        })
    }
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.inner.info().name;
        f.debug_struct("Breaker").field("model", name).field("state", &self.state()).finish()
    }
}

struct BreakerStream {
    breaker: Breaker,
    state: State,
    admitted: Option<Admitted>,
    /// Whether the provider let the call in.
    accepted: bool,
}

enum State {
    Start { request: Request, context: Context },
    Open(BoxStream<'static, Result<Chunk, Error>>),
    Over,
}

/// A call whose outcome was not counted yet.
struct Admitted {
    probe: bool,
    since: Instant,
    time_left: Option<Duration>,
}

impl Stream for BreakerStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if matches!(this.state, State::Start { .. })
            && let Err(error) = this.start()
        {
            return Poll::Ready(Some(Err(error)));
        }
        let State::Open(stream) = &mut this.state else { return Poll::Ready(None) };
        let item = ready!(stream.as_mut().poll_next(cx));
        match &item {
            Some(Ok(chunk)) => this.see(chunk),
            Some(Err(error)) => {
                this.failed(error);
                this.state = State::Over;
            }
            None => this.state = State::Over,
        }
        Poll::Ready(item)
    }
}

impl BreakerStream {
    fn start(&mut self) -> Result<(), Error> {
        let State::Start { request, context } = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        let now = Instant::now();
        let admitted = self.breaker.shared.circuit().admit(now);
        let probe = admitted.map_err(|left| {
            let name = &self.breaker.inner.info().name;
            let text = format!("`{name}` failed too often; it is asked again in {:.1} s", left.as_secs_f64());
            let provider = &self.breaker.inner.info().provider;
            Error::new(ErrorKind::BreakerOpen, text).with_provider(provider).with_retry_after(Some(left))
        })?;
        self.admitted = Some(Admitted { probe, since: now, time_left: context.time_left() });
        self.state = State::Open(self.breaker.inner.stream(request, context));
        Ok(())
    }

    fn see(&mut self, chunk: &Chunk) {
        match chunk {
            Chunk::Start { .. } => self.accepted = true,
            Chunk::End(_) => {
                if let Some(admitted) = self.admitted.take() {
                    self.breaker.shared.circuit().succeeded(admitted.probe, Instant::now());
                }
            }
            chunk => {
                if let Some(admitted) = &mut self.admitted
                    && admitted.probe
                    && chunk.is_content()
                {
                    // It answers: from here on this is a call like any other.
                    admitted.probe = false;
                    self.breaker.shared.circuit().probe_answered();
                }
            }
        }
    }

    fn failed(&mut self, error: &Error) {
        let Some(admitted) = self.admitted.take() else { return };
        let now = Instant::now();
        let late = error.kind() == ErrorKind::Timeout
            && admitted.time_left.is_some_and(|left| now.duration_since(admitted.since) >= left);
        let shared = &self.breaker.shared;
        match counts(error) && !late {
            true => shared.circuit().failed(admitted.probe, now, &shared.policy),
            // The target answered, if only to say no.
            false if error.status().is_some() => shared.circuit().answered(admitted.probe),
            false => shared.circuit().dropped(admitted.probe, now),
        }
    }
}

impl Drop for BreakerStream {
    fn drop(&mut self) {
        let Some(admitted) = self.admitted.take() else { return };
        let mut circuit = self.breaker.shared.circuit();
        match self.accepted {
            true => circuit.answered(admitted.probe),
            false => circuit.dropped(admitted.probe, Instant::now()),
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
