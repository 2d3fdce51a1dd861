//! A reply as it is kept.

use std::sync::Arc;

use ambidex_core::chunk::RouteNote;
use ambidex_core::reply::ReplyBuilder;
use ambidex_core::{Chunk, Finish, Usage};
use quick_cache::Weighter;
use tokio::time::Instant;

use super::key::Key;

/// Whole, and in as few chunks as it can be.
#[derive(Clone)]
pub(super) struct Kept {
    pub chunks: Arc<[Chunk]>,
    /// When its reply ended.
    pub since: Instant,
    pub until: Instant,
    weight: u64,
}

/// What one place has room for, in bytes.
const PLACE: usize = 16 * 1024;

/// Counts places: one for each reply and each further 16 KiB of it.
#[derive(Clone)]
pub(super) struct Weight;

impl Weighter<Key, Kept> for Weight {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.weight
    }
}

/// What a reply uses that was not asked for anew.
pub(super) fn nothing_used() -> Usage {
    Usage { usd: Some(0.0), ..Usage::default() }
}

impl Kept {
    /// None where the model did not say what it wanted: nothing at all, a refusal, less than the whole, or
    /// something that makes no reply.
    pub fn of(said: &[Chunk], since: Instant, until: Instant) -> Option<Self> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for chunk in said {
            match chunk {
                Chunk::Note(RouteNote::Restarted { .. }) => chunks.clear(),
                Chunk::Note(_) | Chunk::Usage(_) => {}
                // The id was that of another request.
                Chunk::Start { model, .. } => {
                    chunks.push(Chunk::Start { request_id: None, model: model.clone() })
                }
                chunk => {
                    if !chunks.last_mut().is_some_and(|last| last.join(chunk)) {
                        chunks.push(chunk.clone());
                    }
                }
            }
        }
        let Some(Chunk::End(Finish::Stop | Finish::ToolCalls)) = chunks.last() else { return None };
        let refused = chunks.iter().any(|chunk| matches!(chunk, Chunk::Refusal { .. }));
        if refused || !chunks.iter().any(Chunk::is_content) {
            return None;
        }
        let mut builder = ReplyBuilder::new();
        chunks.iter().try_for_each(|chunk| builder.push(chunk.clone())).ok()?;
        builder.finish().ok()?;
        chunks.insert(chunks.len() - 1, Chunk::Usage(nothing_used()));
        let bytes: usize = chunks.iter().map(bytes).sum();
        Some(Self { chunks: chunks.into(), since, until, weight: (bytes / PLACE) as u64 + 1 })
    }
}

fn bytes(chunk: &Chunk) -> usize {
    size_of::<Chunk>()
        + match chunk {
            Chunk::Text { text, .. }
            | Chunk::Reasoning { text, .. }
            | Chunk::Refusal { text, .. }
            | Chunk::Arguments { text, .. } => text.len(),
            Chunk::ToolCall { id, name, .. } => id.len() + name.len(),
            Chunk::State { state, .. } => state.format.len() + state.json.len(),
            Chunk::Start { .. }
            | Chunk::PartEnd { .. }
            | Chunk::Usage(_)
            | Chunk::Note(_)
            | Chunk::End(_) => 0,
        }
}
