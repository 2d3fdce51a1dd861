//! What Anthropic refuses, one change of a valid request at a time.

use ambidex_fake_provider::{FakeProvider, Script, Wire};
use serde_json::{Value, json};

use crate::client::{self, encode, post, request, send};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "read", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "fine"})
}

fn then(messages: Value) -> Value {
    let mut body = request(Wire::Anthropic, true);
    body["messages"].as_array_mut().unwrap().extend(messages.as_array().unwrap().clone());
    body
}

/// A round of tools: the assistant's blocks and the user's.
fn round(assistant: Value, user: Value) -> Value {
    then(json!([{"role": "assistant", "content": assistant}, {"role": "user", "content": user}]))
}

fn with(path: &str, value: Value) -> Value {
    let mut body = request(Wire::Anthropic, true);
    match body.pointer_mut(path) {
        Some(place) => *place = value,
        None => {
            let (parent, name) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[name] = value;
        }
    }
    body
}

fn without(path: &str) -> Value {
    let mut body = request(Wire::Anthropic, true);
    let (parent, name) = path.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    body
}

fn thinking(mut body: Value) -> Value {
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    body["max_tokens"] = json!(4000);
    body
}

fn cases() -> Vec<(Value, &'static str)> {
    let content = |content: Value| with("/messages/0/content", content);
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    vec![
        // Settings.
        (without("/model"), "model: Field required"),
        (without("/max_tokens"), "max_tokens: Field required"),
        (with("/max_tokens", json!(0)), "max_tokens: Input should be greater than or equal to 1"),
        (with("/max_tokens", json!("9")), "max_tokens: Input should be a valid integer"),
        (without("/messages"), "messages: Field required"),
        (with("/messages", json!([])), "messages: at least one message is required"),
        (with("/foo", json!(1)), "foo: Extra inputs are not permitted"),
        (with("/temperature", json!(1.5)), "temperature: range: 0..1"),
        (with("/stream", json!("yes")), "stream: Input should be a valid boolean"),
        (
            with("/stop_sequences", json!(["a", " "])),
            "stop_sequences.1: each stop sequence must contain non-whitespace",
        ),
        (
            with("/system", json!([{"type": "text", "text": ""}])),
            "system: text content blocks must be non-empty",
        ),
        (with("/system", json!([{"type": "image"}])), "system.0.type: Input should be 'text'"),
        (with("/system", json!(5)), "system: Input should be a valid string or list"),
        // Roles.
        (
            with("/messages/0/role", json!("system")),
            "Unexpected role \"system\". The Messages API accepts a top-level `system` parameter",
        ),
        (with("/messages/0/role", json!("tool")), "messages.0.role: Input should be 'user' or 'assistant'"),
        (with("/messages", json!([{"content": "x"}])), "messages.0.role: Field required"),
        (
            with(
                "/messages",
                json!([{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]),
            ),
            "first message must use the \"user\" role",
        ),
        (
            then(json!([{"role": "assistant", "content": "Sure:"}])),
            "does not support assistant message prefill",
        ),
        // Content.
        (
            content(json!("")),
            "messages.0: all messages must have non-empty content except for the optional final assistant message",
        ),
        (content(json!([])), "messages.0: all messages must have non-empty content"),
        (content(json!(" \n")), "text content blocks must contain non-whitespace text"),
        (content(json!(null)), "messages.0.content: Field required"),
        (content(json!([{"type": "text", "text": ""}])), "messages: text content blocks must be non-empty"),
        (
            content(json!([{"type": "text", "text": "  "}])),
            "text content blocks must contain non-whitespace text",
        ),
        (
            content(json!([{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}])),
            "cache_control cannot be set for empty text blocks",
        ),
        (content(json!([{"type": "text"}])), "messages.0.content.0.text.text: Field required"),
        (
            content(json!([{"type": "input_text", "text": "x"}])),
            "messages.0.content.0: Input tag 'input_text' found using 'type' does not match any of the expected tags",
        ),
        (content(json!([{"text": "x"}])), "messages.0.content.0.type: Field required"),
        (
            content(
                json!([{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AA"}}]),
            ),
            "media_type: Input should be 'image/jpeg'",
        ),
        (
            content(json!([{"type": "image", "source": {"type": "url"}}])),
            "messages.0.content.0.image.source.url: Field required",
        ),
        (content(json!([call("a")])), "messages.0: `tool_use` blocks can only be in `assistant` messages"),
        (
            content(json!([{"type": "thinking", "thinking": "x", "signature": "y"}])),
            "`thinking` blocks can only be in `assistant` messages",
        ),
        (
            round(json!([result("a")]), json!("x")),
            "messages.1: `tool_result` blocks can only be in `user` messages",
        ),
        (
            content(json!([marked, marked, marked, marked, marked])),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        // Calls and results.
        (
            round(
                json!([{"type": "tool_use", "id": "a.b", "name": "read", "input": {}}]),
                json!([result("a.b")]),
            ),
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        ),
        (
            round(json!([{"type": "tool_use", "id": "a", "name": "", "input": {}}]), json!([result("a")])),
            "tool_use.name: String should have at least 1 character",
        ),
        (
            round(
                json!([{"type": "tool_use", "id": "a", "name": "read", "input": "{}"}]),
                json!([result("a")]),
            ),
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        ),
        (
            round(json!([{"type": "tool_use", "id": "a", "name": "read"}]), json!([result("a")])),
            "tool_use.input: Field required",
        ),
        (
            round(json!([call("a"), call("a")]), json!([result("a")])),
            "messages.1.content.1: `tool_use` ids must be unique",
        ),
        (
            then(
                json!([{"role": "assistant", "content": [call("a")]}, {"role": "user", "content": [result("a")]},
                {"role": "assistant", "content": [call("a")]}, {"role": "user", "content": [result("a")]}]),
            ),
            "messages.3.content.0: `tool_use` ids must be unique",
        ),
        (
            content(json!([result("a")])),
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
        ),
        (
            round(json!([call("a")]), json!([result("a"), result("b")])),
            "messages.2.content.1: unexpected `tool_use_id` found in `tool_result` blocks: b",
        ),
        (
            round(json!([call("a"), call("b")]), json!([result("a")])),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: b. Each",
        ),
        (
            round(json!([call("a")]), json!("never mind")),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a",
        ),
        (
            round(json!([call("a")]), json!([result("a"), result("a")])),
            "each tool_use must have a single result. Found multiple `tool_result` blocks with id: a",
        ),
        (
            round(json!([call("a")]), json!([{"type": "text", "text": "here"}, result("a")])),
            "messages.2: Did not find 1 `tool_result` block(s) at the beginning of this message",
        ),
        (
            then(json!([{"role": "assistant", "content": [call("a"), call("b")]},
                {"role": "user", "content": [result("a")]}, {"role": "user", "content": [result("b")]}])),
            "without `tool_result` blocks immediately after: b",
        ),
        (
            round(json!([call("a")]), json!([{"type": "tool_result", "content": "x"}])),
            "tool_result.tool_use_id: Field required",
        ),
        (
            round(json!([call("a")]), json!([{"type": "tool_result", "tool_use_id": "a", "is_error": true}])),
            "content cannot be empty if `is_error` is true",
        ),
        (
            round(
                json!([call("a")]),
                json!([{"type": "tool_result", "tool_use_id": "a", "is_error": "no", "content": "x"}]),
            ),
            "is_error: Input should be a valid boolean",
        ),
        (
            round(
                json!([call("a")]),
                json!([{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "audio"}]}]),
            ),
            "tool_result.content.0: Input tag \"audio\" found",
        ),
        (
            round(
                json!([call("a")]),
                json!([{"type": "tool_result", "tool_use_id": "a", "content": {"x": 1}}]),
            ),
            "tool_result.content: Input should be a valid string or list",
        ),
        (
            round(json!([{"type": "thinking", "thinking": "x", "signature": "forged"}]), json!("y")),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            round(json!([{"type": "thinking", "thinking": "x"}]), json!("y")),
            "messages.1.content.0.thinking.signature: Field required",
        ),
        // Tools.
        (
            with("/tools/0/name", json!("read file")),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
        (with("/tools/0/name", json!("x".repeat(129))), "tools.0.custom.name: String should match pattern"),
        (without("/tools/0/name"), "tools.0.custom.name: Field required"),
        (without("/tools/0/input_schema"), "tools.0.custom.input_schema: Field required"),
        (with("/tools/0/input_schema", json!({})), "tools.0.custom.input_schema.type: Field required"),
        (
            with("/tools/0/input_schema/type", json!("string")),
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            with("/tools/0/input_schema/properties/path/type", json!("str")),
            "tools.0.custom.input_schema: JSON schema is invalid",
        ),
        (
            with("/tools/0/input_schema/oneOf", json!([])),
            "does not support oneOf, allOf, or anyOf at the top level",
        ),
        (with("/tools/0/strict", json!(true)), "'additionalProperties' must be explicitly set to false"),
        (
            with("/tools", json!(vec![request(Wire::Anthropic, true)["tools"][0].clone(); 2])),
            "tools: Tool names must be unique.",
        ),
        // Tool choice.
        (
            with("/tool_choice", json!({"type": "tool", "name": "write"})),
            "Tool 'write' not found in provided tools",
        ),
        (with("/tool_choice", json!({"type": "tool"})), "tool_choice.tool.name: Field required"),
        (with("/tool_choice", json!({"type": "required"})), "tool_choice: Input tag \"required\" found"),
        (
            {
                let mut b = without("/tools");
                b["tool_choice"] = json!({"type": "auto"});
                b
            },
            "may only be specified while providing tools",
        ),
        // Thinking.
        (with("/thinking", json!({"type": "enabled"})), "thinking.enabled.budget_tokens: Field required"),
        (
            with("/thinking", json!({"type": "enabled", "budget_tokens": 1000})),
            "greater than or equal to 1024",
        ),
        (
            with("/thinking", json!({"type": "enabled", "budget_tokens": 2000})),
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (with("/thinking", json!({"type": "on"})), "thinking: Input tag \"on\" found"),
        (
            thinking(with("/temperature", json!(0.5))),
            "`temperature` may only be set to 1 when thinking is enabled",
        ),
        (
            thinking(with("/tool_choice", json!({"type": "any"}))),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        // Output.
        (
            with("/output_config", json!({"format": {"type": "json"}})),
            "output_config.format.type: Input should be 'json_schema'",
        ),
        (
            with(
                "/output_config",
                json!({"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}),
            ),
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            with(
                "/output_config",
                json!({"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": false,
                "properties": {"n": {"type": "integer", "minimum": 1}}}}}),
            ),
            "For 'integer' type, properties minimum are not supported",
        ),
    ]
}

#[tokio::test]
async fn each_fault_is_refused_and_named() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for (body, message) in cases() {
        let response = post(provider.addr(), Wire::Anthropic, &body).await;
        let place = format!("{message}: {} for {body}", response.text());
        assert_eq!(response.status, Some(400), "{place}");
        let answer = response.json();
        assert_eq!(
            (&answer["type"], &answer["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{place}");
        assert_eq!(answer["request_id"], response.header("request-id").unwrap());
        let record = provider.requests().pop().unwrap();
        assert_eq!(record.refusal.as_deref(), answer["error"]["message"].as_str());
    }
}

#[tokio::test]
async fn valid_requests_are_accepted() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    let png =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    for body in [
        request(Wire::Anthropic, true),
        request(Wire::Anthropic, false),
        without("/tools"),
        without("/system"),
        thinking(request(Wire::Anthropic, true)),
        thinking(with("/tool_choice", json!({"type": "auto"}))),
        with("/thinking", json!({"type": "adaptive"})),
        with("/tool_choice", json!({"type": "tool", "name": "read", "disable_parallel_tool_use": true})),
        with("/tool_choice", json!({"type": "none"})),
        with("/messages/0/content", json!([png, marked, marked, marked, marked])),
        with("/tools/0", json!({"type": "web_search_20250305", "name": "web_search"})),
        with(
            "/output_config",
            json!({"effort": "low", "format": {"type": "json_schema", "schema":
            {"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}}}}),
        ),
        round(
            json!([{"type": "text", "text": "on it"}, call("a"), call("b")]),
            json!([result("b"),
            {"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [{"type": "text", "text": "no"}, png]},
            {"type": "text", "text": "there"}]),
        ),
        round(json!([call("a")]), json!([{"type": "tool_result", "tool_use_id": "a"}])),
        // Two user messages in a row are one for the vendor.
        then(json!([{"role": "user", "content": "and this"}])),
    ] {
        let response = post(provider.addr(), Wire::Anthropic, &body).await;
        assert_eq!(response.status, Some(200), "{} for {body}", response.text());
    }
}

#[tokio::test]
async fn prefill_is_allowed_where_the_script_says_so() {
    let provider = FakeProvider::start(Script { prefill: true, ..Script::text("ok") }).await.unwrap();
    let prefill = |text: &str| then(json!([{"role": "assistant", "content": text}]));
    assert_eq!(post(provider.addr(), Wire::Anthropic, &prefill("Sure:")).await.status, Some(200));
    assert_eq!(post(provider.addr(), Wire::Anthropic, &prefill("")).await.status, Some(200));
    let trailing = post(provider.addr(), Wire::Anthropic, &prefill("Sure: ")).await;
    assert_eq!(trailing.status, Some(400));
    assert!(trailing.text().contains("final assistant content cannot end with trailing whitespace"));
    let open = then(json!([{"role": "assistant", "content": [call("a")]}]));
    let open = post(provider.addr(), Wire::Anthropic, &open).await;
    assert_eq!(open.status, Some(400));
    assert!(open.text().contains("messages.1: `tool_use` ids were found without `tool_result` blocks"));
    let thinks = post(provider.addr(), Wire::Anthropic, &thinking(prefill("Sure:"))).await;
    assert_eq!(thinks.status, Some(400));
}

#[tokio::test]
async fn doors_are_guarded() {
    let script = Script { api_key: Some("sk-right".into()), ..Script::text("ok") };
    let provider = FakeProvider::start(script).await.unwrap();
    let body = request(Wire::Anthropic, true).to_string();
    let json_type = ("content-type", "application/json");
    let (right, version) = (("x-api-key", "sk-right"), ("anthropic-version", "2023-06-01"));
    let path = "/v1/messages";
    for (path, headers, body, status, kind, message) in [
        (
            path,
            vec![json_type, version],
            body.as_str(),
            401,
            "authentication_error",
            "x-api-key header is required",
        ),
        (
            path,
            vec![json_type, version, ("x-api-key", "no")],
            &body,
            401,
            "authentication_error",
            "invalid x-api-key",
        ),
        (
            path,
            vec![json_type, right],
            &body,
            400,
            "invalid_request_error",
            "anthropic-version: header is required",
        ),
        (
            path,
            vec![json_type, right, ("anthropic-version", "2030-01-01")],
            &body,
            400,
            "invalid_request_error",
            "is not a valid version",
        ),
        (path, vec![right, version], &body, 400, "invalid_request_error", "application/json"),
        (
            path,
            vec![json_type, right, version],
            "nope",
            400,
            "invalid_request_error",
            "could not parse the JSON body",
        ),
        ("/v1/complete", vec![json_type, right, version], &body, 404, "not_found_error", "Not found"),
    ] {
        let response =
            send(provider.addr(), &encode("POST", path, &headers, body.as_bytes()), PATIENCE).await;
        assert_eq!(response.status, Some(status), "{message}: {}", response.text());
        assert_eq!(response.json()["error"]["type"], kind);
        assert!(
            response.json()["error"]["message"].as_str().unwrap().contains(message),
            "{}",
            response.text()
        );
    }
    let good = encode("POST", path, &[json_type, right, version], body.as_bytes());
    assert_eq!(client::send(provider.addr(), &good, PATIENCE).await.status, Some(200));
}

#[tokio::test]
async fn the_version_of_2026_has_no_sampling_and_takes_the_key_as_a_bearer() {
    let script = Script { api_key: Some("sk-right".into()), ..Script::text("ok") };
    let provider = FakeProvider::start(script).await.unwrap();
    let send = async |version: &'static str, change: &dyn Fn(&mut Value)| {
        let mut body = request(Wire::Anthropic, true);
        change(&mut body);
        let headers = [
            ("content-type", "application/json"),
            ("authorization", "Bearer sk-right"),
            ("anthropic-version", version),
        ];
        let request = encode("POST", "/v1/messages", &headers, body.to_string().as_bytes());
        let response = client::send(provider.addr(), &request, PATIENCE).await;
        (response.status.unwrap(), response.text())
    };
    for version in ["2023-06-01", "2026-10-21"] {
        assert_eq!(send(version, &|_| {}).await.0, 200);
    }
    for name in ["temperature", "top_p", "top_k"] {
        let change = |body: &mut Value| body[name] = json!(1);
        assert_eq!(send("2023-06-01", &change).await.0, 200);
        let (status, text) = send("2026-10-21", &change).await;
        assert!(status == 400 && text.contains("Extra inputs are not permitted"), "{text}");
    }
    let cites = |body: &mut Value| {
        let cited = json!([{"type": "char_location", "cited_text": "x"}]);
        body["messages"][0]["content"] = json!([{"type": "text", "text": "x", "citations": cited}]);
    };
    assert_eq!(send("2026-10-21", &cites).await.0, 400);
}
