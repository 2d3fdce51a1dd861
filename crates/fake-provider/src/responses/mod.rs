//! OpenAI Responses.

pub(crate) mod item_rules;
pub(crate) mod reply;
pub(crate) mod rules;
pub(crate) mod thread_rules;
