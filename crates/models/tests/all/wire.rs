//! Bytes in, chunks out: every `<format>/<case>.sse` (`.ndjson` where a format sends lines) beside its
//! `<case>.json`. `UPDATE=1` writes the JSON, `UPDATE=gemini` only where the path says so.

use std::path::{Path, PathBuf};

use ambidex_core::reply::ReplyBuilder;
use ambidex_core::{Chunk, Error};
use ambidex_http::{LineDecoder, SseDecoder, SseEvent, SseItem};
use ambidex_models::adapter::{Adapter, Format, Framing, Seen};
use bytes::Bytes;
use serde_json::{Value, json};

pub fn folder(format: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(format)
}

pub fn cases(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    cases
}

/// Compares with a file, or writes it.
pub fn check(path: &Path, found: &Value) {
    let found = serde_json::to_string_pretty(found).unwrap() + "\n";
    let update = std::env::var("UPDATE").unwrap_or_default();
    if update == "1" || (!update.is_empty() && path.to_string_lossy().contains(&update)) {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_else(|_| panic!("{} is missing", path.display()));
    assert!(expected == found, "{} says\n{expected}\nbut the decoder\n{found}", path.display());
}

/// Cuts bytes into events as the format's streams are cut.
enum Framer {
    Events(SseDecoder),
    Lines(LineDecoder),
}

impl Framer {
    fn new(framing: Framing) -> Self {
        match framing {
            Framing::Events => Self::Events(SseDecoder::new()),
            Framing::Lines => Self::Lines(LineDecoder::new()),
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let piece = Bytes::copy_from_slice(piece);
        match self {
            Self::Events(decoder) => decoder.push(piece),
            Self::Lines(decoder) => decoder.push(piece),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Events(decoder) => decoder.finish(),
            Self::Lines(decoder) => decoder.finish(),
        }
    }

    fn next(&mut self) -> Option<SseEvent> {
        match self {
            Self::Lines(decoder) => {
                decoder.next_line().unwrap().map(|data| SseEvent { data, ..SseEvent::default() })
            }
            Self::Events(decoder) => loop {
                match decoder.next_item().unwrap()? {
                    SseItem::Event(event) => return Some(event),
                    SseItem::Comment(_) => {}
                }
            },
        }
    }
}

/// The streams of a format, by the end of their files' names.
fn streams(format: Format) -> Vec<PathBuf> {
    let extension = match format.adapter().framing() {
        Framing::Events => "sse",
        Framing::Lines => "ndjson",
    };
    cases(&folder(&format.to_string()), extension)
}

/// What a stream of bytes, in these pieces, is decoded to.
pub fn decode<'a>(
    adapter: &dyn Adapter,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Chunk>, Option<Error>) {
    let mut framer = Framer::new(adapter.framing());
    let mut decoder = adapter.decoder();
    let mut chunks = Vec::new();
    let mut read = |framer: &mut Framer, chunks: &mut Vec<Chunk>| -> Result<bool, Error> {
        while let Some(event) = framer.next() {
            if decoder.event(event.event.as_deref(), &event.data, chunks)? == Seen::End {
                return Ok(true);
            }
        }
        Ok(false)
    };
    for piece in pieces {
        framer.push(piece);
        match read(&mut framer, &mut chunks) {
            Ok(false) => {}
            Ok(true) => return (chunks, None),
            Err(error) => return (chunks, Some(error)),
        }
    }
    framer.finish();
    match read(&mut framer, &mut chunks) {
        Ok(true) => (chunks, None),
        Ok(false) => {
            let error = decoder.end(&mut chunks).err();
            (chunks, error)
        }
        Err(error) => (chunks, Some(error)),
    }
}

fn shown(chunk: &Chunk) -> Value {
    match chunk {
        Chunk::Start { request_id, model } => json!({"start": {"request_id": request_id, "model": model}}),
        Chunk::Text { part, text } => json!({"text": text, "part": part}),
        Chunk::Reasoning { part, text } => json!({"reasoning": text, "part": part}),
        Chunk::Refusal { part, text } => json!({"refusal": text, "part": part}),
        Chunk::ToolCall { part, id, name } => json!({"tool_call": name, "id": id, "part": part}),
        Chunk::Arguments { part, text } => json!({"arguments": text, "part": part}),
        Chunk::State { part, state } => json!({"state": state, "part": part}),
        Chunk::PartEnd { part } => json!({"part_end": part}),
        Chunk::Usage(usage) => json!({"usage": usage}),
        Chunk::Note(note) => panic!("a decoder gave {note:?}"),
        Chunk::End(finish) => json!({"end": finish}),
    }
}

/// The reply that the core puts together from the chunks, or why there is none.
fn reply(chunks: &[Chunk], error: Option<&Error>) -> Value {
    let mut builder = ReplyBuilder::new();
    for chunk in chunks {
        builder.push(chunk.clone()).unwrap();
    }
    match error.cloned().map_or_else(|| builder.finish(), Err) {
        Ok(reply) => json!({"message": reply.message, "finish": reply.finish}),
        Err(error) => json!({"error": error}),
    }
}

const FORMATS: &[Format] =
    &[Format::OpenAiChat, Format::OpenAiResponses, Format::Anthropic, Format::Gemini, Format::Ollama];

#[test]
fn every_stream_is_decoded_as_its_file_says() {
    for &format in FORMATS {
        for case in streams(format) {
            let bytes = std::fs::read(&case).unwrap();
            let (chunks, error) = decode(format.adapter(), std::iter::once(bytes.as_slice()));
            let found = json!({
                "chunks": chunks.iter().map(shown).collect::<Vec<_>>(),
                "error": error,
                "reply": reply(&chunks, error.as_ref()),
            });
            check(&case.with_extension("json"), &found);
        }
    }
}

/// What a server sends that does not stream: `<case>.body` beside its `<case>.json`.
#[test]
fn every_whole_body_is_decoded_as_its_file_says() {
    for &format in FORMATS {
        for case in cases(&folder(&format.to_string()), "body") {
            let bytes = std::fs::read(&case).unwrap();
            let mut chunks = Vec::new();
            let error = format.adapter().decoder().whole(&bytes, &mut chunks).err();
            let found = json!({
                "chunks": chunks.iter().map(shown).collect::<Vec<_>>(),
                "error": error,
                "reply": reply(&chunks, error.as_ref()),
            });
            check(&case.with_extension("json"), &found);
            // Cut anywhere, it is no reply.
            for at in 0..bytes.len() - 2 {
                let mut chunks = Vec::new();
                let cut = format.adapter().decoder().whole(bytes.get(..at).unwrap(), &mut chunks);
                assert!(cut.is_err(), "{} cut at {at}: {chunks:?}", case.display());
            }
        }
    }
}

#[test]
fn any_chunking_of_the_bytes_gives_the_same() {
    for &format in FORMATS {
        for case in streams(format) {
            let bytes = std::fs::read(&case).unwrap();
            let whole = decode(format.adapter(), std::iter::once(bytes.as_slice()));
            let name = case.display();
            for at in 0..bytes.len() {
                let (a, b) = bytes.split_at(at);
                assert_eq!(whole, decode(format.adapter(), [a, b].into_iter()), "{name} split at {at}");
            }
            for size in [1, 2, 3, 7, 64] {
                assert_eq!(whole, decode(format.adapter(), bytes.chunks(size)), "{name} in pieces of {size}");
            }
        }
    }
}

/// Most events of a stream differ in little, and what they share need not be read again: with a blank more in
/// every other event they share less, and say the same.
#[test]
fn events_say_the_same_whatever_the_last_one_looked_like() {
    for case in streams(Format::OpenAiChat) {
        let bytes = std::fs::read(&case).unwrap();
        let apart: Vec<u8> = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
            .flat_map(|(line, text)| match text.strip_prefix(b"data: {") {
                Some(rest) if line % 4 == 0 => [b"data: { ", rest].concat(),
                _ => text.to_vec(),
            })
            .collect();
        let adapter = Format::OpenAiChat.adapter();
        let (chunks, error) = decode(adapter, std::iter::once(bytes.as_slice()));
        let (alone, same) = decode(adapter, std::iter::once(apart.as_slice()));
        assert_eq!(chunks, alone, "{}", case.display());
        assert_eq!(error.map(|it| it.kind()), same.map(|it| it.kind()), "{}", case.display());
    }
}

/// Bytes changed at random, the same in each run: an error or chunks, but neither a panic nor chunks
/// that do not fit together.
#[test]
fn changed_bytes_never_give_chunks_that_do_not_fit() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for &format in FORMATS {
        for case in streams(format) {
            let original = std::fs::read(&case).unwrap();
            for _ in 0..100 {
                let mut bytes = original.clone();
                for _ in 0..=next(3) {
                    let at = next(bytes.len());
                    match next(3) {
                        0 => bytes[at] = b"\"{}[],:\\n0\n\xff"[next(12)],
                        1 => drop(bytes.remove(at)),
                        _ => {
                            let from = next(bytes.len());
                            let piece = bytes[from..(from + next(40)).min(bytes.len())].to_vec();
                            bytes.splice(at..at, piece);
                        }
                    }
                }
                let (chunks, error) = decode(format.adapter(), std::iter::once(bytes.as_slice()));
                // Fails inside where a piece does not fit.
                let shown = reply(&chunks, error.as_ref());
                let whole = matches!(chunks.last(), Some(Chunk::End(_)));
                assert!(whole || shown.get("error").is_some(), "{}: {shown}", case.display());
            }
        }
    }
}

/// The stream cut anywhere before its terminal event is never a success.
#[test]
fn a_stream_cut_anywhere_before_its_end_is_an_error() {
    for (format, file, end) in [
        (Format::OpenAiChat, "text.sse", "\"finish_reason\":\"stop\""),
        (Format::OpenAiResponses, "text.sse", "\"sequence_number\":10}"),
        (Format::Anthropic, "text.sse", "message_stop\"}"),
        (Format::Gemini, "text.sse", "\"finishReason\":\"STOP\""),
        (Format::Ollama, "text.ndjson", "\"eval_count\":20}"),
    ] {
        let bytes = std::fs::read(folder(&format.to_string()).join(file)).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let whole = text.find(end).unwrap() + end.len();
        for at in 0..whole {
            let (chunks, error) = decode(format.adapter(), std::iter::once(bytes.get(..at).unwrap()));
            assert!(error.is_some(), "{format} cut at {at}: {chunks:?}");
            assert!(!chunks.iter().any(|chunk| matches!(chunk, Chunk::End(_))), "{format} cut at {at}");
        }
    }
}
