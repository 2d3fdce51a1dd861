//! An HTTP/1 connection, driven by the exchange that holds it.
//!
//! No task of its own stands between the socket and the exchange: what the socket says wakes the task that
//! waits for it, and dropping the exchange closes the socket at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::HeaderValue;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{sync::Notify, time::timeout};

use crate::{body::WireBody, connect::Transport};

/// How long a pooled connection may take to be ready again after its last response ended.
const READY: Duration = Duration::from_secs(1);
/// How often a connection that woke itself is polled again before other tasks get their turn.
const ROUNDS: usize = 3;

/// The error gives the request back when nothing of it was written.
pub(crate) type Sent = Result<http::Response<Incoming>, TrySendError<http::Request<WireBody>>>;

pub(crate) struct Http1 {
    sender: http1::SendRequest<WireBody>,
    /// Gone when it has ended.
    connection: Option<Box<http1::Connection<TokioIo<Transport>, WireBody>>>,
    signal: Arc<Signal>,
    waker: Waker,
    /// Whether what was last wanted of it is still waited for: nothing is new before a wake-up.
    waits: bool,
    /// Set for plain http through a proxy, which wants absolute URLs.
    pub(crate) forward: Option<Forward>,
}

/// What a proxy that is asked for plain http needs in each request.
#[derive(Clone)]
pub(crate) struct Forward {
    pub(crate) authorization: Option<HeaderValue>,
}

/// Where a connection's wake-ups go: to the task of its exchange, or to the pool while it rests. Those that
/// come while it is polled are only noted.
struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
    pool: Arc<Notify>,
}

const WOKEN: u8 = 1;
const POLLED: u8 = 2;
const RESTING: u8 = 4;

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.state.fetch_or(WOKEN, AcqRel);
        if before & RESTING != 0 {
            self.pool.notify_one();
        } else if before & POLLED == 0 {
            self.task.wake();
        }
    }
}

impl Signal {
    fn is_woken(&self) -> bool {
        self.state.load(Acquire) & WOKEN != 0
    }
}

impl Http1 {
    /// `pool` is told when something happens to the connection while it rests.
    pub(crate) fn new(
        sender: http1::SendRequest<WireBody>,
        connection: http1::Connection<TokioIo<Transport>, WireBody>,
        forward: Option<Forward>,
        pool: Arc<Notify>,
    ) -> Self {
        let signal = Arc::new(Signal { state: AtomicU8::new(0), task: AtomicWaker::new(), pool });
        let waker = Waker::from(signal.clone());
        Self { sender, connection: Some(Box::new(connection)), signal, waker, waits: false, forward }
    }

    /// Takes a request; what comes of it comes only while the connection is polled.
    pub(crate) fn send(&mut self, request: http::Request<WireBody>) -> impl Future<Output = Sent> + use<> {
        self.sender.try_send_request(request)
    }

    /// Whether a request may be sent now; a connection that needs too long is given up.
    pub(crate) async fn is_ready(&mut self) -> bool {
        if self.sender.is_ready() && !self.signal.is_woken() {
            return true;
        }
        let ready = std::future::poll_fn(|cx| self.poll(cx, |sender, cx| sender.poll_ready(cx)));
        matches!(timeout(READY, ready).await, Ok(Ok(())))
    }

    /// Drives the connection until `wanted` has what it wants of it. While that is pending, nothing else may be
    /// wanted.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wanted: impl FnMut(&mut http1::SendRequest<WireBody>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.signal.task.register(cx.waker());
        if self.waits && !self.signal.is_woken() {
            return Poll::Pending;
        }
        self.waits = false;
        for _ in 0..ROUNDS {
            self.drive();
            let polled = wanted(&mut self.sender, &mut Context::from_waker(&self.waker));
            let before = self.signal.state.fetch_and(!POLLED, AcqRel);
            if polled.is_ready() || before & WOKEN == 0 {
                self.waits = polled.is_pending();
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls the connection; the state stays [`POLLED`].
    fn drive(&mut self) {
        self.signal.state.swap(POLLED, AcqRel);
        let mut cx = Context::from_waker(&self.waker);
        let ended = self.connection.as_mut().is_none_or(|it| Pin::new(it).poll(&mut cx).is_ready());
        if ended {
            // A failure reaches the exchange through its request or body; there is no one else to tell.
            self.connection = None;
        }
    }

    /// Between exchanges: deals with what happened since. False when the connection has ended.
    pub(crate) fn settle(&mut self) -> bool {
        for _ in 0..ROUNDS {
            if self.sender.is_ready() && !self.signal.is_woken() {
                break;
            }
            self.drive();
            self.signal.state.fetch_and(!POLLED, AcqRel);
        }
        !self.is_closed()
    }

    /// From now on the pool hears of what happens to it.
    pub(crate) fn rest(&self) {
        // The task of its last exchange may be over: its memory is not to be kept.
        drop(self.signal.task.take());
        if self.signal.state.fetch_or(RESTING, AcqRel) & WOKEN != 0 {
            self.signal.pool.notify_one();
        }
    }

    /// Looks after it while it rests. False when the connection has ended.
    pub(crate) fn still_rests(&mut self) -> bool {
        if self.signal.is_woken() && self.settle() {
            self.rest();
        }
        !self.is_closed()
    }

    /// The next exchange takes it.
    pub(crate) fn resume(&self) {
        self.signal.state.fetch_and(!RESTING, AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_none() || self.sender.is_closed()
    }
}
