//! The rows of vendors: each habit as it is sent.

use std::collections::HashMap;
use std::sync::Arc;

use ambidex_core::message::{Arguments, Message, Part, ProviderState, ToolCall};
use ambidex_core::model::{OutputSchema, Reasoning, Settings, StructuredOutput, ToolChoice};
use ambidex_core::{Context, Model, Request, Role, ToolSpec};
use ambidex_fake_provider::{FakeProvider, Script};
use ambidex_models::openai_chat::{KeyHeader, ReasoningBack};
use ambidex_models::vendors::{VENDORS, Vendor, named, of};
use ambidex_models::{Format, ModelConfig, ProviderModel, collect};
use serde_json::{Value, json};

use crate::requests::{body, client};

fn vendor(name: &str) -> &'static Vendor {
    named(name).unwrap_or_else(|| panic!("no vendor {name}"))
}

/// A model of this vendor, behind an address that says nothing of it.
fn model(name: &str) -> ProviderModel {
    let config = ModelConfig::new(Format::OpenAiChat, name, "model-1", "http://127.0.0.1:9/v1");
    ProviderModel::new(config, client()).unwrap()
}

fn sent(name: &str, request: &Request) -> Value {
    body(&model(name), request, &Context::detached())
}

fn tools() -> Arc<[Arc<ToolSpec>]> {
    Arc::from(["read", "list"].map(|name| Arc::new(ToolSpec::new(name, ""))))
}

fn settings(settings: Settings) -> Request {
    Request { settings: Arc::new(settings), tools: tools(), ..Request::user("Hi") }
}

fn effort(name: &str, reasoning: Reasoning) -> Value {
    let mut body = sent(name, &settings(Settings { reasoning: Some(reasoning), ..Settings::default() }));
    let fields = body.as_object_mut().unwrap();
    fields.retain(|name, _| {
        ["reasoning_effort", "reasoning", "thinking", "chat_template_kwargs"].contains(&name.as_str())
    });
    body
}

fn word(word: &str) -> Reasoning {
    Reasoning::Effort(word.into())
}

/// The names of the rows for which something holds.
fn those(holds: impl Fn(&Vendor) -> bool) -> Vec<&'static str> {
    VENDORS.iter().filter(|vendor| holds(vendor)).map(|vendor| vendor.name).collect()
}

const ALL: [&str; 11] = [
    "openai",
    "azure",
    "deepseek",
    "openrouter",
    "groq",
    "mistral",
    "together",
    "xai",
    "vllm",
    "llama-cpp",
    "lm-studio",
];

#[test]
fn a_row_is_found_by_host_and_else_by_name() {
    assert_eq!(those(|_| true), ALL);
    for vendor in VENDORS {
        assert_eq!(of(vendor.name, "gateway.example.com"), Some(vendor));
        for host in vendor.hosts {
            let host = format!("{}{host}", if host.starts_with('.') { "my-resource" } else { "" });
            // The host says more than the name.
            assert_eq!(of("mistral", &host.to_uppercase()), Some(vendor), "{host}");
        }
        if let Some(url) = vendor.base_url.filter(|_| !vendor.hosts.is_empty()) {
            assert!(vendor.hosts.iter().any(|host| url.contains(host)), "{url}");
        }
    }
    for name in ["llamacpp", "llama_cpp", "Llama-CPP"] {
        assert_eq!(named(name), Some(vendor("llama-cpp")));
    }
    assert_eq!(of("somebody", "api.groq.com.example.org"), None);
    assert_eq!(of("somebody", "xopenai.azure.com"), None);
}

/// Messages are cached by dialect: what shares a name must be encoded alike.
#[test]
fn rules_of_one_dialect_are_the_same() {
    let mut rules = HashMap::new();
    for vendor in VENDORS {
        let history = vendor.quirks.history;
        assert_eq!(*rules.entry(history.dialect).or_insert(history), history, "{}", vendor.name);
    }
    assert!(rules.len() >= 5);
}

#[test]
fn addresses_keys_and_headers_are_those_of_the_vendor() {
    assert_eq!(those(|vendor| vendor.base_url.is_none()), ["azure"]);
    assert_eq!(those(|vendor| vendor.key_variable.is_none()), ["vllm", "llama-cpp", "lm-studio"]);
    assert_eq!(those(|vendor| vendor.quirks.key == KeyHeader::ApiKey), ["azure"]);
    for (format, path) in [(Format::OpenAiChat, "/chat/completions"), (Format::OpenAiResponses, "/responses")]
    {
        let address = |base: &str| {
            let model = ProviderModel::new(ModelConfig::new(format, "p", "gpt", base), client()).unwrap();
            let shown = format!("{model:?}");
            shown.split("https://").nth(1).unwrap().trim_end_matches(['"', ' ', '}', ')']).to_owned()
        };
        assert_eq!(address("https://r.openai.azure.com"), format!("r.openai.azure.com/openai/v1{path}"));
        assert_eq!(address("https://api.openai.com"), format!("api.openai.com/v1{path}"));
    }
}

/// The key of Azure in its own header, and the version behind the path.
#[tokio::test]
async fn azure_gets_its_key_and_its_version_where_it_wants_them() {
    let provider = FakeProvider::start(Script::text("fine")).await.unwrap();
    let base = format!("{}?api-version=2024-10-21", provider.base_url_openai());
    let mut config = ModelConfig::new(Format::OpenAiChat, "azure", "gpt", base);
    config.key = Some("sk-azure".into());
    let model = ProviderModel::new(config, client()).unwrap();
    // The fake is not Azure: it asks for a bearer.
    let error = collect(model.stream(Request::user("Hi"), Context::detached())).await.unwrap_err();
    assert_eq!(error.code(), "unauthorized");
    let seen = &provider.requests()[0];
    assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some("sk-azure"), None));
    assert_eq!(seen.path, "/v1/chat/completions?api-version=2024-10-21");
    provider.shutdown().await;
}

#[test]
fn the_limit_of_tokens_the_seed_and_the_wish_for_usage_have_the_names_the_vendor_knows() {
    let request = settings(Settings { max_tokens: Some(9), seed: Some(7), ..Settings::default() });
    let has = |name: &str, field: &str| sent(name, &request).get(field).is_some();
    let having = |field: &str| ALL.into_iter().filter(|name| has(name, field)).collect::<Vec<_>>();
    assert_eq!(having("max_completion_tokens"), ["openai", "azure", "groq", "xai"]);
    assert_eq!(having("max_tokens").len(), ALL.len() - 4);
    assert_eq!(having("random_seed"), ["mistral"]);
    assert_eq!(having("seed").len(), ALL.len() - 1);
    let without: Vec<_> = ALL.into_iter().filter(|name| !has(name, "stream_options")).collect();
    assert_eq!(without, ["mistral", "together"]);
}

#[test]
fn parallel_calls_are_spoken_of_where_the_vendor_listens() {
    let request = settings(Settings { parallel_tool_calls: Some(false), ..Settings::default() });
    let silent: Vec<_> =
        ALL.into_iter().filter(|name| sent(name, &request).get("parallel_tool_calls").is_none()).collect();
    assert_eq!(silent, ["deepseek", "together", "lm-studio"]);
}

#[test]
fn one_tool_is_demanded_in_words_where_objects_are_refused() {
    let request =
        Request { tool_choice: ToolChoice::Tool("list".into()), tools: tools(), ..Request::user("Hi") };
    for name in ALL {
        let body = sent(name, &request);
        let offered: Vec<_> =
            body["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].clone()).collect();
        if ["llama-cpp", "lm-studio"].contains(&name) {
            assert_eq!((&body["tool_choice"], offered), (&json!("required"), vec![json!("list")]), "{name}");
        } else {
            assert_eq!(body["tool_choice"]["function"]["name"], "list", "{name}");
            assert_eq!(offered.len(), 2);
        }
    }
}

#[test]
fn output_of_a_schema_is_asked_for_as_the_vendor_can() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let output = Some(Arc::new(OutputSchema { name: "answer".into(), schema }));
    let request = Request { output, ..Request::user("Hi") };
    for name in ALL {
        let body = sent(name, &request);
        let kind = body["response_format"]["type"].as_str().unwrap();
        let told = body["messages"][0]["content"].as_str().unwrap().contains("JSON Schema");
        let expected = if name == "deepseek" { ("json_object", true) } else { ("json_schema", false) };
        assert_eq!((kind, told), expected, "{name}");
        // Where the two do not go together, an output tool takes the schema's place beside tools.
        let beside = model(name).info().structured_output;
        let not = ["deepseek", "groq", "vllm", "llama-cpp", "lm-studio"].contains(&name);
        let expected = if not { StructuredOutput::NativeWithoutTools } else { StructuredOutput::Native };
        assert_eq!(beside, expected, "{name}");
    }
}

#[test]
fn effort_is_said_as_the_vendor_understands_it() {
    let budget = Reasoning::BudgetTokens(4096);
    for (name, reasoning, expected) in [
        ("openai", word("xhigh"), json!({"reasoning_effort": "xhigh"})),
        ("openai", word("none"), json!({"reasoning_effort": "none"})),
        ("azure", word("minimal"), json!({"reasoning_effort": "minimal"})),
        ("deepseek", word("medium"), json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"})),
        ("deepseek", word("minimal"), json!({"thinking": {"type": "enabled"}, "reasoning_effort": "low"})),
        ("deepseek", word("none"), json!({"thinking": {"type": "disabled"}})),
        ("openrouter", word("high"), json!({"reasoning": {"effort": "high"}})),
        ("openrouter", budget.clone(), json!({"reasoning": {"max_tokens": 4096}})),
        ("openrouter", word("none"), json!({"reasoning": {"effort": "none"}})),
        ("groq", word("xhigh"), json!({"reasoning_effort": "high"})),
        ("groq", word("default"), json!({"reasoning_effort": "default"})),
        ("groq", word("none"), json!({"reasoning_effort": "none"})),
        ("mistral", word("xhigh"), json!({"reasoning_effort": "xhigh"})),
        ("together", word("none"), json!({"reasoning": {"enabled": false}})),
        ("together", budget.clone(), json!({"reasoning_effort": "medium"})),
        ("xai", word("minimal"), json!({"reasoning_effort": "low"})),
        ("vllm", word("none"), json!({"chat_template_kwargs": {"enable_thinking": false}})),
        ("llama-cpp", word("max"), json!({"reasoning_effort": "high"})),
        ("lm-studio", word("low"), json!({"reasoning_effort": "low"})),
        ("somebody", word("max"), json!({"reasoning_effort": "max"})),
    ] {
        assert_eq!(effort(name, reasoning.clone()), expected, "{name} {reasoning:?}");
    }
}

fn call(id: &str, state: Option<&str>) -> ToolCall {
    let state = state.map(|json| ProviderState { format: "openai-chat".into(), json: json.into() });
    ToolCall { id: id.into(), name: "read".into(), arguments: Arguments::Json(json!({})), state }
}

fn history(parts: Vec<Part>) -> Request {
    let message = Message::new(Role::Assistant, parts);
    let mut messages = vec![Message::user("Hi"), message.clone()];
    messages.extend(message.tool_calls().map(|call| Message::tool_result(call, "ok", false)));
    messages.push(Message::user("And?"));
    Request { history: Arc::new(messages), ..Request::default() }
}

fn reasoning(field: &str) -> Part {
    let json =
        if field == "details" { r#"[{"type":"reasoning.text"}]"#.into() } else { format!("{field:?}") };
    let state = Some(ProviderState { format: "openai-chat".into(), json });
    Part::Reasoning { text: "hm".into(), state }
}

/// Which of the fields of reasoning goes back, for each that it may have come in.
#[test]
fn reasoning_goes_back_only_in_fields_that_are_taken() {
    for vendor in VENDORS {
        for field in ["reasoning_content", "reasoning", "details"] {
            let request = history(vec![reasoning(field), Part::ToolCall(call("abcdefghi", None))]);
            let body = sent(vendor.name, &request);
            let message = body["messages"][1].as_object().unwrap();
            let found: Vec<_> = message
                .iter()
                .filter(|(name, _)| name.starts_with("reasoning"))
                .map(|(_, text)| text)
                .collect();
            let wire = if field == "details" { "reasoning_details" } else { field };
            let name = vendor.name;
            match vendor.quirks.history.reasoning {
                ReasoningBack::AsItCame => assert!(message.contains_key(wire), "{name} {field}"),
                ReasoningBack::Only(known) | ReasoningBack::Demanded(known) if known == field => {
                    assert_eq!(
                        (found, &message[known]),
                        (vec![&json!("hm")], &json!("hm")),
                        "{name} {field}"
                    );
                }
                ReasoningBack::Demanded(known) => {
                    assert_eq!((found, &message[known]), (vec![&json!("")], &json!("")), "{name} {field}");
                }
                ReasoningBack::Only(_) | ReasoningBack::Never => assert!(found.is_empty(), "{name} {field}"),
            }
        }
    }
    assert_eq!(those(|it| it.quirks.history.reasoning == ReasoningBack::Only("reasoning")), ["groq"]);
    let demanded = ReasoningBack::Demanded("reasoning_content");
    assert_eq!(those(|it| it.quirks.history.reasoning == demanded), ["deepseek"]);
}

#[test]
fn fields_that_strict_vendors_refuse_are_left_out() {
    let refusal = Part::Refusal { text: "No.".into() };
    let request = history(vec![refusal, Part::ToolCall(call("abcdefghi", Some(r#"{"google":{}}"#)))]);
    for name in ["deepseek", "groq", "mistral", "xai"] {
        let message = &sent(name, &request)["messages"][1];
        assert_eq!((&message["content"], message.get("refusal")), (&json!("No."), None), "{name}");
        assert_eq!(message["tool_calls"][0].get("extra_content"), None, "{name}");
    }
    let message = &sent("openrouter", &request)["messages"][1];
    assert_eq!(
        (&message["refusal"], &message["tool_calls"][0]["extra_content"]),
        (&json!("No."), &json!({"google": {}}))
    );
}

/// Mistral: ids of nine letters and digits, and no user right after a tool.
#[test]
fn histories_of_other_vendors_fit_the_narrow_rules() {
    let ids = ["call_1", "call_2", "", "abcdEF123"];
    let request = history(ids.map(|id| Part::ToolCall(call(id, None))).to_vec());
    let body = sent("mistral", &request);
    let messages = body["messages"].as_array().unwrap();
    let calls = messages[1]["tool_calls"].as_array().unwrap();
    let mut seen = Vec::new();
    for (call, result) in calls.iter().zip(&messages[2..]) {
        let id = call["id"].as_str().unwrap();
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(result["tool_call_id"], id);
        assert!(!seen.contains(&id), "{id} twice");
        seen.push(id);
    }
    assert_eq!(seen[3], "abcdEF123");
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "tool", "tool", "assistant", "user"]);
    let free = sent("openai", &request);
    assert_eq!(free["messages"].as_array().unwrap().len(), 7);
    assert_eq!(free["messages"][1]["tool_calls"][0]["id"], "call_1");
}

/// One history for two vendors: each gets its own bytes, and both are cached.
#[test]
fn a_route_over_two_vendors_caches_each_dialect() {
    let request = history(vec![reasoning("reasoning_content"), Part::ToolCall(call("call_1", None))]);
    let context = Context::detached();
    for _ in 0..2 {
        for name in ["groq", "deepseek", "openrouter"] {
            assert_eq!(body(&model(name), &request, &context), sent(name, &request), "{name}");
        }
    }
    assert_eq!(context.wire().encoded(), 3 * request.history.len() as u64);
}
