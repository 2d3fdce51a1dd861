//! How the world outside reaches a run under way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ambidex_core::effect::EffectId;
use ambidex_core::question::Question;
use ambidex_core::record::Input;
use ambidex_core::relay::{Asking, Closing};
use tokio::sync::Notify;

/// Inputs for one run. Bounded: a run that does not keep up refuses more.
#[derive(Default)]
pub(crate) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// How long effects have only waited for people, in nanoseconds.
    waited: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    closed: bool,
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    Full,
    /// The run has come to rest.
    Closed,
}

impl Mailbox {
    const BOUND: usize = 100;

    pub(crate) fn send(&self, input: Input) -> Result<(), Unsent> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Unsent::Closed);
        }
        if waiting.inputs.len() >= Self::BOUND {
            return Err(Unsent::Full);
        }
        waiting.inputs.push(input);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// From the run's own effects: never refused.
    fn tell(&self, input: Input) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.inputs.push(input);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// What has come, without waiting.
    pub(crate) fn take(&self) -> Vec<Input> {
        std::mem::take(&mut self.lock().inputs)
    }

    /// Takes no more; gives what came before.
    pub(crate) fn close(&self) -> Vec<Input> {
        let mut waiting = self.lock();
        waiting.closed = true;
        std::mem::take(&mut waiting.inputs)
    }

    /// Takes no more, unless something has come: that is given then.
    pub(crate) fn close_if_empty(&self) -> Vec<Input> {
        let mut waiting = self.lock();
        waiting.closed = waiting.inputs.is_empty();
        std::mem::take(&mut waiting.inputs)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is at least one. Dropping the future loses nothing.
    pub(crate) async fn receive(&self) -> Vec<Input> {
        loop {
            let inputs = self.take();
            if !inputs.is_empty() {
                return inputs;
            }
            self.arrived.notified().await;
        }
    }
}

/// A model's effect that asks a person says so here; the run then waits for him and not for the model.
impl Asking for Mailbox {
    fn asked(&self, effect: EffectId, attempt: u32, question: Question, beside: bool) {
        self.tell(Input::Asked { effect, attempt, question: Box::new(question), beside });
    }

    fn closed(&self, effect: EffectId, attempt: u32, question: String, closing: Closing, waited: Duration) {
        self.waited.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.tell(Input::Closed { effect, attempt, question, closing });
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Relaxed))
    }
}
