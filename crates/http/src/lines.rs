//! Newline-delimited JSON and other streams of lines, decoded from bytes.
//!
//! The same promises as [`sse`](crate::sse): whole lines only, so UTF-8 may be split anywhere; any chunking
//! of the same bytes gives the same lines; a line within one chunk is a slice of that chunk, not a copy.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use crate::error::{HttpError, HttpErrorKind};
use crate::sse::{DEFAULT_MAX_EVENT, after};

/// An incremental decoder: [`push`](Self::push) a chunk, then take lines until there is none.
///
/// A line ends with a line feed; a carriage return before it is dropped, as JSON holds neither. Blank lines
/// are no lines. The last line needs no line feed.
pub struct LineDecoder {
    chunk: Bytes,
    at: usize,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    max_line: usize,
    ended: bool,
    failed: bool,
}

impl Default for LineDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl LineDecoder {
    /// A decoder with a limit of [`DEFAULT_MAX_EVENT`].
    pub fn new() -> Self {
        Self {
            chunk: Bytes::new(),
            at: 0,
            partial: BytesMut::new(),
            max_line: DEFAULT_MAX_EVENT,
            ended: false,
            failed: false,
        }
    }

    /// The most bytes a line may have, without its end.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// Adds the next bytes of the stream. Bytes not yet decoded are kept (and copied, so take all lines
    /// first).
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = after(&self.chunk[self.at..], chunk);
        self.at = 0;
    }

    /// Says that the stream ended cleanly; [`next_line`](Self::next_line) then gives what is left.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Whether a line has begun and not ended.
    pub fn is_inside_line(&self) -> bool {
        !self.partial.is_empty() || self.at < self.chunk.len()
    }

    /// The next line without its end, or none until more bytes are pushed.
    ///
    /// # Errors
    /// [`HttpErrorKind::TooLarge`] when a line passes the limit; the decoder stays failed.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, HttpError> {
        if self.failed {
            return Err(self.too_large());
        }
        while self.at < self.chunk.len() {
            let start = self.at;
            let Some(length) = memchr(b'\n', &self.chunk[start..]) else {
                // One byte more than the limit may be the carriage return of an end that is on its way.
                if self.partial.len() + self.chunk.len() - start > self.max_line + 1 {
                    return Err(self.fail());
                }
                self.partial.extend_from_slice(&self.chunk[start..]);
                self.chunk = Bytes::new();
                self.at = 0;
                break;
            };
            self.at = start + length + 1;
            let line = if self.partial.is_empty() {
                self.chunk.slice(start..start + length)
            } else {
                self.partial.extend_from_slice(&self.chunk[start..start + length]);
                self.partial.split().freeze()
            };
            if let Some(line) = self.checked(line)? {
                return Ok(Some(line));
            }
        }
        if self.ended {
            let rest = self.partial.split().freeze();
            return self.checked(rest);
        }
        Ok(None)
    }

    /// The line without a carriage return at its end; none when it is blank.
    fn checked(&mut self, mut line: Bytes) -> Result<Option<Bytes>, HttpError> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.max_line {
            return Err(self.fail());
        }
        Ok((!line.trim_ascii().is_empty()).then_some(line))
    }

    fn fail(&mut self) -> HttpError {
        self.failed = true;
        self.partial = BytesMut::new();
        self.too_large()
    }

    fn too_large(&self) -> HttpError {
        let message = format!("a line of the stream is over the limit of {} bytes", self.max_line);
        HttpError::new(HttpErrorKind::TooLarge, message)
    }
}
