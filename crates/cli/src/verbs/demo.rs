//! `ambidex demo`: a whole autonomous run on real files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ambidex_config::{Environment, LoadOptions, ProviderKind};
use ambidex_core::usage::Price;
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::project::{AgentChanges, Project};
use ambidex_engine::{Agent, RunOptions};
use ambidex_models::scripted::{DEMO_SCHEMA, ScriptedModel};
use ambidex_tools::files::{self, Root};
use tokio_util::sync::CancellationToken;

use crate::args::{Common, DemoArgs};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::project::{self, Chosen};
use crate::show::{Format, Show};

use super::keep::{Kept, settle};
use super::run;
use super::watch::{Watcher, watch};

mod example;

pub const NAME: &str = "demo-agent";

const TASK: &str = "Give a short report on the repository in this folder: what it is, how many crates, Rust \
    files and tests it has, what is left open in it, and what deserves attention. Look from several sides at \
    once, and use numbers you have seen.";
const INSTRUCTIONS: &str = "You explore a repository with tools that list, read and search its files. Call \
    several tools at once where they do not depend on each other. When a call fails, try another way. End \
    with the report as JSON.";
const MAX_ITERATIONS: u32 = 16;
const TIMEOUT: Duration = Duration::from_secs(600);

pub async fn demo(
    args: &DemoArgs,
    common: &Common,
    console: &mut Console,
    at_once: CancellationToken,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::install(at_once).map_err(Failure::internal)?;
    let mut project = open(common)?;
    let model = match &args.model {
        Some(model) => Some(model.clone()),
        None => model_of(&Environment::of_process()),
    };
    project::check_model(&project, model.as_deref())?;
    let folder = example::folder().map_err(|error| {
        Failure::new(Exit::Failed, format!("an example folder cannot be made: {error}"))
            .help("go to a folder with a Cargo.toml and a folder `crates`, or set TMPDIR")
    })?;
    let chosen = agent(&mut project, model.as_deref(), folder.path());
    let chosen = chosen.map_err(|error| Failure::building(&error))?;
    let format = run::format(args.json, args.result_json);
    if format == Format::Text {
        introduce(&chosen.agent, folder.path(), console);
    }
    let mut show = Show::new(console, format, true);
    let options = RunOptions { timeout: Some(chosen.timeout), ..RunOptions::default() };
    let handle = chosen.agent.start(TASK, options).map_err(|error| Failure::building(&error))?;
    let watcher = Watcher {
        console,
        show: &mut show,
        interrupts: &interrupts,
        lines: &mut None,
        open: Vec::new(),
        interactive: false,
        project: &mut project,
    };
    let ended = watch(handle, watcher).await?;
    show.end(console, &ended).map_err(Failure::from_stdout)?;
    Ok(settle(&ended, &project, common, Kept::File(None), console).await)
}

/// The demo works whatever a folder's ambidex.toml says; one that is named is read.
fn open(common: &Common) -> Result<Project, Failure> {
    if common.config.is_some() {
        return project::open(common);
    }
    let environment = Environment::of_process();
    let options = LoadOptions {
        text: Some(String::new()),
        overrides: common.overrides.clone(),
        environment: environment.clone(),
        ..project::options(common)?
    };
    let options = LoadOptions { user_folder: None, ..options };
    Ok(Project::new(ambidex_config::load(&options)?, environment))
}

/// `PROVIDER:NAME` where a key or an address of a provider is set.
fn model_of(environment: &Environment) -> Option<String> {
    let set = |name: &str| environment.get(name).is_some();
    let usable = |kind: ProviderKind, address| kind.default_key().is_some_and(set) || set(address);
    let (provider, default) = if usable(ProviderKind::Openai, "OPENAI_BASE_URL") {
        ("openai", "gpt-5-mini")
    } else if usable(ProviderKind::Anthropic, "ANTHROPIC_BASE_URL") {
        ("anthropic", "claude-haiku-4-5")
    } else {
        return None;
    };
    Some(format!("{provider}:{}", environment.get("AMBIDEX_DEMO_MODEL").unwrap_or(default)))
}

/// The agent of the demo on a model, or on its script.
pub fn agent(project: &mut Project, model: Option<&str>, folder: &Path) -> Result<Chosen, Error> {
    let mut builder = match model {
        Some(model) => project.builder(NAME, model, &AgentChanges::default())?,
        None => {
            let script = ScriptedModel::builtin("demo");
            let script = script.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            let price = Price { input: 0.0, output: 0.0, cached_input: None };
            Agent::builder().engine(project.engine()).name(NAME).model(script.price(Some(price)))
        }
    };
    let schema = serde_json::from_str(DEMO_SCHEMA);
    let schema = schema.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    for tool in files::all(&Root::new(folder)?) {
        builder = builder.tool(tool);
    }
    let builder = builder.instructions(INSTRUCTIONS).max_iterations(MAX_ITERATIONS);
    let agent = builder.output_schema("report", schema).build()?;
    Ok(Chosen { agent, timeout: TIMEOUT, is_assistant: false })
}

fn introduce(agent: &Agent, folder: &Path, console: &mut Console) {
    let paint = console.stderr_paint();
    let shown: PathBuf = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let model = &agent.definition().model;
    let words = if model == "demo" {
        "scripted words; the tools, files, failures and numbers are real".to_owned()
    } else {
        format!("on {model}")
    };
    console.say(&format!(
        "{} {}\n{}\n\n",
        paint.bold("ambidex demo"),
        paint.dim(&format!("· {words}")),
        paint.dim(&format!("an autonomous agent with three tools in {}", shown.display())),
    ));
}
