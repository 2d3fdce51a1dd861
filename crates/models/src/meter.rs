//! What one attempt gave and used, counted as its chunks pass by.

use std::task::Poll;

use ambidex_core::chunk::RouteNote;
use ambidex_core::model::ModelInfo;
use ambidex_core::{Chunk, Error, ErrorKind, Request, Usage};

use crate::prompt_size::{BYTES_PER_TOKEN, prompt_tokens};

/// The account of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Whether it was polled: before that nothing is sent.
    pub(crate) asked: bool,
    /// Whether something stands in the reply so far, shown or not.
    pub(crate) given: bool,
    /// Whether a watcher has seen something of it.
    pub(crate) shown: bool,
    /// Characters that were shown; counted only where `counts` is set.
    pub(crate) characters: u64,
    counts: bool,
    /// Whether its end came.
    pub(crate) whole: bool,
    /// The latest totals it reported.
    pub(crate) usage: Option<Usage>,
    accepted: bool,
    /// Bytes of content.
    received: u64,
}

impl Meter {
    /// `counts` says whether characters are counted.
    pub(crate) fn new(counts: bool) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Takes note of what nearly all is: text, totals, what was done further in, and nothing new. Of the rest it
    /// takes none, and says so.
    #[inline]
    pub(crate) fn sees(&mut self, polled: &Poll<Option<Result<Chunk, Error>>>) -> bool {
        match polled {
            Poll::Pending => true,
            Poll::Ready(Some(Ok(Chunk::Text { text, .. }))) if !self.counts => {
                self.received += text.len() as u64;
                (self.given, self.shown) = (true, true);
                true
            }
            Poll::Ready(Some(Ok(Chunk::Usage(usage)))) => {
                self.usage = Some(*usage);
                true
            }
            Poll::Ready(Some(Ok(Chunk::Note(note)))) => !matches!(note, RouteNote::Restarted { .. }),
            Poll::Ready(_) => false,
        }
    }

    /// Takes note of one chunk.
    pub(crate) fn see(&mut self, chunk: &Chunk) {
        match chunk {
            Chunk::Text { text, .. }
            | Chunk::Reasoning { text, .. }
            | Chunk::Refusal { text, .. }
            | Chunk::Arguments { text, .. } => {
                self.received += text.len() as u64;
                if self.counts {
                    self.characters += text.chars().count() as u64;
                }
                (self.given, self.shown) = (true, true);
            }
            Chunk::ToolCall { .. } => (self.given, self.shown) = (true, true),
            Chunk::State { .. } => self.given = true,
            Chunk::Start { .. } => self.accepted = true,
            Chunk::Usage(usage) => self.usage = Some(*usage),
            Chunk::End(_) => self.whole = true,
            // What it gave before was voided further in.
            Chunk::Note(RouteNote::Restarted { .. }) => {
                (self.given, self.shown, self.characters) = (false, false, 0);
            }
            Chunk::PartEnd { .. } | Chunk::Note(_) => {}
        }
    }

    /// Whether the provider has let it in.
    pub(crate) fn accepted(&self) -> bool {
        self.accepted || self.received > 0
    }

    /// What it used. Of an attempt that ended early, what the provider did not say is estimated. `failure`
    /// is none where we hung up.
    pub(crate) fn spent(&self, request: &Request, info: &ModelInfo, failure: Option<&Error>) -> Usage {
        if self.whole {
            return self.usage.unwrap_or_default();
        }
        let output_tokens = self.received.div_ceil(BYTES_PER_TOKEN);
        match self.usage {
            Some(usage) if usage.output_tokens >= output_tokens => usage,
            Some(said) => {
                let more = Usage { output_tokens: output_tokens - said.output_tokens, ..Usage::default() };
                let usd = info.price.map(|price| said.usd.unwrap_or(0.0) + price.cost(&more)).or(said.usd);
                Usage { output_tokens, usd, estimated: true, ..said }
            }
            None if !self.asked || !(self.accepted() || failure.is_none_or(may_cost)) => Usage::default(),
            None => {
                let input_tokens = prompt_tokens(request);
                let usage = Usage { input_tokens, output_tokens, estimated: true, ..Usage::default() };
                Usage { usd: info.price.map(|price| price.cost(&usage)), ..usage }
            }
        }
    }
}

/// Whether a request that failed like this may have been read by a model. One that was refused was not.
fn may_cost(error: &Error) -> bool {
    use ErrorKind::{BadUpstream, IdleTimeout, ProviderError, StreamTruncated, Timeout};
    let kind = matches!(error.kind(), BadUpstream | IdleTimeout | ProviderError | StreamTruncated | Timeout);
    kind && error.status().is_none()
}
