//! Requests as they are sent: each case in every format against `<format>/requests/<case>.json`.

use std::sync::Arc;

use ambidex_core::message::{Arguments, Image, ImageSource, Message, Part, ProviderState, ToolCall};
use ambidex_core::model::{OutputSchema, Reasoning, Settings, ToolChoice};
use ambidex_core::{Context, Request, Role, ToolSpec};
use ambidex_http::Client;
use ambidex_models::{Format, ModelConfig, ProviderModel};
use serde_json::{Value, json};

use crate::wire::{check, folder};

const FORMATS: &[Format] =
    &[Format::OpenAiChat, Format::OpenAiResponses, Format::Anthropic, Format::Gemini, Format::Ollama];

fn model(format: Format) -> ProviderModel {
    let config = ModelConfig::new(format, "test", "model-1", "https://api.example.com");
    ProviderModel::new(config, client()).unwrap()
}

pub fn client() -> Client {
    Client::builder().build().unwrap()
}

pub fn body(model: &ProviderModel, request: &Request, context: &Context) -> Value {
    let body = model.encode(request, context).unwrap().concat();
    serde_json::from_slice(&body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
}

/// What is sent, or why the format cannot say it.
fn body_or_error(model: &ProviderModel, request: &Request) -> Value {
    match model.encode(request, &Context::detached()) {
        Ok(_) => body(model, request, &Context::detached()),
        Err(error) => json!({"error": error}),
    }
}

pub fn request(messages: Vec<Arc<Message>>) -> Request {
    Request { history: Arc::new(messages), ..Request::default() }
}

pub fn tools() -> Arc<[Arc<ToolSpec>]> {
    let mut read = ToolSpec::new("read", "Reads a file.");
    read.input = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
    Arc::from([Arc::new(read), Arc::new(ToolSpec::new("list", ""))])
}

fn call(id: &str, arguments: Arguments) -> ToolCall {
    ToolCall { id: id.into(), name: "read".into(), arguments, state: None }
}

fn state(format: &str, json: &str) -> ProviderState {
    ProviderState { format: format.into(), json: json.into() }
}

fn settings(settings: Settings) -> Request {
    Request { settings: Arc::new(settings), tools: tools(), ..Request::user("Hi") }
}

fn output(schema: Value) -> Request {
    Request { output: Some(Arc::new(OutputSchema { name: "answer".into(), schema })), ..Request::user("Hi") }
}

fn conversation() -> Request {
    let good = call("call_1", Arguments::Json(json!({"path": "ä\"\n"})));
    let bad = call("call_2", Arguments::parse("{\"path\": \"cut"));
    let assistant = vec![Part::text("Reading."), Part::ToolCall(good.clone()), Part::ToolCall(bad.clone())];
    Request {
        instructions: Some("Be \"brief\".".into()),
        tools: tools(),
        ..request(vec![
            Message::user("Read two files."),
            Message::new(Role::Assistant, assistant),
            Message::tool_result(&good, "text of a", false),
            Message::tool_result(&bad, "", true),
            Message::user("And be quick."),
            Message::assistant("Done."),
            Message::system("Now in French."),
            Message::user("Again."),
        ])
    }
}

fn provider_parts() -> Request {
    let mut signed = call("call_1", Arguments::Json(json!({})));
    signed.state = Some(state("openai-chat", r#"{"google":{"thought_signature":"c2ln"}}"#));
    let reasoning = |text: &str, state| Part::Reasoning { text: text.into(), state };
    request(vec![
        Message::user("Think."),
        Message::new(
            Role::Assistant,
            vec![
                reasoning("of Anthropic", Some(state("anthropic", "\"c2ln+/==\""))),
                Part::Opaque {
                    state: state("anthropic", r#"{"type":"redacted_thinking","data":"EmwK/8="}"#),
                },
                reasoning("of a chat server", Some(state("openai-chat", "\"reasoning_content\""))),
                reasoning(
                    "details",
                    Some(state("openai-chat", r#"[{"type":"reasoning.text","text":"details"}]"#)),
                ),
                reasoning("of nobody", None),
                Part::ToolCall(signed.clone()),
            ],
        ),
        Message::tool_result(&signed, "ok", false),
        Message::new(
            Role::Assistant,
            vec![reasoning("without a call", Some(state("openai-chat", "\"reasoning_content\"")))],
        ),
        Message::user("Go on."),
        Message::new(Role::Assistant, vec![Part::Refusal { text: "I cannot.".into() }]),
        Message::user("Why?"),
    ])
}

/// Ids of other providers: characters that one refuses, and none at all.
fn foreign_ids() -> Request {
    let calls = ["functions.read:0", "", "call_1"].map(|id| call(id, Arguments::Json(json!({}))));
    let mut messages = vec![
        Message::user("Read."),
        Message::new(Role::Assistant, calls.iter().cloned().map(Part::ToolCall).collect()),
    ];
    messages.extend(calls.iter().map(|call| Message::tool_result(call, "ok", false)));
    request(messages)
}

fn images() -> Request {
    let image = |source| Part::Image(Image { media_type: "image/png".into(), source });
    let data = image(ImageSource::Base64("aGk=".into()));
    let url = image(ImageSource::Url("https://example.com/a.png".into()));
    request(vec![Message::new(Role::User, vec![Part::text("What is this?"), data, url])])
}

fn image_data() -> Request {
    let image =
        Part::Image(Image { media_type: "image/png".into(), source: ImageSource::Base64("aGk=".into()) });
    request(vec![Message::new(Role::User, vec![Part::text("What "), image, Part::text("is this?")])])
}

fn cases() -> Vec<(&'static str, Request)> {
    let closed =
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]});
    let optional = json!({"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "string"}}, "required": ["n"]});
    let open = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let list = json!({"type": "array", "items": {"type": "string", "maxLength": 3}});
    let choice = |tool_choice| Request { tool_choice, tools: tools(), ..Request::user("Hi") };
    let think = |reasoning| Settings { reasoning: Some(reasoning), ..Settings::default() };
    let extra = json!({"temperature": 0.1, "top_k": 5, "model": "other", "stream": false, "messages": []});
    vec![
        ("text", Request::user("Hi")),
        ("conversation", conversation()),
        ("provider_parts", provider_parts()),
        ("foreign_ids", foreign_ids()),
        ("images", images()),
        ("image_data", image_data()),
        ("tool_choice_none", choice(ToolChoice::None)),
        ("tool_choice_required", choice(ToolChoice::Required)),
        ("tool_choice_named", choice(ToolChoice::Tool("read".into()))),
        ("output_strict", output(closed)),
        ("output_optional_property", output(optional)),
        ("output_open_map", output(open)),
        ("output_list", output(list)),
        ("reasoning_effort", settings(think(Reasoning::Effort("high".into())))),
        ("reasoning_budget", settings(think(Reasoning::BudgetTokens(4096)))),
        ("reasoning_none", settings(think(Reasoning::Effort("none".into())))),
        (
            "reasoning_beside_a_forced_tool",
            Request {
                tool_choice: ToolChoice::Required,
                ..settings(think(Reasoning::Effort("high".into())))
            },
        ),
        (
            "settings",
            settings(Settings {
                max_tokens: Some(100),
                temperature: Some(0.5),
                top_p: Some(0.9),
                seed: Some(7),
                parallel_tool_calls: Some(false),
                prompt_cache: Some(false),
                ..Settings::default()
            }),
        ),
        ("stop_sequences", settings(Settings { stop_sequences: vec!["END".into()], ..Settings::default() })),
        (
            "extra_fields_win",
            settings(Settings {
                temperature: Some(0.5),
                extra: extra.as_object().unwrap().clone(),
                ..Settings::default()
            }),
        ),
        (
            "prompt_cache",
            Request {
                settings: Arc::new(Settings { prompt_cache: Some(true), ..Settings::default() }),
                instructions: Some("Long.".into()),
                ..Request::user("Hi")
            },
        ),
    ]
}

#[test]
fn every_request_is_written_as_its_file_says() {
    for &format in FORMATS {
        let model = model(format);
        for (name, request) in cases() {
            let file = folder(&format.to_string()).join("requests").join(format!("{name}.json"));
            check(&file, &body_or_error(&model, &request));
        }
    }
}

/// Histories that grow by any steps give the bytes of one that was there at once, and each message is
/// encoded once.
#[test]
fn a_growing_history_is_encoded_once_per_message() {
    for &format in FORMATS {
        let model = model(format);
        for case in [conversation(), provider_parts()] {
            let whole = body(&model, &case, &Context::detached());
            for step in 1..=case.history.len() {
                let context = Context::detached();
                let mut length = 0;
                while length < case.history.len() {
                    length = (length + step).min(case.history.len());
                    let history = Arc::new(case.history.get(..length).unwrap().to_vec());
                    let found = body(&model, &Request { history, ..case.clone() }, &context);
                    if length == case.history.len() {
                        assert_eq!(found, whole, "{format} in steps of {step}");
                    }
                }
                assert_eq!(context.wire().encoded(), case.history.len() as u64);
            }
        }
    }
}

#[test]
fn a_frame_follows_the_request_it_is_for() {
    for &format in FORMATS {
        let model = model(format);
        for round in 0..2 {
            for (name, request) in cases() {
                let alone = body_or_error(&self::model(format), &request);
                assert_eq!(body_or_error(&model, &request), alone, "{format} {name}, round {round}");
            }
        }
    }
}

#[test]
fn the_limit_of_tokens_has_the_name_its_server_knows() {
    let request = Request {
        settings: Arc::new(Settings { max_tokens: Some(9), ..Settings::default() }),
        ..Request::user("Hi")
    };
    let field = |base: &str, forced: Option<bool>| {
        let mut config = ModelConfig::new(Format::OpenAiChat, "p", "m", base);
        config.max_completion_tokens = forced;
        let body = body(&ProviderModel::new(config, client()).unwrap(), &request, &Context::detached());
        (body["max_tokens"].as_u64(), body["max_completion_tokens"].as_u64())
    };
    assert_eq!(field("https://api.openai.com/v1", None), (None, Some(9)));
    assert_eq!(field("http://127.0.0.1:8080", None), (Some(9), None));
    assert_eq!(field("https://x.openai.azure.com/v1?api-version=1", Some(true)), (None, Some(9)));
}

/// Ollama's options are one object, where ours and the user's meet.
#[test]
fn options_of_the_user_are_laid_over_ours() {
    let mut config = ModelConfig::new(Format::Ollama, "ollama", "m", "http://127.0.0.1:11434/");
    config.context = Some(32_768);
    let model = ProviderModel::new(config, client()).unwrap();
    let extra = json!({"options": {"num_gpu": 1, "temperature": 0.1}, "keep_alive": "10m", "truncate": true});
    let settings = Settings {
        max_tokens: Some(9),
        temperature: Some(0.9),
        extra: extra.as_object().unwrap().clone(),
        ..Settings::default()
    };
    let request = Request { settings: Arc::new(settings), ..Request::user("Hi") };
    let body = body(&model, &request, &Context::detached());
    assert_eq!(
        body["options"],
        json!({"num_ctx": 32_768, "num_predict": 9, "temperature": 0.1, "num_gpu": 1})
    );
    assert_eq!((&body["keep_alive"], &body["truncate"]), (&json!("10m"), &json!(true)));
    // Without either there is no such field, and the server's own context is left alone.
    let plain = self::body(&self::model(Format::Ollama), &Request::user("Hi"), &Context::detached());
    assert_eq!(plain.get("options"), None);
}

#[test]
fn ollama_takes_its_address_with_and_without_the_path() {
    for base in ["http://h:11434", "http://h:11434/", "http://h:11434/api"] {
        let config = ModelConfig::new(Format::Ollama, "ollama", "m", base);
        let model = ProviderModel::new(config, client()).unwrap();
        assert!(format!("{model:?}").contains("http://h:11434/api/chat"), "{model:?}");
    }
}

#[test]
fn an_empty_history_is_refused_where_the_format_needs_a_message() {
    let request = Request { instructions: Some("Say hello.".into()), ..Request::default() };
    for format in [Format::OpenAiResponses, Format::Anthropic, Format::Gemini, Format::Ollama] {
        let error = model(format).encode(&request, &Context::detached()).unwrap_err();
        assert_eq!(error.code(), "invalid_request");
    }
    let chat = body(&model(Format::OpenAiChat), &request, &Context::detached());
    assert_eq!(chat["messages"], json!([{"role": "system", "content": "Say hello."}]));
}

#[test]
fn a_wrong_address_or_key_is_a_config_error_that_names_the_provider() {
    let new = |base: &str, key: Option<&str>| {
        let mut config = ModelConfig::new(Format::OpenAiChat, "acme", "m", base);
        config.key = key.map(Into::into);
        ProviderModel::new(config, client()).unwrap_err()
    };
    for error in
        [new("localhost:8080", None), new("ftp://x/v1", None), new("https://api.example.com", Some("a\nb"))]
    {
        assert_eq!(error.code(), "config_invalid");
        assert!(error.message().contains("acme"), "{error}");
    }
    assert!(!new("https://api.example.com", Some("sec\nret")).to_string().contains("sec"));
}
