//! The configuration as the command line loads it, and the agent a command means.

use std::time::Duration;

use ambidex_config::{BUILT_IN_TOOLS, Environment, LoadOptions, Loaded};
use ambidex_core::definition::Mode;
use ambidex_engine::project::{AgentChanges, Project};
use ambidex_engine::{Agent, Engine};
use ambidex_store::OpenStore;

use crate::args::{AgentArgs, Common};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::store;

/// The agent that runs where no configuration names one.
pub const ASSISTANT: &str = "assistant";
/// The offline model, always there.
pub const OFFLINE_MODEL: &str = "demo";

const ASSISTANT_INSTRUCTIONS: &str = "You are a careful assistant at a command line. You can list, read and \
    search the files of this folder with your tools; look before you guess. Answer in Markdown, \
    short and to the point.";

/// An agent and the time its runs have.
pub struct Chosen {
    pub agent: Agent,
    pub timeout: Duration,
    /// No configuration names it.
    pub is_assistant: bool,
}

pub fn load(common: &Common, check_profiles: bool) -> Result<Loaded, Failure> {
    let mut options = options(common)?;
    options.check_profiles = check_profiles;
    Ok(ambidex_engine::workflow::load(&options)?)
}

pub fn options(common: &Common) -> Result<LoadOptions, Failure> {
    let mut options = LoadOptions::of_process().map_err(|error| {
        Failure::new(Exit::Failed, format!("the working directory cannot be used: {error}"))
            .help("change to a folder that exists")
    })?;
    options.file.clone_from(&common.config);
    options.flow.clone_from(&common.flow);
    options.profile.clone_from(&common.profile);
    options.overrides.clone_from(&common.overrides);
    Ok(options)
}

pub fn open(common: &Common) -> Result<Project, Failure> {
    Ok(Project::new(load(common, false)?, Environment::of_process()))
}

/// Like [`open`], for commands that run agents: over the store that the configuration names, if it is one on disk.
pub async fn open_stored(common: &Common) -> Result<(Project, Option<OpenStore>), Failure> {
    let (loaded, environment) = (load(common, false)?, Environment::of_process());
    let Some(store) = store::open(&loaded, &environment).await? else {
        return Ok((Project::new(loaded, environment), None));
    };
    Ok((Project::stored(loaded, environment, store.as_any()), Some(store)))
}

pub fn changes(args: &AgentArgs) -> AgentChanges {
    AgentChanges {
        model: args.model.clone(),
        mode: None,
        max_iterations: args.max_iterations,
        max_usd: args.max_usd,
    }
}

/// The agent a command line means: the named one, the default one, or the built-in assistant.
pub fn choose(project: &mut Project, args: &AgentArgs, mode: Option<Mode>) -> Result<Chosen, Failure> {
    check_model(project, args.model.as_deref())?;
    let mut changes = changes(args);
    changes.mode = mode;
    if let Some(name) = &args.agent {
        if !project.config().agents.contains_key(name) && (name != ASSISTANT) {
            let known = project.config().agents.keys().map(String::as_str);
            return Err(unknown("agent", name, known));
        }
        return agent(project, name, &changes);
    }
    let config = project.config();
    let name = match config.default_agent() {
        Some((name, _)) => name.to_owned(),
        None if config.agents.is_empty() => ASSISTANT.to_owned(),
        None => {
            let known: Vec<_> = config.agents.keys().map(String::as_str).collect();
            let text =
                format!("which agent? The configuration has {}, and no default_agent", known.join(", "));
            return Err(Failure::usage(text).help("name one with -a, or set default_agent in ambidex.toml"));
        }
    };
    agent(project, &name, &changes)
}

/// An agent of the configuration, or the assistant.
pub fn agent(project: &mut Project, name: &str, changes: &AgentChanges) -> Result<Chosen, Failure> {
    if let Some(configured) = project.config().agents.get(name) {
        let timeout = configured.timeout.get();
        let agent = project.agent(name, changes).map_err(|error| Failure::building(&error))?;
        return Ok(Chosen { agent, timeout, is_assistant: false });
    }
    let agent = assistant(project, changes).map_err(|error| Failure::building(&error))?;
    Ok(Chosen { agent, timeout: Engine::RUN_TIMEOUT, is_assistant: true })
}

fn assistant(project: &mut Project, changes: &AgentChanges) -> Result<Agent, ambidex_core::Error> {
    let model = changes.model.clone().unwrap_or_else(|| OFFLINE_MODEL.to_owned());
    let mut builder = project.builder(ASSISTANT, &model, changes)?;
    builder = builder.instructions(ASSISTANT_INSTRUCTIONS).mode(changes.mode.unwrap_or_default());
    for tool in BUILT_IN_TOOLS {
        builder = builder.registered_tool(project.tool(tool)?);
    }
    if let Some(iterations) = changes.max_iterations {
        builder = builder.max_iterations(iterations);
    }
    builder.build()
}

/// A model named on the command line must be there; a wrong one is the command line's fault.
pub fn check_model(project: &Project, model: Option<&str>) -> Result<(), Failure> {
    let Some(name) = model else { return Ok(()) };
    let config = project.config();
    if config.model(name).is_some() {
        return Ok(());
    }
    let models = config.models.keys().chain(config.routes.keys()).map(String::as_str);
    let providers: Vec<_> = config.providers.keys().map(|name| format!("{name}:NAME")).collect();
    Err(unknown("model", name, models.chain(providers.iter().map(String::as_str))))
}

pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<_> = known.collect();
    let there = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
    Failure::usage(format!("there is no {what} `{name}`"))
        .help(format!("{what}s are: {there}; a new one goes into ambidex.toml (`ambidex config init`)"))
}
