//! Chunks become a reply in one place.

use ambidex_core::chunk::{Chunk, Finish};
use ambidex_core::message::{Arguments, Part, ProviderState};
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::{Error, ErrorKind, Usage};
use serde_json::json;

fn text(part: u32, text: &str) -> Chunk {
    Chunk::Text { part, text: text.into() }
}

fn call(part: u32, id: &str, name: &str) -> Chunk {
    Chunk::ToolCall { part, id: id.into(), name: name.into() }
}

fn arguments(part: u32, text: &str) -> Chunk {
    Chunk::Arguments { part, text: text.into() }
}

fn state(part: u32, json: &str) -> Chunk {
    Chunk::State { part, state: provider(json) }
}

fn provider(json: &str) -> ProviderState {
    ProviderState { format: "anthropic".into(), json: json.into() }
}

fn build(chunks: Vec<Chunk>) -> Result<Reply, Error> {
    let mut builder = ReplyBuilder::new();
    for chunk in chunks {
        builder.push(chunk)?;
    }
    builder.finish()
}

fn fault(chunks: Vec<Chunk>) -> Error {
    build(chunks).unwrap_err()
}

#[test]
fn pieces_that_came_together_make_the_same_reply_when_they_are_joined() {
    let pieces = [
        text(0, "On"),
        text(0, "e"),
        text(3, "Two"),
        text(0, "!"),
        Chunk::Reasoning { part: 4, text: "h".into() },
        Chunk::Reasoning { part: 4, text: "m".into() },
        Chunk::Refusal { part: 5, text: "n".into() },
        Chunk::Refusal { part: 5, text: "o".into() },
        call(1, "a", "look"),
        arguments(1, "{\"n\""),
        arguments(1, ":1}"),
        call(2, "b", "look"),
        arguments(2, "{}"),
        arguments(2, " "),
        Chunk::End(Finish::ToolCalls),
    ];
    let mut joined: Vec<Chunk> = Vec::new();
    for piece in &pieces {
        if !joined.last_mut().is_some_and(|last| last.join(piece)) {
            joined.push(piece.clone());
        }
    }
    assert_eq!(joined.len(), 10, "{joined:?}");
    assert_eq!(build(joined).unwrap(), build(pieces.to_vec()).unwrap());
}

#[test]
fn a_stream_without_its_end_is_an_error() {
    let start = Chunk::Start { request_id: Some("req-1".into()), model: None };
    let error = fault(vec![start, text(0, "Hello"), Chunk::PartEnd { part: 0 }]);
    assert_eq!((error.kind(), error.request_id()), (ErrorKind::StreamTruncated, Some("req-1")));
    let mut builder = ReplyBuilder::new();
    assert!(!builder.is_whole());
    builder.push(Chunk::End(Finish::Stop)).unwrap();
    assert!(builder.is_whole());
}

#[test]
fn parts_are_put_together_by_identity_and_stand_in_the_order_of_their_first_piece() {
    let reply = build(vec![
        Chunk::Reasoning { part: 0, text: "hm".into() },
        text(5, "He"),
        call(2, "a", "look"),
        call(1, "b", "list"),
        arguments(1, "{\"n\""),
        arguments(2, "{\"m\":"),
        text(5, "llo"),
        arguments(1, ":1}"),
        arguments(2, "2}"),
        state(0, "{\"signature\":\"s\"}"),
        Chunk::End(Finish::ToolCalls),
    ])
    .unwrap();
    let parts = &reply.message.parts;
    assert_eq!(
        parts[0],
        Part::Reasoning { text: "hm".into(), state: Some(provider("{\"signature\":\"s\"}")) }
    );
    assert_eq!(parts[1], Part::text("Hello"));
    let calls: Vec<_> =
        reply.message.tool_calls().map(|call| (call.id.as_str(), call.arguments.clone())).collect();
    assert_eq!(calls, [("a", Arguments::Json(json!({"m": 2}))), ("b", Arguments::Json(json!({"n": 1})))]);
}

#[test]
fn unknown_provider_parts_are_kept_in_their_place() {
    let reply =
        build(vec![text(0, "a"), state(1, "{\"x\":1}"), text(2, "b"), Chunk::End(Finish::Stop)]).unwrap();
    assert_eq!(
        reply.message.parts,
        [Part::text("a"), Part::Opaque { state: provider("{\"x\":1}") }, Part::text("b")]
    );
    assert_eq!(reply.text(), "ab");
}

#[test]
fn a_call_keeps_its_provider_state() {
    let reply =
        build(vec![call(0, "a", "look"), state(0, "{\"t\":1}"), Chunk::End(Finish::ToolCalls)]).unwrap();
    assert_eq!(reply.message.tool_calls().next().unwrap().state, Some(provider("{\"t\":1}")));
}

#[test]
fn empty_parts_are_left_out() {
    let reply = build(vec![
        text(0, ""),
        Chunk::Reasoning { part: 1, text: String::new() },
        Chunk::Refusal { part: 2, text: String::new() },
        Chunk::End(Finish::Stop),
    ])
    .unwrap();
    assert_eq!(
        (reply.message.parts.len(), reply.finish),
        (0, Finish::Stop),
        "an empty refusal refuses nothing"
    );
    let reply = build(vec![
        Chunk::Reasoning { part: 1, text: String::new() },
        state(1, "{}"),
        Chunk::End(Finish::Stop),
    ]);
    assert_eq!(reply.unwrap().message.parts.len(), 1, "a hidden thought is kept by its state");
}

#[test]
fn arguments_are_parsed_once_strictly_and_whole() {
    let parsed = |pieces: &[&str], finish| {
        let mut chunks = vec![call(0, "a", "look")];
        chunks.extend(pieces.iter().map(|piece| arguments(0, piece)));
        chunks.push(Chunk::End(finish));
        build(chunks).unwrap().message.tool_calls().next().unwrap().arguments.clone()
    };
    let whole = Finish::ToolCalls;
    assert_eq!(parsed(&["{\"a\":", " [1", ",2]}"], whole), Arguments::Json(json!({"a": [1, 2]})));
    assert_eq!(parsed(&[], whole), Arguments::Json(json!({})));
    assert_eq!(parsed(&["", " \n"], whole), Arguments::Json(json!({})));
    for broken in
        ["{\"a\": 1", "{\"a\": 1} trailing", "[1]", "\"{}\"", "null", "{'a': 1}", "{\"a\": 1,}", "{}{}"]
    {
        match parsed(&[broken], whole) {
            Arguments::Invalid { raw, reason } => {
                assert_eq!(raw, broken);
                assert!(reason.starts_with("the arguments are not"), "{reason}");
            }
            Arguments::Json(value) => panic!("{broken} became {value}"),
        }
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(parsed(&[&deep], whole), Arguments::Invalid { .. }), "depth is bounded");
}

#[test]
fn arguments_that_may_be_cut_are_never_an_empty_object() {
    for finish in [Finish::Length, Finish::ContentFilter] {
        for pieces in [vec![], vec![arguments(0, " ")]] {
            let mut chunks = vec![call(0, "a", "look")];
            chunks.extend(pieces);
            chunks.push(Chunk::End(finish));
            let reply = build(chunks).unwrap();
            let call = reply.message.tool_calls().next().unwrap();
            assert!(matches!(call.arguments, Arguments::Invalid { .. }), "{finish:?} {:?}", call.arguments);
        }
    }
}

#[test]
fn equal_calls_with_one_id_are_one_and_unequal_ones_are_malformed() {
    let twice = |second: Chunk, more: &str| {
        build(vec![
            call(0, "a", "look"),
            arguments(0, "{\"x\":1,\"y\":2}"),
            second,
            arguments(1, more),
            Chunk::End(Finish::ToolCalls),
        ])
    };
    assert_eq!(twice(call(1, "a", "look"), "{\"y\":2, \"x\":1}").unwrap().message.tool_calls().count(), 1);
    assert_eq!(twice(call(1, "b", "look"), "{\"x\":1,\"y\":2}").unwrap().message.tool_calls().count(), 2);
    for (second, more) in [(call(1, "a", "look"), "{\"x\":2}"), (call(1, "a", "list"), "{\"x\":1,\"y\":2}")] {
        let error = twice(second, more).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadUpstream);
        assert!(error.message().contains("the id `a`"), "{error}");
    }
}

#[test]
fn pieces_that_do_not_fit_are_malformed() {
    let end = || Chunk::End(Finish::Stop);
    let reasoning = || Chunk::Reasoning { part: 0, text: "x".into() };
    let refusal = || Chunk::Refusal { part: 0, text: "x".into() };
    for chunks in [
        vec![arguments(0, "{}"), end()],
        vec![text(0, "a"), arguments(0, "{}"), end()],
        vec![text(0, "a"), reasoning(), end()],
        vec![text(0, "a"), refusal(), end()],
        vec![reasoning(), text(0, "a"), end()],
        vec![call(0, "a", "look"), text(0, "a"), end()],
        vec![call(0, "a", "look"), call(0, "a", "look"), end()],
        vec![text(0, "a"), state(0, "{}"), end()],
        vec![text(0, "a"), end(), text(0, "b")],
        vec![end(), call(0, "a", "look")],
    ] {
        let shown = format!("{chunks:?}");
        assert_eq!(fault(chunks).kind(), ErrorKind::BadUpstream, "{shown}");
    }
}

#[test]
fn usage_is_the_latest_total_also_after_the_end() {
    let usage = |input_tokens| Chunk::Usage(Usage { input_tokens, ..Usage::default() });
    let reply = build(vec![usage(5), text(0, "a"), Chunk::End(Finish::Stop), usage(7)]).unwrap();
    assert_eq!(reply.usage.input_tokens, 7);
}

#[test]
fn what_was_learned_at_the_start_is_kept() {
    let start = |request_id: Option<&str>, model: Option<&str>| Chunk::Start {
        request_id: request_id.map(Into::into),
        model: model.map(Into::into),
    };
    let chunks =
        vec![start(Some("req-1"), None), start(None, Some("m-2")), text(0, "a"), Chunk::End(Finish::Stop)];
    let reply = build(chunks).unwrap();
    assert_eq!((reply.request_id.as_deref(), reply.model.as_deref()), (Some("req-1"), Some("m-2")));
}

#[test]
fn the_finish_says_what_the_reply_is() {
    let refused =
        build(vec![Chunk::Refusal { part: 0, text: "no".into() }, Chunk::End(Finish::Stop)]).unwrap();
    assert_eq!(refused.finish, Finish::Refusal);
    let none = build(vec![text(0, "a"), Chunk::End(Finish::ToolCalls)]).unwrap();
    assert_eq!(none.finish, Finish::Stop, "no calls, whatever the provider says");
}

#[test]
fn a_restart_voids_all_that_came() {
    let mut builder = ReplyBuilder::new();
    builder.push(text(0, "void")).unwrap();
    builder.push(call(1, "a", "look")).unwrap();
    assert_eq!(builder.text(), "void");
    builder.restart();
    builder.push(text(0, "new")).unwrap();
    builder.push(Chunk::End(Finish::Stop)).unwrap();
    assert_eq!(builder.finish().unwrap().message.parts, [Part::text("new")]);
}

#[test]
fn only_what_a_watcher_sees_is_content() {
    let content =
        [text(0, ""), Chunk::Reasoning { part: 0, text: String::new() }, call(0, "a", "b"), arguments(0, "")];
    assert!(content.iter().all(Chunk::is_content));
    let other = [
        Chunk::Start { request_id: None, model: None },
        state(0, "{}"),
        Chunk::PartEnd { part: 0 },
        Chunk::Usage(Usage::default()),
        Chunk::End(Finish::Stop),
    ];
    assert!(!other.iter().any(Chunk::is_content));
}
