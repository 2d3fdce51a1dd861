//! What OpenAI refuses in Responses, one change of a valid request at a time.

use ambidex_fake_provider::{FakeProvider, Part, Script, Turn, Wire};
use serde_json::{Value, json};

use crate::change::{self, set};
use crate::client::{post, request};
use crate::reader;

const WIRE: Wire = Wire::Responses;

fn with(path: &str, value: Value) -> Value {
    change::with(WIRE, path, value)
}

fn then(items: Value) -> Value {
    change::then(WIRE, "input", items)
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "read", "arguments": "{}"})
}

fn output(id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": "ok"})
}

/// Request, `param`, and a piece of the message.
fn cases() -> Vec<(Value, Value, &'static str)> {
    let without = |name: &str| change::without(WIRE, name);
    let bad_call = |change: &dyn Fn(&mut Value)| {
        let mut bad = call("a");
        change(&mut bad);
        then(json!([bad, output("a")]))
    };
    let content = |role: &str, part: Value| then(json!([{"role": role, "content": [part]}]));
    let tool = |path: &str, value: Value| with(&format!("/tools/0/{path}"), value);
    let format = |format: Value| with("/text", json!({"format": format}));
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    vec![
        // Settings.
        (without("model"), json!("model"), "Missing required parameter: 'model'"),
        (without("input"), json!("input"), "must be provided"),
        (with("/input", json!([])), json!("input"), "empty array"),
        (with("/input", json!(7)), json!("input"), "expected one of a string or array of objects"),
        (with("/foo", json!(1)), json!("foo"), "Unknown parameter: 'foo'"),
        (with("/messages", json!([])), json!("messages"), "this parameter has moved to 'input'"),
        (with("/max_tokens", json!(9)), json!("max_tokens"), "has moved to 'max_output_tokens'"),
        (with("/response_format", json!({})), json!("response_format"), "has moved to 'text.format'"),
        (with("/reasoning_effort", json!("low")), json!("reasoning_effort"), "moved to 'reasoning.effort'"),
        (with("/stream", json!("yes")), json!("stream"), "expected a boolean"),
        (with("/store", json!(1)), json!("store"), "expected a boolean"),
        (with("/temperature", json!(3)), json!("temperature"), "Expected a value <= 2"),
        (with("/max_output_tokens", json!(15)), json!("max_output_tokens"), "Expected a value >= 16"),
        (with("/instructions", json!([])), json!("instructions"), "expected a string"),
        (with("/include", json!(["reasoning"])), json!("include"), "'reasoning.encrypted_content'"),
        (
            with("/stream_options", json!({"include_usage": true})),
            json!("stream_options.include_usage"),
            "Unknown parameter",
        ),
        (with("/reasoning", json!({"effort": "much"})), json!("reasoning.effort"), "'minimal'"),
        (with("/reasoning", json!({"budget": 1})), json!("reasoning.budget"), "Unknown parameter"),
        (
            with("/previous_response_id", json!("resp_1")),
            json!("previous_response_id"),
            "Previous response with id 'resp_1' not found",
        ),
        // Items.
        (then(json!(["hi"])), json!("input[1]"), "expected an object"),
        (then(json!([{"type": "tool_result"}])), json!("input[1]"), "Invalid value: 'tool_result'"),
        (then(json!([{"role": "tool", "content": "x"}])), json!("input[1].role"), "Invalid value: 'tool'"),
        (then(json!([{"role": "user"}])), json!("input[1].content"), "Missing required parameter"),
        (then(json!([{"role": "user", "content": []}])), json!("input[1].content"), "empty array"),
        (
            then(json!([{"role": "user", "content": "x", "tool_calls": []}])),
            json!("input[1].tool_calls"),
            "Unknown parameter",
        ),
        (
            content("assistant", json!({"type": "input_text", "text": "x"})),
            json!("input[1].content[0]"),
            "Supported values are: 'output_text' and 'refusal'",
        ),
        (
            content("user", json!({"type": "text", "text": "x"})),
            json!("input[1].content[0]"),
            "Invalid value: 'text'",
        ),
        (
            content("user", json!({"type": "output_text", "text": "x"})),
            json!("input[1].content[0]"),
            "Invalid value: 'output_text'",
        ),
        (
            content("user", json!({"type": "input_image", "image_url": {"url": "https://x"}})),
            json!("input[1].content[0].image_url"),
            "expected an image URL, but got an object",
        ),
        (
            content("user", json!({"type": "input_image", "image_url": "here"})),
            json!("input[1].content[0].image_url"),
            "Expected a valid URL",
        ),
        (
            then(json!([{"type": "message", "role": "assistant", "id": "m1", "content": "x"}])),
            json!("input[1].id"),
            "Expected an ID that begins with 'msg'",
        ),
        (bad_call(&|it| it["id"] = json!("call_1")), json!("input[1].id"), "begins with 'fc'"),
        (bad_call(&|it| it["name"] = json!("a b")), json!("input[1].name"), "does not match pattern"),
        (bad_call(&|it| it["arguments"] = json!({})), json!("input[1].arguments"), "expected a string"),
        (bad_call(&|it| it["call_id"] = json!("")), json!("input[1].call_id"), "empty string"),
        (bad_call(&|it| it["status"] = json!("done")), json!("input[1].status"), "'incomplete'"),
        (
            then(json!([call("a"), {"type": "function_call_output", "call_id": "a"}])),
            json!("input[2].output"),
            "Missing required parameter",
        ),
        (
            then(json!([call("a"), {"type": "function_call_output", "call_id": "a", "output": {"x": 1}}])),
            json!("input[2].output"),
            "expected one of an array of objects or string",
        ),
        (
            then(json!([{"type": "reasoning", "id": "rs_1"}])),
            json!("input[1].summary"),
            "Missing required parameter",
        ),
        (
            then(json!([{"type": "reasoning", "id": "rs_1", "summary": []}])),
            json!("input"),
            "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false",
        ),
        (
            then(json!([{"type": "item_reference", "id": "msg_1"}])),
            json!("input"),
            "Item with id 'msg_1' not found",
        ),
        (
            then(json!([{"role": "assistant", "type": "message", "id": "msg_1", "content": "x"},
                {"role": "assistant", "type": "message", "id": "msg_1", "content": "x"}])),
            json!("input"),
            "Duplicate item found with id msg_1",
        ),
        // Order.
        (then(json!([output("a")])), json!("input"), "No tool call found for function call output"),
        (then(json!([call("a")])), json!("input"), "No tool output found for function call a"),
        (then(json!([call("a"), call("b"), output("a")])), json!("input"), "function call b"),
        (then(json!([output("a"), call("a")])), json!("input"), "No tool call found"),
        (then(json!([call("a"), call("a"), output("a")])), json!("input"), "Duplicate function call with"),
        (
            then(json!([call("a"), output("a"), output("a")])),
            json!("input"),
            "Duplicate function call output",
        ),
        // Tools.
        (
            with("/tools/0", json!({"type": "function", "function": {"name": "read"}})),
            json!("tools[0].name"),
            "Missing required parameter: 'tools[0].name'",
        ),
        (tool("type", json!("tool")), json!("tools[0].type"), "Invalid value: 'tool'"),
        (tool("name", json!("a b")), json!("tools[0].name"), "does not match pattern"),
        (tool("input_schema", json!({})), json!("tools[0].input_schema"), "Unknown parameter"),
        (tool("parameters", json!({"type": "string"})), json!("tools[0].parameters"), "Invalid schema"),
        (tool("strict", json!(true)), json!("tools[0].parameters"), "additionalProperties"),
        (
            with("/tool_choice", json!({"type": "function", "function": {"name": "read"}})),
            json!("tool_choice.name"),
            "Missing required parameter",
        ),
        (
            with("/tool_choice", json!({"type": "function", "name": "write"})),
            json!("tool_choice"),
            "Tool choice 'write' not found in 'tools' parameter",
        ),
        // Format.
        (format(json!({"type": "json_object"})), json!("input"), "must contain the word 'json'"),
        (
            format(json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})),
            json!("text.format.json_schema"),
            "Unknown parameter",
        ),
        (
            format(json!({"type": "json_schema", "schema": schema})),
            json!("text.format.name"),
            "Missing required parameter",
        ),
        (
            format(json!({"type": "json_schema", "name": "a", "strict": true, "schema": schema})),
            json!("text.format.schema"),
            "additionalProperties",
        ),
    ]
}

#[tokio::test]
async fn each_fault_is_refused_in_its_place() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for (body, param, message) in cases() {
        let response = post(provider.addr(), WIRE, &body).await;
        let status = if message.contains("not found") && param == "input" { 404 } else { 400 };
        assert_eq!(response.status, Some(status), "{message}: {}", response.text());
        let error = &response.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(message), "{message}: {error}");
        assert_eq!((&error["param"], &error["type"]), (&param, &json!("invalid_request_error")), "{error}");
    }
    assert!(provider.requests().iter().all(|record| record.refusal.is_some()));
}

#[tokio::test]
async fn what_is_allowed_is_answered() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for body in [
        request(WIRE, true),
        with("/input", json!("as a string")),
        with("/reasoning", json!({"effort": "high", "summary": "auto"})),
        with("/tool_choice", json!({"type": "function", "name": "read"})),
        with("/tools/0/parameters", json!(null)),
        with("/text", json!({"format": {"type": "text"}, "verbosity": "low"})),
        with("/stream_options", json!({"include_obfuscation": false})),
        then(json!([{"role": "user", "content": [{"type": "input_image", "detail": "auto",
            "image_url": "data:image/png;base64,AAAA"}]}])),
        then(json!([{"role": "assistant", "content": "fine"}, {"role": "developer", "content": "go on"}])),
        then(json!([call("a"), call("b"), output("b"), output("a")])),
        then(json!([call("a"), output("a"), call("a"), output("a")])),
        then(json!([call("a"), {"type": "function_call_output", "call_id": "a",
            "output": [{"type": "input_text", "text": "x"}]}])),
    ] {
        let response = post(provider.addr(), WIRE, &body).await;
        assert_eq!(response.status, Some(200), "{} for {body}", response.text());
    }
}

/// A provider, the request that began, and the items of its reply.
async fn begun(change: impl Fn(&mut Value)) -> (FakeProvider, Value, Vec<Value>, String) {
    let first = Turn::new([
        Part::reasoning("I should read it."),
        Part::text("Reading."),
        Part::call("read", json!({"path": "x"})),
    ]);
    let provider = FakeProvider::start(Script::new([first, Turn::text("done")])).await.unwrap();
    let mut body = request(WIRE, false);
    change(&mut body);
    let reply = post(provider.addr(), WIRE, &body).await.json();
    let items = reply["output"].as_array().unwrap().clone();
    (provider, body, items, reply["id"].as_str().unwrap().to_owned())
}

/// Status and message of the request that follows, with the reply's items changed.
async fn followed(change: impl Fn(&mut Vec<Value>)) -> (u16, String) {
    let (provider, mut body, mut items, _) = begun(|_| {}).await;
    let id = items[2]["call_id"].as_str().unwrap().to_owned();
    change(&mut items);
    items.push(output(&id));
    body["input"].as_array_mut().unwrap().extend(items);
    let response = post(provider.addr(), WIRE, &body).await;
    let message = response.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    (response.status.unwrap(), message)
}

#[tokio::test]
async fn reasoning_comes_back_as_it_was_and_before_its_call() {
    assert_eq!(followed(|_| {}).await, (200, String::new()));
    // Ids may be left out where the content says it all.
    let strip = |items: &mut Vec<Value>| {
        items.iter_mut().for_each(|item| drop(item.as_object_mut().unwrap().remove("id")));
    };
    assert_eq!(followed(strip).await, (200, String::new()));
    let refused = async |change: &dyn Fn(&mut Vec<Value>), words: &str| {
        let (status, message) = followed(change).await;
        assert!(status == 400 && message.contains(words), "{status} {message}");
    };
    refused(
        &|items| drop(items.remove(0)),
        "was provided without its required 'reasoning' item: 'rs_fake1x0'",
    )
    .await;
    refused(&|items| items[0]["encrypted_content"] = json!("gAAAA"), "could not be verified").await;
    let shorter = |items: &mut Vec<Value>| {
        let content = items[0]["encrypted_content"].as_str().unwrap().to_owned();
        items[0]["encrypted_content"] = json!(content[..content.len() - 1]);
    };
    refused(&shorter, "could not be verified").await;
    refused(&|items| items[0]["id"] = json!("rs_other"), "item_id did not match").await;
    refused(&|items| items.rotate_left(1), "without its required").await;
    let (status, message) =
        followed(|items| drop(items[0].as_object_mut().unwrap().remove("encrypted_content"))).await;
    assert!(status == 404 && message.contains("not found"), "{status} {message}");
}

#[tokio::test]
async fn encrypted_content_comes_only_when_it_is_asked_for() {
    let (_, _, items, _) = begun(|body| body["include"] = json!([])).await;
    assert_eq!(items[0]["type"], "reasoning");
    assert!(items[0].get("encrypted_content").is_none());
}

#[tokio::test]
async fn a_stored_response_can_be_continued_by_its_id() {
    let (provider, mut body, items, id) = begun(|body| set(body, "/store", json!(true))).await;
    body["previous_response_id"] = json!(id);
    body["input"] = json!([output(items[2]["call_id"].as_str().unwrap())]);
    let response = post(provider.addr(), WIRE, &body).await;
    assert_eq!(reader::read(WIRE, false, &response).unwrap().text, "done");
    let next = response.json()["id"].clone();
    assert_eq!(response.json()["previous_response_id"], id);
    // The call of the first response is answered by now, also two responses later.
    body["previous_response_id"] = next;
    body["input"] = json!("and?");
    let response = post(provider.addr(), WIRE, &body).await;
    assert!(response.text().contains("2 assistant messages so far"), "{}", response.text());
    // An answer is due before anything else.
    body["previous_response_id"] = json!(id);
    let response = post(provider.addr(), WIRE, &body).await;
    assert!(response.text().contains("No tool output found"), "{}", response.text());
    // What is continued must not be sent again.
    body["input"] = json!([items[2], output(items[2]["call_id"].as_str().unwrap())]);
    let response = post(provider.addr(), WIRE, &body).await;
    assert!(response.text().contains("Duplicate function call"), "{}", response.text());
}

#[tokio::test]
async fn a_response_that_was_not_stored_cannot_be_continued() {
    let (provider, mut body, items, id) = begun(|_| {}).await;
    body["previous_response_id"] = json!(id);
    body["input"] = json!([output(items[2]["call_id"].as_str().unwrap())]);
    let response = post(provider.addr(), WIRE, &body).await;
    assert_eq!(response.status, Some(400));
    assert_eq!(response.json()["error"]["code"], "previous_response_not_found");
}
