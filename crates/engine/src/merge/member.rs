//! What members gave, and where it stands in the state of a graph.

use ambidex_core::graph::State;
use ambidex_core::{Error, ErrorKind, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one member gave, or why it gave nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemberOutput {
    pub author: String,
    /// Of a larger task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// What the part was, where it was not the whole task: judges are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    pub text: String,
    /// Where it is structured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
}

/// Why a member, or a judge, is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub author: String,
    pub code: String,
    pub message: String,
}

impl MemberOutput {
    /// What an agent gave: a text, or an output of its schema.
    pub fn new(author: impl Into<String>, value: impl Into<Value>) -> Self {
        let value = value.into();
        let (text, output) = match value {
            Value::String(text) => (text, None),
            value => {
                let text = value.get("text").and_then(Value::as_str).map(str::to_owned);
                (text.unwrap_or_else(|| value.to_string()), Some(value))
            }
        };
        Self { author: author.into(), text, output, ..Self::default() }
    }

    pub fn failed(author: impl Into<String>, error: &Error) -> Self {
        let author = author.into();
        let failed = Failure::of(author.clone(), error);
        Self { author, failed: Some(failed), ..Self::default() }
    }

    /// What it gave as data: its output, or its text where that is JSON.
    pub(crate) fn data(&self) -> Option<Value> {
        self.output.clone().or_else(|| serde_json::from_str(self.text.trim()).ok())
    }

    /// Its author and part, as people are told.
    pub(crate) fn label(&self) -> String {
        match &self.part {
            Some(part) if *part != self.author => format!("{} ({part})", self.author),
            _ => self.author.clone(),
        }
    }
}

impl Failure {
    pub(crate) fn of(author: String, error: &Error) -> Self {
        Self { author, code: error.code().to_owned(), message: error.message().to_owned() }
    }
}

/// Where the members' outputs stand in a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Members {
    /// Each in a place of its own.
    At {
        members: Vec<MemberAt>,
        /// The field of failures (`error_field`) of the members' nodes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        errors: Option<String>,
    },
    /// A list of [`MemberOutput`] in this field, or at this path with dots.
    Listed(String),
}

/// A member, and where its output is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemberAt {
    pub author: String,
    /// A field of the state, or a path with dots; `drafts.2` is an element of a list.
    pub at: String,
    /// The node that gives it, by which its failure is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's item, where that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u64>,
}

impl Members {
    /// Nodes of one agent each, whose results are fields of their names.
    pub fn of_nodes<A: Into<String>, N: Into<String>>(
        members: impl IntoIterator<Item = (A, N)>,
        errors: Option<&str>,
    ) -> Self {
        let member = |(author, node): (A, N)| {
            let node = node.into();
            MemberAt { author: author.into(), at: node.clone(), node: Some(node), item: None }
        };
        Self::At { members: members.into_iter().map(member).collect(), errors: errors.map(str::to_owned) }
    }

    /// # Errors
    /// `internal`: what stands there is no list of members.
    pub(crate) fn read(&self, state: &State) -> Result<Vec<MemberOutput>, Error> {
        match self {
            Self::Listed(path) => {
                let list = lookup(state, path).cloned().unwrap_or_default();
                serde_json::from_value(list).map_err(|error| {
                    let text =
                        format!("merge: `{path}` of the state is no list of members' outputs: {error}");
                    Error::new(ErrorKind::InvalidArguments, text)
                })
            }
            Self::At { members, errors } => {
                let errors = errors.as_deref().and_then(|field| lookup(state, field)?.as_array());
                Ok(members.iter().map(|member| member.read(state, errors)).collect())
            }
        }
    }
}

impl MemberAt {
    fn read(&self, state: &State, errors: Option<&Vec<Value>>) -> MemberOutput {
        if let Some(value) = lookup(state, &self.at).filter(|value| !value.is_null()) {
            return MemberOutput::new(&*self.author, value.clone());
        }
        // The last: in a loop the node may have failed before.
        let is_ours = |error: &&Value| {
            let node = self.node.as_deref().is_some_and(|node| error["node"] == *node);
            node && self.item.is_none_or(|item| error["item"] == item)
        };
        let error = errors.and_then(|errors| errors.iter().rev().find(is_ours));
        let word = |key: &str, or: &str| error.and_then(|error| error[key].as_str()).unwrap_or(or).to_owned();
        let failed = Failure {
            author: self.author.clone(),
            code: word("code", ErrorKind::EmptyReply.code()),
            message: word("message", "it gave nothing"),
        };
        MemberOutput { author: self.author.clone(), failed: Some(failed), ..MemberOutput::default() }
    }
}

/// The members that gave something.
///
/// # Errors
/// There are too few of them.
pub(crate) fn usable(members: &[MemberOutput], at_least: Option<u32>) -> Result<Vec<&MemberOutput>, Error> {
    let usable: Vec<_> = members.iter().filter(|member| member.failed.is_none()).collect();
    let needed = at_least.unwrap_or(1) as usize;
    if usable.len() < needed {
        let why: Vec<_> = failures(members)
            .into_iter()
            .map(|failure| format!("{}: {} ({})", failure.author, failure.message, failure.code))
            .collect();
        let why = if why.is_empty() { "there are no members".into() } else { why.join("; ") };
        let text = format!(
            "merge: {} of {} members gave something, and {needed} have to: {why}",
            usable.len(),
            members.len()
        );
        return Err(Error::new(ErrorKind::OutputInvalid, text));
    }
    Ok(usable)
}

pub(crate) fn failures(members: &[MemberOutput]) -> Vec<Failure> {
    members.iter().filter_map(|member| member.failed.clone()).collect()
}

/// A value by the name of its field, or by a path of names and numbers with dots between.
pub(crate) fn lookup<'a>(state: &'a State, path: &str) -> Option<&'a Value> {
    if let Some(value) = state.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(state.get(first)?, |value, name| match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}
