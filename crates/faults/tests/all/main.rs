//! The table holds, and would notice if it did not.

#![allow(clippy::unwrap_used, reason = "a test that cannot begin fails")]

mod naive;
mod notices;
mod peers;
mod table;
