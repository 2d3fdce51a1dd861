//! The JSON of a stream's events. Text is borrowed from the bytes wherever it has no escapes.

use std::borrow::Cow;
use std::fmt;

use ambidex_core::Usage;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Any event: one pass over the bytes instead of one for the type and one for the rest. A field of an
/// event that we do not know may be of any kind, so none makes the reading fail.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub r#type: Words<'a>,
    #[serde(borrow, default)]
    pub item_id: Words<'a>,
    #[serde(default)]
    pub output_index: Number,
    #[serde(default)]
    pub content_index: Number,
    #[serde(default)]
    pub summary_index: Number,
    #[serde(borrow, default)]
    pub delta: Words<'a>,
    #[serde(borrow, default)]
    pub text: Words<'a>,
    #[serde(borrow, default)]
    pub refusal: Words<'a>,
    #[serde(borrow, default)]
    pub arguments: Words<'a>,
    #[serde(borrow, default)]
    pub item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

/// The reply as a whole, as it stands at its start and in its terminal event.
#[derive(Deserialize)]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub status: Words<'a>,
    #[serde(borrow, default)]
    pub model: Words<'a>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub incomplete_details: Option<IncompleteDetails<'a>>,
    #[serde(borrow, default)]
    pub output: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub usage: Option<WireUsage>,
}

#[derive(Deserialize)]
pub(super) struct IncompleteDetails<'a> {
    #[serde(borrow, default)]
    pub reason: Words<'a>,
}

/// An item of the output, as it begins and as it is in the end.
#[derive(Deserialize)]
pub(super) struct WireItem<'a> {
    #[serde(borrow, default)]
    pub r#type: Words<'a>,
    #[serde(borrow, default)]
    pub id: Words<'a>,
    #[serde(borrow, default)]
    pub call_id: Words<'a>,
    #[serde(borrow, default)]
    pub name: Words<'a>,
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub summary: Option<&'a RawValue>,
}

/// A piece of a message's content or of a reasoning summary.
#[derive(Deserialize)]
pub(super) struct WireContent<'a> {
    #[serde(borrow, default)]
    pub text: Words<'a>,
    #[serde(borrow, default)]
    pub refusal: Words<'a>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<InputDetails>,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let input = wire.input_tokens_details.unwrap_or_default();
        let output = wire.output_tokens_details.unwrap_or_default();
        Self {
            input_tokens: wire.input_tokens.unwrap_or(0),
            output_tokens: wire.output_tokens.unwrap_or(0),
            cached_input_tokens: input.cached_tokens.unwrap_or(0),
            cache_write_tokens: input.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: output.reasoning_tokens.unwrap_or(0),
            ..Self::default()
        }
    }
}

/// A text; none where there is something else.
#[derive(Default)]
pub(super) struct Words<'a>(pub Option<Cow<'a, str>>);

impl Words<'_> {
    /// The text, empty where there is none.
    pub(super) fn get(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Words<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordsVisitor;
        impl<'de> Visitor<'de> for WordsVisitor {
            type Value = Words<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Words(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Words(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Words(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Words(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Words(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Words(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Words(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Words(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Words(None))
            }
        }
        deserializer.deserialize_any(WordsVisitor)
    }
}

/// An index; none where there is something else.
#[derive(Clone, Copy, Default)]
pub(super) struct Number(pub Option<u32>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json: &'de RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self(json.get().parse().ok()))
    }
}
