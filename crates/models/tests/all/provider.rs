//! Provider models against the strict fake: conversations, what is told, hanging up, connections.

use std::sync::Arc;

use ambidex_core::message::{Message, Part};
use ambidex_core::model::{OutputSchema, Reasoning, Settings, ToolChoice};
use ambidex_core::usage::Price;
use ambidex_core::{Chunk, Context, Finish, Model, Request};
use ambidex_fake_provider::{FakeProvider, Fault, Part as FakePart, Script, Turn, Usage, When, Wire};
use ambidex_models::{ModelConfig, ProviderModel, Timeouts, collect};
use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::faults::{WIRES, config, request};
use crate::requests::client;

fn model(provider: &FakeProvider, wire: Wire) -> ProviderModel {
    ProviderModel::new(config(provider, wire), client()).unwrap()
}

/// Thinking, parallel calls, their results and a second turn: the strict provider refuses orphans,
/// changed thinking, wrong order and wrong roles.
#[tokio::test]
async fn a_conversation_with_thinking_and_parallel_calls_goes_back_as_it_came() {
    for &wire in WIRES {
        let parts = [
            FakePart::reasoning("I need both files, ä🌍."),
            FakePart::RedactedReasoning("hidden".into()),
            FakePart::text("Reading."),
            FakePart::call("read", json!({"path": "a"})),
            FakePart::call("read", json!({"path": "ü\"\n"})),
            FakePart::call("read", json!("{\"path\": cut")),
        ];
        let usage = Usage { input: 100, output: 20, cached: 60, cache_write: 10, reasoning: 7 };
        let script = Script::new([
            Turn::new(parts).chunks(3).interleaved().usage(usage),
            Turn::text("Both are empty.").chunks(2),
        ]);
        let provider = FakeProvider::start(script).await.unwrap();
        let model = model(&provider, wire);
        let mut request = Request {
            instructions: Some("Be brief.".into()),
            settings: Arc::new(Settings {
                reasoning: Some(Reasoning::BudgetTokens(2048)),
                parallel_tool_calls: Some(true),
                ..Settings::default()
            }),
            ..request()
        };
        let context = Context::detached();
        let reply = collect(model.stream(request.clone(), context.clone())).await.unwrap();
        assert_eq!(reply.finish, Finish::ToolCalls);
        assert_eq!(reply.message.tool_calls().count(), 3);
        assert_eq!(reply.usage.input_tokens, 100, "{wire:?}");
        // Ollama counts nothing but what goes in and out, and gives its replies no id.
        let cached = if wire == Wire::Ollama { 0 } else { 60 };
        assert_eq!((reply.usage.output_tokens, reply.usage.cached_input_tokens), (20, cached));
        // Without a header for it, the reply's own id stands in.
        let id = if wire.request_id_header().is_some() { "req_" } else { "fake" };
        let known = reply.request_id.as_ref().is_some_and(|found| found.starts_with(id));
        assert_eq!(known, wire != Wire::Ollama, "{wire:?}");
        assert_eq!(reply.model.as_deref(), Some("fake-1"));

        let mut history = request.history.to_vec();
        history.push(reply.message.clone());
        history.extend(reply.message.tool_calls().map(|call| Message::tool_result(call, "", false)));
        history.push(Message::user("And?"));
        request.history = Arc::new(history);
        let reply = collect(model.stream(request, context.clone())).await.unwrap();
        assert_eq!(reply.text(), "Both are empty.");
        assert_eq!(context.wire().encoded(), 6);
        let refused: Vec<_> = provider.requests().into_iter().filter_map(|it| it.refusal).collect();
        assert_eq!(refused, Vec::<String>::new());
        provider.shutdown().await;
    }
}

/// Tool choice, output schemas and images as the strict provider accepts them.
#[tokio::test]
async fn every_feature_is_written_as_the_vendor_accepts_it() {
    let schema = |schema| Some(Arc::new(OutputSchema { name: "answer".into(), schema }));
    let object =
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]});
    let nested = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "array", "items": {"type": "object", "properties": {"s": {"type": "string", "maxLength": 9}}}}}});
    let image = ambidex_core::message::Image {
        media_type: "image/png".into(),
        source: ambidex_core::message::ImageSource::Base64("iVBORw0KGgo=".into()),
    };
    let seen = Message::new(ambidex_core::Role::User, vec![Part::Image(image), Part::text("What is it?")]);
    let requests = [
        Request { tool_choice: ToolChoice::None, ..request() },
        Request { tool_choice: ToolChoice::Required, ..request() },
        Request { tool_choice: ToolChoice::Tool("read".into()), ..request() },
        Request { output: schema(object.clone()), ..request() },
        Request { output: schema(object), ..Request::user("n?") },
        Request { output: schema(nested), ..Request::user("n?") },
        Request {
            output: schema(json!({"type": "array", "items": {"type": "string"}})),
            ..Request::user("n?")
        },
        Request {
            output: schema(json!({"type": "object", "additionalProperties": {"type": "integer"}})),
            ..Request::user("n?")
        },
        Request { history: Arc::new(vec![seen]), ..Request::default() },
        Request {
            settings: Arc::new(Settings {
                max_tokens: Some(50),
                temperature: Some(0.0),
                top_p: Some(0.5),
                stop_sequences: vec!["X".into()],
                prompt_cache: Some(true),
                ..Settings::default()
            }),
            instructions: Some("Be brief.".into()),
            ..request()
        },
    ];
    for &wire in WIRES {
        let provider = FakeProvider::start(Script::text("fine")).await.unwrap();
        let model = model(&provider, wire);
        for (number, request) in requests.iter().enumerate() {
            let mut request = request.clone();
            if wire == Wire::Responses {
                // It has none.
                Arc::make_mut(&mut request.settings).stop_sequences.clear();
            }
            let demands = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
            let result = collect(model.stream(request, Context::detached())).await;
            if wire == Wire::Ollama && demands {
                assert_eq!(result.unwrap_err().code(), "unsupported");
                continue;
            }
            assert!(result.is_ok(), "{wire:?} {number}: {result:?}");
        }
        provider.shutdown().await;
    }
}

#[tokio::test]
async fn errors_say_where_to_look_and_never_show_the_key() {
    for &wire in WIRES {
        let ask = async |fault: Fault| {
            let script = Script::text("x").with_fault(fault, When::Always);
            let provider = FakeProvider::start(script).await.unwrap();
            let error =
                collect(model(&provider, wire).stream(request(), Context::detached())).await.unwrap_err();
            provider.shutdown().await;
            error
        };
        let unauthorized = ask(Fault::Status401).await;
        assert!(unauthorized.message().contains("FAKE_API_KEY"), "{unauthorized}");
        assert_eq!(unauthorized.status(), Some(401));
        assert_eq!(unauthorized.request_id().is_some(), wire.request_id_header().is_some());
        let missing = ask(Fault::Status404).await;
        assert!(
            missing.message().contains("`fake-1`") && missing.message().contains("base_url"),
            "{missing}"
        );
        let moved = ask(Fault::Redirect307).await;
        assert!(moved.message().contains("127.0.0.1") && !moved.is_retryable(), "{moved}");
        let limited = ask(Fault::RateLimitHuge).await;
        assert_eq!(limited.retry_after().map(|wait| wait.as_secs()), Some(86400));
        for error in [unauthorized, missing, moved, limited] {
            assert!(!error.to_string().contains("very-secret"), "{error}");
            assert_eq!(error.provider(), Some("fake"));
        }
    }
    let config = ModelConfig::new(ambidex_models::Format::OpenAiChat, "local", "m", "http://127.0.0.1:1/v1");
    let model = ProviderModel::new(config, client()).unwrap();
    let error = collect(model.stream(Request::user("Hi"), Context::detached())).await.unwrap_err();
    assert_eq!(error.code(), "connect_failed");
    assert!(error.message().contains("127.0.0.1:1") && error.message().contains("base_url"), "{error}");
}

#[tokio::test]
async fn a_key_that_the_provider_repeats_is_taken_out() {
    let place = ambidex_models::failure::Place {
        provider: "p".into(),
        model: "m".into(),
        base_url: "http://x".into(),
        key_source: "KEY".into(),
        key: Some("sk-very-secret".into()),
    };
    let body = br#"{"error":{"message":"no such key: sk-very-secret\n\n at line 2","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let error = ambidex_models::failure::of_response(&place, 401, body, None, None);
    assert_eq!(
        error.message(),
        "p: answered 401: `invalid_api_key`: \"no such key: [key] at line 2\"; check the key in KEY"
    );
}

#[tokio::test]
async fn dropping_the_stream_hangs_up() {
    for &wire in WIRES {
        let turn = Turn::text("one two three").chunks(1).fault(Fault::StallSilent, When::Always);
        let provider = FakeProvider::start(Script::new([turn])).await.unwrap();
        let mut stream = model(&provider, wire).stream(request(), Context::detached());
        while let Some(chunk) = stream.next().await {
            if chunk.unwrap().is_content() {
                break;
            }
        }
        drop(stream);
        provider.wait_for_hangup().await;
        provider.wait_for_open_connections(0).await;
        provider.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_poll_or_after_a_cancel() {
    let provider = FakeProvider::start(Script::text("x")).await.unwrap();
    let model = model(&provider, Wire::OpenAi);
    drop(model.stream(request(), Context::detached()));
    let context = Context::detached();
    context.token().cancel();
    let error = collect(model.stream(request(), context)).await.unwrap_err();
    assert_eq!(error.code(), "cancelled");
    assert_eq!(provider.request_count(), 0);
    assert_eq!(provider.census().accepted, 0);
    provider.shutdown().await;
}

#[tokio::test]
async fn a_finished_reply_leaves_its_connection_for_the_next() {
    for &wire in WIRES {
        let provider = FakeProvider::start(Script::text("fine").with_chunks(1)).await.unwrap();
        let model = model(&provider, wire);
        for _ in 0..20 {
            collect(model.stream(request(), Context::detached())).await.unwrap();
        }
        assert_eq!(provider.census().accepted, 1, "{wire:?}");
        provider.shutdown().await;
    }
}

#[tokio::test]
async fn the_price_gives_the_cost_and_missing_counts_are_estimated() {
    let usage = Usage { input: 1_000_000, output: 100_000, cached: 500_000, ..Usage::default() };
    for &wire in WIRES {
        let provider = FakeProvider::start(Script::new([Turn::text("x").usage(usage)])).await.unwrap();
        let mut config = config(&provider, wire);
        config.price = Some(Price { input: 1.0, output: 10.0, cached_input: Some(0.1) });
        let model = ProviderModel::new(config, client()).unwrap();
        let reply = collect(model.stream(request(), Context::detached())).await.unwrap();
        // Ollama does not say what came from a cache.
        let usd = if wire == Wire::Ollama { 2.0 } else { 1.55 };
        assert!((reply.usage.usd.unwrap() - usd).abs() < 1e-9, "{:?}", reply.usage);
        assert!(!reply.usage.estimated);
        provider.shutdown().await;
    }
    let provider = FakeProvider::start(Script::text("twelve bytes")).await.unwrap();
    let mut request = request();
    let extra = json!({"stream_options": {"include_usage": false}});
    request.settings =
        Arc::new(Settings { extra: extra.as_object().unwrap().clone(), ..Settings::default() });
    let reply = collect(model(&provider, Wire::OpenAi).stream(request, Context::detached())).await.unwrap();
    assert!(reply.usage.estimated && reply.usage.output_tokens == 3 && reply.usage.input_tokens > 50);
    provider.shutdown().await;
}

#[tokio::test]
async fn a_call_ends_at_its_total_limit_though_content_flows() {
    let turn = Turn::text("x".repeat(10_000)).chunks(1).pace(std::time::Duration::from_millis(5));
    let provider = FakeProvider::start(Script::new([turn])).await.unwrap();
    let mut config = config(&provider, Wire::OpenAi);
    config.timeouts = Timeouts { total: std::time::Duration::from_millis(300), ..Timeouts::default() };
    let model = ProviderModel::new(config, client()).unwrap();
    let mut stream = model.stream(request(), Context::detached());
    let mut last = None;
    while let Some(item) = stream.next().await {
        last = Some(item);
    }
    assert_eq!(last.unwrap().unwrap_err().code(), "timeout");
    provider.wait_for_hangup().await;
    provider.shutdown().await;
}

#[tokio::test]
async fn the_end_is_the_last_chunk_and_comes_once() {
    for &wire in WIRES {
        let provider = FakeProvider::start(Script::text("fine")).await.unwrap();
        let items: Vec<_> = model(&provider, wire).stream(request(), Context::detached()).collect().await;
        let ends = items.iter().filter(|item| matches!(item, Ok(Chunk::End(_)))).count();
        assert!(ends == 1 && matches!(items.last(), Some(Ok(Chunk::End(Finish::Stop)))), "{items:?}");
        provider.shutdown().await;
    }
}

/// A server that closes a kept connection just as the next request arrives: the request goes out again
/// on a new one, and no retry is spent.
#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_replaced() {
    const REPLY: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"fine\"},\"finish_reason\":\"stop\"}]}\n\n\
                         data: [DONE]\n\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut servers = JoinSet::new();
    // Each connection answers one request, reads a second one and closes.
    servers.spawn(async move {
        let mut requests = 0;
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests += u32::from(read_request(&mut stream).await);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length";
            stream.write_all(format!("{head}: {}\r\n\r\n{REPLY}", REPLY.len()).as_bytes()).await.unwrap();
            requests += u32::from(read_request(&mut stream).await);
        }
        requests
    });
    let config = ModelConfig::new(ambidex_models::Format::OpenAiChat, "local", "m", base);
    let model = ProviderModel::new(config, client()).unwrap();
    for _ in 0..2 {
        let reply = collect(model.stream(Request::user("Hi"), Context::detached())).await.unwrap();
        assert_eq!(reply.text(), "fine");
    }
    drop(model);
    assert_eq!(servers.join_next().await.unwrap().unwrap(), 3);
}

/// Whether a whole request came before the connection's end.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"]}") {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    true
}
