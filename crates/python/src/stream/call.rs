//! The events of one call of a model.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ambidex_core::chunk::RouteNote;
use ambidex_core::event::{EventKind, Timestamp};
use ambidex_core::reply::ReplyBuilder;
use ambidex_core::{BoxStream, Chunk, Error, Event};
use futures_util::FutureExt;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{End, Source};
use crate::asked::Asked;
use crate::bridge::Failure;
use crate::model::{CallStart, Reply, timely, too_long};
use crate::process::Process;

pub(super) struct CallEvents {
    asked: Arc<Asked>,
    name: String,
    process: &'static Process,
    /// None once it is over.
    chunks: Option<BoxStream<'static, Result<Chunk, Error>>>,
    limit: Option<(Duration, Pin<Box<Sleep>>)>,
    timeout: Option<Duration>,
    builder: ReplyBuilder,
    ready: VecDeque<EventKind>,
    seq: u64,
    begun: Instant,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    reply: Option<ambidex_core::reply::Reply>,
    failed: Option<Error>,
}

impl CallEvents {
    pub(super) fn new(start: CallStart, asked: Arc<Asked>) -> Self {
        let (name, process) = (start.name().to_owned(), start.process());
        let (chunks, timeout) = start.stream(&asked);
        Self {
            stopped: Box::pin(asked.token().clone().cancelled_owned()),
            asked,
            ready: VecDeque::from([EventKind::ModelStarted { model: name.clone() }]),
            name,
            process,
            chunks: Some(chunks),
            limit: None,
            timeout,
            builder: ReplyBuilder::new(),
            seq: 0,
            begun: Instant::now(),
            reply: None,
            failed: None,
        }
    }

    /// Takes what has come. Texts that came together are one event.
    fn advance(&mut self, cx: &mut Context<'_>) {
        if let (None, Some(timeout)) = (&self.limit, self.timeout) {
            self.limit = Some((timeout, Box::pin(tokio::time::sleep(timeout))));
        }
        while let Some(chunks) = &mut self.chunks {
            match chunks.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => self.take(chunk),
                Poll::Ready(Some(Err(error))) => {
                    let limit = self.timeout.unwrap_or(Duration::MAX);
                    let error = timely(error, &self.name, self.begun, limit);
                    self.fail(error);
                }
                Poll::Ready(None) => self.over(),
                Poll::Pending => break,
            }
        }
        if self.chunks.is_some() && self.stopped.as_mut().poll(cx).is_ready() {
            self.fail(Error::cancelled());
        }
        if let (Some(_), Some((limit, sleep))) = (&self.chunks, &mut self.limit)
            && sleep.as_mut().poll(cx).is_ready()
        {
            let error = too_long(&self.name, *limit);
            self.fail(error);
        }
    }

    fn take(&mut self, chunk: Chunk) {
        let said = match &chunk {
            Chunk::Text { text, .. } | Chunk::Refusal { text, .. } => {
                Some(EventKind::ModelDelta { text: text.clone() })
            }
            Chunk::Reasoning { text, .. } => Some(EventKind::ModelReasoning { text: text.clone() }),
            Chunk::Note(note) => Some(EventKind::from(note.clone())),
            _ => None,
        };
        if let Some(said) = said
            && !self.ready.back_mut().is_some_and(|last| last.join(&said))
        {
            self.ready.push_back(said);
        }
        if matches!(chunk, Chunk::Note(RouteNote::Restarted { .. })) {
            self.builder.restart();
        }
        if let Err(error) = self.builder.push(chunk) {
            self.fail(error);
        }
    }

    fn over(&mut self) {
        self.chunks = None;
        match std::mem::take(&mut self.builder).finish() {
            Ok(reply) => {
                self.ready.push_back(EventKind::ModelFinished { finish: reply.finish, usage: reply.usage });
                self.reply = Some(reply);
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        self.chunks = None;
        if self.failed.is_none() {
            let (code, message) = (error.code().to_owned(), error.message().to_owned());
            self.ready.push_back(EventKind::Error { code, message, retryable: error.is_retryable() });
            self.failed = Some(error);
        }
    }

    fn event(&mut self, kind: EventKind) -> Event {
        self.seq += 1;
        Event {
            seq: self.seq,
            ts: Timestamp(self.process.engine().clock().now()),
            run: ambidex_core::Context::detached().run().into(),
            thread: None,
            step: None,
            agent: None,
            attempt: None,
            kind,
        }
    }
}

impl Source for CallEvents {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ready.is_empty() && self.chunks.is_some() {
            self.advance(cx);
        }
        match self.ready.pop_front() {
            Some(kind) => Poll::Ready(Some(self.event(kind))),
            None if self.chunks.is_none() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>> {
        let Self { asked, reply, failed, .. } = *self;
        let ended = match (reply, failed) {
            (_, Some(error)) => Err(error),
            (Some(reply), None) => Ok(reply),
            (None, None) => Err(Error::cancelled()),
        };
        std::future::ready(asked.settle_call(ended).map(|reply| End::Call(Box::new(Reply(reply))))).boxed()
    }
}
