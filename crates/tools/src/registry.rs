//! Tools by name.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambidex_core::suggest::nearest;
use ambidex_core::{Error, ErrorKind, Tool, ToolSpec};
use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::validate::Validator;

/// Characters in a name, as providers allow.
const LONGEST_NAME: usize = 64;
/// Calls of one tool at once in this process, where it does not say.
pub const DEFAULT_CONCURRENCY: u32 = 8;

/// The tools of a process, each with its compiled schema, in the order they were added.
#[derive(Default)]
pub struct Toolbox {
    tools: IndexMap<String, Arc<Registered>>,
}

/// A tool with what every call of it passes through.
pub struct Registered {
    tool: Arc<dyn Tool>,
    input: Validator,
    permits: Arc<Semaphore>,
    /// Whether every poll of the call that ended last was short.
    is_short: AtomicBool,
}

/// What is polled within this time would wait longer for another core to take it over, and its run after it.
const SHORT: Duration = Duration::from_micros(50);

impl Toolbox {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// `config_invalid`: the name is not one that providers take or is taken, or the input schema is not
    /// one of an object.
    pub fn add(&mut self, tool: impl Tool + 'static) -> Result<&mut Self, Error> {
        self.add_shared(Arc::new(tool))
    }

    /// Adds a tool that others hold too. The errors are those of [`Toolbox::add`].
    pub fn add_shared(&mut self, tool: Arc<dyn Tool>) -> Result<&mut Self, Error> {
        let registered = Registered::new(tool)?;
        let name = registered.spec().name.clone();
        if self.tools.contains_key(&name) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("there are two tools named `{name}`; rename one of them"),
            ));
        }
        self.tools.insert(name, Arc::new(registered));
        Ok(self)
    }

    /// The tool of this name.
    ///
    /// # Errors
    /// `unknown_tool`, with the nearest name and all there are.
    pub fn get(&self, name: &str) -> Result<&Arc<Registered>, Error> {
        self.tools.get(name).ok_or_else(|| unknown_tool(name, self.names()))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.tools.values()
    }

    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.iter().map(|registered| registered.spec())
    }

    pub fn len(&self) -> usize {
        self.tools.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }
}

impl Registered {
    /// Checks a tool's name and compiles its input schema. The errors are those of [`Toolbox::add`].
    pub fn new(tool: Arc<dyn Tool>) -> Result<Self, Error> {
        let spec = tool.spec();
        check_name(&spec.name)?;
        if spec.input.get("type").is_none_or(|kind| kind != "object") {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("tool `{}`: the input schema must have \"type\": \"object\"", spec.name),
            ));
        }
        let input =
            Validator::new(&spec.input).map_err(|error| error.context(format!("tool `{}`", spec.name)))?;
        let concurrency = spec.concurrency.unwrap_or(DEFAULT_CONCURRENCY).max(1);
        let permits = Arc::new(Semaphore::new(concurrency as usize));
        Ok(Self { input, permits, tool, is_short: AtomicBool::new(false) })
    }

    pub fn tool(&self) -> &Arc<dyn Tool> {
        &self.tool
    }

    pub fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    /// One permit for each call of this tool that may run at once.
    pub fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Whether polling a call may take long, as far as is known: the tool says that it may ([`Tool::computes`]), and its
    /// last call did, or there was none.
    pub fn computes(&self) -> bool {
        self.tool.computes() && !self.is_short.load(Relaxed)
    }

    /// Polls a call of the tool and keeps in mind how long that takes.
    pub async fn timed<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        let mut is_short = true;
        poll_fn(|cx| {
            let since = Instant::now();
            let polled = call.as_mut().poll(cx);
            is_short &= since.elapsed() < SHORT;
            // A call that is long may never end by itself.
            if polled.is_ready() || !is_short {
                self.is_short.store(is_short, Relaxed);
            }
            polled
        })
        .await
    }

    /// Whether a call's arguments match the input schema.
    ///
    /// # Errors
    /// `invalid_arguments`, with what a model needs to mend the call.
    pub fn check(&self, arguments: &Value) -> Result<(), Error> {
        self.input.check(arguments).map_err(|faults| {
            Error::new(
                ErrorKind::InvalidArguments,
                format!("the arguments of `{}` do not match its schema:\n{faults}", self.spec().name),
            )
        })
    }
}

/// Whether every provider takes this name.
///
/// # Errors
/// `config_invalid`, with what is allowed.
pub fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ConfigInvalid,
        format!(
            "`{name}` is not a tool's name: 1 to {LONGEST_NAME} letters, digits, `_` and `-`, as providers allow"
        ),
    ))
}

/// The answer to a call of a tool that does not exist.
pub fn unknown_tool<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    let nearest = nearest(name, known.iter().copied())
        .map_or_else(String::new, |other| format!(" Did you mean `{other}`?"));
    let all = match known.as_slice() {
        [] => "there are no tools".to_owned(),
        names => format!("the tools are {}", names.join(", ")),
    };
    let name: String = name.chars().take(LONGEST_NAME).collect();
    Error::new(ErrorKind::UnknownTool, format!("there is no tool `{name}`; {all}.{nearest}"))
}
