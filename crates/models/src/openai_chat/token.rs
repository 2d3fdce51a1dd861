//! The event of one token, read the short way. Nearly all events of a stream are of this shape; what is
//! not is read by [`Event`](super::event::Event), which knows everything else.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
    choices: &'a RawValue,
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

/// Reads token events. Those of one stream mostly differ in their choices alone: what stood around the choices
/// of the last one read is compared, and read again only where it is another.
#[derive(Default)]
pub(super) struct Tokens {
    /// The bytes before the choices, then those after them.
    around: Vec<u8>,
    before: usize,
}

impl Tokens {
    /// Reads an event, if it is of the short shape.
    pub(super) fn read<'a>(&mut self, data: &'a [u8]) -> Option<Token<'a>> {
        let choices = match self.choices(data) {
            Some(choices) => str::from_utf8(choices).ok()?,
            None => self.whole(data)?,
        };
        let One(Choice { delta, finish_reason, .. }) = serde_json::from_str(choices).ok()?;
        let call = delta.tool_calls.map(|One(piece)| {
            CallDelta::piece(piece.index, piece.id, piece.function.name, piece.function.arguments)
        });
        Some(Token { text: delta.content, call, finish: finish_reason })
    }

    /// What stands between the known bytes.
    fn choices<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        let (before, after) = self.around.split_at_checked(self.before)?;
        if before.is_empty() { None } else { data.strip_prefix(before)?.strip_suffix(after) }
    }

    /// Reads all of an event, and keeps what stands around its choices.
    fn whole<'a>(&mut self, data: &'a [u8]) -> Option<&'a str> {
        let TokenEvent { choices, .. } = serde_json::from_str(str::from_utf8(data).ok()?).ok()?;
        let choices = choices.get();
        let start = choices.as_ptr().addr() - data.as_ptr().addr();
        self.around.clear();
        self.around.extend_from_slice(&data[..start]);
        self.around.extend_from_slice(&data[start + choices.len()..]);
        self.before = start;
        Some(choices)
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
