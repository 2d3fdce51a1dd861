//! What is known about models at their vendors: a small table, and what it does not name is unknown.
//!
//! Read 2026-11-20 from the vendors' pages named at the rows. A vendor changes prices when he likes, so the
//! user's `price` and `context` win. Rows hold at the vendor's own hosts alone: others sell the same models
//! at other prices and with other limits.

use ambidex_core::model::Capabilities;
use ambidex_core::usage::Price;

/// What is known about one model, or one family of names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownModel {
    host: &'static str,
    /// The id, or its beginning where dates and such may follow after a hyphen.
    id: &'static str,
    pub price: Option<Price>,
    /// Context window in tokens.
    pub context: Option<u64>,
    pub capabilities: Capabilities,
}

const fn claude(id: &'static str, input: f64, output: f64, context: u64, max_output: u64) -> KnownModel {
    KnownModel {
        host: "api.anthropic.com",
        id,
        // Reads from the prompt cache cost a tenth.
        price: Some(Price { input, output, cached_input: Some(input / 10.0) }),
        context: Some(context),
        capabilities: Capabilities {
            vision: Some(true),
            tools: Some(true),
            parallel_tool_calls: Some(true),
            max_output: Some(max_output),
        },
    }
}

/// Prices there are in yuan, and by the hour.
const fn deepseek(id: &'static str, vision: bool) -> KnownModel {
    KnownModel {
        host: "api.deepseek.com",
        id,
        price: None,
        context: Some(1_000_000),
        capabilities: Capabilities {
            vision: Some(vision),
            tools: Some(true),
            parallel_tool_calls: None,
            max_output: Some(384_000),
        },
    }
}

const MODELS: &[KnownModel] = &[
    // platform.claude.com/docs/en/models/overview
    claude("claude-opus-5-5", 4.0, 20.0, 1_000_000, 128_000),
    claude("claude-opus-5", 5.0, 25.0, 1_000_000, 128_000),
    claude("claude-haiku-4-5", 1.0, 5.0, 200_000, 64_000),
    // api-docs.deepseek.com/quick_start/pricing
    deepseek("deepseek-flash", true),
    deepseek("deepseek-v4-pro", false),
];

/// What is known about a model at this host.
pub fn known(host: &str, model: &str) -> Option<&'static KnownModel> {
    // A longer number is another version, a date is the same one.
    let dated = |rest: &str| {
        rest.len() == 9 && rest.starts_with('-') && rest[1..].bytes().all(|b| b.is_ascii_digit())
    };
    let names = |known: &&KnownModel| {
        model.strip_prefix(known.id).is_some_and(|rest| rest.is_empty() || rest == "-latest" || dated(rest))
    };
    MODELS.iter().filter(|known| known.host.eq_ignore_ascii_case(host)).find(names)
}
