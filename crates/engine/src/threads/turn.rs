//! A run's place on its thread: it begins when it is its turn, hears what it is told, and leaves the thread with
//! what it added.

use std::sync::Arc;

use ambidex_core::event::Status;
use ambidex_core::message::{Message, Role};
use ambidex_core::record::{Input, Outcome, RunInput};
use ambidex_core::run::{Phase, Run};
use ambidex_core::store::{AnyStore, RunQuery, StoreError};
use ambidex_core::thread::{Begin, End, NewThread, Shared, Signal, ThreadStep, Unheard, Wait, title};
use ambidex_core::{BoxFuture, Error, ErrorKind};

use super::cache::View;
use super::{Conversations, Driven, OnBusy};
use crate::agent::{Earlier, RunOptions};
use crate::carrier::Carrier;
use crate::engine::{Engine, store_error};
use crate::result::RunResult;
use crate::resume;
use crate::run_loop::{RunLoop, Unstored};

type Told = (u64, Result<Vec<(u64, Signal)>, StoreError>);

pub(crate) struct Turn {
    engine: Engine,
    store: Arc<dyn AnyStore>,
    run: Arc<str>,
    /// What the thread is made of, where it has to be made.
    new: NewThread,
    on_busy: OnBusy,
    /// The run that a tool started this one in.
    parent: Option<Arc<str>>,
    stage: Stage,
    /// Goes with the next batch.
    step: Option<ThreadStep>,
    /// Signals that the next records take in.
    heard: Vec<u64>,
    /// Those that the last batch took in.
    sent: Vec<u64>,
    /// Number of the last signal that was read.
    after: u64,
    /// Changes of lines and signals that were seen.
    seen: u64,
    watching: Option<BoxFuture<'static, Told>>,
    rolled_back: bool,
    steered: Option<Box<RunResult>>,
    /// Others of this engine leave the run to us.
    _driven: Driven,
}

enum Stage {
    New,
    /// Stored before: what it has of the thread is not known yet.
    Stored,
    Waiting,
    Held(View),
    /// On no thread, or no more.
    Off,
}

/// How a run came to its turn.
enum Begun {
    /// It is its turn, and these inputs came meanwhile.
    Go(Vec<Input>),
    /// It was cancelled in line, or is none: its message went to another run.
    Over,
}

impl Turn {
    /// Of a run of an agent that is on a thread of the store.
    ///
    /// # Errors
    /// The engine's store keeps no threads.
    pub(crate) fn of(
        carrier: &Carrier,
        run: &Run,
        options: &RunOptions,
        is_stored: bool,
    ) -> Result<Option<Self>, Error> {
        let Carrier::Agent(_) = carrier else { return Ok(None) };
        let thread = match run.thread() {
            Some(thread) => Some(thread.to_owned()),
            None if options.earlier == Earlier::Stored && !is_stored => options.thread.clone(),
            None => None,
        };
        let Some(thread) = thread else { return Ok(None) };
        let engine = carrier.engine();
        let Some(conversations) = engine.conversations() else {
            if is_stored {
                return Ok(None);
            }
            let text = "the engine's store keeps no threads; give it one that does, or bring what was said before along";
            return Err(Error::new(ErrorKind::ConfigInvalid, text));
        };
        let new = NewThread {
            session: options.session.clone(),
            agent: Some(carrier.name().to_string()),
            ..NewThread::new(thread)
        };
        Ok(Some(Self {
            engine: engine.clone(),
            store: conversations.store.clone(),
            run: run.id().clone(),
            new,
            on_busy: options.on_busy,
            parent: options.parent.as_ref().map(|parent| parent.run().into()),
            stage: if is_stored { Stage::Stored } else { Stage::New },
            step: None,
            heard: vec![],
            sent: vec![],
            after: 0,
            seen: 0,
            watching: None,
            rolled_back: false,
            steered: None,
            _driven: conversations.drive(run.id().clone()),
        }))
    }

    fn now(&self) -> u64 {
        self.engine.clock().now()
    }

    /// What another run made of this one's message.
    pub(crate) fn steered(&mut self) -> Option<RunResult> {
        self.steered.take().map(|steered| *steered)
    }

    fn view(&self) -> impl Future<Output = Result<View, StoreError>> + Send + use<> {
        let (engine, store, id, now) =
            (self.engine.clone(), self.store.clone(), self.new.id.clone(), self.now());
        async move {
            let Some(conversations) = engine.conversations() else { return Ok(View::empty()) };
            conversations.cache.view(&store, &id, now).await
        }
    }

    /// What a batch does with the thread. Called once for each that is stored.
    pub(crate) fn of_batch(&mut self, run: &Run, now: u64) -> Option<ThreadStep> {
        if matches!(self.stage, Stage::Off) {
            return None;
        }
        let mut step = self.step.take();
        let heard = std::mem::take(&mut self.heard);
        self.sent.clone_from(&heard);
        let end = match run.phase() {
            Phase::Finished(outcome) => Some(self.end(run, outcome)),
            _ => None,
        };
        // Whoever looks on wants to know that it rests.
        let rests = matches!(run.status(), Status::Waiting | Status::Paused);
        if end.is_some() || rests || !heard.is_empty() {
            let step = step.get_or_insert_with(|| ThreadStep::new(&*self.new.id, now));
            (step.heard, step.end) = (heard, end);
        }
        step
    }

    fn end(&self, run: &Run, outcome: &Outcome) -> End {
        let nothing = |unheard| End { messages: vec![], unheard };
        let Stage::Held(view) = &self.stage else { return nothing(Unheard::Drop) };
        if self.rolled_back {
            return nothing(Unheard::Drop);
        }
        let messages = kept(run, view.messages.len(), outcome);
        let unheard = match outcome {
            Outcome::Succeeded { .. } => Unheard::Refuse,
            Outcome::Failed(_) | Outcome::Cancelled => Unheard::Keep,
        };
        End { messages, unheard }
    }

    /// The run's end is stored.
    pub(crate) fn ended(&mut self, run: &Run) {
        let Stage::Held(view) = std::mem::replace(&mut self.stage, Stage::Off) else { return };
        let Some(conversations) = self.engine.conversations() else { return };
        // Whatever else came with the end of one that did not succeed is read again.
        if let Phase::Finished(outcome @ Outcome::Succeeded { .. }) = run.phase()
            && let Some(grown) = view.grown(&kept(run, view.messages.len(), outcome))
        {
            conversations.cache.keep(&self.new.id, grown);
        }
    }

    /// What the run is told, once it is. Dropping the future loses nothing.
    pub(crate) async fn told(&mut self) -> Vec<Input> {
        loop {
            if !matches!(self.stage, Stage::Held(_)) {
                return std::future::pending().await;
            }
            let (store, run) = (self.store.clone(), self.run.clone());
            let (seen, after) = (self.seen, self.after);
            let watching = self.watching.get_or_insert_with(|| {
                Box::pin(async move {
                    let seen = store.stirred(seen).await;
                    (seen, store.signals(&run, after).await)
                })
            });
            let (seen, signals) = watching.await;
            self.watching = None;
            self.seen = seen;
            // A store that fails now tells of it at the next step.
            let inputs = self.take(signals.unwrap_or_default());
            if !inputs.is_empty() {
                return inputs;
            }
        }
    }

    fn take(&mut self, signals: Vec<(u64, Signal)>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (number, signal) in signals {
            // Read twice: whoever watched had begun before it was read another way.
            if number <= self.after {
                continue;
            }
            self.after = number;
            inputs.push(match signal {
                Signal::Message(message) => {
                    self.heard.push(number);
                    Input::Message(message)
                }
                Signal::Stop => Input::Cancel,
                Signal::RollBack => {
                    self.rolled_back = true;
                    Input::Cancel
                }
            });
        }
        inputs
    }
}

/// The run that has the thread, as it stands when it has come to rest.
async fn rested(engine: Engine, store: Arc<dyn AnyStore>, run: String) -> Result<RunResult, Error> {
    let mut seen = 0;
    loop {
        let stirred = store.stirred(seen);
        let query = RunQuery { run: Some(run.clone()), ..RunQuery::default() };
        let row = store.runs(query).await.map_err(store_error)?.runs.into_iter().next();
        let row = row.ok_or_else(|| store_error(StoreError::UnknownRun(run.clone())))?;
        if !matches!(row.status, Status::Queued | Status::Running) {
            let stored = store.load(&run).await.map_err(store_error)?;
            return Ok(RunResult::of(&resume::run_of(&engine, &run, stored).await?, row.updated));
        }
        seen = stirred.await;
    }
}

/// What a run leaves on its thread: all it added, but nothing of one that failed before its model had said anything.
pub(super) fn kept(run: &Run, given: usize, outcome: &Outcome) -> Vec<Arc<Message>> {
    let added = run.history().get(given..).unwrap_or_default();
    let said = added.iter().any(|message| message.role == Role::Assistant);
    match outcome {
        Outcome::Failed(_) if !said => vec![],
        Outcome::Succeeded { .. } | Outcome::Failed(_) | Outcome::Cancelled => added.to_vec(),
    }
}

/// What a run was given, taken apart.
struct Given {
    messages: Vec<Arc<Message>>,
    accept: Input,
}

impl RunLoop {
    /// Drives a run on a thread to rest, from its turn on.
    pub(crate) async fn drive_on_thread(&mut self, first: Vec<Input>) -> Result<(), Error> {
        match self.come_to_turn(first).await? {
            Begun::Go(inputs) if inputs.is_empty() => self.drive(vec![Input::Tick]).await,
            Begun::Go(inputs) => self.drive(inputs).await,
            Begun::Over => Ok(()),
        }
    }

    async fn come_to_turn(&mut self, first: Vec<Input>) -> Result<Begun, Error> {
        let Some(turn) = &mut self.turn else { return Ok(Begun::Go(first)) };
        if !matches!(turn.stage, Stage::Stored) {
            return self.begin(first).await;
        }
        let line = match turn.store.line(&turn.new.id).await {
            Ok(line) => line,
            // The thread was a name, or is gone.
            Err(StoreError::UnknownThread(_)) => Default::default(),
            Err(error) => return Err(store_error(error)),
        };
        if line.holder.as_deref() == Some(&*turn.run) {
            turn.stage = Stage::Held(turn.view().await.map_err(store_error)?);
            // What it was told before, and did not come to hear or to heed.
            let told = turn.store.signals(&turn.run, 0).await.map_err(store_error)?;
            let mut inputs = first;
            inputs.extend(turn.take(told));
            return Ok(Begun::Go(inputs));
        }
        if !line.waiting.iter().any(|run| **run == *turn.run) {
            turn.stage = Stage::Off;
            return Ok(Begun::Go(first));
        }
        turn.stage = Stage::Waiting;
        self.try_step(vec![Input::Claim]).await?;
        if first.iter().any(|input| matches!(input, Input::Cancel)) {
            return self.leave_line().await;
        }
        let queued = self.run.queued().cloned();
        let queued = queued.ok_or_else(|| Error::new(ErrorKind::StoreFailed, "a run in line has begun"))?;
        let RunInput::Messages(messages) = queued.input else {
            return Err(Error::new(ErrorKind::StoreFailed, "a graph's run is in line for a thread"));
        };
        let accept = Input::Accept {
            input: RunInput::Messages(vec![]),
            thread: self.run.thread().map(str::to_owned),
            deadline_ms: queued.deadline_ms,
            parent: None,
            budget: queued.budget,
        };
        self.wait_for_turn(Given { messages, accept }).await
    }

    /// The first step of a new run.
    async fn begin(&mut self, first: Vec<Input>) -> Result<Begun, Error> {
        let given = first.into_iter().find_map(|input| match input {
            Input::Accept { input: RunInput::Messages(messages), thread, deadline_ms, parent, budget } => {
                let input = RunInput::Messages(vec![]);
                Some(Given { messages, accept: Input::Accept { input, thread, deadline_ms, parent, budget } })
            }
            _ => None,
        });
        let Some(given) = given else {
            return Err(Error::new(ErrorKind::Internal, "a run on a thread begins with messages"));
        };
        let Some(turn) = &mut self.turn else { return Ok(Begun::Go(vec![given.accept])) };
        let said = given.messages.iter().find(|message| message.role == Role::User);
        turn.new.title = said.map(|message| title(&message.text())).unwrap_or_default();
        loop {
            let holder = match self.try_begin(&given).await? {
                Ok(()) => return Ok(Begun::Go(vec![])),
                Err(StoreError::ThreadHeld(holder)) => holder,
                Err(_) => continue,
            };
            let Some(turn) = &mut self.turn else { return Ok(Begun::Over) };
            // It would wait for itself, or end itself.
            if turn.parent.as_deref() == Some(&*holder) {
                let text = format!(
                    "the run is started by a tool of run `{holder}`, which has the thread `{}` until it ends; give it \
                     another thread, or none",
                    turn.new.id
                );
                return Err(Error::new(ErrorKind::InvalidRequest, text));
            }
            let stop = match turn.on_busy {
                OnBusy::Reject => {
                    let text = format!(
                        "the thread `{}` is busy: run `{holder}` has it; try again when it has ended",
                        turn.new.id
                    );
                    return Err(Error::new(ErrorKind::Busy, text));
                }
                OnBusy::Steer => {
                    let (store, id) = (turn.store.clone(), turn.new.id.clone());
                    if self.steer_holder(&holder, &given).await? {
                        return Ok(Begun::Over);
                    }
                    let line = match store.line(&id).await {
                        Ok(line) => line,
                        Err(StoreError::UnknownThread(_)) => continue,
                        Err(error) => return Err(store_error(error)),
                    };
                    // Nobody is at work to be told, and others were here before.
                    match line.holder.is_none() && !line.waiting.is_empty() {
                        true => None,
                        false => continue,
                    }
                }
                OnBusy::Enqueue => None,
                OnBusy::Interrupt => Some(Signal::Stop),
                OnBusy::Rollback => Some(Signal::RollBack),
            };
            let Some(turn) = &mut self.turn else { return Ok(Begun::Over) };
            let now = turn.now();
            let wait = Some(Wait { new: turn.new.clone(), stop });
            turn.step = Some(ThreadStep { wait, ..ThreadStep::new(&*turn.new.id, now) });
            turn.stage = Stage::Waiting;
            let Input::Accept { thread, deadline_ms, budget, .. } = given.accept.clone() else {
                return Err(Error::new(ErrorKind::Internal, "no input to begin with"));
            };
            let input = RunInput::Messages(given.messages.clone());
            self.try_step(vec![Input::Queue { input, thread, deadline_ms, budget }]).await?;
            return self.wait_for_turn(given).await;
        }
    }

    /// Begins where it is the run's turn. `ThreadHeld` or `ThreadChanged`: nothing has happened.
    async fn try_begin(&mut self, given: &Given) -> Result<Result<(), StoreError>, Error> {
        let Some(turn) = &mut self.turn else { return Ok(Ok(())) };
        let view = match turn.view().await {
            Ok(view) => view,
            Err(error @ StoreError::ThreadChanged) => return Ok(Err(error)),
            Err(error) => return Err(store_error(error)),
        };
        let thread = view.thread.as_deref();
        let from = thread.and_then(|thread| thread.summary.as_ref()).map(|summary| summary.until);
        let shared = Shared {
            place: u64::from(from.is_some()),
            from: from.unwrap_or(0),
            until: thread.map_or(0, |thread| thread.messages),
        };
        let known = thread.map(|thread| (thread.number, thread.version));
        let begin = Some(Begin { new: turn.new.clone(), known, shared });
        let before = std::mem::replace(&mut turn.stage, Stage::Held(view.clone()));
        turn.step = Some(ThreadStep { begin, ..ThreadStep::new(&*turn.new.id, turn.now()) });
        let input = view.messages.iter().chain(&given.messages).cloned().collect();
        let mut accept = given.accept.clone();
        if let Input::Accept { input: all, .. } = &mut accept {
            *all = RunInput::Messages(input);
        }
        // Nothing has started yet.
        self.scope = Arc::new(self.scope.with_wire(view.wire));
        let earlier = self.run.clone();
        match self.try_step(vec![accept]).await {
            Ok(()) => Ok(Ok(())),
            Err(Unstored::Store(error @ (StoreError::ThreadHeld(_) | StoreError::ThreadChanged))) => {
                self.forget_step(earlier);
                if let Some(turn) = &mut self.turn {
                    (turn.stage, turn.step) = (before, None);
                }
                Ok(Err(error))
            }
            Err(unstored) => Err(unstored.into()),
        }
    }

    async fn wait_for_turn(&mut self, given: Given) -> Result<Begun, Error> {
        let mut meanwhile = Vec::new();
        loop {
            let Some(turn) = &mut self.turn else { return Ok(Begun::Over) };
            let stirred = turn.store.stirred(turn.seen);
            let line = turn.store.line(&turn.new.id).await.map_err(store_error)?;
            if line.is_turn_of(&turn.run) {
                match self.try_begin(&given).await? {
                    Ok(()) => return Ok(Begun::Go(meanwhile)),
                    Err(StoreError::ThreadHeld(_)) => {}
                    Err(_) => continue,
                }
            }
            let Some(turn) = &mut self.turn else { return Ok(Begun::Over) };
            // One that rests does not hear that it is to stop. Listened for before it is looked at.
            let undriven = turn.engine.conversations().map(Conversations::undriven);
            let stops = matches!(turn.on_busy, OnBusy::Interrupt | OnBusy::Rollback);
            let at = match (&line.holder, line.waiting.first()) {
                _ if !stops => None,
                (Some(holder), _) => turn.engine.stop_resting(holder).await.map_err(store_error)?,
                // Whoever is next may be dead, and would hold up all behind it.
                (None, Some(next)) if **next != *turn.run => {
                    turn.engine.stop_in_line(next).await.map_err(store_error)?
                }
                (None, _) => None,
            };
            let (engine, held) = (turn.engine.clone(), self.lease.is_some());
            let undriven = async {
                match undriven {
                    Some(undriven) if stops => undriven.await,
                    _ => std::future::pending().await,
                }
            };
            let later = async {
                match at {
                    Some(at) => {
                        let left = at.saturating_sub(engine.clock().now());
                        tokio::time::sleep(std::time::Duration::from_millis(left)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            let lost = async {
                match &mut self.lease {
                    Some(lease) => lease.lost().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                error = lost, if held => return Err(error),
                () = self.cancelled.cancelled() => return self.leave_line().await,
                inputs = self.mailbox.receive() => meanwhile.extend(inputs),
                seen = stirred => turn.seen = seen,
                () = undriven => {}
                () = later => {}
            }
        }
    }

    async fn leave_line(&mut self) -> Result<Begun, Error> {
        self.try_step(vec![Input::Cancel]).await?;
        Ok(Begun::Over)
    }

    /// Gives the messages to the run that has the thread. False where it has it no more.
    async fn steer_holder(&mut self, holder: &str, given: &Given) -> Result<bool, Error> {
        let Some(turn) = &mut self.turn else { return Ok(false) };
        for (told, message) in given.messages.iter().enumerate() {
            match turn.store.tell(&turn.new.id, holder, Signal::Message(message.clone())).await {
                Ok(_) => {}
                Err(StoreError::ThreadChanged) if told == 0 => return Ok(false),
                Err(error) => return Err(store_error(error)),
            }
        }
        let rested = tokio::select! {
            biased;
            () = self.cancelled.cancelled() => return Err(Error::cancelled()),
            rested = rested(turn.engine.clone(), turn.store.clone(), holder.to_owned()) => rested?,
        };
        turn.stage = Stage::Off;
        turn.steered = Some(Box::new(rested));
        Ok(true)
    }

    /// The run as it is stored, and what it has not heard of before what came now.
    pub(crate) async fn hear_first(&mut self, inputs: Vec<Input>) -> Result<Vec<Input>, Error> {
        let id = self.run.id().clone();
        let engine = self.carrier.engine().clone();
        let stored = engine.store().load(&id).await.map_err(store_error)?;
        self.run = resume::run_of(&engine, &id, stored).await?;
        let Some(turn) = &mut self.turn else { return Ok(inputs) };
        turn.heard = std::mem::take(&mut turn.sent);
        let signals = turn.store.signals(&turn.run, turn.after).await.map_err(store_error)?;
        let mut all = turn.take(signals);
        all.extend(inputs);
        Ok(all)
    }
}
