//! What a team is made of, checked.

use ambidex_core::budget::Budget;

use crate::merge::Merge;

/// A member, as the planner is told of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub name: String,
    pub about: String,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub name: String,
    pub agents: Vec<Known>,
    pub merge: Merge,
    pub budget: Budget,
    /// Parts at once.
    pub at_once: u32,
    /// Of a part.
    pub attempts: u32,
    pub part_timeout_ms: Option<u64>,
    /// A part that failed is left out, and the others go on.
    pub goes_on: bool,
    pub most_parts: usize,
    /// Times a plan that cannot be followed is given back.
    pub repairs: u32,
    pub threshold: Option<f64>,
    /// Times work is sent back.
    pub rounds: u32,
}

impl Settings {
    pub(super) fn planner_name(&self) -> String {
        format!("{}/planner", self.name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.agents.iter().map(|agent| agent.name.as_str())
    }
}
