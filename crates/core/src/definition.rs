//! What a run does. Pinned when the run is accepted, so a reload of the configuration changes no run
//! under way.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::budget::Budget;
use crate::graph::GraphDefinition;
use crate::model::{OutputSchema, Settings, ToolChoice};
use crate::tool::ToolSpec;

/// A definition and its hash: the records of a run name the hash, the store keeps the text once.
#[derive(Clone, Debug, PartialEq)]
pub struct Pinned {
    pub hash: Arc<str>,
    pub definition: Arc<Definition>,
    /// What the hash was taken of. Kept as it was stored: another version may write it differently.
    pub text: Arc<str>,
}

impl Pinned {
    pub fn new(definition: Definition) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(&definition)?;
        Ok(Self { hash: hash(&text).into(), definition: Arc::new(definition), text: text.into() })
    }

    /// Reads a stored definition and checks that it is the one its hash names. The stored text is hashed,
    /// not what this version would write: a new field must not make old runs unreadable.
    ///
    /// # Errors
    /// The text is another definition's, or none.
    pub fn read(named: &str, text: &str) -> Result<Self, String> {
        if hash(text) != named {
            return Err(format!("the definition was changed: its hash is not {named}"));
        }
        let definition = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self { hash: named.into(), definition: Arc::new(definition), text: text.into() })
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    Agent(Arc<AgentDefinition>),
    Graph(Arc<GraphDefinition>),
}

impl Definition {
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Graph(graph) => &graph.name,
        }
    }

    pub fn agent(&self) -> Option<&Arc<AgentDefinition>> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Graph(_) => None,
        }
    }

    pub fn graph(&self) -> Option<&Arc<GraphDefinition>> {
        match self {
            Self::Agent(_) => None,
            Self::Graph(graph) => Some(graph),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentDefinition {
    pub name: String,
    pub mode: Mode,
    /// The name of the model or route.
    pub model: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<PinnedTool>,
    #[serde(default)]
    pub tool_choice: ToolChoice,
    #[serde(default)]
    pub settings: Settings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSchema>,
    /// The output is given by a call of this tool, for models that cannot follow a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tool: Option<String>,
    /// One iteration is one model call.
    pub max_iterations: u32,
    /// Tools of this run that may run at once.
    pub tool_concurrency: u32,
    #[serde(default)]
    pub budget: Budget,
    #[serde(default)]
    pub stop: StopConditions,
    /// None: the model is always given the whole conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Compaction>,
    /// Whether user code looks at the result before the run finishes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finish_hook: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Answers a person; a cut reply is an answer.
    Chat,
    /// Works until a whole reply asks for no tool.
    #[default]
    Auto,
    /// Follows a graph.
    Workflow,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PinnedTool {
    pub spec: Arc<ToolSpec>,
    #[serde(default)]
    pub approval: Approval,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    #[default]
    Allow,
    /// A person is asked before each call.
    Ask,
    Deny,
}

/// When a run ends before the model says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StopConditions {
    /// The run ends when one of these tools has succeeded and its round is over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after_tools: Vec<String>,
    /// The run ends with a reply that has this text in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// When a summary takes the place of a conversation's older part, in what the model is given. The history
/// stays whole. Where `window` is not known, only once a prompt was too long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compaction {
    /// Share of the window, above 0 and up to 1.
    pub compact_at: f64,
    /// Messages at the end that stay as they are, at least 1.
    pub keep_last: u32,
    /// The name of the model that summarises; the agent's own where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarise_with: Option<String>,
    /// The context of the agent's model, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { compact_at: 0.8, keep_last: 12, summarise_with: None, window: None }
    }
}

impl AgentDefinition {
    /// Stands in until the right one is put in its place.
    pub(crate) fn unknown() -> Arc<Self> {
        Arc::new(Self {
            name: String::new(),
            mode: Mode::default(),
            model: String::new(),
            instructions: String::new(),
            tools: vec![],
            tool_choice: ToolChoice::default(),
            settings: Settings::default(),
            output: None,
            output_tool: None,
            max_iterations: 0,
            tool_concurrency: 0,
            budget: Budget::default(),
            stop: StopConditions::default(),
            context: None,
            finish_hook: false,
        })
    }

    pub fn tool(&self, name: &str) -> Option<&PinnedTool> {
        self.tools.iter().find(|tool| tool.spec.name == name)
    }
}
