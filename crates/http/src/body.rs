//! A request's body: a chain of byte segments, sent as they are.

use std::{
    convert::Infallible,
    fmt,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

/// Byte segments sent one after the other under one exact content length. They are written with
/// vectored writes and never joined; cloning is cheap.
#[derive(Clone, Default)]
pub struct Body {
    segments: Segments,
    length: u64,
}

#[derive(Clone, Default)]
enum Segments {
    #[default]
    Empty,
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl Segments {
    fn get(&self, index: usize) -> Option<&Bytes> {
        match self {
            Self::Empty => None,
            Self::One(only) => (index == 0).then_some(only),
            Self::Many(many) => many.get(index),
        }
    }
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The total length in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.length)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        let length = bytes.len() as u64;
        Self { segments: Segments::One(bytes), length }
    }
}

impl FromIterator<Bytes> for Body {
    fn from_iter<I: IntoIterator<Item = Bytes>>(segments: I) -> Self {
        let mut segments: Vec<Bytes> = segments.into_iter().filter(|it| !it.is_empty()).collect();
        if segments.len() <= 1 {
            return segments.pop().map(Self::from).unwrap_or_default();
        }
        let length = segments.iter().map(|it| it.len() as u64).sum();
        Self { segments: Segments::Many(segments.into()), length }
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(segments: Vec<Bytes>) -> Self {
        segments.into_iter().collect()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

/// The whole body as one frame whose buffer has many chunks: hyper then gathers up to 64 segments
/// into one write instead of queueing them frame by frame.
///
/// Boxed, because hyper keeps room for 32 requests beside each connection.
pub(crate) struct WireBody(Option<Box<SegmentsBuf>>);

impl From<Body> for WireBody {
    fn from(body: Body) -> Self {
        let remaining = body.length as usize;
        let buf = SegmentsBuf { segments: body.segments, index: 0, offset: 0, remaining };
        Self((remaining > 0).then(|| Box::new(buf)))
    }
}

impl http_body::Body for WireBody {
    type Data = Box<SegmentsBuf>;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        Poll::Ready(self.0.take().map(|buf| Ok(Frame::data(buf))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |buf| buf.remaining as u64))
    }
}

/// Reads the segments in turn. No segment is empty.
pub(crate) struct SegmentsBuf {
    segments: Segments,
    index: usize,
    offset: usize,
    remaining: usize,
}

impl Buf for SegmentsBuf {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.segments.get(self.index).map_or(&[], |segment| &segment[self.offset..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut offset = self.offset;
        for (count, slice) in slices.iter_mut().enumerate() {
            let Some(segment) = self.segments.get(self.index + count) else { return count };
            *slice = IoSlice::new(&segment[offset..]);
            offset = 0;
        }
        slices.len()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced past the end of a body");
        self.remaining -= count;
        while let Some(segment) = self.segments.get(self.index) {
            let left = segment.len() - self.offset;
            if count < left {
                self.offset += count;
                return;
            }
            count -= left;
            self.index += 1;
            self.offset = 0;
        }
    }
}
