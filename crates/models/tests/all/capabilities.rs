//! What is known to be impossible fails before anything is sent.

use std::sync::Arc;

use ambidex_core::message::{Image, ImageSource, Message, Part};
use ambidex_core::model::{Capabilities, Settings, ToolChoice};
use ambidex_core::usage::Price;
use ambidex_core::{Context, Model, Request, Role, ToolSpec};
use ambidex_fake_provider::{FakeProvider, Script};
use ambidex_models::{Format, ModelConfig, ProviderModel, collect, known_models};

use crate::requests::client;

fn tools() -> Arc<[Arc<ToolSpec>]> {
    Arc::from([Arc::new(ToolSpec::new("read", ""))])
}

fn image() -> Request {
    let image = Image { media_type: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
    let seen = Message::new(Role::User, vec![Part::Image(image), Part::text("What is it?")]);
    Request {
        history: Arc::new(vec![seen, Message::assistant("A cat."), Message::user("Sure?")]),
        ..Request::default()
    }
}

#[tokio::test]
async fn what_a_model_cannot_do_is_refused_before_it_is_sent() {
    let provider = FakeProvider::start(Script::text("fine")).await.unwrap();
    let model = |capabilities| {
        let mut config = ModelConfig::new(Format::OpenAiChat, "fake", "fake-1", provider.base_url_openai());
        config.key = Some("sk-fake".into());
        config.capabilities = Some(capabilities);
        ProviderModel::new(config, client()).unwrap()
    };
    let none = Capabilities {
        vision: Some(false),
        tools: Some(false),
        parallel_tool_calls: Some(false),
        ..Capabilities::default()
    };
    let with_tools = Request { tools: tools(), ..Request::user("Hi") };
    let parallel = Request {
        settings: Arc::new(Settings { parallel_tool_calls: Some(true), ..Settings::default() }),
        ..with_tools.clone()
    };
    let no_tools = Request { tool_choice: ToolChoice::None, ..with_tools.clone() };
    let one_at_a_time = Capabilities { tools: Some(true), ..none };
    for (capabilities, request, word) in [
        (none, image(), "sees no images"),
        (none, with_tools.clone(), "calls no tools"),
        (one_at_a_time, parallel.clone(), "one tool at a time"),
    ] {
        let model = model(capabilities);
        assert_eq!(model.info().capabilities, capabilities);
        let error = collect(model.stream(request, Context::detached())).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("unsupported", false), "{error}");
        assert!(error.message().contains(word) && error.message().contains("`fake-1`"), "{error}");
        assert_eq!(error.provider(), Some("fake"));
    }
    assert_eq!(provider.requests().len(), 0);
    // Text, and tools that are only in the definition, need neither; and the unknown is tried.
    for (capabilities, request) in [
        (none, Request::user("Hi")),
        (none, no_tools),
        (Capabilities::default(), image()),
        (Capabilities::default(), parallel),
        (one_at_a_time, with_tools),
    ] {
        let reply = collect(model(capabilities).stream(request, Context::detached())).await.unwrap();
        assert_eq!(reply.text(), "fine");
    }
    assert_eq!(provider.requests().len(), 5);
    provider.shutdown().await;
}

#[test]
fn known_models_are_known_at_their_vendor_and_the_users_word_wins() {
    let info = |base: &str, model: &str, change: fn(&mut ModelConfig)| {
        let mut config = ModelConfig::new(Format::Anthropic, "p", model, base);
        change(&mut config);
        ProviderModel::new(config, client()).unwrap().info().clone()
    };
    let known = info("https://api.anthropic.com", "claude-haiku-4-5-20251001", |_| {});
    assert_eq!(known.price, Some(Price { input: 1.0, output: 5.0, cached_input: Some(0.1) }));
    assert_eq!((known.context, known.capabilities.max_output), (Some(200_000), Some(64_000)));
    let own = info("https://api.anthropic.com", "claude-haiku-4-5", |config| {
        config.price = Some(Price { input: 3.0, output: 4.0, cached_input: None });
        config.context = Some(1000);
        config.capabilities = Some(Capabilities { vision: Some(false), ..Capabilities::default() });
    });
    assert_eq!((own.price.map(|price| price.input), own.context), (Some(3.0), Some(1000)));
    assert_eq!((own.capabilities.vision, own.capabilities.tools), (Some(false), Some(true)));
    for (base, model) in [
        ("https://gateway.example.com", "claude-haiku-4-5"),
        ("https://api.anthropic.com", "claude-haiku-4-50"),
        ("https://api.anthropic.com", "claude-opus-5-6"),
    ] {
        let unknown = info(base, model, |_| {});
        assert_eq!((unknown.price, unknown.context), (None, None), "{base} {model}");
        assert_eq!(unknown.capabilities, Capabilities::default());
    }
    let flash = known_models::known("api.deepseek.com", "deepseek-flash").unwrap();
    assert_eq!((flash.capabilities.vision, flash.price), (Some(true), None));
    let pro = known_models::known("API.deepseek.com", "deepseek-v4-pro").unwrap();
    assert_eq!(pro.capabilities.vision, Some(false));
}
