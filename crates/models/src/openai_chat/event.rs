//! The JSON of a stream's events. Text is borrowed from the bytes wherever it has no escapes.

use std::borrow::Cow;
use std::fmt;

use ambidex_core::Usage;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::adapter::Text;

#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub choices: Option<First<'a>>,
    #[serde(default)]
    pub usage: Option<WireUsage>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    /// `error` where the server puts the error's fields at the top.
    #[serde(borrow, default)]
    pub object: Option<Text<'a>>,
}

/// The choice that we read: the one with index 0. No list is made for it.
pub(super) struct First<'a>(pub Option<Choice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstVisitor;
        impl<'de> Visitor<'de> for FirstVisitor {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Self::Value, A::Error> {
                let mut first = None;
                while let Some(choice) = choices.next_element::<Choice<'de>>()? {
                    if first.is_none() && choice.index.unwrap_or(0) == 0 {
                        first = Some(choice);
                    }
                }
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(FirstVisitor)
    }
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub index: Option<u32>,
    /// A whole reply has `message` where a stream has `delta`.
    #[serde(borrow, default, alias = "message")]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub reasoning_details: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<Vec<CallDelta<'a>>>,
    /// The older form of a single call.
    #[serde(borrow, default)]
    pub function_call: Option<FunctionDelta<'a>>,
}

#[derive(Default, Deserialize)]
pub(super) struct CallDelta<'a> {
    #[serde(default)]
    pub index: Option<u32>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub function: Option<FunctionDelta<'a>>,
    #[serde(borrow, default)]
    pub extra_content: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(super) struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub arguments: Option<ArgumentText<'a>>,
}

impl<'a> CallDelta<'a> {
    /// A piece of one call, as nearly all servers send it.
    pub(super) fn piece(
        index: u32,
        id: Option<Text<'a>>,
        name: Option<Text<'a>>,
        arguments: Text<'a>,
    ) -> Self {
        let function = FunctionDelta { name, arguments: Some(ArgumentText(arguments.0)) };
        Self { index: Some(index), id, function: Some(function), extra_content: None }
    }
}

/// The text of a delta: a string, or with some servers a list of parts.
pub(super) struct Content<'a> {
    pub text: Cow<'a, str>,
    pub thinking: String,
}

#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Thinking<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Thinking<'a> {
    Text(String),
    #[serde(borrow)]
    Parts(Vec<ContentPart<'a>>),
}

impl Thinking<'_> {
    fn collect(self, all: &mut String) {
        match self {
            Self::Text(text) => all.push_str(&text),
            Self::Parts(parts) => {
                parts.iter().filter_map(|part| part.text.as_ref()).for_each(|it| all.push_str(&it.0))
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Borrowed(text), thinking: String::new() })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Owned(text.to_owned()), thinking: String::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let (mut text, mut thinking) = (String::new(), String::new());
                while let Some(part) = parts.next_element::<ContentPart<'de>>()? {
                    if let Some(piece) = part.text {
                        text.push_str(&piece.0);
                    }
                    if let Some(piece) = part.thinking {
                        piece.collect(&mut thinking);
                    }
                }
                Ok(Content { text: Cow::Owned(text), thinking })
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// The text of arguments. Some servers write the object itself instead of its text.
pub(super) struct ArgumentText<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for ArgumentText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json: &'de RawValue = Deserialize::deserialize(deserializer)?;
        if json.get().starts_with('"') {
            let text: Text<'de> = serde_json::from_str(json.get()).map_err(de::Error::custom)?;
            return Ok(Self(text.0));
        }
        Ok(Self(Cow::Borrowed(json.get())))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// Where a server counts cached tokens by this name.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let prompt = wire.prompt_tokens_details.unwrap_or_default();
        let completion = wire.completion_tokens_details.unwrap_or_default();
        Self {
            input_tokens: wire.prompt_tokens.unwrap_or(0),
            output_tokens: wire.completion_tokens.unwrap_or(0),
            cached_input_tokens: prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).unwrap_or(0),
            cache_write_tokens: prompt.cache_write_tokens.unwrap_or(0),
            reasoning_tokens: completion.reasoning_tokens.unwrap_or(0),
            ..Self::default()
        }
    }
}
