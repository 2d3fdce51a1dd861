//! What a model's stream is made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::message::ProviderState;
use crate::usage::Usage;

pub use crate::route_note::{
    AttemptEnd, AttemptNote, AttemptOutcome, CachedNote, RaceNote, RouteNote, SwitchNote, SwitchReason,
    WaitNote,
};

/// One piece of a reply. `part` is the identity of the part it belongs to: pieces of different parts
/// may be interleaved, and parts stand in the reply in the order of their first piece.
///
/// A stream is whole only when it has given [`Chunk::End`]; a stream that ends without it must give an
/// error as its last item.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// The provider accepted the request. Not content: a route may still switch.
    Start {
        request_id: Option<String>,
        model: Option<String>,
    },
    Text {
        part: u32,
        text: String,
    },
    Reasoning {
        part: u32,
        text: String,
    },
    Refusal {
        part: u32,
        text: String,
    },
    /// A tool call begins.
    ToolCall {
        part: u32,
        id: String,
        name: String,
    },
    /// A piece of a call's argument text.
    Arguments {
        part: u32,
        text: String,
    },
    /// Provider data that belongs to a part and is sent back verbatim; on a part of its own it is opaque.
    State {
        part: u32,
        state: ProviderState,
    },
    /// No more pieces of this part will come.
    PartEnd {
        part: u32,
    },
    /// Latest totals of this reply (not a difference).
    Usage(Usage),
    /// What a route or a retry did; no content.
    Note(RouteNote),
    /// The terminal event of the wire format was seen: the reply is whole.
    End(Finish),
}

impl Chunk {
    /// Whether a watcher has seen something of the answer: the commit point of retries and routes.
    pub fn is_content(&self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::Reasoning { .. }
                | Self::Refusal { .. }
                | Self::ToolCall { .. }
                | Self::Arguments { .. }
        )
    }

    /// Takes in the next chunk where both are pieces of one part.
    pub fn join(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Text { part, text }, Self::Text { part: of, text: more })
            | (Self::Reasoning { part, text }, Self::Reasoning { part: of, text: more })
            | (Self::Refusal { part, text }, Self::Refusal { part: of, text: more })
            | (Self::Arguments { part, text }, Self::Arguments { part: of, text: more })
                if part == of =>
            {
                text.push_str(more);
                true
            }
            _ => false,
        }
    }
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model said all it wanted, or met a stop sequence.
    Stop,
    ToolCalls,
    /// Cut by the token limit: text may be cut anywhere, arguments of the last call too.
    Length,
    ContentFilter,
    Refusal,
    /// The provider paused a long turn and wants to be asked again with the same history.
    Paused,
    /// A reason this version does not know; taken as whole.
    Other,
}
