//! The floor of a long run: a client that sends the bytes the hyper + serde loop sent, prepared
//! beforehand, and reads the replies away. What another costs above it is its own work.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::Result;
use crate::chat_loop::{ChatLoop, Transport};
use crate::contender::{Contender, Setup};
use crate::hyper_loop::{Hyper, next_bytes};
use crate::toolbox::Toolbox;

/// What ends every body, after its last message.
const TAIL: &[u8] = b"]}";

pub struct Bare {
    client: Hyper<Chain>,
    toolbox: Arc<Toolbox>,
    /// The last body without its tail. Every earlier one is a beginning of it.
    transcript: Bytes,
    /// How much of the transcript each turn sends.
    lengths: Vec<usize>,
    /// Bytes of text in the last reply.
    answer: usize,
}

impl Bare {
    /// Lets the hyper + serde loop do the run once and keeps what it sent.
    pub async fn record(setup: &Setup) -> Result<Self> {
        let transport = Recorder { inner: Hyper::new(&setup.upstream)?, sent: Mutex::default() };
        let toolbox = Arc::new(Toolbox::default());
        let unclocked = Setup { upstream: setup.upstream.clone(), model: setup.model.clone(), toolbox };
        let recorder = ChatLoop::new(transport, &unclocked)?;
        let answer = recorder.agent().await?;
        let sent = recorder.into_transport().sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Bare {
            client: Hyper::new(&setup.upstream)?,
            toolbox: Arc::clone(&setup.toolbox),
            transcript: sent.transcript.into(),
            lengths: sent.lengths,
            answer,
        })
    }
}

impl Contender for Bare {
    async fn chat(&self) -> Result<usize> {
        Err("the bare client only does long runs; measure the others without it".into())
    }

    /// Sends every turn's body in order, and notes the end of each turn where a tool would.
    async fn agent(&self) -> Result<usize> {
        for (turn, length) in (1..).zip(&self.lengths) {
            let mut reply = self.client.send(Chain::new(self.transcript.slice(..*length))).await?;
            while next_bytes(&mut reply).await?.is_some() {}
            if turn < self.lengths.len() {
                self.toolbox.note()?;
            }
        }
        Ok(self.answer)
    }
}

struct Recorder {
    inner: Hyper,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    transcript: Vec<u8>,
    lengths: Vec<usize>,
}

impl Transport for Recorder {
    type Body = <Hyper as Transport>::Body;

    async fn post(&self, body: Vec<u8>) -> Result<Self::Body> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).add(&body)?;
        self.inner.post(body).await
    }

    async fn next(body: &mut Self::Body) -> Result<Option<Bytes>> {
        Hyper::<http_body_util::Full<Bytes>>::next(body).await
    }
}

impl Sent {
    fn add(&mut self, body: &[u8]) -> Result<()> {
        let messages = body.strip_suffix(TAIL).ok_or("a recorded body does not end with its messages")?;
        if !messages.starts_with(&self.transcript) {
            return Err("a recorded body does not begin as the one before it".into());
        }
        self.transcript = messages.to_vec();
        self.lengths.push(messages.len());
        Ok(())
    }
}

/// A body in two pieces, none of them copied.
pub struct Chain(VecDeque<Bytes>);

impl Chain {
    fn new(messages: Bytes) -> Self {
        Chain([messages, Bytes::from_static(TAIL)].into())
    }
}

impl Body for Chain {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
