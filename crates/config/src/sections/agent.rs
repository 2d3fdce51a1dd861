use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::context::Context;
use super::provider::{existing_file, plain};
use super::retry::TIMEOUTS;
use crate::duration::Duration;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::input;
use crate::reader::{At, Choice, Fields, FromNode};
use crate::suggest::nearest;

/// `[agents.NAME]`: a model with instructions and tools.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend(
    "if" = { "properties": { "mode": { "const": "workflow" } }, "required": ["mode"] },
    "then" = { "required": ["workflow"] },
    "else" = { "required": ["model"] }
))]
pub struct Agent {
    pub mode: AgentMode,
    /// The name of a model or a route, or `PROVIDER:NAME`. Only an agent that follows a workflow needs none.
    pub model: String,
    /// The workflow that it follows, where its mode says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A note on what it is for; no model is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Told to the model before everything else. In the file a text, or `{ file = "PATH" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<InstructionsSchema>")]
    pub instructions: Option<String>,
    /// Names of tools: of `[tools]`, or the built-in `read_file`, `list_files` and `search_files`.
    pub tools: Vec<String>,
    /// Calls of the model in one run.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_iterations: u32,
    /// Tools that run at once.
    #[schemars(range(min = 1, max = 256))]
    pub tool_concurrency: u32,
    /// The result is checked against a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OutputSchema>")]
    pub output: Option<Output>,
    #[serde(skip_serializing_if = "StopConditions::is_empty")]
    pub stop: StopConditions,
    pub tool_choice: ToolChoice,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Of one run; beyond it the run fails.
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentMode {
    /// Answers once to each message.
    Chat,
    /// Works until a reply asks for no tool.
    #[default]
    Auto,
    /// Follows its workflow.
    Workflow,
}

/// A structured result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// The JSON Schema itself, read from its file at load.
    pub schema: Json,
    /// The file it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// What ends a run early, besides a reply without tool calls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StopConditions {
    /// After one of these tools has run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_tools: Vec<String>,
    /// When a reply holds this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    /// This tool: `{ tool = "NAME" }`.
    Tool(String),
}

#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
enum InstructionsSchema {
    Text(String),
    File { file: String },
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct OutputSchema {
    /// The path of a JSON file, or the schema, or a short table of names and types.
    schema: SchemaOrPath,
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum SchemaOrPath {
    Path(String),
    Schema(serde_json::Map<String, Json>),
}

impl Choice for AgentMode {
    const ALL: &'static [(&'static str, Self)] =
        &[("chat", Self::Chat), ("auto", Self::Auto), ("workflow", Self::Workflow)];
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            mode: AgentMode::Auto,
            model: String::new(),
            workflow: None,
            description: None,
            instructions: None,
            tools: Vec::new(),
            max_iterations: 25,
            tool_concurrency: 16,
            output: None,
            stop: StopConditions::default(),
            tool_choice: ToolChoice::Auto,
            context: None,
            timeout: Duration::from_secs(3600),
        }
    }
}

impl StopConditions {
    pub fn is_empty(&self) -> bool {
        self.after_tools.is_empty() && self.text.is_none()
    }
}

impl FromNode for Agent {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?.aliases(&[
            ("system", "instructions"),
            ("system_prompt", "instructions"),
            ("prompt", "instructions"),
            ("max_turns", "max_iterations"),
            ("max_steps", "max_iterations"),
            ("output_schema", "output"),
            ("response_format", "output"),
            ("type", "mode"),
        ]);
        let mode = fields.or("mode", default.mode);
        let workflow: Option<String> = match mode {
            AgentMode::Workflow => fields.required("workflow", "\"NAME\""),
            AgentMode::Chat | AgentMode::Auto => fields.optional("workflow"),
        };
        if mode != AgentMode::Workflow
            && let Some(at) = fields.at("workflow")
        {
            let message = format!("`{}` belongs to mode = \"workflow\"", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("set mode = \"workflow\", or remove it"));
        }
        let model = match mode {
            AgentMode::Workflow => Some(fields.optional("model").unwrap_or_default()),
            AgentMode::Chat | AgentMode::Auto => fields.required("model", "\"demo\""),
        };
        let agent = Self {
            mode,
            model: String::new(),
            workflow,
            description: fields.optional("description"),
            instructions: fields.at("instructions").and_then(|at| instructions(&at)),
            tools: fields.or("tools", default.tools),
            max_iterations: fields.integer_or("max_iterations", 1..=10_000, default.max_iterations),
            tool_concurrency: fields.integer_or("tool_concurrency", 1..=256, default.tool_concurrency),
            output: fields.optional("output"),
            stop: fields.optional("stop").unwrap_or_default(),
            tool_choice: fields.or("tool_choice", default.tool_choice),
            context: fields.optional("context"),
            timeout: fields.duration_or("timeout", TIMEOUTS, default.timeout),
        };
        fields.finish();
        Some(Self { model: model?, ..agent })
    }
}

fn instructions(at: &At<'_>) -> Option<String> {
    if at.node.as_table().is_none() {
        return at.text().map(str::to_owned);
    }
    let mut fields = Fields::of(at)?;
    let file: Option<String> = fields.required("file", "\"instructions.md\"");
    let file = file.and_then(|_| fields.at("file")).and_then(|at| read_text(&at));
    fields.finish();
    file.map(|(text, _)| text)
}

fn read_text(at: &At<'_>) -> Option<(String, PathBuf)> {
    let path = existing_file(at)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Some((text, path)),
        Err(error) => {
            let name = crate::toml_text::string(at.text()?);
            let message = format!("`{}`: cannot read {name}: {}", at.path, plain(&error));
            at.report(at.error(ConfigErrorKind::UnknownReference, message));
            None
        }
    }
}

impl FromNode for Output {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let output = match fields.at("schema") {
            Some(at) if at.node.as_table().is_some() => {
                input::read(&at).map(|schema| Self { schema, file: None })
            }
            Some(at) => match at.node.as_text() {
                Some(_) => schema_file(&at),
                None => {
                    at.report(at.wrong_type("the path of a JSON file or a table"));
                    None
                }
            },
            None => {
                fields.missing("schema", "\"schemas/article.json\"");
                None
            }
        };
        fields.finish();
        output
    }
}

fn schema_file(at: &At<'_>) -> Option<Output> {
    let (text, path) = read_text(at)?;
    match serde_json::from_str::<Json>(&text) {
        Ok(schema @ Json::Object(_)) => Some(Output { schema, file: Some(path) }),
        Ok(_) => {
            at.report(at.invalid("the file holds no JSON object"));
            None
        }
        Err(error) => {
            at.report(at.invalid(format_args!("the file is not JSON: {error}")));
            None
        }
    }
}

impl FromNode for StopConditions {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[("tools", "after_tools")]);
        let stop = Self {
            after_tools: fields.optional("after_tools").unwrap_or_default(),
            text: fields.optional("text"),
        };
        if let Some(at) = fields.at("text")
            && stop.text.as_deref() == Some("")
        {
            at.report(at.invalid("every reply holds the empty text"));
        }
        fields.finish();
        Some(stop)
    }
}

impl FromNode for ToolChoice {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const NAMES: [&str; 3] = ["auto", "none", "required"];
        if at.node.as_table().is_some() {
            let mut fields = Fields::of(at)?;
            let tool = fields.required("tool", "\"NAME\"");
            fields.finish();
            return tool.map(Self::Tool);
        }
        match at.text()? {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            "required" => Some(Self::Required),
            other => {
                let message = format!("`{}` cannot be {}", at.path, crate::toml_text::string(other));
                at.report(
                    at.error(ConfigErrorKind::InvalidValue, message)
                        .suggestion(nearest(other, NAMES))
                        .allowed("auto, none, required, { tool = \"NAME\" }"),
                );
                None
            }
        }
    }
}
