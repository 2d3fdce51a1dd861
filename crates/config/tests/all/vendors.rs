//! Vendors that are known by name.

use ambidex_config::{Environment, LoadOptions, Style, VENDORS, load};

fn read(text: &str) -> Result<ambidex_config::Config, String> {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some(text.to_owned());
    load(&options).map(|loaded| loaded.config).map_err(|errors| errors.render(Style::Plain))
}

fn provider(name: &str, rest: &str) -> (String, Option<String>) {
    let config = read(&format!("[providers.{name}]\nkind = \"openai\"\n{rest}\n")).unwrap();
    let provider = &config.providers[name];
    let key = provider.key.as_ref().map(|key| format!("{key:?}"));
    (provider.base_url.clone(), key)
}

fn variable(name: &str) -> Option<String> {
    Some(format!("Secret({{ env = \"{name}\" }})"))
}

#[test]
fn a_vendor_is_found_by_its_name() {
    for vendor in VENDORS {
        let Some(url) = vendor.base_url else { continue };
        assert_eq!(provider(vendor.name, ""), (url.to_owned(), vendor.key.and_then(variable)));
    }
    assert_eq!(provider("llama_cpp", "").0, "http://127.0.0.1:8080/v1");
    // What it is not named for, it is not.
    assert_eq!(provider("other", ""), ("https://api.openai.com/v1".to_owned(), variable("OPENAI_API_KEY")));
    let config = read("[providers.groq]\nkind = \"anthropic\"\n").unwrap();
    assert_eq!(config.providers["groq"].base_url, "https://api.anthropic.com");
}

#[test]
fn a_vendors_key_goes_to_its_address_and_nowhere_else() {
    let groq = "base_url = \"https://api.groq.com/openai/v1\"";
    assert_eq!(provider("groq", groq).1, variable("GROQ_API_KEY"));
    for elsewhere in [
        "http://api.groq.com/openai/v1",
        "https://api.groq.com.example.org/v1",
        "https://api.groq.com:8443/v1",
        "https://gateway.example.org/api.groq.com",
        "http://127.0.0.1:9/v1",
    ] {
        assert_eq!(provider("groq", &format!("base_url = \"{elsewhere}\"")).1, None, "{elsewhere}");
    }
    let own = "key = { env = \"MINE\" }";
    assert_eq!(provider("groq", own).1, variable("MINE"));
    let config = read("[providers.vllm]\nkind = \"openai\"\n").unwrap();
    assert!(config.providers["vllm"].resolve_key(&Environment::default()).unwrap().is_none());
}

#[test]
fn azure_has_an_address_of_ones_own() {
    let error = read("[providers.azure]\nkind = \"openai\"\n").unwrap_err();
    assert!(error.contains("`providers.azure` needs the key `base_url`"), "{error}");
    for url in [
        "https://mine.openai.azure.com",
        "https://mine.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
    ] {
        let found = provider("azure", &format!("base_url = \"{url}\""));
        assert_eq!(found, (url.to_owned(), variable("AZURE_OPENAI_API_KEY")));
    }
    for elsewhere in [
        "http://mine.openai.azure.com",
        "https://openai.azure.com.example.org",
        "https://h/.openai.azure.com",
    ] {
        assert_eq!(provider("azure", &format!("base_url = \"{elsewhere}\"")).1, None, "{elsewhere}");
    }
    assert_eq!(provider("p", "base_url = \"https://h/v1/?api-version=1\"").0, "https://h/v1?api-version=1");
    let error = read("[providers.p]\nkind = \"openai\"\nbase_url = \"https://h/?api-version=1&key=k\"\n");
    assert!(error.unwrap_err().contains("no query but `api-version`"));
}
