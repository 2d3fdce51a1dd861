//! A model that follows a script: no key, no network, and the words are known. For demonstrations, tests
//! and benchmarks; only the words are scripted, what they set going is real.
//!
//! A script is written in code or in TOML (`docs/scripted-models.md`). Which turn answers is found from the
//! conversation alone, so one value serves many runs at once and a resumed run goes on where it was:
//!
//! 1. the first turn whose condition ([`When`]) holds;
//! 2. else the next turn without a condition that has not been used in this conversation;
//! 3. else the default turn;
//! 4. else the call fails with `invalid_request`, saying what was asked.

mod answer;
mod attempts;
mod file;
mod plan;
mod sample;
mod scene;
mod template;
mod turn;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::model::{Model, ModelInfo, Request};
use ambidex_core::usage::Price;
use ambidex_core::{BoxStream, Chunk, Context, Error};

pub use file::ScriptError;
pub use turn::{Fault, Turn, When};

use answer::Answer;
use attempts::Attempts;

/// The provider's name of all scripted models.
pub const PROVIDER: &str = "scripted";

/// The scripts that are built in, by name: usable as `builtin:NAME`.
pub const BUILTIN: &[(&str, &str)] =
    &[("demo", include_str!("../../scripts/demo.toml")), ("tour", include_str!("../../scripts/tour.toml"))];

/// JSON Schema of what `builtin:demo` ends with.
pub const DEMO_SCHEMA: &str = include_str!("../../scripts/demo.schema.json");

/// A model that follows a script. Cheap to clone; clones count attempts together.
///
/// ```
/// use ambidex_models::scripted::ScriptedModel;
///
/// let model = ScriptedModel::new(["Hello.", "Hello again."]);
/// # let _ = model;
/// ```
#[derive(Clone)]
pub struct ScriptedModel {
    shared: Arc<Shared>,
}

struct Shared {
    info: ModelInfo,
    script: Script,
    attempts: Attempts,
}

#[derive(Clone, Default)]
struct Script {
    turns: Vec<Turn>,
    default: Option<Turn>,
    delay: Duration,
    pace: Duration,
    chunk: Option<usize>,
}

impl ScriptedModel {
    /// A model that takes these turns in order, but for those with a condition.
    pub fn new<T: Into<Turn>>(turns: impl IntoIterator<Item = T>) -> Self {
        let turns = turns.into_iter().map(Into::into).collect();
        Self::of("script", Script { turns, ..Script::default() })
    }

    /// Reads a script. Errors name `<script>` as the file.
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        Self::from_toml_file("<script>", text)
    }

    /// Reads a script that stands in a file of this name, which errors give.
    pub fn from_toml_file(file: &str, text: &str) -> Result<Self, ScriptError> {
        let (name, script) = file::read(file, text)?;
        Ok(Self::of(name.as_deref().unwrap_or("script"), script))
    }

    /// One of the [`BUILTIN`] scripts.
    pub fn builtin(name: &str) -> Result<Self, ScriptError> {
        match BUILTIN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::from_toml_file(&format!("builtin:{name}"), text),
            None => {
                let names: Vec<_> = BUILTIN.iter().map(|(name, _)| format!("builtin:{name}")).collect();
                let message = format!("there is no script `builtin:{name}`");
                let help = format!("there are {}", names.join(", "));
                Err(ScriptError::whole(&format!("builtin:{name}"), message).with_help(help))
            }
        }
    }

    /// What `script = "..."` names in a configuration: `builtin:NAME`, or a file below `base`. Reads the
    /// file on the calling thread.
    pub fn open(script: &str, base: &Path) -> Result<Self, ScriptError> {
        if let Some(name) = script.strip_prefix("builtin:") {
            return Self::builtin(name);
        }
        let path = base.join(script);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let message = format!("the script cannot be read: {error}");
            let help = "give a TOML file or one of the built-in scripts, such as builtin:tour";
            ScriptError::whole(&path.display().to_string(), message).with_help(help)
        })?;
        Self::from_toml_file(&path.display().to_string(), &text)
    }

    fn of(name: &str, script: Script) -> Self {
        let info = ModelInfo::new(name, PROVIDER);
        Self { shared: Arc::new(Shared { info, script, attempts: Attempts::default() }) }
    }

    fn change(self, change: impl FnOnce(&mut ModelInfo, &mut Script)) -> Self {
        let (mut info, mut script) = (self.shared.info.clone(), self.shared.script.clone());
        change(&mut info, &mut script);
        Self { shared: Arc::new(Shared { info, script, attempts: Attempts::default() }) }
    }

    /// The name it is known by.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.change(|info, _| info.name = name.into())
    }

    /// Makes it cost something.
    #[must_use]
    pub fn price(self, price: Option<Price>) -> Self {
        self.change(|info, _| info.price = price)
    }

    /// Changes what is known about it, such as how it gives structured output.
    #[must_use]
    pub fn with_info(self, change: impl FnOnce(&mut ModelInfo)) -> Self {
        self.change(|info, _| change(info))
    }

    /// What it says when no turn is left and no condition holds.
    #[must_use]
    pub fn otherwise(self, turn: impl Into<Turn>) -> Self {
        self.change(|_, script| script.default = Some(turn.into()))
    }

    /// Waits this long before the first piece of each turn that has no delay of its own.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.change(|_, script| script.delay = delay)
    }

    /// Waits this long before each piece of each turn that has no pace of its own.
    #[must_use]
    pub fn pace(self, pace: Duration) -> Self {
        self.change(|_, script| script.pace = pace)
    }

    /// Characters per piece of each turn that does not say it itself; at least 1.
    #[must_use]
    pub fn chunk(self, characters: usize) -> Self {
        self.change(|_, script| script.chunk = Some(characters.max(1)))
    }
}

impl Model for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(Answer::new(self.shared.clone(), request, context))
    }
}

impl std::fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let script = &self.shared.script;
        let mut out = f.debug_struct("ScriptedModel");
        out.field("name", &self.shared.info.name).field("turns", &script.turns.len());
        out.field("default", &script.default.is_some()).finish()
    }
}
