//! Connections: kept, counted, closed.

use std::time::Duration;

use ambidex_fake_provider::{FakeProvider, Fault, Script, When, Wire};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{self, End, encode, post_bytes, receive, request};
use crate::reader;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn many_exchanges_share_one_connection() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    for turn in 0..6 {
        let (wire, streamed) = (Wire::ALL[turn % Wire::ALL.len()], turn % 3 == 0);
        stream.write_all(&post_bytes(wire, &[], &request(wire, streamed))).await.unwrap();
        let response = receive(&mut stream, PATIENCE).await;
        assert_eq!(reader::read(wire, streamed, &response).unwrap().text, "ok");
    }
    // Refusals keep it too, as the vendors do.
    stream.write_all(&encode("GET", "/v1/nothing", &[("authorization", "Bearer x")], b"")).await.unwrap();
    let response = receive(&mut stream, PATIENCE).await;
    assert_eq!((response.status, response.end), (Some(404), End::Complete));
    let census = provider.census();
    assert_eq!((census.open, census.accepted, census.peak_open), (1, 1, 1));
    let numbers: Vec<(u64, u64)> = provider.requests().iter().map(|r| (r.number, r.connection)).collect();
    assert_eq!(numbers, (1..=7).map(|n| (n, 1)).collect::<Vec<_>>());
    drop(stream);
    assert_eq!(provider.wait_for_open_connections(0).await.open, 0);
    assert!(provider.hangups().is_empty());
}

#[tokio::test]
async fn two_requests_sent_at_once_are_answered_in_order() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    let mut both = post_bytes(Wire::OpenAi, &[], &request(Wire::OpenAi, false));
    both.extend(post_bytes(Wire::OpenAi, &[("x-fake-run", "second")], &request(Wire::OpenAi, false)));
    stream.write_all(&both).await.unwrap();
    let mut raw = Vec::new();
    while raw.windows(12).filter(|twelve| *twelve == b"\"content\":\"o").count() < 2 {
        assert_ne!(tokio::io::AsyncReadExt::read_buf(&mut stream, &mut raw).await.unwrap(), 0);
    }
    let text = String::from_utf8(raw).unwrap();
    let (one, two) = (text.find("chatcmpl-fake1").unwrap(), text.find("chatcmpl-fake2").unwrap());
    assert!(one < two);
    let requests = provider.requests();
    assert_eq!([requests[0].run.as_str(), requests[1].run.as_str()], ["", "second"]);
}

#[tokio::test]
async fn a_chunked_request_is_read() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let body = request(Wire::OpenAi, false).to_string();
    let (first, second) = body.split_at(40);
    let raw = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};ext=1\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len(),
    );
    let response = client::send(provider.addr(), raw.as_bytes(), PATIENCE).await;
    assert_eq!(response.status, Some(200), "{}", response.text());
    assert_eq!(provider.requests()[0].body["messages"][0]["content"], "Be brief.");
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    let bytes = post_bytes(Wire::OpenAi, &[("connection", "close")], &request(Wire::OpenAi, true));
    stream.write_all(&bytes).await.unwrap();
    assert_eq!(receive(&mut stream, PATIENCE).await.end, End::Complete);
    let mut rest = [0; 10];
    assert_eq!(tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let response = client::send(provider.addr(), b"\x16\x03\x01 hello\r\n\r\n", PATIENCE).await;
    assert_eq!(response.status, Some(400));
    assert!(response.text().contains("not HTTP/1.1"));
}

#[tokio::test]
async fn the_census_counts_peaks() {
    let provider = FakeProvider::start(Script::text("ok").with_fault(Fault::StallAfterHead, When::Always))
        .await
        .unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
        stream.write_all(&post_bytes(Wire::OpenAi, &[], &request(Wire::OpenAi, true))).await.unwrap();
        streams.push(stream);
    }
    provider.wait_for_requests(20).await;
    assert_eq!(provider.open_connections(), 20);
    drop(streams);
    let census = provider.wait_for_open_connections(0).await;
    assert_eq!((census.open, census.peak_open, census.accepted, census.in_flight), (0, 20, 20, 0));
    assert!(census.peak_in_flight <= 20 && census.peak_in_flight >= 1);
    assert_eq!(provider.wait_for_hangups(20).await.len(), 20);
}

#[tokio::test]
async fn shutdown_ends_connections_and_frees_the_port() {
    let provider = FakeProvider::start(Script::text("ok").with_fault(Fault::StallAfterHead, When::Always))
        .await
        .unwrap();
    let addr = provider.addr();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&post_bytes(Wire::OpenAi, &[], &request(Wire::OpenAi, true))).await.unwrap();
    provider.wait_for_requests(1).await;
    provider.shutdown().await;
    assert_ne!(receive(&mut stream, PATIENCE).await.end, End::Complete);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_record_keeps_what_was_sent() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let bytes = post_bytes(Wire::Anthropic, &[("X-Custom", "Value")], &request(Wire::Anthropic, true));
    client::send(provider.addr(), &bytes, PATIENCE).await;
    let record = provider.requests().remove(0);
    assert_eq!(record.header("x-custom"), Some("Value"));
    assert_eq!((record.method.as_str(), record.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!((record.wire, record.status, record.attempt), (Some(Wire::Anthropic), 200, 1));
    assert_eq!(record.body, request(Wire::Anthropic, true));
    assert_eq!(record.bytes, request(Wire::Anthropic, true).to_string().len());
    provider.keep_bodies(false);
    client::send(provider.addr(), &bytes, PATIENCE).await;
    assert!(provider.requests()[1].body.is_null());
    provider.forget();
    assert_eq!(provider.request_count(), 0);
}

#[tokio::test]
async fn another_process_can_look_in_and_change_the_script() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    client::post_as(provider.addr(), Wire::OpenAi, "r1", &request(Wire::OpenAi, false)).await;
    provider.wait_until_idle().await;
    let get =
        async |path: &str| client::send(provider.addr(), &encode("GET", path, &[], b""), PATIENCE).await;
    let seen = get("/fake/requests").await.json();
    assert_eq!((&seen[0]["run"], &seen[0]["status"]), (&"r1".into(), &200.into()));
    assert!(seen[0]["at_ms"].as_f64().unwrap() >= 0.0);
    let census = get("/fake/census").await.json();
    assert_eq!((census["requests"].as_u64(), census["in_flight"].as_u64()), (Some(1), Some(0)));
    assert_eq!(get("/fake/hangups").await.json(), serde_json::json!([]));
    assert_eq!(get("/fake/nothing").await.status, Some(404));

    let put = async |body: &str| {
        client::send(provider.addr(), &encode("PUT", "/fake/script", &[], body.as_bytes()), PATIENCE).await
    };
    assert_eq!(put(r#"{"turns": [{"parts": [{"text": "new"}]}]}"#).await.status, Some(200));
    let response = client::post(provider.addr(), Wire::OpenAi, &request(Wire::OpenAi, false)).await;
    assert_eq!(reader::read(Wire::OpenAi, false, &response).unwrap().text, "new");
    let wrong = put(r#"{"turn": []}"#).await;
    assert!(wrong.status == Some(400) && wrong.text().contains("unknown field `turn`"), "{}", wrong.text());
    assert_eq!(provider.request_count(), 2);
}
