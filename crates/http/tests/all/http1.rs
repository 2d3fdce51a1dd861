use std::{sync::Arc, time::Duration};

use ambidex_http::{Body, Bytes, HeaderValue, Method, Request, StatusCode, Version, header};
use tokio::{
    io::AsyncWriteExt,
    sync::{Notify, mpsc},
};

use crate::support::{Server, builder, client, hang_up, read_request, soon, until};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-id: 7\r\n\r\nhello";

#[tokio::test]
async fn a_connection_is_used_again_and_counted() {
    let server = Server::answering(HELLO).await;
    let client = client();
    for _ in 0..3 {
        let response = client.send(server.get()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.headers()["x-id"], "7");
        assert_eq!(client.census().in_flight, 1, "until the body is read");
        assert_eq!(response.collect(5).await.unwrap(), "hello");
        let census = client.census();
        assert_eq!((census.open, census.idle, census.in_flight, census.opened), (1, 1, 0, 1));
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_have_their_own_connections_and_share_them_later() {
    let server = Server::answering(HELLO).await;
    let client = client();
    let (one, two) = tokio::join!(client.send(server.get()), client.send(server.get()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(client.census().open, 2);
    one.collect(9).await.unwrap();
    two.collect(9).await.unwrap();
    assert_eq!(client.census().idle, 2);
    client.send(server.get()).await.unwrap().collect(9).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_response_without_a_body_frees_its_connection_at_once() {
    let server = Server::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let client = client();
    for _ in 0..2 {
        let response = client.send(Request::new(Method::HEAD, server.url("/"))).await.unwrap();
        assert_eq!(client.census().in_flight, 0);
        drop(response);
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn segments_arrive_as_one_body_with_its_length_and_nothing_unasked() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                seen.send(request).unwrap();
                stream.write_all(HELLO).await.unwrap();
            }
        }
    })
    .await;
    let client = client();
    // Far more than a socket holds, so writes end within segments: empty, short and long ones.
    let segments: Vec<Bytes> =
        (0..1000).map(|n| Bytes::from(vec![b'a' + (n % 26) as u8; (n * 373) % 32768])).collect();
    let whole = segments.concat();
    let body = Body::from(segments);
    assert_eq!(body.len(), whole.len() as u64);
    let request = Request::post(server.url("/v1/chat?key=1"))
        .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer s"))
        .body(body.clone());
    for _ in 0..2 {
        client.send(request.clone()).await.unwrap().collect(9).await.unwrap();
        let (head, body) = requests.recv().await.unwrap();
        assert!(body == whole);
        let mut lines: Vec<_> = head.lines().filter(|line| !line.is_empty()).collect();
        lines[1..].sort_unstable();
        assert_eq!(
            lines,
            [
                "POST /v1/chat?key=1 HTTP/1.1",
                "authorization: Bearer s",
                &format!("content-length: {}", whole.len()),
                &format!("host: {}", server.address),
            ]
        );
    }
    // A clone of a body is whole, whatever was sent of the first.
    assert_eq!(body.len(), whole.len() as u64);
}

#[tokio::test]
async fn a_redirect_is_a_response_like_any_other() {
    let answer = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(answer).await;
    let response = client().send(server.get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()["location"], "/other");
}

/// Sends a head and a piece of body, then tells when the client hangs up.
async fn stalling(answer: &'static [u8]) -> (Server, Arc<Notify>) {
    let gone = Arc::new(Notify::new());
    let tell = gone.clone();
    let server = Server::start(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(answer).await.unwrap();
            hang_up(&mut stream).await;
            tell.notify_one();
        }
    })
    .await;
    (server, gone)
}

#[tokio::test]
async fn dropping_a_response_hangs_up() {
    let (server, gone) = stalling(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegin").await;
    let client = client();
    let mut response = client.send(server.get()).await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "begin");
    drop(response);
    soon(gone.notified()).await;
    until(|| client.open_connections() == 0).await;
    assert_eq!(client.census().in_flight, 0);
}

#[tokio::test]
async fn dropping_the_future_hangs_up() {
    let (server, gone) = stalling(b"").await;
    let client = client();
    let mut sending = Box::pin(client.send(server.get()));
    tokio::select! {
        _ = &mut sending => panic!("there is no response"),
        () = until(|| server.accepted() == 1) => {}
    }
    tokio::select! {
        _ = &mut sending => panic!("there is no response"),
        () = until(|| client.open_connections() == 1) => {}
    }
    // The request must be out, or the server would still be waiting for it.
    tokio::select! {
        _ = &mut sending => panic!("there is no response"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    drop(sending);
    soon(gone.notified()).await;
    until(|| client.open_connections() == 0).await;
}

#[tokio::test]
async fn dropping_the_client_closes_what_rests_and_a_response_outlives_it() {
    let (resting, gone) = stalling(HELLO).await;
    let first = client();
    first.send(resting.get()).await.unwrap().collect(9).await.unwrap();
    drop(first);
    soon(gone.notified()).await;

    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(b"llo").await.unwrap();
        hang_up(&mut stream).await;
    })
    .await;
    let second = client();
    let response = second.send(server.get()).await.unwrap();
    drop(second);
    assert_eq!(soon(response.collect(9)).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_connection_the_server_closed_while_it_rested_is_replaced() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(HELLO).await.ok();
    })
    .await;
    let client = client();
    for _ in 0..5 {
        client.send(server.get()).await.unwrap().collect(9).await.unwrap();
        until(|| client.open_connections() == 0).await;
    }
    assert_eq!(server.accepted(), 5);
}

#[tokio::test]
async fn resting_has_its_limits() {
    let server = Server::answering(HELLO).await;
    let none = builder().max_idle_per_host(0).build().unwrap();
    none.send(server.get()).await.unwrap().collect(9).await.unwrap();
    until(|| none.open_connections() == 0).await;

    let short = builder().idle_timeout(Duration::from_millis(20)).build().unwrap();
    short.send(server.get()).await.unwrap().collect(9).await.unwrap();
    until(|| short.open_connections() == 0).await;
    // And once more: the task that closes them comes back.
    short.send(server.get()).await.unwrap().collect(9).await.unwrap();
    until(|| short.open_connections() == 0).await;
}

#[tokio::test]
async fn a_body_is_collected_up_to_its_limit() {
    let server = Server::answering(HELLO).await;
    let client = client();
    assert_eq!(client.send(server.get()).await.unwrap().collect(5).await.unwrap(), "hello");
    let error = client.send(server.get()).await.unwrap().collect(4).await.unwrap_err();
    assert_eq!(error.kind().code(), "too_large");
    assert!(error.to_string().contains("limit of 4 bytes"), "{error}");

    // Without a declared length, in pieces.
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n";
    let server = Server::answering(chunked).await;
    for limit in 0..5 {
        let error = client.send(server.get()).await.unwrap().collect(limit).await.unwrap_err();
        assert_eq!(error.kind().code(), "too_large", "{limit}");
    }
    assert_eq!(client.send(server.get()).await.unwrap().collect(5).await.unwrap(), "abcde");
}
