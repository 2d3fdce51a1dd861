//! The benchmark works and compares like with like. No figure is looked at.

#![allow(clippy::unwrap_used, clippy::panic)]

mod tables;
mod upstream;
