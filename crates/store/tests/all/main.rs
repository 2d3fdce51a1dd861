//! What every store promises, over all three, and what each promises on top.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod child;
mod cluster;
mod conformance;
mod conversations;
mod disk;
mod postgres;
mod sqlite;
mod support;
mod turns;
