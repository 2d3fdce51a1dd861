//! Tools made from functions that are not async.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ambidex_core::blocking::BlockingThreads;
use ambidex_core::{BoxFuture, Context, Error, Tool, ToolOutput, ToolSpec};
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::input::{arguments, schema_of};
use crate::options::spec_options;
use crate::output::{failure, output, panicked};
use crate::pool::{BlockingPool, run_on};

type Function = dyn Fn(Value, Context) -> Result<ToolOutput, Error> + Send + Sync;

/// A function that may block, as a tool. It runs on a thread of its context's pool, or of its own
/// ([`BlockingTool::on`]).
///
/// A call that timed out or was cancelled is reported at once; its thread stays taken until the function
/// returns. The function sees it by `context.is_cancelled()`. A panic is the call's error (`tool_failed`).
#[derive(Clone)]
pub struct BlockingTool {
    spec: ToolSpec,
    function: Arc<Function>,
    pool: Option<BlockingPool>,
}

impl BlockingTool {
    /// The input schema is made from `Args`. Results and errors are those of
    /// [`FunctionTool::new`](crate::FunctionTool::new).
    pub fn new<Args, Out, Failure, F>(name: impl Into<String>, description: impl Into<String>, f: F) -> Self
    where
        Args: DeserializeOwned + JsonSchema,
        Out: Serialize + 'static,
        Failure: Display + 'static,
        F: Fn(Args, Context) -> Result<Out, Failure> + Send + Sync + 'static,
    {
        let mut spec = ToolSpec::new(name, description);
        spec.input = schema_of::<Args>();
        Self::dynamic(spec, move |value, context| {
            f(arguments(value)?, context).map_err(failure).and_then(output)
        })
    }

    /// A tool whose schema is known only at run time. The function gets an object that matched
    /// `spec.input`.
    pub fn dynamic<F>(spec: ToolSpec, f: F) -> Self
    where
        F: Fn(Value, Context) -> Result<ToolOutput, Error> + Send + Sync + 'static,
    {
        Self { spec, function: Arc::new(f), pool: None }
    }

    /// Runs on this pool instead of its context's. A call that waits for a thread of it has started as far
    /// as its driver knows.
    #[must_use]
    pub fn on(mut self, pool: &BlockingPool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    spec_options!();
}

impl Tool for BlockingTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call(&self, arguments: Value, context: Context) -> BoxFuture<'static, Result<ToolOutput, Error>> {
        let Self { spec, function, pool } = self.clone();
        async move {
            let thread = match &pool {
                Some(pool) => pool.reserve().await?,
                None => context.thread().await?,
            };
            let context = context.child();
            // However this future ends, the function learns that nobody waits any more.
            let _gone = context.token().clone().drop_guard();
            let job = move || {
                let call = AssertUnwindSafe(|| function(arguments, context));
                catch_unwind(call).unwrap_or_else(|payload| Err(panicked(&spec.name, &*payload)))
            };
            run_on(thread, job).await.flatten()
        }
        .boxed()
    }

    fn blocks(&self) -> bool {
        self.pool.is_none()
    }
}

impl std::fmt::Debug for BlockingTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockingTool").field("spec", &self.spec).finish_non_exhaustive()
    }
}
