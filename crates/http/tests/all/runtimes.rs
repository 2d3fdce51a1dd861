//! One client under several runtimes, some of which end before it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::mpsc,
    task::Poll,
    time::{Duration, Instant},
};

use ambidex_http::{Client, Request};
use tokio::{
    io::AsyncWriteExt,
    runtime::{Builder, Runtime},
};

use crate::support::{Server, client, hang_up, read_request};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

async fn exchange(client: &Client, request: Request) {
    client.send(request).await.unwrap().collect(9).await.unwrap();
}

/// The limit only ends a test that has failed.
fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_rests_goes_with_its_runtime_and_others_are_looked_after_still() {
    let serving = runtime(1);
    let (close, closing) = tokio::sync::watch::channel(false);
    let server = serving.block_on(Server::start(move |mut stream, _| {
        let mut closing = closing.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(HELLO).await.ok();
            tokio::select! {
                () = hang_up(&mut stream) => {}
                _ = closing.wait_for(|it| *it) => {}
            }
        }
    }));
    let client = client();
    let (first, second) = (runtime(1), runtime(1));
    first.block_on(exchange(&client, server.get()));
    second.block_on(exchange(&client, server.get()));
    assert_eq!(client.census().idle, 2);

    drop(first);
    until(|| client.open_connections() == 1);
    close.send(true).unwrap();
    until(|| client.open_connections() == 0);

    // The last runtime leaves nothing either.
    let (close, closing) = mpsc::channel::<()>();
    let last = runtime(1);
    let server = serving.block_on(Server::answering(HELLO));
    last.block_on(exchange(&client, server.get()));
    drop((last, closing, close));
    until(|| client.open_connections() == 0);
}

#[test]
fn a_response_that_ends_while_its_runtime_ends_holds_nothing_up() {
    let serving = runtime(1);
    let (more, wanted) = tokio::sync::watch::channel(false);
    let server = serving.block_on(Server::start(move |mut stream, _| {
        let mut wanted = wanted.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
            wanted.wait_for(|it| *it).await.unwrap();
            stream.write_all(b"llo").await.unwrap();
            hang_up(&mut stream).await;
        }
    }));
    let client = client();
    let ending = runtime(2);
    let (send, waits) = mpsc::channel();
    let (gone, is_gone) = mpsc::channel::<()>();
    let (read, whole) = mpsc::channel();
    let get = server.get();
    ending.spawn(async move {
        let mut response = client.send(get).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "he");
        let mut pending = false;
        let rest = {
            let mut chunk = pin!(response.chunk());
            poll_fn(move |cx| {
                if pending {
                    // The rest is there. Another worker drops the other task, so the runtime takes no more.
                    send.send(()).unwrap();
                    assert!(is_gone.recv().is_err());
                }
                let polled = chunk.as_mut().poll(cx);
                if polled.is_pending() && !pending {
                    pending = true;
                    more.send(true).unwrap();
                }
                polled
            })
            .await
        };
        read.send(rest.unwrap().unwrap()).unwrap();
    });
    ending.spawn(async move {
        let _gone = gone;
        poll_fn(|_| Poll::<()>::Pending).await;
    });
    waits.recv().unwrap();
    ending.shutdown_background();
    assert_eq!(whole.recv_timeout(Duration::from_secs(10)).unwrap(), "llo");
}

#[test]
fn a_response_may_be_read_where_there_is_no_runtime() {
    let serving = runtime(1);
    let server = serving.block_on(Server::answering(HELLO));
    let client = client();
    let asking = runtime(1);
    let response = asking.block_on(client.send(server.get())).unwrap();
    let mut reading = pin!(response.collect(9));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    until(|| match reading.as_mut().poll(&mut cx) {
        Poll::Ready(body) => {
            assert_eq!(body.unwrap(), "hello");
            true
        }
        Poll::Pending => false,
    });
    until(|| client.census().in_flight == 0);
}
