//! What every store promises, over all three, and what each promises on top.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
mod sqlite;
mod support;
