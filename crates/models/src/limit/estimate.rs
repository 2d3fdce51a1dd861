//! What a call will use, before it is known.

use ambidex_core::Usage;

use crate::prompt_size::BYTES_PER_TOKEN;

/// Learns from the calls that ended: how many bytes a token has, and how long replies are.
#[derive(Debug)]
pub(super) struct Estimate {
    bytes_per_token: f64,
    /// None before the first reply.
    output: Option<f64>,
}

/// What is expected of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// Of the prompt, about.
    pub bytes: u64,
    pub input: u64,
    pub output: u64,
}

impl Expected {
    pub fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output).max(1)
    }
}

/// The share of the newest call in the means.
const NEWEST: f64 = 0.1;
/// Output of a call, before any has ended.
const FIRST_OUTPUT: u64 = 1000;

impl Default for Estimate {
    fn default() -> Self {
        Self { bytes_per_token: BYTES_PER_TOKEN as f64, output: None }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes and token counts are far below 2^52, and estimates"
)]
impl Estimate {
    /// `bytes` of prompt, and the limit the call sets for its reply.
    pub fn of(&self, bytes: u64, max_tokens: Option<u32>) -> Expected {
        let limit = max_tokens.map(u64::from);
        // The limit a call sets is seldom what its reply has; taken for it, it would hold others back.
        let output =
            self.output.map_or(FIRST_OUTPUT, |mean| mean.ceil() as u64).min(limit.unwrap_or(u64::MAX));
        Expected { bytes, input: (bytes as f64 / self.bytes_per_token).ceil() as u64, output }
    }

    /// Takes note of what a call used.
    pub fn learn(&mut self, bytes: u64, usage: &Usage) {
        let mean = |old: f64, new: f64| old * (1.0 - NEWEST) + new * NEWEST;
        let output = usage.output_tokens as f64;
        self.output = Some(self.output.map_or(output, |old| mean(old, output)));
        if usage.input_tokens > 0 && bytes > 0 && !usage.estimated {
            let found = (bytes as f64 / usage.input_tokens as f64).clamp(0.5, 16.0);
            self.bytes_per_token = mean(self.bytes_per_token, found);
        }
    }
}
