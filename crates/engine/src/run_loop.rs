//! One run in one process: performs what stands open, turns what happens into inputs, and stores every
//! step before anything that follows from it starts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::budget::Grant;
use ambidex_core::context::{Lent, RunScope};
use ambidex_core::effect::{Effect, EffectId, Work};
use ambidex_core::event::{EventKind, Status};
use ambidex_core::record::{Input, Output, Record, RecordKind, Refused, Stamp};
use ambidex_core::run::{Occurrence, Open, Phase, Run};
use ambidex_core::store::{Batch, RunStanding, StoreError};
use ambidex_core::{Context, Error, ErrorKind};
use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agent::OnWaiting;
use crate::carrier::Carrier;
use crate::engine::store_error;
use crate::events::EventQueue;
use crate::graph::{self, Child};
use crate::in_flight::InFlight;
use crate::lease::HeldLease;
use crate::mailbox::Mailbox;
use crate::perform::{self, Ended};
use crate::permits::Permits;
use crate::result::RunResult;
use crate::threads::Turn;

/// What an effect ended with, and which.
pub(crate) struct Done {
    effect: EffectId,
    attempt: u32,
    ended: Ended,
}

/// Steps without a wait after which the thread is given to others.
const IN_A_ROW: u32 = 128;

/// A wait that is longer is not kept in memory, where others find the run again when it is over.
const LONG: Duration = Duration::from_secs(60);

/// Drives one run to rest.
pub(crate) struct RunLoop {
    pub(crate) carrier: Carrier,
    pub(crate) run: Run,
    epoch: u64,
    pub(crate) scope: Arc<RunScope>,
    events: Option<Arc<EventQueue>>,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Somebody wants the run to end.
    pub(crate) cancelled: CancellationToken,
    /// Told to effects once the wish is stored.
    stop: CancellationToken,
    on_waiting: OnWaiting,
    /// Model calls, questions, hooks, tools that only wait and the last tool call of a turn are polled here. The
    /// calls before it that compute are tasks, so that they do so in parallel.
    in_flight: InFlight,
    tools: JoinSet<Done>,
    /// Effects that stand open and were not started yet.
    fresh: Vec<EffectId>,
    /// Effects whose runs are paused. They stand open, and go on when this run does.
    resting: Vec<EffectId>,
    /// What the run was resumed with last.
    granted: Option<Box<Grant>>,
    /// Steps since the thread was last given to others.
    in_a_row: u32,
    permits: Permits,
    /// Moved only when it would fire too late, so it may fire too early.
    tick: Option<Pin<Box<Sleep>>>,
    /// Ended while a step was being stored.
    ready: Vec<Done>,
    /// The place of the call that started this run.
    _lent: Option<Lent>,
    /// Where other processes may drive the run too.
    pub(crate) lease: Option<Box<HeldLease>>,
    /// Its place on its thread.
    pub(crate) turn: Option<Box<Turn>>,
}

impl RunLoop {
    #[expect(clippy::too_many_arguments, reason = "made in one place")]
    pub(crate) fn new(
        carrier: Carrier,
        run: Run,
        epoch: u64,
        scope: Arc<RunScope>,
        events: Option<Arc<EventQueue>>,
        mailbox: Arc<Mailbox>,
        cancelled: CancellationToken,
        on_waiting: OnWaiting,
        lent: Option<Lent>,
        lease: Option<Box<HeldLease>>,
    ) -> Self {
        Self {
            carrier,
            run,
            epoch,
            scope,
            events,
            mailbox,
            cancelled,
            stop: CancellationToken::new(),
            on_waiting,
            in_flight: InFlight::default(),
            tools: JoinSet::new(),
            fresh: Vec::new(),
            resting: Vec::new(),
            granted: None,
            in_a_row: 0,
            tick: None,
            permits: Permits::default(),
            ready: Vec::new(),
            _lent: lent,
            lease,
            turn: None,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Boxed: a task would hold it several times over.
    pub(crate) async fn run_to_rest(mut self: Box<Self>, first: Vec<Input>) -> Result<RunResult, Error> {
        let driven = match self.turn {
            // Boxed: runs on no thread are not to be bigger for it.
            Some(_) => Box::pin(self.drive_on_thread(first)).await,
            None => self.drive(first).await,
        };
        if driven.is_err() {
            self.stop.cancel();
        }
        // What was in flight when the driver failed is dropped before anybody hears of it.
        self.in_flight.clear();
        self.tools.shutdown().await;
        if let Some(lease) = self.lease.take() {
            // Boxed: runs without a lease are not to be bigger for it.
            Box::pin(lease.release(driven.is_ok())).await;
        }
        if let Some(durable) = self.carrier.engine().durable() {
            durable.ended.notify_one();
        }
        self.mailbox.close();
        driven.map_err(|error| self.stored_still(error))?;
        if let Some(steered) = self.turn.as_mut().and_then(|turn| turn.steered()) {
            return Ok(steered);
        }
        Ok(RunResult::of(&self.run, self.now()))
    }

    /// What can be done when the store failed for a while.
    fn stored_still(&self, error: Error) -> Error {
        if self.carrier.engine().durable().is_none()
            || error.kind() != ErrorKind::StoreFailed
            || !error.is_retryable()
        {
            return error;
        }
        let text = format!("{}. The run is kept: `ambidex runs resume {}`", error.message(), self.run.id());
        Error::new(ErrorKind::StoreFailed, text).retryable(true)
    }

    pub(crate) async fn drive(&mut self, first: Vec<Input>) -> Result<(), Error> {
        let mut inputs = first;
        self.granted = inputs.iter().find_map(|input| match input {
            Input::Resume(grant) => Some(Box::new(grant.clone())),
            _ => None,
        });
        loop {
            self.step(inputs).await?;
            match self.run.phase() {
                Phase::Finished(_) => return Ok(()),
                // Recorded first, told second: a crash in between still ends as it was meant.
                Phase::Stopping(_) => self.stop.cancel(),
                Phase::New | Phase::Running | Phase::Paused(_) => {}
            }
            if let Some(lease) = self.lease.as_mut().filter(|lease| lease.is_over()) {
                // Boxed: runs without a lease are not to be bigger for it.
                Box::pin(lease.confirm()).await?;
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
                inputs = self.mailbox.close_if_empty();
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
            Phase::Paused(_) => {
                let rests = |open: &Open| open.waits_for_a_person() || self.resting.contains(&open.intent.id);
                self.run.effects().all(rests)
            }
            Phase::Running => {
                let waits = match self.on_waiting {
                    OnWaiting::Stay => false,
                    OnWaiting::Return => self.run.waits_for_a_person(),
                    OnWaiting::Rest => self.run.waits_for_a_person() || self.waits_long(),
                };
                waits && !self.permits.are_awaited()
            }
            _ => false,
        }
    }

    /// Whether time has to pass, and long enough for the run to be worth finding again when it has.
    fn waits_long(&self) -> bool {
        let later = self.now() + crate::clock::millis(LONG);
        self.lease.is_some() && self.run.stands_still() && self.run.next_wait().is_some_and(|due| due > later)
    }

    /// Whether a question of the run was answered that its effect has not heard of yet: a store on disk takes its time.
    async fn has_answers(&mut self) -> bool {
        if self.lease.is_none() {
            return false;
        }
        let open = self.carrier.engine().questions().open(Some(self.run.id()));
        match open.await {
            Ok(open) => {
                let mut own = self.run.questions().filter(|asked| *asked.run == **self.run.id());
                own.any(|asked| open.iter().all(|question| question.id != asked.id))
            }
            Err(_) => false,
        }
    }

    fn now(&self) -> u64 {
        self.carrier.engine().clock().now()
    }

    /// Decides, then stores. Nothing is performed before its intent is stored.
    async fn step(&mut self, inputs: Vec<Input>) -> Result<(), Error> {
        let again = self.turn.is_some().then(|| inputs.clone());
        let mut stepped = self.try_step(inputs).await;
        while let (Err(Unstored::Store(StoreError::Unheard)), Some(inputs)) = (&stepped, &again) {
            // A message came in beside the last reply: it gets another turn.
            let inputs = self.hear_first(inputs.clone()).await?;
            stepped = self.try_step(inputs).await;
        }
        Ok(stepped?)
    }

    /// A step that the store may refuse. The run is ahead of its store then.
    pub(crate) async fn try_step(&mut self, inputs: Vec<Input>) -> Result<(), Unstored> {
        let expected = self.run.next_seq();
        let stamp = Stamp { at: self.now(), epoch: self.epoch };
        let mut records = Vec::new();
        let mut occurrences = Vec::new();
        for input in inputs {
            let mut permits = self.permits.of(&self.carrier);
            let watched = self.events.is_some().then_some(&mut occurrences);
            match self.run.advance(input, stamp, &mut permits, watched) {
                Ok(more) => records.extend(more),
                Err(Refused::Corrupt(why)) => return Err(Error::new(ErrorKind::StoreFailed, why).into()),
                // Too late or twice: nothing changed, nothing to store.
                Err(_) => {}
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        self.note_fresh(&records);
        let saved = self.events.as_ref().and_then(|_| self.checkpoint(&records));
        let batch = self.batch(records);
        let stored = self.store(expected, batch).await;
        if let Some(lease) = &mut self.lease {
            match &stored {
                Ok(()) => lease.stored(),
                Err(error) => lease.refused(error),
            }
        }
        stored.map_err(Unstored::Store)?;
        if matches!(self.run.phase(), Phase::Finished(_)) {
            // Let go of with its end.
            self.lease = None;
            if let Some(turn) = &mut self.turn {
                turn.ended(&self.run);
            }
        }
        if let Some(events) = &self.events {
            occurrences
                .extend(saved.map(|seq| Occurrence { step: None, kind: EventKind::CheckpointSaved { seq } }));
            events.publish(occurrences);
        }
        Ok(())
    }

    /// The last of these records after which a graph had come on, unless it has come to its end.
    fn checkpoint(&self, records: &[Record]) -> Option<u64> {
        if self.run.agent().is_some() || matches!(self.run.phase(), Phase::Finished(_)) {
            return None;
        }
        let came_on = |record: &&Record| {
            matches!(&record.kind, RecordKind::Patched(_) | RecordKind::Result { result: Ok(_), .. })
        };
        records.iter().rev().find(came_on).map(|record| record.seq)
    }

    /// The step was refused, and the run is as it was before.
    pub(crate) fn forget_step(&mut self, run: Run) {
        self.run = run;
        self.fresh.clear();
    }

    /// What these records open is to be started once they are stored.
    fn note_fresh(&mut self, records: &[Record]) {
        if records.iter().any(|record| matches!(record.kind, RecordKind::Claimed)) {
            self.fresh = self.run.effects().map(|open| open.intent.id.clone()).collect();
            return;
        }
        self.fresh.extend(records.iter().filter_map(|record| match &record.kind {
            RecordKind::Intent(intent) => Some(intent.id.clone()),
            // A person says that it did not happen.
            RecordKind::Result { effect, .. } => {
                let about = effect.as_str().strip_prefix("doubt:")?.rsplit_once('.')?.0;
                Some(EffectId::new(about))
            }
            _ => None,
        }));
    }

    /// A run that waits wants to be driven on when its nearest timer is over.
    fn standing(&self) -> RunStanding {
        let status = self.run.status();
        let due = self.run.next_wait().filter(|_| status == Status::Waiting);
        RunStanding { status, due }
    }

    fn batch(&mut self, records: Vec<Record>) -> Batch {
        let first = records.first().is_some_and(|record| record.seq == 0);
        let lease = self.lease.as_mut().and_then(|lease| lease.of_batch(first));
        let ends = matches!(self.run.phase(), Phase::Finished(_));
        let held = self.lease.as_mut().filter(|_| !ends);
        let snapshot = held.and_then(|lease| lease.since.due(&records, &self.run));
        let now = self.now();
        let thread = self.turn.as_mut().and_then(|turn| turn.of_batch(&self.run, now)).map(Box::new);
        Batch {
            thread,
            definition: first.then(|| self.run.definition().clone()),
            asked: self.run.asked(&records).collect(),
            withdrawn: self.run.withdrawn(&records).collect(),
            standing: Some(self.standing()),
            records,
            lease,
            snapshot,
        }
    }

    /// Commits, while what is in flight goes on: a stream must not stutter with the disk.
    async fn store(&mut self, expected: u64, batch: Batch) -> Result<(), StoreError> {
        let mut commit = self.carrier.engine().store().commit(self.run.id(), self.epoch, expected, batch);
        loop {
            let stored = tokio::select! {
                biased;
                stored = &mut commit => stored,
                Some(done) = self.in_flight.next() => {
                    self.ready.push(done);
                    continue;
                }
            };
            return stored;
        }
    }

    fn start_open(&mut self) {
        // Looked at right before the effects: they start cancelled, once the wish is stored.
        if self.cancelled.is_cancelled() && !matches!(self.run.phase(), Phase::Stopping(_)) {
            return;
        }
        let mut rested = false;
        if self.granted.is_some() || matches!(self.run.phase(), Phase::Stopping(_)) {
            rested = !self.resting.is_empty();
            self.fresh.append(&mut self.resting);
        }
        if self.fresh.is_empty() {
            return;
        }
        let left = self.run.time_left(self.now()).map(Duration::from_millis);
        let fresh = std::mem::take(&mut self.fresh);
        let run = &self.run;
        let starting: Vec<_> =
            fresh.iter().filter_map(|id| run.open(id)).filter_map(|open| run.effect(open)).collect();
        let last = starting.len().saturating_sub(1);
        for (at, effect) in starting.into_iter().enumerate() {
            self.start(effect, at < last, rested, left);
        }
    }

    /// `beside`: others are started after it. `rested`: some of these are runs of nodes that were paused.
    fn start(&mut self, effect: Effect, beside: bool, rested: bool, left: Option<Duration>) {
        let Effect { id, attempt, work } = effect;
        let context = Context::new(self.scope.clone(), id.shared(), attempt, self.stop.clone(), left);
        let permit = self.permits.take(&id);
        let done = move |ended| Done { effect: id, attempt, ended };
        match (work, &self.carrier) {
            (Work::Tool { call, class }, carrier) => {
                // A lease is renewed by this loop, which must not stand still for long.
                let computes = match self.lease {
                    Some(_) => carrier.may_compute(call.name()),
                    None => beside && carrier.computes(call.name()),
                };
                match carrier {
                    Carrier::Agent(_) => {
                        let call = perform::tool(carrier.clone(), call, class, context, permit);
                        self.launch(call.map(done), computes);
                    }
                    Carrier::Graph(graph) => {
                        let call = graph::tool(graph.clone(), call, class, context, permit);
                        self.launch(call.map(done), computes);
                    }
                }
            }
            (Work::Model { history, .. }, Carrier::Agent(agent)) => {
                let context = context.asking(self.mailbox.clone());
                let call = perform::model(agent.clone(), history, context);
                self.in_flight.push(call.map(done));
            }
            (Work::Summarise { history }, Carrier::Agent(agent)) => {
                let context = context.asking(self.mailbox.clone());
                let call = perform::summary(agent.clone(), history, context);
                self.in_flight.push(call.map(done));
            }
            (Work::FinishHook { outcome }, Carrier::Agent(agent)) => {
                let call = perform::finish_hook(agent.clone(), outcome, context);
                self.in_flight.push(call.map(done));
            }
            (Work::Ask(question), carrier) => {
                let engine = carrier.engine();
                let answered = engine.questions().answered(&question.id);
                match question.due {
                    None => self.in_flight.push(perform::question(answered, context).map(done)),
                    Some(due) => {
                        let clock = *engine.clock();
                        let asked = perform::question_until(answered, due, clock, context);
                        self.in_flight.push(asked.map(done));
                    }
                }
            }
            (Work::Code { function, call }, Carrier::Graph(graph)) => {
                let computes = graph.computes(&function);
                let call = graph::code(graph.clone(), function, call, context, permit);
                self.launch(call.map(done), computes);
            }
            (Work::Child { run, call, budget }, Carrier::Graph(graph)) => {
                let known = attempt > 1 || rested;
                let grant = self.granted.as_deref().cloned();
                let context = context.asking(self.mailbox.clone());
                let child = Child { graph: graph.clone(), run, call, context, budget, known, grant };
                self.in_flight.push(child.ended().map(done));
            }
            (Work::Wait { due }, carrier) => {
                let clock = *carrier.engine().clock();
                self.in_flight.push(graph::wait(due, clock, context).map(done));
            }
            // Of the other kind of run: `pinned_as` lets none in.
            (Work::Model { .. } | Work::Summarise { .. } | Work::FinishHook { .. }, Carrier::Graph(_))
            | (Work::Code { .. } | Work::Child { .. }, Carrier::Agent(_)) => {
                let refused =
                    Err(Error::new(ErrorKind::Internal, "the run is of another kind than its driver"));
                self.in_flight.push(std::future::ready(Ended::from(refused)).map(done));
            }
        }
    }

    /// What computes is a task, so that others go on meanwhile.
    fn launch(&mut self, effect: impl Future<Output = Done> + Send + 'static, computes: bool) {
        match &self.lease {
            _ if !computes => self.in_flight.push(effect),
            // A task may get its turn late.
            Some(lease) => drop(self.tools.spawn(lease.during(effect))),
            None => drop(self.tools.spawn(effect)),
        }
    }

    /// Waits for one thing and takes along what else is ready: one commit for all of it.
    async fn next_inputs(&mut self) -> Result<Vec<Input>, Error> {
        let mut inputs = Vec::new();
        for done in std::mem::take(&mut self.ready) {
            self.take(done, &mut inputs)?;
        }
        self.in_a_row += 1;
        if self.in_a_row >= IN_A_ROW {
            // Code that never waits would keep the thread, and its run would hear of nothing.
            self.in_a_row = 0;
            inputs.push(Input::Tick);
            tokio::task::yield_now().await;
            if self.cancelled.is_cancelled() && !matches!(self.run.phase(), Phase::Stopping(_)) {
                inputs.push(Input::Cancel);
            }
        }
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
            let on_thread = self.turn.is_some();
            let told = async {
                match &mut self.turn {
                    Some(turn) => Box::pin(turn.told()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                error = lost, if leased => return Err(error),
                () = self.cancelled.cancelled(), if !stopping => inputs.push(Input::Cancel),
                Some(done) = self.in_flight.next() => self.ready.push(done),
                Some(joined) = self.tools.join_next() => self.ready.extend(ended(joined)),
                told = told, if on_thread => inputs.extend(told),
                () = self.permits.granted() => inputs.push(Input::Tick),
                received = self.mailbox.receive() => inputs.extend(received),
                () = tick, if has_tick => inputs.push(Input::Tick),
            }
        }
        while let Some(Some(done)) = self.in_flight.next().now_or_never() {
            self.ready.push(done);
        }
        while let Some(joined) = self.tools.try_join_next() {
            self.ready.extend(ended(joined));
        }
        for done in std::mem::take(&mut self.ready) {
            self.take(done, &mut inputs)?;
        }
        // First: a message that came beside a last reply gets another turn.
        inputs.splice(0..0, self.mailbox.take());
        self.granted = None;
        for input in &inputs {
            if let Input::Resume(grant) = input {
                self.granted = Some(Box::new(grant.clone()));
            }
        }
        Ok(inputs)
    }

    /// What an effect's end means for the run.
    fn take(&mut self, done: Done, inputs: &mut Vec<Input>) -> Result<(), Error> {
        let Done { effect, attempt, ended } = done;
        if let Some(error) = self.scope.reports.take_stuck() {
            return Err(error);
        }
        inputs.push(match ended {
            Ended::Result(result) => {
                let result = match self.scope.reports.take_usage(effect.as_str()) {
                    None => *result,
                    Some(usage) => (*result)
                        .map(|output| Output::Spent { output: Box::new(output), usage: Box::new(usage) })
                        .map_err(|error| error.with_usage(usage)),
                };
                Input::Done { effect, attempt, result }
            }
            Ended::Lost => Input::Lost { effect, attempt },
            Ended::Driver(error) => {
                let child = format!("the run of `{effect}`");
                return Err(error.context(child));
            }
            Ended::Paused(why) => {
                tracing::debug!(run = %self.run.id(), why, "paused with a run of its nodes");
                self.resting.push(effect);
                Input::Pause
            }
        });
        Ok(())
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

/// Why a step was not stored.
pub(crate) enum Unstored {
    Store(StoreError),
    Run(Error),
}

impl From<Error> for Unstored {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl From<Unstored> for Error {
    fn from(unstored: Unstored) -> Self {
        match unstored {
            Unstored::Store(error) => store_error(error),
            Unstored::Run(error) => error,
        }
    }
}

/// What a task ended with; nothing when it was aborted. A panic that user code is not to blame for ends the
/// driver: an effect that never reports would hold the run up for ever.
fn ended(joined: Result<Done, JoinError>) -> Option<Done> {
    match joined.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// The type of what effects end with.
pub(crate) type EffectResult = Result<Output, Error>;
