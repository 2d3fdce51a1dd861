//! Scripts as TOML. Everything is checked when it is read, and each error says where.

use std::ops::Range;
use std::time::Duration;

use ambidex_core::suggest::nearest;
use ambidex_core::{Error, ErrorKind, Finish, Usage};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::Script;
use super::template::{JsonTemplate, Template};
use super::turn::{Call, CallArguments, Fault, FaultKind, Turn, When, compile};

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptError {
    pub file: String,
    /// Line and column, counted from 1, in characters; none where the whole file is meant.
    pub place: Option<(usize, usize)>,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl ScriptError {
    pub(super) fn whole(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), place: None, message, help: None }
    }

    pub(super) fn in_code(message: String) -> Self {
        Self::whole("<code>", message)
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// One line: `script.toml:3:1: unknown field ...; did you mean ...?`.
impl std::fmt::Display for ScriptError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ScriptError {}

impl From<ScriptError> for Error {
    fn from(error: ScriptError) -> Self {
        Self::new(ErrorKind::ConfigInvalid, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    name: Option<String>,
    delay: Option<Spanned<String>>,
    pace: Option<Spanned<String>>,
    chunk: Option<Spanned<u32>>,
    #[serde(default)]
    turns: Vec<Spanned<TurnTable>>,
    default: Option<Spanned<TurnTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnTable {
    when: Option<Spanned<WhenTable>>,
    reasoning: Option<Spanned<String>>,
    text: Option<Spanned<String>>,
    refusal: Option<Spanned<String>>,
    json: Option<Spanned<Value>>,
    #[serde(default)]
    calls: Vec<CallTable>,
    finish: Option<Finish>,
    usage: Option<UsageTable>,
    delay: Option<Spanned<String>>,
    pace: Option<Spanned<String>>,
    chunk: Option<Spanned<u32>>,
    #[serde(default)]
    faults: Vec<FaultTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenTable {
    last: Option<String>,
    matches: Option<Spanned<String>>,
    tool: Option<String>,
    failed: Option<bool>,
    result_contains: Option<String>,
    turn: Option<Spanned<usize>>,
    #[serde(default)]
    offers: Vec<String>,
    output: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallTable {
    name: Spanned<String>,
    args: Option<Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageTable {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    cached_input_tokens: u64,
    #[serde(default)]
    reasoning_tokens: u64,
    usd: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultTable {
    kind: Spanned<String>,
    times: Option<Spanned<u32>>,
    #[serde(default)]
    always: bool,
    #[serde(default)]
    after: u32,
    retry_after: Option<Spanned<String>>,
    message: Option<String>,
}

/// Reads a script: its name, where it gives one, and the rest.
pub(super) fn read(file: &str, text: &str) -> Result<(Option<String>, Script), ScriptError> {
    let reader = Reader { file, text };
    let table: ScriptFile = toml::from_str(text).map_err(|error| reader.syntax(&error))?;
    if table.turns.is_empty() && table.default.is_none() {
        let message = "the script says nothing".to_owned();
        return Err(ScriptError::whole(file, message).with_help("add a `[[turns]]` or a `[default]`"));
    }
    let default = match &table.default {
        Some(default) => {
            if let Some(when) = &default.get_ref().when {
                return Err(
                    reader.at(when.span(), "the default turn takes no `when`: it is for all the rest")
                );
            }
            Some(reader.turn(default)?)
        }
        None => None,
    };
    let script = Script {
        turns: table.turns.iter().map(|turn| reader.turn(turn)).collect::<Result<_, _>>()?,
        default,
        delay: reader.duration(table.delay.as_ref())?.unwrap_or_default(),
        pace: reader.duration(table.pace.as_ref())?.unwrap_or_default(),
        chunk: reader.chunk(table.chunk.as_ref())?,
    };
    Ok((table.name, script))
}

/// Turns what was read into what is used, and knows where it stood.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn at(&self, span: Range<usize>, message: impl Into<String>) -> ScriptError {
        let before = &self.text[..self.text.floor_char_boundary(span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let place = Some((line, column));
        ScriptError { file: self.file.to_owned(), place, message: message.into(), help: None }
    }

    fn syntax(&self, error: &toml::de::Error) -> ScriptError {
        let message = error.message().trim().replace('\n', "; ");
        let found = self.at(error.span().unwrap_or(0..0), &message);
        match suggestion(&message) {
            Some(name) => found.with_help(format!("did you mean `{name}`?")),
            None => found,
        }
    }

    fn turn(&self, turn: &Spanned<TurnTable>) -> Result<Turn, ScriptError> {
        let table = turn.get_ref();
        let says = table.text.is_some() || table.json.is_some() || !table.calls.is_empty();
        if !says && table.reasoning.is_none() && table.refusal.is_none() && table.faults.is_empty() {
            let message = "the turn says nothing; give it `text`, `json`, `calls`, `reasoning`, `refusal` or \
                           `faults` (an empty reply is `text = \"\"`)";
            return Err(self.at(turn.span(), message));
        }
        let json = match &table.json {
            Some(json) => Some(self.json(json)?),
            None => None,
        };
        Ok(Turn {
            when: match &table.when {
                Some(when) => Some(self.when(when)?),
                None => None,
            },
            reasoning: self.template(table.reasoning.as_ref())?,
            text: self.template(table.text.as_ref())?,
            refusal: self.template(table.refusal.as_ref())?,
            json,
            calls: table.calls.iter().map(|call| self.call(call)).collect::<Result<_, _>>()?,
            finish: table.finish,
            usage: table.usage.as_ref().map(|usage| Usage {
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                cached_input_tokens: usage.cached_input_tokens,
                reasoning_tokens: usage.reasoning_tokens,
                usd: usage.usd,
                ..Usage::default()
            }),
            delay: self.duration(table.delay.as_ref())?,
            pace: self.duration(table.pace.as_ref())?,
            chunk: self.chunk(table.chunk.as_ref())?,
            faults: table.faults.iter().map(|fault| self.fault(fault)).collect::<Result<_, _>>()?,
        })
    }

    fn when(&self, when: &Spanned<WhenTable>) -> Result<When, ScriptError> {
        let table = when.get_ref();
        let matches = match &table.matches {
            Some(pattern) => {
                Some(compile(pattern.get_ref()).map_err(|problem| self.at(pattern.span(), problem))?)
            }
            None => None,
        };
        if let Some(turn) = table.turn.as_ref().filter(|turn| *turn.get_ref() == 0) {
            return Err(self.at(turn.span(), "turns are counted from 1"));
        }
        let used = When {
            last: table.last.as_ref().map(|text| text.to_lowercase()),
            matches,
            tool: table.tool.clone(),
            failed: table.failed,
            result_contains: table.result_contains.clone(),
            turn: table.turn.as_ref().map(|turn| *turn.get_ref()),
            offers: table.offers.clone(),
            output: table.output,
        };
        if used.is_empty() {
            let message = "the condition is empty; give it `last`, `matches`, `tool`, `failed`, \
                           `result_contains`, `turn`, `offers` or `output`, or leave `when` out";
            return Err(self.at(when.span(), message));
        }
        Ok(used)
    }

    fn call(&self, call: &CallTable) -> Result<Call, ScriptError> {
        let name = call.name.get_ref();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            let message = format!("`{name}` is no tool's name: letters, digits, `_` and `-`, 64 at most");
            return Err(self.at(call.name.span(), message));
        }
        let arguments = match &call.args {
            None => CallArguments::Json(JsonTemplate::fixed(Value::Object(serde_json::Map::new()))),
            Some(args) => match args.get_ref() {
                Value::Object(_) => CallArguments::Json(self.json(args)?),
                Value::String(raw) => {
                    let raw = Template::parse(raw).map_err(|problem| self.at(args.span(), problem))?;
                    CallArguments::Raw(raw)
                }
                _ => {
                    let message = "`args` is a table, or a text to be sent as it is";
                    return Err(self.at(args.span(), message));
                }
            },
        };
        Ok(Call { name: name.clone(), arguments })
    }

    fn fault(&self, fault: &FaultTable) -> Result<Fault, ScriptError> {
        let kind = match fault.kind.get_ref().as_str() {
            "idle" => FaultKind::Idle,
            code => match FAULTS.iter().find(|kind| kind.code() == code) {
                Some(kind) => FaultKind::Error(*kind),
                None => {
                    let codes = FAULTS.iter().map(|kind| kind.code()).chain(["idle"]);
                    let found = self.at(fault.kind.span(), format!("a model has no fault `{code}`"));
                    return Err(match nearest(code, codes.clone()) {
                        Some(name) => found.with_help(format!("did you mean `{name}`?")),
                        None => {
                            found.with_help(format!("there are {}", codes.collect::<Vec<_>>().join(", ")))
                        }
                    });
                }
            },
        };
        let times = match &fault.times {
            Some(times) if fault.always => {
                return Err(self.at(times.span(), "a fault that comes `always` takes no `times`"));
            }
            Some(times) if *times.get_ref() == 0 => {
                return Err(self.at(times.span(), "a fault comes at least once"));
            }
            Some(times) => *times.get_ref(),
            None if fault.always => u32::MAX,
            None => 1,
        };
        let retry_after = self.duration(fault.retry_after.as_ref())?;
        Ok(Fault { kind, times, after: fault.after, retry_after, message: fault.message.clone() })
    }

    fn template(&self, text: Option<&Spanned<String>>) -> Result<Option<Template>, ScriptError> {
        let Some(text) = text else { return Ok(None) };
        Template::parse(text.get_ref()).map(Some).map_err(|problem| self.at(text.span(), problem))
    }

    fn json(&self, value: &Spanned<Value>) -> Result<JsonTemplate, ScriptError> {
        JsonTemplate::parse(value.get_ref().clone()).map_err(|problem| self.at(value.span(), problem))
    }

    fn chunk(&self, chunk: Option<&Spanned<u32>>) -> Result<Option<usize>, ScriptError> {
        match chunk {
            Some(chunk) if *chunk.get_ref() == 0 => {
                Err(self.at(chunk.span(), "a piece has at least one character"))
            }
            chunk => Ok(chunk.map(|chunk| *chunk.get_ref() as usize)),
        }
    }

    fn duration(&self, text: Option<&Spanned<String>>) -> Result<Option<Duration>, ScriptError> {
        let Some(text) = text else { return Ok(None) };
        match duration(text.get_ref()) {
            Some(duration) => Ok(Some(duration)),
            None => {
                let message = format!("`{}` is no duration", text.get_ref());
                Err(self.at(text.span(), message).with_help("write it as \"15ms\", \"1.5s\" or \"2m\""))
            }
        }
    }
}

/// What may go wrong with a model.
const FAULTS: &[ErrorKind] = &[
    ErrorKind::RateLimited,
    ErrorKind::Overloaded,
    ErrorKind::ProviderError,
    ErrorKind::StreamTruncated,
    ErrorKind::IdleTimeout,
    ErrorKind::Timeout,
    ErrorKind::ConnectFailed,
    ErrorKind::BadUpstream,
    ErrorKind::QuotaExhausted,
    ErrorKind::Unauthorized,
    ErrorKind::Forbidden,
    ErrorKind::NotFound,
    ErrorKind::InvalidRequest,
    ErrorKind::ContextTooLong,
    ErrorKind::ContentFilter,
];

/// At most a day.
fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= Duration::from_secs(86_400))
}

/// The allowed name that an unknown key may have been meant as, from serde's own message.
fn suggestion(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted)
}
