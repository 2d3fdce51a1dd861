//! Lists of models, as each vendor writes them.

use ambidex_fake_provider::{FakeProvider, Script};
use ambidex_models::offered::{OfferedModel, read};
use ambidex_models::{ModelConfig, ProviderModel};
use serde_json::{Value, json};

use crate::faults::{WIRES, config};
use crate::requests::client;

fn one(body: Value) -> OfferedModel {
    let models = read(body.to_string().as_bytes()).unwrap();
    assert_eq!(models.len(), 1, "{models:?}");
    models.into_iter().next().unwrap()
}

fn model(id: &str, context: Option<u64>, about: Option<&str>) -> OfferedModel {
    OfferedModel { id: id.into(), context, about: about.map(str::to_owned) }
}

#[test]
fn every_shape_of_a_list_is_read() {
    let openai = json!({"object": "list", "data": [{"id": "gpt", "object": "model", "owned_by": "openai"}]});
    assert_eq!(one(openai), model("gpt", None, None));
    let anthropic =
        json!({"data": [{"type": "model", "id": "claude", "display_name": "Claude"}], "has_more": false});
    assert_eq!(one(anthropic), model("claude", None, Some("Claude")));
    let gemini = json!({"models": [
        {"name": "models/gemini", "displayName": "Gemini", "inputTokenLimit": 1_048_576, "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]},
    ]});
    assert_eq!(one(gemini), model("gemini", Some(1_048_576), Some("Gemini")));
    let ollama = json!({"models": [
        {"name": "qwen3:8b", "model": "qwen3:8b", "modified_at": "2026-08-21T18:48:22Z", "size": 5_225_388_164_u64,
         "digest": "500a1f067a9f", "capabilities": ["completion", "tools", "thinking"],
         "details": {"parent_model": "", "family": "qwen3", "parameter_size": "8.2B", "quantization_level": "Q4_K_M"}},
    ]});
    assert_eq!(one(ollama), model("qwen3:8b", None, Some("8.2B Q4_K_M")));
    let openrouter = json!({"data": [{"id": "a/b", "name": "A: B", "context_length": 4096}]});
    assert_eq!(one(openrouter), model("a/b", Some(4096), Some("A: B")));
    assert_eq!(one(json!([{"id": "a/b", "context_length": 0}])), model("a/b", None, None));
    assert_eq!(one(json!({"data": [{"id": "m", "context_window": 131_072}]})).context, Some(131_072));
    assert_eq!(one(json!({"data": [{"id": "m", "max_model_len": 2048}]})).context, Some(2048));
    assert_eq!(one(json!({"data": [{"id": "m", "max_context_length": 9}, {"id": "m"}]})).context, Some(9));
    for other in ["{}", "null", "\"models\"", "{\"data\": {}}", "<html>", ""] {
        assert_eq!(read(other.as_bytes()).unwrap_err().code(), "bad_upstream", "{other:?}");
    }
}

#[tokio::test]
async fn a_provider_of_each_format_is_asked_for_its_models() {
    for &wire in WIRES {
        let mut script = Script::text("unused");
        script.models = vec!["zwei".into(), "eins".into()];
        let provider = FakeProvider::start(script).await.unwrap();
        let model = ProviderModel::new(config(&provider, wire), client()).unwrap();
        let ids: Vec<_> = model.offered().await.unwrap().into_iter().map(|model| model.id).collect();
        assert_eq!(ids, ["eins", "zwei"], "{wire:?}");
        assert_eq!(provider.requests()[0].method, "GET");
        provider.shutdown().await;
        let error = model.offered().await.unwrap_err();
        assert_eq!((error.code(), error.provider()), ("connect_failed", Some("fake")), "{wire:?}");
    }
}

#[tokio::test]
async fn a_server_without_a_list_or_a_key_says_so() {
    let provider = FakeProvider::start(Script::text("unused")).await.unwrap();
    let ask = async |change: fn(&mut ModelConfig)| {
        let mut config = config(&provider, WIRES[0]);
        change(&mut config);
        ProviderModel::new(config, client()).unwrap().offered().await
    };
    assert_eq!(ask(|config| config.key = None).await.unwrap_err().code(), "unauthorized");
    let error = ask(|config| config.base_url.push_str("/nowhere")).await.unwrap_err();
    assert_eq!(error.code(), "not_found");
    assert!(error.message().contains("no list of models"), "{error}");
    provider.shutdown().await;
}
