//! From files, variables and flags to one checked configuration.

use std::io;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{ConfigError, ConfigErrorKind, ConfigErrors};
use crate::fault::Fault;
use crate::flow_file;
use crate::layers::{self, FileLayer};
use crate::path::KeyPath;
use crate::reader::{At, FromNode, Reading};
use crate::references::{self, Known};
use crate::sections::Config;
use crate::source::{Origin, Source};
use crate::suggest::nearest;
use crate::tree::{self, Node, Table, Value};

/// The name that is looked for.
pub const FILE_NAME: &str = "ambidex.toml";

/// Where a configuration is taken from.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The search for `ambidex.toml` starts here and goes up. Absolute.
    pub directory: PathBuf,
    /// `--config FILE`: this file instead of the search.
    pub file: Option<PathBuf>,
    /// A text that stands for `ambidex.toml` in `directory`; nothing is searched.
    pub text: Option<String>,
    /// `--profile NAME`.
    pub profile: Option<String>,
    /// A file with a workflow of its own, laid over the others: its top level may be the workflow itself.
    pub flow: Option<PathBuf>,
    /// Workflows made in code, by name, as JSON; laid over the others.
    pub workflows: Vec<(String, serde_json::Value)>,
    /// Agents and tools that their steps may name, besides those of the files.
    pub known: Known,
    /// `-c KEY=VALUE`, in their order.
    pub overrides: Vec<String>,
    /// `AMBIDEX__A__B`, and `OPENAI_BASE_URL` and its kin.
    pub environment: Environment,
    /// The user's folder for Ambidex, which may hold `ambidex.toml`.
    pub user_folder: Option<PathBuf>,
    /// The user's folder for data of Ambidex.
    pub data_folder: Option<PathBuf>,
    /// Check every profile, not only the chosen one.
    pub check_profiles: bool,
}

impl LoadOptions {
    /// From a directory alone: no environment, no user's file. For tests and embedding.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }

    /// As the command line does: working directory, environment, XDG folders.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn of_process() -> io::Result<Self> {
        let environment = Environment::of_process();
        let folder = |variable: &str, below_home: &str| {
            // XDG: a relative path is to be ignored.
            let set = environment.get(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || environment.get("HOME").map(|home| Path::new(home).join(below_home));
            set.or_else(home).map(|path| path.join("ambidex"))
        };
        Ok(Self {
            directory: std::env::current_dir()?,
            user_folder: folder("XDG_CONFIG_HOME", ".config"),
            data_folder: folder("XDG_DATA_HOME", ".local/share"),
            environment,
            ..Self::default()
        })
    }

    /// The file of the project: the named one, else the nearest in the directory and its parents.
    pub fn project_file(&self) -> Option<PathBuf> {
        match (&self.file, &self.text) {
            (Some(file), _) => Some(self.directory.join(file)),
            (None, Some(_)) => Some(self.directory.join(FILE_NAME)),
            (None, None) => {
                self.directory.ancestors().map(|folder| folder.join(FILE_NAME)).find(|file| file.is_file())
            }
        }
    }

    /// The user's file, unless the project's is the same.
    pub fn user_file(&self) -> Option<PathBuf> {
        let file = self.user_folder.as_ref()?.join(FILE_NAME);
        (file.is_file() && self.project_file().as_ref() != Some(&file)).then_some(file)
    }
}

/// A configuration and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The files that were read, the user's first.
    pub files: Vec<PathBuf>,
    /// The folder of the project's file; without one, where the search for it began.
    pub folder: PathBuf,
    /// The profiles that the files define.
    pub profiles: Vec<String>,
    /// The workflow that is the top level of the file with a workflow of its own.
    pub flow: Option<String>,
    pub(crate) tree: Table,
    pub(crate) environment: Environment,
}

impl Loaded {
    /// Where the value at a path such as `agents.writer.model` was written; `None` when there is none.
    pub fn origin(&self, path: &[&str]) -> Option<&Origin> {
        tree::find(&self.tree, path).map(|entry| &entry.node.origin)
    }

    /// Faults found later, each at its place; nothing where there are none.
    pub fn faults(&self, faults: Vec<Fault>) -> Option<ConfigErrors> {
        let above = Source::built_in().at(0..0);
        ConfigErrors::of(faults.into_iter().map(|fault| fault.into_error(&self.tree, &above)).collect())
    }

    /// A fault found later, in what a value stands for (a script, a tool that does not build), at its place.
    /// Without a value at the path, the nearest table above it is meant.
    pub fn fault(&self, path: &[&str], message: impl Into<String>, help: Option<String>) -> ConfigErrors {
        let entry = (1..=path.len()).rev().find_map(|length| tree::find(&self.tree, &path[..length]));
        let origin = match entry {
            Some(entry) if entry.node.as_table().is_none() => entry.node.origin.clone(),
            Some(entry) => entry.key.clone(),
            None => Source::built_in().at(0..0),
        };
        let key = path.iter().fold(KeyPath::default(), |key, part| key.key(part));
        let error = ConfigError::new(ConfigErrorKind::InvalidValue, key, message.into(), &origin);
        ConfigErrors::one(ConfigError { help, ..error })
    }
}

/// Loads and checks a configuration. Files it names (schemas, instructions) are read; nothing is started.
///
/// # Errors
/// Every fault that was found, not just the first.
pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    load_with(options, &|_| Vec::new())
}

/// Looks at what was read, for faults that only others can know. What has faults already may be missing.
pub type Check<'a> = dyn Fn(&Config) -> Vec<Fault> + 'a;

/// Like [`load`], with another check whose faults are reported among the others.
///
/// # Errors
/// Every fault that was found, not just the first.
pub fn load_with(options: &LoadOptions, check: &Check<'_>) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let project = options.project_file();
    let files: Vec<PathBuf> = options.user_file().into_iter().chain(project.clone()).collect();
    let mut layers = Vec::new();
    for file in &files {
        let is_project = Some(file) == project.as_ref();
        let read = match &options.text {
            Some(text) if is_project && options.file.is_none() => {
                layers::parse(&Source::file(file, &options.directory, text.clone()))
            }
            _ => layers::file(file, &options.directory),
        };
        match read {
            Ok(layer) => layers.push(layer),
            Err(faults) => errors.extend(faults),
        }
    }
    let mut flow = None;
    if let Some(file) = &options.flow {
        let path = options.directory.join(file);
        match layers::file(&path, &options.directory) {
            Ok(mut layer) => {
                flow = flow_file::lift(&mut layer.root, &path);
                layers.push(layer);
            }
            Err(faults) => errors.extend(faults),
        }
    }
    if !options.workflows.is_empty() {
        layers.push(flow_file::in_code(&options.workflows));
    }
    // Without its text nothing else about a file can be said.
    if let Some(errors) = ConfigErrors::of(std::mem::take(&mut errors)) {
        return Err(errors);
    }
    let mut profiles: Vec<String> = Vec::new();
    for name in layers.iter().flat_map(|layer| layer.profiles.keys()) {
        if !profiles.contains(name) {
            profiles.push(name.clone());
        }
    }
    if let Some(profile) = options.profile.as_ref().filter(|profile| !profiles.contains(profile)) {
        errors.push(unknown_profile(profile, &profiles));
    }
    let stack = Stack { options, layers: &layers, check };
    let (config, tree) = stack.read(options.profile.as_deref(), &mut errors);
    if options.check_profiles {
        for profile in profiles.iter().filter(|name| options.profile.as_ref() != Some(*name)) {
            stack.read(Some(profile), &mut errors);
        }
    }
    match ConfigErrors::of(errors) {
        Some(errors) => Err(errors),
        None => {
            let folder = project.as_deref().and_then(Path::parent).unwrap_or(&options.directory).to_owned();
            Ok(Loaded {
                config,
                files,
                folder,
                profiles,
                flow,
                tree,
                environment: options.environment.clone(),
            })
        }
    }
}

fn unknown_profile(profile: &str, profiles: &[String]) -> ConfigError {
    let text = format!("--profile {profile}");
    let origin = Source::flag(&text).at(text.len() - profile.len()..text.len());
    let message = format!("there is no profile named {}", crate::toml_text::string(profile));
    ConfigError::new(ConfigErrorKind::UnknownReference, "profiles", message, &origin)
        .suggestion(nearest(profile, profiles.iter().map(String::as_str)))
        .allowed(profiles.join(", "))
        .help("add [profiles.NAME] to ambidex.toml")
}

/// Everything but the choice of a profile.
struct Stack<'a> {
    options: &'a LoadOptions,
    layers: &'a [FileLayer],
    check: &'a Check<'a>,
}

impl Stack<'_> {
    fn read(&self, profile: Option<&str>, errors: &mut Vec<ConfigError>) -> (Config, Table) {
        let mut root = layers::built_in(&self.options.environment);
        for layer in self.layers {
            tree::merge(&mut root, layer.root.clone());
        }
        for entry in self.layers.iter().filter_map(|layer| layer.profiles.get(profile?)) {
            match &entry.node.value {
                Value::Table(table) => tree::merge(&mut root, table.clone()),
                _ => {
                    let message = "a profile must be a table".to_owned();
                    let kind = ConfigErrorKind::WrongType;
                    errors.push(ConfigError::new(kind, "profiles", message, &entry.node.origin));
                }
            }
        }
        layers::variables(&mut root, &self.options.environment, errors);
        for text in &self.options.overrides {
            layers::flag(&mut root, text, errors);
        }
        self.typed(root, errors)
    }

    fn typed(&self, root: Table, errors: &mut Vec<ConfigError>) -> (Config, Table) {
        let reading = Reading::new(&self.options.directory);
        let origin = Source::built_in().at(0..0);
        references::check(&root, &self.options.known, &reading);
        let node = Node::new(Value::Table(root), origin.clone());
        let at = At { node: &node, key: &node.origin, path: KeyPath::default(), reading: &reading };
        let config = Config::from_node(&at).unwrap_or_default();
        let (faults, defaults) = reading.finish();
        errors.extend(faults);
        if let Value::Table(root) = &node.value {
            let found = (self.check)(&config);
            errors.extend(found.into_iter().map(|fault| fault.into_error(root, &origin)));
        }
        let mut root = match node.value {
            Value::Table(root) => root,
            _ => Table::new(),
        };
        for (path, json) in defaults {
            if let Some(node) = Node::from_json(&json, &origin) {
                tree::put_default(&mut root, &path.keys(), node);
            }
        }
        (config, root)
    }
}
