//! Secrets: named in the configuration, fetched when they are needed, never kept in it.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;

use crate::environment::Environment;
use crate::error::ConfigErrorKind;
use crate::reader::{At, Fields, FromNode};
use crate::tree::Value;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum SecretSource {
    /// An environment variable.
    Env { env: String },
    /// A file; its text without the line end. The path is absolute once loaded.
    File { file: PathBuf },
    /// A program and its arguments, never a shell; its output without the line end.
    Command { command: Vec<String> },
}

/// A secret that is fetched by `resolve`. Loading a configuration fetches none and starts nothing.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret {
    source: SecretSource,
    /// The path of its key, for messages.
    #[serde(skip)]
    key: String,
    /// Where a command runs: the folder of the file that names it.
    #[serde(skip)]
    folder: Option<PathBuf>,
}

/// Why a secret cannot be had, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}; {remedy}")]
pub struct SecretError {
    /// The path of the key that names the secret.
    pub key: String,
    pub problem: String,
    pub remedy: String,
}

/// Longest wait for a command: a password manager may ask its user.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// From the end of its output to the end of the program.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const SOURCES: &str = "{ env = \"NAME\" }, { file = \"PATH\" }, { command = [\"PROGRAM\", ...] }";
/// No key is longer.
const LONGEST: u64 = 64 * 1024;

impl Secret {
    /// A secret from an environment variable; `key` is named in errors.
    pub fn env(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { source: SecretSource::Env { env: name.into() }, key: key.into(), folder: None }
    }

    pub fn source(&self) -> &SecretSource {
        &self.source
    }

    /// Where it comes from, for messages: the name of the variable, the file, the program.
    pub fn place(&self) -> String {
        match &self.source {
            SecretSource::Env { env } => env.clone(),
            SecretSource::File { file } => file.display().to_string(),
            // Arguments may say more than a message should.
            SecretSource::Command { command } => {
                format!("the output of `{}`", command.first().map_or("", String::as_str))
            }
        }
    }

    /// Whether it can be had, without having it: `set`, `not set`, `found`, `not found`, `on demand`.
    pub fn status(&self, environment: &Environment) -> &'static str {
        match &self.source {
            SecretSource::Env { env } if environment.get(env).is_some() => "set",
            SecretSource::Env { .. } => "not set",
            SecretSource::File { file } if file.is_file() => "found",
            SecretSource::File { .. } => "not found",
            SecretSource::Command { .. } => "on demand",
        }
    }

    /// Fetches it. Reads a file or runs a program (at most 60 s), so it blocks.
    ///
    /// # Errors
    /// The variable is unset, the file unreadable, the program fails, or the text is empty.
    pub fn resolve(&self, environment: &Environment) -> Result<SecretString, SecretError> {
        let text = match &self.source {
            SecretSource::Env { env } => {
                let unset = format!("the environment variable {env} is not set");
                let remedy = format!("set it (export {env}=...) or name another source");
                environment.get(env).map(str::to_owned).ok_or_else(|| self.error(unset, remedy))?
            }
            SecretSource::File { file } => self.read_file(file)?,
            SecretSource::Command { command } => self.run(command)?,
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(self.error("the secret is empty", "check where it comes from"));
        }
        Ok(SecretString::from(text))
    }

    fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> SecretError {
        SecretError { key: self.key.clone(), problem: problem.into(), remedy: remedy.into() }
    }

    fn read_file(&self, file: &std::path::Path) -> Result<String, SecretError> {
        let failed = |error: std::io::Error| {
            let problem = format!("cannot read {}: {error}", file.display());
            self.error(problem, "create the file or name another source")
        };
        let mut text = String::new();
        let file = std::fs::File::open(file).map_err(failed)?;
        file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    }

    fn run(&self, command: &[String]) -> Result<String, SecretError> {
        let (program, arguments) = command.split_first().ok_or_else(|| {
            self.error("the command is empty", "name a program, such as [\"pass\", \"show\", \"openai\"]")
        })?;
        let failed = |problem: String| {
            self.error(format!("`{program}` {problem}"), "run it by hand and see what it prints")
        };
        let mut start = Command::new(program);
        start.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(folder) = &self.folder {
            start.current_dir(folder);
        }
        let mut child = start.spawn().map_err(|error| failed(format!("does not start: {error}")))?;
        let Some(output) = child.stdout.take() else { return Err(failed("has no output".into())) };
        let (sender, receiver) = mpsc::channel();
        // Ends when the program closes its output or is killed below.
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = output.take(LONGEST).read_to_string(&mut text).map(|_| text);
            // The receiver is gone after a timeout; then nobody wants the text.
            let _ = sender.send(read);
        });
        let read = receiver.recv_timeout(COMMAND_TIMEOUT);
        if read.is_err() {
            // Already ended is as good as killed.
            let _ = child.kill();
        }
        // A program may close its output and stay; then its end is not waited for.
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(child.wait());
        });
        let status = ended
            .recv_timeout(END_TIMEOUT)
            .map_err(|_| failed("closed its output and did not end".into()))?;
        let status = status.map_err(|error| failed(format!("is lost: {error}")))?;
        let text = read
            .map_err(|_| failed(format!("did not end within {} s", COMMAND_TIMEOUT.as_secs())))?
            .map_err(|error| failed(format!("printed no text: {error}")))?;
        if status.success() { Ok(text) } else { Err(failed(format!("failed ({status})"))) }
    }
}

/// Says where it comes from, as in the file.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = crate::toml_text::string;
        match &self.source {
            SecretSource::Env { env } => write!(f, "{{ env = {} }}", text(env)),
            SecretSource::File { file } => write!(f, "{{ file = {} }}", text(&file.display().to_string())),
            SecretSource::Command { command } => {
                let parts: Vec<String> = command.iter().map(|part| text(part)).collect();
                write!(f, "{{ command = [{}] }}", parts.join(", "))
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

/// Reports a secret in plain text, without repeating it.
pub(crate) fn report_plain(at: &At<'_>) {
    let message = format!("`{}` is a secret and must not stand in plain text", at.path);
    let variable = variable_for(at);
    at.report(
        at.error(ConfigErrorKind::PlainSecret, message)
            .allowed(SOURCES)
            .help(format!("put it into an environment variable and write {{ env = \"{variable}\" }}")),
    );
}

fn variable_for(at: &At<'_>) -> String {
    match at.path.keys().as_slice() {
        ["store", ..] => "DATABASE_URL".into(),
        [.., name, "key"] => format!("{}_API_KEY", name.to_ascii_uppercase().replace(['-', '.'], "_")),
        _ => "NAME".into(),
    }
}

impl FromNode for Secret {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if let Value::String(_) | Value::Integer(_) = at.node.value {
            report_plain(at);
            return None;
        }
        if at.node.as_table().is_none() {
            at.report(at.wrong_type("a secret").allowed(SOURCES));
            return None;
        }
        let mut fields = Fields::of(at)?;
        let secret = from_fields(&mut fields);
        fields.finish();
        secret
    }
}

/// The three sources; the caller asks for keys of its own and finishes.
pub(crate) fn from_fields(fields: &mut Fields<'_>) -> Option<Secret> {
    let env: Option<String> = fields.optional("env");
    let file = fields.at("file").and_then(|at| at.text().map(|text| at.resolve(text)));
    let command = fields.at("command");
    let at = fields.here().clone();
    let named = ["env", "file", "command"].into_iter().filter(|key| fields.has(key)).count();
    if named != 1 {
        let message = format!("`{}` needs exactly one of `env`, `file`, `command`", at.path);
        at.report(
            at.error(if named == 0 { ConfigErrorKind::Missing } else { ConfigErrorKind::Conflict }, message)
                .help("write { env = \"NAME\" }"),
        );
        return None;
    }
    let source = match (env, file, command) {
        (Some(env), _, _) if env.is_empty() || env.contains(['=', ' ', '\0']) => {
            at.report(at.invalid("this is no name of an environment variable"));
            return None;
        }
        (Some(env), _, _) => SecretSource::Env { env },
        (_, Some(file), _) => SecretSource::File { file },
        (_, _, Some(command)) => {
            let argv = Vec::<String>::from_node(&command)?;
            if argv.first().is_none_or(String::is_empty) {
                command.report(command.invalid("it names no program"));
                return None;
            }
            SecretSource::Command { command: argv }
        }
        _ => return None,
    };
    let folder = at.node.origin.source().folder().map(std::path::Path::to_owned);
    Some(Secret { source, key: at.path.to_string(), folder })
}
