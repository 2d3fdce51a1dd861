//! A second target when the first is slow.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};

use super::plan::{Plan, Rules, Start};
use super::race::Winner;
use super::stream::RouteStream;
use crate::retry::AfterFirstToken;

/// Asks the first target, and the next one too when no first token came in time, or at once when it
/// failed. The first token wins; the others are hung up on, and what they used is added to the reply's usage.
#[derive(Clone)]
pub struct Hedge {
    plan: Arc<Plan>,
    rules: Rules,
}

/// How long a target has to give its first token before the next one is started beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stagger {
    Fixed(Duration),
    /// The 95th percentile of its latest 128 first-token times: about one call of twenty is hedged. A time
    /// that was cut short by another target's win counts as if it had come then.
    P95 {
        /// Until 20 times are known.
        until_known: Duration,
    },
}

impl Default for Stagger {
    fn default() -> Self {
        Self::P95 { until_known: Duration::from_secs(1) }
    }
}

impl Hedge {
    /// A route of this name over these targets, the preferred one first.
    pub fn new(
        name: impl Into<String>,
        stagger: Stagger,
        targets: impl IntoIterator<Item = Arc<dyn Model>>,
    ) -> Self {
        let rules = Rules {
            start: Start::After(stagger),
            win: Winner::FirstToken,
            after_first_token: AfterFirstToken::Restart,
        };
        Self { plan: Plan::new(name.into(), targets, &rules), rules }
    }

    /// What happens when the winner fails after something of its answer was shown; to begin again with a
    /// target that was not asked yet, where this is not called.
    #[must_use]
    pub fn after_first_token(mut self, rule: AfterFirstToken) -> Self {
        self.rules.after_first_token = rule;
        self
    }
}

impl Model for Hedge {
    fn info(&self) -> &ModelInfo {
        &self.plan.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(RouteStream::new(self.plan.clone(), self.rules, request, context))
    }
}

impl std::fmt::Debug for Hedge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.debug("Hedge", f)
    }
}
