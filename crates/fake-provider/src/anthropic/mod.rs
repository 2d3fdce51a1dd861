//! Anthropic Messages.

pub(crate) mod block_rules;
pub(crate) mod reply;
pub(crate) mod rules;
