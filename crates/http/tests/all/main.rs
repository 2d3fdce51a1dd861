//! What the client promises, seen from the other end of real sockets where sockets matter, and under
//! a paused clock where only time matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod event_streams;
mod failures;
mod http1;
mod http2;
mod lines;
mod proxies;
mod retry_after;
mod runtimes;
mod sse;
mod support;
mod urls;
