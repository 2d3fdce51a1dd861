//! The graph flow by its rules, one file per kind.

mod edges;
mod errors;
mod fan_out;
mod forks;
mod joins;
mod limits;
mod people;
mod properties;
mod recovery;
mod reducers;
mod snapshots;
pub mod support;
mod world;
