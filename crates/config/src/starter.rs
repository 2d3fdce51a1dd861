//! What `ambidex config init` writes.

/// A commented `ambidex.toml` that loads as it is and runs without a key.
pub const STARTER: &str = include_str!("starter.toml");
