//! What servers that speak Chat Completions do in their own way.

use ambidex_core::Error;
use ambidex_http::{HeaderName, HeaderValue, header};
use secrecy::SecretString;

use crate::adapter::secret_header;

/// Data about one server, applied in encoding. The default is what an unknown server most likely takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    pub key: KeyHeader,
    /// What an address without a path gets; none is the format's own.
    pub base_path: Option<&'static str>,
    /// Whether the limit is called `max_completion_tokens` or, as with most, `max_tokens`.
    pub max_completion_tokens: bool,
    /// Whether `stream_options.include_usage` is understood. Where it is not, usage comes without it.
    pub stream_options: bool,
    /// What `seed` is called.
    pub seed: &'static str,
    /// Whether `parallel_tool_calls` is understood.
    pub parallel_tool_calls: bool,
    pub named_tool: NamedTool,
    pub output: OutputFormat,
    pub effort: Effort,
    pub history: History,
}

/// The header that carries the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`.
    ApiKey,
}

impl KeyHeader {
    /// # Errors
    /// `config_invalid` when the key has characters that no header can carry.
    pub(crate) fn with(self, key: &SecretString) -> Result<(HeaderName, HeaderValue), Error> {
        Ok(match self {
            Self::Bearer => (header::AUTHORIZATION, secret_header("Bearer ", key)?),
            Self::ApiKey => (HeaderName::from_static("api-key"), secret_header("", key)?),
        })
    }
}

/// How one tool is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedTool {
    /// `tool_choice` is an object that names it.
    Object,
    /// `tool_choice` takes words alone: the tool is offered alone, and `required`.
    Alone,
}

/// How output of a schema is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// `response_format` of type `json_schema`.
    Schema,
    /// `json_object`, and the schema in words.
    Object,
}

/// How much thinking is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Whether it is `reasoning.effort` (and `reasoning.max_tokens`) instead of `reasoning_effort`.
    pub object: bool,
    /// The words that are understood, from the least to the most; the nearest is sent. Empty: any word.
    pub words: &'static [&'static str],
    pub off: Off,
}

/// How no thinking at all is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The effort `none`.
    Word,
    /// `reasoning: {"enabled": false}`.
    Enabled,
    /// `thinking: {"type": "disabled"}`.
    Thinking,
    /// `chat_template_kwargs: {"enable_thinking": false}`.
    Template,
}

/// What a message of the history may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The name under which messages are cached: rules of one name are the same.
    pub dialect: &'static str,
    pub reasoning: ReasoningBack,
    /// Whether a refusal has a field of its own; where it has not, it is text.
    pub refusal: bool,
    /// Whether ids of calls are nine letters and digits, and no user may speak right after a tool.
    pub narrow: bool,
}

/// Which reasoning goes back, in messages with tool calls. The field of signed details goes back only where
/// everything does, and then always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningBack {
    /// Under the field it came in.
    AsItCame,
    /// What came in this field; others are refused.
    Only(&'static str),
    /// This field must be there, if need be empty.
    Demanded(&'static str),
    /// None: it is refused.
    Never,
}

impl Quirks {
    pub const DEFAULT: Self = Self {
        key: KeyHeader::Bearer,
        base_path: None,
        max_completion_tokens: false,
        stream_options: true,
        seed: "seed",
        parallel_tool_calls: true,
        named_tool: NamedTool::Object,
        output: OutputFormat::Schema,
        effort: Effort { object: false, words: &[], off: Off::Word },
        history: History::LENIENT,
    };
}

impl Default for Quirks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl History {
    pub const LENIENT: Self =
        Self { dialect: super::FORMAT, reasoning: ReasoningBack::AsItCame, refusal: true, narrow: false };
}

/// From the least to the most.
const RANKS: [&str; 6] = ["minimal", "low", "medium", "high", "xhigh", "max"];

impl Effort {
    /// The word that is understood and nearest to this one; of two, the greater. A word without a rank stays.
    pub(super) fn nearest<'a>(&self, word: &'a str) -> &'a str {
        let rank = |word: &str| RANKS.iter().position(|known| *known == word);
        let Some(wanted) = rank(word) else { return word };
        let ranked = self.words.iter().filter_map(|word| Some((*word, rank(word)?)));
        let nearest = ranked.min_by_key(|(_, rank)| (rank.abs_diff(wanted), std::cmp::Reverse(*rank)));
        nearest.map_or(word, |(word, _)| word)
    }
}
