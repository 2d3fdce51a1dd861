//! What comes back.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{
    error::{HttpError, HttpErrorKind},
    event_stream::{ChunkSource, EventStream},
    failure,
    pool::Lease,
    url::Url,
};

/// A response whose body is still to be read. Dropping it before the body's end closes the
/// connection (HTTP/1) or resets the stream (HTTP/2); reading to the end returns it to the pool.
pub struct Response {
    head: http::response::Parts,
    body: Incoming,
    url: Url,
    /// Taken when the body ended or failed.
    lease: Option<Lease>,
    received: u64,
}

impl Response {
    pub(crate) fn new(response: http::Response<Incoming>, url: Url, lease: Lease) -> Self {
        let (head, body) = response.into_parts();
        let mut response = Self { head, body, url, lease: Some(lease), received: 0 };
        if response.body.is_end_stream() {
            response.finish();
        }
        response
    }

    /// The status. A redirect is a status like any other.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Bytes of body received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes of the body as they arrived; none at its end. Cancel safe.
    ///
    /// # Errors
    /// [`HttpErrorKind::Truncated`], [`HttpErrorKind::Reset`], [`HttpErrorKind::Protocol`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole body, at most `limit` bytes. One chunk is not copied.
    ///
    /// # Errors
    /// [`HttpErrorKind::TooLarge`] as soon as the limit is passed or a larger length is declared;
    /// else as [`chunk`](Self::chunk).
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, HttpError> {
        let declared = self.body.size_hint().lower();
        if declared > limit as u64 {
            return Err(self.too_large(limit));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let second = if first.len() <= limit { self.chunk().await? } else { None };
        let Some(second) = second else {
            return if first.len() <= limit { Ok(first) } else { Err(self.too_large(limit)) };
        };
        let mut whole = BytesMut::with_capacity((declared as usize).max(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if whole.len() + chunk.len() > limit {
                return Err(self.too_large(limit));
            }
            whole.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// Reads the body as server-sent events. The headers are let go: the buffer they lie in is the one the
    /// body is read into.
    pub fn events(mut self) -> EventStream<Self> {
        self.head.headers = HeaderMap::new();
        EventStream::new(self)
    }

    fn too_large(&self, limit: usize) -> HttpError {
        HttpError::new(HttpErrorKind::TooLarge, format!("the body is over the limit of {limit} bytes"))
            .at(self.url.place())
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl ChunkSource for Response {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        loop {
            let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(None)) };
            let body = &mut self.body;
            let data = match ready!(lease.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => data,
                    // Trailers carry nothing a caller reads.
                    _ => continue,
                },
                Some(Err(error)) => {
                    self.lease = None;
                    let error = failure::in_body(error, self.received).at(self.url.place());
                    return Poll::Ready(Err(error));
                }
                None => {
                    self.finish();
                    return Poll::Ready(Ok(None));
                }
            };
            self.received += data.len() as u64;
            if self.body.is_end_stream() {
                self.finish();
            }
            return Poll::Ready(Ok(Some(data)));
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.head.status)
            .field("url", &self.url)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
