//! A run that goes on, for real, where a replay has ended.

use ambidex_core::Error;
use ambidex_core::run::Patch;

use super::Replayed;
use crate::agent::RunOptions;
use crate::carrier::Runnable;
use crate::handle::RunHandle;
use crate::time_travel::fork_of;

impl Replayed {
    /// Goes on from here as a new run, for real: its model, its tools and its people are asked. Its events begin
    /// here.
    ///
    /// # Errors
    /// `invalid_request`: the run was ending here. `config_invalid`: something it needs is gone. `store_failed`.
    /// Nothing has been asked then.
    pub async fn go_on(&self, runnable: &Runnable, options: RunOptions) -> Result<RunHandle, Error> {
        self.go_on_with(None, runnable, options).await
    }

    /// Like [`Replayed::go_on`], with a change: fields of a graph's state, a message for an agent.
    ///
    /// # Errors
    /// As there.
    pub async fn go_on_with(
        &self,
        patch: Option<Patch>,
        runnable: &Runnable,
        options: RunOptions,
    ) -> Result<RunHandle, Error> {
        let (carrier, definition) = (runnable.carrier(), self.definition.clone());
        fork_of(&carrier, &self.result.run, definition, &self.records, patch, &options).await
    }
}
