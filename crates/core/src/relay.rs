//! A person in a model's place: what he is shown, and what he says.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::effect::EffectId;
use crate::message::Message;
use crate::model::{OutputSchema, ToolChoice};
use crate::question::Question;
use crate::record::present;

/// What a person needs to answer as a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayRequest {
    /// The name of the model he stands for.
    pub model: String,
    /// Who is asked.
    pub queue: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Arc<str>>,
    /// The end of the conversation, long texts shortened.
    pub messages: Vec<Arc<Message>>,
    /// Messages before these.
    #[serde(default)]
    pub earlier: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<RelayTool>,
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// What a reply without tool calls must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSchema>,
}

/// A tool that may be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayTool {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments.
    pub input: Value,
}

/// What a person says in a model's place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayReply {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<RelayCall>,
    /// The output, where a schema is asked for; it is what the reply says then.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayCall {
    pub name: String,
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// How a question that an effect asked was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    Reply,
    Reject,
    /// Its time was over.
    Expired,
    /// The effect ended without it.
    Withdrawn,
    /// The run of a node asked it, and goes on: the question is its own.
    GoneOn,
}

impl Closing {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Reject => "reject",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::GoneOn => "gone_on",
        }
    }
}

/// The run that an asking effect belongs to hears of its questions, so that it waits for a person and not for
/// a model.
pub trait Asking: Send + Sync {
    /// `beside`: others work on the same effect meanwhile, so that it does not only wait.
    fn asked(&self, effect: EffectId, attempt: u32, question: Question, beside: bool);

    /// `waited`: how long the effect did nothing but wait for it.
    fn closed(&self, effect: EffectId, attempt: u32, question: String, closing: Closing, waited: Duration);

    /// How long effects have only waited, in all.
    fn waited(&self) -> Duration;
}
