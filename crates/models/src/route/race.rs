//! All targets at once.

use std::sync::Arc;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};
use serde::Deserialize;

use super::plan::{Plan, Rules, Start};
use super::stream::RouteStream;
use crate::retry::AfterFirstToken;

/// Asks all targets at once and takes the first. The others are hung up on at that moment, and what they
/// used is added to the reply's usage.
///
/// A race fails when all its targets failed, or when the winner failed after its first token: nobody is left
/// then.
#[derive(Clone)]
pub struct Race {
    plan: Arc<Plan>,
    rules: Rules,
}

/// What a race is won by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The first piece of content. It streams on as it comes.
    #[default]
    FirstToken,
    /// The first whole reply. Nothing is shown before it.
    FirstComplete,
    /// The first whole reply that can be used: not cut or refused, not empty, tool calls of known tools whose
    /// arguments match their schemas, and output that matches the request's schema. Nothing is shown
    /// before it.
    FirstValid,
}

impl Winner {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::FirstToken => "first token",
            Self::FirstComplete => "first complete",
            Self::FirstValid => "first valid",
        }
    }
}

impl Race {
    /// A route of this name over these targets.
    pub fn new(
        name: impl Into<String>,
        winner: Winner,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
    ) -> Self {
        let rules = Rules { start: Start::AtOnce, win: winner, after_first_token: AfterFirstToken::Restart };
        Self { plan: Plan::new(name.into(), targets, &rules), rules }
    }
}

impl Model for Race {
    fn info(&self) -> &ModelInfo {
        &self.plan.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(RouteStream::new(self.plan.clone(), self.rules, request, context))
    }
}

impl std::fmt::Debug for Race {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.debug("Race", f)
    }
}
