//! Ollama's own format.

pub(crate) mod reply;
pub(crate) mod rules;
