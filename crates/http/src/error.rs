//! Every way an exchange can fail.

use std::{error::Error as StdError, fmt};

type Source = Box<dyn StdError + Send + Sync>;

/// What went wrong. Messages name the host, never a query string or a header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// A setting of the client cannot be used (CA file, proxy address).
    Configuration,
    /// The URL is not one this client may use.
    InvalidUrl,
    /// The address is not public and the client may only reach public ones.
    AddressRefused,
    /// The host's name could not be resolved.
    Dns,
    /// No connection to the host.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The proxy could not be reached or refused.
    Proxy,
    /// A limit of time passed.
    Timeout(TimeoutPhase),
    /// The connection ended before the response's headers.
    Closed,
    /// The body ended before its declared end.
    Truncated,
    /// The connection or stream was reset by the other side.
    Reset,
    /// A body, header block or event is over its limit.
    TooLarge,
    /// The other side does not speak HTTP as it should.
    Protocol,
}

/// Which limit of time passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutPhase {
    /// Name, TCP, proxy and TLS together.
    Connect,
    /// From the request handed to a connection to the response's headers.
    FirstByte,
    /// No content on an event stream.
    Idle,
}

impl HttpErrorKind {
    /// The stable code of this kind, for logs and tables.
    pub fn code(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::InvalidUrl => "invalid_url",
            Self::AddressRefused => "address_refused",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Timeout(TimeoutPhase::Connect) => "timeout_connect",
            Self::Timeout(TimeoutPhase::FirstByte) => "timeout_first_byte",
            Self::Timeout(TimeoutPhase::Idle) => "timeout_idle",
            Self::Closed => "closed",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
        }
    }
}

/// A failed exchange: what, where, and what a caller may do about it.
pub struct HttpError(Box<Inner>);

struct Inner {
    kind: HttpErrorKind,
    place: Option<String>,
    message: String,
    sent: bool,
    retry: bool,
    reused: bool,
    source: Option<Source>,
}

impl HttpError {
    pub(crate) fn new(kind: HttpErrorKind, message: impl Into<String>) -> Self {
        let (sent, retry) = match kind {
            HttpErrorKind::Configuration | HttpErrorKind::InvalidUrl | HttpErrorKind::AddressRefused => {
                (false, false)
            }
            HttpErrorKind::Tls => (false, false),
            HttpErrorKind::Dns
            | HttpErrorKind::Connect
            | HttpErrorKind::Proxy
            | HttpErrorKind::Timeout(TimeoutPhase::Connect) => (false, true),
            HttpErrorKind::Timeout(TimeoutPhase::FirstByte | TimeoutPhase::Idle)
            | HttpErrorKind::Closed
            | HttpErrorKind::Truncated
            | HttpErrorKind::Reset => (true, true),
            HttpErrorKind::TooLarge | HttpErrorKind::Protocol => (true, false),
        };
        let message = message.into();
        Self(Box::new(Inner { kind, place: None, message, sent, retry, reused: false, source: None }))
    }

    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn sent(mut self, sent: bool) -> Self {
        self.0.sent = sent;
        self
    }

    pub(crate) fn retry(mut self, retry: bool) -> Self {
        self.0.retry = retry;
        self
    }

    pub(crate) fn reused(mut self, reused: bool) -> Self {
        self.0.reused = reused;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> HttpErrorKind {
        self.0.kind
    }

    /// Whether the other side may have seen the request. When false, sending it again is always safe.
    pub fn may_have_been_sent(&self) -> bool {
        self.0.sent
    }

    /// Whether the same request may succeed when sent again, as far as the transport can tell.
    pub fn retry_may_help(&self) -> bool {
        self.0.retry
    }

    /// Whether the request went out on a pooled connection. With [`HttpErrorKind::Closed`] this is
    /// most likely a server that closed an idle connection at that moment.
    pub fn on_reused_connection(&self) -> bool {
        self.0.reused
    }

    /// The host this is about, with its port when the URL named one.
    pub fn host(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(place) => write!(f, "{place}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpError")
            .field("kind", &self.0.kind)
            .field("message", &self.to_string())
            .field("may_have_been_sent", &self.0.sent)
            .field("retry_may_help", &self.0.retry)
            .finish()
    }
}

impl StdError for HttpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
