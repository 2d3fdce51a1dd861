//! The idle rule, under a paused clock and a scripted source; one exchange over a socket at the end.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ambidex_http::{
    Bytes, ChunkSource, EventStream, HttpError, HttpErrorKind, IdleLimit, SseDecoder, TimeoutPhase,
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::support::{Server, client, read_request};

/// Chunks, each after a wait that starts when the one before was taken; then silence, or the end.
struct Script {
    chunks: VecDeque<(u64, &'static str)>,
    ends: bool,
    waiting: Option<Pin<Box<Sleep>>>,
}

fn script(chunks: &[(u64, &'static str)], ends: bool) -> EventStream<Script> {
    EventStream::new(Script { chunks: chunks.iter().copied().collect(), ends, waiting: None })
}

impl ChunkSource for Script {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        let Some(&(wait, chunk)) = self.chunks.front() else {
            return if self.ends { Poll::Ready(Ok(None)) } else { Poll::Pending };
        };
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(wait))));
        ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        self.chunks.pop_front();
        Poll::Ready(Ok(Some(Bytes::from_static(chunk.as_bytes()))))
    }
}

const EVENT: &str = "data: x\n\n";
const PING: &str = "event: ping\ndata: {}\n\n";
const COMMENT: &str = ": keep-alive\n\n";

/// Takes all events, marks pings, and gives their number, how it ended and after how many seconds.
async fn run(mut stream: EventStream<Script>) -> (usize, Result<(), HttpError>, u64) {
    let start = Instant::now();
    let mut events = 0;
    let result = loop {
        match stream.next().await {
            Ok(Some(event)) if event.event.as_deref() == Some(b"ping") => stream.mark_ping(),
            Ok(Some(_)) => events += 1,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    (events, result, start.elapsed().as_secs())
}

fn is_idle(result: Result<(), HttpError>, word: &str) -> bool {
    let error = result.unwrap_err();
    assert!(error.may_have_been_sent() && error.retry_may_help());
    error.kind() == HttpErrorKind::Timeout(TimeoutPhase::Idle) && error.to_string().contains(word)
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_after_the_limit() {
    let (events, result, seconds) = run(script(&[], false)).await;
    assert!(is_idle(result, "silent"));
    assert_eq!((events, seconds), (0, 60));
    let (events, result, seconds) = run(script(&[(1, EVENT), (2, EVENT)], false)).await;
    assert!(is_idle(result, "silent"));
    assert_eq!((events, seconds), (2, 63));
}

#[tokio::test(start_paused = true)]
async fn content_goes_on_for_ever() {
    let (events, result, seconds) = run(script(&[(59, EVENT); 100], true)).await;
    result.unwrap();
    assert_eq!((events, seconds), (100, 5900));
}

#[tokio::test(start_paused = true)]
async fn pings_extend_the_limit_up_to_their_own() {
    for ping in [PING, COMMENT, "data: never ending "] {
        let (events, result, seconds) = run(script(&[(50, ping); 100], false)).await;
        assert!(is_idle(result, "only pings"), "{ping}");
        assert_eq!((events, seconds), (0, 300), "{ping}");
    }
    // Content starts it anew.
    let mut chunks = vec![(50, PING); 5];
    chunks.push((10, EVENT));
    chunks.extend([(50, PING); 100]);
    let (events, result, seconds) = run(script(&chunks, false)).await;
    assert!(is_idle(result, "only pings"));
    assert_eq!((events, seconds), (1, 560));
    // After pings, silence counts as silence.
    let (_, result, seconds) = run(script(&[(50, PING), (50, COMMENT)], false)).await;
    assert!(is_idle(result, "silent"));
    assert_eq!(seconds, 160);
}

#[tokio::test(start_paused = true)]
async fn limits_are_settings() {
    let limit = IdleLimit { silence: Duration::from_secs(5), pings: Duration::from_secs(8) };
    let (_, result, seconds) = run(script(&[], false).idle(limit)).await;
    assert!(is_idle(result, "5s"));
    assert_eq!(seconds, 5);
    let (_, result, seconds) = run(script(&[(3, PING); 9], false).idle(limit)).await;
    assert!(is_idle(result, "8s"));
    assert_eq!(seconds, 8);
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_time_does_not_count() {
    let mut stream = script(&[(1, EVENT), (1, PING), (59, EVENT)], false);
    for _ in 0..3 {
        assert!(stream.next().await.unwrap().is_some());
        sleep(Duration::from_secs(1000)).await;
    }
    let start = Instant::now();
    stream.next().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_looks_away_and_back_does_not_start_the_limit_anew() {
    let mut stream = script(&[], false);
    let start = Instant::now();
    let error = loop {
        if let Ok(result) = timeout(Duration::from_millis(20), stream.next()).await {
            break result.unwrap_err();
        }
    };
    assert_eq!(error.kind(), HttpErrorKind::Timeout(TimeoutPhase::Idle));
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_last_event_needs_no_blank_line_unless_the_decoder_says_so() {
    let chunks = [(0, EVENT), (0, "data: last")];
    assert_eq!(run(script(&chunks, true)).await.0, 2);
    let strict = script(&chunks, true).decoder(SseDecoder::new().flush_at_end(false));
    assert_eq!(run(strict).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_error_the_stream_is_over() {
    let mut stream = script(&[(0, "data: xxxxxxxxxxxxxxxxxxxx\n\n"), (0, EVENT)], false)
        .decoder(SseDecoder::new().max_event(10));
    assert_eq!(stream.next().await.unwrap_err().kind(), HttpErrorKind::TooLarge);
    assert!(stream.next().await.unwrap().is_none());
}

/// A source whose chunks are all there at once.
struct AtOnce {
    chunks: usize,
    taken: usize,
}

impl ChunkSource for AtOnce {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        if self.taken == self.chunks {
            return Poll::Ready(Ok(None));
        }
        self.taken += 1;
        Poll::Ready(Ok(Some(Bytes::from_static(EVENT.as_bytes()))))
    }
}

#[tokio::test]
async fn what_is_there_at_once_is_read_ahead_a_little_and_given_in_full() {
    let mut stream = EventStream::new(AtOnce { chunks: 1_000, taken: 0 });
    let mut events = 0;
    while stream.next().await.unwrap().is_some() {
        events += 1;
        let ahead = stream.source().taken - events;
        assert!(ahead <= 32, "{ahead} chunks ahead");
    }
    assert_eq!(events, 1_000);
}

#[tokio::test]
async fn events_come_over_a_socket_as_they_are_sent_and_a_cut_is_an_error() {
    let server = Server::start(|mut stream, number| async move {
        read_request(&mut stream).await.unwrap();
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Three bytes a chunk: every event and every two-byte letter is split somewhere.
        for piece in "data: é1\n\n: ping\n\nevent: é\ndata: 2\n\n".as_bytes().chunks(3) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
            stream.write_all(piece).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
        if number == 0 {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let client = client();
    for cut in [false, true] {
        let mut events = client.send(server.get()).await.unwrap().events();
        assert_eq!(events.source().status(), 200);
        assert_eq!(events.next().await.unwrap().unwrap().data, "é1");
        let second = events.next().await.unwrap().unwrap();
        assert_eq!((second.event.unwrap(), second.data), (Bytes::from("é"), Bytes::from("2")));
        match events.next().await {
            Ok(None) => assert!(!cut),
            Err(error) => assert!(cut && error.kind() == HttpErrorKind::Truncated, "{error:?}"),
            Ok(Some(event)) => panic!("{event:?}"),
        }
    }
}

/// A body of comments that never ends, at the speed of this machine.
struct Flood;

impl ChunkSource for Flood {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        let spent = ready!(tokio::task::coop::poll_proceed(cx));
        spent.made_progress();
        Poll::Ready(Ok(Some(Bytes::from_static(b": ping\n\n"))))
    }
}

#[tokio::test]
async fn a_flood_of_pings_does_not_stop_the_clock() {
    let limit = IdleLimit { silence: Duration::from_secs(60), pings: Duration::from_millis(100) };
    let mut stream = EventStream::new(Flood).idle(limit);
    // Asked for by number of polls: a flooded task would keep a timer of its own from firing, too.
    let started = Instant::now();
    let mut next = std::pin::pin!(stream.next());
    let ended = std::future::poll_fn(|cx| match next.as_mut().poll(cx) {
        Poll::Pending if started.elapsed() > Duration::from_secs(10) => Poll::Ready(None),
        polled => polled.map(Some),
    });
    let error = ended.await.expect("it never ended").unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Timeout(TimeoutPhase::Idle));
}
