//! Server-sent events as a bare loop splits them: the data of each event, nothing else.

use bytes::{Buf, BytesMut};

/// Calls `event` with the data of every whole event in `buffer` and leaves the rest there.
pub fn drain<E>(buffer: &mut BytesMut, mut event: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut used = 0;
    for end in memchr::memchr_iter(b'\n', buffer) {
        let line = buffer.get(used..end).unwrap_or_default();
        used = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(data) = line.strip_prefix(b"data:") {
            event(data.strip_prefix(b" ").unwrap_or(data))?;
        }
    }
    buffer.advance(used);
    Ok(())
}
