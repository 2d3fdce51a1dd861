//! Secrets: fetched when needed, from where they were named, with errors that say what to do.

use ambidex_config::{Config, Environment, LoadOptions, load};
use secrecy::ExposeSecret;

fn config(text: &str, folder: &std::path::Path) -> Config {
    let mut options = LoadOptions::in_directory(folder);
    options.text = Some(text.into());
    load(&options).unwrap().config
}

fn resolve(key: &str, folder: &std::path::Path, environment: &Environment) -> Result<String, String> {
    let config = config(&format!("[providers.p]\nkind = \"openai\"\nkey = {key}\n"), folder);
    let key = config.providers["p"].resolve_key(environment);
    key.map(|key| key.unwrap().expose_secret().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn each_source_gives_its_text_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.txt"), "from file\r\n").unwrap();
    let environment = Environment::from_iter([("K", "from env")]);
    assert_eq!(resolve("{ env = \"K\" }", folder.path(), &environment).unwrap(), "from env");
    assert_eq!(resolve("{ file = \"key.txt\" }", folder.path(), &environment).unwrap(), "from file");
    let command = "{ command = [\"cat\", \"key.txt\"] }";
    assert_eq!(
        resolve(command, folder.path(), &environment).unwrap(),
        "from file",
        "it runs beside its file"
    );
}

#[test]
fn a_secret_that_cannot_be_had_names_its_key_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let error =
        |key: &str| resolve(key, folder.path(), &Environment::from_iter([("EMPTY", "")])).unwrap_err();
    assert_eq!(
        error("{ env = \"EMPTY\" }"),
        "`providers.p.key`: the environment variable EMPTY is not set; \
         set it (export EMPTY=...) or name another source"
    );
    assert!(error("{ file = \"none\" }").contains("create the file or name another source"));
    assert!(error("{ file = \"empty\" }").contains("the secret is empty"));
    assert!(error("{ command = [\"/no/such/program\"] }").contains("`/no/such/program` does not start"));
    assert!(error("{ command = [\"false\"] }").contains("`false` failed (exit status: 1)"));
}

#[test]
fn loading_runs_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let text = "[providers.p]\nkind = \"openai\"\nkey = { command = [\"touch\", \"ran\"] }\n";
    let mut options = LoadOptions::in_directory(folder.path());
    options.text = Some(text.into());
    let loaded = load(&options).unwrap();
    let shown = loaded.show(true);
    assert!(shown.contains("(on demand)"), "{shown}");
    assert!(!mark.exists());
    // It is the fetch that runs it; what it prints is empty.
    assert!(loaded.config.providers["p"].resolve_key(&Environment::default()).is_err());
    assert!(mark.exists());
}

#[test]
fn a_vendors_default_key_is_needed_at_the_vendor_only() {
    let none = Environment::default();
    let folder = std::path::Path::new("/");
    let at_vendor = config("", folder);
    let error = at_vendor.providers["openai"].resolve_key(&none).unwrap_err();
    assert_eq!(error.key, "providers.openai.key");
    assert!(error.problem.contains("OPENAI_API_KEY") && error.remedy.contains("export OPENAI_API_KEY"));
    let local = config("[providers.openai]\nbase_url = \"http://127.0.0.1:1\"\n", folder);
    assert!(local.providers["openai"].resolve_key(&none).unwrap().is_none());
    let set = Environment::from_iter([("OPENAI_API_KEY", "k")]);
    assert!(local.providers["openai"].resolve_key(&set).unwrap().is_some());
}

#[test]
fn a_vendors_key_never_goes_to_a_provider_that_did_not_name_it() {
    let text = "[providers.local]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
                [providers.second]\nkind = \"anthropic\"\n";
    let config = config(text, std::path::Path::new("/"));
    assert!(config.providers["local"].key.is_none());
    let second = format!("{:?}", config.providers["second"].key);
    assert_eq!(
        second, "Some(Secret({ env = \"ANTHROPIC_API_KEY\" }))",
        "without a base URL it is the vendor"
    );
}

#[test]
fn a_header_may_hold_a_secret_after_a_prefix() {
    let text = "[providers.openai]\nheaders = { x-team = \"a\", authorization = { env = \"T\", prefix = \"Bearer \" } }\n";
    let config = config(text, std::path::Path::new("/"));
    let header = &config.providers["openai"].headers["authorization"];
    let ambidex_config::TextOrSecret::Secret(header) = header else { panic!("{header:?}") };
    let secret = header.secret.resolve(&Environment::from_iter([("T", "t")])).unwrap();
    assert_eq!((header.prefix.as_str(), secret.expose_secret()), ("Bearer ", "t"));
}

#[test]
fn debug_shows_names_of_variables_and_no_values() {
    let environment = Environment::from_iter([("NAME", "hunter2")]);
    assert_eq!(format!("{environment:?}"), "[\"NAME\"]");
}
