//! How the world outside reaches a run under way.

use std::sync::{Mutex, PoisonError};

use ambidex_core::record::Input;
use tokio::sync::Notify;

/// Inputs for one run. Bounded: a run that does not keep up refuses more.
#[derive(Default)]
pub(crate) struct Mailbox {
    inputs: Mutex<Vec<Input>>,
    arrived: Notify,
}

/// The mailbox is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full;

impl Mailbox {
    const BOUND: usize = 100;

    pub(crate) fn send(&self, input: Input) -> Result<(), Full> {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        if inputs.len() >= Self::BOUND {
            return Err(Full);
        }
        inputs.push(input);
        drop(inputs);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until there is at least one. Dropping the future loses nothing.
    pub(crate) async fn receive(&self) -> Vec<Input> {
        loop {
            let inputs = std::mem::take(&mut *self.inputs.lock().unwrap_or_else(PoisonError::into_inner));
            if !inputs.is_empty() {
                return inputs;
            }
            self.arrived.notified().await;
        }
    }
}
