//! The core as its users see it: the machine through inputs and records, the parts through their own doors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dependencies;
mod errors;
mod graph;
mod machine;
mod manual;
mod memory;
mod properties;
mod records;
mod reply;
mod schema;
mod suggest;
mod support;
mod wire;
mod world;
