//! The event of one token, read the short way. Nearly all events of a stream are of this shape; what is
//! not is read by [`Event`](super::event::Event), which knows everything else.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::event::CallDelta;
use crate::adapter::Text;

/// Text, a piece of one tool call, or the finish reason, and nothing that matters beside it: a field that
/// is not named here, or that holds something where it should be null, makes this reading fail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenEvent<'a> {
    #[serde(rename = "id", default)]
    _id: Option<IgnoredAny>,
    #[serde(rename = "object", default)]
    _object: Option<Chunk>,
    #[serde(rename = "created", default)]
    _created: Option<IgnoredAny>,
    #[serde(rename = "model", default)]
    _model: Option<IgnoredAny>,
    #[serde(rename = "system_fingerprint", default)]
    _fingerprint: Option<IgnoredAny>,
    #[serde(rename = "service_tier", default)]
    _tier: Option<IgnoredAny>,
    #[serde(rename = "obfuscation", default)]
    _obfuscation: Option<IgnoredAny>,
    #[serde(rename = "usage", default)]
    _usage: (),
    #[serde(borrow)]
    choices: One<Choice<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice<'a> {
    #[serde(rename = "index")]
    _index: Zero,
    #[serde(borrow)]
    delta: Delta<'a>,
    #[serde(rename = "logprobs", default)]
    _logprobs: (),
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<One<Piece<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Piece<'a> {
    index: u32,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(rename = "type", default)]
    _type: Option<IgnoredAny>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Text<'a>,
}

/// What a token event says.
pub(super) struct Token<'a> {
    pub(super) text: Option<Text<'a>>,
    pub(super) call: Option<CallDelta<'a>>,
    pub(super) finish: Option<Text<'a>>,
}

impl<'a> Token<'a> {
    /// Reads an event, if it is of the short shape.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        let event: TokenEvent<'a> = serde_json::from_slice(data).ok()?;
        let Choice { delta, finish_reason, .. } = event.choices.0;
        let call = delta.tool_calls.map(|One(piece)| {
            CallDelta::piece(piece.index, piece.id, piece.function.name, piece.function.arguments)
        });
        Some(Self { text: delta.content, call, finish: finish_reason })
    }
}

/// A list of exactly one.
struct One<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneVisitor<T> {
            type Value = One<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of one")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<One<T>, A::Error> {
                let one = items.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                match items.next_element::<IgnoredAny>()? {
                    None => Ok(One(one)),
                    Some(_) => Err(A::Error::invalid_length(2, &self)),
                }
            }
        }
        deserializer.deserialize_seq(OneVisitor(std::marker::PhantomData))
    }
}

/// The number 0.
struct Zero;

impl<'de> Deserialize<'de> for Zero {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            0 => Ok(Self),
            _ => Err(D::Error::custom("not the first choice")),
        }
    }
}

/// The word `chat.completion.chunk`.
struct Chunk;

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Text::deserialize(deserializer)?.0.as_ref() {
            "chat.completion.chunk" => Ok(Self),
            _ => Err(D::Error::custom("not an event of a stream")),
        }
    }
}
