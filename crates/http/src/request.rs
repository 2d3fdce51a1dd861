//! What is sent.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::{body::Body, url::Url};

/// A request. `Debug` shows the names of its headers only. Mark a secret's value as sensitive
/// ([`HeaderValue::set_sensitive`]), so HTTP/2 does not keep it in its compression table.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The headers; `Host` and `Content-Length` are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Limits of this request where they differ from the client's.
    pub timeouts: Timeouts,
}

/// Limits of time for one request; none takes the client's. The total time is the caller's: dropping
/// the future or the response ends the exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Name, TCP, proxy and TLS together (5 s). A pooled connection needs none of it.
    pub connect: Option<Duration>,
    /// From the request handed to a connection to the response's headers (60 s).
    pub first_byte: Option<Duration>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Body::empty(), timeouts: Timeouts::default() }
    }

    /// A GET request.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST request.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// Sets a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets all headers.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the limits of time.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &self.body)
            .field("timeouts", &self.timeouts)
            .finish()
    }
}
