//! The configuration of the folder this process works in, found as the command line finds it, and what is built from
//! it. Kept while folder, file and environment stay what they were.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use ambidex_config::{ConfigErrors, Environment, LoadOptions, Loaded};
use ambidex_core::{Error, ErrorKind};
use ambidex_engine::project::Project;
use ambidex_tools::Registered;
use pyo3::prelude::*;

use crate::process::Process;

/// The project of a process block, if one was opened.
#[derive(Default)]
pub(crate) struct Projects(Mutex<Option<Arc<Current>>>);

/// A project, and what it was made from.
pub(crate) struct Current {
    directory: PathBuf,
    environment: Environment,
    files: Vec<(PathBuf, Option<SystemTime>)>,
    project: Mutex<Project>,
}

/// The project as the working directory and the environment are now.
///
/// # Errors
/// `config_invalid`: the configuration is wrong.
pub(crate) fn current(_py: Python<'_>, process: &Process) -> Result<Arc<Current>, Error> {
    // Attached, so nobody changes the environment from Python meanwhile.
    let options = options()?;
    let files = options.user_file().into_iter().chain(options.project_file());
    let files: Vec<_> = files.map(|file| (file.clone(), written(&file))).collect();
    let known = || process.projects().0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(current) = &*known()
        && current.directory == options.directory
        && current.files == files
        && current.environment == options.environment
    {
        return Ok(current.clone());
    }
    let loaded = load(&options)?;
    let project = over(loaded, options.environment.clone(), process);
    let current = Arc::new(Current {
        directory: options.directory,
        environment: options.environment,
        files,
        project: Mutex::new(project),
    });
    let before = known().replace(current.clone());
    drop(before);
    Ok(current)
}

impl Current {
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Builds something of the project. Detached: a key may come from a program.
    pub(crate) fn with<T: Send>(&self, py: Python<'_>, f: impl FnOnce(&mut Project) -> T + Send) -> T {
        py.detach(|| f(&mut self.project.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn tool(&self, py: Python<'_>, name: &str) -> Result<Arc<Registered>, Error> {
        self.with(py, |project| project.tool(name))
    }
}

/// As the command line loads it.
pub(crate) fn options() -> Result<LoadOptions, Error> {
    LoadOptions::of_process().map_err(|error| {
        let text = format!("the working directory cannot be used: {error}; change to a folder that exists");
        Error::new(ErrorKind::ConfigInvalid, text)
    })
}

pub(crate) fn load(options: &LoadOptions) -> Result<Loaded, Error> {
    ambidex_config::load(options).map_err(|faults| invalid(&faults, ""))
}

pub(crate) fn over(loaded: Loaded, environment: Environment, process: &Process) -> Project {
    let (engine, memory) = (process.engine().clone(), process.memory().cloned());
    Project::over(loaded, environment, engine, memory, process.client().clone())
}

/// Faults of a configuration as one error. Those of what was given in Python, whose place is `below`, stand nowhere
/// but there.
pub(crate) fn invalid(faults: &ConfigErrors, below: &str) -> Error {
    let lines = faults.iter().map(|fault| {
        let ours = !below.is_empty() && fault.key.starts_with(below);
        let mut text = match ours {
            true => fault.message.replace(&format!("{below}."), "").replace(&format!("`{below}`"), "it"),
            false => format!("{}: {}", fault.origin, fault.message),
        };
        if let Some(name) = &fault.suggestion {
            text.push_str(&format!("; did you mean `{name}`?"));
        }
        if let Some(allowed) = &fault.allowed {
            text.push_str(&format!("; allowed: {allowed}"));
        }
        // Help about TOML is of no use in Python.
        if let Some(help) = fault.help.as_ref().filter(|_| !ours) {
            text.push_str(&format!("; {help}"));
        }
        text
    });
    let lines: Vec<String> = lines.collect();
    Error::new(ErrorKind::ConfigInvalid, lines.join("\n"))
}

fn written(file: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|found| found.modified()).ok()
}
