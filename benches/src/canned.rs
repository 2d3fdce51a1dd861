//! A model within this process that says the same each time, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ambidex::{BoxStream, Chunk, Context, Error, Model, ModelInfo, Request, Usage};
use ambidex_core::Finish;
use futures_util::{StreamExt, stream};

use crate::script::{ANSWER_TOKENS, tokens};

pub struct Canned {
    info: ModelInfo,
    calls: AtomicU64,
}

impl Canned {
    pub fn new() -> Arc<Self> {
        Arc::new(Canned { info: ModelInfo::new("canned", "bench"), calls: AtomicU64::new(0) })
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Model for Canned {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let start = Chunk::Start { request_id: None, model: None };
        let text = tokens(ANSWER_TOKENS).map(|text| Chunk::Text { part: 0, text: text.into() });
        let usage = Usage { input_tokens: 210, output_tokens: ANSWER_TOKENS.into(), ..Usage::default() };
        let end = [Chunk::Usage(usage), Chunk::End(Finish::Stop)];
        stream::iter(std::iter::once(start).chain(text).chain(end).map(Ok)).boxed()
    }
}

/// Bytes of text of a whole reply.
pub async fn text_bytes(mut reply: BoxStream<'static, Result<Chunk, Error>>) -> Result<usize, Error> {
    let mut bytes = 0;
    while let Some(chunk) = reply.next().await {
        if let Chunk::Text { text, .. } = chunk? {
            bytes += text.len();
        }
    }
    Ok(bytes)
}
