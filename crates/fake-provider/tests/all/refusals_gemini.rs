//! What Gemini refuses, one change of a valid request at a time.

use ambidex_fake_provider::{FakeProvider, Part, Script, Turn, Wire};
use serde_json::{Value, json};

use crate::change;
use crate::client::{encode, post, request, send};
use crate::history::ELSEWHERE;

const WIRE: Wire = Wire::Gemini;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

fn with(path: &str, value: Value) -> Value {
    change::with(WIRE, path, value)
}

fn then(contents: Value) -> Value {
    change::then(WIRE, "contents", contents)
}

fn call(name: &str) -> Value {
    json!({"functionCall": {"name": name, "args": {}}, "thoughtSignature": ELSEWHERE})
}

fn answer(name: &str) -> Value {
    json!({"functionResponse": {"name": name, "response": {"output": "ok"}}})
}

fn model(parts: Value) -> Value {
    json!({"role": "model", "parts": parts})
}

fn user(parts: Value) -> Value {
    json!({"role": "user", "parts": parts})
}

/// Request, and a piece of the message.
fn cases() -> Vec<(Value, &'static str)> {
    let part = |part: Value| then(json!([model(json!([{"text": "x"}])), user(json!([part]))]));
    let calls = |parts: Value, answers: Value| then(json!([model(parts), user(answers)]));
    let config = |name: &str, value: Value| with("/generationConfig", json!({name: value}));
    let tool = |name: &str, value: Value| with(&format!("/tools/0/functionDeclarations/0/{name}"), value);
    let own = |schema: Value| {
        let mut body = tool("parameters", schema);
        body["tools"][0]["functionDeclarations"][0].as_object_mut().unwrap().remove("parametersJsonSchema");
        body
    };
    let choice = |config: Value| with("/toolConfig", json!({"functionCallingConfig": config}));
    vec![
        (change::without(WIRE, "contents"), "GenerateContentRequest.contents: contents is not specified"),
        (with("/contents", json!([])), "contents is not specified"),
        (with("/messages", json!([])), "Unknown name \"messages\": Cannot find field."),
        (with("/contents/0/content", json!("x")), "Unknown name \"content\" at 'contents[0]'"),
        (with("/contents/0/parts", json!([])), "contents[0].parts: contents.parts must not be empty"),
        (with("/contents/0/parts/0/type", json!("text")), "Unknown name \"type\" at 'contents[0].parts[0]'"),
        (
            with("/contents/0/parts/0/text", json!(7)),
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING)",
        ),
        (with("/contents/0/parts/0/inlineData", json!({})), "oneof field 'data' is already set"),
        (with("/systemInstruction", json!({"parts": []})), "must not be empty"),
        (with("/systemInstruction", json!({"text": "x"})), "Unknown name \"text\" at 'system_instruction'"),
        (
            then(json!([{"role": "assistant", "parts": [{"text": "x"}]}])),
            "Please use a valid role: user, model.",
        ),
        (then(json!([{"role": "system", "parts": [{"text": "x"}]}])), "Please use a valid role"),
        (then(json!([{"parts": [{"text": "x"}]}])), "Please use a valid role"),
        (part(json!({"thoughtSignature": "abcd"})), "required oneof field 'data'"),
        (part(json!({"text": "x", "thoughtSignature": "no base64!"})), "(TYPE_BYTES)"),
        (part(json!({"text": "x", "thoughtSignature": "abcd"})), "Corrupted thought signature"),
        (part(json!({"inlineData": {"data": "AAAA"}})), "inline_data.mime_type: must not be empty"),
        (part(call("read")), "function call parts are in contents of the role model"),
        (
            calls(json!([answer("read")]), json!([{"text": "x"}])),
            "function response parts are in contents of the role user",
        ),
        (
            calls(json!([{"functionCall": {"name": "read", "args": "{}"}}]), json!([answer("read")])),
            "function_call.args' (type.googleapis.com/google.protobuf.Struct)",
        ),
        (
            calls(json!([call("read")]), json!([{"functionResponse": {"name": "read", "response": "ok"}}])),
            "function_response.response' (type.googleapis.com/google.protobuf.Struct)",
        ),
        (
            calls(json!([call("read")]), json!([{"functionResponse": {"name": "read"}}])),
            "function_response.response: missing field",
        ),
        // Order.
        (part(answer("read")), "function response turn comes immediately after a function call turn"),
        (
            then(json!([model(json!([call("read")])), user(json!([{"text": "x"}]))])),
            "number of function response parts is equal to the number of function call parts",
        ),
        (
            calls(json!([call("read"), call("read")]), json!([answer("read")])),
            "number of function response parts",
        ),
        (
            calls(json!([call("read")]), json!([answer("read"), {"text": "and?"}])),
            "number of function response parts",
        ),
        (calls(json!([call("read")]), json!([answer("write")])), "there is no call of \"write\""),
        (
            calls(
                json!([{"functionCall": {"id": "1", "name": "read"}, "thoughtSignature": ELSEWHERE}]),
                json!([{"functionResponse": {"id": "2", "name": "read", "response": {}}}]),
            ),
            "there is no call of \"read\" with the id \"2\"",
        ),
        (
            with("/contents", json!([model(json!([call("read")])), user(json!([answer("read")]))])),
            "function call turn comes immediately after a user turn",
        ),
        (then(json!([model(json!([{"text": "x"}]))])), "multiturn requests end with a user role"),
        (then(json!([model(json!([call("read")]))])), "multiturn requests end with a user role"),
        // Tools.
        (with("/tools/0/function", json!({})), "Unknown name \"function\" at 'tools[0]'"),
        (tool("name", json!("1st")), "Invalid function name"),
        (tool("strict", json!(true)), "Unknown name \"strict\" at 'tools[0].function_declarations[0]'"),
        (tool("parameters", json!({"type": "OBJECT"})), "only one of parameters and parameters_json_schema"),
        (
            own(json!({"type": "object", "additionalProperties": false})),
            "Unknown name \"additionalProperties\"",
        ),
        (own(json!({"type": "object", "properties": {}})), "should be non-empty for OBJECT type"),
        (
            own(json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}})),
            "Invalid value at",
        ),
        (own(json!({"type": "object", "properties": {"a": {"type": "array"}}})), "items: missing field"),
        (
            own(json!({"type": "object", "properties": {"a": {"type": "integer", "enum": ["1"]}}})),
            "enum: only allowed for STRING type",
        ),
        (
            own(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]})),
            "required[0]: property is not defined",
        ),
        (choice(json!({"mode": "required"})), "function_calling_config.mode'"),
        (
            choice(json!({"mode": "AUTO", "allowedFunctionNames": ["read"]})),
            "only when function_calling_config.mode",
        ),
        (choice(json!({"mode": "ANY", "allowedFunctionNames": ["write"]})), "not one of the declared"),
        // Settings.
        (config("maxTokens", json!(5)), "Unknown name \"maxTokens\" at 'generation_config'"),
        (config("temperature", json!(2.5)), "must be in the range [0.0, 2.0]"),
        (config("maxOutputTokens", json!(0)), "must be positive"),
        (config("maxOutputTokens", json!("9")), "(TYPE_INT32)"),
        (config("stopSequences", json!(["a", "b", "c", "d", "e", "f"])), "at most 5 stop sequences"),
        (config("responseSchema", json!({"type": "STRING"})), "only allowed when `response_mime_type`"),
        (config("responseMimeType", json!("json")), "allowed mimetypes"),
        (config("thinkingConfig", json!({"thinkingLevel": "MUCH"})), "ThinkingLevel"),
        (
            config("thinkingConfig", json!({"thinkingLevel": "LOW", "thinkingBudget": 5})),
            "only one of thinking",
        ),
    ]
}

#[tokio::test]
async fn each_fault_is_refused_in_its_place() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    for (body, message) in cases() {
        let response = post(provider.addr(), WIRE, &body).await;
        assert_eq!(response.status, Some(400), "{message}: {}", response.text());
        let error = &response.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(message), "{message}: {error}");
        assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
    }
}

#[tokio::test]
async fn what_is_allowed_is_answered() {
    let provider = FakeProvider::start(Script::text("ok")).await.unwrap();
    let with_id = |mut part: Value, id: &str| {
        let kind = if part["functionCall"].is_object() { "functionCall" } else { "functionResponse" };
        part[kind]["id"] = json!(id);
        part
    };
    for body in [
        request(WIRE, true),
        with("/contents", json!([{"parts": [{"text": "no role"}]}])),
        with(
            "/generationConfig",
            json!({"temperature": 1, "maxOutputTokens": 5, "thinkingConfig":
            {"includeThoughts": true, "thinkingLevel": "low"}}),
        ),
        with(
            "/generationConfig",
            json!({"responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "additionalProperties": false}}),
        ),
        with(
            "/toolConfig",
            json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["read"]}}),
        ),
        with("/contents/0/parts", json!([{"inlineData": {"data": "AAAA", "mimeType": "image/png"}}])),
        then(json!([user(json!([{"text": "and once more"}]))])),
        // With underscores, as every Google API takes it; what the client names is left alone.
        with(
            "/generation_config",
            json!({"max_output_tokens": 5, "thinking_config": {"include_thoughts": true}}),
        ),
        then(json!([
            model(json!([{"function_call": {"name": "read", "args": {"no_field": 1}},
            "thought_signature": ELSEWHERE}])),
            user(json!([answer("read")]))
        ])),
        then(json!([
            model(json!([{"text": "hm", "thought": true}, call("read"), call("read")])),
            user(json!([answer("read"), answer("read")]))
        ])),
        // The pieces of a stream, as the vendor's own client sends them back.
        then(json!([
            model(json!([{"text": "x"}])),
            model(json!([call("read")])),
            model(json!([{"functionCall": {"name": "read"}}])),
            model(json!([{"text": ""}])),
            user(json!([answer("read"), answer("read")]))
        ])),
        // By id, in any order.
        then(json!([
            model(json!([with_id(call("read"), "1"), with_id(call("read"), "2")])),
            user(json!([with_id(answer("read"), "2"), with_id(answer("read"), "1")]))
        ])),
        then(json!([model(json!([with_id(call("read"), "1")])), user(json!([answer("read")]))])),
        // Signatures are demanded in the current turn alone.
        then(json!([
            model(json!([{"functionCall": {"name": "read"}}])),
            user(json!([answer("read")])),
            model(json!([{"text": "x"}])),
            user(json!([{"text": "next"}]))
        ])),
    ] {
        let response = post(provider.addr(), WIRE, &body).await;
        assert_eq!(response.status, Some(200), "{} for {body}", response.text());
    }
}

/// What the request after a reply with two calls comes to, with the reply's parts changed.
async fn followed(change: impl Fn(&mut Vec<Value>)) -> (u16, String) {
    let first = Turn::new([
        Part::reasoning("I should read it."),
        Part::call("read", json!({"path": "x"})),
        Part::call("read", json!({"path": "y"})),
    ]);
    let provider = FakeProvider::start(Script::new([first, Turn::text("done")])).await.unwrap();
    let mut body = request(WIRE, false);
    let reply = post(provider.addr(), WIRE, &body).await.json();
    let mut parts = reply["candidates"][0]["content"]["parts"].as_array().unwrap().clone();
    let answers: Vec<Value> = parts
        .iter()
        .filter(|part| part["functionCall"].is_object())
        .map(|part| {
            let call = &part["functionCall"];
            json!({"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": "ok"}}})
        })
        .collect();
    change(&mut parts);
    body["contents"]
        .as_array_mut()
        .unwrap()
        .extend([model(Value::Array(parts)), user(Value::Array(answers))]);
    let response = post(provider.addr(), WIRE, &body).await;
    let message = response.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    (response.status.unwrap(), message)
}

#[tokio::test]
async fn the_first_call_of_a_step_brings_its_signature_back() {
    assert_eq!(followed(|_| {}).await, (200, String::new()));
    // Thoughts that are shown may stay away: the signature holds what is needed.
    assert_eq!(followed(|parts| drop(parts.remove(0))).await, (200, String::new()));
    let (status, message) =
        followed(|parts| drop(parts[1].as_object_mut().unwrap().remove("thoughtSignature"))).await;
    assert_eq!(status, 400);
    assert!(
        message.contains("missing a thought_signature")
            && message.contains("`default_api:read` , position 2")
    );
    for change in [
        &(|parts: &mut Vec<Value>| parts[1]["thoughtSignature"] = json!("fake")) as &dyn Fn(&mut Vec<Value>),
        // One that stands for calls of other models does not stand for a call of this one.
        &|parts| parts[1]["thoughtSignature"] = json!(ELSEWHERE),
    ] {
        assert_eq!(followed(change).await, (400, "Corrupted thought signature.".to_owned()));
    }
    let moved = |parts: &mut Vec<Value>| {
        let signature = parts[1].as_object_mut().unwrap().remove("thoughtSignature").unwrap();
        parts[2]["thoughtSignature"] = signature;
    };
    assert!(followed(moved).await.1.contains("missing a thought_signature"));
}

#[tokio::test]
async fn doors_are_guarded() {
    let script = Script { api_key: Some("right".into()), ..Script::text("ok") };
    let provider = FakeProvider::start(script).await.unwrap();
    let mut body = request(WIRE, true);
    body.as_object_mut().unwrap().remove("stream");
    let body = body.to_string();
    let json_type = ("content-type", "application/json");
    let right = ("x-goog-api-key", "right");
    let path = "/v1beta/models/fake-1:streamGenerateContent?alt=sse";
    for (path, headers, status, message) in [
        (path, vec![json_type], 403, "unregistered callers"),
        (path, vec![json_type, ("x-goog-api-key", "wrong")], 400, "API key not valid"),
        (path, vec![right], 400, "application/json"),
        ("/v1beta/models/fake-1:streamGenerateContent", vec![json_type, right], 400, "add ?alt=sse"),
        ("/v1beta/models/fake-1:generate", vec![json_type, right], 404, "Not found"),
    ] {
        let response =
            send(provider.addr(), &encode("POST", path, &headers, body.as_bytes()), PATIENCE).await;
        assert_eq!(response.status, Some(status), "{message}: {}", response.text());
        assert!(response.text().contains(message), "{}", response.text());
    }
    for path in [path, "/v1/models/fake-1:streamGenerateContent?alt=sse", "/v1/models/fake-1:generateContent"]
    {
        let good = encode("POST", path, &[json_type, right], body.as_bytes());
        assert_eq!(send(provider.addr(), &good, PATIENCE).await.status, Some(200), "{path}");
    }
}
