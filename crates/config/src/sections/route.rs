use std::fmt;
use std::ops::RangeInclusive;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::retry::{Retry, TIMEOUTS};
use crate::duration::Duration;
use crate::error::{ConfigError, ConfigErrorKind};
use crate::reader::{At, Choice, Fields, FromNode};
use crate::toml_text;

/// `[routes.NAME]`: several models as one, usable wherever a model is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    #[serde(flatten)]
    pub strategy: Strategy,
    /// Models, other routes, or `PROVIDER:NAME`, in the order of preference.
    #[serde(rename = "use")]
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
    /// Rounds over the targets, each of which is asked once in a round. With 1 attempt there is one round, and
    /// each target follows its own `retry`.
    #[schemars(default)]
    pub retry: Retry,
    #[schemars(default)]
    pub timeout: RouteTimeouts,
    /// When an answer breaks off after something of it was shown.
    #[schemars(default)]
    pub after_first_token: AfterFirstToken,
    #[schemars(default)]
    pub breaker: Breaker,
}

/// How a route asks its targets.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Strategy {
    /// The first target; the next when one fails in a way that another may not.
    Fallback,
    /// All at once; the first to win is taken, the others are hung up on.
    Race {
        #[schemars(default)]
        winner: Winner,
    },
    /// The first target, and the next one too when no first token came in time.
    Hedge {
        /// How long a target has for its first token; `p95`: as long as 95 of 100 of its latest calls took.
        #[schemars(default)]
        stagger: Stagger,
    },
    /// One of them, so that all get their share; the next pick when it fails.
    Balance {
        #[schemars(default)]
        pick: Pick,
        /// For `pick = "weighted"`: shares by target, 1 where it is not named. One of 0 only stands in for others.
        #[serde(skip_serializing_if = "IndexMap::is_empty")]
        #[schemars(default)]
        weights: IndexMap<String, Weight>,
    },
}

/// A share of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Weight(#[schemars(range(min = 0, max = 1000))] pub u32);

/// What a race is won by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// Streams on as it comes.
    #[default]
    FirstToken,
    /// The first whole reply.
    FirstComplete,
    /// The first whole reply that can be used: with tool calls and output that match their schemas.
    FirstValid,
}

/// Which target is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    #[default]
    RoundRobin,
    Weighted,
    /// The fewest calls of this route under way.
    LeastBusy,
    /// The soonest first token of late.
    LowestLatency,
}

/// How long a target has for its first token before the next is asked beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stagger {
    /// The 95th percentile of its latest first-token times.
    #[default]
    P95,
    After(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterFirstToken {
    /// Watchers are told that the text is void, and the answer begins again.
    #[default]
    Restart,
    /// An error, at once.
    Fail,
}

/// Limits of time. What is set here stands in place of the models' own; of nested routes the inner one's counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTimeouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Duration>,
    /// Without content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// All targets, rounds and waits together.
    pub total: Duration,
}

/// When a target is left alone. Half of ten calls within 30 s that failed open a breaker as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// So many failures of a target in a row.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// For how long the first time; each probe that fails doubles it, up to 5 minutes.
    pub open_for: Duration,
}

#[derive(Clone, Copy)]
enum Name {
    Fallback,
    Race,
    Hedge,
    Balance,
}

impl Choice for Name {
    const ALL: &'static [(&'static str, Self)] = &[
        ("fallback", Self::Fallback),
        ("race", Self::Race),
        ("hedge", Self::Hedge),
        ("balance", Self::Balance),
    ];
}

impl Choice for Winner {
    const ALL: &'static [(&'static str, Self)] = &[
        ("first_token", Self::FirstToken),
        ("first_complete", Self::FirstComplete),
        ("first_valid", Self::FirstValid),
    ];
}

impl Choice for Pick {
    const ALL: &'static [(&'static str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("weighted", Self::Weighted),
        ("least_busy", Self::LeastBusy),
        ("lowest_latency", Self::LowestLatency),
    ];
}

impl Choice for AfterFirstToken {
    const ALL: &'static [(&'static str, Self)] = &[("restart", Self::Restart), ("fail", Self::Fail)];
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self { connect: None, first_token: None, idle: None, total: Duration::from_secs(600) }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(15) }
    }
}

impl FromNode for Route {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?.aliases(&[
            ("kind", "strategy"),
            ("type", "strategy"),
            ("models", "use"),
            ("targets", "use"),
            ("retries", "retry"),
            ("timeouts", "timeout"),
            ("delay", "stagger"),
            ("weight", "weights"),
        ]);
        // Of a strategy that is unknown, the other keys cannot be judged.
        let name = match fields.at("strategy") {
            Some(at) => Some(Name::from_node(&at)?),
            None => {
                fields.missing("strategy", "\"fallback\"");
                None
            }
        };
        let targets = targets(&mut fields, name);
        let strategy = match name {
            Some(Name::Fallback) => Some(Strategy::Fallback),
            Some(Name::Race) => Some(Strategy::Race { winner: fields.or("winner", Winner::default()) }),
            Some(Name::Hedge) => Some(Strategy::Hedge { stagger: fields.or("stagger", Stagger::default()) }),
            Some(Name::Balance) => Some(balance(&mut fields, targets.as_deref().unwrap_or_default())),
            // Whatever the strategy will be, its keys are no mistakes.
            None => {
                ["winner", "stagger", "pick", "weights"].into_iter().for_each(|key| drop(fields.at(key)));
                None
            }
        };
        let retry = fields.section("retry", Retry::default());
        let timeout = fields.section("timeout", RouteTimeouts::default());
        let after_first_token = fields.or("after_first_token", AfterFirstToken::default());
        let breaker = fields.section("breaker", Breaker::default());
        fields.finish();
        Some(Self { strategy: strategy?, targets: targets?, retry, timeout, after_first_token, breaker })
    }
}

/// What the names stand for is checked with the other references.
fn targets(fields: &mut Fields<'_>, strategy: Option<Name>) -> Option<Vec<String>> {
    let Some(at) = fields.at("use") else {
        fields.missing("use", "[\"MODEL\", \"OTHER-MODEL\"]");
        return None;
    };
    let names = Vec::<String>::from_node(&at)?;
    if names.is_empty() {
        at.report(at.invalid("it names no model").help("write use = [\"MODEL\", \"OTHER-MODEL\"]"));
        return None;
    }
    // A race or a hedge of a model with itself makes sense.
    if matches!(strategy, Some(Name::Fallback | Name::Balance)) {
        for item in at.items("texts")?.iter().enumerate().filter_map(|(index, item)| {
            let name = item.node.as_text()?;
            names[..index].iter().any(|known| known == name).then_some(item)
        }) {
            let name = toml_text::string(item.node.as_text().unwrap_or_default());
            let message = format!("`{}` names {name} a second time", at.path);
            item.report(item.error(ConfigErrorKind::Conflict, message).help("remove it; `retry` asks again"));
        }
    }
    Some(names)
}

fn balance(fields: &mut Fields<'_>, targets: &[String]) -> Strategy {
    let pick = fields.or("pick", Pick::default());
    let weights: IndexMap<String, Weight> = fields.optional("weights").unwrap_or_default();
    match fields.at("weights") {
        Some(at) if pick != Pick::Weighted => {
            let message = format!("`{}` counts only with pick = \"weighted\"", at.path);
            let error = ConfigError::new(ConfigErrorKind::Conflict, &at.path, message, at.key);
            at.report(error.help("write pick = \"weighted\", or remove it"));
        }
        Some(at) => {
            for (name, entry) in at.node.as_table().into_iter().flatten() {
                if !targets.contains(name) {
                    let path = at.path.key(name);
                    let message =
                        format!("`{path}`: {} is not in `use` of the route", toml_text::string(name));
                    let error =
                        ConfigError::new(ConfigErrorKind::UnknownReference, path, message, &entry.key);
                    let near = crate::suggest::nearest(name, targets.iter().map(String::as_str));
                    at.report(error.suggestion(near).allowed(targets.join(", ")));
                }
            }
            if !weights.is_empty() && targets.iter().all(|name| weights.get(name) == Some(&Weight(0))) {
                let message = format!("`{}` leaves every model without a share", at.path);
                at.report(at.error(ConfigErrorKind::Conflict, message).help("give one of them 1 or more"));
            }
        }
        None if pick == Pick::Weighted => fields.missing("weights", "{ MODEL = 3, OTHER-MODEL = 1 }"),
        None => {}
    }
    Strategy::Balance { pick, weights }
}

impl FromNode for Weight {
    fn from_node(at: &At<'_>) -> Option<Self> {
        at.integer(0..=1000).map(Self)
    }
}

impl FromNode for RouteTimeouts {
    fn from_node(at: &At<'_>) -> Option<Self> {
        let mut fields = Fields::of(at)?;
        let timeouts = Self {
            connect: fields.duration("connect", TIMEOUTS),
            first_token: fields.duration("first_token", TIMEOUTS),
            idle: fields.duration("idle", TIMEOUTS),
            total: fields.duration_or("total", TIMEOUTS, Self::default().total),
        };
        fields.finish();
        Some(timeouts)
    }
}

impl FromNode for Breaker {
    fn from_node(at: &At<'_>) -> Option<Self> {
        const OPEN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);
        let default = Self::default();
        let mut fields = Fields::of(at)?;
        let breaker = Self {
            failures: fields.integer_or("failures", 1..=1000, default.failures),
            open_for: fields.duration_or("open_for", OPEN, default.open_for),
        };
        fields.finish();
        Some(breaker)
    }
}

impl FromNode for Stagger {
    fn from_node(at: &At<'_>) -> Option<Self> {
        match at.node.as_text() {
            Some("p95") => Some(Self::P95),
            Some(word) if word.starts_with(char::is_alphabetic) => {
                let message = format!("`{}` cannot be {}", at.path, toml_text::string(word));
                let error = at.error(ConfigErrorKind::InvalidValue, message);
                let near = crate::suggest::nearest(word, ["p95"]);
                at.report(error.suggestion(near).allowed("p95, or a duration such as \"700ms\""));
                None
            }
            _ => at.duration(TIMEOUTS).map(Self::After),
        }
    }
}

impl fmt::Display for Stagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P95 => f.write_str("p95"),
            Self::After(time) => time.fmt(f),
        }
    }
}

impl Serialize for Stagger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Stagger {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Stagger".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let duration = generator.subschema_for::<Duration>();
        json_schema!({ "anyOf": [{ "const": "p95" }, duration] })
    }
}
