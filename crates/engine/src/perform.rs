//! How effects are carried out. The run loop knows when, this knows how.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ambidex_core::chunk::{Chunk, RouteNote};
use ambidex_core::effect::CallToMake;
use ambidex_core::event::EventKind;
use ambidex_core::message::History;
use ambidex_core::question::Answer;
use ambidex_core::record::{Outcome, Output};
use ambidex_core::reply::{Reply, ReplyBuilder};
use ambidex_core::tool::EffectClass;
use ambidex_core::{BoxFuture, BoxStream, Context, Error, ErrorKind, Model, Request, ToolOutput};
use ambidex_tools::cap::keep;
use ambidex_tools::{Registered, registry};
use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use serde_json::Value;

use crate::agent::AgentRuntime;
use crate::carrier::Carrier;
use crate::check;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::hook::{ToolDecision, ToolInvocation};
use crate::permits::{Permit, Places};
use crate::retry;
use crate::run_loop::EffectResult;
use crate::summary;

/// How an effect ended.
pub(crate) enum Ended {
    Result(Box<EffectResult>),
    /// It must not be repeated, and whether it happened is not known.
    Lost,
    /// A child's driver cannot go on. That is no result, and ends this one too.
    Driver(Box<Error>),
    /// A child is paused, and so is its parent: it stays open.
    Paused(String),
}

impl From<EffectResult> for Ended {
    fn from(result: EffectResult) -> Self {
        Self::Result(Box::new(result))
    }
}

/// Calls the model and collects its reply. Dropped when the run stops, which closes the connection.
pub(crate) async fn model(agent: Arc<AgentRuntime>, history: History, context: Context) -> Ended {
    let token = context.token().clone();
    tokio::select! {
        biased;
        () = token.cancelled() => Err(Error::cancelled()).into(),
        reply = guard(ErrorKind::Internal, || reply(&agent, history, &context)) => {
            reply.map(|reply| Output::Reply(Box::new(reply))).into()
        }
    }
}

/// Has the older part of a conversation summarised. Nobody is shown how it is written.
pub(crate) async fn summary(agent: Arc<AgentRuntime>, history: History, context: Context) -> Ended {
    let token = context.token().clone();
    let (model, request) = summary::request(&agent, &history);
    let asking = || hooked(&agent, &*model, request, &context, false);
    tokio::select! {
        biased;
        () = token.cancelled() => Err(Error::cancelled()).into(),
        reply = guard(ErrorKind::Internal, asking) => {
            reply.map(|reply| Output::Reply(Box::new(reply))).into()
        }
    }
}

async fn reply(agent: &AgentRuntime, history: History, context: &Context) -> Result<Reply, Error> {
    let request = agent.request(history);
    let mut reply = hooked(agent, &*agent.model, request, context, context.is_watched()).await?;
    check::reply(agent, &mut reply);
    if let Some(stop_when) = &agent.stop_when {
        reply.stop |= stop_when(&reply);
    }
    Ok(reply)
}

/// A model call between the hooks before and after it. What hooks need is boxed, and the stream is made before the
/// future is: request and reply would have a place in it for as long as the call takes.
fn hooked<'a>(
    agent: &'a AgentRuntime,
    model: &'a dyn Model,
    request: Request,
    context: &'a Context,
    shown: bool,
) -> impl Future<Output = Result<Reply, Error>> + Send + 'a {
    let stream = if agent.hooks.is_empty() {
        Either::Left(ready(Ok(model.stream(request, context.clone()))))
    } else {
        Either::Right(Box::pin(before_model(agent, model, request, context)))
    };
    async move {
        let collected = collect(stream.await?, context, shown).await;
        if agent.hooks.is_empty() {
            return collected;
        }
        Box::pin(after_model(agent, collected?, context)).await
    }
}

async fn before_model(
    agent: &AgentRuntime,
    model: &dyn Model,
    mut request: Request,
    context: &Context,
) -> Result<BoxStream<'static, Result<Chunk, Error>>, Error> {
    for hook in &agent.hooks {
        request = guard(ErrorKind::HookFailed, || hook.before_model(context, request)).await?;
    }
    Ok(model.stream(request, context.clone()))
}

async fn after_model(agent: &AgentRuntime, mut reply: Reply, context: &Context) -> Result<Reply, Error> {
    let usage = reply.usage;
    for hook in &agent.hooks {
        let hooked = guard(ErrorKind::HookFailed, || hook.after_model(context, reply)).await;
        reply = hooked.map_err(|error| error.with_usage(usage))?;
    }
    Ok(reply)
}

async fn collect(
    mut stream: BoxStream<'static, Result<Chunk, Error>>,
    context: &Context,
    shown: bool,
) -> Result<Reply, Error> {
    let mut shown = shown.then(|| Shown::new(context));
    let mut builder = ReplyBuilder::new();
    let next = |cx: &mut std::task::Context<'_>| loop {
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(Chunk::Note(note)))) => {
                if matches!(note, RouteNote::Restarted { .. }) {
                    builder.restart();
                }
                if let Some(shown) = &mut shown {
                    shown.notes.push(note);
                }
            }
            Poll::Ready(Some(Ok(chunk))) => {
                if let Some(shown) = &mut shown {
                    shown.take(&chunk);
                }
                if let Err(error) = builder.push(chunk) {
                    return Poll::Ready(Err(error));
                }
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(None) => return Poll::Ready(Ok(())),
            Poll::Pending => {
                if let Some(shown) = &mut shown {
                    shown.flush();
                }
                return Poll::Pending;
            }
        }
    };
    let ended = std::future::poll_fn(next).await;
    if let Some(shown) = &mut shown {
        shown.flush();
    }
    let usage = *builder.usage();
    // What failed cost something too.
    ended.and_then(|()| builder.finish()).map_err(|error| error.with_usage(usage))
}

/// What watchers see of a reply. What came in together is shown together: one wake-up for all tokens and notes
/// of one read, and one event for those tokens.
struct Shown<'a> {
    context: &'a Context,
    text: String,
    reasoning: bool,
    /// What was noted after the text.
    notes: Vec<RouteNote>,
}

impl<'a> Shown<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, text: String::new(), reasoning: false, notes: Vec::new() }
    }

    fn take(&mut self, chunk: &Chunk) {
        match chunk {
            Chunk::Text { text, .. } | Chunk::Refusal { text, .. } => self.add(text, false),
            Chunk::Reasoning { text, .. } => self.add(text, true),
            _ => {}
        }
    }

    fn add(&mut self, text: &str, reasoning: bool) {
        if self.reasoning != reasoning || !self.notes.is_empty() {
            self.flush();
            self.reasoning = reasoning;
        }
        self.text.push_str(text);
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let words = (!text.is_empty()).then(|| match self.reasoning {
            true => EventKind::ModelReasoning { text },
            false => EventKind::ModelDelta { text },
        });
        if words.is_some() || !self.notes.is_empty() {
            self.context.emit_all(words.into_iter().chain(self.notes.drain(..).map(EventKind::from)));
        }
    }
}

pub(crate) async fn finish_hook(agent: Arc<AgentRuntime>, outcome: Outcome, context: Context) -> Ended {
    let token = context.token().clone();
    let hooks = async {
        let mut outcome = outcome;
        for hook in &agent.hooks {
            outcome = guard(ErrorKind::HookFailed, || hook.on_finish(&context, outcome)).await?;
        }
        Ok(Output::Outcome(Box::new(outcome)))
    };
    tokio::select! {
        biased;
        () = token.cancelled() => Err(Error::cancelled()).into(),
        outcome = hooks => outcome.into(),
    }
}

pub(crate) async fn question(answered: BoxFuture<'static, Answer>, context: Context) -> Ended {
    tokio::select! {
        biased;
        () = context.token().cancelled() => Err(Error::cancelled()).into(),
        answer = answered => Ok(Output::Answer(answer)).into(),
    }
}

/// A question that nobody answers any more after a time, in milliseconds since 1970.
pub(crate) async fn question_until(
    answered: BoxFuture<'static, Answer>,
    due: u64,
    clock: Clock,
    context: Context,
) -> Ended {
    let over = async {
        // What was due while nobody was there is over at once, and not with the next tick of a timer.
        let left = Duration::from_millis(due.saturating_sub(clock.now()));
        if left > Duration::ZERO {
            tokio::time::sleep(left).await;
        }
    };
    tokio::select! {
        biased;
        ended = question(answered, context) => ended,
        () = over => {
            let at = ambidex_core::event::Timestamp(due);
            Err(Error::new(ErrorKind::Timeout, format!("nobody answered until {at}"))).into()
        }
    }
}

/// Calls a tool: hooks, attempts under a time limit each, output capped. Arguments that a person or a hook
/// may have changed since the reply was checked are checked again.
pub(crate) async fn tool(
    carrier: Carrier,
    call: CallToMake,
    class: EffectClass,
    context: Context,
    permit: Option<Permit>,
) -> Ended {
    let name = call.name();
    let Some(registered) = carrier.tools().get(name) else {
        return Err(registry::unknown_tool(name, carrier.tools().keys().map(String::as_str))).into();
    };
    let token = context.token().clone();
    let permit = tokio::select! {
        biased;
        () = token.cancelled() => return Err(Error::cancelled()).into(),
        permit = admitted(&carrier, name, permit) => permit,
    };
    let (places, thread) = permit.into_parts();
    let context = context.holding(&places.as_place());
    let context = match thread {
        Some(thread) => context.with_thread(thread),
        None => context,
    };
    // Hooks get a copy.
    let hooks = carrier.hooks();
    let mut hooked = (!hooks.is_empty()).then(|| ToolInvocation {
        id: context.effect().to_owned(),
        name: name.to_owned(),
        arguments: call.arguments().clone(),
    });
    if let Some(hooked) = &mut hooked {
        for hook in hooks {
            let decided = tokio::select! {
                biased;
                () = token.cancelled() => return Err(Error::cancelled()).into(),
                decided = guard(ErrorKind::HookFailed, || hook.before_tool(&context, hooked.clone())) => decided,
            };
            match decided {
                Ok(ToolDecision::Run(changed)) => *hooked = changed,
                Ok(ToolDecision::Answer(output)) => return Ok(Output::Tool(output)).into(),
                Err(error) => return Err(error).into(),
            }
        }
    }
    let arguments = hooked.as_ref().map_or(call.arguments(), |hooked| &hooked.arguments);
    if (call.is_unchecked() || hooked.is_some())
        && let Err(error) = registered.check(arguments)
    {
        return Err(error).into();
    }
    let attempted = attempts(carrier.engine(), registered, arguments, class, context.clone(), &places).await;
    let mut result = match attempted {
        Attempted::Result(result) => result,
        Attempted::Lost => return Ended::Lost,
    };
    if let Some(hooked) = &hooked {
        for hook in hooks {
            // The hook first: a result that is there is seen by it, also when the run is being cancelled.
            result = tokio::select! {
                biased;
                result = guard(ErrorKind::HookFailed, || hook.after_tool(&context, hooked, result)) => result,
                () = token.cancelled() => Err(cancelled(class)),
            };
        }
    }
    drop(places);
    result.map(|output| Output::Tool(keep(output))).into()
}

/// The permit of a call. One that goes on from another process, or after a doubt, has none yet.
async fn admitted(carrier: &Carrier, tool: &str, permit: Option<Permit>) -> Permit {
    match permit {
        Some(permit) => permit,
        None => carrier.gates(tool).pass().await.unwrap_or_default(),
    }
}

/// Calls a tool outside any run.
pub(crate) async fn call(
    engine: &Engine,
    registered: &Registered,
    arguments: Value,
    context: Context,
) -> Result<ToolOutput, Error> {
    registered.check(&arguments)?;
    let spec = registered.spec();
    match attempts(engine, registered, &arguments, spec.effect, context, &Places::default()).await {
        Attempted::Result(result) => result,
        Attempted::Lost => Err(timed_out(registered, spec.effect)),
    }
}

enum Attempted {
    Result(Result<ToolOutput, Error>),
    Lost,
}

async fn attempts(
    engine: &Engine,
    registered: &Registered,
    arguments: &Value,
    class: EffectClass,
    mut context: Context,
    places: &Places,
) -> Attempted {
    let policy = retry::policy(registered.spec());
    let attempts = if class.repeatable() { policy.attempts } else { 1 };
    let mut attempt = 1;
    loop {
        let result = match once(registered, arguments, &context).await {
            Ok(result) => result,
            Err(Unfinished::Cancelled) => return Attempted::Result(Err(cancelled(class))),
            Err(Unfinished::TimedOut) if class == EffectClass::Once => return Attempted::Lost,
            Err(Unfinished::TimedOut) => Err(timed_out(registered, class)),
        };
        let error = match result {
            Err(error) if error.is_retryable() && attempt < attempts => error,
            result => return Attempted::Result(result),
        };
        let Some(wait) = retry::wait(&policy, attempt, error.retry_after(), context.time_left()) else {
            return Attempted::Result(Err(error));
        };
        attempt += 1;
        context.progress(serde_json::json!({"attempt": attempt, "after": error.to_string()}));
        tokio::select! {
            biased;
            () = context.token().cancelled() => return Attempted::Result(Err(Error::cancelled())),
            () = tokio::time::sleep(wait) => {}
        }
        if registered.tool().blocks() {
            let token = context.token().clone();
            tokio::select! {
                biased;
                () = token.cancelled() => return Attempted::Result(Err(Error::cancelled())),
                thread = engine.blocking_threads().reserve() => {
                    // Without one the tool asks for a thread itself, and says so.
                    context = match thread {
                        Ok(thread) => context.with_thread(places.kept_by(thread)),
                        Err(_) => context,
                    };
                }
            }
        }
    }
}

enum Unfinished {
    Cancelled,
    TimedOut,
}

/// One attempt. When its time is over it is told, given its grace, and dropped.
async fn once(
    registered: &Registered,
    arguments: &Value,
    context: &Context,
) -> Result<Result<ToolOutput, Error>, Unfinished> {
    let own = context.child();
    let token = own.token().clone();
    let call = guard(ErrorKind::ToolFailed, || registered.tool().call(arguments.clone(), own));
    let mut calling = Box::pin(registered.timed(call));
    let why = tokio::select! {
        biased;
        () = token.cancelled() => Unfinished::Cancelled,
        result = &mut calling => return Ok(result),
        () = tokio::time::sleep(registered.spec().timeout()) => Unfinished::TimedOut,
    };
    token.cancel();
    let grace = registered.tool().cancel_grace();
    if grace > Duration::ZERO {
        // What it says now is of no use: it was told to stop.
        let _ = tokio::time::timeout(grace, &mut calling).await;
    }
    Err(why)
}

/// A panic in a model, tool or hook fails its effect, not the driver; also one before its first await.
pub(crate) async fn guard<T, W>(kind: ErrorKind, work: impl FnOnce() -> W) -> Result<T, Error>
where
    W: Future<Output = Result<T, Error>>,
{
    match AssertUnwindSafe(async { work().await }).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(panicked(kind, &*panic)),
    }
}

pub(crate) fn panicked(kind: ErrorKind, panic: &(dyn Any + Send)) -> Error {
    let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(kind, format!("it panicked: {words}"))
}

fn timed_out(registered: &Registered, class: EffectClass) -> Error {
    let spec = registered.spec();
    let doubt = if class.repeatable() { "" } else { "; it may have happened all the same" };
    let text = format!("`{}` ran longer than {:?}{doubt}", spec.name, spec.timeout());
    Error::new(ErrorKind::ToolTimeout, text)
}

pub(crate) fn cancelled(class: EffectClass) -> Error {
    if class.repeatable() {
        return Error::cancelled();
    }
    Error::new(ErrorKind::Cancelled, "cancelled while it ran; it may have happened all the same")
}
