//! What servers that speak Chat Completions do in their own way.

/// Data about one server, applied in encoding. The default is what an unknown server most likely takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Whether the limit is called `max_completion_tokens` or, as with most, `max_tokens`.
    pub max_completion_tokens: bool,
}
