//! A tool that is a program, described by an argv template. Never a shell.
//!
//! The program runs in a process group of its own with a clean environment. What it leaves running in its
//! group is ended when it exits; on Linux the program also ends when this process is killed. A process that
//! makes a session of its own leaves the group and is not followed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxFuture, Context, Error, ErrorKind, Tool, ToolOutput, ToolSpec};
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::cap::HeadAndTail;
use crate::duration;
use crate::input::{argument, may_be_absent, names, schema_from};
use crate::process::{self, Running, Signal};
use crate::system;
use crate::template::Template;

/// Between asking a group to end and ending it.
pub const GRACE: Duration = Duration::from_secs(2);
/// For the group to be gone after it was ended.
const AFTER_KILL: Duration = Duration::from_millis(500);
/// How long output is awaited that a process outside the group keeps open.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes of output that are kept where the description does not say.
const MAX_OUTPUT: usize = 256 * 1024;
/// Bytes of an error's output that the model is shown.
const ERROR_OUTPUT: usize = 4 * 1024;
/// What a program gets of our environment without being told.
const PASSED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// A command tool as it stands in a configuration.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    #[serde(default)]
    pub description: String,
    /// The program and its arguments, with `{placeholders}` in the arguments. Each stays one argument,
    /// whatever its value. An element that is one placeholder without a value is left out.
    pub command: Vec<String>,
    /// Names with types, or a JSON Schema; see [`schema_from`].
    #[serde(default = "no_input")]
    pub input: Value,
    /// Text for standard input, with `{placeholders}`; without it there is none.
    #[serde(default)]
    pub stdin: Option<String>,
    /// The folder to run in; the working directory of this process where it is not given.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Variables to set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables to pass on, besides PATH, HOME, LANG, LC_ALL, LC_CTYPE, TZ and TMPDIR.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Arguments whose value may begin with `-` although nothing in the template keeps the program from
    /// reading it as an option.
    #[serde(default)]
    pub allow_dash: Vec<String>,
    /// Exit codes that are no failure; 0 where it is not given.
    #[serde(default = "zero")]
    pub ok_exit_codes: Vec<i32>,
    /// Whether standard output is a JSON document.
    #[serde(default)]
    pub json: bool,
    #[serde(default)]
    pub effect: EffectClass,
    /// Such as `10s`; 30 s where it is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// Bytes of output that are kept, the head and the tail; 256 KiB where it is not given.
    #[serde(default)]
    pub max_output: Option<usize>,
    #[serde(default)]
    pub exclusive: bool,
    #[serde(default)]
    pub attempts: Option<u32>,
    /// What the wait before the second attempt is drawn below, doubled for each further one; 500 ms where it
    /// is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub retry_base: Option<Duration>,
    /// No wait is drawn above it; 20 s where it is not given.
    #[serde(default, deserialize_with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    pub retry_cap: Option<Duration>,
    #[serde(default)]
    pub concurrency: Option<u32>,
}

fn no_input() -> Value {
    Value::Object(serde_json::Map::new())
}

fn zero() -> Vec<i32> {
    vec![0]
}

impl CommandSpec {
    /// This program with these arguments; set the rest as fields.
    pub fn new<Text: Into<String>>(command: impl IntoIterator<Item = Text>) -> Self {
        Self {
            description: String::new(),
            command: command.into_iter().map(Into::into).collect(),
            input: no_input(),
            stdin: None,
            cwd: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            allow_dash: Vec::new(),
            ok_exit_codes: zero(),
            json: false,
            effect: EffectClass::Undeclared,
            timeout: None,
            max_output: None,
            exclusive: false,
            attempts: None,
            retry_base: None,
            retry_cap: None,
            concurrency: None,
        }
    }
}

/// Values of the environment may be keys.
impl std::fmt::Debug for CommandSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandSpec")
            .field("command", &self.command)
            .field("cwd", &self.cwd)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A program a model may call.
#[derive(Clone)]
pub struct CommandTool {
    spec: ToolSpec,
    program: Arc<Program>,
}

struct Program {
    name: String,
    arguments: Vec<Element>,
    stdin: Option<Template>,
    cwd: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    ok_exit_codes: Vec<i32>,
    json: bool,
    max_output: usize,
    input: Value,
}

/// One element of argv.
struct Element {
    template: Template,
    /// Whether its value may begin with `-`: it was allowed, or stands behind `--`.
    dash: bool,
}

impl CommandTool {
    /// Checks the description. Nothing is started.
    ///
    /// # Errors
    /// `config_invalid`, naming the field.
    pub fn new(name: impl Into<String>, command: CommandSpec) -> Result<Self, Error> {
        let name = name.into();
        let at = |error: Error| error.context(format!("tool `{name}`"));
        let input = schema_from(&command.input).map_err(at)?;
        let program = Program::new(&command, input.clone())
            .map_err(|it| at(Error::new(ErrorKind::ConfigInvalid, it)))?;
        let mut spec = ToolSpec::new(name, command.description);
        spec.input = input;
        spec.effect = command.effect;
        spec.exclusive = command.exclusive;
        spec.timeout_ms = command.timeout.map(duration::millis);
        spec.attempts = command.attempts;
        spec.retry_base_ms = command.retry_base.map(duration::millis);
        spec.retry_cap_ms = command.retry_cap.map(duration::millis);
        spec.concurrency = command.concurrency;
        Ok(Self { spec, program: Arc::new(program) })
    }
}

impl Tool for CommandTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn computes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let program = self.program.clone();
        async move { program.call(&arguments, &context).await }.boxed()
    }

    /// A cancelled group has [`GRACE`] to end by itself.
    fn cancel_grace(&self) -> Duration {
        GRACE + AFTER_KILL
    }
}

impl std::fmt::Debug for CommandTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandTool").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Program {
    fn new(command: &CommandSpec, input: Value) -> Result<Self, String> {
        let Some((name, arguments)) = command.command.split_first().filter(|(name, _)| !name.is_empty())
        else {
            return Err("`command` is empty; write the program and its arguments, as a list".to_owned());
        };
        if Template::parse(name).is_ok_and(|template| template.literal().is_none()) {
            return Err(
                "`command[0]`: the program cannot be a placeholder; a model must not choose it".to_owned()
            );
        }
        let mut elements = Vec::new();
        let mut behind_dashes = false;
        for (index, argument) in arguments.iter().enumerate() {
            let template = Template::parse(argument)
                .map_err(|problem| format!("`command[{}]`: {problem}", index + 1))?;
            let allowed =
                template.placeholders().next().is_some_and(|it| command.allow_dash.iter().any(|a| a == it));
            let lone = template.only_placeholder().is_some();
            if let Some(name) = template.placeholders().find(|name| !lone && may_be_absent(&input, name)) {
                return Err(format!(
                    "`command[{}]`: `{name}` may be left out, but is only a part of its element; give it a \
                     default, or an element of its own",
                    index + 1
                ));
            }
            elements.push(Element { template, dash: behind_dashes || allowed });
            behind_dashes |= argument == "--";
        }
        let stdin = command.stdin.as_deref().map(Template::parse).transpose();
        let stdin = stdin.map_err(|problem| format!("`stdin`: {problem}"))?;
        check_places(&elements, stdin.as_ref(), &input)?;
        if let Some(name) =
            command.allow_dash.iter().find(|name| !names(&input).any(|declared| declared == **name))
        {
            return Err(format!("`allow_dash`: there is no argument `{name}` in `input`"));
        }
        let wrong = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
        if let Some(name) = command.env.keys().chain(&command.pass_env).find(wrong) {
            return Err(format!("`env`: `{name}` is not a variable's name"));
        }
        let passed = PASSED.iter().copied().chain(command.pass_env.iter().map(String::as_str));
        let mut environment: BTreeMap<OsString, OsString> =
            passed.filter_map(|name| Some((name.into(), std::env::var_os(name)?))).collect();
        environment.extend(command.env.iter().map(|(name, value)| (name.into(), value.into())));
        Ok(Self {
            name: name.clone(),
            arguments: elements,
            stdin,
            cwd: command.cwd.clone(),
            environment: environment.into_iter().collect(),
            ok_exit_codes: command.ok_exit_codes.clone(),
            json: command.json,
            max_output: command.max_output.unwrap_or(MAX_OUTPUT),
            input,
        })
    }

    /// The arguments of one call.
    fn argv(&self, arguments: &Value) -> Result<Vec<String>, String> {
        let mut argv = Vec::with_capacity(self.arguments.len());
        for element in &self.arguments {
            let value = |name: &str| argument(arguments, &self.input, name).map(text);
            let Some(rendered) = element.template.render(value) else { continue };
            if let Some(name) = element.template.placeholders().next() {
                if rendered.contains('\0') {
                    return Err(format!("`{name}` must not contain a NUL character"));
                }
                if rendered.starts_with('-') && element.template.begins_with_placeholder() && !element.dash {
                    return Err(format!(
                        "`{name}` must not begin with `-`: `{}` would read it as an option (whoever configures \
                         the tool can put \"--\" before it, or list it in allow_dash)",
                        self.name
                    ));
                }
            }
            argv.push(rendered);
        }
        Ok(argv)
    }

    async fn call(&self, arguments: &Value, context: &Context) -> Result<ToolOutput, Error> {
        let argv =
            self.argv(arguments).map_err(|problem| Error::new(ErrorKind::InvalidArguments, problem))?;
        let input = self.stdin.as_ref().map(|template| {
            let text = template
                .render(|name| Some(argument(arguments, &self.input, name).map(text).unwrap_or_default()));
            text.unwrap_or_default()
        });
        let mut command = Command::new(&self.name);
        command.args(argv).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        if let Some(folder) = &self.cwd {
            command.current_dir(folder);
        }
        if context.is_cancelled() {
            return Err(Error::cancelled());
        }
        let running = process::start(command).await.map_err(|error| self.not_started(&error))?;
        let Running { stdin, stdout, stderr, exit, group } = running;
        let pipes = (|| {
            let stdin = stdin.map(ChildStdin::from_std).transpose()?;
            let stdout = stdout.map(ChildStdout::from_std).transpose()?;
            Ok((stdin, stdout, stderr.map(ChildStderr::from_std).transpose()?))
        })();
        let (stdin, stdout, stderr) = pipes.map_err(|error: io::Error| system::tool_error(&error))?;
        let mut printed = HeadAndTail::new(self.max_output);
        let mut complaints = HeadAndTail::new(self.max_output.min(ERROR_OUTPUT));
        let status = {
            let streams = async {
                tokio::join!(feed(stdin, input), drain(stdout, &mut printed), drain(stderr, &mut complaints));
            };
            let finish = async {
                tokio::pin!(streams, exit);
                // Both are read while the program runs, so that it never waits for us.
                let status = tokio::select! {
                    status = &mut exit => {
                        let _ = timeout(DRAIN, &mut streams).await;
                        status
                    }
                    () = &mut streams => exit.await,
                };
                status.unwrap_or_else(|_| Err(io::Error::other("the thread of a child process ended early")))
            };
            tokio::pin!(finish);
            tokio::select! {
                status = &mut finish => status,
                () = context.token().cancelled() => {
                    group.signal(Signal::TERM);
                    if timeout(GRACE, &mut finish).await.is_err() {
                        group.signal(Signal::KILL);
                        let _ = finish.await;
                    }
                    return Err(Error::cancelled());
                }
            }
        };
        self.result(status.map_err(|error| system::tool_error(&error))?, printed, complaints)
    }

    fn result(
        &self,
        status: ExitStatus,
        printed: HeadAndTail,
        complaints: HeadAndTail,
    ) -> Result<ToolOutput, Error> {
        let ok = status.code().is_some_and(|code| self.ok_exit_codes.contains(&code));
        if !ok {
            let mut message = format!("`{}` {}", self.name, how_it_ended(status));
            let said = complaints.into_text();
            let said = if said.trim().is_empty() { tail(printed.into_text()) } else { said };
            if !said.trim().is_empty() {
                message.push_str(&format!(": {}", said.trim()));
            }
            return Err(Error::new(ErrorKind::ToolFailed, message));
        }
        let cut = printed.left_out() > 0;
        let text = printed.into_text();
        if self.json {
            let problem =
                |problem: String| Error::new(ErrorKind::ToolFailed, format!("`{}` {problem}", self.name));
            if cut {
                return Err(problem(format!(
                    "printed more than {} bytes; raise max_output",
                    self.max_output
                )));
            }
            return serde_json::from_str(&text)
                .map(ToolOutput::Json)
                .map_err(|error| problem(format!("printed something that is not JSON: {error}")));
        }
        let said = complaints.into_text();
        Ok(ToolOutput::Text(match (text.trim().is_empty(), said.trim().is_empty()) {
            (true, true) => format!("(no output, exit code {})", status.code().unwrap_or_default()),
            (true, false) => said,
            (false, true) => text,
            (false, false) => format!("{text}\n[stderr]\n{said}"),
        }))
    }

    fn not_started(&self, error: &io::Error) -> Error {
        let name = &self.name;
        let told = |problem: String| {
            Error::new(ErrorKind::ToolFailed, problem).retryable(system::is_transient(error))
        };
        if let Some(folder) = self.cwd.as_deref().filter(|folder| !Path::is_dir(folder)) {
            return told(format!(
                "`{name}` cannot run in {}: there is no such folder; change `cwd`",
                folder.display()
            ));
        }
        match error.kind() {
            io::ErrorKind::NotFound => told(format!(
                "`{name}` was not found (nor may be the interpreter it names); install it, or write its whole \
                 path in `command`"
            )),
            io::ErrorKind::PermissionDenied => {
                told(format!("`{name}` may not be executed ({error}); make it executable with chmod +x"))
            }
            _ => told(format!("`{name}` could not be started: {error}")),
        }
    }
}

/// Every place has an argument, and every argument a place.
fn check_places(elements: &[Element], stdin: Option<&Template>, input: &Value) -> Result<(), String> {
    let templates = elements.iter().map(|element| &element.template).chain(stdin);
    let places: Vec<&str> = templates.flat_map(Template::placeholders).collect();
    if let Some(name) = places.iter().find(|name| !names(input).any(|declared| declared == **name)) {
        return Err(format!("`{{{name}}}` is not declared; add it to `input`"));
    }
    match names(input).find(|name| !places.contains(name)) {
        Some(name) => Err(format!(
            "`input.{name}` is used nowhere; put {{{name}}} into `command` or `stdin`, or remove it"
        )),
        None => Ok(()),
    }
}

async fn feed(stdin: Option<ChildStdin>, text: Option<String>) {
    if let (Some(mut stdin), Some(text)) = (stdin, text) {
        // A program may end without having read everything.
        let _ = stdin.write_all(text.as_bytes()).await;
        let _ = stdin.shutdown().await;
    }
}

/// Reads to the end and keeps the head and the tail.
async fn drain(source: Option<impl AsyncRead + Unpin>, into: &mut HeadAndTail) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = source.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        into.push(&buffer[..count]);
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of a text, as long as an error shows.
fn tail(text: String) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(ERROR_OUTPUT));
    text[from..].to_owned()
}

/// A value as text: strings as they are, the rest as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
