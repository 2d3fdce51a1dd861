//! Server-sent events, decoded from bytes as the WHATWG event stream format defines them.
//!
//! The decoder frames on bytes and hands out whole lines, so UTF-8 may be split anywhere; whether the
//! data is UTF-8 is for the reader of the data to decide. Any chunking of the same bytes gives the
//! same items. Data in one line within one chunk is a slice of that chunk, not a copy.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};

use crate::error::{HttpError, HttpErrorKind};

/// Bytes of one event, and of one line, unless set otherwise.
pub const DEFAULT_MAX_EVENT: usize = 4 * 1024 * 1024;

/// One event. Fields the sender did not write are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's type; none means `message`.
    pub event: Option<Bytes>,
    /// The data lines, joined by a line feed.
    pub data: Bytes,
    /// The id given with this event.
    pub id: Option<Bytes>,
    /// The reconnection time given with this event, in milliseconds.
    pub retry: Option<u64>,
}

/// What a stream is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SseItem {
    /// A dispatched event.
    Event(SseEvent),
    /// A comment line without its colon; servers send them to keep a connection open.
    Comment(Bytes),
}

/// An incremental decoder: [`push`](Self::push) a chunk, then take items until there is none.
pub struct SseDecoder {
    chunk: Bytes,
    at: usize,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    pending: Pending,
    max_event: usize,
    flush_at_end: bool,
    skip_line_feed: bool,
    /// How many bytes of a leading byte order mark were seen; none once the stream has begun.
    mark: Option<usize>,
    ended: bool,
    failed: bool,
}

#[derive(Default)]
struct Pending {
    event: Option<Bytes>,
    data: Data,
    id: Option<Bytes>,
    retry: Option<u64>,
    size: usize,
}

#[derive(Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl SseDecoder {
    /// A decoder with a limit of [`DEFAULT_MAX_EVENT`] that flushes at the end.
    pub fn new() -> Self {
        Self {
            chunk: Bytes::new(),
            at: 0,
            partial: BytesMut::new(),
            pending: Pending::default(),
            max_event: DEFAULT_MAX_EVENT,
            flush_at_end: true,
            skip_line_feed: false,
            mark: Some(0),
            ended: false,
            failed: false,
        }
    }

    /// The most bytes one event's lines, or one comment, may have together.
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Whether an event that lacks only its last blank line counts when the stream ends cleanly. The
    /// standard drops it; several providers send it.
    pub fn flush_at_end(mut self, flush: bool) -> Self {
        self.flush_at_end = flush;
        self
    }

    /// Adds the next bytes of the stream. Bytes not yet decoded are kept (and copied, so take all
    /// items first).
    pub fn push(&mut self, chunk: Bytes) {
        self.chunk = after(&self.chunk[self.at..], chunk);
        self.at = 0;
    }

    /// Says that the stream ended cleanly; [`next_item`](Self::next_item) then gives what is left.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Whether an event or line has begun and not ended.
    pub fn is_inside_event(&self) -> bool {
        !self.partial.is_empty() || !matches!(self.pending.data, Data::None) || self.at < self.chunk.len()
    }

    /// The next item, or none until more bytes are pushed.
    ///
    /// # Errors
    /// [`HttpErrorKind::TooLarge`] when an event passes the limit; the decoder stays failed.
    pub fn next_item(&mut self) -> Result<Option<SseItem>, HttpError> {
        if self.failed {
            return Err(self.too_large());
        }
        while self.begin_line() {
            let Some(length) = memchr2(b'\n', b'\r', &self.chunk[self.at..]) else {
                self.check(self.partial.len() + self.chunk.len() - self.at)?;
                self.partial.extend_from_slice(&self.chunk[self.at..]);
                self.chunk = Bytes::new();
                self.at = 0;
                break;
            };
            let start = self.at;
            let end = start + length;
            self.at = end + 1;
            if self.chunk[end] == b'\r' {
                match self.chunk.get(self.at) {
                    Some(b'\n') => self.at += 1,
                    Some(_) => {}
                    None => self.skip_line_feed = true,
                }
            }
            let line = if self.partial.is_empty() {
                if length == 0 {
                    match self.dispatch() {
                        Some(event) => return Ok(Some(SseItem::Event(event))),
                        None => continue,
                    }
                }
                Line { whole: &self.chunk, start, end }
            } else {
                self.partial.extend_from_slice(&self.chunk[start..end]);
                let whole = self.partial.split().freeze();
                return match self.take_joined(whole)? {
                    Some(item) => Ok(Some(item)),
                    None => continue,
                };
            };
            if self.pending.size + length > self.max_event {
                self.failed = true;
                return Err(self.too_large());
            }
            if let Some(comment) = self.pending.take_line(line) {
                return Ok(Some(SseItem::Comment(comment)));
            }
        }
        if self.ended { self.rest() } else { Ok(None) }
    }

    /// Skips what may stand before a line; false when the chunk is used up.
    #[inline]
    fn begin_line(&mut self) -> bool {
        if self.mark.is_some() {
            self.skip_byte_order_mark();
        }
        if self.skip_line_feed && self.at < self.chunk.len() {
            self.skip_line_feed = false;
            if self.chunk[self.at] == b'\n' {
                self.at += 1;
            }
        }
        self.at < self.chunk.len()
    }

    #[cold]
    fn skip_byte_order_mark(&mut self) {
        while let Some(seen) = self.mark
            && let Some(&byte) = self.chunk.get(self.at)
        {
            if byte != BYTE_ORDER_MARK[seen] {
                // What looked like a mark is the beginning of the first line.
                self.partial.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
                self.mark = None;
                return;
            }
            self.at += 1;
            self.mark = (seen + 1 < BYTE_ORDER_MARK.len()).then_some(seen + 1);
        }
    }

    /// A line that came in several chunks.
    #[cold]
    fn take_joined(&mut self, whole: Bytes) -> Result<Option<SseItem>, HttpError> {
        self.check(whole.len())?;
        let end = whole.len();
        Ok(self.pending.take_line(Line { whole: &whole, start: 0, end }).map(SseItem::Comment))
    }

    #[cold]
    fn rest(&mut self) -> Result<Option<SseItem>, HttpError> {
        if let Some(seen) = self.mark.take() {
            self.partial.extend_from_slice(&BYTE_ORDER_MARK[..seen]);
        }
        let line = self.partial.split().freeze();
        if !self.flush_at_end {
            self.pending = Pending::default();
            return Ok(None);
        }
        if !line.is_empty()
            && let Some(comment) = self.take_joined(line)?
        {
            return Ok(Some(comment));
        }
        Ok(self.dispatch().map(SseItem::Event))
    }

    /// Ends the event. Without a data line there is none, says the standard.
    #[inline]
    fn dispatch(&mut self) -> Option<SseEvent> {
        let Pending { event, data, id, retry, .. } = std::mem::take(&mut self.pending);
        let data = match data {
            Data::None => return None,
            Data::One(line) => line,
            Data::Many(lines) => lines.freeze(),
        };
        Some(SseEvent { event, data, id, retry })
    }

    fn check(&mut self, line: usize) -> Result<(), HttpError> {
        if self.pending.size + line <= self.max_event {
            return Ok(());
        }
        self.failed = true;
        self.partial = BytesMut::new();
        self.pending = Pending::default();
        Err(self.too_large())
    }

    fn too_large(&self) -> HttpError {
        let message = format!("an event of the stream is over the limit of {} bytes", self.max_event);
        HttpError::new(HttpErrorKind::TooLarge, message)
    }
}

/// A line of at least one byte, within the buffer it can be sliced from.
struct Line<'a> {
    whole: &'a Bytes,
    start: usize,
    end: usize,
}

impl Line<'_> {
    fn bytes(&self) -> &[u8] {
        &self.whole[self.start..self.end]
    }

    /// What follows the colon at `colon`, without one leading space.
    #[inline]
    fn value(&self, colon: usize) -> Bytes {
        let from = (self.start + colon + 1).min(self.end);
        let space = usize::from(from < self.end && self.whole[from] == b' ');
        self.whole.slice(from + space..self.end)
    }
}

impl Pending {
    /// Adds a line; gives it back when it is a comment.
    #[inline]
    fn take_line(&mut self, line: Line<'_>) -> Option<Bytes> {
        let bytes = line.bytes();
        if bytes.starts_with(b"data:") {
            self.size += bytes.len();
            self.add_data(line.value(4));
            return None;
        }
        let colon = memchr(b':', bytes).unwrap_or(bytes.len());
        if colon == 0 {
            return Some(line.whole.slice(line.start + 1..line.end));
        }
        self.size += bytes.len();
        match &bytes[..colon] {
            b"event" => self.event = Some(line.value(colon)).filter(|name| !name.is_empty()),
            b"data" => self.add_data(line.value(colon)),
            b"id" => {
                let id = line.value(colon);
                if memchr(0, &id).is_none() {
                    self.id = Some(id);
                }
            }
            b"retry" => {
                let value = line.value(colon);
                if value.iter().all(u8::is_ascii_digit) {
                    self.retry = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                }
            }
            _ => {}
        }
        None
    }

    #[inline]
    fn add_data(&mut self, value: Bytes) {
        self.data = match std::mem::take(&mut self.data) {
            Data::None => Data::One(value),
            Data::One(first) => {
                let mut lines = BytesMut::with_capacity((first.len() + value.len() + 1) * 2);
                lines.extend_from_slice(&first);
                Data::Many(joined(lines, &value))
            }
            Data::Many(lines) => Data::Many(joined(lines, &value)),
        };
    }
}

/// The next chunk, behind what is left of the one before.
pub(crate) fn after(rest: &[u8], chunk: Bytes) -> Bytes {
    if rest.is_empty() {
        return chunk;
    }
    let mut joined = BytesMut::with_capacity(rest.len() + chunk.len());
    joined.extend_from_slice(rest);
    joined.extend_from_slice(&chunk);
    joined.freeze()
}

fn joined(mut lines: BytesMut, value: &[u8]) -> BytesMut {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(value);
    lines
}
