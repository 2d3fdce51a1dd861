//! What a configuration builds.

use std::path::Path;

use ambidex_config::{BUILT_IN_TOOLS, Environment, LoadOptions, Style, load};
use ambidex_core::model::Reasoning;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, ErrorKind, Request, ToolOutput};
use ambidex_engine::project::{AgentChanges, Project};
use ambidex_fake_provider::{FakeProvider, Fault, Script, When};
use ambidex_models::collect;
use ambidex_tools::files::{self, Root};
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn project_in(folder: &Path, environment: &[(&str, &str)]) -> Project {
    let mut options = LoadOptions::in_directory(folder);
    options.environment = Environment::from_iter(environment.iter().copied());
    let loaded = load(&options).unwrap_or_else(|errors| panic!("{}", errors.render(Style::Plain)));
    let environment = options.environment.clone();
    Project::new(loaded, environment)
}

fn project(text: &str) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ambidex.toml"), text).unwrap();
    let project = project_in(folder.path(), &[("FAKE_API_KEY", "sk-fake")]);
    (folder, project)
}

async fn read(project: &mut Project, path: &str) -> Result<ToolOutput, ambidex_core::Error> {
    let tool = project.tool("read_file").unwrap();
    project.engine().call_tool(&tool, json!({"path": path}), CancellationToken::new()).await
}

#[test]
fn the_built_in_tools_are_the_file_tools() {
    let folder = tempfile::tempdir().unwrap();
    let names = files::all(&Root::new(folder.path()).unwrap())
        .map(|tool| ambidex_core::Tool::spec(&tool).name.clone());
    assert_eq!(names.each_ref().map(String::as_str), BUILT_IN_TOOLS);
}

#[tokio::test]
async fn file_tools_need_no_section_and_read_the_folder_of_the_project() {
    let (folder, mut project) =
        project("[agents.a]\nmodel = \"demo\"\ntools = [\"read_file\", \"search_files\"]\n");
    std::fs::write(folder.path().join("a.txt"), "here").unwrap();
    assert_eq!(read(&mut project, "a.txt").await.unwrap(), ToolOutput::Text("here".into()));
    project.agent("a", &AgentChanges::default()).unwrap();

    let below = folder.path().join("deep/er");
    std::fs::create_dir_all(&below).unwrap();
    let mut project = project_in(&below, &[]);
    assert_eq!(read(&mut project, "a.txt").await.unwrap(), ToolOutput::Text("here".into()));

    let bare = tempfile::tempdir().unwrap();
    std::fs::write(bare.path().join("a.txt"), "there").unwrap();
    let mut project = project_in(bare.path(), &[]);
    assert_eq!(read(&mut project, "a.txt").await.unwrap(), ToolOutput::Text("there".into()));
}

#[test]
fn a_tool_of_ones_own_goes_before_a_built_in_one() {
    let (_folder, mut project) = project(
        "[tools.read_file]\nkind = \"command\"\ncommand = [\"cat\", \"own.txt\"]\ndescription = \"Mine.\"\n",
    );
    assert_eq!(project.tool_names().collect::<Vec<_>>(), ["read_file", "list_files", "search_files"]);
    assert_eq!(project.tool("read_file").unwrap().spec().description, "Mine.");
    assert_eq!(project.tool("list_files").unwrap().spec().effect, EffectClass::Read);
    let error = project.tool("serch_files").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnknownTool);
    assert!(error.message().contains("Did you mean `search_files`?"), "{error}");
}

#[test]
fn the_waits_of_a_tools_retry_are_its_own() {
    let tool = |kind: &str, retry: &str| format!("{kind}\neffect = \"read\"\n{retry}\n");
    let http = "kind = \"http\"\nurl = \"https://example.com/\"";
    let command = "kind = \"command\"\ncommand = [\"ls\"]";
    let retry = "retry = { attempts = 5, base = \"20ms\", cap = \"3s\" }";
    let (_folder, mut project) = project(&format!(
        "[tools.h]\n{}[tools.c]\n{}[tools.plain]\n{}",
        tool(http, retry),
        tool(command, retry),
        tool(http, "")
    ));
    for name in ["h", "c"] {
        let tool = project.tool(name).unwrap();
        let spec = tool.spec();
        assert_eq!((spec.attempts, spec.retry_base_ms, spec.retry_cap_ms), (Some(5), Some(20), Some(3000)));
    }
    let plain = project.tool("plain").unwrap();
    assert_eq!((plain.spec().retry_base_ms, plain.spec().retry_cap_ms), (None, None));
}

#[tokio::test]
async fn a_refused_key_is_named_by_where_it_comes_from() {
    let provider =
        FakeProvider::start(Script::text("x").with_fault(Fault::Status401, When::Always)).await.unwrap();
    for (key, named) in [
        ("key = { env = \"FAKE_API_KEY\" }", "check the key in FAKE_API_KEY"),
        ("key = { command = [\"echo\", \"sk-fake\"] }", "check the key in the output of `echo`"),
    ] {
        let (_folder, mut project) = project(&format!(
            "[providers.p]\nkind = \"openai\"\nbase_url = \"{}\"\n{key}\n",
            provider.base_url_openai()
        ));
        let model = project.model("p:fake-1").unwrap().model;
        let error = collect(model.stream(Request::user("Hi"), Context::detached())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.message().contains(named), "{error}");
    }
    provider.shutdown().await;
}

#[test]
fn reasoning_is_asked_for_in_the_vendors_own_measure() {
    let model = |name: &str, provider: &str, reasoning: &str| {
        format!("[models.{name}]\nprovider = \"{provider}\"\nname = \"m\"\nreasoning = {{ {reasoning} }}\n")
    };
    let (_folder, mut project) = project(&format!(
        "[providers.c]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         [providers.t]\nkind = \"anthropic\"\nbase_url = \"http://127.0.0.1:9\"\n{}{}{}{}",
        model("both_c", "c", "effort = \"low\", tokens = 2048"),
        model("both_t", "t", "effort = \"low\", tokens = 2048"),
        model("off", "t", "effort = \"none\", tokens = 2048"),
        model("tokens", "c", "tokens = 2048"),
    ));
    let mut asked = |name: &str| project.model(name).unwrap().settings.reasoning.unwrap();
    assert_eq!(asked("both_c"), Reasoning::Effort("low".into()));
    assert_eq!(asked("both_t"), Reasoning::BudgetTokens(2048));
    assert_eq!(asked("off"), Reasoning::Effort("none".into()));
    assert_eq!(asked("tokens"), Reasoning::BudgetTokens(2048));
}
