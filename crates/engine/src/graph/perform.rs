//! How the work of a graph's nodes is carried out.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::effect::CallToMake;
use ambidex_core::graph::{NodeCall, NodeOutput};
use ambidex_core::record::Output;
use ambidex_core::tool::EffectClass;
use ambidex_core::{Context, Error, ErrorKind};

use super::cache::cached;
use super::function::NodeFunction;
use super::runtime::GraphRuntime;
use crate::carrier::{Carrier, is_branch};
use crate::clock::Clock;
use crate::perform::{self, Ended, cancelled, guard};
use crate::permits::Permit;

/// Calls the code of a node, or of the branch behind one.
pub(crate) async fn code(
    graph: Arc<GraphRuntime>,
    function: String,
    call: NodeCall,
    context: Context,
    permit: Option<Permit>,
) -> Ended {
    if context.is_cancelled() {
        return Err(Error::cancelled()).into();
    }
    let code = match graph.function(&function) {
        Ok(function) => &**function,
        Err(error) => return Err(error).into(),
    };
    if is_branch(context.effect()) {
        // It only chooses.
        return timed(code, call, &context, None, EffectClass::Read).await;
    }
    let definition = call.definition();
    let (class, limit) = (definition.effect, definition.timeout_ms.map(Duration::from_millis));
    if call.template().is_none() && !definition.cache {
        let context = on_a_thread(context, permit);
        return timed(code, call, &context, limit, class).await;
    }
    let input = match graph.input(&call) {
        Ok(input) => input,
        Err(error) => return Err(error).into(),
    };
    let caches = definition.cache;
    let call = if call.template().is_some() { call.filled(input.clone()) } else { call };
    let context = on_a_thread(context, permit);
    let calling = timed(code, call.clone(), &context, limit, class);
    if caches { Box::pin(cached(&graph, &call, &input, calling)).await } else { calling.await }
}

fn on_a_thread(context: Context, permit: Option<Permit>) -> Context {
    match permit.map(Permit::into_parts) {
        Some((_, Some(thread))) => context.with_thread(thread),
        _ => context,
    }
}

async fn timed(
    function: &dyn NodeFunction,
    call: NodeCall,
    context: &Context,
    limit: Option<Duration>,
    class: EffectClass,
) -> Ended {
    match attempt(function, call, context, limit).await {
        Ok(result) => result.map(Output::Node).into(),
        Err(Unfinished::Cancelled) => Err(cancelled(class)).into(),
        Err(Unfinished::TimedOut(limit)) => timed_out(limit, class),
    }
}

fn timed_out(limit: Duration, class: EffectClass) -> Ended {
    if class == EffectClass::Once {
        return Ended::Lost;
    }
    let doubt = if class.repeatable() { "" } else { "; it may have happened all the same" };
    Err(Error::new(ErrorKind::Timeout, format!("it ran longer than {limit:?}{doubt}"))).into()
}

/// Calls a tool for a node, with its template filled in and within the time of the node.
pub(crate) async fn tool(
    graph: Arc<GraphRuntime>,
    call: CallToMake,
    class: EffectClass,
    context: Context,
    permit: Option<Permit>,
) -> Ended {
    let Some(node) = call.node().cloned() else {
        return Err(Error::new(ErrorKind::Internal, "the call is of no node")).into();
    };
    let input = match graph.input(&node) {
        Ok(input) => input,
        Err(error) => return Err(error).into(),
    };
    let call = if node.template().is_some() { call.filled(input.clone()) } else { call };
    let own = context.child();
    let calling = perform::tool(Carrier::Graph(graph.clone()), call, class, own.clone(), permit);
    let limit = node.definition().timeout_ms.map(Duration::from_millis);
    let within = async move {
        let Some(limit) = limit else { return calling.await };
        let mut calling = Box::pin(calling);
        tokio::select! {
            biased;
            ended = &mut calling => ended,
            () = tokio::time::sleep(limit) => {
                own.cancel();
                // It has its own grace; what it says now is of no use.
                calling.await;
                timed_out(limit, class)
            }
        }
    };
    if node.definition().cache { cached(&graph, &node, &input, within).await } else { within.await }
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
