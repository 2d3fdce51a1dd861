use std::time::Duration;

use ambidex_http::{HttpErrorKind as Kind, Request, TimeoutPhase, Timeouts, Url};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::support::{Server, builder, client, hang_up, read_request, until};

/// Answers with these bytes, then closes; or resets, by closing with bytes unread.
async fn closing(answer: &'static [u8], reset: bool) -> Server {
    Server::start(move |mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(answer).await.unwrap();
        if reset {
            // Let the client see the bytes first: a reset may discard them.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger().unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn every_early_end_has_its_kind() {
    let rows: &[(&'static [u8], bool, Kind)] = &[
        (b"", false, Kind::Closed),
        (b"", true, Kind::Closed),
        (b"HTTP/1.1 200 OK\r\ncontent-", false, Kind::Closed),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", false, Kind::Truncated),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", true, Kind::Reset),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", false, Kind::Truncated),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc", false, Kind::Truncated),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc", false, Kind::Protocol),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", false, Kind::Protocol),
    ];
    for (answer, reset, kind) in rows {
        let server = closing(answer, *reset).await;
        let client = client();
        let result = match client.send(server.get()).await {
            Ok(response) => response.collect(100).await.map(drop),
            Err(error) => Err(error),
        };
        let error = result.unwrap_err();
        let row = format!("{:?} reset {reset}: {error:?}", String::from_utf8_lossy(answer));
        assert_eq!(error.kind(), *kind, "{row}");
        assert!(error.may_have_been_sent(), "{row}");
        assert!(!error.on_reused_connection(), "{row}");
        assert_eq!(error.host(), Some(server.address.to_string().as_str()), "{row}");
        until(|| client.open_connections() == 0).await;
        assert_eq!(client.census().in_flight, 0, "{row}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let server = closing(b"HTTP/1.1 200 OK\r\n\r\nabc", false).await;
    assert_eq!(client().send(server.get()).await.unwrap().collect(100).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_request_that_may_have_been_seen_is_never_sent_again() {
    let server = Server::start(|mut stream, number| async move {
        read_request(&mut stream).await;
        if number == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            read_request(&mut stream).await;
        }
    })
    .await;
    let client = client();
    client.send(server.get()).await.unwrap();
    let error = client.send(server.get()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Closed);
    assert!(error.may_have_been_sent() && error.retry_may_help() && error.on_reused_connection());
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn headers_have_a_limit() {
    let answer: &'static [u8] =
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(20_000))
            .leak()
            .as_bytes();
    let server = Server::answering(answer).await;
    let narrow = builder().max_headers(10_000).build().unwrap();
    assert_eq!(narrow.send(server.get()).await.unwrap_err().kind(), Kind::TooLarge);
    assert!(client().send(server.get()).await.is_ok());
}

#[tokio::test]
async fn the_first_byte_has_a_limit_and_the_server_sees_the_end() {
    let (told, mut gone) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            hang_up(&mut stream).await;
            told.send(()).unwrap();
        }
    })
    .await;
    let limit = Timeouts { first_byte: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let error = client().send(server.get().timeouts(limit)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout(TimeoutPhase::FirstByte));
    assert!(error.may_have_been_sent() && error.retry_may_help());
    crate::support::soon(gone.recv()).await.unwrap();
}

#[tokio::test]
async fn connecting_has_a_limit() {
    // Accepts, and never speaks TLS.
    let server = Server::start(|mut stream, _| async move { hang_up(&mut stream).await }).await;
    let url = Url::parse(&format!("https://{}/?secret=1", server.address)).unwrap();
    let limit = Timeouts { connect: Some(Duration::from_millis(50)), ..Timeouts::default() };
    let client = builder().tls(crate::http2::authority().tls.clone()).build().unwrap();
    let error = client.send(Request::get(url).timeouts(limit)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout(TimeoutPhase::Connect));
    assert!(!error.may_have_been_sent());
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(client.open_connections(), 0);
}

#[tokio::test]
async fn no_connection_and_no_address_say_so() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{address}/?secret=1")).unwrap();
    let error = client().send(Request::get(url)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Connect);
    assert!(!error.may_have_been_sent() && error.retry_may_help());
    let text = error.to_string();
    assert!(text.starts_with(&address.to_string()) && text.contains("refused"), "{text}");
    assert!(!text.contains("secret"), "{text}");

    let client = builder().resolve_to("nowhere.test", Vec::new()).build().unwrap();
    let error = client.send(Request::get(Url::parse("http://nowhere.test/").unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Dns);
    assert!(!error.may_have_been_sent());
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let server = Server::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let addresses = vec![closed, "[::1]:1".parse().unwrap(), server.address];
    let client = builder().resolve_to("several.test", addresses).build().unwrap();
    let response = client.send(Request::get(Url::parse("http://several.test/").unwrap())).await.unwrap();
    assert_eq!(response.status(), 204);
}
