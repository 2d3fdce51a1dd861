//! `[workflows.NAME]`: steps, what they need, and where they lead.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::step::Step;
use crate::error::ConfigErrorKind;
use crate::input;
use crate::reader::{At, Fields, FromNode};

/// `[workflows.NAME]`: steps that run agents, tools, people and other workflows, in an order that their needs make.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Workflow {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What a run is given: names and types, or a JSON Schema of an object.
    pub input: Json,
    /// See [Workflows](workflows.md).
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
    /// What a run gives: an expression, or a table of names and expressions. Default: the result of the steps that
    /// nothing follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<WorkflowOutput>,
    /// Steps that may start before the run pauses.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_steps: u32,
    /// Steps, and elements of lists, that run at once.
    #[schemars(range(min = 1, max = 1000))]
    pub concurrency: u32,
}

/// Expressions (CEL) over `input`, `steps` and `visits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum WorkflowOutput {
    One(String),
    Fields(IndexMap<String, String>),
}

impl Default for Workflow {
    fn default() -> Self {
        Self {
            description: None,
            input: serde_json::json!({
                "type": "object", "properties": {}, "required": [], "additionalProperties": false
            }),
            steps: Vec::new(),
            output: None,
            max_steps: 10_000,
            concurrency: 16,
        }
    }
}

impl FromNode for Workflow {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let default = Self::default();
        let mut fields = Fields::of(at)?.aliases(&[
            ("inputs", "input"),
            ("args", "input"),
            ("outputs", "output"),
            ("result", "output"),
            ("step", "steps"),
            ("nodes", "steps"),
        ]);
        let steps = fields.at("steps");
        if steps.is_none() {
            fields.missing("steps", "[{ id = \"plan\", agent = \"writer\" }]");
        }
        let steps = steps.and_then(|at| read_steps(&at));
        let workflow = Self {
            description: fields.optional("description"),
            input: fields.at("input").and_then(|at| input::read(&at)).unwrap_or(default.input),
            steps: steps.unwrap_or_default(),
            output: fields.optional("output"),
            max_steps: fields.integer_or("max_steps", 1..=10_000_000, default.max_steps),
            concurrency: fields.integer_or("concurrency", 1..=1000, default.concurrency),
        };
        fields.finish();
        Some(workflow)
    }
}

fn read_steps(at: &At<'_>) -> Option<Vec<Step>> {
    let items = at.items("steps")?;
    if items.is_empty() {
        at.report(at.invalid("a workflow has at least one step").help("add [[...steps]] with an id"));
    }
    // Places count, so a step that cannot be read at all stands there empty.
    Some(items.iter().map(|at| Step::from_node(at).unwrap_or_default()).collect())
}

impl FromNode for WorkflowOutput {
    fn from_node(at: &At<'_>) -> Option<Self> {
        if at.node.as_table().is_some() {
            return IndexMap::from_node(at).map(Self::Fields);
        }
        match at.node.as_text() {
            Some(text) => Some(Self::One(text.to_owned())),
            None => {
                at.report(at.wrong_type("an expression, or a table of names and expressions"));
                None
            }
        }
    }
}

/// A name that expressions can use: letters, digits and `_`, no digit first.
pub(crate) fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

pub(crate) fn name(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if is_name(text) {
        return Some(text.to_owned());
    }
    let message = format!("`{}` cannot be {}", at.path, crate::toml_text::string(text));
    let fault = at.error(ConfigErrorKind::InvalidValue, message);
    at.report(fault.help("write letters, digits and `_`, and no digit first: expressions use the name"));
    None
}
