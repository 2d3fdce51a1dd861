//! Which layer wins, and what each may hold.

use std::fs;
use std::path::Path;

use ambidex_config::{Environment, LoadOptions, Loaded, ModelSource, Style, load};

struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn options(&self, directory: &str) -> LoadOptions {
        let directory = self.root.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        let mut options = LoadOptions::in_directory(directory);
        options.user_folder = Some(self.root.path().join("user"));
        options
    }
}

fn loaded(options: &LoadOptions) -> Loaded {
    load(options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)))
}

fn workers(options: &LoadOptions) -> (u32, String) {
    let loaded = loaded(options);
    (loaded.config.runtime.sync_workers, loaded.origin(&["runtime", "sync_workers"]).unwrap().to_string())
}

#[test]
fn each_layer_overrides_the_ones_below_it() {
    let folders = Folders::new();
    let mut options = folders.options("project/deep/er");
    assert_eq!(workers(&options), (32, "built-in".into()));

    folders.write("user/ambidex.toml", "[runtime]\nsync_workers = 1\n[profiles.p.budgets.run]\ntokens = 7\n");
    let user = folders.root.path().join("user/ambidex.toml");
    assert_eq!(workers(&options), (1, format!("{}:2:16", user.display())));

    folders
        .write("project/ambidex.toml", "runtime.sync_workers = 2\n[profiles.p.runtime]\nsync_workers = 3\n");
    let project = folders.root.path().join("project/ambidex.toml");
    assert_eq!(workers(&options), (2, format!("{}:1:24", project.display())));

    options.profile = Some("p".into());
    assert_eq!(workers(&options), (3, format!("{}:3:16", project.display())));
    assert_eq!(
        loaded(&options).config.budgets.run.tokens,
        Some(7),
        "the user's part of the profile counts too"
    );

    options.environment = Environment::from_iter([("AMBIDEX__RUNTIME__SYNC_WORKERS", "4")]);
    assert_eq!(workers(&options), (4, "AMBIDEX__RUNTIME__SYNC_WORKERS".into()));

    options.overrides = vec!["runtime.sync_workers=5".into(), "runtime.sync_workers = 6".into()];
    assert_eq!(workers(&options), (6, "-c runtime.sync_workers".into()));
}

#[test]
fn the_nearest_file_is_the_projects_and_a_named_one_replaces_it() {
    let folders = Folders::new();
    folders.write("a/ambidex.toml", "[runtime]\nsync_workers = 1\n");
    folders.write("a/b/ambidex.toml", "[runtime]\nsync_workers = 2\n");
    folders.write("a/other.toml", "[runtime]\nsync_workers = 3\n");
    assert_eq!(workers(&folders.options("a/b/c")), (2, workers(&folders.options("a/b/c")).1));
    assert_eq!(workers(&folders.options("a/b")), (2, "ambidex.toml:2:16".into()));
    let mut options = folders.options("a/b");
    options.file = Some("../other.toml".into());
    assert_eq!(workers(&options).0, 3);
    options.file = Some("none.toml".into());
    let errors = load(&options).unwrap_err().render(Style::Plain);
    assert!(errors.contains("none.toml: no such file") && errors.contains("ambidex config init"), "{errors}");
}

#[test]
fn the_users_file_is_read_once_where_it_is_also_the_projects() {
    let folders = Folders::new();
    folders.write("user/ambidex.toml", "[runtime]\nsync_workers = 1\n");
    assert_eq!(loaded(&folders.options("user")).files.len(), 1);
}

#[test]
fn a_byte_that_is_no_text_and_a_huge_file_are_refused() {
    let folders = Folders::new();
    folders.write("p/ambidex.toml", "");
    fs::write(folders.root.path().join("p/ambidex.toml"), b"x = \"\xff\"").unwrap();
    assert!(load(&folders.options("p")).unwrap_err().to_string().contains("it is not UTF-8 text"));
    folders.write("p/ambidex.toml", &"#".repeat(2 << 20));
    assert!(load(&folders.options("p")).unwrap_err().to_string().contains("it is longer than"));
}

#[test]
fn the_folder_is_that_of_the_projects_file_else_where_the_search_began() {
    let folders = Folders::new();
    let at = |path: &str| folders.root.path().join(path);
    folders.write("user/ambidex.toml", "");
    assert_eq!(loaded(&folders.options("p/q")).folder, at("p/q"), "the user's file is no project");
    folders.write("p/ambidex.toml", "");
    assert_eq!(loaded(&folders.options("p/q")).folder, at("p"));
    let mut options = folders.options("p/q");
    options.file = Some(at("user/ambidex.toml"));
    assert_eq!(loaded(&options).folder, at("user"));
}

#[test]
fn a_value_that_fits_as_text_is_text() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some("[models.m]\nprovider = \"openai\"\nname = \"x\"\n".into());
    options.overrides = vec!["models.m.name=4".into(), "models.m.stop=[\"a\", \"b\"]".into()];
    options.environment = Environment::from_iter([("AMBIDEX__MODELS__M__TEMPERATURE", "0.5")]);
    let config = loaded(&options).config;
    let model = &config.models["m"];
    assert_eq!(model.source, ModelSource::Provider { provider: "openai".into(), name: "4".into() });
    assert_eq!((model.stop.as_slice(), model.temperature), (["a".into(), "b".into()].as_slice(), Some(0.5)));
}

#[test]
fn a_flag_takes_quoted_keys_and_a_variable_finds_the_spelling() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some(
        "[models.\"Big-4.1\"]\nprovider = \"openai\"\nname = \"x\"\n[agents.my-one]\nmodel = \"demo\"\n"
            .into(),
    );
    options.overrides =
        vec!["models.\"Big-4.1\".max_tokens=7".into(), "agents.my-one.description=a=b".into()];
    options.environment = Environment::from_iter([("AMBIDEX__AGENTS__MY_ONE__MAX_ITERATIONS", "3")]);
    let config = loaded(&options).config;
    assert_eq!(config.models["Big-4.1"].max_tokens, Some(7));
    assert_eq!(config.agents["my-one"].description.as_deref(), Some("a=b"));
    assert_eq!((config.agents.len(), config.agents["my-one"].max_iterations), (1, 3));
}

#[test]
fn a_secret_is_replaced_whole_and_other_tables_merge() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some("[providers.openai]\nkey = { file = \"k\" }\npool = { http2 = false }\n".into());
    options.overrides = vec!["providers.openai.pool.max_idle_per_host=3".into()];
    let provider = loaded(&options).config.providers["openai"].clone();
    assert_eq!(format!("{:?}", provider.key.unwrap()), "Secret({ file = \"/k\" })");
    assert_eq!((provider.pool.max_idle_per_host, provider.pool.http2), (3, false));
    assert_eq!(provider.base_url, "https://api.openai.com/v1");
}

#[test]
fn an_entry_of_another_kind_replaces_the_whole_entry() {
    let mut options = LoadOptions::in_directory("/");
    options.text = Some("[models.demo]\nkind = \"provider\"\nprovider = \"openai\"\nname = \"m\"\n".into());
    let config = loaded(&options).config;
    assert_eq!(
        config.models["demo"].source,
        ModelSource::Provider { provider: "openai".into(), name: "m".into() }
    );
}

#[test]
fn the_vendors_own_variables_lie_below_the_files() {
    let mut options = LoadOptions::in_directory("/");
    options.environment = Environment::from_iter([("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")]);
    let loaded_one = loaded(&options);
    assert_eq!(loaded_one.config.providers["openai"].base_url, "http://127.0.0.1:1/v1");
    assert_eq!(
        loaded_one.origin(&["providers", "openai", "base_url"]).unwrap().to_string(),
        "OPENAI_BASE_URL"
    );
    options.text = Some("[providers.openai]\nbase_url = \"http://127.0.0.1:2\"\n".into());
    assert_eq!(loaded(&options).config.providers["openai"].base_url, "http://127.0.0.1:2");
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folders = Folders::new();
    folders.write("user/ca.pem", "x");
    folders.write("user/ambidex.toml", "[providers.openai]\nca_file = \"ca.pem\"\n");
    folders.write("p/schemas/a.json", "{\"type\": \"object\"}");
    folders.write("p/write.md", "You write.");
    folders.write(
        "p/ambidex.toml",
        "[agents.a]\nmodel = \"demo\"\noutput = { schema = \"schemas/a.json\" }\ninstructions = { file = \"write.md\" }\n\
         [tools.t]\nkind = \"command\"\ncommand = [\"ls\"]\n[tools.u]\nkind = \"command\"\ncommand = [\"ls\"]\ncwd = \"sub\"\n",
    );
    let config = loaded(&folders.options("p/deep")).config;
    let at = |path: &str| folders.root.path().join(path);
    assert_eq!(config.providers["openai"].ca_file.as_deref(), Some(at("user/ca.pem").as_path()));
    let agent = &config.agents["a"];
    assert_eq!(agent.instructions.as_deref(), Some("You write."));
    assert_eq!(agent.output.as_ref().unwrap().file.as_deref(), Some(at("p/schemas/a.json").as_path()));
    let cwd = |name: &str| match &config.tools[name].action {
        ambidex_config::ToolAction::Command { cwd, .. } => cwd.clone(),
        other => panic!("{other:?}"),
    };
    let same =
        |a: &Path, b: &Path| assert!(a.components().eq(b.components()), "{} {}", a.display(), b.display());
    same(&cwd("t"), &at("p"));
    let mut options = folders.options("p/deep");
    options.overrides = vec!["tools.t.timeout=1s".into()];
    let overridden = loaded(&options).config.tools["t"].clone();
    assert_eq!(overridden.action, config.tools["t"].action, "setting another key by flag moves nothing");
    same(&cwd("u"), &at("p/sub"));
}

#[test]
fn the_address_of_an_ollama_server_may_be_written_as_for_the_server() {
    for (host, url) in [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("gpu", "http://gpu:11434"),
        ("gpu:8080", "http://gpu:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:1", "http://[::1]:1"),
        ("http://gpu", "http://gpu"),
        ("https://gpu.example:8443/ollama/", "https://gpu.example:8443/ollama"),
    ] {
        let mut options = LoadOptions::in_directory("/");
        options.environment = Environment::from_iter([("OLLAMA_HOST", host)]);
        assert_eq!(loaded(&options).config.providers["ollama"].base_url, url, "{host}");
    }
}
