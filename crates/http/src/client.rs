//! The client and its settings.

use std::{collections::HashMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Method, header};
use tokio::time::timeout;

use crate::{
    body::WireBody,
    census::Census,
    dial::Dialer,
    error::{HttpError, HttpErrorKind, TimeoutPhase},
    failure,
    pool::Pool,
    proxy::{Proxy, ProxyMatcher},
    request::Request,
    response::Response,
    tls::Tls,
};

/// One pool of connections and its settings. Cheap to clone; clones share the pool. When the last
/// clone and the last response are dropped, every connection is closed.
#[derive(Clone)]
pub struct Client(Arc<Pool>);

pub(crate) struct Settings {
    pub(crate) proxy: Option<ProxyMatcher>,
    pub(crate) dialer: Dialer,
    pub(crate) tls: Tls,
    pub(crate) http2: bool,
    pub(crate) http2_ping: Option<Duration>,
    pub(crate) http2_ping_timeout: Duration,
    pub(crate) max_headers: usize,
    pub(crate) max_idle_per_host: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) user_agent: Option<HeaderValue>,
}

impl Client {
    /// Settings with their defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Sends a request and gives the response as soon as its headers are there.
    ///
    /// A pooled connection that turns out dead before anything was written is replaced; a request
    /// that may have been seen is never sent again. Dropping the future ends the exchange.
    ///
    /// # Errors
    /// See [`HttpErrorKind`]; a status is never an error.
    pub fn send(&self, request: Request) -> impl Future<Output = Result<Response, HttpError>> + Send {
        // Taken apart here: an async function would keep a place for the whole request while it waits.
        let Request { method, url, headers, body, timeouts } = request;
        let settings = &self.0.settings;
        let connect = timeouts.connect.unwrap_or(settings.connect);
        let first_byte = timeouts.first_byte.unwrap_or(settings.first_byte);

        let mut wire = http::Request::new(WireBody::from(body));
        *wire.method_mut() = method;
        *wire.headers_mut() = headers;
        if let Some(user_agent) = &settings.user_agent {
            wire.headers_mut().entry(header::USER_AGENT).or_insert_with(|| user_agent.clone());
        }
        async move {
            if *wire.method() == Method::CONNECT {
                let error = HttpError::new(HttpErrorKind::Protocol, "CONNECT is not for callers");
                return Err(error.sent(false));
            }
            loop {
                let mut lease = self.0.acquire(&url, connect).await.map_err(|error| error.at(url.place()))?;
                lease.address(&mut wire, &url);
                let Ok(answer) = timeout(first_byte, lease.send(wire)).await else {
                    let message = format!("no response within {first_byte:?}");
                    let error = HttpError::new(HttpErrorKind::Timeout(TimeoutPhase::FirstByte), message);
                    return Err(error.reused(lease.reused).at(url.place()));
                };
                let mut error = match answer {
                    Ok(response) => return Ok(Response::new(response, url, lease)),
                    Err(error) => error,
                };
                let reused = lease.reused;
                let unsent = error.take_message();
                let error = failure::before_response(error.into_error()).reused(reused).at(url.place());
                match unsent {
                    Some(unsent) if reused => {
                        lease.discard();
                        wire = unsent;
                    }
                    Some(_) => return Err(error.sent(false)),
                    None => return Err(error),
                }
            }
        }
    }

    /// The connections and requests of this client now.
    pub fn census(&self) -> Census {
        self.0.census()
    }

    /// Sockets open now.
    pub fn open_connections(&self) -> usize {
        self.census().open
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("census", &self.census()).finish_non_exhaustive()
    }
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    proxy: Proxy,
    dialer: Dialer,
    tls: Tls,
    http2: bool,
    http2_ping: Option<Duration>,
    http2_ping_timeout: Duration,
    max_headers: usize,
    max_idle_per_host: usize,
    idle_timeout: Duration,
    connect: Duration,
    first_byte: Duration,
    user_agent: Option<HeaderValue>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            proxy: Proxy::System,
            dialer: Dialer { allow_private: true, fixed: HashMap::new() },
            tls: Tls::platform(),
            http2: true,
            http2_ping: Some(Duration::from_secs(30)),
            http2_ping_timeout: Duration::from_secs(20),
            max_headers: 64 * 1024,
            max_idle_per_host: 1024,
            idle_timeout: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            user_agent: None,
        }
    }
}

impl ClientBuilder {
    /// Which proxy to use (the system's).
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = proxy;
        self
    }

    /// Which certificates to trust (the platform's). Give clones of one [`Tls`] to all clients.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Whether addresses that are not public may be reached (yes). When not, names are resolved
    /// once, every address is checked, only checked ones are connected to, and the system's proxy is
    /// not used, since it would resolve the name again.
    pub fn allow_private(mut self, allow: bool) -> Self {
        self.dialer.allow_private = allow;
        self
    }

    /// Gives a name fixed addresses instead of asking the resolver; port 0 means the URL's port.
    /// They are checked like any other.
    pub fn resolve_to(mut self, host: &str, addresses: Vec<SocketAddr>) -> Self {
        self.dialer.fixed.insert(host.to_ascii_lowercase(), addresses);
        self
    }

    /// Whether HTTP/2 is offered over TLS (yes).
    pub fn http2(mut self, on: bool) -> Self {
        self.http2 = on;
        self
    }

    /// How often a busy HTTP/2 connection is asked whether it lives (30 s; none: never), and how long
    /// the answer may take (20 s).
    pub fn http2_ping(mut self, every: Option<Duration>, timeout: Duration) -> Self {
        self.http2_ping = every;
        self.http2_ping_timeout = timeout;
        self
    }

    /// Most bytes of response headers (64 KiB).
    pub fn max_headers(mut self, bytes: usize) -> Self {
        self.max_headers = bytes;
        self
    }

    /// Most HTTP/1 connections resting per host (1,024); 0 closes each after its exchange.
    pub fn max_idle_per_host(mut self, connections: usize) -> Self {
        self.max_idle_per_host = connections;
        self
    }

    /// How long a connection may rest before it is closed (60 s).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Name, TCP, proxy and TLS together (5 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// From the request handed to a connection to the response's headers (60 s).
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.first_byte = timeout;
        self
    }

    /// The `User-Agent` of requests that have none.
    pub fn user_agent(mut self, value: HeaderValue) -> Self {
        self.user_agent = Some(value);
        self
    }

    /// The client. Nothing is connected or loaded yet.
    ///
    /// # Errors
    /// [`HttpErrorKind::Configuration`]: a proxy URL that cannot be read, or an explicit proxy
    /// together with `allow_private(false)`.
    pub fn build(self) -> Result<Client, HttpError> {
        let proxy = match (&self.proxy, self.dialer.allow_private) {
            (Proxy::System, false) => None,
            (Proxy::Through { .. }, false) => {
                let message = "a proxy resolves names itself, so addresses cannot be checked; \
                               turn the proxy off or allow private addresses";
                return Err(HttpError::new(HttpErrorKind::Configuration, message));
            }
            (proxy, _) => proxy.matcher()?,
        };
        Ok(Client(Arc::new(Pool::new(Settings {
            proxy,
            dialer: self.dialer,
            tls: self.tls,
            http2: self.http2,
            http2_ping: self.http2_ping,
            http2_ping_timeout: self.http2_ping_timeout,
            max_headers: self.max_headers,
            max_idle_per_host: self.max_idle_per_host,
            idle_timeout: self.idle_timeout,
            connect: self.connect,
            first_byte: self.first_byte,
            user_agent: self.user_agent,
        }))))
    }
}
