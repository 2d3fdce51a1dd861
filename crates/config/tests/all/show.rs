//! `config show`, `config init`.

use ambidex_config::{Environment, LoadOptions, STARTER, Style, load};

const TEXT: &str = r#"
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:8080/v1"
key = { env = "LOCAL_KEY" }

[models."gpt-4.1"]
provider = "local"
name = "a \"quoted\" name"
price = { input = 1, output = 2.5 }
timeout = { idle = "90s" }
extra = { top_k = 3, deep = { api_key = "hunter2" } }

[tools.item]
kind = "http"
method = "POST"
url = "https://example.com/{id}"
body = { note = "{note}" }
input = { id = "integer", note = "string?" }

[agents.writer]
model = "gpt-4.1"
tools = ["item"]
"#;

fn options(text: &str) -> LoadOptions {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some(text.into());
    options.environment =
        Environment::from_iter([("LOCAL_KEY", "x"), ("AMBIDEX__RUNTIME__SYNC_WORKERS", "5")]);
    options.overrides = vec!["agents.writer.max_iterations=3".into()];
    options
}

#[test]
fn every_value_is_shown_with_its_origin() {
    let shown = load(&options(TEXT)).unwrap().show(true);
    for line in [
        "[providers.local]",
        "key = { env = \"LOCAL_KEY\" }  # ambidex.toml:5:7 (set)",
        "key = { env = \"OPENAI_API_KEY\" }  # built-in (not set)",
        "pool.http2 = true  # built-in",
        "[models.\"gpt-4.1\"]",
        "name = \"a \\\"quoted\\\" name\"  # ambidex.toml:9:8",
        "timeout.idle = \"1m30s\"",
        "timeout.connect = \"5s\"  # built-in",
        "retry.attempts = 3  # built-in",
        "extra.deep.api_key = \"***\"",
        "input = { id = \"integer\", note = \"string?\" }",
        "max_iterations = 3  # -c agents.writer.max_iterations",
        "tool_concurrency = 16  # built-in",
        "sync_workers = 5  # AMBIDEX__RUNTIME__SYNC_WORKERS",
        "once = \"ask\"  # built-in",
        "url = \"memory:\"  # built-in",
    ] {
        // A value stands as it was written; only defaults are written by us.
        let line = line.replace("\"1m30s\"", "\"90s\"");
        assert!(shown.lines().any(|found| found.starts_with(&line)), "{line}\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_is_shown_loads_again_to_the_same() {
    let text = TEXT.replace(", deep = { api_key = \"hunter2\" }", "");
    for text in [text.as_str(), STARTER, ""] {
        let mut first = options(text);
        if text.is_empty() || text == STARTER {
            first.overrides.clear();
        }
        let loaded = load(&first).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)));
        let mut again = LoadOptions::in_directory("/");
        again.text = Some(loaded.show(true));
        again.environment = Environment::from_iter([("LOCAL_KEY", "x")]);
        let reloaded = load(&again).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)));
        assert_eq!(
            serde_json::to_value(&loaded.config).unwrap(),
            serde_json::to_value(&reloaded.config).unwrap()
        );
        assert_eq!(reloaded.show(false), loaded.show(false));
    }
}

#[test]
fn the_settings_have_a_structured_form() {
    let settings = load(&options(TEXT)).unwrap().settings();
    let key = settings.iter().find(|setting| setting.key == "providers.local.key").unwrap();
    assert_eq!((key.origin.as_str(), key.secret), ("ambidex.toml:5:7", Some("set")));
    assert!(settings.iter().any(|setting| setting.key == "models.\"gpt-4.1\".timeout.total"));
}

#[test]
fn the_starter_loads_and_so_does_it_with_every_comment_line_that_is_a_setting() {
    let mut options = LoadOptions::in_directory("/");
    options.check_profiles = true;
    options.text = Some(STARTER.into());
    let config = load(&options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain))).config;
    assert_eq!(config.default_agent().unwrap().0, "helper");
    let setting = |line: &str| {
        line.starts_with("# [") || line.split_once(" = ").is_some_and(|(key, _)| !key[2..].contains(' '))
    };
    let full: Vec<&str> = STARTER
        .lines()
        .map(|line| if line.starts_with("# ") && setting(line) { &line[2..] } else { line })
        .collect();
    options.text = Some(full.join("\n"));
    let config = load(&options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain))).config;
    assert!(
        config.models.contains_key("big")
            && config.tools.contains_key("item")
            && config.tools.contains_key("history"),
        "{config:?}"
    );
}

#[test]
fn without_any_file_there_is_a_model_that_needs_nothing() {
    let config = load(&LoadOptions::in_directory("/")).unwrap().config;
    assert!(config.models.contains_key("demo"));
    assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["openai", "anthropic", "gemini", "ollama"]);
    assert!(config.default_agent().is_none());
}
