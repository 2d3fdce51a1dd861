//! User code at five seams of a run.

use ambidex_core::message::Message;
use ambidex_core::model::Request;
use ambidex_core::record::Outcome;
use ambidex_core::reply::Reply;
use ambidex_core::{BoxFuture, Context, Error, ToolOutput};
use serde_json::Value;

/// A call of a tool on its way to the tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolInvocation {
    /// The call's id within its run, such as `t0.1`.
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolDecision {
    /// It runs, with these arguments (checked against the schema again).
    Run(ToolInvocation),
    /// This stands in for its result.
    Answer(ToolOutput),
}

/// Looks at, or replaces, what passes a seam. Each call is part of an effect, so its outcome is recorded
/// and never made again by a replay. An error of a hook is the error of its effect.
pub trait Hook: Send + Sync {
    /// Also before a summary is asked for: the effect's id begins with `c` then, not with `m`.
    fn before_model<'a>(
        &'a self,
        _context: &'a Context,
        request: Request,
    ) -> BoxFuture<'a, Result<Request, Error>> {
        Box::pin(std::future::ready(Ok(request)))
    }

    fn after_model<'a>(&'a self, _context: &'a Context, reply: Reply) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(std::future::ready(Ok(reply)))
    }

    fn before_tool<'a>(
        &'a self,
        _context: &'a Context,
        call: ToolInvocation,
    ) -> BoxFuture<'a, Result<ToolDecision, Error>> {
        Box::pin(std::future::ready(Ok(ToolDecision::Run(call))))
    }

    fn after_tool<'a>(
        &'a self,
        _context: &'a Context,
        _call: &'a ToolInvocation,
        result: Result<ToolOutput, Error>,
    ) -> BoxFuture<'a, Result<ToolOutput, Error>> {
        Box::pin(std::future::ready(result))
    }

    /// Sees how the run ends, before it does; not called for a cancelled run.
    fn on_finish<'a>(
        &'a self,
        _context: &'a Context,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(std::future::ready(Ok(outcome)))
    }

    /// Whether `on_finish` does anything. A run with no hook that wants it is spared a step.
    fn wants_finish(&self) -> bool {
        true
    }
}

/// Ends a run with the first reply it is true for.
pub type StopWhen = dyn Fn(&Reply) -> bool + Send + Sync;

/// A message for the model, from outside a run.
pub(crate) fn steering(text: impl Into<String>) -> std::sync::Arc<Message> {
    Message::user(text)
}
