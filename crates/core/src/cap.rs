//! Bounds on what tools give back.

/// Bytes of a tool's result that are kept.
pub const KEPT: usize = 256 * 1024;
/// Bytes of a tool's result that the model reads.
pub const FOR_THE_MODEL: usize = 32 * 1024;

/// The text itself when it fits, else its head and its tail with a line between them that says how much
/// was left out.
pub fn head_and_tail(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let half = limit / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}\n[... {} bytes left out ...]\n{}", &text[..head], tail - head, &text[tail..])
}
