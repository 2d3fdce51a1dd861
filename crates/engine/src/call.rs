//! One call of a tool outside any run, with what a call inside one passes through.

use std::sync::Arc;

use ambidex_core::context::RunScope;
use ambidex_core::{Context, Error, ToolOutput};
use ambidex_tools::Registered;
use ambidex_tools::cap::keep;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::agent::new_run_id;
use crate::engine::Engine;
use crate::perform;

impl Engine {
    /// Calls a tool once: arguments checked, attempts under a time limit each, output capped. Approvals are
    /// the caller's business.
    ///
    /// # Errors
    /// Those of the tool; `invalid_arguments`, `tool_timeout`, `cancelled`.
    pub async fn call_tool(
        &self,
        tool: &Registered,
        arguments: Value,
        token: CancellationToken,
    ) -> Result<ToolOutput, Error> {
        let scope = RunScope {
            // Of its own: the idempotency key is made of it, and the next call is no repetition.
            run: new_run_id().into(),
            threads: Some(self.blocking_threads().clone()),
            ..RunScope::default()
        };
        let context = Context::new(Arc::new(scope), "call".into(), 1, token, None);
        let output = perform::call(self, tool, arguments, context).await?;
        Ok(keep(output))
    }
}
