//! One of several targets, so that all of them get their share.

use std::sync::Arc;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};
use serde::Deserialize;

use super::balancer::Balancer;
use super::plan::{Plan, Rules, Start};
use super::race::Winner;
use super::stream::RouteStream;
use crate::retry::AfterFirstToken;

/// Asks one target, picked so that all get their share. When it fails in a way that another may not, the
/// next pick among those not yet asked takes its place, as in a [`Fallback`](super::Fallback).
#[derive(Clone)]
pub struct Balance {
    plan: Arc<Plan>,
    rules: Rules,
}

/// Which target is asked first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// In proportion to these weights, in the targets' order and spread evenly: 3 and 1 give a a b a. A
    /// target without a weight has 1, one of weight 0 is asked only when another failed.
    Weighted(Vec<u32>),
    /// The one with the fewest calls of this route under way.
    LeastBusy,
    /// The one whose first token came soonest of late. Every tenth call goes to the one that was asked
    /// longest ago, so that a target that recovered is found again. A failure doubles a target's time.
    LowestLatency,
}

impl Balance {
    /// A route of this name over these targets.
    pub fn new(
        name: impl Into<String>,
        pick: Pick,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
    ) -> Self {
        let rules = Rules {
            start: Start::OnFailure,
            win: Winner::FirstToken,
            after_first_token: AfterFirstToken::Restart,
        };
        Self { plan: Plan::balanced(name.into(), targets, &rules, Balancer::new(pick)), rules }
    }

    /// What happens when a target fails after something of its answer was shown; to begin again with the
    /// next pick, where this is not called.
    #[must_use]
    pub fn after_first_token(mut self, rule: AfterFirstToken) -> Self {
        self.rules.after_first_token = rule;
        self
    }
}

impl Model for Balance {
    fn info(&self) -> &ModelInfo {
        &self.plan.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(RouteStream::new(self.plan.clone(), self.rules, request, context))
    }
}

impl std::fmt::Debug for Balance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.debug("Balance", f)
    }
}
