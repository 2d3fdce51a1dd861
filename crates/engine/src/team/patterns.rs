//! Teams in one line.

use ambidex_core::{Error, ErrorKind};

use super::{OnFailure, Team};
use crate::agent::Agent;
use crate::merge::{Actor, How, Merge};

impl Team {
    /// One agent does a task so often, and the answer that judges score highest is taken. Attempts that fail are left
    /// out while one succeeds.
    ///
    /// # Errors
    /// `config_invalid`: `times` is 0.
    pub fn best_of(agent: &Agent, times: usize, judge: impl Into<Actor>) -> Result<Self, Error> {
        if times == 0 {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "the best of 0 answers is none; ask for at least 1",
            ));
        }
        let team = Self::builder().name(format!("best of {}", agent.name()));
        let team = team.agents(std::iter::repeat_n(agent.clone(), times)).judged_by(judge);
        team.merge(Merge::new(How::BestOf)).everyone().on_failure(OnFailure::Continue).build()
    }

    /// All agents do a task, and a field of their outputs is voted on. Those that fail do not vote.
    ///
    /// # Errors
    /// `config_invalid`: no agents, or a field that the result has otherwise.
    pub fn vote(agents: impl IntoIterator<Item = Agent>, field: impl Into<String>) -> Result<Self, Error> {
        let team = Self::builder().name("vote").agents(agents).merge(Merge::vote(field));
        team.everyone().on_failure(OnFailure::Continue).build()
    }

    /// All agents do a task, and a model writes one answer from all. Those that fail are left out.
    ///
    /// # Errors
    /// `config_invalid`: no agents.
    pub fn fuse(agents: impl IntoIterator<Item = Agent>, writer: impl Into<Actor>) -> Result<Self, Error> {
        let team = Self::builder().name("fuse").agents(agents).written_by(writer);
        team.merge(Merge::new(How::Fuse)).everyone().on_failure(OnFailure::Continue).build()
    }
}
