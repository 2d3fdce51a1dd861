//! The settings of an agent, as Python writes them.

use ambidex_core::budget::Budget;
use ambidex_core::definition::{Approval, Compaction, Mode, StopConditions};
use ambidex_core::model::{Settings, ToolChoice};
use serde::Deserialize;
use serde_json::Value;

/// As `ambidex.agent` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plain {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) instructions: String,
    pub(crate) max_iterations: Option<u32>,
    pub(crate) tool_concurrency: Option<u32>,
    pub(crate) output: Option<PlainOutput>,
    pub(crate) budget: Option<Budget>,
    pub(crate) context: Option<Compaction>,
    pub(crate) approvals: Option<PlainApprovals>,
    pub(crate) tool_choice: Option<ToolChoice>,
    pub(crate) settings: Option<Settings>,
    pub(crate) stop: Option<StopConditions>,
}

#[derive(Deserialize)]
pub(crate) struct PlainOutput {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlainApprovals {
    #[serde(default)]
    pub(crate) read: Approval,
    #[serde(default)]
    pub(crate) idempotent: Approval,
    #[serde(default)]
    pub(crate) once: Approval,
}

/// What the agent leaves open is as the model has it.
pub(crate) fn filled(agent: Settings, model: Settings) -> Settings {
    let mut extra = model.extra;
    extra.extend(agent.extra);
    let stop_sequences =
        if agent.stop_sequences.is_empty() { model.stop_sequences } else { agent.stop_sequences };
    Settings {
        max_tokens: agent.max_tokens.or(model.max_tokens),
        temperature: agent.temperature.or(model.temperature),
        top_p: agent.top_p.or(model.top_p),
        seed: agent.seed.or(model.seed),
        stop_sequences,
        reasoning: agent.reasoning.or(model.reasoning),
        parallel_tool_calls: agent.parallel_tool_calls.or(model.parallel_tool_calls),
        prompt_cache: agent.prompt_cache.or(model.prompt_cache),
        extra,
    }
}
