//! How often each turn of each run was tried, so that a fault can pass.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Turns remembered; the oldest are forgotten first.
const CAPACITY: usize = 16_384;

/// Counts of attempts. Asked only for turns that have faults.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    counts: HashMap<Key, u32>,
    order: VecDeque<Key>,
}

/// The run, the number of the model call in its conversation, and the turn of the script.
type Key = (String, usize, usize);

impl Attempts {
    /// Attempts before this one.
    pub fn next(&self, run: &str, number: usize, turn: usize) -> u32 {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (run.to_owned(), number, turn);
        if let Some(count) = inner.counts.get_mut(&key) {
            *count = count.saturating_add(1);
            return *count;
        }
        while inner.order.len() >= CAPACITY {
            if let Some(oldest) = inner.order.pop_front() {
                inner.counts.remove(&oldest);
            }
        }
        inner.order.push_back(key.clone());
        inner.counts.insert(key, 0);
        0
    }
}
