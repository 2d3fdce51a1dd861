//! Text with placeholders such as `{{ result.read_file | lines }}`, filled in one pass: what is put in is
//! never looked at again. `{{ "{{" }}` is two braces.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::scene::Scene;

/// Text, or text with placeholders.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(Arc<str>),
    Hole(Hole),
}

/// One placeholder.
#[derive(Clone, Debug)]
struct Hole {
    source: Source,
    path: Vec<String>,
    filters: Vec<Filter>,
    /// As it was written, for errors.
    written: String,
}

#[derive(Clone, Debug)]
enum Source {
    Last,
    User,
    Turn,
    Sample,
    Result(String),
    Failure(String),
    Match(String),
}

#[derive(Clone, Debug)]
enum Filter {
    /// Those that contain a text, which may be empty.
    Lines(String),
    Words,
    Chars,
    Count,
    Number,
    Json,
    Head(usize),
    Line(usize),
    Before(String),
    After(String),
    Or(Value),
}

const SOURCES: &str = "`last`, `user`, `turn`, `sample`, `result.TOOL`, `failure.TOOL`, `match.GROUP`";
const FILTERS: &str = "`lines [TEXT]`, `words`, `chars`, `count`, `number`, `json`, `head N`, `line N`, \
                       `before TEXT`, `after TEXT`, `or VALUE`";

impl Template {
    pub fn literal(text: impl Into<Arc<str>>) -> Self {
        Self { pieces: vec![Piece::Literal(text.into())] }
    }

    /// Reads the placeholders. The error says what is wrong with which of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let (before, from) = rest.split_at(start);
            let Some(end) = from.find("}}") else {
                return Err(format!("the placeholder `{}` has no end; close it with `}}}}`", head(from, 30)));
            };
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.into()));
            }
            let inner = from[2..end].trim();
            pieces.push(match serde_json::from_str::<String>(inner) {
                Ok(text) => Piece::Literal(text.into()),
                Err(_) => Piece::Hole(Hole::parse(inner)?),
            });
            rest = &from[end + 2..];
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(Self { pieces })
    }

    /// The text with all values put in.
    pub fn fill(&self, scene: &Scene) -> Result<Arc<str>, String> {
        if let [Piece::Literal(text)] = &*self.pieces {
            return Ok(text.clone());
        }
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Hole(hole) => out.push_str(&plain(&hole.value(scene)?)),
            }
        }
        Ok(out.into())
    }

    /// A text that is one placeholder and nothing else keeps the type of its value.
    fn fill_value(&self, scene: &Scene) -> Result<Value, String> {
        match &*self.pieces {
            [Piece::Hole(hole)] => hole.value(scene),
            _ => Ok(Value::String(self.fill(scene)?.to_string())),
        }
    }
}

/// JSON whose texts may hold placeholders.
#[derive(Clone, Debug)]
pub(super) enum JsonTemplate {
    /// Without placeholders, and its text.
    Fixed(Arc<Value>, Arc<str>),
    Text(Template),
    List(Vec<JsonTemplate>),
    Object(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    pub fn fixed(value: Value) -> Self {
        let text = value.to_string().into();
        Self::Fixed(Arc::new(value), text)
    }

    pub fn parse(value: Value) -> Result<Self, String> {
        if !has_placeholder(&value) {
            return Ok(Self::fixed(value));
        }
        Ok(match value {
            Value::String(text) => Self::Text(Template::parse(&text)?),
            Value::Array(items) => Self::List(items.into_iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let members = members.into_iter().map(|(key, value)| Ok((key, Self::parse(value)?)));
                Self::Object(members.collect::<Result<_, String>>()?)
            }
            other => Self::fixed(other),
        })
    }

    pub fn fill(&self, scene: &Scene) -> Result<Value, String> {
        Ok(match self {
            Self::Fixed(value, _) => Value::clone(value),
            Self::Text(template) => template.fill_value(scene)?,
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.fill(scene)).collect::<Result<_, _>>()?)
            }
            Self::Object(members) => {
                let members = members.iter().map(|(key, value)| Ok((key.clone(), value.fill(scene)?)));
                Value::Object(members.collect::<Result<Map<_, _>, String>>()?)
            }
        })
    }

    /// The JSON text.
    pub fn fill_text(&self, scene: &Scene) -> Result<Arc<str>, String> {
        match self {
            Self::Fixed(_, text) => Ok(text.clone()),
            _ => Ok(self.fill(scene)?.to_string().into()),
        }
    }
}

fn has_placeholder(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{"),
        Value::Array(items) => items.iter().any(has_placeholder),
        Value::Object(members) => members.values().any(has_placeholder),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Hole {
    fn parse(inner: &str) -> Result<Self, String> {
        let written = inner.trim().to_owned();
        let mut parts = inner.split('|').map(str::trim);
        let mut names = parts.next().unwrap_or_default().split('.').map(str::trim);
        let unknown = || format!("`{{{{ {written} }}}}` is no placeholder; there are {SOURCES}");
        let source = match names.next().unwrap_or_default() {
            "last" => Source::Last,
            "user" => Source::User,
            "turn" => Source::Turn,
            "sample" => Source::Sample,
            "result" => Source::Result(names.next().ok_or_else(unknown)?.to_owned()),
            "failure" => Source::Failure(names.next().ok_or_else(unknown)?.to_owned()),
            "match" => Source::Match(names.next().ok_or_else(unknown)?.to_owned()),
            _ => return Err(unknown()),
        };
        let path: Vec<_> = names.map(str::to_owned).collect();
        if !path.is_empty() && !matches!(source, Source::Result(_)) || path.iter().any(String::is_empty) {
            return Err(unknown());
        }
        let filters = parts.map(|filter| Filter::parse(filter, &written)).collect::<Result<_, _>>()?;
        Ok(Self { source, path, filters, written })
    }

    fn value(&self, scene: &Scene) -> Result<Value, String> {
        let mut value = self.found(scene);
        for filter in &self.filters {
            value = match (filter, value) {
                (Filter::Or(_), Some(value)) => Some(value),
                (Filter::Or(other), None) => Some(other.clone()),
                (filter, Some(value)) => filter.apply(value),
                (_, None) => None,
            };
        }
        value.ok_or_else(|| {
            let written = &self.written;
            format!(
                "the placeholder `{{{{ {written} }}}}` has no value here; give it one with \
                 `{{{{ {written} | or ... }}}}`"
            )
        })
    }

    fn found(&self, scene: &Scene) -> Option<Value> {
        let text = match &self.source {
            Source::Last => scene.last(),
            Source::User => scene.user(),
            Source::Turn => return Some(scene.number().into()),
            Source::Sample => return scene.sample(),
            Source::Failure(name) => scene.result(name, true)?.to_owned(),
            Source::Match(group) => scene.capture(group)?.to_owned(),
            Source::Result(name) => {
                let text = scene.result(name, false)?;
                if self.path.is_empty() {
                    return Some(Value::String(text.to_owned()));
                }
                let json: Value = serde_json::from_str(text).ok()?;
                let pointed = self.path.iter().try_fold(&json, |value, key| match value {
                    Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                    value => value.get(key),
                });
                return pointed.cloned();
            }
        };
        Some(Value::String(text))
    }
}

impl Filter {
    fn parse(text: &str, written: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let argument = argument.trim();
        let number = || {
            argument.parse().map_err(|_| format!("`{name}` in `{{{{ {written} }}}}` needs a whole number"))
        };
        let quoted = || match serde_json::from_str(argument) {
            Ok(Value::String(text)) => text,
            _ => argument.to_owned(),
        };
        let filter = match name {
            "lines" => return Ok(Self::Lines(quoted())),
            "words" => Self::Words,
            "chars" => Self::Chars,
            "count" => Self::Count,
            "number" => Self::Number,
            "json" => Self::Json,
            "head" => return Ok(Self::Head(number()?)),
            "line" => return Ok(Self::Line(number()?)),
            "before" | "after" | "or" if argument.is_empty() => {
                return Err(format!("`{name}` in `{{{{ {written} }}}}` needs a text behind it"));
            }
            "before" => return Ok(Self::Before(quoted())),
            "after" => return Ok(Self::After(quoted())),
            "or" => {
                let value = serde_json::from_str(argument);
                return Ok(Self::Or(value.unwrap_or_else(|_| Value::String(argument.to_owned()))));
            }
            _ => {
                return Err(format!("`{name}` in `{{{{ {written} }}}}` is no filter; there are {FILTERS}"));
            }
        };
        if argument.is_empty() {
            Ok(filter)
        } else {
            Err(format!("`{name}` in `{{{{ {written} }}}}` takes nothing behind it"))
        }
    }

    /// Nothing, where the value has nothing of the kind.
    fn apply(&self, value: Value) -> Option<Value> {
        let text = plain(&value);
        Some(match self {
            Self::Lines(part) => text.lines().filter(|line| line.contains(part.as_str())).count().into(),
            Self::Words => text.split_whitespace().count().into(),
            Self::Chars => text.chars().count().into(),
            Self::Count => match &value {
                Value::Array(items) => items.len().into(),
                Value::Object(members) => members.len().into(),
                _ => return None,
            },
            Self::Number => first_number(&text)?,
            Self::Json => serde_json::from_str(&text).ok()?,
            Self::Head(count) => {
                let end =
                    text.match_indices('\n').nth(count.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
                Value::String(text[..if *count == 0 { 0 } else { end }].to_owned())
            }
            Self::Line(number) => Value::String(text.lines().nth(number.checked_sub(1)?)?.to_owned()),
            Self::Before(mark) => Value::String(text.split_once(mark.as_str())?.0.trim().to_owned()),
            Self::After(mark) => Value::String(text.split_once(mark.as_str())?.1.trim().to_owned()),
            Self::Or(_) => value,
        })
    }
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first whole number in a text.
fn first_number(text: &str) -> Option<Value> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = &text[start..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse::<u64>().ok().map(Value::from)
}

/// At most this many characters of a text.
fn head(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}
