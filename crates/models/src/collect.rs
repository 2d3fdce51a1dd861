//! A whole reply from a stream.

use std::future::poll_fn;

use ambidex_core::chunk::RouteNote;
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::{BoxStream, Chunk, Error};

/// Reads a stream to its end and puts the reply together. What a restart voided is not part of it.
///
/// # Errors
/// What the stream reports, with what the call used; `stream_truncated` when it ended without its end.
pub async fn collect(mut stream: BoxStream<'static, Result<Chunk, Error>>) -> Result<Reply, Error> {
    let mut builder = ReplyBuilder::new();
    let read = async {
        while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            match chunk? {
                Chunk::Note(RouteNote::Restarted { .. }) => builder.restart(),
                chunk => builder.push(chunk)?,
            }
        }
        Ok(())
    };
    let ended = read.await;
    let usage = *builder.usage();
    ended.and_then(|()| builder.finish()).map_err(|error: Error| error.with_usage(usage))
}
