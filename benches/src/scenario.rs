//! What is measured. The model's name tells the upstream what to play.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::script::Script;

/// Before the winner of a race begins its reply: all requests are there by then.
const HEAD_START: u32 = 20;

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
    /// One model call behind a route of depth 4, beside one without
    Route,
    /// One model call in a race of three, beside one without
    Race,
    /// A reply that is answered from the cache, within this process
    Cache,
    /// Calls that wait behind one limit, within this process
    Queue,
}

impl Scenario {
    pub fn flag(self) -> &'static str {
        match self {
            Scenario::Chat => "chat",
            Scenario::Agent => "agent",
            Scenario::Tokens => "tokens",
            Scenario::Waiting => "waiting",
            Scenario::Long => "long",
            Scenario::Route => "route",
            Scenario::Race => "race",
            Scenario::Cache => "cache",
            Scenario::Queue => "queue",
        }
    }

    /// What the upstream plays; `turns` is the length of a long run.
    pub fn script(self, turns: u32) -> Script {
        match self {
            Scenario::Chat | Scenario::Route | Scenario::Cache | Scenario::Queue => {
                Script::Chat { tokens: 20 }
            }
            Scenario::Race => Script::Wait { milliseconds: HEAD_START },
            Scenario::Agent => Script::Agent { rounds: 3, tools: 2 },
            Scenario::Tokens => Script::Chat { tokens: 500 },
            Scenario::Waiting => Script::Wait { milliseconds: 1_000 },
            Scenario::Long => Script::Agent { rounds: turns, tools: 1 },
        }
    }

    pub fn has_tools(self) -> bool {
        match self {
            Scenario::Chat
            | Scenario::Tokens
            | Scenario::Route
            | Scenario::Race
            | Scenario::Cache
            | Scenario::Queue => false,
            Scenario::Agent | Scenario::Waiting | Scenario::Long => true,
        }
    }

    /// Whether all contenders do it; else only Ambidex, beside itself.
    pub fn is_contest(self) -> bool {
        match self {
            Scenario::Chat | Scenario::Agent | Scenario::Tokens | Scenario::Waiting | Scenario::Long => true,
            Scenario::Route | Scenario::Race | Scenario::Cache | Scenario::Queue => false,
        }
    }

    /// Whether the model is another process.
    pub fn has_upstream(self) -> bool {
        !matches!(self, Scenario::Cache | Scenario::Queue)
    }

    /// What one printed figure stands for: a figure is per operation divided by this.
    pub fn units(self) -> u32 {
        match self {
            Scenario::Tokens => 500,
            Scenario::Chat
            | Scenario::Agent
            | Scenario::Waiting
            | Scenario::Long
            | Scenario::Route
            | Scenario::Race
            | Scenario::Cache
            | Scenario::Queue => 1,
        }
    }

    /// Operations in one sample: about half a second of CPU for a bare loop.
    pub fn operations(self, concurrency: u32) -> u32 {
        let enough = match self {
            Scenario::Chat => 12_000,
            Scenario::Route => 30_000,
            Scenario::Agent => 3_000,
            Scenario::Tokens => 600,
            Scenario::Waiting => return concurrency,
            Scenario::Long => return 4,
            Scenario::Race => 2_000,
            // Here `concurrency` is the length of the history, which a call of a new run reads whole.
            Scenario::Cache => return (60_000 / concurrency).max(100),
            Scenario::Queue => return concurrency.max(50_000),
        };
        // A lone client mostly waits, so it is given less to keep the whole measurement short.
        if concurrency == 1 { enough / 3 } else { enough.max(concurrency * 4) }
    }
}
