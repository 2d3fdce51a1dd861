//! What a loaded configuration means.

use ambidex_config::{Body, Config, Effect, LoadOptions, ModelReference, Style, ToolAction, load};

fn config(text: &str) -> Config {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some(text.into());
    load(&options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain))).config
}

#[test]
fn a_model_is_named_or_given_by_provider() {
    let config = config(
        "[models.big]\nprovider = \"openai\"\nname = \"m\"\n[models.\"a:b\"]\nprovider = \"openai\"\nname = \"m\"\n",
    );
    assert!(matches!(config.model("big"), Some(ModelReference::Named("big", _))));
    assert_eq!(config.model("openai:a:b"), Some(ModelReference::Inline { provider: "openai", name: "a:b" }));
    assert!(
        matches!(config.model("a:b"), Some(ModelReference::Named("a:b", _))),
        "a name of its own goes first"
    );
    assert!(["none", "none:x", "openai:", ""].iter().all(|name| config.model(name).is_none()));
}

#[test]
fn the_only_agent_is_the_default() {
    let one = "[agents.a]\nmodel = \"demo\"\n";
    assert_eq!(config(one).default_agent().unwrap().0, "a");
    let two = format!("{one}[agents.b]\nmodel = \"openai:m\"\n");
    assert!(config(&two).default_agent().is_none());
    assert_eq!(config(&format!("default_agent = \"b\"\n{two}")).default_agent().unwrap().0, "b");
}

#[test]
fn the_time_to_the_first_token_is_left_to_the_model_where_it_is_not_set() {
    let text = |more: &str| format!("[models.m]\nprovider = \"openai\"\nname = \"m\"\n{more}\n");
    let first = |more: &str| config(&text(more)).models["m"].timeout.first_token.map(|it| it.to_string());
    assert_eq!(first(""), None);
    assert_eq!(first("reasoning = { effort = \"high\" }\ntimeout = { idle = \"5s\" }"), None);
    assert_eq!(first("timeout = { first_token = \"1m\" }").as_deref(), Some("1m"));
}

#[test]
fn a_secret_is_named_in_messages_by_where_it_comes_from() {
    let place = |key: &str| {
        let text = format!("[providers.p]\nkind = \"openai\"\nkey = {key}\n");
        config(&text).providers["p"].key.as_ref().unwrap().place()
    };
    assert_eq!(place("{ env = \"P_KEY\" }"), "P_KEY");
    assert_eq!(place("{ file = \"p.txt\" }"), "/p.txt");
    assert_eq!(place("{ command = [\"pass\", \"show\", \"p\"] }"), "the output of `pass`");
}

#[test]
fn a_get_is_read_and_another_method_is_undeclared() {
    let tool = |more: &str| {
        config(&format!("[tools.t]\nkind = \"http\"\nurl = \"https://example.com/\"\n{more}\n")).tools["t"]
            .known_effect()
    };
    assert_eq!(tool(""), Some(Effect::Read));
    assert_eq!(tool("method = \"HEAD\""), Some(Effect::Read));
    assert_eq!(tool("method = \"POST\""), None);
    assert_eq!(tool("effect = \"once\""), Some(Effect::Once));
    assert_eq!(tool("retry = { attempts = 3 }"), Some(Effect::Read), "a GET may be retried");
}

#[test]
fn bodies_are_text_or_json() {
    let body = |body: &str| {
        let text = format!(
            "[tools.t]\nkind = \"http\"\nmethod = \"POST\"\nurl = \"https://example.com/\"\nbody = {body}\ninput = {{ a = \"string\" }}\n"
        );
        match config(&text).tools["t"].action.clone() {
            ToolAction::Http { body, .. } => body.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(body("\"x {a}\""), Body::Text(_)));
    assert_eq!(body("{ b = [\"{a}\", 1] }"), Body::Json(serde_json::json!({ "b": ["{a}", 1] })));
}

#[test]
fn a_url_may_have_inputs_in_path_and_query_and_a_shell_may_get_arguments() {
    config(
        "[tools.t]\nkind = \"http\"\nurl = \"https://example.com:8443/a/{x}?q={x}\"\ninput = { x = \"string\" }\n",
    );
    config(
        "[tools.t]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"grep -- \\\"$1\\\" .\", \"sh\", \"{x}\"]\ninput = { x = \"string\" }\n",
    );
}

#[test]
fn colour_is_used_only_when_asked_for() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some("x = 1\n".into());
    let errors = load(&options).unwrap_err();
    assert!(errors.render(Style::Color).contains('\u{1b}'));
    assert!(!errors.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn a_fault_found_later_has_its_place() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some("[models.m]\nkind = \"scripted\"\nscript = \"builtin:x\"\n".into());
    let loaded = load(&options).unwrap();
    let fault = |path: &[&str]| loaded.fault(path, "there is no such script", None).to_string();
    assert_eq!(fault(&["models", "m", "script"]), "ambidex.toml:3:10: there is no such script");
    assert_eq!(fault(&["models", "m", "none"]), "ambidex.toml:1:9: there is no such script");
    assert_eq!(fault(&["tools", "none"]), "built-in: there is no such script");
}

#[test]
fn a_route_is_named_wherever_a_model_is() {
    let config =
        config("[routes.smart]\nstrategy = \"fallback\"\nuse = [\"demo\"]\n[agents.a]\nmodel = \"smart\"\n");
    let Some(ModelReference::Route("smart", route)) = config.model(&config.agents["a"].model) else {
        panic!("no route")
    };
    assert_eq!(route.targets, ["demo"]);
    assert_eq!((route.retry.attempts, route.breaker.failures), (3, 5));
    assert_eq!(route.timeout.total.to_string(), "10m");
}

#[test]
fn routes_may_meet_in_a_route_as_long_as_none_leads_back() {
    let route = |name: &str, uses: &str| format!("[routes.{name}]\nstrategy = \"race\"\nuse = [{uses}]\n");
    let all = [
        route("top", "\"left\", \"right\""),
        route("left", "\"base\", \"demo\""),
        route("right", "\"base\", \"left\""),
        route("base", "\"demo\", \"demo\""),
    ];
    assert_eq!(config(&all.concat()).routes.len(), 4);
}

#[test]
fn nothing_is_cached_unless_it_is_said() {
    assert_eq!(config("").cache.kind, ambidex_config::CacheKind::None);
    assert_eq!(config("[cache]\n").cache.kind, ambidex_config::CacheKind::None);
    let cache = config("[cache]\nkind = \"exact\"\n").cache;
    assert_eq!((cache.ttl.to_string(), cache.capacity), ("1h".into(), 10_000));
}

#[test]
fn vendors_have_their_address_and_their_key_and_a_local_server_has_none() {
    let key = |kind: &str, more: &str| {
        let text = format!("[providers.p]\nkind = \"{kind}\"\n{more}");
        let provider = config(&text).providers["p"].clone();
        (provider.base_url, provider.key.map(|key| key.place()))
    };
    let address = |url: &str, key: &str| (url.to_owned(), Some(key.to_owned()));
    assert_eq!(key("openai-responses", ""), address("https://api.openai.com/v1", "OPENAI_API_KEY"));
    assert_eq!(key("gemini", ""), address("https://generativelanguage.googleapis.com", "GEMINI_API_KEY"));
    assert_eq!(key("ollama", ""), ("http://127.0.0.1:11434".into(), None));
    assert_eq!(key("gemini", "base_url = \"http://127.0.0.1:1\"\n").1, None);
}

#[test]
fn a_known_vendor_needs_neither_its_address_nor_the_name_of_its_key() {
    let provider = |name: &str, more: &str| {
        let provider =
            config(&format!("[providers.{name}]\nkind = \"openai\"\n{more}")).providers[name].clone();
        (provider.base_url, provider.key.map(|key| key.place()))
    };
    let at = |url: &str, key: &str| (url.to_owned(), Some(key.to_owned()));
    assert_eq!(provider("groq", ""), at("https://api.groq.com/openai/v1", "GROQ_API_KEY"));
    assert_eq!(provider("LM_Studio", ""), ("http://127.0.0.1:1234/v1".into(), None));
    assert_eq!(provider("second", ""), at("https://api.openai.com/v1", "OPENAI_API_KEY"));
    // The key goes to the vendor only.
    assert_eq!(provider("groq", "base_url = \"http://127.0.0.1:1\"\n"), ("http://127.0.0.1:1".into(), None));
}
