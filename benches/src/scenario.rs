//! What is measured. The model's name tells the upstream what to play.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::script::Script;

/// Turns of the long run; ten more than the last turn shown, so its window is whole.
pub const TURNS: u32 = 1_010;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// One model call, a short reply
    Chat,
    /// Three rounds of two tool calls, then an answer: four model calls
    Agent,
    /// One reply of 500 tokens
    Tokens,
    /// Runs whose model call waits one second, all at once
    Waiting,
    /// One run of many turns, a tool call each
    Long,
}

impl Scenario {
    pub fn flag(self) -> &'static str {
        match self {
            Scenario::Chat => "chat",
            Scenario::Agent => "agent",
            Scenario::Tokens => "tokens",
            Scenario::Waiting => "waiting",
            Scenario::Long => "long",
        }
    }

    /// What the upstream plays; `turns` is the length of a long run.
    pub fn script(self, turns: u32) -> Script {
        match self {
            Scenario::Chat => Script::Chat { tokens: 20 },
            Scenario::Agent => Script::Agent { rounds: 3, tools: 2 },
            Scenario::Tokens => Script::Chat { tokens: 500 },
            Scenario::Waiting => Script::Wait { milliseconds: 1_000 },
            Scenario::Long => Script::Agent { rounds: turns, tools: 1 },
        }
    }

    pub fn has_tools(self) -> bool {
        match self {
            Scenario::Chat | Scenario::Tokens => false,
            Scenario::Agent | Scenario::Waiting | Scenario::Long => true,
        }
    }

    /// What one printed figure stands for: a figure is per operation divided by this.
    pub fn units(self) -> u32 {
        match self {
            Scenario::Tokens => 500,
            Scenario::Chat | Scenario::Agent | Scenario::Waiting | Scenario::Long => 1,
        }
    }

    /// Operations in one sample: about half a second of CPU for a bare loop.
    pub fn operations(self, concurrency: u32) -> u32 {
        let enough = match self {
            Scenario::Chat => 12_000,
            Scenario::Agent => 3_000,
            Scenario::Tokens => 600,
            Scenario::Waiting => return concurrency,
            Scenario::Long => return 4,
        };
        // A lone client mostly waits, so it is given less to keep the whole measurement short.
        if concurrency == 1 { enough / 3 } else { enough.max(concurrency * 4) }
    }
}
