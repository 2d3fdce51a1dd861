//! Which proxy a request goes through, and the CONNECT tunnel.

use std::{fmt, sync::Arc};

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    error::{HttpError, HttpErrorKind},
    failure::plain,
    url::Url,
};

/// Which proxy to use. `Debug` leaves the URL out, since it may have credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say when the client is built.
    #[default]
    System,
    /// None, whatever the environment says.
    Off,
    /// This proxy (`http://` or `https://`, credentials allowed) for all but the hosts in `except`,
    /// written as in `NO_PROXY`.
    Through {
        /// The proxy's URL.
        url: String,
        /// Hosts reached directly.
        except: String,
    },
}

impl Proxy {
    pub(crate) fn matcher(&self) -> Result<Option<ProxyMatcher>, HttpError> {
        let matcher = match self {
            Self::Off => return Ok(None),
            Self::System => {
                const NAMES: [&str; 6] =
                    ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];
                // With none set, no request has to ask.
                if NAMES.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
                    return Ok(None);
                }
                Matcher::from_env()
            }
            Self::Through { url, except } => {
                let matcher = Matcher::builder().all(url.as_str()).no(except.as_str()).build();
                // A host no one can except.
                let probe = Matcher::builder().all(url.as_str()).build();
                if probe.intercept(&Uri::from_static("http://probe.invalid/")).is_none() {
                    let message = "the proxy's URL cannot be read; write it as http://host:port";
                    return Err(HttpError::new(HttpErrorKind::Configuration, message));
                }
                matcher
            }
        };
        Ok(Some(ProxyMatcher(Arc::new(matcher))))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Off => f.write_str("Off"),
            Self::Through { except, .. } => {
                f.debug_struct("Through").field("except", except).finish_non_exhaustive()
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct ProxyMatcher(Arc<Matcher>);

impl ProxyMatcher {
    /// The proxy for a URL, if any.
    pub(crate) fn route(&self, url: &Url) -> Result<Option<Route>, HttpError> {
        let Some(intercept) = self.0.intercept(url.uri()) else { return Ok(None) };
        Route::of(&intercept).map(Some)
    }
}

/// One proxy.
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) https: bool,
    pub(crate) authorization: Option<HeaderValue>,
}

impl Route {
    fn of(intercept: &Intercept) -> Result<Self, HttpError> {
        let uri = intercept.uri();
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            other => {
                let scheme = other.unwrap_or("none");
                let message = format!("proxy scheme `{scheme}` is not supported; use http:// or https://");
                return Err(HttpError::new(HttpErrorKind::Proxy, message).retry(false));
            }
        };
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            https,
            authorization: intercept.basic_auth().cloned(),
        })
    }

    /// The name for messages, without credentials.
    pub(crate) fn place(&self) -> String {
        format!("proxy {}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

/// The most a proxy may say before the tunnel is open.
const MAX_ANSWER: usize = 16 * 1024;

/// Asks the proxy at the other end of `stream` for a tunnel.
pub(crate) async fn open_tunnel<S>(stream: &mut S, url: &Url, route: &Route) -> Result<(), HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let fail = |message: String| HttpError::new(HttpErrorKind::Proxy, message).at(route.place());
    let target = url.host_and_port();
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = &route.authorization {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(value.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    let broke = |error: std::io::Error| fail(format!("the tunnel failed ({})", plain(&error)));
    stream.write_all(&ask).await.map_err(broke)?;
    stream.flush().await.map_err(broke)?;

    // The server behind the tunnel speaks only after our TLS hello, so nothing of it can follow the
    // blank line; whatever does is an error and not swallowed.
    let mut answer = Vec::with_capacity(512);
    let end = loop {
        if let Some(at) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            break at;
        }
        if answer.len() > MAX_ANSWER {
            return Err(fail("its answer to CONNECT is over the limit".to_owned()));
        }
        if stream.read_buf(&mut answer).await.map_err(broke)? == 0 {
            return Err(fail("it closed the connection instead of opening a tunnel".to_owned()));
        }
    };
    let line = answer.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
        rest.get(..3)?.parse::<u16>().ok()
    });
    match status {
        Some(200..=299) if answer.len() == end + 4 => Ok(()),
        Some(200..=299) => Err(fail("it sent bytes of its own into the tunnel".to_owned())),
        Some(407) => {
            let message =
                "it asks for credentials (407); write them into the proxy's URL, user:password@host";
            Err(fail(message.to_owned()).retry(false))
        }
        Some(status) => Err(fail(format!("it refused the tunnel to {target} with status {status}"))),
        None => Err(fail("its answer to CONNECT is not HTTP".to_owned())),
    }
}
