//! Limits of a run that pause it, and what a resume grants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// What a run may use before it pauses and asks. Nothing set is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Budget {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Milliseconds of active time; waiting for a person does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    Usd,
    Tokens,
    ToolCalls,
    Wall,
}

/// What a paused run gets on top when it is resumed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Grant {
    #[serde(skip_serializing_if = "is_zero")]
    pub iterations: u32,
    #[serde(flatten)]
    pub budget: Budget,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Budget {
    /// The limit that stops the run from using more, if one does.
    pub fn reached(&self, usage: &Usage, tool_calls: u64, active_ms: u64) -> Option<BudgetKind> {
        if self.usd.is_some_and(|limit| usage.usd.unwrap_or(0.0) >= limit) {
            return Some(BudgetKind::Usd);
        }
        if self.tokens.is_some_and(|limit| usage.total_tokens() >= limit) {
            return Some(BudgetKind::Tokens);
        }
        if self.tool_calls.is_some_and(|limit| tool_calls > limit) {
            return Some(BudgetKind::ToolCalls);
        }
        if self.wall_ms.is_some_and(|limit| active_ms >= limit) {
            return Some(BudgetKind::Wall);
        }
        None
    }

    /// The tighter of each limit of two.
    pub fn tighten(&mut self, other: &Budget) {
        fn tighter<T: PartialOrd + Copy>(limit: &mut Option<T>, other: Option<T>) {
            if let Some(other) = other
                && limit.is_none_or(|limit| other < limit)
            {
                *limit = Some(other);
            }
        }
        tighter(&mut self.usd, other.usd);
        tighter(&mut self.tokens, other.tokens);
        tighter(&mut self.tool_calls, other.tool_calls);
        tighter(&mut self.wall_ms, other.wall_ms);
    }

    /// Tokens and money that are left.
    pub fn left(&self, usage: &Usage) -> Self {
        Self {
            usd: self.usd.map(|limit| (limit - usage.usd.unwrap_or(0.0)).max(0.0)),
            tokens: self.tokens.map(|limit| limit.saturating_sub(usage.total_tokens())),
            ..Self::default()
        }
    }

    /// Raises each limit that is set by what is granted.
    pub fn raise(&mut self, more: &Budget) {
        self.usd = self.usd.map(|limit| limit + more.usd.unwrap_or(0.0));
        self.tokens = self.tokens.map(|limit| limit.saturating_add(more.tokens.unwrap_or(0)));
        self.tool_calls = self.tool_calls.map(|limit| limit.saturating_add(more.tool_calls.unwrap_or(0)));
        self.wall_ms = self.wall_ms.map(|limit| limit.saturating_add(more.wall_ms.unwrap_or(0)));
    }
}

impl BudgetKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::ToolCalls => "tool_calls",
            Self::Wall => "wall",
        }
    }
}
