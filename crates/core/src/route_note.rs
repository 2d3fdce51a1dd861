//! What happened on the way to a model: attempts, switches, races. Notes inside a model's stream, events for
//! watchers.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::EventKind;
use crate::usage::Usage;

/// What a route or a retry did. No content; boxed, so that chunks stay small.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteNote {
    /// An attempt is over. Every attempt of a route gets one, and every failed attempt of a retry.
    Attempt(Box<AttemptNote>),
    /// Another target was started.
    Switched(Box<SwitchNote>),
    /// A race is decided.
    Race(Box<RaceNote>),
    /// The call waits for a place under its provider's limits.
    Waits(Box<WaitNote>),
    /// The model was not asked.
    Cached(Box<CachedNote>),
    /// What was shown of the reply so far is void; the reply begins again.
    Restarted { target: Arc<str>, error: Error },
}

#[derive(Clone, Debug, PartialEq)]
pub struct AttemptNote {
    /// The route; of a retry, the model itself.
    pub route: Arc<str>,
    pub target: Arc<str>,
    /// Counts from 1 within one call of the route.
    pub attempt: u32,
    pub end: AttemptEnd,
    pub took: Duration,
    /// From the attempt's start to its first content.
    pub first_token: Option<Duration>,
    /// What it used. Of a target that is a route itself: all its attempts together.
    pub usage: Usage,
    /// The wait before the next attempt at the same target.
    pub wait: Option<Duration>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum AttemptEnd {
    /// Its reply is the route's.
    Answered,
    Failed(Error),
    /// Hung up on: another one won, or nobody waited any more.
    Lost,
    /// Not asked: its breaker is open, or the time it asked for is not over.
    Skipped(Error),
}

#[derive(Clone, Debug, PartialEq)]
pub struct SwitchNote {
    pub route: Arc<str>,
    pub from: Arc<str>,
    pub target: Arc<str>,
    pub reason: SwitchReason,
    /// Since the route was asked.
    pub after: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SwitchReason {
    Failed(Error),
    /// No first token within this time; both go on.
    Slow(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RaceNote {
    pub route: Arc<str>,
    pub winner: Arc<str>,
    /// What it was first in.
    pub reason: &'static str,
    /// Since the route was asked.
    pub after: Duration,
    /// Those that were still under way, and were hung up on.
    pub losers: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WaitNote {
    pub target: Arc<str>,
    pub provider: Arc<str>,
    /// In words.
    pub limits: String,
    /// Calls that wait, this one among them.
    pub waiting: usize,
}

/// A reply that is another call's too.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedNote {
    pub target: Arc<str>,
    /// Since the kept reply ended; none where an equal call is under way, and this is its answer as it comes.
    pub age: Option<Duration>,
}

/// How an attempt ended, in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Answered,
    /// From a cache, or together with an equal call.
    Cached,
    Failed,
    /// Hung up on.
    Lost,
    /// Not asked.
    Skipped,
}

impl From<RouteNote> for EventKind {
    fn from(note: RouteNote) -> Self {
        match note {
            RouteNote::Restarted { error, .. } => Self::ModelRestarted { reason: error.to_string() },
            RouteNote::Attempt(note) => note.event(),
            RouteNote::Cached(note) => note.event(),
            RouteNote::Waits(note) => {
                let WaitNote { target, provider, limits, waiting } = *note;
                let text = format!(
                    "`{target}` waits for a place at provider `{provider}`; {waiting} calls do (its limits: {limits})"
                );
                Self::Note { text }
            }
            RouteNote::Switched(note) => Self::RouteSwitched {
                route: note.route,
                from: note.from,
                target: note.target,
                reason: match note.reason {
                    SwitchReason::Failed(error) => error.to_string(),
                    SwitchReason::Slow(limit) => format!("no first token within {limit:?}"),
                },
                seconds: note.after.as_secs_f64(),
            },
            RouteNote::Race(note) => Self::RouteRace {
                route: note.route,
                target: note.winner,
                reason: note.reason.into(),
                seconds: note.after.as_secs_f64(),
                losers: note.losers,
            },
        }
    }
}

impl CachedNote {
    fn event(self) -> EventKind {
        EventKind::RouteAttempt {
            route: self.target.clone(),
            target: self.target,
            attempt: 1,
            outcome: AttemptOutcome::Cached,
            reason: match self.age {
                Some(age) => format!("cached {} s ago", age.as_secs()).into(),
                None => "shared with an equal call under way".into(),
            },
            seconds: 0.0,
            first_token: None,
            wait: None,
            usage: Usage { usd: Some(0.0), ..Usage::default() },
        }
    }
}

impl AttemptNote {
    #[expect(clippy::boxed_local, reason = "out of its box field by field, it is copied once less")]
    fn event(self: Box<Self>) -> EventKind {
        let Self { route, target, attempt, end, took, first_token, usage, wait } = *self;
        let (outcome, reason) = match end {
            AttemptEnd::Answered => (AttemptOutcome::Answered, "answered".into()),
            AttemptEnd::Failed(error) => (AttemptOutcome::Failed, error.to_string().into()),
            AttemptEnd::Lost => (AttemptOutcome::Lost, "hung up on".into()),
            AttemptEnd::Skipped(error) => (AttemptOutcome::Skipped, error.to_string().into()),
        };
        EventKind::RouteAttempt {
            route,
            target,
            attempt,
            outcome,
            reason,
            seconds: took.as_secs_f64(),
            first_token: first_token.map(|time| time.as_secs_f64()),
            wait: wait.map(|wait| wait.as_secs_f64()),
            usage,
        }
    }
}
