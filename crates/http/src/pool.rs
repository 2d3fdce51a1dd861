//! The connections of one client, kept per origin.
//!
//! HTTP/1 connections rest here between exchanges and belong to one exchange at a time, which drives them; HTTP/2
//! connections stay here and are shared up to the server's limit of streams. While an origin's
//! protocol is unknown, or its HTTP/2 connections are full, one request connects and the others wait
//! for what it finds.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::Either;
use http::{Uri, header, uri::Authority};
use hyper::client::conn::http2;
use pin_project_lite::pin_project;
use tokio::{
    runtime,
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    body::WireBody,
    census::{Census, Counters, InFlight},
    client::Settings,
    connect::{Connected, StreamLimit, Turn, connect},
    error::{HttpError, HttpErrorKind, TimeoutPhase},
    http1::{Http1, Sent},
    tasks::Tasks,
    url::Url,
};

pub(crate) struct Pool {
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<State>,
    tasks: Tasks,
    /// Told when something happens to a connection that rests.
    resting: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// A list: a provider is one origin, and those that rest unused go.
    origins: Vec<(Origin, Slot)>,
    /// Runtimes whose reaper runs.
    reaped: Vec<runtime::Id>,
}

/// Hosts compare without case. A connection is driven by the runtime it was opened in, and stands still or
/// breaks with it, so exchanges of another runtime do not use it.
#[derive(Clone, PartialEq, Eq)]
struct Origin {
    https: bool,
    authority: Option<Authority>,
    runtime: Option<runtime::Id>,
}

impl Origin {
    fn of(url: &Url) -> Self {
        Self { https: url.is_https(), authority: url.authority().cloned(), runtime: this_runtime() }
    }
}

fn this_runtime() -> Option<runtime::Id> {
    runtime::Handle::try_current().ok().map(|runtime| runtime.id())
}

impl State {
    fn slot(&mut self, origin: &Origin) -> &mut Slot {
        let at = self.origins.iter().position(|(known, _)| known == origin).unwrap_or_else(|| {
            self.origins.push((origin.clone(), Slot::new()));
            self.origins.len() - 1
        });
        &mut self.origins[at].1
    }
}

struct Slot {
    /// The most recently used last.
    resting: Vec<(Http1, Instant)>,
    http2: Vec<Arc<Http2>>,
    /// One connects while the others wait.
    gate: Arc<Semaphore>,
    speaks_http1: bool,
}

/// A shared connection.
struct Http2 {
    sender: http2::SendRequest<WireBody>,
    streams: AtomicUsize,
    limit: StreamLimit,
    used_at: Mutex<Instant>,
    refused: AtomicBool,
}

impl Http2 {
    fn is_usable(&self) -> bool {
        !self.refused.load(Relaxed) && !self.sender.is_closed()
    }

    fn idle_since(&self) -> Option<Instant> {
        (self.streams.load(Relaxed) == 0).then(|| *lock(&self.used_at))
    }
}

/// A place on a shared connection.
struct Stream(Arc<Http2>);

impl Drop for Stream {
    fn drop(&mut self) {
        *lock(&self.0.used_at) = Instant::now();
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

enum Held {
    Http1(Http1),
    Http2(Stream),
}

enum Taken {
    Held(Held),
    /// None there: connect, after passing the gate if there is one.
    Connect(Option<Arc<Semaphore>>),
}

/// A connection, or a stream's place on one, held for one exchange.
pub(crate) struct Lease {
    held: Held,
    pool: Arc<Pool>,
    origin: Origin,
    /// Whether the connection was there before.
    pub(crate) reused: bool,
    _in_flight: InFlight,
}

impl Pool {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            counters: Arc::default(),
            state: Mutex::default(),
            tasks: Tasks::default(),
            resting: Arc::default(),
        }
    }

    pub(crate) fn census(&self) -> Census {
        let state = lock(&self.state);
        let idle = state.origins.iter().map(|(_, slot)| {
            slot.resting.iter().filter(|(it, _)| !it.is_closed()).count()
                + slot.http2.iter().filter(|it| it.is_usable() && it.idle_since().is_some()).count()
        });
        Census {
            idle: idle.sum(),
            open: self.counters.open.load(Relaxed),
            in_flight: self.counters.in_flight.load(Relaxed),
            opened: self.counters.opened.load(Relaxed),
        }
    }

    /// A connection for an exchange with the host of `url`; a new one within `limit`.
    pub(crate) async fn acquire(self: &Arc<Self>, url: &Url, limit: Duration) -> Result<Lease, HttpError> {
        let in_flight = InFlight::new(&self.counters);
        let origin = Origin::of(url);
        let lease = |held, reused| Lease {
            held,
            reused,
            pool: self.clone(),
            origin: origin.clone(),
            _in_flight: in_flight,
        };
        loop {
            let gate = match self.take(&origin) {
                Taken::Held(mut held) => {
                    if held.is_ready().await {
                        return Ok(lease(held, true));
                    }
                    continue;
                }
                Taken::Connect(gate) => gate,
            };
            // Boxed: connecting is rare, and its state would be in every request under way.
            let opening = Box::pin(timeout(limit, self.open(url, &origin, gate)));
            let (held, reused) = opening.await.unwrap_or_else(|_| {
                let message =
                    format!("no connection within {limit:?}; check the address, proxy and firewall");
                Err(HttpError::new(HttpErrorKind::Timeout(TimeoutPhase::Connect), message))
            })?;
            return Ok(lease(held, reused));
        }
    }

    async fn open(
        self: &Arc<Self>,
        url: &Url,
        origin: &Origin,
        mut gate: Option<Arc<Semaphore>>,
    ) -> Result<(Held, bool), HttpError> {
        let mut turn: Turn = None;
        if let Some(closed) = gate.take() {
            turn = closed.acquire_owned().await.ok().map(Arc::new);
            match self.take(origin) {
                Taken::Held(mut held) => {
                    if held.is_ready().await {
                        return Ok((held, true));
                    }
                }
                // The one before found HTTP/1: no reason to wait in line.
                Taken::Connect(None) => turn = None,
                Taken::Connect(Some(_)) => {}
            }
        }
        let connected =
            connect(&self.settings, url, &self.counters, &self.tasks, &self.resting, turn.clone()).await?;
        let held = self.welcome(origin, connected);
        // Not before the pool knows the connection.
        drop(turn);
        Ok((held, false))
    }

    fn take(&self, origin: &Origin) -> Taken {
        let mut state = lock(&self.state);
        let slot = state.slot(origin);
        while let Some((connection, since)) = slot.resting.pop() {
            if !connection.is_closed() && since.elapsed() < self.settings.idle_timeout {
                connection.resume();
                return Taken::Held(Held::Http1(connection));
            }
        }
        slot.http2.retain(|it| it.is_usable());
        for connection in &slot.http2 {
            if connection.streams.load(Relaxed) < connection.limit.now() {
                connection.streams.fetch_add(1, Relaxed);
                return Taken::Held(Held::Http2(Stream(connection.clone())));
            }
        }
        let gated = self.may_be_http2(origin) && !slot.speaks_http1;
        Taken::Connect(gated.then(|| slot.gate.clone()))
    }

    fn may_be_http2(&self, origin: &Origin) -> bool {
        origin.https && self.settings.http2
    }

    fn welcome(self: &Arc<Self>, origin: &Origin, connected: Connected) -> Held {
        let mut state = lock(&self.state);
        let slot = state.slot(origin);
        let held = match connected {
            Connected::Http1(connection) => {
                slot.speaks_http1 = true;
                return Held::Http1(connection);
            }
            Connected::Http2 { sender, limit } => {
                slot.speaks_http1 = false;
                let connection = Arc::new(Http2 {
                    sender,
                    streams: AtomicUsize::new(1),
                    limit,
                    used_at: Mutex::new(Instant::now()),
                    refused: AtomicBool::new(false),
                });
                slot.http2.push(connection.clone());
                Held::Http2(Stream(connection))
            }
        };
        drop(state);
        self.reap();
        held
    }

    fn rest(self: &Arc<Self>, origin: &Origin, mut connection: Http1) {
        // Read elsewhere than it was asked for: nobody there would look after it.
        let is_home = origin.runtime.is_some() && origin.runtime == this_runtime();
        if self.settings.max_idle_per_host == 0 || !is_home || !connection.settle() {
            return;
        }
        let mut state = lock(&self.state);
        let slot = state.slot(origin);
        if slot.resting.len() >= self.settings.max_idle_per_host {
            return;
        }
        // Under the lock: what happens to it from here on finds it among those that rest.
        connection.rest();
        slot.resting.push((connection, Instant::now()));
        drop(state);
        self.reap();
    }

    /// Starts the task that looks after what rests in this runtime, unless it runs. It ends when nothing rests.
    fn reap(self: &Arc<Self>) {
        let Some(runtime) = this_runtime() else { return };
        {
            let mut state = lock(&self.state);
            if state.reaped.contains(&runtime) {
                return;
            }
            state.reaped.push(runtime);
        }
        // Not under the lock: a runtime that ends drops the task at once.
        let reaping = Reaping { pool: Arc::downgrade(self), runtime };
        self.tasks.spawn(reaper(reaping, self.resting.clone(), Instant::now() + self.settings.idle_timeout));
    }

    /// Closes what rested too long or was closed by the server, in any runtime, for any reaper may have been told;
    /// gives the time of the next look. Where nothing rests, the reaper of `runtime` is over.
    fn evict(&self, runtime: runtime::Id) -> Option<Instant> {
        let now = Instant::now();
        let limit = self.settings.idle_timeout;
        let mut next: Option<Instant> = None;
        let mut keep = |since: Instant| {
            let at = since + limit;
            if at <= now {
                return false;
            }
            next = Some(next.map_or(at, |next| next.min(at)));
            true
        };
        let mut state = lock(&self.state);
        state.origins.retain_mut(|(_, slot)| {
            slot.resting.retain_mut(|(it, since)| it.still_rests() && keep(*since));
            slot.http2.retain(|it| it.is_usable() && keep(it.idle_since().unwrap_or(now)));
            !slot.resting.is_empty() || !slot.http2.is_empty()
        });
        if next.is_none() {
            state.reaped.retain(|it| *it != runtime);
        }
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// A reaper that ends with its runtime takes along what rests there.
struct Reaping {
    pool: Weak<Pool>,
    runtime: runtime::Id,
}

impl Drop for Reaping {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut state = lock(&pool.state);
        state.reaped.retain(|it| *it != self.runtime);
        let gone = state.origins.extract_if(.., |(origin, _)| origin.runtime == Some(self.runtime));
        let gone: Vec<_> = gone.collect();
        drop(state);
        drop(gone);
    }
}

async fn reaper(mut reaping: Reaping, resting: Arc<Notify>, mut at: Instant) {
    loop {
        tokio::select! {
            () = resting.notified() => {}
            () = sleep_until(at) => {}
        }
        let Some(pool) = reaping.pool.upgrade() else { return };
        match pool.evict(reaping.runtime) {
            Some(next) => at = next,
            None => {
                // Another may have begun since.
                reaping.pool = Weak::new();
                return;
            }
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            resting: Vec::new(),
            http2: Vec::new(),
            gate: Arc::new(Semaphore::new(1)),
            speaks_http1: false,
        }
    }
}

impl Held {
    /// Whether a request may be sent now; a connection that needs too long is given up.
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_ready().await,
            Self::Http2(_) => true,
        }
    }
}

impl Lease {
    /// Puts the target into the request as this connection wants it.
    pub(crate) fn address(&self, request: &mut http::Request<WireBody>, url: &Url) {
        let Held::Http1(connection) = &self.held else {
            *request.uri_mut() = url.uri().clone();
            return;
        };
        if !request.headers().contains_key(header::HOST)
            && let Some(host) = url.host_header()
        {
            request.headers_mut().insert(header::HOST, host);
        }
        match &connection.forward {
            Some(forward) => {
                *request.uri_mut() = url.uri().clone();
                if let Some(authorization) = &forward.authorization {
                    request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
                }
            }
            None => {
                *request.uri_mut() = url.uri().path_and_query().map_or_else(Uri::default, |path| {
                    let mut parts = http::uri::Parts::default();
                    parts.path_and_query = Some(path.clone());
                    Uri::from_parts(parts).unwrap_or_default()
                });
            }
        }
    }

    /// Sends. Not an async function: that would keep a place for the request while it waits for the response.
    pub(crate) fn send(&mut self, request: http::Request<WireBody>) -> impl Future<Output = Sent> {
        let sent = match &mut self.held {
            Held::Http1(connection) => Either::Left(connection.send(request)),
            Held::Http2(stream) => Either::Right(stream.0.sender.clone().try_send_request(request)),
        };
        Sending { lease: self, sent }
    }

    /// Polls what comes of the exchange, and the connection it comes from where no task drives that.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.held {
            Held::Http1(connection) => connection.poll(cx, |_, cx| wanted(cx)),
            Held::Http2(_) => wanted(cx),
        }
    }

    /// The exchange ended well: an HTTP/1 connection rests until the next one.
    pub(crate) fn give_back(self) {
        if let Held::Http1(connection) = self.held {
            self.pool.rest(&self.origin, connection);
        }
    }

    /// The connection took no request: no one is to try it again.
    pub(crate) fn discard(self) {
        if let Held::Http2(stream) = &self.held {
            stream.0.refused.store(true, Relaxed);
        }
    }
}

pin_project! {
    /// A request that waits for its response.
    struct Sending<'a, F> {
        lease: &'a mut Lease,
        #[pin]
        sent: F,
    }
}

impl<F: Future> Future for Sending<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.lease.poll(cx, |cx| this.sent.as_mut().poll(cx))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
