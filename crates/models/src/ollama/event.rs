//! The JSON of a stream's lines. Text is borrowed from the bytes wherever it has no escapes.

use std::borrow::Cow;

use ambidex_core::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::adapter::Text;

#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub message: Option<Message<'a>>,
    #[serde(default)]
    pub done: Option<bool>,
    #[serde(borrow, default)]
    pub done_reason: Option<Text<'a>>,
    #[serde(default)]
    pub prompt_eval_count: Option<u64>,
    #[serde(default)]
    pub eval_count: Option<u64>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Call<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub function: Function<'a>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
}

impl Event<'_> {
    /// What the last line counts, if it does.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.prompt_eval_count.is_none() && self.eval_count.is_none() {
            return None;
        }
        Some(Usage {
            input_tokens: self.prompt_eval_count.unwrap_or(0),
            output_tokens: self.eval_count.unwrap_or(0),
            ..Usage::default()
        })
    }
}

impl<'a> Function<'a> {
    /// The text of the arguments: the object as it stands, or the text of a string that holds it.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        let Some(json) = self.arguments.map(RawValue::get).filter(|json| *json != "null") else {
            return Cow::Borrowed("");
        };
        if json.starts_with('"')
            && let Ok(text) = serde_json::from_str::<Text<'a>>(json)
        {
            return text.0;
        }
        Cow::Borrowed(json)
    }
}
