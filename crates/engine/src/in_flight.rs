//! Effects that a run's loop polls itself.

use std::future::poll_fn;
use std::task::{Context, Poll};

use ambidex_core::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};

use crate::run_loop::Done;

/// So many are all polled when one wakes the loop: that is less work than to find out which one it was.
const FEW: usize = 8;

/// Effects in flight. There are a handful, but for graphs that do much at once.
#[derive(Default)]
pub(crate) struct InFlight {
    few: Vec<BoxFuture<'static, Done>>,
    /// What goes beyond. Boxed: most runs never have so many.
    many: Option<Box<FuturesUnordered<BoxFuture<'static, Done>>>>,
}

impl InFlight {
    pub(crate) fn push(&mut self, effect: impl Future<Output = Done> + Send + 'static) {
        if self.few.len() < FEW {
            self.few.push(Box::pin(effect));
        } else {
            self.many.get_or_insert_default().push(Box::pin(effect));
        }
    }

    /// The next that ends; nothing when there is none.
    pub(crate) async fn next(&mut self) -> Option<Done> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        for (at, effect) in self.few.iter_mut().enumerate() {
            if let Poll::Ready(done) = effect.as_mut().poll(cx) {
                drop(self.few.swap_remove(at));
                return Poll::Ready(Some(done));
            }
        }
        let Some(many) = &mut self.many else {
            return if self.few.is_empty() { Poll::Ready(None) } else { Poll::Pending };
        };
        match std::pin::Pin::new(&mut **many).poll_next(cx) {
            Poll::Ready(None) if !self.few.is_empty() => Poll::Pending,
            polled => polled,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.few.clear();
        self.many = None;
    }
}
