//! A response read as server-sent events, or as lines, under an idle limit.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    error::{HttpError, HttpErrorKind, TimeoutPhase},
    lines::LineDecoder,
    sse::{SseDecoder, SseEvent, SseItem},
};

/// Where an [`EventStream`] takes its bytes from: a [`Response`](crate::Response), or a script.
pub trait ChunkSource {
    /// The next bytes; none at the clean end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>>;
}

/// Chunks, and bytes, that are read before the first of them is decoded.
const CHUNKS_AT_ONCE: usize = 32;
const BYTES_AT_ONCE: usize = 16 * 1024;

/// How long a stream may be without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleLimit {
    /// Without any byte (60 s).
    pub silence: Duration,
    /// Without content while pings, comments or parts of an event arrive (300 s).
    pub pings: Duration,
}

impl Default for IdleLimit {
    fn default() -> Self {
        Self { silence: Duration::from_secs(60), pings: Duration::from_secs(300) }
    }
}

/// The events of a response.
///
/// Every event counts as content unless the caller says by [`mark_ping`](Self::mark_ping) that the
/// last one was only a sign of life. Only time spent waiting for the server counts, not the time the
/// caller takes between two events. Dropping the stream ends the exchange.
pub struct EventStream<S> {
    source: S,
    /// What came in with the chunk under way, and what followed on it. Read at once: reading a chunk and
    /// decoding it are more code than a core keeps at hand, so each is done to many.
    arrived: VecDeque<Bytes>,
    end: Option<Result<Option<Bytes>, HttpError>>,
    decoder: Decoder,
    limit: IdleLimit,
    clock: IdleClock,
    /// One timer for the whole stream, moved only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

/// How the bytes are cut into events.
enum Decoder {
    Sse(SseDecoder),
    Lines(LineDecoder),
}

impl Decoder {
    fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Sse(decoder) => decoder.push(chunk),
            Self::Lines(decoder) => decoder.push(chunk),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Sse(decoder) => decoder.finish(),
            Self::Lines(decoder) => decoder.finish(),
        }
    }

    /// A line is an event of data alone.
    fn next_item(&mut self) -> Result<Option<SseItem>, HttpError> {
        match self {
            Self::Sse(decoder) => decoder.next_item(),
            Self::Lines(decoder) => {
                let line = decoder.next_line()?;
                Ok(line.map(|data| SseItem::Event(SseEvent { data, ..SseEvent::default() })))
            }
        }
    }
}

struct IdleClock {
    chunk_at: Instant,
    content_at: Instant,
    /// `content_at` as it was before the last event.
    content_before: Instant,
    waiting_since: Option<Instant>,
}

impl IdleClock {
    fn deadline(&self, waiting_since: Instant, limit: &IdleLimit) -> Instant {
        (waiting_since + limit.silence).min(self.content_at + limit.pings)
    }
}

impl<S: ChunkSource> EventStream<S> {
    /// A stream with the default decoder and limits.
    pub fn new(source: S) -> Self {
        let now = Instant::now();
        let clock = IdleClock { chunk_at: now, content_at: now, content_before: now, waiting_since: None };
        let limit = IdleLimit::default();
        Self {
            source,
            arrived: VecDeque::new(),
            end: None,
            decoder: Decoder::Sse(SseDecoder::new()),
            limit,
            clock,
            timer: None,
            ended: false,
        }
    }

    /// Sets the idle limits.
    pub fn idle(mut self, limit: IdleLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Changes the idle limits under way.
    pub fn set_idle(&mut self, limit: IdleLimit) {
        self.limit = limit;
    }

    /// Sets the decoder, for another event limit or rule at the end.
    pub fn decoder(mut self, decoder: SseDecoder) -> Self {
        self.decoder = Decoder::Sse(decoder);
        self
    }

    /// Takes the bytes as lines, such as those of newline-delimited JSON: each is an event of data alone.
    pub fn lines(mut self, decoder: LineDecoder) -> Self {
        self.decoder = Decoder::Lines(decoder);
        self
    }

    /// Says that the event last given was no content.
    pub fn mark_ping(&mut self) {
        self.clock.content_at = self.clock.content_before;
    }

    /// Where the bytes come from, for status and headers.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The next event; none at the clean end. Cancel safe.
    ///
    /// # Errors
    /// [`TimeoutPhase::Idle`] past an idle limit, [`HttpErrorKind::TooLarge`], and what the source
    /// reports. After an error the stream is over.
    pub async fn next(&mut self) -> Result<Option<SseEvent>, HttpError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for a caller that is polled itself.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SseEvent>, HttpError>> {
        let result = ready!(self.poll_event(cx));
        if !matches!(result, Ok(Some(_))) {
            self.ended = true;
        }
        Poll::Ready(result)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<SseEvent>, HttpError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        loop {
            while let Some(item) = self.decoder.next_item()? {
                if let SseItem::Event(event) = item {
                    self.clock.content_before = self.clock.content_at;
                    self.clock.content_at = self.clock.chunk_at;
                    return Poll::Ready(Ok(Some(event)));
                }
            }
            match self.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    // What was there at once came with what was there before.
                    if self.clock.waiting_since.take().is_some() {
                        self.clock.chunk_at = Instant::now();
                    }
                    self.decoder.push(chunk);
                }
                Poll::Ready(Ok(None)) => {
                    self.decoder.finish();
                    let Some(SseItem::Event(event)) = self.last_event()? else {
                        return Poll::Ready(Ok(None));
                    };
                    return Poll::Ready(Ok(Some(event)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_idle(cx).map(Err),
            }
        }
    }

    /// The next chunk, with those behind it that are there.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        if let Some(chunk) = self.arrived.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let Some(first) = ready!(self.source.poll_chunk(cx))? else { return Poll::Ready(Ok(None)) };
        let mut bytes = first.len();
        while self.arrived.len() < CHUNKS_AT_ONCE && bytes < BYTES_AT_ONCE {
            match self.source.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    bytes += chunk.len();
                    self.arrived.push_back(chunk);
                }
                Poll::Ready(end) => {
                    self.end = Some(end);
                    break;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(Some(first)))
    }

    fn last_event(&mut self) -> Result<Option<SseItem>, HttpError> {
        while let Some(item) = self.decoder.next_item()? {
            if matches!(item, SseItem::Event(_)) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<HttpError> {
        let limit = self.limit;
        let since = match self.clock.waiting_since {
            Some(since) => since,
            None => {
                // The caller's own time since the last chunk is given back.
                let now = Instant::now();
                let own = now.saturating_duration_since(self.clock.chunk_at);
                self.clock.content_at += own;
                self.clock.content_before += own;
                self.clock.chunk_at = now;
                *self.clock.waiting_since.insert(now)
            }
        };
        let deadline = self.clock.deadline(since, &limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        // Also where a flood of pings has spent the task's budget.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(idle(&limit, since + limit.silence <= deadline));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

fn idle(limit: &IdleLimit, silent: bool) -> HttpError {
    let message = if silent {
        format!("the stream was silent for {:?}", limit.silence)
    } else {
        format!("the stream sent only pings for {:?}", limit.pings)
    };
    HttpError::new(HttpErrorKind::Timeout(TimeoutPhase::Idle), message)
}
