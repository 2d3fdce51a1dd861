//! OpenAI Chat Completions.

pub(crate) mod refusals;
pub(crate) mod reply;
pub(crate) mod rules;
mod tool_rules;
