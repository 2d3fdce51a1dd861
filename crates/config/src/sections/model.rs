use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::provider::existing_file;
use super::retry::{Retry, TIMEOUTS};
use crate::duration::Duration;
use crate::error::ConfigErrorKind;
use crate::reader::{At, Choice, Fields, FromNode};

/// `[models.NAME]`: a model and how it is called.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = provider_is_the_default_kind, transform = a_person_has_one_time)]
pub struct Model {
    #[serde(flatten)]
    pub source: ModelSource,
    /// US dollars per million tokens. Of a few models it is known at their vendor; without it, runs cost nothing in reports
    /// and budgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    #[schemars(default)]
    pub retry: Retry,
    #[schemars(default)]
    #[serde(skip_serializing_if = "ModelTimeouts::is_none")]
    pub timeout: ModelTimeouts,
    /// Tokens the model can take in and give out together. `ollama` is told it (`num_ctx`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 256, max = 100_000_000))]
    pub context: Option<u32>,
    /// What the model can do, where it is not known or another one than is known.
    #[schemars(default)]
    pub capabilities: Capabilities,
    /// Longest reply, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end a reply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub stop: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Whether the model may ask for several tools at once. Default: as the vendor does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// How a structured result is asked for.
    #[schemars(default)]
    pub output_method: OutputMethod,
    /// Laid over the body of each request as it is: what a vendor knows and Ambidex does not.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(default)]
    pub extra: Map<String, Json>,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelSource {
    /// A model of a provider; the kind when none is written.
    Provider {
        provider: String,
        /// As the vendor names it.
        name: String,
    },
    /// A script: no key and no network.
    Scripted { script: Script },
    /// A person; these are all the keys he has.
    Human {
        /// Who is asked. Default: the model's name.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// How long he has to answer, from when he is asked.
        #[schemars(default = "person_has")]
        timeout: Duration,
    },
}

/// Where a script is.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Script {
    /// `builtin:NAME`.
    Builtin(String),
    /// A TOML file; the path is absolute once loaded.
    File(PathBuf),
}

/// US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub input: f64,
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub output: f64,
    /// Default: as `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub cached_input: Option<f64>,
}

/// What a model can do. What it cannot is refused before it is sent; the unknown is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Whether it sees images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision: Option<bool>,
    /// Whether it calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether it asks for several tools at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Tokens of its longest reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_output: Option<u32>,
}

/// How long each part of a call may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTimeouts {
    pub connect: Duration,
    /// Default: 1 minute, and 5 where the call asks for reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Duration>,
    /// Without content; pings do not count for ever.
    pub idle: Duration,
    pub total: Duration,
}

/// Thinking before the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// At most so many tokens. Beside `effort`, they count where the vendor counts tokens, else `effort` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputMethod {
    /// Native where it composes with tools, else an output tool.
    #[default]
    Auto,
    /// The vendor's own structured output.
    Native,
    /// A tool whose arguments are the result.
    Tool,
}

/// The `timeout` of a person is a time and not a table.
fn a_person_has_one_time(schema: &mut schemars::Schema) {
    let Some(table) = schema.get_mut("properties").and_then(Json::as_object_mut) else { return };
    let Some(timeout) = table.shift_remove("timeout") else { return };
    for variant in schema.get_mut("oneOf").and_then(Json::as_array_mut).into_iter().flatten() {
        if let Some(properties) = variant["properties"].as_object_mut() {
            properties.entry("timeout").or_insert_with(|| timeout.clone());
        }
    }
}

/// `kind` may be left out for a model of a provider.
fn provider_is_the_default_kind(schema: &mut schemars::Schema) {
    let variants = schema.get_mut("oneOf").and_then(Json::as_array_mut);
    for variant in variants.into_iter().flatten() {
        if variant["properties"]["kind"]["const"] == "provider"
            && let Some(required) = variant["required"].as_array_mut()
        {
            required.retain(|key| key != "kind");
        }
    }
}

impl Choice for Effort {
    const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("minimal", Self::Minimal),
        ("low", Self::Low),
        ("medium", Self::Medium),
        ("high", Self::High),
        ("xhigh", Self::Xhigh),
    ];
}

impl Choice for OutputMethod {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("native", Self::Native), ("tool", Self::Tool)];
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Provider,
    Scripted,
    Human,
}

impl Choice for Kind {
    const ALL: &'static [(&'static str, Self)] =
        &[("provider", Self::Provider), ("scripted", Self::Scripted), ("human", Self::Human)];
}

impl ModelTimeouts {
    /// There are none: who answers is a person.
    pub const NONE: Self = Self {
        connect: Duration::from_secs(0),
        first_token: None,
        idle: Duration::from_secs(0),
        total: Duration::from_secs(0),
    };

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// How long a person may be given.
const PERSON: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

/// Where nothing is said.
fn person_has() -> Duration {
    Duration::from_secs(24 * 3600)
}

impl Default for ModelTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: None,
            idle: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

impl Model {
    /// The model with every setting at its default; what `PROVIDER:NAME` means.
    pub fn new(source: ModelSource) -> Self {
        Self {
            source,
            price: None,
            retry: Retry::default(),
            timeout: ModelTimeouts::default(),
            context: None,
            capabilities: Capabilities::default(),
            max_tokens: None,
            temperature: None,
            top_p: None,
            seed: None,
            stop: Vec::new(),
            reasoning: None,
            parallel_tool_calls: None,
            output_method: OutputMethod::Auto,
            extra: Map::new(),
        }
    }
}

impl FromNode for Model {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("model", "name"),
            ("id", "name"),
            ("cost", "price"),
            ("pricing", "price"),
            ("max_output_tokens", "max_tokens"),
            ("context_window", "context"),
            ("reasoning_effort", "reasoning"),
            ("thinking", "reasoning"),
            ("retries", "retry"),
            ("type", "kind"),
        ]);
        // Of a kind that is unknown, not built or malformed, the other keys cannot be judged.
        let kind = match fields.at("kind") {
            Some(at) => Kind::from_node(&at)?,
            None => fields.or("kind", Kind::Provider),
        };
        let source = match kind {
            // What else a model may be told is nothing to a person, so no other key is known.
            Kind::Human => {
                let queue = fields.optional::<String>("queue");
                if let Some(at) =
                    queue.as_ref().filter(|queue| queue.trim().is_empty()).and(fields.at("queue"))
                {
                    at.report(at.invalid("it is empty").help("name who is asked, such as \"editors\""));
                }
                let timeout = fields.duration_or("timeout", PERSON, person_has());
                fields.finish();
                let timeouts = ModelTimeouts::NONE;
                return Some(Self { timeout: timeouts, ..Self::new(ModelSource::Human { queue, timeout }) });
            }
            Kind::Provider => {
                let provider = fields.required("provider", "\"openai\"");
                let name = fields.required("name", "\"MODEL-ID\"");
                provider.zip(name).map(|(provider, name)| ModelSource::Provider { provider, name })
            }
            Kind::Scripted => {
                fields.required("script", "\"builtin:tour\"").map(|script| ModelSource::Scripted { script })
            }
        };
        let reasoning: Option<Reasoning> = fields.optional("reasoning");
        let timeout = fields.section("timeout", ModelTimeouts::default());
        let price = fields.optional("price");
        let retry = fields.section("retry", Retry::default());
        let context: Option<u32> = fields.integer("context", 256..=100_000_000);
        let capabilities = fields.section("capabilities", Capabilities::default());
        let max_tokens: Option<u32> = fields.integer("max_tokens", 1..=10_000_000);
        let temperature = fields.float("temperature", 0.0..=2.0);
        let top_p = fields.float("top_p", 0.0..=1.0);
        let seed = fields.integer("seed", 0..=i64::MAX);
        let stop = fields.optional("stop").unwrap_or_default();
        let parallel_tool_calls = fields.optional("parallel_tool_calls");
        let output_method = fields.or("output_method", OutputMethod::Auto);
        let extra = fields.at("extra").and_then(|at| extra(&at)).unwrap_or_default();
        if let (Some(max), Some(context), Some(at)) = (max_tokens, context, fields.at("max_tokens"))
            && max > context
        {
            let message = format!("`{}` is {max}, more than the context of {context} tokens", at.path);
            at.report(at.error(ConfigErrorKind::Conflict, message));
        }
        fields.finish();
        Some(Self {
            source: source?,
            price,
            retry,
            timeout,
            context,
            capabilities,
            max_tokens,
            temperature,
            top_p,
            seed,
            stop,
            reasoning,
            parallel_tool_calls,
            output_method,
            extra,
        })
    }
}

impl FromNode for Capabilities {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[("images", "vision"), ("max_tokens", "max_output")]);
        let capabilities = Self {
            vision: fields.optional("vision"),
            tools: fields.optional("tools"),
            parallel_tool_calls: fields.optional("parallel_tool_calls"),
            max_output: fields.integer("max_output", 1..=100_000_000),
        };
        fields.finish();
        Some(capabilities)
    }
}

impl FromNode for ModelTimeouts {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        let timeouts = Self {
            connect: fields.duration_or("connect", TIMEOUTS, default.connect),
            first_token: fields.duration("first_token", TIMEOUTS),
            idle: fields.duration_or("idle", TIMEOUTS, default.idle),
            total: fields.duration_or("total", TIMEOUTS, default.total),
        };
        fields.finish();
        Some(timeouts)
    }
}

fn extra(at: &At<'_>) -> Option<Map<String, Json>> {
    /// What the adapters write themselves.
    const OURS: [(&str, &str); 7] = [
        ("model", "name"),
        ("messages", ""),
        ("system", ""),
        ("tools", ""),
        ("stream", ""),
        ("max_tokens", "max_tokens"),
        ("temperature", "temperature"),
    ];
    let Some(table) = at.node.as_table() else {
        at.report(at.wrong_type("a table"));
        return None;
    };
    for (name, entry) in table {
        let Some((_, key)) = OURS.iter().find(|(ours, _)| ours == name) else { continue };
        let path = at.path.key(name);
        let message = format!("`{path}` would overwrite what Ambidex writes itself");
        let error = crate::ConfigError::new(ConfigErrorKind::Conflict, path, message, &entry.key);
        at.report(if key.is_empty() {
            error
        } else {
            error.help(format!("set the key `{key}` of the model"))
        });
    }
    at.node.to_json().as_object().cloned()
}

impl FromNode for Script {
    fn from_node(at: &At<'_>) -> Option<Self> {
        match at.text()?.strip_prefix("builtin:") {
            Some("") => {
                at.report(at.invalid("it names no built-in script").help("write \"builtin:tour\""));
                None
            }
            Some(name) => Some(Self::Builtin(name.to_owned())),
            None => existing_file(at).map(Self::File),
        }
    }
}

impl FromNode for Price {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const USD: std::ops::RangeInclusive<f64> = 0.0..=1_000_000.0;
        let mut fields =
            Fields::of(at)?.aliases(&[("cached", "cached_input"), ("cache_read", "cached_input")]);
        let (has_input, has_output) = (fields.has("input"), fields.has("output"));
        let input = fields.float("input", USD);
        let output = fields.float("output", USD);
        let cached_input = fields.float("cached_input", USD);
        if !has_input {
            fields.missing("input", "1.25");
        }
        if !has_output {
            fields.missing("output", "10.0");
        }
        fields.finish();
        Some(Self { input: input?, output: output?, cached_input })
    }
}

impl FromNode for Reasoning {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[("budget", "tokens"), ("budget_tokens", "tokens")]);
        let reasoning =
            Self { effort: fields.optional("effort"), tokens: fields.integer("tokens", 1..=10_000_000) };
        if !fields.has("effort") && !fields.has("tokens") {
            fields.missing("effort", "\"medium\"");
        }
        fields.finish();
        Some(reasoning)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Serialize for Script {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
