//! What OpenAI refuses, one change of a valid request at a time.

use ambidex_fake_provider::{FakeProvider, Script, Wire};
use serde_json::{Value, json};

use crate::client::{self, encode, post, request, send};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}})
}

/// A valid request whose messages follow the two it begins with.
fn then(messages: Value) -> Value {
    let mut body = request(Wire::OpenAi, true);
    body["messages"].as_array_mut().unwrap().extend(messages.as_array().unwrap().clone());
    body
}

fn with(path: &str, value: Value) -> Value {
    let mut body = request(Wire::OpenAi, true);
    match body.pointer_mut(path) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    body
}

fn without(name: &str) -> Value {
    let mut body = request(Wire::OpenAi, true);
    body.as_object_mut().unwrap().remove(name);
    body
}

fn strict(schema: Value) -> Value {
    with(
        "/response_format",
        json!({"type": "json_schema",
        "json_schema": {"name": "answer", "strict": true, "schema": schema}}),
    )
}

/// Request, `param`, and a piece of the message.
fn cases() -> Vec<(Value, Value, &'static str)> {
    let bad_call = |change: &dyn Fn(&mut Value)| {
        let mut bad = call("a");
        change(&mut bad);
        then(json!([{"role": "assistant", "content": null, "tool_calls": [bad]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}]))
    };
    let messages = |messages: Value| with("/messages", messages);
    let content = |content: Value| with("/messages/1/content", content);
    vec![
        // Settings.
        (without("model"), json!(null), "you must provide a model parameter"),
        (without("messages"), json!("messages"), "Missing required parameter: 'messages'"),
        (messages(json!([])), json!("messages"), "empty array"),
        (messages(json!("hi")), json!("messages"), "expected an array of objects, but got a string"),
        (with("/foo", json!(1)), json!("foo"), "Unrecognized request argument supplied: foo"),
        (with("/stream", json!("yes")), json!("stream"), "expected a boolean, but got a string"),
        (
            with("/temperature", json!(3)),
            json!("temperature"),
            "decimal above maximum value. Expected a value <= 2",
        ),
        (
            with("/temperature", json!("1")),
            json!("temperature"),
            "expected a decimal number, but got a string",
        ),
        (with("/max_tokens", json!(0)), json!("max_tokens"), "integer below minimum value"),
        (with("/max_completion_tokens", json!(1.5)), json!("max_completion_tokens"), "expected an integer"),
        (
            {
                let mut b = with("/max_tokens", json!(5));
                b["max_completion_tokens"] = json!(5);
                b
            },
            json!(null),
            "at the same time",
        ),
        (
            {
                let mut b = with("/stream", json!(false));
                b["stream_options"] = json!({"include_usage": true});
                b
            },
            json!("stream_options"),
            "only allowed when 'stream' is enabled",
        ),
        (with("/stop", json!(["a", "b", "c", "d", "e"])), json!("stop"), "array too long"),
        // Messages.
        (with("/messages/1/role", json!("human")), json!("messages[1].role"), "Invalid value: 'human'"),
        (messages(json!([{"content": "x"}])), json!("messages[0].role"), "Missing required parameter"),
        (content(json!(null)), json!("messages.[1].content"), "expected a string, got null"),
        (content(json!([])), json!("messages[1].content"), "empty array"),
        (content(json!(7)), json!("messages[1].content"), "expected one of a string or array of objects"),
        (content(json!([{"type": "video"}])), json!("messages[1].content[0].type"), "Invalid value: 'video'"),
        (
            content(json!([{"type": "text"}])),
            json!("messages[1].content[0].text"),
            "Missing required parameter",
        ),
        (
            content(json!([{"type": "image_url", "image_url": {}}])),
            json!("messages[1].content[0].image_url.url"),
            "Missing",
        ),
        (
            content(json!([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
            json!("messages[1].content[0].image_url.url"),
            "Expected a valid URL",
        ),
        (
            with(
                "/messages/0/content",
                json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
            ),
            json!("messages[0]"),
            "Image URLs are only allowed for messages with role 'user'",
        ),
        (with("/messages/1/name", json!("a b")), json!("messages[1].name"), "does not match pattern"),
        (then(json!([{"role": "assistant", "content": null}])), json!("messages.[2].content"), "got null"),
        // Calls.
        (
            then(json!([{"role": "assistant", "content": "x", "tool_calls": []}])),
            json!("messages[2].tool_calls"),
            "empty array",
        ),
        (
            then(json!([{"role": "user", "content": "x", "tool_calls": [call("a")]}])),
            json!("messages[2].tool_calls"),
            "only messages with role 'assistant'",
        ),
        (
            bad_call(&|c| c["id"] = json!(null)),
            json!("messages[2].tool_calls[0].id"),
            "Missing required parameter",
        ),
        (bad_call(&|c| c["id"] = json!("")), json!("messages[2].tool_calls[0].id"), "empty string"),
        (
            bad_call(&|c| c["id"] = json!("x".repeat(41))),
            json!("messages[2].tool_calls[0].id"),
            "maximum length 40",
        ),
        (
            bad_call(&|c| c["type"] = json!("tool")),
            json!("messages[2].tool_calls[0].type"),
            "Supported values are: 'function'",
        ),
        (
            bad_call(&|c| c["function"]["name"] = json!("a.b")),
            json!("messages[2].tool_calls[0].function.name"),
            "^[a-zA-Z0-9_-]+$",
        ),
        (
            bad_call(&|c| c["function"]["arguments"] = json!({})),
            json!("messages[2].tool_calls[0].function.arguments"),
            "expected a string, but got an object instead",
        ),
        (
            bad_call(&|c| c["function"]["arguments"] = json!(null)),
            json!("messages[2].tool_calls[0].function.arguments"),
            "Missing",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a"), call("a")]},
                {"role": "tool", "tool_call_id": "a", "content": "x"}])),
            json!("messages[2].tool_calls[1].id"),
            "Duplicate value for 'id' of 'a'",
        ),
        // Order.
        (
            then(json!([{"role": "tool", "tool_call_id": "a", "content": "x"}])),
            json!("messages.[2].role"),
            "must be a response to a preceeding message with 'tool_calls'",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]},
                {"role": "tool", "content": "x"}])),
            json!("messages.[3].tool_call_id"),
            "must have a 'tool_call_id'",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]},
                {"role": "tool", "tool_call_id": "b", "content": "x"}])),
            json!("messages.[3].tool_call_id"),
            "'tool_call_id' of 'b' not found in 'tool_calls' of previous message",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]},
                {"role": "tool", "tool_call_id": "a", "content": "x"},
                {"role": "tool", "tool_call_id": "a", "content": "y"}])),
            json!("messages.[4].tool_call_id"),
            "Duplicate value for 'tool_call_id' of 'a', in messages[3] and messages[4]",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
                {"role": "tool", "tool_call_id": "a", "content": "x"}, {"role": "user", "content": "go on"}])),
            json!("messages.[4].role"),
            "did not have response messages: b",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]}])),
            json!("messages.[3].role"),
            "did not have response messages: a",
        ),
        (
            then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]},
                {"role": "tool", "tool_call_id": "a", "content": "x"},
                {"role": "user", "content": "and"}, {"role": "tool", "tool_call_id": "a", "content": "x"}])),
            json!("messages.[5].role"),
            "must be a response to a preceeding message",
        ),
        // Tools.
        (with("/tools", json!([])), json!("tools"), "empty array"),
        (with("/tools/0/type", json!("tool")), json!("tools[0].type"), "Invalid value: 'tool'"),
        (with("/tools/0/function", json!(null)), json!("tools[0].function"), "Missing required parameter"),
        (
            with("/tools/0/function/name", json!("read file")),
            json!("tools[0].function.name"),
            "does not match pattern",
        ),
        (
            with("/tools/0/function/name", json!("x".repeat(65))),
            json!("tools[0].function.name"),
            "maximum length 64",
        ),
        (
            with("/tools/0/function/description", json!("x".repeat(1025))),
            json!("tools[0].function.description"),
            "maximum length 1024",
        ),
        (
            with("/tools/0/function/parameters", json!({"properties": {}})),
            json!("tools[0].function.parameters"),
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'",
        ),
        (
            with("/tools/0/function/parameters/properties/path/type", json!("text")),
            json!("tools[0].function.parameters"),
            "In context=('properties', 'path'), \"text\" is not valid",
        ),
        (
            with("/tools/0/function/parameters/properties/path", json!({"type": "array"})),
            json!("tools[0].function.parameters"),
            "array schema missing items",
        ),
        (
            with("/tools/0/function/parameters", json!({"type": "object", "anyOf": []})),
            json!("tools[0].function.parameters"),
            "at the top level",
        ),
        (
            with("/tools/0/function/strict", json!(true)),
            json!("tools[0].function.parameters"),
            "'additionalProperties' is required",
        ),
        (
            with("/tools", json!(vec![request(Wire::OpenAi, true)["tools"][0].clone(); 129])),
            json!("tools"),
            "maximum length 128",
        ),
        // Tool choice.
        (with("/tool_choice", json!("always")), json!("tool_choice"), "'none', 'auto', and 'required'"),
        (
            with("/tool_choice", json!({"type": "function", "function": {"name": "write"}})),
            json!("tool_choice"),
            "no function named 'write'",
        ),
        (
            {
                let mut b = without("tools");
                b["tool_choice"] = json!("auto");
                b
            },
            json!("tool_choice"),
            "only allowed when 'tools' are specified",
        ),
        (
            {
                let mut b = without("tools");
                b["parallel_tool_calls"] = json!(true);
                b
            },
            json!("parallel_tool_calls"),
            "only allowed when 'tools' are specified",
        ),
        // Response format.
        (
            with("/response_format", json!({"type": "yaml"})),
            json!("response_format.type"),
            "Invalid value: 'yaml'",
        ),
        (
            with("/response_format", json!({"type": "json_object"})),
            json!("messages"),
            "must contain the word 'json'",
        ),
        (
            with(
                "/response_format",
                json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
            ),
            json!("response_format.json_schema.name"),
            "Missing required parameter",
        ),
        (
            with("/response_format", json!({"type": "json_schema", "json_schema": {"name": "x"}})),
            json!("response_format.json_schema.schema"),
            "Missing required parameter",
        ),
        (
            strict(json!({"type": "object", "properties": {}})),
            json!("response_format"),
            "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            strict(
                json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}, "required": []}),
            ),
            json!("response_format"),
            "including every key in properties. Missing 'a'.",
        ),
        (
            strict(json!({"type": "object", "additionalProperties": false, "properties": {"a":
                {"type": "array", "items": {"type": "object", "properties": {}}}}, "required": ["a"]})),
            json!("response_format"),
            "In context=('properties', 'a', 'items'), 'additionalProperties'",
        ),
        (
            strict(
                json!({"type": "object", "additionalProperties": false, "properties": {"a": {"oneOf": []}}, "required": ["a"]}),
            ),
            json!("response_format"),
            "'oneOf' is not permitted",
        ),
        (
            strict(json!({"type": "object", "additionalProperties": false, "required": ["a"],
                "properties": {"a": {"$ref": "#/$defs/x", "description": "d"}}, "$defs": {"x": {"type": "string"}}})),
            json!("response_format"),
            "$ref cannot have keywords",
        ),
    ]
}

#[tokio::test]
async fn each_fault_is_refused_and_named() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for (body, param, message) in cases() {
        let response = post(provider.addr(), Wire::OpenAi, &body).await;
        let place = format!("{message}: {} for {body}", response.text());
        assert_eq!(response.status, Some(400), "{place}");
        let error = response.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{place}");
        assert!(error["message"].as_str().unwrap().contains(message), "{place}");
        assert_eq!(error["param"], param, "{place}");
        let record = provider.requests().pop().unwrap();
        assert_eq!(record.refusal.as_deref(), error["message"].as_str());
    }
}

#[tokio::test]
async fn valid_requests_are_accepted() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["a", "b"], "properties": {
        "a": {"type": ["string", "null"]},
        "b": {"type": "array", "items": {"anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/n"}]}}},
        "$defs": {"n": {"type": "object", "additionalProperties": false, "required": ["m"], "properties":
            {"m": {"enum": ["x", "y"], "type": "string"}}}}});
    let png =
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}});
    for body in [
        request(Wire::OpenAi, true),
        request(Wire::OpenAi, false),
        without("tools"),
        strict(schema.clone()),
        with("/tools/0/function", json!({"name": "read", "strict": true, "parameters": schema})),
        with("/tools/0/function", json!({"name": "read"})),
        with("/tool_choice", json!({"type": "function", "function": {"name": "read"}})),
        with("/tool_choice", json!("required")),
        with("/response_format", json!({"type": "text"})),
        with("/messages/1/content", json!([{"type": "text", "text": "as JSON"}, png])),
        with("/messages/1/content", json!("")),
        with("/stream_options", json!({"include_usage": true})),
        then(
            json!([{"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_call_id": "b", "content": "x"},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "y"}]},
            {"role": "user", "content": "go on"}]),
        ),
        // An id may come again in a later turn.
        then(json!([{"role": "assistant", "content": null, "tool_calls": [call("a")]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
            {"role": "assistant", "content": null, "tool_calls": [call("a")]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}])),
        then(json!([{"role": "assistant", "content": "ends with the assistant"}])),
        with("/messages/0/role", json!("developer")),
    ] {
        let response = post(provider.addr(), Wire::OpenAi, &body).await;
        assert_eq!(response.status, Some(200), "{} for {body}", response.text());
    }
}

#[tokio::test]
async fn doors_are_guarded() {
    let script = Script { api_key: Some("sk-right".into()), ..Script::text("ok") };
    let provider = FakeProvider::start(script).await.unwrap();
    let body = request(Wire::OpenAi, true).to_string();
    let json_type = ("content-type", "application/json");
    let right = ("authorization", "Bearer sk-right");
    let path = "/v1/chat/completions";
    for (method, path, headers, body, status, message) in [
        ("POST", path, vec![json_type], body.as_str(), 401, "You didn't provide an API key"),
        (
            "POST",
            path,
            vec![json_type, ("authorization", "Bearer sk-wrong")],
            &body,
            401,
            "Incorrect API key provided: sk-***",
        ),
        (
            "POST",
            path,
            vec![json_type, ("authorization", "Basic eA==")],
            &body,
            401,
            "You didn't provide an API key",
        ),
        ("POST", path, vec![right], &body, 400, "application/json"),
        ("POST", path, vec![json_type, right], "{\"model\": ", 400, "could not parse the JSON body"),
        ("POST", path, vec![json_type, right], "[]", 400, "not a JSON object"),
        ("GET", path, vec![right], "", 405, "takes POST, not GET"),
        ("POST", "/v1/completions", vec![json_type, right], &body, 404, "Invalid URL (POST /v1/completions)"),
    ] {
        let response =
            send(provider.addr(), &encode(method, path, &headers, body.as_bytes()), PATIENCE).await;
        assert_eq!(response.status, Some(status), "{message}: {}", response.text());
        assert!(
            response.json()["error"]["message"].as_str().unwrap().contains(message),
            "{}",
            response.text()
        );
    }
    let good = encode("POST", path, &[json_type, right], body.as_bytes());
    assert_eq!(client::send(provider.addr(), &good, PATIENCE).await.status, Some(200));
}
