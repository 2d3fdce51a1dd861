//! One run in one process: performs what stands open, turns what happens into inputs, and stores every
//! step before anything that follows from it starts.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ambidex_core::context::{Lent, RunScope};
use ambidex_core::effect::{EffectId, Work};
use ambidex_core::record::{Input, Output, Record, Refused, Stamp};
use ambidex_core::run::{Open, Phase, Run};
use ambidex_core::store::{Batch, RunStanding};
use ambidex_core::{BoxFuture, Context, Error, ErrorKind};
use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agent::AgentRuntime;
use crate::engine::store_error;
use crate::events::EventQueue;
use crate::lease::HeldLease;
use crate::mailbox::Mailbox;
use crate::perform::{self, Ended};
use crate::permits::Permits;
use crate::result::RunResult;

/// Effects that the loop polls itself. There are a handful, so all are polled when one wakes the loop.
#[derive(Default)]
struct InFlight(Vec<BoxFuture<'static, Done>>);

impl InFlight {
    fn push(&mut self, effect: impl Future<Output = Done> + Send + 'static) {
        self.0.push(Box::pin(effect));
    }

    /// The next that ends; nothing when there is none.
    async fn next(&mut self) -> Option<Done> {
        poll_fn(|cx| {
            for (at, effect) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(done) = effect.as_mut().poll(cx) {
                    drop(self.0.swap_remove(at));
                    return Poll::Ready(Some(done));
                }
            }
            if self.0.is_empty() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// What an effect ended with, and which.
pub(crate) struct Done {
    effect: EffectId,
    attempt: u32,
    ended: Ended,
}

/// Drives one run to rest.
pub(crate) struct RunLoop {
    agent: Arc<AgentRuntime>,
    run: Run,
    epoch: u64,
    scope: Arc<RunScope>,
    events: Option<Arc<EventQueue>>,
    mailbox: Arc<Mailbox>,
    /// Somebody wants the run to end.
    cancelled: CancellationToken,
    /// Told to effects once the wish is stored.
    stop: CancellationToken,
    return_when_waiting: bool,
    /// Model calls, questions, hooks, tools that only wait and the last tool call of a turn are polled here. The
    /// calls before it that compute are tasks, so that they do so in parallel.
    in_flight: InFlight,
    tools: JoinSet<Done>,
    /// A list: there are a handful.
    started: Vec<(EffectId, u32)>,
    permits: Permits,
    /// Moved only when it would fire too late, so it may fire too early.
    tick: Option<Pin<Box<Sleep>>>,
    /// Ended while a step was being stored.
    ready: Vec<Done>,
    /// The place of the call that started this run.
    _lent: Option<Lent>,
    /// Where other processes may drive the run too.
    lease: Option<Box<HeldLease>>,
}

impl RunLoop {
    #[expect(clippy::too_many_arguments, reason = "made in one place")]
    pub(crate) fn new(
        agent: Arc<AgentRuntime>,
        run: Run,
        epoch: u64,
        scope: Arc<RunScope>,
        events: Option<Arc<EventQueue>>,
        mailbox: Arc<Mailbox>,
        cancelled: CancellationToken,
        return_when_waiting: bool,
        lent: Option<Lent>,
        lease: Option<Box<HeldLease>>,
    ) -> Self {
        Self {
            agent,
            run,
            epoch,
            scope,
            events,
            mailbox,
            cancelled,
            stop: CancellationToken::new(),
            return_when_waiting,
            in_flight: InFlight::default(),
            tools: JoinSet::new(),
            started: Vec::new(),
            tick: None,
            permits: Permits::default(),
            ready: Vec::new(),
            _lent: lent,
            lease,
        }
    }

    /// Boxed: a task would hold it several times over.
    pub(crate) async fn run_to_rest(mut self: Box<Self>, first: Vec<Input>) -> Result<RunResult, Error> {
        let driven = self.drive(first).await;
        if driven.is_err() {
            self.stop.cancel();
        }
        // What was in flight when the driver failed is dropped before anybody hears of it.
        self.in_flight.0.clear();
        self.tools.shutdown().await;
        if let Some(lease) = self.lease.take() {
            lease.release().await;
        }
        self.mailbox.close();
        driven?;
        Ok(RunResult::of(&self.run, self.now()))
    }

    async fn drive(&mut self, first: Vec<Input>) -> Result<(), Error> {
        let mut inputs = first;
        loop {
            self.step(inputs).await?;
            match self.run.phase() {
                Phase::Finished(_) => return Ok(()),
                // Recorded first, told second: a crash in between still ends as it was meant.
                Phase::Stopping(_) => self.stop.cancel(),
                Phase::New | Phase::Running | Phase::Paused(_) => {}
            }
            self.start_open();
            if self.ready.is_empty() && self.at_rest() {
                // A question may have been answered before this process took the run over.
                while let Some(Some(done)) = self.in_flight.next().now_or_never() {
                    self.ready.push(done);
                }
            }
            if self.ready.is_empty() && self.at_rest() && !self.has_answers().await {
                // What was taken is kept.
                inputs = self.mailbox.close();
                if inputs.is_empty() {
                    return Ok(());
                }
                continue;
            }
            inputs = self.next_inputs().await?;
        }
    }

    /// Nothing will happen without somebody outside, and nobody is waited for.
    fn at_rest(&self) -> bool {
        match self.run.phase() {
            _ if self.cancelled.is_cancelled() => false,
            Phase::Paused(_) => self.run.effects().all(Open::waits_for_a_person),
            Phase::Running => {
                self.return_when_waiting && self.run.waits_for_a_person() && !self.permits.are_awaited()
            }
            _ => false,
        }
    }

    /// Whether a question of the run was answered that its effect has not heard of yet: a store on disk takes its time.
    async fn has_answers(&mut self) -> bool {
        if self.lease.is_none() {
            return false;
        }
        let open = self.agent.engine.questions().open(Some(self.run.id()));
        match open.await {
            Ok(open) => self.run.questions().any(|asked| open.iter().all(|question| question.id != asked.id)),
            Err(_) => false,
        }
    }

    fn now(&self) -> u64 {
        self.agent.engine.clock().now()
    }

    /// Decides, then stores. Nothing is performed before its intent is stored.
    async fn step(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        let expected = self.run.next_seq();
        let stamp = Stamp { at: self.now(), epoch: self.epoch };
        let mut records = Vec::new();
        let mut occurrences = Vec::new();
        for input in inputs {
            let mut permits = self.permits.for_agent(&self.agent);
            let watched = self.events.is_some().then_some(&mut occurrences);
            match self.run.advance(input, stamp, &mut permits, watched) {
                Ok(more) => records.extend(more),
                Err(Refused::Corrupt(why)) => return Err(Error::new(ErrorKind::StoreFailed, why)),
                // Too late or twice: nothing changed, nothing to store.
                Err(_) => {}
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let batch = self.batch(records);
        self.store(expected, batch).await?;
        if let Some(lease) = &mut self.lease {
            lease.is_held = true;
        }
        if matches!(self.run.phase(), Phase::Finished(_)) {
            // Let go of with its end.
            self.lease = None;
        }
        if let Some(events) = &self.events {
            events.publish(occurrences);
        }
        Ok(())
    }

    fn batch(&mut self, records: Vec<Record>) -> Batch {
        let first = records.first().is_some_and(|record| record.seq == 0);
        let lease = self.lease.as_mut().and_then(|lease| lease.of_batch(first));
        Batch {
            definition: first.then(|| self.run.definition().clone()),
            asked: self.run.asked(&records).collect(),
            withdrawn: self.run.withdrawn(&records).collect(),
            standing: Some(RunStanding { status: self.run.status(), due: None }),
            records,
            lease,
            ..Batch::default()
        }
    }

    /// Commits, while what is in flight goes on: a stream must not stutter with the disk.
    async fn store(&mut self, expected: u64, batch: Batch) -> Result<(), Error> {
        let mut commit = self.agent.engine.store().commit(self.run.id(), self.epoch, expected, batch);
        loop {
            let stored = tokio::select! {
                biased;
                stored = &mut commit => stored,
                Some(done) = self.in_flight.next() => {
                    self.ready.push(done);
                    continue;
                }
            };
            return stored.map_err(store_error);
        }
    }

    fn start_open(&mut self) {
        // Looked at right before the effects: they start cancelled, once the wish is stored.
        if self.cancelled.is_cancelled() && !matches!(self.run.phase(), Phase::Stopping(_)) {
            return;
        }
        let left = self.run.time_left(self.now()).map(Duration::from_millis);
        let run = &self.run;
        let started = &self.started;
        let fresh = |open: &&Open| {
            !started.iter().any(|(id, attempt)| *id == open.intent.id && *attempt == open.attempt)
        };
        let starting: Vec<_> = run.effects().filter(fresh).filter_map(|open| run.effect(open)).collect();
        let last = starting.len().saturating_sub(1);
        for (at, effect) in starting.into_iter().enumerate() {
            let (id, attempt) = (effect.id, effect.attempt);
            self.started.push((id.clone(), attempt));
            let context = Context::new(self.scope.clone(), id.shared(), attempt, self.stop.clone(), left);
            let done = move |ended| Done { effect: id, attempt, ended };
            match effect.work {
                Work::Tool { call, class } => {
                    let permit = self.permits.take(&done_id(&context));
                    // A lease is renewed by this loop, which must not stand still for long.
                    let computes = match self.lease {
                        Some(_) => self.agent.may_compute(call.name()),
                        None => at < last && self.agent.computes(call.name()),
                    };
                    let call = perform::tool(self.agent.clone(), call, class, context, permit);
                    if computes {
                        self.tools.spawn(call.map(done));
                    } else {
                        self.in_flight.push(call.map(done));
                    }
                }
                Work::Model { history, .. } => {
                    let context = context.asking(self.mailbox.clone());
                    let call = perform::model(self.agent.clone(), history, context);
                    self.in_flight.push(call.map(done));
                }
                Work::Summarise { history } => {
                    let context = context.asking(self.mailbox.clone());
                    let call = perform::summary(self.agent.clone(), history, context);
                    self.in_flight.push(call.map(done));
                }
                Work::FinishHook { outcome } => {
                    let call = perform::finish_hook(self.agent.clone(), outcome, context);
                    self.in_flight.push(call.map(done));
                }
                Work::Ask(question) => {
                    let answered = self.agent.engine.questions().answered(&question.id);
                    let call = perform::question(answered, context);
                    self.in_flight.push(call.map(done));
                }
                // Only runs of graphs have these, and `pinned_as` lets none in.
                Work::Code { .. } | Work::Child { .. } | Work::Wait { .. } => {
                    let text = "this driver follows agents; it cannot do the work of a graph";
                    let refused = Err(Error::new(ErrorKind::Unsupported, text));
                    self.in_flight.push(std::future::ready(Ended::from(refused)).map(done));
                }
            }
        }
    }

    /// Waits for one thing and takes along what else is ready: one commit for all of it.
    async fn next_inputs(&mut self) -> Result<Vec<Input>, Error> {
        let mut inputs: Vec<Input> = std::mem::take(&mut self.ready).into_iter().map(Done::input).collect();
        if inputs.is_empty() {
            let stopping = matches!(self.run.phase(), Phase::Stopping(_));
            let has_tick = self.set_tick();
            let tick = async {
                if let Some(tick) = &mut self.tick {
                    tick.as_mut().await;
                }
            };
            let leased = self.lease.is_some();
            let lost = async {
                match &mut self.lease {
                    // Boxed: runs without a lease are not to be bigger for it.
                    Some(lease) => Box::pin(lease.lost()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                error = lost, if leased => return Err(error),
                () = self.cancelled.cancelled(), if !stopping => inputs.push(Input::Cancel),
                Some(done) = self.in_flight.next() => inputs.push(done.input()),
                Some(joined) = self.tools.join_next() => inputs.extend(ended(joined)),
                () = self.permits.granted() => inputs.push(Input::Tick),
                received = self.mailbox.receive() => inputs.extend(received),
                () = tick, if has_tick => inputs.push(Input::Tick),
            }
        }
        while let Some(Some(done)) = self.in_flight.next().now_or_never() {
            inputs.push(done.input());
        }
        while let Some(joined) = self.tools.try_join_next() {
            inputs.extend(ended(joined));
        }
        // First: a message that came beside a last reply gets another turn.
        inputs.splice(0..0, self.mailbox.take());
        for input in &inputs {
            if let Input::Done { effect, attempt, .. } | Input::Lost { effect, attempt } = input {
                self.started.retain(|(id, of)| id != effect || of != attempt);
            }
        }
        Ok(inputs)
    }
}

impl RunLoop {
    /// Sees to it that the run is looked at when its time is over. False when there is no such time.
    fn set_tick(&mut self) -> bool {
        let Some(left) = self.run.next_tick(self.now()) else { return false };
        let at = Instant::now() + Duration::from_millis(left);
        match &mut self.tick {
            Some(tick) if tick.is_elapsed() || at < tick.deadline() => tick.as_mut().reset(at),
            Some(_) => {}
            None => self.tick = Some(Box::pin(sleep_until(at))),
        }
        true
    }
}

/// Whoever drops the run, its watcher does not wait for ever.
impl Drop for RunLoop {
    fn drop(&mut self) {
        if let Some(events) = &self.events {
            events.end();
        }
    }
}

/// What a task ended with; nothing when it was aborted. A panic that user code is not to blame for ends the
/// driver: an effect that never reports would hold the run up for ever.
fn ended(joined: Result<Done, JoinError>) -> Option<Input> {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done.input()),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

fn done_id(context: &Context) -> EffectId {
    EffectId::new(context.effect())
}

impl Done {
    fn input(self) -> Input {
        let (effect, attempt) = (self.effect, self.attempt);
        match self.ended {
            Ended::Result(result) => Input::Done { effect, attempt, result: *result },
            Ended::Lost => Input::Lost { effect, attempt },
        }
    }
}

/// The type of what effects end with.
pub(crate) type EffectResult = Result<Output, Error>;
