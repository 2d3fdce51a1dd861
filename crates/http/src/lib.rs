//! The HTTP client of Ambidex: one small client for model providers and HTTP tools.
//!
//! ```no_run
//! # async fn example() -> Result<(), ambidex_http::HttpError> {
//! use ambidex_http::{Client, Request, Url};
//!
//! let client = Client::builder().build()?;
//! let request = Request::post(Url::parse("https://api.example.com/v1/chat")?).body(r#"{"stream":true}"#);
//! let mut events = client.send(request).await?.events();
//! while let Some(event) = events.next().await? {
//!     println!("{}", String::from_utf8_lossy(&event.data));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is one connection pool; a provider has one client and nothing is global. Redirects
//! are never followed, compression is never asked for, and dropping a future or a [`Response`] ends
//! the exchange on the wire: an HTTP/1 connection is closed, an HTTP/2 stream is reset.

pub mod address;
mod body;
mod census;
mod client;
mod connect;
mod dial;
mod error;
mod event_stream;
mod failure;
mod http1;
pub mod lines;
mod pool;
mod proxy;
mod request;
mod response;
mod retry_after;
pub mod sse;
mod tasks;
mod tls;
mod url;

pub use address::AddressClass;
pub use body::Body;
pub use bytes::Bytes;
pub use census::Census;
pub use client::{Client, ClientBuilder};
pub use error::{HttpError, HttpErrorKind, TimeoutPhase};
pub use event_stream::{ChunkSource, EventStream, IdleLimit};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
pub use lines::LineDecoder;
pub use proxy::Proxy;
pub use request::{Request, Timeouts};
pub use response::Response;
pub use retry_after::retry_after;
pub use sse::{SseDecoder, SseEvent, SseItem};
pub use tls::Tls;
pub use url::Url;
