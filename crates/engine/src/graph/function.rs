//! What the names of a graph stand for, as far as it is code.

use std::time::Duration;

use ambidex_core::graph::{NodeCall, NodeOutput, State};
use ambidex_core::{BoxFuture, Context, Error};
use serde_json::Value;

/// Code of a node, or of the branch behind one. Closures
/// `Fn(NodeCall, Context) -> impl Future<Output = Result<impl Into<NodeOutput>, Error>>` are such code.
///
/// It is polled by the driver of its run, beside other nodes of the run. A call that is cancelled, or whose time is
/// over, sees that on its context's token, is given its grace, and is dropped then.
pub trait NodeFunction: Send + Sync {
    fn call(&self, call: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>>;

    /// Whether a call keeps the thread that polls it for long. Then it becomes a task of its run.
    fn computes(&self) -> bool {
        false
    }

    /// Whether a call needs a thread that may block; it finds it with [`Context::thread`].
    fn blocks(&self) -> bool {
        false
    }

    /// How long a call that was told to stop is waited for.
    fn cancel_grace(&self) -> Duration {
        Duration::ZERO
    }
}

impl<F, R, T> NodeFunction for F
where
    F: Fn(NodeCall, Context) -> R + Send + Sync,
    R: Future<Output = Result<T, Error>> + Send + 'static,
    T: Into<NodeOutput>,
{
    fn call(&self, call: NodeCall, context: Context) -> BoxFuture<'static, Result<NodeOutput, Error>> {
        let called = self(call, context);
        Box::pin(async move { called.await.map(Into::into) })
    }
}

/// Fills in the templates of nodes. What it gives is the node's input.
pub trait Templates: Send + Sync {
    /// # Errors
    /// What is wrong with the template, or with what it names; it is the node's error.
    fn fill(&self, template: &str, state: &State, item: Option<&Value>) -> Result<Value, Error>;
}
