use ambidex_http::{Bytes, HttpErrorKind, SseDecoder, SseEvent, SseItem};
use proptest::prelude::*;

fn drain(decoder: &mut SseDecoder, items: &mut Vec<Result<SseItem, HttpErrorKind>>) {
    loop {
        match decoder.next_item() {
            Ok(Some(item)) => items.push(Ok(item)),
            Ok(None) => return,
            Err(error) => {
                if !matches!(items.last(), Some(Err(_))) {
                    items.push(Err(error.kind()));
                }
                return;
            }
        }
    }
}

fn decode_with(mut decoder: SseDecoder, chunks: &[&[u8]]) -> Vec<Result<SseItem, HttpErrorKind>> {
    let mut items = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        drain(&mut decoder, &mut items);
    }
    decoder.finish();
    drain(&mut decoder, &mut items);
    items
}

fn decode(bytes: &[u8]) -> Vec<SseItem> {
    decode_with(SseDecoder::new(), &[bytes]).into_iter().map(Result::unwrap).collect()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn data(text: &str) -> SseItem {
    SseItem::Event(SseEvent { data: bytes(text), ..SseEvent::default() })
}

fn named(name: &str, text: &str) -> SseItem {
    SseItem::Event(SseEvent { event: Some(bytes(name)), data: bytes(text), ..SseEvent::default() })
}

fn comment(text: &str) -> SseItem {
    SseItem::Comment(bytes(text))
}

#[test]
fn the_standard_by_its_examples() {
    for (stream, items) in [
        ("", vec![]),
        ("\n\n\r\r\r\n\r\n", vec![]),
        ("data: YHOO\ndata: +2\ndata: 10\n\n", vec![data("YHOO\n+2\n10")]),
        ("data\n\ndata\ndata\n\ndata:\n\n", vec![data(""), data("\n"), data("")]),
        ("data:test\n\ndata: test\n\ndata:  test\n\n", vec![data("test"), data("test"), data(" test")]),
        (": hi\n\n:\n", vec![comment(" hi"), comment("")]),
        ("data: a\n: in between\ndata: b\n\n", vec![comment(" in between"), data("a\nb")]),
        ("event: add\ndata: 1\n\ndata: 2\n\n", vec![named("add", "1"), data("2")]),
        ("event: lost\n\ndata: 2\n\n", vec![data("2")]),
        ("event:\ndata: 1\n\n", vec![data("1")]),
        ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", vec![data("a"), data("b"), data("c")]),
        ("data: a\r\ndata: b\rdata: c\n\r\n", vec![data("a\nb\nc")]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec![data("a")]),
        ("datax: 1\n data: 2\nDATA: 3\ndat\n\ndata:4\n\n", vec![data("4")]),
        ("data: {\"a\": \"b:c\"}\n\ndata: [DONE]\n\n", vec![data("{\"a\": \"b:c\"}"), data("[DONE]")]),
        // Several providers leave out the last blank line, or even the last line feed.
        ("data: a\n\ndata: b\n", vec![data("a"), data("b")]),
        ("data: a\n\ndata: b", vec![data("a"), data("b")]),
        ("data: a\n: late", vec![comment(" late"), data("a")]),
    ] {
        assert_eq!(decode(stream.as_bytes()), items, "{stream:?}");
    }
}

#[test]
fn id_and_retry_are_read_as_the_standard_says() {
    let read = |stream: &str| match decode(stream.as_bytes()).pop() {
        Some(SseItem::Event(event)) => (event.id, event.retry),
        other => panic!("{other:?}"),
    };
    assert_eq!(read("id: 7\nretry: 250\ndata\n\n"), (Some(bytes("7")), Some(250)));
    assert_eq!(read("id\nretry: 2s\ndata\n\n"), (Some(bytes("")), None));
    assert_eq!(read("id: a\0b\nretry:\ndata\n\n"), (None, None));
    assert_eq!(read("retry: -1\nretry: 99999999999999999999\ndata\n\n"), (None, None));
    assert_eq!(read("id: 7\ndata\n\ndata\n\n"), (None, None));
}

#[test]
fn without_flushing_an_unfinished_event_is_dropped() {
    let decoder = || SseDecoder::new().flush_at_end(false);
    assert_eq!(decode_with(decoder(), &[b"data: a\n\ndata: b\n"]), [Ok(data("a"))]);
    assert_eq!(decode_with(decoder(), &[b"data: a\n\ndata: b"]), [Ok(data("a"))]);
    assert_eq!(decode_with(decoder(), &[b"\xEF\xBB"]), []);
}

#[test]
fn bytes_that_are_not_utf8_pass_unchanged() {
    let items = decode(b"data: \xff\xfe\xc3\n\n\xEFdata: 1\n\n");
    let SseItem::Event(event) = &items[0] else { panic!("{items:?}") };
    assert_eq!(&event.data[..], b"\xff\xfe\xc3");
    assert_eq!(items.len(), 1);
}

#[test]
fn one_data_line_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from("event: x\r\ndata: hello\r\n\r\n".to_owned());
    let mut decoder = SseDecoder::new();
    decoder.push(chunk.clone());
    let Ok(Some(SseItem::Event(event))) = decoder.next_item() else { panic!() };
    assert_eq!(event.data.as_ptr(), chunk[16..].as_ptr());
    assert_eq!(event.event.unwrap().as_ptr(), chunk[7..].as_ptr());
    assert!(!decoder.is_inside_event());
}

#[test]
fn an_event_over_the_limit_is_an_error_however_it_comes() {
    let limited = || SseDecoder::new().max_event(20);
    let too_large = Err(HttpErrorKind::TooLarge);
    let long = format!("data: ok\n\ndata: {}\n\ndata: never\n\n", "x".repeat(15));
    let many = format!("data: ok\n\n{}\n\n", "data: x\n".repeat(3));
    let comment = format!("data: ok\n\n:{}\n\n", "x".repeat(20));
    for stream in [long, many, comment] {
        let expected = [Ok(data("ok")), too_large.clone()];
        assert_eq!(decode_with(limited(), &[stream.as_bytes()]), expected, "{stream}");
        let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(decode_with(limited(), &single), expected, "{stream}");
    }
    // A line without an end is noticed before it ends.
    assert_eq!(decode_with(limited(), &[b"data: aaaaaaaa", b"aaaaaaaaaaaaa"]), [too_large]);
    let fits = format!("data: {}\n\n", "x".repeat(14));
    assert_eq!(decode_with(limited(), &[fits.repeat(5).as_bytes()]).len(), 5);
}

/// The standard, by the letter, over the whole stream at once.
fn reference(stream: &[u8]) -> Vec<SseItem> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut at = 0;
    while at < stream.len() {
        match stream[at] {
            b'\r' if stream.get(at + 1) == Some(&b'\n') => {
                lines.push(Vec::new());
                at += 1;
            }
            b'\r' | b'\n' => lines.push(Vec::new()),
            byte => lines.last_mut().unwrap().push(byte),
        }
        at += 1;
    }
    // What follows the last line end is a line only if it has bytes; then comes the end.
    if lines.last().unwrap().is_empty() {
        lines.pop();
    }
    lines.push(Vec::new());
    let mut items = Vec::new();
    let (mut event, mut lines_of_data) = (SseEvent::default(), Vec::<Vec<u8>>::new());
    for line in lines {
        if line.is_empty() {
            let mut event = std::mem::take(&mut event);
            if !lines_of_data.is_empty() {
                event.data = std::mem::take(&mut lines_of_data).join(&b'\n').into();
                items.push(SseItem::Event(event));
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let text = Bytes::copy_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        match &line[..colon] {
            b"" => items.push(SseItem::Comment(Bytes::copy_from_slice(value))),
            b"data" => lines_of_data.push(text.to_vec()),
            b"event" => event.event = Some(text).filter(|it| !it.is_empty()),
            b"id" if !text.contains(&0) => event.id = Some(text),
            b"retry" if text.iter().all(u8::is_ascii_digit) => {
                event.retry = std::str::from_utf8(&text).unwrap().parse().ok();
            }
            _ => {}
        }
    }
    items
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "data: x\n\n", "data:", "data", "data: ", ": ping\n\n", ":", "event: e\n", "id: 1\n", "id: \0\n",
            "retry: 12\n", "retry: z\n", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "é", "日本", " ", "x", "a:b",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_what_the_standard_says(
        stream in stream(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let expected: Vec<_> = reference(&stream).into_iter().map(Ok).collect();
        prop_assert_eq!(&decode_with(SseDecoder::new(), &[&stream]), &expected);
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&decode_with(SseDecoder::new(), &single), &expected);

        let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&decode_with(SseDecoder::new(), &chunks), &expected);

        // Pushed all at once, without taking items in between.
        let mut decoder = SseDecoder::new();
        chunks.iter().for_each(|chunk| decoder.push(Bytes::copy_from_slice(chunk)));
        decoder.finish();
        let mut items = Vec::new();
        drain(&mut decoder, &mut items);
        prop_assert_eq!(&items, &expected);

        // A limit cuts at the same place.
        let limited = || SseDecoder::new().max_event(12);
        prop_assert_eq!(decode_with(limited(), &chunks), decode_with(limited(), &[&stream]));
    }
}
