//! What a child process reports to its parent, as one line of JSON.

use serde::{Deserialize, Serialize};

/// One measurement of one contender.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    pub operations: u32,
    /// User and system time of the client, seconds.
    pub cpu_seconds: f64,
    pub user_seconds: f64,
    pub wall_seconds: f64,
    pub resident_before: u64,
    pub resident_peak: u64,
    pub open_files: u64,
    /// The turns of all long runs.
    pub turns: Vec<Turn>,
    /// Those of the bare client, which took turns with the contender in the same process.
    pub bare_turns: Vec<Turn>,
    /// Of scenarios that Ambidex does beside itself.
    pub pairs: Vec<Pair>,
    /// CPU of the calls of `queue` until all of them wait.
    pub queueing_seconds: f64,
}

/// Microseconds of CPU per operation, in two ways that took turns in one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pair {
    pub plain: f64,
    pub other: f64,
}

/// The CPU of one turn of a long run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Turn {
    pub number: u32,
    pub microseconds: f64,
}

/// What the upstream saw, warm-up included.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    pub requests: u64,
    /// Those that asked for a stream.
    pub streamed: u64,
    pub body_bytes: u64,
    pub largest_body: u64,
    pub connections: u64,
    /// The most requests that were waiting for their reply at one moment.
    pub waiting_at_once: u64,
    /// Requests whose client left before their reply had begun.
    pub hung_up: u64,
}
