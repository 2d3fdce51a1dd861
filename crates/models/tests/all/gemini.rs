//! What is Gemini's own: addresses, versions, thinking, signatures that go back as they came, Google's errors.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::message::{Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall};
use ambidex_core::model::{OutputSchema, Reasoning, Settings, StructuredOutput, ToolChoice};
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::{Context, ErrorKind, Model, Request, Role};
use ambidex_fake_provider::{FakeProvider, Part as FakePart, Script, Turn, Wire};
use ambidex_models::failure::{Place, of_response};
use ambidex_models::{Format, ModelConfig, ProviderModel, collect};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::faults::config;
use crate::requests::{body, client, request, tools};
use crate::wire::{cases, check, decode, folder};

fn model(model: &str, base: &str) -> ProviderModel {
    ProviderModel::new(ModelConfig::new(Format::Gemini, "google", model, base), client()).unwrap()
}

fn beta(name: &str) -> ProviderModel {
    model(name, "https://api.example.com")
}

fn refused(model: &ProviderModel, request: &Request) -> String {
    let error = model.encode(request, &Context::detached()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.message().contains("/v1beta"), "{error}");
    error.message().to_owned()
}

/// The head of the one request that comes.
async fn asked(path: &str, name: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}{path}", listener.local_addr().unwrap());
    let mut config = ModelConfig::new(Format::Gemini, "google", name, base);
    config.key = Some("AIza-secret".into());
    let model = ProviderModel::new(config, client()).unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        let text = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let (reply, head) = tokio::join!(collect(model.stream(Request::user("Hi"), Context::detached())), serve);
    assert_eq!(reply.unwrap().text(), "hi");
    head
}

#[tokio::test]
async fn the_address_names_the_model_and_never_the_key() {
    for (path, name, target) in [
        ("", "gemini-3-flash", "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ("/", "models/gemini-3-flash", "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ("/v1", "gemini-3-flash", "/v1/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ("/v1beta/", "tunedModels/mine-1", "/v1beta/tunedModels/mine-1:streamGenerateContent?alt=sse"),
        (
            "/v1/projects/p/locations/global/publishers/google?tenant=7",
            "gemini-3-flash",
            "/v1/projects/p/locations/global/publishers/google/models/gemini-3-flash:streamGenerateContent?alt=sse&tenant=7",
        ),
        ("", "a b?c#d%e", "/v1beta/models/a%20b%3Fc%23d%25e:streamGenerateContent?alt=sse"),
    ] {
        let head = asked(path, name).await;
        let (line, headers) = head.split_once("\r\n").unwrap();
        assert_eq!(line, format!("POST {target} HTTP/1.1"));
        assert!(headers.to_ascii_lowercase().contains("\r\nx-goog-api-key: aiza-secret\r\n"), "{headers}");
        assert!(!line.contains("secret"));
    }
}

/// What the vendor signed goes back as it came: in its order, on its part, letter by letter.
#[test]
fn every_reply_goes_back_as_it_came() {
    let folder = folder("gemini");
    for case in cases(&folder, "sse") {
        let bytes = std::fs::read(&case).unwrap();
        let Some(reply) = reply(&bytes) else { continue };
        let history = vec![Message::user("Hi"), reply.message.clone()];
        let sent = beta("gemini-3-flash").encode(&request(history), &Context::detached()).unwrap().concat();
        let parsed: Value = serde_json::from_slice(&sent).unwrap();
        let name = case.file_stem().unwrap().to_str().unwrap();
        check(&folder.join("echo").join(format!("{name}.json")), &parsed["contents"][1]);
        let came = signatures(&bytes);
        let placeholder = "\"skip_thought_signature_validator\"";
        let went: Vec<String> =
            signatures(&sent).into_iter().filter(|signature| signature != placeholder).collect();
        assert_eq!(came, went, "{name}");
    }
}

fn reply(bytes: &[u8]) -> Option<Reply> {
    let (chunks, error) = decode(Format::Gemini.adapter(), std::iter::once(bytes));
    let mut builder = ReplyBuilder::new();
    for chunk in chunks {
        builder.push(chunk).unwrap();
    }
    if error.is_some() { None } else { builder.finish().ok() }
}

/// The signatures in these bytes as they stand there, quotes and escapes included.
fn signatures(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let after = text.split("\"thoughtSignature\":").skip(1).map(str::trim_start);
    let strings = after.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    strings.map(|string| format!("\"{string}\"")).collect()
}

/// Ids that the server did not give are made: the same for the same bytes, and different within a reply.
#[test]
fn calls_without_an_id_get_one_that_is_theirs() {
    let bytes = std::fs::read(folder("gemini").join("calls_without_id.sse")).unwrap();
    let ids = |reply: Reply| reply.message.tool_calls().map(|call| call.id.clone()).collect::<Vec<_>>();
    let (first, again) = (ids(reply(&bytes).unwrap()), ids(reply(&bytes).unwrap()));
    assert_eq!(first, again);
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((first.len(), distinct.len()), (4, 4));
}

/// A signature whose text is gone, as a hook may leave it, is still a part of its own.
#[test]
fn a_signature_without_its_text_stands_alone() {
    let state = ProviderState { format: "gemini".into(), json: r#"{"thoughtSignature":"c2ln"}"#.into() };
    let alone = Message::new(Role::Assistant, vec![Part::Opaque { state }]);
    let body =
        body(&beta("gemini-3-flash"), &request(vec![Message::user("Hi"), alone]), &Context::detached());
    assert_eq!(body["contents"][1]["parts"], json!([{"text": "", "thoughtSignature": "c2ln"}]));
}

/// The first call of a message that nothing signed has the vendor's own placeholder; one that Gemini signed
/// anywhere is left as it is.
#[test]
fn calls_of_other_models_are_marked_as_such() {
    let call = |id: &str, state| {
        let arguments = Arguments::Json(json!({}));
        Part::ToolCall(ToolCall { id: id.into(), name: "list".into(), arguments, state })
    };
    let state = |format: &str, json: &str| ProviderState { format: format.into(), json: json.into() };
    let signed = Some(state("gemini", "\"c2ln\""));
    let of_chat = Some(state("openai-chat", "{}"));
    let marks = |parts: Vec<Part>| {
        let history = vec![Message::user("Hi"), Message::new(Role::Assistant, parts)];
        let body = body(&beta("gemini-3-flash"), &request(history), &Context::detached());
        let parts = body["contents"][1]["parts"].as_array().unwrap().clone();
        parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let skip = Some("skip_thought_signature_validator".to_owned());
    assert_eq!(marks(vec![Part::text("a"), call("1", of_chat), call("2", None)]), [None, skip.clone(), None]);
    assert_eq!(marks(vec![call("1", signed), call("2", None)]), [Some("c2ln".to_owned()), None]);
    let code = Part::Opaque { state: state("gemini", r#"{"executableCode":{"code":"1"}}"#) };
    assert_eq!(marks(vec![code, call("1", None)]), [None, skip]);
    let text = Part::Opaque { state: state("gemini", r#"{"thoughtSignature":"dGV4dA"}"#) };
    assert_eq!(marks(vec![Part::text("a"), text, call("1", None)]), [Some("dGV4dA".to_owned()), None]);
}

/// Answers of tools are a content of their own: all of one round together, and nothing beside them.
#[test]
fn answers_stand_together_and_alone() {
    let call = |id: &str| ToolCall {
        id: id.into(),
        name: "list".into(),
        arguments: Arguments::Json(json!({})),
        state: None,
    };
    let (a, b) = (call("a"), call("b"));
    let result = |call: &ToolCall| Message::tool_result(call, "ok", false).parts[0].clone();
    let calls = vec![Part::ToolCall(a.clone()), Part::ToolCall(b.clone())];
    let kinds = |messages: Vec<Arc<Message>>| {
        let mut history =
            vec![Message::user("Hi"), Message::system("Hm"), Message::new(Role::Assistant, calls.clone())];
        history.extend(messages);
        let body = body(&beta("gemini-3-flash"), &request(history), &Context::detached());
        let contents = body["contents"].as_array().unwrap().clone();
        let kinds = contents.iter().map(|content| {
            let parts = content["parts"].as_array().unwrap().iter();
            let names = parts.map(|part| part.as_object().unwrap().keys().next().unwrap().as_str());
            format!("{}: {}", content["role"].as_str().unwrap(), names.collect::<Vec<_>>().join(" "))
        });
        kinds.collect::<Vec<_>>()
    };
    let expected = [
        "user: text text",
        "model: functionCall functionCall",
        "user: functionResponse functionResponse",
        "user: text text",
    ];
    let each = [Message::tool_result(&a, "ok", false), Message::tool_result(&b, "ok", false)];
    let words = [Message::user("So?"), Message::user("And?")];
    assert_eq!(kinds([each.to_vec(), words.to_vec()].concat()), expected);
    // All in one message, in another order, with parts that are not sent.
    let thought = Part::Reasoning { text: "of nobody".into(), state: None };
    let parts = vec![thought, Part::text("So?"), result(&a), Part::text(""), Part::text("And?"), result(&b)];
    assert_eq!(kinds(vec![Message::new(Role::Tool, parts)]), expected);
    let blank = Message::new(Role::Tool, vec![result(&a), Part::text(""), result(&b)]);
    assert_eq!(kinds([vec![blank], words.to_vec()].concat()), expected);
}

/// Without a word of its own, v1 says what it can in the first content and refuses the rest.
#[test]
fn v1_is_sent_only_what_it_knows() {
    let v1 = model("gemini-2.5-flash", "https://api.example.com/v1");
    let schema = Arc::new(OutputSchema { name: "n".into(), schema: json!({"type": "integer"}) });
    let plain = Request {
        instructions: Some("Be brief.".into()),
        output: Some(schema),
        settings: Arc::new(Settings { max_tokens: Some(9), ..Settings::default() }),
        ..Request::user("Hi")
    };
    let sent = body(&v1, &plain, &Context::detached());
    let fields: Vec<&String> = sent.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["generationConfig", "contents"]);
    assert_eq!(sent["generationConfig"], json!({"maxOutputTokens": 9}));
    let first = &sent["contents"][0];
    assert_eq!((&first["role"], &first["parts"][0]["text"]), (&json!("user"), &json!("Be brief.")));
    assert!(first["parts"][1]["text"].as_str().unwrap().contains(r#"{"type":"integer"}"#));
    assert_eq!(sent["contents"][1], json!({"role": "user", "parts": [{"text": "Hi"}]}));

    assert!(refused(&v1, &Request { tools: tools(), ..Request::user("Hi") }).contains("tools"));
    let reasoning = Settings { reasoning: Some(Reasoning::BudgetTokens(1)), ..Settings::default() };
    let request = |parts| request(vec![Message::user("Hi"), Message::new(Role::Assistant, parts)]);
    refused(&v1, &Request { settings: Arc::new(reasoning), ..Request::user("Hi") });
    let call =
        ToolCall { id: "1".into(), name: "x".into(), arguments: Arguments::Json(json!({})), state: None };
    refused(&v1, &request(vec![Part::ToolCall(call)]));
    let url = ImageSource::Url("https://example.com/a.png".into());
    refused(&v1, &request(vec![Part::Image(Image { media_type: "image/png".into(), source: url })]));
}

/// A run that goes from one version to the other has the bytes of each.
#[test]
fn the_versions_share_no_bytes() {
    let bytes = std::fs::read(folder("gemini").join("thinking.sse")).unwrap();
    let request = request(vec![Message::user("Hi"), reply(&bytes).unwrap().message, Message::user("Go on.")]);
    let context = Context::detached();
    let parts = |base: &str| {
        let sent = body(&model("gemini-3-flash", base), &request, &context);
        sent["contents"][1]["parts"].as_array().unwrap().clone()
    };
    assert_eq!(parts("https://api.example.com/v1beta").len(), 3);
    assert_eq!(parts("https://api.example.com/v1"), [json!({"text": "It is 42."})]);
    // Vertex AI has its version further in front.
    assert_eq!(parts("https://api.example.com/v1/projects/p/publishers/google").len(), 3);
}

#[test]
fn thinking_is_asked_for_in_the_words_of_the_generation() {
    let config = |name: &str, reasoning: Reasoning| {
        let settings = Settings { reasoning: Some(reasoning), ..Settings::default() };
        let request = Request { settings: Arc::new(settings), ..Request::user("Hi") };
        body(&beta(name), &request, &Context::detached())["generationConfig"]["thinkingConfig"].clone()
    };
    let effort = |name: &str, effort: &str| config(name, Reasoning::Effort(effort.into()));
    let thoughts = |name: &str, value: Value| json!({"includeThoughts": true, name: value});
    assert_eq!(effort("gemini-3-pro", "low"), thoughts("thinkingLevel", json!("LOW")));
    assert_eq!(effort("gemini-3-pro", "minimal"), thoughts("thinkingLevel", json!("LOW")));
    assert_eq!(effort("gemini-3-flash", "minimal"), thoughts("thinkingLevel", json!("MINIMAL")));
    assert_eq!(effort("gemini-flash-latest", "xhigh"), thoughts("thinkingLevel", json!("HIGH")));
    assert_eq!(effort("gemini-3-flash", "none"), json!({"thinkingLevel": "MINIMAL"}));
    assert_eq!(effort("gemini-2.5-flash", "medium"), thoughts("thinkingBudget", json!(8192)));
    assert_eq!(effort("gemini-2.5-flash", "plenty"), thoughts("thinkingBudget", json!(-1)));
    assert_eq!(effort("gemini-2.5-flash", "none"), json!({"thinkingBudget": 0}));
    assert_eq!(effort("gemini-2.0-flash", "none"), Value::Null);
    assert_eq!(effort("gemini-2.5-pro", "none"), json!({"includeThoughts": false, "thinkingBudget": 128}));
    for name in ["gemini-3-flash", "gemini-2.5-flash"] {
        assert_eq!(config(name, Reasoning::BudgetTokens(9)), thoughts("thinkingBudget", json!(9)));
    }
}

#[test]
fn a_users_fields_stand_beside_ours_and_win() {
    let extra = json!({
        "generationConfig": {"temperature": 0.1, "topK": 5},
        "toolConfig": {"includeServerSideToolInvocations": true},
        "tools": [{"googleSearch": {}}],
        "safetySettings": [],
        "contents": "ours alone",
    });
    let settings = Settings {
        temperature: Some(0.5),
        max_tokens: Some(9),
        extra: extra.as_object().unwrap().clone(),
        ..Settings::default()
    };
    let request = Request {
        settings: Arc::new(settings),
        tools: tools(),
        tool_choice: ToolChoice::Required,
        ..Request::user("Hi")
    };
    let sent = body(&beta("gemini-3-flash"), &request, &Context::detached());
    assert_eq!(sent["generationConfig"], json!({"temperature": 0.1, "topK": 5, "maxOutputTokens": 9}));
    assert_eq!(
        sent["toolConfig"],
        json!({"includeServerSideToolInvocations": true, "functionCallingConfig": {"mode": "ANY"}})
    );
    assert_eq!(sent["tools"][0]["functionDeclarations"][0]["name"], "read");
    assert_eq!(sent["tools"][1], json!({"googleSearch": {}}));
    assert_eq!(sent["safetySettings"], json!([]));
    assert_eq!(sent["contents"], json!([{"role": "user", "parts": [{"text": "Hi"}]}]));
    // Without tools of the agent, the user's stand alone.
    let sent =
        body(&beta("gemini-3-flash"), &Request { tools: Arc::default(), ..request }, &Context::detached());
    assert_eq!(sent["tools"], json!([{"googleSearch": {}}]));
    assert_eq!(sent["toolConfig"], json!({"includeServerSideToolInvocations": true}));
}

/// The format takes 31 bits of a seed; the same seed stays the same.
#[test]
fn a_large_seed_fits() {
    let seed = |seed| {
        let settings = Settings { seed: Some(seed), ..Settings::default() };
        let request = Request { settings: Arc::new(settings), ..Request::user("Hi") };
        body(&beta("gemini-3-flash"), &request, &Context::detached())["generationConfig"]["seed"].clone()
    };
    assert_eq!(seed(7), 7);
    assert_eq!(seed(u64::from(u32::MAX)), i32::MAX);
}

#[test]
fn schemas_compose_with_tools_since_gemini_3() {
    let of = |name: &str| beta(name).info().structured_output;
    assert_eq!(of("gemini-2.5-flash"), StructuredOutput::NativeWithoutTools);
    assert_eq!(of("models/gemini-2.0-flash"), StructuredOutput::NativeWithoutTools);
    assert_eq!(of("gemini-3-pro"), StructuredOutput::Native);
    assert_eq!(of("gemini-flash-latest"), StructuredOutput::Native);
}

#[test]
fn googles_errors_say_what_helps() {
    let place = Place {
        provider: "google".into(),
        model: "gemini-3-flash".into(),
        base_url: "https://generativelanguage.googleapis.com/v1beta".into(),
        key_source: "GEMINI_API_KEY".into(),
        key: None,
    };
    let error = |status: u16, header: Option<u64>, code: &str, message: &str, details: Value| {
        let error = json!({"code": status, "message": message, "status": code, "details": details});
        // Google wraps an error into a list where it streams without `alt=sse`.
        let bodies = [json!({"error": error}), json!([{"error": error}])];
        let [one, list] = bodies.map(|body| {
            let body = serde_json::to_vec_pretty(&body).unwrap();
            of_response(&place, status, &body, header.map(Duration::from_secs), None)
        });
        assert_eq!(one, list);
        one
    };
    let detail = |name: &str, rest: Value| {
        let mut detail = json!({"@type": format!("type.googleapis.com/google.rpc.{name}")});
        detail.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        detail
    };
    let quota = |id: &str, value: &str| {
        detail("QuotaFailure", json!({"violations": [{"quotaId": id, "quotaValue": value}]}))
    };
    let retry = |delay: &str| detail("RetryInfo", json!({"retryDelay": delay}));
    let spent = "You exceeded your current quota, please check your plan and billing details.";

    let minute = json!([quota("GenerateRequestsPerMinutePerProjectPerModel", "5"), retry("20.5s")]);
    let limited = error(429, None, "RESOURCE_EXHAUSTED", spent, minute.clone());
    assert_eq!(limited.kind(), ErrorKind::RateLimited);
    assert!(limited.is_retryable());
    assert_eq!(limited.retry_after(), Some(Duration::from_millis(20_500)));
    assert!(limited.message().contains("RESOURCE_EXHAUSTED"), "{limited}");
    // The header is nearer to who refused.
    let header = error(429, Some(3), "RESOURCE_EXHAUSTED", spent, minute);
    assert_eq!(header.retry_after(), Some(Duration::from_secs(3)));

    for lasting in [quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "50"), quota("PerMinute", "0")]
    {
        let error = error(429, None, "RESOURCE_EXHAUSTED", spent, json!([lasting, retry("36s")]));
        assert_eq!(error.kind(), ErrorKind::QuotaExhausted);
        assert!(!error.is_retryable() && error.retry_after().is_none());
    }
    let wrong = detail("ErrorInfo", json!({"reason": "API_KEY_INVALID", "domain": "googleapis.com"}));
    let wrong = error(400, None, "INVALID_ARGUMENT", "API key not valid.", json!([wrong]));
    assert_eq!(wrong.kind(), ErrorKind::Unauthorized);
    assert!(wrong.message().contains("GEMINI_API_KEY"), "{wrong}");

    let long = "The input token count (3475108) exceeds the maximum number of tokens allowed (1048576).";
    for (status, code, message, kind) in [
        (400, "INVALID_ARGUMENT", long, ErrorKind::ContextTooLong),
        (400, "INVALID_ARGUMENT", "Unknown name \"x\"", ErrorKind::InvalidRequest),
        (403, "PERMISSION_DENIED", "no", ErrorKind::Forbidden),
        (404, "NOT_FOUND", "no", ErrorKind::NotFound),
        (429, "RESOURCE_EXHAUSTED", "no", ErrorKind::RateLimited),
        (500, "INTERNAL", "no", ErrorKind::ProviderError),
        (503, "UNAVAILABLE", "no", ErrorKind::Overloaded),
        (504, "DEADLINE_EXCEEDED", "no", ErrorKind::ProviderError),
    ] {
        assert_eq!(error(status, None, code, message, json!([])).kind(), kind, "{status} {message}");
    }
    // What is no duration is none.
    for delay in ["", "s", "-1s", "NaNs", "1e400s", "soon", "3"] {
        let error = error(429, None, "RESOURCE_EXHAUSTED", "no", json!([retry(delay)]));
        assert_eq!(error.retry_after(), None, "{delay}");
    }
}

async fn start(turns: impl IntoIterator<Item = Turn>) -> FakeProvider {
    FakeProvider::start(Script::new(turns)).await.unwrap()
}

fn refusals(provider: &FakeProvider) -> Vec<String> {
    provider.requests().into_iter().filter_map(|request| request.refusal).collect()
}

/// A run of three models: the history of others is taken, and what Gemini signed goes back to it.
#[tokio::test]
async fn a_history_of_several_models_is_taken_by_each() {
    let call = |path: &str| FakePart::call("read", json!({"path": path}));
    let turns = || {
        [
            Turn::new([FakePart::reasoning("Two files."), FakePart::text("Reading."), call("a"), call("b")]),
            Turn::new([FakePart::reasoning("One more."), call("c")]),
            Turn::new([FakePart::reasoning("Enough."), FakePart::text("All are empty.")]).chunks(3),
            Turn::text("Nothing to add."),
        ]
    };
    for first in [Wire::OpenAi, Wire::Anthropic, Wire::Gemini] {
        let (other, gemini) = (start(turns()).await, start(turns()).await);
        let models = [(&other, first), (&gemini, Wire::Gemini), (&gemini, Wire::Gemini), (&other, first)];
        let context = Context::detached();
        let mut history = vec![Message::user("Read all files.")];
        let mut texts = Vec::new();
        for (provider, wire) in models {
            let model = ProviderModel::new(config(provider, wire), client()).unwrap();
            let settings = Settings { reasoning: Some(Reasoning::BudgetTokens(2048)), ..Settings::default() };
            let request = Request {
                history: Arc::new(history.clone()),
                tools: tools(),
                settings: Arc::new(settings),
                ..Request::default()
            };
            let reply = collect(model.stream(request, context.clone())).await;
            let reply = reply.unwrap_or_else(|error| panic!("{first:?} then {wire:?}: {error}"));
            history.push(reply.message.clone());
            history.extend(reply.message.tool_calls().map(|call| Message::tool_result(call, "", false)));
            if reply.message.tool_calls().next().is_none() {
                history.push(Message::user("And?"));
            }
            texts.push(reply.text());
        }
        assert_eq!(texts, ["Reading.", "", "All are empty.", "Nothing to add."], "{first:?}");
        for provider in [other, gemini] {
            assert_eq!(refusals(&provider), Vec::<String>::new(), "{first:?}");
            provider.shutdown().await;
        }
    }
}

/// What is said in words under the address of `v1` is still a conversation the strict server takes.
#[tokio::test]
async fn v1_takes_what_is_sent_to_it() {
    let provider = start([Turn::new([FakePart::text("1")]), Turn::text("2")]).await;
    let mut config = config(&provider, Wire::Gemini);
    config.base_url = config.base_url.replace("/v1beta", "/v1");
    let model = ProviderModel::new(config, client()).unwrap();
    let schema = OutputSchema { name: "n".into(), schema: json!({"type": "integer"}) };
    let mut request = Request {
        instructions: Some("Be brief.".into()),
        output: Some(Arc::new(schema)),
        settings: Arc::new(Settings { temperature: Some(0.0), seed: Some(7), ..Settings::default() }),
        ..Request::user("n?")
    };
    let reply = collect(model.stream(request.clone(), Context::detached())).await.unwrap();
    let history = vec![Message::user("n?"), reply.message, Message::user("And then?")];
    request.history = Arc::new(history);
    assert_eq!(collect(model.stream(request, Context::detached())).await.unwrap().text(), "2");
    assert_eq!(refusals(&provider), Vec::<String>::new());
    assert!(provider.requests().iter().all(|request| request.path.starts_with("/v1/")));
    provider.shutdown().await;
}
