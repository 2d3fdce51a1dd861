//! Clients that leave.

use std::time::{Duration, Instant};

use ambidex_fake_provider::{FakeProvider, Fault, Script, Turn, When, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{post, post_bytes, request};

async fn begun(provider: &FakeProvider, wire: Wire, run: &str) -> TcpStream {
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(&post_bytes(wire, &[("x-fake-run", run)], &request(wire, true))).await.unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_closes_in_a_stall_is_seen() {
    for fault in [Fault::StallSilent, Fault::StallPings, Fault::StallAfterHead, Fault::StallAtEnd] {
        let provider =
            FakeProvider::start(Script::text("hello").with_fault(fault, When::Always)).await.unwrap();
        for wire in Wire::ALL {
            let stream = begun(&provider, wire, wire.as_str()).await;
            assert!(provider.hangups().iter().all(|hangup| hangup.run != wire.as_str()));
            let left = Instant::now();
            drop(stream);
            let hangup = provider.wait_for_hangup_of(wire.as_str()).await;
            assert!(hangup.at >= left);
            assert!(hangup.bytes_sent >= 64);
            let record = provider.requests().into_iter().find(|r| r.run == wire.as_str()).unwrap();
            assert_eq!((hangup.request, hangup.connection), (record.number, record.connection));
        }
        assert_eq!(provider.wait_for_open_connections(0).await.in_flight, 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_seen() {
    let provider = FakeProvider::start(Script::text("x").with_fault(Fault::StallBeforeHead, When::Always))
        .await
        .unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(&post_bytes(Wire::OpenAi, &[], &request(Wire::OpenAi, true))).await.unwrap();
    provider.wait_for_requests(1).await;
    drop(stream);
    assert_eq!(provider.wait_for_hangup().await.bytes_sent, 0);
}

#[tokio::test]
async fn a_client_that_leaves_between_paced_deltas_is_seen() {
    let turn = Turn::text("a".repeat(1000)).chunks(1).pace(Duration::from_secs(60));
    let provider = FakeProvider::start(Script::new([turn])).await.unwrap();
    drop(begun(&provider, Wire::OpenAi, "paced").await);
    let hangup = provider.wait_for_hangup().await;
    assert_eq!(hangup.run, "paced");
}

#[tokio::test]
async fn a_reset_is_told_from_a_close() {
    let provider =
        FakeProvider::start(Script::text("x").with_fault(Fault::StallAfterHead, When::Always)).await.unwrap();
    let stream = begun(&provider, Wire::OpenAi, "reset").await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert!(provider.wait_for_hangup_of("reset").await.reset);
    // Everything sent is read, so that nothing unread turns the close into a reset.
    let mut stream = begun(&provider, Wire::OpenAi, "close").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    drop(stream);
    assert!(!provider.wait_for_hangup_of("close").await.reset);
}

#[tokio::test]
async fn an_answer_read_to_its_end_is_no_hangup() {
    let provider = FakeProvider::start(Script::text("fine")).await.unwrap();
    for wire in Wire::ALL {
        for stream in [true, false] {
            assert_eq!(post(provider.addr(), wire, &request(wire, stream)).await.status, Some(200));
        }
    }
    provider.wait_for_open_connections(0).await;
    assert!(provider.hangups().is_empty());
}

#[tokio::test]
async fn a_client_done_with_sending_is_no_hangup_once_it_has_its_answer() {
    let provider =
        FakeProvider::start(Script::text("x").with_fault(Fault::Status500, When::Always)).await.unwrap();
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(&post_bytes(Wire::OpenAi, &[], &request(Wire::OpenAi, true))).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 500"));
    provider.wait_for_open_connections(0).await;
    assert!(provider.hangups().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_quick_to_leave_after_the_end_are_no_hangups() {
    let provider = FakeProvider::start(Script::text("fine").with_chunks(1)).await.unwrap();
    let addr = provider.addr();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..400 {
        let wire = Wire::ALL[number % Wire::ALL.len()];
        clients.spawn(async move { post(addr, wire, &request(wire, number % 3 > 0)).await.status });
    }
    assert!(clients.join_all().await.iter().all(|status| *status == Some(200)));
    provider.wait_for_open_connections(0).await;
    assert!(provider.hangups().is_empty());
}

#[tokio::test]
async fn two_hundred_clients_leave_at_once() {
    let provider =
        FakeProvider::start(Script::text("hello").with_fault(Fault::StallPings, When::Always)).await.unwrap();
    let mut streams = Vec::new();
    for number in 0..200 {
        streams.push(begun(&provider, Wire::ALL[number % Wire::ALL.len()], &number.to_string()).await);
    }
    assert_eq!(provider.open_connections(), 200);
    drop(streams);
    let hangups = provider.wait_for_hangups(200).await;
    let mut runs: Vec<usize> = hangups.iter().map(|hangup| hangup.run.parse().unwrap()).collect();
    runs.sort_unstable();
    assert_eq!(runs, (0..200).collect::<Vec<_>>());
    assert_eq!(provider.wait_for_open_connections(0).await.peak_open, 200);
}
