//! What the provider saw: requests, connections, hang-ups.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use crate::fault::Fault;
use crate::memory::Memory;
use crate::wire::Wire;

/// A request as the provider received it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Counted from 1 over all connections.
    pub number: u64,
    /// The connection, counted from 1.
    pub connection: u64,
    /// When it was complete; monotonic.
    pub at: Instant,
    /// As `POST`.
    pub method: String,
    /// As `/v1/messages`.
    pub path: String,
    /// In order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null when it is not JSON or bodies are not kept.
    pub body: Value,
    /// The body's length in bytes.
    pub bytes: usize,
    /// The format, by the path; none for other paths.
    pub wire: Option<Wire>,
    /// The run it belongs to; empty when it names none.
    pub run: String,
    /// The attempt within its run and turn, counted from 1; 0 when it was refused or asked no model.
    pub attempt: u32,
    /// The fault that struck it.
    pub fault: Option<Fault>,
    /// The status answered; 0 when none was sent.
    pub status: u16,
    /// Why it was refused.
    pub refusal: Option<String>,
}

impl RecordedRequest {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A client that left while its response was in flight.
#[derive(Clone, Debug)]
pub struct Hangup {
    /// The request, by number.
    pub request: u64,
    /// The connection.
    pub connection: u64,
    /// The run.
    pub run: String,
    /// When it was seen; monotonic.
    pub at: Instant,
    /// Bytes of the response handed to the kernel by then, head included.
    pub bytes_sent: usize,
    /// Whether it ended with a reset. A client that closes with bytes unread sends one too.
    pub reset: bool,
}

/// How many connections and responses there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sockets open now.
    pub open: usize,
    /// The most that were open at once.
    pub peak_open: usize,
    /// Sockets accepted so far.
    pub accepted: u64,
    /// Responses in flight now.
    pub in_flight: usize,
    /// The most that were in flight at once.
    pub peak_in_flight: usize,
}

/// The record of one provider. Every change moves `changed`.
pub(crate) struct Observation {
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct Book {
    pub requests: Vec<RecordedRequest>,
    pub hangups: Vec<Hangup>,
    pub census: Census,
    pub asked: u64,
    /// By run and number of messages.
    pub attempts: HashMap<(String, usize), u32>,
    /// Requests that reached a turn, by run.
    pub runs: HashMap<String, u32>,
    pub memory: Memory,
}

impl Observation {
    pub fn new() -> Self {
        Observation { book: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.lock())
    }

    pub fn write<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let out = change(&mut self.lock());
        self.changed.send_modify(|version| *version += 1);
        out
    }

    /// Waits until `look` sees something.
    pub async fn wait<T>(&self, look: impl Fn(&Book) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = self.read(&look) {
                return found;
            }
            // The sender lives in self, so this can only be a change.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
