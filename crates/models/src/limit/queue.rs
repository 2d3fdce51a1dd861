//! Calls that wait, by turns of their runs.

use std::collections::{BTreeMap, HashMap};
use std::task::Waker;

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// None until it was polled in the queue.
    pub waker: Option<Waker>,
    /// Tokens it will likely use.
    pub tokens: u64,
}

/// Each run has one turn in a round, however many of its calls wait; within a run the first to come goes
/// first. Every operation costs about log(n).
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    runs: HashMap<u64, RunQueue>,
    /// The run of each turn. A run stands here once.
    turns: BTreeMap<u64, u64>,
    next_turn: u64,
    waiting: usize,
}

#[derive(Debug)]
struct RunQueue {
    turn: u64,
    /// By their numbers, which ascend.
    calls: BTreeMap<u64, Waiter>,
}

impl FairQueue {
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// `call` is a number that no call had before.
    pub fn push(&mut self, run: u64, call: u64, waiter: Waiter) {
        let turn = self.next_turn;
        let queue = self.runs.entry(run).or_insert_with(|| {
            self.turns.insert(turn, run);
            self.next_turn += 1;
            RunQueue { turn, calls: BTreeMap::new() }
        });
        queue.calls.insert(call, waiter);
        self.waiting += 1;
    }

    /// Whose turn it is.
    pub fn front(&mut self) -> Option<(u64, &mut Waiter)> {
        let run = self.turns.first_key_value()?.1;
        let calls = &mut self.runs.get_mut(run)?.calls;
        let call = *calls.first_key_value()?.0;
        calls.get_mut(&call).map(|waiter| (call, waiter))
    }

    /// Takes the call whose turn it is; its run's next turn comes after those of all others.
    pub fn pop(&mut self) -> Option<(u64, Waiter)> {
        let (_, run) = self.turns.pop_first()?;
        let queue = self.runs.get_mut(&run)?;
        let popped = queue.calls.pop_first()?;
        self.waiting -= 1;
        if queue.calls.is_empty() {
            self.runs.remove(&run);
        } else {
            queue.turn = self.next_turn;
            self.turns.insert(self.next_turn, run);
            self.next_turn += 1;
        }
        Some(popped)
    }

    pub fn get_mut(&mut self, run: u64, call: u64) -> Option<&mut Waiter> {
        self.runs.get_mut(&run)?.calls.get_mut(&call)
    }

    /// Takes out a call that no longer waits.
    pub fn remove(&mut self, run: u64, call: u64) {
        let Some(queue) = self.runs.get_mut(&run) else { return };
        if queue.calls.remove(&call).is_none() {
            return;
        }
        self.waiting -= 1;
        if queue.calls.is_empty() {
            self.turns.remove(&queue.turn);
            self.runs.remove(&run);
        }
    }
}
