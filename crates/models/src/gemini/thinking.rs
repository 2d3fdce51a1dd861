//! How much a model should think, in the words its generation knows.

use ambidex_core::model::Reasoning;
use serde_json::{Value, json};

use super::is_older;

/// The `thinkingConfig`. Models before Gemini 3 take tokens, later ones levels; tokens they take as well.
pub(super) fn config(reasoning: &Reasoning, model: &str) -> Option<Value> {
    Some(match reasoning {
        // They do not think, and refuse to hear of it.
        Reasoning::Effort(effort) if effort == "none" && is_older(model) && !model.contains("gemini-2.5") => {
            return None;
        }
        Reasoning::BudgetTokens(tokens) => json!({"includeThoughts": true, "thinkingBudget": tokens}),
        Reasoning::Effort(effort) if is_older(model) => match budget(effort, model) {
            Some(0) => json!({"thinkingBudget": 0}),
            Some(tokens) => json!({"includeThoughts": effort != "none", "thinkingBudget": tokens}),
            // As much as the model likes.
            None => json!({"includeThoughts": true, "thinkingBudget": -1}),
        },
        // They cannot stop thinking, but do less of it and keep it to themselves.
        Reasoning::Effort(effort) if effort == "none" => json!({"thinkingLevel": least(model)}),
        Reasoning::Effort(effort) => json!({"includeThoughts": true, "thinkingLevel": level(effort, model)}),
    })
}

/// The vendor's own translation of the words, in tokens.
fn budget(effort: &str, model: &str) -> Option<u32> {
    Some(match effort {
        // It always thinks, and refuses less.
        "none" if model.contains("pro") => 128,
        "none" => 0,
        // The least that all of them take.
        "minimal" => 512,
        "low" => 1024,
        "medium" => 8192,
        "high" | "xhigh" | "max" => 24_576,
        _ => return None,
    })
}

fn level(effort: &str, model: &str) -> String {
    match effort {
        "minimal" => least(model).to_owned(),
        "xhigh" | "max" => "HIGH".to_owned(),
        word => word.to_ascii_uppercase(),
    }
}

/// The larger models refuse the lowest level.
fn least(model: &str) -> &'static str {
    if model.contains("flash") { "MINIMAL" } else { "LOW" }
}
