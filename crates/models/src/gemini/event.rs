//! The JSON of a stream's events, each a whole response of its own. Text is borrowed from the bytes wherever
//! it has no escapes.

use ambidex_core::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::adapter::Text;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default)]
    pub usage_metadata: Option<WireUsage>,
    #[serde(borrow, default)]
    pub model_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub response_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub index: Option<u32>,
    #[serde(borrow, default)]
    pub content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub finish_message: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    pub block_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub block_reason_message: Option<Text<'a>>,
}

/// A part, as far as we know it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart<'a> {
    #[serde(borrow, default)]
    pub text: Option<Text<'a>>,
    #[serde(default)]
    pub thought: Option<bool>,
    /// Kept as it stands in the bytes.
    #[serde(borrow, default)]
    pub thought_signature: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub partial_args: Option<&'a RawValue>,
    #[serde(default)]
    pub will_continue: Option<bool>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireUsage {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl WireUsage {
    /// Later events repeat some counts with newer totals.
    pub(super) fn update(&mut self, newer: Self) {
        self.prompt_token_count = newer.prompt_token_count.or(self.prompt_token_count);
        self.tool_use_prompt_token_count =
            newer.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.cached_content_token_count =
            newer.cached_content_token_count.or(self.cached_content_token_count);
        self.candidates_token_count = newer.candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = newer.thoughts_token_count.or(self.thoughts_token_count);
    }
}

impl From<WireUsage> for Usage {
    /// The vendor counts thoughts beside its output, and what its own tools read beside the prompt; we count
    /// them among ours. Cached tokens are among the prompt's already.
    fn from(wire: WireUsage) -> Self {
        let thoughts = wire.thoughts_token_count.unwrap_or(0);
        let read = wire.tool_use_prompt_token_count.unwrap_or(0);
        Self {
            input_tokens: wire.prompt_token_count.unwrap_or(0).saturating_add(read),
            output_tokens: wire.candidates_token_count.unwrap_or(0).saturating_add(thoughts),
            cached_input_tokens: wire.cached_content_token_count.unwrap_or(0),
            reasoning_tokens: thoughts,
            ..Self::default()
        }
    }
}
