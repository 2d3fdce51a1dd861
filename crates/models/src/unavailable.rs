//! A model that cannot be asked.

use std::pin::Pin;
use std::task::Poll;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};
use futures_core::Stream;

/// Answers every call with the same error. In a route it stands for a target whose key is missing, so that
/// the others can still be asked.
#[derive(Clone, Debug)]
pub struct Unavailable {
    info: ModelInfo,
    error: Error,
}

impl Unavailable {
    pub fn new(info: ModelInfo, error: Error) -> Self {
        Self { info, error }
    }
}

impl Model for Unavailable {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(Once(Some(self.error.clone())))
    }
}

struct Once(Option<Error>);

impl Stream for Once {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
