//! Graphs as data: what is pinned when a run of one is accepted, and what its nodes are given and give back. The
//! machine that follows it is in [`crate::run`].

mod bits;
mod call;
mod definition;
mod plan;
mod state;

pub use call::{NodeCall, NodeOutput, Sent};
pub use definition::{GraphDefinition, Next, NodeDefinition, NodeWork, OnError, Retry, Source};
pub use plan::PlanCell;
pub use state::{Reducer, State};

pub(crate) use bits::Bits;
pub(crate) use call::Item;
pub(crate) use plan::{Plan, PlannedNext};
pub(crate) use state::{PATCH, Place, Update, lookup};

/// The target that is no node: the path ends there.
pub const END: &str = "end";
