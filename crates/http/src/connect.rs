//! A new connection: address, TCP, proxy, TLS, then the HTTP handshake.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    body::WireBody,
    census::{Counters, OpenConnection},
    client::Settings,
    error::{HttpError, HttpErrorKind},
    failure::{find, plain},
    http1::{Forward, Http1},
    pool::lock,
    proxy::{Route, open_tunnel},
    tasks::Tasks,
    url::Url,
};

/// A connection that is ready for requests.
pub(crate) enum Connected {
    Http1(Http1),
    Http2 { sender: http2::SendRequest<WireBody>, limit: StreamLimit },
}

/// The right to be the one that connects, shared by all who must be done before the next may.
pub(crate) type Turn = Option<Arc<OwnedSemaphorePermit>>;

/// A limit of streams no server sets: h2 has it until the server's settings arrive.
const LIMIT_UNKNOWN: usize = 0x3fff_fffd;

/// How many streams the server allows at once on a connection.
pub(crate) struct StreamLimit(Weak<Mutex<http2::Connection<TokioIo<Transport>, WireBody, Tasks>>>);

impl StreamLimit {
    pub(crate) fn now(&self) -> usize {
        let limit = self.0.upgrade().map_or(0, |connection| lock(&connection).current_max_send_streams());
        // The first request need not wait for the server's settings, a second one must.
        if limit == LIMIT_UNKNOWN { 1 } else { limit }
    }
}

/// Connects to the host of `url`, or to its proxy. The caller bounds the time; `resting` hears of a resting connection. `turn` is kept until
/// the connection is known to be HTTP/1 or the server has told how many streams it allows.
pub(crate) async fn connect(
    settings: &Settings,
    url: &Url,
    counters: &Arc<Counters>,
    tasks: &Tasks,
    resting: &Arc<Notify>,
    turn: Turn,
) -> Result<Connected, HttpError> {
    let route = match &settings.proxy {
        Some(proxy) => proxy.route(url)?,
        None => None,
    };
    let stream = match &route {
        None => tcp(settings, url.host(), url.port()).await?,
        Some(route) => {
            let reached = tcp(settings, &route.host, route.port).await;
            reached.map_err(|error| as_proxy(error, route))?
        }
    };
    let open = OpenConnection::new(counters);
    let mut io = Io::Tcp(stream);
    if let Some(route) = &route
        && route.https
    {
        let config = settings.tls.config(false).await?;
        io = encrypt(io, &route.host, config).await.map_err(|error| as_proxy(error, route))?;
    }
    let mut is_http2 = false;
    if url.is_https() {
        if let Some(route) = &route {
            open_tunnel(&mut io, url, route).await?;
        }
        let config = settings.tls.config(settings.http2).await?;
        io = encrypt(io, url.host(), config).await?;
        is_http2 = io.is_http2();
    }
    let io = TokioIo::new(Transport {
        io,
        waiting: if is_http2 { turn } else { None },
        heard: false,
        _open: open,
    });
    if is_http2 {
        let (sender, connection) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_max_send_streams(LIMIT_UNKNOWN)
            .keep_alive_interval(settings.http2_ping)
            .keep_alive_timeout(settings.http2_ping_timeout)
            .max_header_list_size(u32::try_from(settings.max_headers).unwrap_or(u32::MAX))
            .handshake(io)
            .await
            .map_err(handshake)?;
        let connection = Arc::new(Mutex::new(connection));
        let limit = StreamLimit(Arc::downgrade(&connection));
        tasks.spawn(poll_fn(move |cx| {
            // Its failure reaches the requests on it; there is no one else to tell.
            Pin::new(&mut *lock(&connection)).poll(cx).map(|_| ())
        }));
        return Ok(Connected::Http2 { sender, limit });
    }
    let (sender, connection) =
        http1::Builder::new().max_header_size(settings.max_headers).handshake(io).await.map_err(handshake)?;
    let forward = match route {
        Some(route) if !url.is_https() => Some(Forward { authorization: route.authorization }),
        _ => None,
    };
    Ok(Connected::Http1(Http1::new(sender, connection, forward, resting.clone())))
}

async fn tcp(settings: &Settings, host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let addresses = settings.dialer.resolve(host, port).await?;
    settings.dialer.connect(addresses).await
}

fn as_proxy(error: HttpError, route: &Route) -> HttpError {
    HttpError::new(HttpErrorKind::Proxy, error.to_string()).retry(error.retry_may_help()).at(route.place())
}

async fn encrypt(io: Io, host: &str, config: Arc<rustls::ClientConfig>) -> Result<Io, HttpError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| HttpError::new(HttpErrorKind::InvalidUrl, "the host is not a name TLS can verify"))?;
    let connector = TlsConnector::from(config);
    match io {
        Io::Tcp(stream) => connector.connect(name, stream).await.map(|it| Io::Tls(Box::new(it))),
        Io::Tls(stream) => connector.connect(name, stream).await.map(|it| Io::TlsInTls(Box::new(it))),
        Io::TlsInTls(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
    }
    .map_err(tls_failure)
}

fn tls_failure(error: io::Error) -> HttpError {
    let (message, retry) = match find::<rustls::Error>(&error) {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            (format!("its certificate is not trusted ({problem}); give the CA file that signed it"), false)
        }
        Some(problem) => (format!("no TLS session ({problem}); check that the port speaks https"), false),
        None => (format!("the connection broke in the TLS handshake ({})", plain(&error)), true),
    };
    HttpError::new(HttpErrorKind::Tls, message).retry(retry).because(error)
}

fn handshake(error: hyper::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Connect, "the connection broke in the HTTP handshake").because(error)
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// To a server through a proxy that is itself reached by https.
    TlsInTls(Box<TlsStream<Box<TlsStream<TcpStream>>>>),
}

impl Io {
    fn is_http2(&self) -> bool {
        let session = match self {
            Self::Tcp(_) => return false,
            Self::Tls(stream) => stream.get_ref().1,
            Self::TlsInTls(stream) => stream.get_ref().1,
        };
        session.alpn_protocol() == Some(b"h2")
    }
}

/// A counted connection.
pub(crate) struct Transport {
    io: Io,
    /// Kept until the server's settings, its first frame, were read and applied.
    waiting: Turn,
    heard: bool,
    _open: OpenConnection,
}

macro_rules! each {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Tcp($stream) => $call,
            Io::Tls($stream) => $call,
            Io::TlsInTls($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_some() {
            // Asked again, so what came before has been dealt with.
            if this.heard {
                this.waiting = None;
            }
            let before = buf.filled().len();
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            this.heard |= buf.filled().len() > before;
            return read;
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
