//! What Ollama refuses, and what it would misunderstand without a word.

use ambidex_fake_provider::{FakeProvider, Script, Wire};
use serde_json::{Value, json};

use crate::change;
use crate::client::{encode, post, request, send};

const WIRE: Wire = Wire::Ollama;

fn with(path: &str, value: Value) -> Value {
    change::with(WIRE, path, value)
}

fn then(messages: Value) -> Value {
    change::then(WIRE, "messages", messages)
}

fn asks(calls: Value) -> Value {
    json!({"role": "assistant", "content": "", "tool_calls": calls})
}

fn call(name: &str) -> Value {
    json!({"function": {"name": name, "arguments": {"path": "x"}}})
}

/// Request, and a piece of the message.
fn cases() -> Vec<(Value, &'static str)> {
    let options = |name: &str, value: Value| with("/options", json!({name: value}));
    let answer = json!({"role": "tool", "tool_name": "read", "content": "ok"});
    vec![
        (change::without(WIRE, "model"), "model is required"),
        (with("/model", json!("")), "model is required"),
        (change::without(WIRE, "messages"), "messages is empty"),
        (
            with("/stream", json!("no")),
            "cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
        ),
        (with("/temperature", json!(1)), "unknown field \"temperature\""),
        (with("/max_tokens", json!(1)), "unknown field \"max_tokens\""),
        (with("/think", json!("much")), "invalid think value: \"much\""),
        (with("/think", json!(1)), "think must be a boolean or string"),
        (with("/keep_alive", json!("soon")), "invalid duration \"soon\""),
        (with("/keep_alive", json!("5")), "invalid duration \"5\""),
        (with("/format", json!("text")), "invalid format"),
        (options("num_context", json!(8192)), "invalid option provided: \"num_context\""),
        (options("num_ctx", json!("8192")), "option \"num_ctx\" must be of type integer"),
        (options("temperature", json!("hot")), "option \"temperature\" must be of type float32"),
        (options("stop", json!("END")), "option \"stop\" must be of type array"),
        (with("/tools/0/type", json!("tool")), "type must be \"function\""),
        (with("/tools/0/function/name", json!("")), "function.name is missing"),
        (with("/tools/0/function/parameters", json!({})), "parameters.type must be \"object\""),
        (
            with("/tools/0/function/parameters/properties/path/type", json!({"a": 1})),
            "cannot unmarshal object into Go struct field ChatRequest.tools.function.parameters.properties.type",
        ),
        (with("/messages/1/content", json!([{"type": "text", "text": "x"}])), "cannot unmarshal array into"),
        (with("/messages/1/role", json!("developer")), "invalid role"),
        (with("/messages/1/name", json!("me")), "unknown field messages.name"),
        (with("/messages/1/images", json!(["data:image/png;base64,AAAA"])), "illegal base64 data"),
        (with("/messages/1/tool_calls", json!([call("read")])), "tool_calls in a message of role \"user\""),
        (
            then(json!([asks(json!([{"function": {"name": "read", "arguments": "{}"}}])), answer])),
            "cannot unmarshal string into Go struct field ChatRequest.messages.tool_calls.function.arguments",
        ),
        // Order.
        (then(json!([answer])), "answers no open tool call"),
        (then(json!([asks(json!([call("read")]))])), "the tool call of \"read\" has no tool result"),
        (then(json!([asks(json!([call("read"), call("read")])), answer])), "has no tool result"),
        (then(json!([asks(json!([call("read")])), answer, answer])), "answers no open tool call"),
        (then(json!([asks(json!([call("write")])), answer])), "answers no open tool call"),
        (
            then(json!([asks(json!([call("read")])), {"role": "user", "content": "and?"}, answer])),
            "has no tool result",
        ),
        (
            then(json!([asks(json!([call("read")])), {"role": "tool", "content": "ok"}])),
            "neither tool_name nor tool_call_id",
        ),
    ]
}

#[tokio::test]
async fn each_fault_is_refused_in_its_place() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for (body, message) in cases() {
        let response = post(provider.addr(), WIRE, &body).await;
        assert_eq!(response.status, Some(400), "{message}: {}", response.text());
        assert!(
            response.json()["error"].as_str().unwrap().contains(message),
            "{message}: {}",
            response.text()
        );
    }
}

#[tokio::test]
async fn what_is_allowed_is_answered() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let numbered = |id: &str| json!({"id": id, "function": {"index": 0, "name": "read", "arguments": {}}});
    for body in [
        request(WIRE, true),
        change::without(WIRE, "stream"),
        with("/think", json!("high")),
        with("/keep_alive", json!("5m")),
        with("/keep_alive", json!(-1)),
        with("/format", json!({"type": "object"})),
        with("/options", json!({"num_ctx": 8192, "temperature": 0.5, "stop": ["END"], "seed": 7})),
        with("/messages/1/images", json!(["AAAA"])),
        then(json!([asks(json!([call("read"), call("write")])),
            {"role": "tool", "tool_name": "read", "content": "a"},
            {"role": "tool", "tool_name": "write", "content": "b"}, {"role": "user", "content": "go on"}])),
        then(json!([asks(json!([numbered("a"), numbered("b")])),
            {"role": "tool", "tool_call_id": "b", "content": "b"},
            {"role": "tool", "tool_call_id": "a", "tool_name": "read", "content": "a"}])),
    ] {
        let response = post(provider.addr(), WIRE, &body).await;
        assert_eq!(response.status, Some(200), "{} for {body}", response.text());
        assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
    }
}

#[tokio::test]
async fn a_key_is_asked_for_only_where_there_is_one() {
    let patience = std::time::Duration::from_secs(10);
    let body = request(WIRE, true).to_string();
    let json_type = ("content-type", "application/json");
    let bare = encode("POST", "/api/chat", &[json_type], body.as_bytes());
    let open = FakeProvider::start(Script::text("ok")).await.unwrap();
    assert_eq!(send(open.addr(), &bare, patience).await.status, Some(200));
    let script = Script { api_key: Some("right".into()), ..Script::text("ok") };
    let guarded = FakeProvider::start(script).await.unwrap();
    let refused = send(guarded.addr(), &bare, patience).await;
    assert_eq!((refused.status, refused.json()), (Some(401), json!({"error": "unauthorized"})));
    let keyed = encode("POST", "/api/chat", &[json_type, ("authorization", "Bearer right")], body.as_bytes());
    assert_eq!(send(guarded.addr(), &keyed, patience).await.status, Some(200));
}
