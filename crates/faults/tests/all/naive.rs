//! A client as they are often written: whatever came is the answer, and broken arguments are `{}`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use ambidex::models::Client;
use ambidex::{BoxStream, Chunk, Context, Error, Model, ModelInfo, Request};
use ambidex_core::Finish;
use ambidex_faults::run::provider_model;
use ambidex_faults::{Connect, Endpoint};

/// Makes naive clients.
pub struct Naive;

impl Connect for Naive {
    fn connect(&self, endpoint: &Endpoint, client: &Client) -> Result<Arc<dyn Model>, Error> {
        Ok(Arc::new(NaiveModel(provider_model(endpoint, client)?)))
    }
}

struct NaiveModel<M>(M);

impl<M: Model> Model for NaiveModel<M> {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(NaiveStream {
            inner: self.0.stream(request, context),
            arguments: HashMap::new(),
            ready: Vec::new(),
            content: false,
        })
    }
}

struct NaiveStream {
    inner: BoxStream<'static, Result<Chunk, Error>>,
    arguments: HashMap<u32, String>,
    /// The next one last.
    ready: Vec<Chunk>,
    content: bool,
}

impl NaiveStream {
    fn end(&mut self, finish: Finish) {
        self.ready = vec![Chunk::End(finish)];
        for (part, text) in self.arguments.drain() {
            let broken = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_err();
            self.ready.push(Chunk::Arguments { part, text: if broken { "{}".into() } else { text } });
        }
    }
}

impl futures_core::Stream for NaiveStream {
    type Item = Result<Chunk, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(chunk) = this.ready.pop() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            match ready!(this.inner.as_mut().poll_next(cx)) {
                Some(Ok(Chunk::Arguments { part, text })) => {
                    this.arguments.entry(part).or_default().push_str(&text);
                }
                Some(Ok(Chunk::End(finish))) => this.end(finish),
                Some(Err(_)) if this.content => this.end(Finish::Stop),
                Some(item) => {
                    this.content |= item.as_ref().is_ok_and(Chunk::is_content);
                    return Poll::Ready(Some(item));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}
