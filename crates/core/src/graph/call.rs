//! What a node's work is given, and what it gives back.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{GraphDefinition, NodeDefinition, Source};
use super::state::{State, lookup};

/// A node's work with all it may look at. Copies nothing.
#[derive(Clone, Debug)]
pub struct NodeCall {
    pub(crate) graph: Arc<GraphDefinition>,
    pub(crate) node: u32,
    pub(crate) state: Arc<State>,
    pub(crate) item: Option<Item>,
    pub(crate) edited: Option<Value>,
    /// What the driver made of its template.
    pub(crate) filled: Option<Value>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// The element of the list that `each` names.
    Listed(u32),
    Sent(Arc<Value>),
}

impl NodeCall {
    pub fn graph(&self) -> &Arc<GraphDefinition> {
        &self.graph
    }

    pub fn definition(&self) -> &NodeDefinition {
        &self.graph.nodes[self.node as usize]
    }

    /// The state as the node sees it: what its own past made of it.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// A value of the state, by the name of its field or by a path with dots.
    pub fn get(&self, path: &str) -> Option<&Value> {
        lookup(&self.state, path)
    }

    /// Its item, where it runs over several.
    pub fn item(&self) -> Option<&Value> {
        match self.item.as_ref()? {
            Item::Sent(value) => Some(value),
            Item::Listed(at) => {
                let list = lookup(&self.state, self.definition().each.as_deref()?)?;
                list.as_array()?.get(*at as usize)
            }
        }
    }

    /// The input as it is recorded; a person may have changed it. Nothing where it is a template, see
    /// [`Self::template`].
    pub fn input(&self) -> Option<Value> {
        if let Some(given) = self.edited.as_ref().or(self.filled.as_ref()) {
            return Some(given.clone());
        }
        match &self.definition().input {
            Source::State => {
                Some(self.item().cloned().unwrap_or_else(|| Value::Object((*self.state).clone())))
            }
            Source::Field(path) => Some(lookup(&self.state, path).cloned().unwrap_or_default()),
            Source::Value(value) => Some(value.clone()),
            Source::Template(_) => None,
        }
    }

    /// Text that the driver fills in from state and item.
    pub fn template(&self) -> Option<&str> {
        match &self.definition().input {
            Source::Template(text) if self.edited.is_none() && self.filled.is_none() => Some(text),
            _ => None,
        }
    }

    /// The same call with this input, which the driver made of its template.
    #[must_use]
    pub fn filled(self, input: Value) -> Self {
        Self { filled: Some(input), ..self }
    }

    /// Whether a person changed the input.
    pub fn is_edited(&self) -> bool {
        self.edited.is_some()
    }
}

/// What user code, or a branch, gives back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeOutput {
    /// An object is an update of the state, `null` none; anything else goes into the node's field.
    #[serde(skip_serializing_if = "is_null")]
    pub value: Arc<Value>,
    /// Items for other nodes, which run once for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub send: Vec<Sent>,
    /// The targets that are chosen: of the function of a branch, or of a node whose own result chooses. A branch may
    /// give the name of one as its value as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub go: Vec<String>,
}

/// An item and the node it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    pub to: String,
    pub item: Arc<Value>,
}

impl From<Value> for NodeOutput {
    fn from(value: Value) -> Self {
        Self { value: Arc::new(value), ..Self::default() }
    }
}

impl From<State> for NodeOutput {
    fn from(update: State) -> Self {
        Value::Object(update).into()
    }
}

/// No update.
impl From<()> for NodeOutput {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl NodeOutput {
    /// The same, with an item for another node.
    #[must_use]
    pub fn send(mut self, to: impl Into<String>, item: impl Into<Value>) -> Self {
        self.send.push(Sent { to: to.into(), item: Arc::new(item.into()) });
        self
    }

    /// A branch's choice.
    pub fn go(targets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { go: targets.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

fn is_null(value: &Arc<Value>) -> bool {
    value.is_null()
}
