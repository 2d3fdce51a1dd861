//! That the table would tell: what it looks for is found where it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod facts;
mod images;
mod kills;
