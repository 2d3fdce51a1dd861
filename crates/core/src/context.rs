//! What is passed down to every effect. Never global.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::blocking::{BlockingThread, BlockingThreads};
use crate::child_token::ChildToken;
use crate::effect::EffectId;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::question::Question;
use crate::relay::{Asking, Closing};
use crate::usage::Usage;
use crate::wire::WireCache;

/// Belongs to one effect of one run: who asks, under which key, until when, and how to stop. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    scope: Arc<EffectScope>,
    /// Of a part of the effect that may end before it.
    own: Option<Arc<ChildToken>>,
    time_left: Option<Duration>,
    in_retry: bool,
    beside: bool,
}

/// What all parts of one effect share.
#[derive(Clone)]
struct EffectScope {
    run: Arc<RunScope>,
    effect: Arc<str>,
    attempt: u32,
    token: CancellationToken,
    thread: Option<Reserved>,
    asking: Option<Arc<dyn Asking>>,
    /// Weak: whoever keeps a context keeps no place.
    place: Option<Weak<dyn Place>>,
}

/// A thread kept for one effect, until the effect takes it.
type Reserved = Arc<Mutex<Option<Box<dyn BlockingThread>>>>;

/// What all effects of one run share.
#[derive(Default)]
pub struct RunScope {
    pub run: Arc<str>,
    pub wire: WireCache,
    pub sink: Option<Arc<dyn EventSink>>,
    /// Where work that blocks runs.
    pub threads: Option<Arc<dyn BlockingThreads>>,
    pub caller: Option<Caller>,
    /// How many runs this one is inside of.
    pub depth: u32,
    /// What effects say of runs that they started.
    pub reports: Arc<Reports>,
}

/// What effects of a run tell its driver beside their results.
#[derive(Default)]
pub struct Reports {
    /// What runs have used that effects started, until those end.
    spent: Mutex<Vec<(Arc<str>, Usage)>>,
    /// Why a run that an effect started cannot be driven on.
    stuck: Mutex<Option<Error>>,
}

impl Reports {
    fn add(&self, effect: &Arc<str>, usage: &Usage) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        match spent.iter_mut().find(|(of, _)| of == effect) {
            Some((_, sum)) => sum.add(usage),
            None => spent.push((effect.clone(), *usage)),
        }
    }

    /// What those of this effect used, which is over.
    pub fn take_usage(&self, effect: &str) -> Option<Usage> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = spent.iter().position(|(of, _)| **of == *effect)?;
        Some(spent.swap_remove(at).1)
    }

    /// Why the driver must not go on with what its effects end with.
    pub fn take_stuck(&self) -> Option<Error> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The place of a call among those that may run at once.
pub trait Place: Send + Sync {
    /// Gives it to others.
    fn lend(&self);

    /// Takes it again, without waiting for one: the call is under way. As often as it was lent.
    fn take_back(&self);
}

/// A place that others may take meanwhile.
pub struct Lent(Option<Arc<dyn Place>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.take_back();
        }
    }
}

impl RunScope {
    fn without_cache(&self) -> Self {
        self.with_wire(WireCache::default())
    }

    /// The same with another cache.
    pub fn with_wire(&self, wire: WireCache) -> Self {
        Self {
            run: self.run.clone(),
            wire,
            sink: self.sink.clone(),
            threads: self.threads.clone(),
            caller: self.caller.clone(),
            depth: self.depth,
            reports: self.reports.clone(),
        }
    }
}

/// Whoever asked for the run, as its door knows it. Opaque here: the door's own tools and hooks find it again
/// with [`Context::caller`].
#[derive(Clone)]
pub struct Caller(Arc<dyn Any + Send + Sync>);

impl Caller {
    pub fn new<T: Send + Sync + 'static>(caller: Arc<T>) -> Self {
        Self(caller)
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

/// Takes what an effect has to say while it is under way.
pub trait EventSink: Send + Sync {
    /// Never blocks and never fails; a sink that nobody reads forgets.
    fn emit(&self, effect: &Arc<str>, attempt: u32, event: EventKind);

    /// Several that come together, in their order.
    fn emit_all(&self, effect: &Arc<str>, attempt: u32, events: &mut dyn Iterator<Item = EventKind>) {
        events.for_each(|event| self.emit(effect, attempt, event));
    }
}

/// The run of what belongs to none.
const DETACHED: &str = "none";

impl Context {
    pub fn new(
        run: Arc<RunScope>,
        effect: Arc<str>,
        attempt: u32,
        token: CancellationToken,
        time_left: Option<Duration>,
    ) -> Self {
        let scope = EffectScope { run, effect, attempt, token, thread: None, asking: None, place: None };
        Self { scope: Arc::new(scope), own: None, time_left, in_retry: false, beside: false }
    }

    /// For what is set before anybody else has the context, as a rule.
    fn scope(&mut self) -> &mut EffectScope {
        Arc::make_mut(&mut self.scope)
    }

    /// A context outside any run, for a single call of a model or tool.
    pub fn detached() -> Self {
        let scope = RunScope { run: DETACHED.into(), ..RunScope::default() };
        Self::new(Arc::new(scope), "call".into(), 1, CancellationToken::new(), None)
    }

    pub fn run(&self) -> &str {
        &self.scope.run.run
    }

    /// The effect's id within its run.
    pub fn effect(&self) -> &str {
        &self.scope.effect
    }

    /// The same in every attempt and every process: whoever can tell a repeated request by it, should get it.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}", self.run(), self.effect())
    }

    /// Counts from 1; above 1 only where an earlier attempt was lost with its process.
    pub fn attempt(&self) -> u32 {
        self.scope.attempt
    }

    /// Cancelled when the run is, or when this effect's time is over.
    pub fn token(&self) -> &CancellationToken {
        match &self.own {
            Some(own) => own.token(),
            None => &self.scope.token,
        }
    }

    pub fn is_cancelled(&self) -> bool {
        match &self.own {
            Some(own) => own.is_cancelled(),
            None => self.scope.token.is_cancelled(),
        }
    }

    /// Cancels the token, which ends what else is under it.
    pub fn cancel(&self) {
        match &self.own {
            Some(own) => own.cancel(),
            None => self.scope.token.cancel(),
        }
    }

    /// The run's time left when the effect started.
    pub fn time_left(&self) -> Option<Duration> {
        self.time_left
    }

    /// The same context under a token of its own, which ends with this one's.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: Some(Arc::new(ChildToken::of(self.clone()))), ..self.clone() }
    }

    /// The same context for an attempt of a retry: whoever is asked makes one attempt only.
    #[must_use]
    pub fn in_retry(self) -> Self {
        Self { in_retry: true, ..self }
    }

    /// Whether a failure is tried again further out, so that it must not be tried again here as well.
    pub fn is_in_retry(&self) -> bool {
        self.in_retry
    }

    /// The same context for an effect that may ask a person.
    #[must_use]
    pub fn asking(mut self, run: Arc<dyn Asking>) -> Self {
        self.scope().asking = Some(run);
        self
    }

    /// The same context for a call that holds a place among others.
    #[must_use]
    pub fn holding(mut self, place: &Arc<dyn Place>) -> Self {
        self.scope().place = Some(Arc::downgrade(place));
        self
    }

    /// Gives the call's place to others while it only waits: for a run that it started, and whose calls may need
    /// that very place.
    #[must_use]
    pub fn lend(&self) -> Lent {
        let place = self.scope.place.as_ref().and_then(Weak::upgrade);
        if let Some(place) = &place {
            place.lend();
        }
        Lent(place)
    }

    /// Counts what a run has used that this effect started, as used by this one's.
    pub fn spend(&self, usage: &Usage) {
        self.scope.run.reports.add(&self.scope.effect, usage);
    }

    /// Says that a run which this effect started cannot be driven on. That is no result of the effect: it ends the
    /// driver of this one's run, whatever the effect ends with.
    pub fn stuck(&self, why: Error) {
        *self.scope.run.reports.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// How many runs this one's is inside of.
    pub fn depth(&self) -> u32 {
        self.scope.run.depth
    }

    /// The same context for one of several that work at once.
    #[must_use]
    pub fn beside_others(self) -> Self {
        Self { beside: true, ..self }
    }

    /// Belongs to no run.
    pub fn is_detached(&self) -> bool {
        *self.scope.run.run == *DETACHED
    }

    /// Tells the run that its effect waits for an answer to this question.
    pub fn asked(&self, question: &Question) {
        let EffectScope { effect, attempt, asking, .. } = &*self.scope;
        if let Some(run) = asking {
            run.asked(EffectId::new(effect.clone()), *attempt, question.clone(), self.beside);
        }
    }

    /// Tells the run that a question of its effect is closed, after it was waited for this long.
    pub fn closed(&self, question: &str, closing: Closing, after: Duration) {
        let EffectScope { effect, attempt, asking, .. } = &*self.scope;
        if let Some(run) = asking {
            let waited = if self.beside { Duration::ZERO } else { after };
            run.closed(EffectId::new(effect.clone()), *attempt, question.to_owned(), closing, waited);
        }
    }

    /// How long effects of this run have only waited for people, in this process. Limits of time do not count
    /// it: a person has only his own.
    pub fn waited(&self) -> Duration {
        self.scope.asking.as_ref().map_or(Duration::ZERO, |run| run.waited())
    }

    /// The same context for work that others wait for too: it ends neither with this one's token nor with its
    /// time.
    #[must_use]
    pub fn shared(&self) -> Self {
        let token = CancellationToken::new();
        let scope = EffectScope { token, thread: None, ..EffectScope::clone(&self.scope) };
        Self { scope: Arc::new(scope), own: None, time_left: None, ..self.clone() }
    }

    /// The same context with a thread that was reserved for this effect.
    #[must_use]
    pub fn with_thread(mut self, thread: Box<dyn BlockingThread>) -> Self {
        self.scope().thread = Some(Arc::new(Mutex::new(Some(thread))));
        self
    }

    /// The same context with threads of the caller's choice instead of the run's.
    #[must_use]
    pub fn with_threads(mut self, threads: Arc<dyn BlockingThreads>) -> Self {
        let scope = RunScope { threads: Some(threads), ..self.scope.run.without_cache() };
        self.scope().run = Arc::new(scope);
        self
    }

    /// The same context for a call that this caller asked for.
    #[must_use]
    pub fn with_caller(mut self, caller: Caller) -> Self {
        let scope = RunScope { caller: Some(caller), ..self.scope.run.without_cache() };
        self.scope().run = Arc::new(scope);
        self
    }

    /// Whoever asked for the run, where it is one of this type.
    pub fn caller<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.scope.run.caller.as_ref().and_then(|caller| caller.0.clone().downcast().ok())
    }

    /// Whoever asked for the run, whatever it is: for a run that this effect starts.
    pub fn caller_handle(&self) -> Option<Caller> {
        self.scope.run.caller.clone()
    }

    /// A thread for work that blocks: the one reserved for this effect, else the next free one.
    ///
    /// # Errors
    /// This context knows no threads.
    pub async fn thread(&self) -> Result<Box<dyn BlockingThread>, Error> {
        let take = |slot: &Reserved| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reserved = self.scope.thread.as_ref().and_then(take);
        if let Some(thread) = reserved {
            return Ok(thread);
        }
        match &self.scope.run.threads {
            Some(threads) => threads.reserve().await,
            None => Err(Error::new(
                ErrorKind::Internal,
                "this context has no threads for work that blocks; give it some with Context::with_threads",
            )),
        }
    }

    /// The same context with this much time left.
    #[must_use]
    pub fn with_time_left(&self, left: Duration) -> Self {
        Self { time_left: Some(left), ..self.clone() }
    }

    /// Messages of this run as they were encoded before.
    pub fn wire(&self) -> &WireCache {
        &self.scope.run.wire
    }

    /// Tells watchers something; free when nobody watches.
    pub fn emit(&self, event: EventKind) {
        let EffectScope { run, effect, attempt, .. } = &*self.scope;
        if let Some(sink) = &run.sink {
            sink.emit(effect, *attempt, event);
        }
    }

    /// The same of several, which watchers then see together.
    pub fn emit_all(&self, mut events: impl Iterator<Item = EventKind>) {
        let EffectScope { run, effect, attempt, .. } = &*self.scope;
        if let Some(sink) = &run.sink {
            sink.emit_all(effect, *attempt, &mut events);
        }
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.scope.run.sink.is_some()
    }

    /// Reports progress of a tool.
    pub fn progress(&self, data: Value) {
        if self.is_watched() {
            self.emit(EventKind::ToolProgress { id: self.effect().to_owned(), data });
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("run", &self.run())
            .field("effect", &self.effect())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
