//! What the upstream plays, named by the request's model:
//! `chat-TOKENS`, `agent-ROUNDSxTOOLS`, `wait-MILLISECONDS`.

use crate::Result;

/// Tokens of the reply that ends an agent run or a wait.
pub const ANSWER_TOKENS: u32 = 20;

/// Pieces of text of the sizes real models stream, some with characters that JSON escapes.
const TOKENS: [&str; 16] = [
    "The",
    " run",
    " reads",
    " each",
    " file",
    " once",
    ",",
    " then",
    " answers",
    " with",
    " the",
    " lines",
    " \"found\"",
    " there",
    ".\n",
    " Next",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    Chat { tokens: u32 },
    Agent { rounds: u32, tools: u32 },
    Wait { milliseconds: u32 },
}

impl Script {
    pub fn parse(model: &str) -> Result<Self> {
        let parsed = match model.split_once('-') {
            Some(("chat", tokens)) => tokens.parse().ok().map(|tokens| Script::Chat { tokens }),
            Some(("agent", size)) => size.split_once('x').and_then(|(rounds, tools)| {
                Some(Script::Agent { rounds: rounds.parse().ok()?, tools: tools.parse().ok()? })
            }),
            Some(("wait", time)) => time.parse().ok().map(|milliseconds| Script::Wait { milliseconds }),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!(
                "model `{model}`: no such script; use chat-TOKENS, agent-ROUNDSxTOOLS or wait-MILLISECONDS"
            )
            .into()
        })
    }

    /// The model's name that asks for it.
    pub fn model(self) -> String {
        match self {
            Script::Chat { tokens } => format!("chat-{tokens}"),
            Script::Agent { rounds, tools } => format!("agent-{rounds}x{tools}"),
            Script::Wait { milliseconds } => format!("wait-{milliseconds}"),
        }
    }

    /// Tokens of the reply that asks for no tool.
    pub fn answer_tokens(self) -> u32 {
        match self {
            Script::Chat { tokens } => tokens,
            Script::Agent { .. } | Script::Wait { .. } => ANSWER_TOKENS,
        }
    }

    /// Bytes of text in the reply that asks for no tool.
    pub fn answer_bytes(self) -> usize {
        tokens(self.answer_tokens()).map(str::len).sum()
    }

    /// Tool calls in a whole run.
    pub fn tool_calls(self) -> u64 {
        match self {
            Script::Agent { rounds, tools } => u64::from(rounds) * u64::from(tools),
            Script::Chat { .. } | Script::Wait { .. } => 0,
        }
    }
}

pub fn tokens(count: u32) -> impl Iterator<Item = &'static str> {
    TOKENS.into_iter().cycle().take(count as usize)
}
