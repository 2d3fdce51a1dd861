//! How the work of a graph's nodes is carried out.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::graph::{NodeCall, NodeOutput};
use ambidex_core::record::Output;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error, ErrorKind};

use super::function::NodeFunction;
use super::runtime::GraphRuntime;
use crate::clock::Clock;
use crate::perform::{Ended, cancelled, guard};
use crate::permits::Permit;

/// Calls the code of a node, or of the branch behind one.
pub(crate) async fn code(
    graph: Arc<GraphRuntime>,
    function: String,
    call: NodeCall,
    context: Context,
    class: EffectClass,
    permit: Option<Permit>,
) -> Ended {
    if context.is_cancelled() {
        return Err(Error::cancelled()).into();
    }
    let function = match graph.function(&function) {
        Ok(function) => &**function,
        Err(error) => return Err(error).into(),
    };
    let call = match call.template() {
        None => call,
        Some(_) => match graph.input(&call) {
            Ok(input) => call.filled(input),
            Err(error) => return Err(error).into(),
        },
    };
    let context = match permit.map(Permit::into_parts) {
        Some((_, Some(thread))) => context.with_thread(thread),
        _ => context,
    };
    let limit = call.definition().timeout_ms.map(Duration::from_millis);
    match attempt(function, call, &context, limit).await {
        Ok(result) => result.map(Output::Node).into(),
        Err(Unfinished::Cancelled) => Err(cancelled(class)).into(),
        Err(Unfinished::TimedOut(_)) if class == EffectClass::Once => Ended::Lost,
        Err(Unfinished::TimedOut(limit)) => {
            let doubt = if class.repeatable() { "" } else { "; it may have happened all the same" };
            Err(Error::new(ErrorKind::Timeout, format!("it ran longer than {limit:?}{doubt}"))).into()
        }
    }
}

enum Unfinished {
    Cancelled,
    TimedOut(Duration),
}

/// One attempt. When its time is over it is told, given its grace, and dropped.
async fn attempt(
    function: &dyn NodeFunction,
    call: NodeCall,
    context: &Context,
    limit: Option<Duration>,
) -> Result<Result<NodeOutput, Error>, Unfinished> {
    let own = if limit.is_some() { context.child() } else { context.clone() };
    let token = own.token().clone();
    let mut calling = Box::pin(guard(ErrorKind::ToolFailed, || function.call(call, own)));
    let why = match limit {
        // The call first: most end when they are first polled.
        None => tokio::select! {
            biased;
            result = &mut calling => return Ok(result),
            () = token.cancelled() => Unfinished::Cancelled,
        },
        Some(limit) => tokio::select! {
            biased;
            result = &mut calling => return Ok(result),
            () = token.cancelled() => Unfinished::Cancelled,
            () = tokio::time::sleep(limit) => Unfinished::TimedOut(limit),
        },
    };
    token.cancel();
    let grace = function.cancel_grace();
    if grace > Duration::ZERO {
        // What it says now is of no use: it was told to stop.
        let _ = tokio::time::timeout(grace, &mut calling).await;
    }
    Err(why)
}

/// Lets time pass until then.
pub(crate) async fn wait(due: u64, clock: Clock, context: Context) -> Ended {
    let left = Duration::from_millis(due.saturating_sub(clock.now()));
    tokio::select! {
        biased;
        () = context.token().cancelled() => Err(Error::cancelled()).into(),
        () = tokio::time::sleep(left) => Ok(Output::Node(NodeOutput::default())).into(),
    }
}
