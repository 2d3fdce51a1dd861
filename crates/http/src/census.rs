//! How many connections a client has: counted where sockets are opened and dropped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// A count of a client's connections and requests at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Sockets open now, the ones still in a handshake included.
    pub open: usize,
    /// HTTP/1 connections resting in the pool and HTTP/2 connections without a stream.
    pub idle: usize,
    /// Requests sent whose response has not ended and was not dropped.
    pub in_flight: usize,
    /// Sockets opened since the client was built.
    pub opened: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) open: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) opened: AtomicU64,
}

/// Lives as long as a socket.
pub(crate) struct OpenConnection(Arc<Counters>);

impl OpenConnection {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Relaxed);
        counters.opened.fetch_add(1, Relaxed);
        Self(counters.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Lives as long as an exchange.
pub(crate) struct InFlight(Arc<Counters>);

impl InFlight {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.in_flight.fetch_add(1, Relaxed);
        Self(counters.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
