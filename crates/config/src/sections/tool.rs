use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::retry::{Retry, TIMEOUTS};
use crate::duration::Duration;
use crate::error::ConfigErrorKind;
use crate::header::{Headers, TextOrSecret, headers};
use crate::input;
use crate::placeholders;
use crate::reader::{At, Choice, Fields, FromNode};
use crate::size::Size;
use crate::suggest::nearest;
use crate::template::Template;
use crate::tree::Value;
use crate::url;

/// Tools that agents may name without a section of their own: they read the folder of the project. One of
/// `[tools]` with the same name goes before it.
pub const BUILT_IN_TOOLS: [&str; 3] = ["read_file", "list_files", "search_files"];

/// `[tools.NAME]`: something a model may call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    #[serde(flatten)]
    pub action: ToolAction,
    /// What the model is told about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its arguments, an object. In the file also short: `{ id = "integer", tags = "string[]?" }`.
    #[schemars(default = "no_input")]
    pub input: Json,
    /// What a repetition does. Undeclared: recovered as `once`, approved as `read`; HTTP GET and HEAD are `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    #[schemars(default = "default_timeout")]
    pub timeout: Duration,
    /// Whether it may run beside other tools; `false` runs it alone in its run.
    #[schemars(default = "always")]
    pub parallel: bool,
    /// Calls of this tool at once.
    #[schemars(range(min = 1, max = 1024), default = "default_concurrency")]
    pub concurrency: u32,
    /// How much of its output is kept.
    #[schemars(default = "default_output")]
    pub max_output: Size,
    /// Only for the effects `read` and `idempotent`, whose calls have 3 attempts where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// What a call does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolAction {
    /// An HTTP request.
    Http {
        #[schemars(default = "get")]
        method: Method,
        /// Placeholders stand in the path and the query, never in the scheme and the host.
        url: Template,
        #[serde(skip_serializing_if = "Headers::is_empty")]
        #[schemars(default)]
        headers: Headers,
        /// A pair is left out when its only placeholder is an absent input.
        #[serde(skip_serializing_if = "IndexMap::is_empty")]
        #[schemars(default)]
        query: IndexMap<String, Template>,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<Body>,
        /// Whether private, loopback and link-local addresses may be reached.
        #[schemars(default)]
        allow_private: bool,
    },
    /// A program, never a shell.
    Command {
        /// Program and arguments. Placeholders stand in the arguments.
        command: Vec<Template>,
        /// Relative to the folder of the file that names it.
        #[schemars(default = "here")]
        cwd: PathBuf,
        /// Text for the standard input; without it there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        stdin: Option<Template>,
        /// Variables to set, besides PATH, HOME, LANG, LC_ALL, LC_CTYPE, TZ and TMPDIR, which are passed on.
        #[serde(skip_serializing_if = "IndexMap::is_empty")]
        #[schemars(default)]
        env: IndexMap<String, TextOrSecret>,
        /// Further variables to pass on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        #[schemars(default)]
        pass_env: Vec<String>,
        /// Inputs whose value may begin with `-` although nothing keeps the program from reading an option.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        #[schemars(default)]
        allow_dash: Vec<String>,
        /// Exit codes that are no failure.
        #[schemars(default = "zero")]
        ok_exit_codes: Vec<u8>,
        /// Whether the standard output is a JSON document.
        #[schemars(default)]
        json: bool,
    },
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Body {
    /// Sent as text.
    Text(Template),
    /// Sent as JSON. Its texts are templates; a text that is one placeholder takes the value as it is.
    Json(#[schemars(schema_with = "table_or_list")] Json),
}

fn table_or_list(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["object", "array"] })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing: repeated freely.
    Read,
    /// Repeated with the same key.
    Idempotent,
    /// In doubt after a crash: a person decides.
    Once,
}

fn no_input() -> Json {
    serde_json::json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false })
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_output() -> Size {
    Size::from_bytes(256 * 1024)
}

fn default_concurrency() -> u32 {
    8
}

fn always() -> bool {
    true
}

fn zero() -> Vec<u8> {
    vec![0]
}

fn here() -> &'static str {
    "."
}

fn get() -> Method {
    Method::Get
}

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Command,
}

impl Choice for Kind {
    const ALL: &'static [(&'static str, Self)] = &[("http", Self::Http), ("command", Self::Command)];
    const LATER: &'static [&'static str] = &["mcp"];
}

impl Choice for Method {
    const ALL: &'static [(&'static str, Self)] = &[
        ("GET", Self::Get),
        ("HEAD", Self::Head),
        ("POST", Self::Post),
        ("PUT", Self::Put),
        ("PATCH", Self::Patch),
        ("DELETE", Self::Delete),
    ];
}

impl Choice for Effect {
    const ALL: &'static [(&'static str, Self)] =
        &[("read", Self::Read), ("idempotent", Self::Idempotent), ("once", Self::Once)];
}

impl Tool {
    /// The effect that is declared or follows from the method; `None` is undeclared.
    pub fn known_effect(&self) -> Option<Effect> {
        match (self.effect, &self.action) {
            (Some(effect), _) => Some(effect),
            (None, ToolAction::Http { method: Method::Get | Method::Head, .. }) => Some(Effect::Read),
            (None, ToolAction::Http { .. } | ToolAction::Command { .. }) => None,
        }
    }
}

impl FromNode for Tool {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("args", "input"),
            ("parameters", "input"),
            ("inputs", "input"),
            ("params", "query"),
            ("argv", "command"),
            ("type", "kind"),
            ("working_directory", "cwd"),
            ("exclusive", "parallel"),
            ("environment", "env"),
        ]);
        // Of a kind that is unknown, not built or malformed, the other keys cannot be judged.
        let kind: Kind = fields.required("kind", "\"http\" or \"command\"")?;
        let input = match fields.at("input") {
            Some(at) => input::read(&at),
            None => Some(fields.or("input", Input(no_input())).0),
        };
        let action = match kind {
            Kind::Http => http(&mut fields),
            Kind::Command => command(&mut fields),
        };
        let description = fields.optional("description");
        let effect = fields.optional("effect");
        let timeout = fields.duration_or("timeout", TIMEOUTS, default_timeout());
        let parallel = fields.or("parallel", true);
        let concurrency = fields.integer_or("concurrency", 1..=1024, default_concurrency());
        let sizes = Size::from_bytes(1024)..=Size::from_bytes(16 << 20);
        let max_output = fields.size_or("max_output", sizes, default_output());
        let retry = fields.optional("retry");
        if let Some(input) = &input {
            placeholders::check(&mut fields, input, matches!(kind, Kind::Http));
        }
        let retry_at = fields.at("retry");
        fields.finish();
        let tool = Self {
            action: action?,
            description,
            input: input?,
            effect,
            timeout,
            parallel,
            concurrency,
            max_output,
            retry,
        };
        if let (Some(retry), Some(at)) = (&tool.retry, retry_at)
            && retry.attempts > 1
            && !matches!(tool.known_effect(), Some(Effect::Read | Effect::Idempotent))
        {
            let message = format!("`{}`: only a tool whose effect is read or idempotent is retried", at.path);
            let error = at.error(ConfigErrorKind::Conflict, message);
            at.report(
                error.help("declare effect = \"read\" or \"idempotent\" if that is true, else remove retry"),
            );
        }
        Some(tool)
    }
}

fn http(fields: &mut Fields<'_>) -> Option<ToolAction> {
    let method = fields.or("method", Method::Get);
    let url: Option<Template> = fields.required("url", "\"https://api.example.com/items/{id}\"");
    if let (Some(url), Some(at)) = (&url, fields.at("url")) {
        check_url(url, &at);
    }
    let headers = headers(fields);
    let query = fields.optional("query").unwrap_or_default();
    let body: Option<Body> = fields.optional("body");
    if body.is_some()
        && matches!(method, Method::Get | Method::Head)
        && let Some(at) = fields.at("body")
    {
        let message = format!("`{}`: a GET or HEAD request carries no body", at.path);
        at.report(at.error(ConfigErrorKind::Conflict, message).help("write method = \"POST\" or use query"));
    }
    let allow_private = fields.or("allow_private", false);
    Some(ToolAction::Http { method, url: url?, headers, query, body, allow_private })
}

/// The host is fixed: a model must not choose whom a tool talks to, least of all with a secret in a header.
fn check_url(template: &Template, at: &At<'_>) {
    let text = template.as_str();
    let host = text.split_once("://").map(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).map_or(text.len(), |end| scheme.len() + 3 + end);
        &text[..end]
    });
    if host.unwrap_or(text).contains('{') {
        let reason = "a placeholder may stand in the path and the query, not in the scheme or the host";
        at.report(at.invalid(reason).help("write the host out, and make one tool per host"));
    } else {
        url::checked(at, text);
    }
}

fn command(fields: &mut Fields<'_>) -> Option<ToolAction> {
    let command = fields.at("command");
    let argv = match &command {
        Some(at) => argv(at),
        None => {
            fields.missing("command", "[\"grep\", \"-rn\", \"--\", \"{pattern}\", \".\"]");
            None
        }
    };
    let cwd = match fields.at("cwd") {
        Some(at) => at.text().map(|text| at.resolve(text)),
        None => {
            fields.or("cwd", String::from("."));
            // Where the command is written; a flag may have set another key of the tool.
            command.map(|at| at.folder().to_owned())
        }
    };
    let stdin = fields.optional("stdin");
    let env = fields.at("env").and_then(|at| environment(&at)).unwrap_or_default();
    let pass_env = fields.optional("pass_env").unwrap_or_default();
    let allow_dash = fields.at("allow_dash").and_then(|at| allow_dash(&at, fields)).unwrap_or_default();
    let ok_exit_codes = match fields.at("ok_exit_codes").map(|at| at.items("exit codes")) {
        Some(items) => items.into_iter().flatten().filter_map(|at| at.integer(0..=255)).collect(),
        None => fields.or("ok_exit_codes", Codes(zero())).0,
    };
    let json = fields.or("json", false);
    Some(ToolAction::Command {
        command: argv?,
        cwd: cwd?,
        stdin,
        env,
        pass_env,
        allow_dash,
        ok_exit_codes,
        json,
    })
}

fn environment(at: &At<'_>) -> Option<IndexMap<String, TextOrSecret>> {
    for (name, entry) in at.node.as_table().into_iter().flatten() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let path = at.path.key(name);
            let message = format!("{} is no name of an environment variable", crate::toml_text::string(name));
            at.report(crate::ConfigError::new(ConfigErrorKind::InvalidValue, path, message, &entry.key));
        }
    }
    IndexMap::from_node(at)
}

/// Each must be an input.
fn allow_dash(at: &At<'_>, fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let names = Vec::<String>::from_node(at)?;
    let input = fields.at("input").and_then(|at| at.node.as_table());
    let properties =
        |table: &crate::tree::Table| table.get("properties").and_then(|it| it.node.as_table()).cloned();
    let input = input.map(|table| properties(table).unwrap_or_else(|| table.clone())).unwrap_or_default();
    let known: Vec<&str> = input.keys().map(String::as_str).collect();
    for item in at.items("texts")? {
        if let Some(name) = item.node.as_text().filter(|name| !known.contains(name)) {
            let message =
                format!("`{}`: {} is no input of this tool", item.path, crate::toml_text::string(name));
            let error = item.error(ConfigErrorKind::UnknownReference, message);
            item.report(error.suggestion(nearest(name, known.iter().copied())).allowed(known.join(", ")));
        }
    }
    Some(names)
}

fn argv(at: &At<'_>) -> Option<Vec<Template>> {
    const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "fish", "cmd"];
    if at.node.as_text().is_some() {
        let error = at.wrong_type("a list: the program and each argument");
        at.report(error.help("no shell reads it: write [\"grep\", \"-rn\", \"--\", \"{pattern}\", \".\"]"));
        return None;
    }
    let items = at.items("texts")?;
    let argv: Vec<Option<Template>> = items.iter().map(Template::from_node).collect();
    let argv: Vec<Template> = argv.into_iter().collect::<Option<_>>()?;
    let Some(program) = argv.first().filter(|program| !program.as_str().is_empty()) else {
        at.report(at.invalid("it names no program"));
        return None;
    };
    if program.inputs().next().is_some() {
        items[0]
            .report(items[0].invalid("the program is fixed: a placeholder may stand in the arguments only"));
    }
    let name = program.as_str().rsplit('/').next().unwrap_or_default();
    let script = argv.iter().position(|part| is_script_flag(part.as_str())).map(|flag| flag + 1);
    if SHELLS.contains(&name)
        && let Some(at) = script.and_then(|script| items.get(script))
        && script.and_then(|script| argv.get(script)).is_some_and(|part| part.inputs().next().is_some())
    {
        let error = at.invalid("a placeholder inside a script lets a model write shell commands");
        at.report(error.help(
            "pass it as an argument: [\"sh\", \"-c\", \"grep -- \\\"$1\\\" .\", \"sh\", \"{pattern}\"]",
        ));
    }
    Some(argv)
}

/// `-c`, also among others as in `-ec`.
fn is_script_flag(argument: &str) -> bool {
    argument.starts_with('-') && !argument.starts_with("--") && argument.contains('c')
}

/// Exit codes as a default that is written out.
#[derive(Serialize)]
struct Codes(Vec<u8>);

impl FromNode for Codes {
    fn from_node(_: &At<'_>) -> Option<Self> {
        None
    }
}

/// A schema as a default that is written out.
#[derive(Serialize)]
struct Input(Json);

impl FromNode for Input {
    fn from_node(at: &At<'_>) -> Option<Self> {
        input::read(at).map(Self)
    }
}

impl FromNode for Template {
    fn from_node(at: &At<'_>) -> Option<Self> {
        at.text()?;
        placeholders::parse(at.node, &at.path, at.reading)
    }
}

impl FromNode for Body {
    fn from_node(at: &At<'_>) -> Option<Self> {
        match &at.node.value {
            Value::Table(_) | Value::Array(_) => Some(Self::Json(at.node.to_json())),
            Value::String(_) => Template::from_node(at).map(Self::Text),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                at.report(at.wrong_type("a text, or a table or list that is sent as JSON"));
                None
            }
        }
    }
}
