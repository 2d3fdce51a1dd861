use std::task::{Context, Poll};

use ambidex_http::{Bytes, ChunkSource, EventStream, HttpError, HttpErrorKind, LineDecoder};
use proptest::prelude::*;

fn drain(decoder: &mut LineDecoder, lines: &mut Vec<Result<Bytes, HttpErrorKind>>) {
    loop {
        match decoder.next_line() {
            Ok(Some(line)) => lines.push(Ok(line)),
            Ok(None) => return,
            Err(error) => {
                if !matches!(lines.last(), Some(Err(_))) {
                    lines.push(Err(error.kind()));
                }
                return;
            }
        }
    }
}

fn decode_with(mut decoder: LineDecoder, chunks: &[&[u8]]) -> Vec<Result<Bytes, HttpErrorKind>> {
    let mut lines = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        drain(&mut decoder, &mut lines);
    }
    decoder.finish();
    drain(&mut decoder, &mut lines);
    lines
}

fn decode(stream: &str) -> Vec<Bytes> {
    decode_with(LineDecoder::new(), &[stream.as_bytes()]).into_iter().map(Result::unwrap).collect()
}

#[test]
fn lines_end_with_a_line_feed_and_the_last_needs_none() {
    for (stream, lines) in [
        ("", vec![]),
        ("\n\n \r\n\t\n", vec![]),
        ("{}\n", vec!["{}"]),
        ("{}\n{\"a\": 1}", vec!["{}", "{\"a\": 1}"]),
        ("a\r\nb\n\r\nc\r", vec!["a", "b", "c"]),
        ("a\rb\n", vec!["a\rb"]),
        (" a \n", vec![" a "]),
    ] {
        assert_eq!(decode(stream), lines, "{stream:?}");
    }
}

#[test]
fn a_line_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from("first\nsecond\r\n".to_owned());
    let mut decoder = LineDecoder::new();
    decoder.push(chunk.clone());
    assert_eq!(decoder.next_line().unwrap().unwrap().as_ptr(), chunk.as_ptr());
    assert_eq!(decoder.next_line().unwrap().unwrap().as_ptr(), chunk[6..].as_ptr());
    assert!(!decoder.is_inside_line());
    decoder.push(Bytes::from_static(b"begun"));
    assert_eq!(decoder.next_line().unwrap(), None);
    assert!(decoder.is_inside_line());
}

#[test]
fn a_line_over_the_limit_is_an_error_however_it_comes() {
    let limited = || LineDecoder::new().max_line(10);
    let expected = [Ok(Bytes::from("1234567890")), Err(HttpErrorKind::TooLarge)];
    for stream in ["1234567890\r\n12345678901\nnever\n", "1234567890\n12345678901"] {
        assert_eq!(decode_with(limited(), &[stream.as_bytes()]), expected, "{stream:?}");
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(decode_with(limited(), &single), expected, "{stream:?}");
    }
    // Without an end it is noticed before it ends, and nothing of it is kept.
    let mut decoder = limited();
    decoder.push(Bytes::from(vec![b'x'; 12]));
    assert_eq!(decoder.next_line().unwrap_err().kind(), HttpErrorKind::TooLarge);
    assert_eq!(decoder.next_line().unwrap_err().kind(), HttpErrorKind::TooLarge);
}

/// The rule over the whole stream at once.
fn reference(stream: &[u8]) -> Vec<Bytes> {
    let lines = stream.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.trim_ascii().is_empty()).map(Bytes::copy_from_slice).collect()
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec!["{\"a\":1}\n", "{}", "\n", "\r\n", "\r", "é", "日本", " ", "x"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_lines(
        stream in stream(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let expected: Vec<_> = reference(&stream).into_iter().map(Ok).collect();
        prop_assert_eq!(&decode_with(LineDecoder::new(), &[&stream]), &expected);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&decode_with(LineDecoder::new(), &single), &expected);

        let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&decode_with(LineDecoder::new(), &chunks), &expected);

        // Pushed all at once, without taking lines in between.
        let mut decoder = LineDecoder::new();
        chunks.iter().for_each(|chunk| decoder.push(Bytes::copy_from_slice(chunk)));
        decoder.finish();
        let mut lines = Vec::new();
        drain(&mut decoder, &mut lines);
        prop_assert_eq!(&lines, &expected);

        // A limit cuts at the same place.
        let limited = || LineDecoder::new().max_line(6);
        prop_assert_eq!(decode_with(limited(), &chunks), decode_with(limited(), &[&stream]));
    }
}

struct Bodies(Vec<&'static str>);

impl ChunkSource for Bodies {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, HttpError>> {
        Poll::Ready(Ok(self.0.pop().map(|text| Bytes::from_static(text.as_bytes()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_gives_lines_as_events_of_data_alone() {
    let source = Bodies(vec!["2}", "\r\n\n{\"b\":", "{\"a\":1}"]);
    let mut stream = EventStream::new(source).lines(LineDecoder::new());
    for line in ["{\"a\":1}", "{\"b\":2}"] {
        let event = stream.next().await.unwrap().unwrap();
        assert_eq!((event.data, event.event), (Bytes::from(line), None));
    }
    assert!(stream.next().await.unwrap().is_none());
}
