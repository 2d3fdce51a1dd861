//! TLS with an authority of the test's own, HTTP/1 and HTTP/2.

use std::{
    convert::Infallible,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use ambidex_http::{
    Body as Sent, Bytes, Client, HttpErrorKind as Kind, Request, Timeouts, Tls, Url, Version,
};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::support::{Server, builder, hang_up, read_request, soon, until};

pub struct Authority {
    pub tls: Tls,
    config: rustls::ServerConfig,
    file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).ok();
    }
}

/// A new authority and a certificate of it for `localhost` and 127.0.0.1.
pub fn authority() -> Authority {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let file = format!("ambidex-http-{}-{}.pem", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    let file = std::env::temp_dir().join(file);
    std::fs::write(&file, issuer.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    Authority { tls: Tls::with_ca_file_only(&file).unwrap(), config, file }
}

impl Authority {
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config).into()
    }

    pub fn client(&self) -> Client {
        builder().tls(self.tls.clone()).build().unwrap()
    }
}

pub fn https(server: &Server, path: &str) -> Url {
    Url::parse(&format!("https://localhost:{}{path}", server.address.port())).unwrap()
}

/// A server of HTTP/1 over TLS that answers with the request's path.
pub async fn echo_path(acceptor: TlsAcceptor) -> Server {
    Server::start(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            while let Some((head, _)) = read_request(&mut stream).await {
                let path = head.split(' ').nth(1).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await
}

/// What an HTTP/2 server of the test holds back and counts.
#[derive(Clone)]
struct Held {
    /// One permit lets one response go.
    go: Arc<Semaphore>,
    active: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
}

impl Held {
    fn new(permits: usize) -> Self {
        Self { go: Arc::new(Semaphore::new(permits)), active: Arc::default(), received: Arc::default() }
    }
}

struct Active(Arc<AtomicUsize>);

impl Active {
    fn new(held: &Held) -> Self {
        held.active.fetch_add(1, SeqCst);
        Self(held.active.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// One chunk, then nothing and no end for `/stall`.
struct Answer {
    first: Option<Bytes>,
    stall: bool,
    _active: Active,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None if self.stall => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

async fn http2_server(acceptor: TlsAcceptor, held: Held, max_streams: u32) -> Server {
    Server::start(move |stream, _| serve_http2(stream, acceptor.clone(), held.clone(), max_streams)).await
}

async fn serve_http2(stream: TcpStream, acceptor: TlsAcceptor, held: Held, max_streams: u32) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let held = held.clone();
        async move {
            let active = Active::new(&held);
            assert!(!request.headers().contains_key("host"), "HTTP/2 names the host in :authority");
            let stall = request.uri().path() == "/stall";
            let length = request.into_body().collect().await.unwrap().to_bytes().len();
            held.received.fetch_add(length, SeqCst);
            held.go.acquire().await.unwrap().forget();
            let first = Some(Bytes::from(length.to_string()));
            Ok::<_, Infallible>(hyper::Response::new(Answer { first, stall, _active: active }))
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(max_streams)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

#[tokio::test]
async fn https_speaks_http1_where_the_server_or_the_client_wants_it() {
    let authority = authority();
    for (protocols, http2) in [(&["h2", "http/1.1"][..], false), (&["http/1.1"], true), (&[], true)] {
        let server = echo_path(authority.acceptor(protocols)).await;
        let client = builder().tls(authority.tls.clone()).http2(http2).build().unwrap();
        for _ in 0..2 {
            let response = client.send(Request::get(https(&server, "/a?b"))).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_11);
            assert_eq!(response.collect(99).await.unwrap(), "/a?b");
        }
        assert_eq!(server.accepted(), 1);
        // The protocol is known now: others do not wait in line.
        let all = (0..4).map(|_| client.send(Request::get(https(&server, "/"))));
        futures_util::future::try_join_all(all).await.unwrap();
    }
}

#[tokio::test]
async fn http2_carries_all_requests_on_one_connection() {
    let authority = authority();
    let held = Held::new(0);
    let server = http2_server(authority.acceptor(&["h2"]), held.clone(), 100).await;
    let client = authority.client();
    let segments: Vec<Bytes> = (0..500).map(|n| Bytes::from(vec![b'x'; n])).collect();
    let length = segments.iter().map(Bytes::len).sum::<usize>();
    let body = Sent::from(segments);
    let all = (0..50).map(|_| client.send(Request::post(https(&server, "/")).body(body.clone())));
    let all = futures_util::future::try_join_all(all);
    let all = async {
        for response in all.await.unwrap() {
            assert_eq!(response.version(), Version::HTTP_2);
            assert_eq!(response.collect(99).await.unwrap(), length.to_string());
        }
    };
    let release = async {
        until(|| held.active.load(SeqCst) == 50).await;
        assert_eq!(client.census().in_flight, 50);
        held.go.add_permits(50);
    };
    tokio::join!(all, release);
    assert_eq!(held.received.load(SeqCst), 50 * length);
    let census = client.census();
    assert_eq!((census.open, census.idle, census.in_flight, census.opened), (1, 1, 0, 1));
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_full_http2_connection_gets_a_second_one() {
    let authority = authority();
    let held = Held::new(1);
    let server = http2_server(authority.acceptor(&["h2"]), held.clone(), 2).await;
    let client = authority.client();
    // The server's limit is known after its first answer.
    client.send(Request::get(https(&server, "/"))).await.unwrap().collect(9).await.unwrap();
    let all =
        futures_util::future::try_join_all((0..5).map(|_| client.send(Request::get(https(&server, "/")))));
    let release = async {
        until(|| held.active.load(SeqCst) == 5).await;
        held.go.add_permits(5);
    };
    let (all, ()) = soon(async { tokio::join!(all, release) }).await;
    assert_eq!(all.unwrap().len(), 5);
    assert_eq!(server.accepted(), 3);
}

#[tokio::test]
async fn dropping_resets_the_stream_and_keeps_the_connection() {
    let authority = authority();
    let held = Held::new(1);
    let server = http2_server(authority.acceptor(&["h2"]), held.clone(), 100).await;
    let client = authority.client();
    let mut response = client.send(Request::get(https(&server, "/stall"))).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "0");
    assert_eq!(held.active.load(SeqCst), 1);
    drop(response);
    until(|| held.active.load(SeqCst) == 0).await;

    // Before the headers.
    let limit = Timeouts { first_byte: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let error = client.send(Request::get(https(&server, "/")).timeouts(limit)).await.unwrap_err();
    assert_eq!(error.kind().code(), "timeout_first_byte");
    until(|| held.active.load(SeqCst) == 0).await;
    assert_eq!(client.open_connections(), 1);
    assert_eq!(server.accepted(), 1);
    drop(client);
}

#[tokio::test]
async fn a_lost_http2_connection_is_a_reset_and_replaced() {
    let authority = authority();
    let held = Held::new(2);
    let acceptor = authority.acceptor(&["h2"]);
    let cut = Arc::new(Semaphore::new(0));
    let (cut_here, held_here) = (cut.clone(), held.clone());
    let server = Server::start(move |stream, _| {
        let (acceptor, held, cut) = (acceptor.clone(), held_here.clone(), cut_here.clone());
        async move {
            tokio::select! {
                () = serve_http2(stream, acceptor, held, 100) => {}
                permit = cut.acquire() => permit.unwrap().forget(),
            }
        }
    })
    .await;
    let client = authority.client();
    let mut response = client.send(Request::get(https(&server, "/stall"))).await.unwrap();
    response.chunk().await.unwrap().unwrap();
    cut.add_permits(1);
    let error = soon(response.chunk()).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Reset | Kind::Truncated), "{error:?}");
    until(|| client.open_connections() == 0).await;
    let response = client.send(Request::get(https(&server, "/"))).await.unwrap();
    assert_eq!(response.collect(9).await.unwrap(), "0");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let authority = authority();
    let server = http2_server(authority.acceptor(&["h2"]), Held::new(9), 100).await;
    let client =
        builder().tls(authority.tls.clone()).idle_timeout(Duration::from_millis(20)).build().unwrap();
    client.send(Request::get(https(&server, "/"))).await.unwrap().collect(9).await.unwrap();
    until(|| client.open_connections() == 0).await;
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_name_the_host() {
    let (theirs, ours) = (authority(), authority());
    let server = echo_path(theirs.acceptor(&[])).await;
    let error = ours.client().send(Request::get(https(&server, "/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    assert!(!error.retry_may_help() && !error.may_have_been_sent());
    assert!(error.to_string().contains("not trusted"), "{error}");
    // The platform's roots do not know it either.
    let error = builder().build().unwrap().send(Request::get(https(&server, "/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);

    let other =
        builder().tls(theirs.tls.clone()).resolve_to("other.test", vec![server.address]).build().unwrap();
    let error = other.send(Request::get(Url::parse("https://other.test/").unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    assert!(error.to_string().contains("other.test"), "{error}");

    let plain = Server::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        hang_up(&mut stream).await;
    })
    .await;
    let error = ours.client().send(Request::get(https(&plain, "/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Tls);
    assert!(error.to_string().contains("https"), "{error}");
}

#[test]
fn a_ca_file_must_hold_certificates() {
    let missing = Tls::with_ca_file("/nonexistent/ca.pem").unwrap_err();
    assert_eq!(missing.kind(), Kind::Configuration);
    assert!(missing.to_string().contains("/nonexistent/ca.pem"));
    let file = std::env::temp_dir().join(format!("ambidex-http-empty-{}.pem", std::process::id()));
    std::fs::write(&file, "no certificate\n").unwrap();
    let empty = Tls::with_ca_file(&file).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(empty.to_string().contains("BEGIN CERTIFICATE"), "{empty}");
}
