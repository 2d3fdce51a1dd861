//! One target after another.

use std::sync::Arc;

use ambidex_core::model::ModelInfo;
use ambidex_core::{BoxStream, Chunk, Context, Error, Model, Request};

use super::plan::{Plan, Rules, Start};
use super::race::Winner;
use super::stream::RouteStream;
use crate::retry::AfterFirstToken;

/// Asks the first target, and the next when one fails in a way that another may not.
///
/// Which failures those are: [`another_target_may_help`](super::another_target_may_help). There is no wait
/// between two targets. A target that asked for time (`Retry-After`) is passed over until that is over.
/// After `context_too_long` only targets with a larger known context are asked.
///
/// When every target failed, the error is the last one's, and names all of them. A retry may help if it may
/// at one of them.
#[derive(Clone)]
pub struct Fallback {
    plan: Arc<Plan>,
    rules: Rules,
}

impl Fallback {
    /// A route of this name over these targets, the preferred one first.
    pub fn new(name: impl Into<String>, targets: impl IntoIterator<Item = Arc<dyn Model>>) -> Self {
        let rules = Rules {
            start: Start::OnFailure,
            win: Winner::FirstToken,
            after_first_token: AfterFirstToken::Restart,
        };
        Self { plan: Plan::new(name.into(), targets, &rules), rules }
    }

    /// What happens when a target fails after something of its answer was shown; to begin again with the
    /// next one, where this is not called.
    #[must_use]
    pub fn after_first_token(mut self, rule: AfterFirstToken) -> Self {
        self.rules.after_first_token = rule;
        self
    }
}

impl Model for Fallback {
    fn info(&self) -> &ModelInfo {
        &self.plan.info
    }

    fn stream(&self, request: Request, context: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        Box::pin(RouteStream::new(self.plan.clone(), self.rules, request, context))
    }
}

impl std::fmt::Debug for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.plan.debug("Fallback", f)
    }
}
