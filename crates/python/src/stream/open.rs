//! How many streams are open: begun, and neither read to their end nor let go.

use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use ambidex_core::Event;
use pyo3::prelude::*;

use super::{End, Source};
use crate::bridge::Failure;
use crate::process::{Process, process};

/// A source that is counted while it lives.
pub(super) struct Open {
    source: Box<dyn Source>,
    counted: Counted,
}

impl Open {
    pub(super) fn new(source: Box<dyn Source>) -> PyResult<Self> {
        let process = process()?;
        process.streams().fetch_add(1, SeqCst);
        Ok(Self { source, counted: Counted(process) })
    }
}

impl Source for Open {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.source.poll_event(cx)
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>> {
        let Self { source, counted } = *self;
        Box::pin(async move {
            let _counted = counted;
            source.end().await
        })
    }
}

struct Counted(&'static Process);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams().fetch_sub(1, SeqCst);
    }
}
