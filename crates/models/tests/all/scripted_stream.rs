//! How a turn comes: its pieces, its time, its faults.

use std::time::Duration;

use ambidex_core::model::{Model, Request};
use ambidex_core::{Chunk, Context, ErrorKind, Finish};
use ambidex_models::scripted::{Fault, ScriptedModel, Turn};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use crate::scripted::{answer, chunks, in_run};

fn texts(chunks: &[Chunk]) -> Vec<&str> {
    let text = |chunk| match chunk {
        &Chunk::Text { ref text, .. }
        | &Chunk::Reasoning { ref text, .. }
        | &Chunk::Arguments { ref text, .. } => Some(text.as_str()),
        _ => None,
    };
    chunks.iter().filter_map(text).collect()
}

#[tokio::test]
async fn a_reply_comes_part_by_part_and_ends() {
    let turn = Turn::call("a", json!({"x": 1})).and_call("b", json!({})).and_text("Hi").reasoning("Hm");
    let (chunks, error) = chunks(&ScriptedModel::new([turn]), Request::user("go"), Context::detached()).await;
    assert_eq!(error, None);
    let text = |text: &str| text.to_owned();
    assert!(matches!(chunks[11], Chunk::Usage(_)));
    let without_usage: Vec<_> =
        chunks.into_iter().filter(|chunk| !matches!(chunk, Chunk::Usage(_))).collect();
    assert_eq!(
        without_usage,
        [
            Chunk::Start { request_id: None, model: Some(text("script")) },
            Chunk::Reasoning { part: 0, text: text("Hm") },
            Chunk::PartEnd { part: 0 },
            Chunk::Text { part: 1, text: text("Hi") },
            Chunk::PartEnd { part: 1 },
            Chunk::ToolCall { part: 2, id: text("call_1_1"), name: text("a") },
            Chunk::Arguments { part: 2, text: text(r#"{"x":1}"#) },
            Chunk::PartEnd { part: 2 },
            Chunk::ToolCall { part: 3, id: text("call_1_2"), name: text("b") },
            Chunk::Arguments { part: 3, text: text("{}") },
            Chunk::PartEnd { part: 3 },
            Chunk::End(Finish::ToolCalls),
        ]
    );
}

#[tokio::test]
async fn pieces_are_cut_between_characters() {
    let model = ScriptedModel::new([Turn::text("añ😀bcd").chunk(2)]);
    let (chunks, _) = chunks(&model, Request::user("go"), Context::detached()).await;
    assert_eq!(texts(&chunks), ["añ", "😀b", "cd"]);
}

#[tokio::test(start_paused = true)]
async fn a_paced_reply_comes_word_by_word_in_its_time() {
    let model = ScriptedModel::new([Turn::text("One, two\n\nthree ")])
        .pace(Duration::from_millis(15))
        .delay(Duration::from_millis(200));
    let start = Instant::now();
    let mut stream = model.stream(Request::user("go"), Context::detached());
    let mut said = vec![];
    while let Some(Ok(chunk)) = stream.next().await {
        if let Chunk::Text { text, .. } = chunk {
            said.push((text, start.elapsed().as_millis()));
        }
    }
    assert_eq!(said, [("One, ".to_owned(), 215), ("two\n\n".to_owned(), 230), ("three ".to_owned(), 245)]);
}

#[test]
fn a_reply_without_pace_needs_no_timer_and_no_runtime() {
    let model = ScriptedModel::new([Turn::text("a b c").chunk(1)]);
    let mut stream = model.stream(Request::user("go"), Context::detached());
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    let mut count = 0;
    while let std::task::Poll::Ready(Some(item)) = stream.poll_next_unpin(&mut task) {
        item.unwrap();
        count += 1;
    }
    assert_eq!(count, 9);
    assert!(stream.poll_next_unpin(&mut task).is_ready());
}

#[tokio::test]
async fn a_fault_comes_so_many_times_in_each_run_and_then_passes() {
    let turn = Turn::text("fine")
        .fault(Fault::new(ErrorKind::RateLimited).times(2).retry_after(Duration::from_secs(3)))
        .fault(Fault::new(ErrorKind::Overloaded).message("too much"));
    let model = ScriptedModel::new([turn]);
    for run in ["first", "second"] {
        for _ in 0..2 {
            let error = answer(&model, Request::user("go"), in_run(run)).await.unwrap_err();
            assert_eq!((error.kind(), error.status()), (ErrorKind::RateLimited, Some(429)));
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
            assert_eq!(error.provider(), Some("scripted"));
        }
        let error = answer(&model, Request::user("go"), in_run(run)).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "too much"));
        assert_eq!(answer(&model, Request::user("go"), in_run(run)).await.unwrap().text(), "fine");
        assert_eq!(answer(&model, Request::user("go"), in_run(run)).await.unwrap().text(), "fine");
    }
}

#[tokio::test]
async fn a_fault_that_comes_always_never_passes() {
    let model = ScriptedModel::new([Turn::text("x").fault(Fault::new(ErrorKind::ProviderError).always())]);
    for _ in 0..100 {
        let error = answer(&model, Request::user("go"), Context::detached()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderError);
    }
}

#[tokio::test]
async fn a_stream_is_cut_after_so_many_pieces_and_has_no_end() {
    for (after, expected) in [(0, vec![]), (2, vec!["ab", "cd"]), (9, vec!["ab", "cd", "e"])] {
        let turn = Turn::text("abcde").chunk(2).fault(Fault::new(ErrorKind::StreamTruncated).after(after));
        let (chunks, error) =
            chunks(&ScriptedModel::new([turn]), Request::user("go"), Context::detached()).await;
        assert_eq!(texts(&chunks), expected);
        assert!(!chunks.iter().any(|chunk| matches!(chunk, Chunk::End(_) | Chunk::Usage(_))));
        assert_eq!(error.unwrap().kind(), ErrorKind::StreamTruncated);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_says_nothing_more_until_it_is_cancelled() {
    let model = ScriptedModel::new([Turn::text("abcd").chunk(2).fault(Fault::idle().after(1))]);
    let context = Context::detached();
    let mut stream = model.stream(Request::user("go"), context.clone());
    assert!(matches!(stream.next().await, Some(Ok(Chunk::Start { .. }))));
    assert!(matches!(stream.next().await, Some(Ok(Chunk::Text { .. }))));
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, stream.next()).await.is_err());
    context.token().cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(stream.next().await.is_none());
    assert_eq!(answer(&model, Request::user("go"), Context::detached()).await.unwrap().text(), "abcd");
}

#[tokio::test]
async fn a_stream_that_is_never_polled_counts_no_attempt() {
    let model = ScriptedModel::new([Turn::text("fine").fault(Fault::new(ErrorKind::Overloaded))]);
    drop(model.stream(Request::user("go"), Context::detached()));
    assert!(answer(&model, Request::user("go"), Context::detached()).await.is_err());
    assert!(answer(&model, Request::user("go"), Context::detached()).await.is_ok());
}
