//! Gemini generateContent.

pub(crate) mod content_rules;
pub(crate) mod reply;
pub(crate) mod rules;
pub(crate) mod tool_rules;
