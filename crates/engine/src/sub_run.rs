//! A run inside another: started by one of its effects, or found again, and waited for. Nodes of graphs have such runs,
//! tools that are agents, and whoever hands a conversation on.

use std::time::Duration;

use ambidex_core::budget::{Budget, Grant};
use ambidex_core::event::Status;
use ambidex_core::question::Question;
use ambidex_core::record::{Input, RunInput};
use ambidex_core::relay::Closing;
use ambidex_core::store::StoreError;
use ambidex_core::{Context, Error, ErrorKind};
use futures_util::future::select_all;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{OnWaiting, RunOptions, accept_child};
use crate::carrier::Carrier;
use crate::engine::store_error;
use crate::handle::{RunHandle, lost};
use crate::result::RunResult;
use crate::resume;
use crate::run_loop::RunLoop;

pub(crate) struct SubRun {
    pub(crate) carrier: Carrier,
    /// Its id.
    pub(crate) run: String,
    pub(crate) input: RunInput,
    /// Of the effect that starts it.
    pub(crate) context: Context,
    /// What it may use.
    pub(crate) budget: Budget,
    /// Of its active time.
    pub(crate) limit: Option<Duration>,
    /// It may have been started before.
    pub(crate) known: bool,
    /// What its parent was resumed with: it passes to a child that is paused.
    pub(crate) grant: Option<Grant>,
}

/// Why there is no result.
pub(crate) enum Stopped {
    /// It cannot begin, its time is over, or it was cancelled before it began.
    Failed(Error),
    /// Whoever drives the child cannot go on. That is no result of the child, and ends the driver of its parent.
    Driver(Error),
    /// The child is paused, and its parent with it.
    Paused(String),
}

/// Drops with it the driver, not the run: that one is only ever ended by a record.
struct Driven {
    handle: RunHandle,
    epoch: u64,
    driving: AbortOnDropHandle<Result<RunResult, Error>>,
    rested: bool,
}

impl Driven {
    fn new((mut handle, run_loop): (RunHandle, Box<RunLoop>), inputs: Vec<Input>) -> Self {
        handle.detach();
        let epoch = run_loop.epoch();
        let driving = handle.engine().runs().track_future(run_loop.run_to_rest(inputs));
        Self { handle, epoch, driving: AbortOnDropHandle::new(tokio::spawn(driving)), rested: false }
    }

    async fn rest(&mut self) -> Result<RunResult, Error> {
        let driven = (&mut self.driving).await;
        self.rested = true;
        driven.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Driven {
    /// Its parent's driver failed: whoever takes the parent over need not wait for the child's lease.
    fn drop(&mut self) {
        let engine = self.handle.engine();
        if !self.rested
            && let Some(durable) = engine.durable()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.driving.abort();
            let released = durable.store.release(self.handle.id(), self.epoch);
            engine.runs().spawn_on(async move { drop(released.await) }, &runtime);
        }
    }
}

impl SubRun {
    /// As an effect that cannot pause its run has it: whatever is no success is an error. What the run used counts.
    /// Where it cannot be driven on, what the effect makes of that is not recorded.
    pub(crate) async fn succeeded(self) -> Result<RunResult, Error> {
        let (context, run) = (self.context.clone(), self.run.clone());
        match Box::pin(self.ended()).await {
            Ok(result) => {
                context.spend(&result.usage);
                match &result.error {
                    Some(_) if context.is_cancelled() => Err(Error::cancelled()),
                    // It has ended: another attempt would find it as it is.
                    Some(error) => Err(error.clone().retryable(false)),
                    None => Ok(result),
                }
            }
            Err(Stopped::Failed(error)) => Err(error),
            Err(Stopped::Driver(error)) => {
                context.stuck(error.clone().context(format!("the run `{run}`")));
                // Nothing comes of trying again: the driver of this effect is to end with it.
                Err(error.retryable(false))
            }
            Err(Stopped::Paused(why)) => {
                let text = format!("{why}; raise what it may use, or resume `{run}` by itself");
                Err(Error::new(ErrorKind::BudgetReached, text))
            }
        }
    }

    /// How it ended, also where it failed or was cancelled.
    ///
    /// # Errors
    /// It did not come to that.
    pub(crate) async fn ended(mut self) -> Result<RunResult, Stopped> {
        let carrier = self.carrier.clone();
        // Its own time ends only the child; what is over the run's time ends the run.
        let own = self.context.child();
        let options = RunOptions {
            on_waiting: OnWaiting::Return,
            timeout: self.context.time_left(),
            budget: Some(std::mem::take(&mut self.budget)).filter(|budget| *budget != Budget::default()),
            caller: self.context.caller_handle(),
            parent: Some(own.clone()),
            ..RunOptions::default()
        };
        let mut driven = match self.found(&carrier).await? {
            Some(Found::Ended(result)) => return Ok(*result),
            Some(Found::Open(inputs)) => self.go_on(&carrier, inputs, &options).await?,
            None if self.context.is_cancelled() => return Err(Stopped::Failed(Error::cancelled())),
            None => self.begin(&carrier, &options)?,
        };
        let mut left = self.limit;
        loop {
            let result = match self.rested(driven, &own, &mut left).await {
                Err(Stopped::Driver(error)) => return self.ended_before(&carrier, error).await,
                rested => rested?,
            };
            match result.status {
                Status::Succeeded | Status::Failed | Status::Cancelled if left == Some(Duration::ZERO) => {
                    return Err(Stopped::Failed(self.timed_out().with_usage(result.usage)));
                }
                Status::Succeeded | Status::Failed | Status::Cancelled => {
                    return Ok(result);
                }
                // It came to rest while it was told to stop.
                _ if self.context.is_cancelled() || left == Some(Duration::ZERO) => {}
                Status::Paused => {
                    let why = result.pause.map_or_else(String::new, |pause| format!("{pause:?}"));
                    return Err(Stopped::Paused(format!("its run `{}` is paused ({why})", self.run)));
                }
                _ => self.answered(&result.questions).await,
            }
            let stops = self.context.is_cancelled() || left == Some(Duration::ZERO);
            let inputs = if stops { vec![Input::Cancel] } else { vec![] };
            driven = self.go_on(&carrier, inputs, &options).await?;
        }
    }

    /// A child that was begun by an earlier call of the same effect, in this process: it came to what it came to then.
    async fn ended_before(&mut self, carrier: &Carrier, error: Error) -> Result<RunResult, Stopped> {
        if !std::mem::replace(&mut self.known, true)
            && let Ok(Some(Found::Ended(result))) = self.found(carrier).await
        {
            return Ok(*result);
        }
        Err(Stopped::Driver(error))
    }

    /// The child as an earlier process, or this one, left it.
    async fn found(&mut self, carrier: &Carrier) -> Result<Option<Found>, Stopped> {
        if !self.known {
            return Ok(None);
        }
        let engine = carrier.engine();
        let stored = match engine.store().load(&self.run).await {
            Ok(stored) => stored,
            Err(StoreError::UnknownRun(_)) => return Ok(None),
            Err(error) => return Err(Stopped::Driver(store_error(error))),
        };
        let run = resume::run_of(engine, &self.run, stored).await.map_err(Stopped::Driver)?;
        let result = RunResult::of(&run, engine.clock().now());
        let cancelled = self.context.is_cancelled();
        Ok(Some(match result.status {
            Status::Succeeded | Status::Failed | Status::Cancelled => Found::Ended(Box::new(result)),
            _ if cancelled => Found::Open(vec![Input::Cancel]),
            Status::Paused => Found::Open(self.grant.take().map(Input::Resume).into_iter().collect()),
            _ => Found::Open(vec![]),
        }))
    }

    fn begin(&self, carrier: &Carrier, options: &RunOptions) -> Result<Driven, Stopped> {
        let accept = accept_child(self.input.clone(), options, self.context.run());
        let prepared = RunHandle::prepare(carrier.clone(), self.run.as_str().into(), None, options, false);
        Ok(Driven::new(prepared.map_err(Stopped::Failed)?, vec![accept]))
    }

    async fn go_on(
        &self,
        carrier: &Carrier,
        inputs: Vec<Input>,
        options: &RunOptions,
    ) -> Result<Driven, Stopped> {
        let prepared = resume::prepare(carrier, &self.run, inputs, options, false).await;
        let (handle, run_loop, inputs) = prepared.map_err(Stopped::Driver)?;
        Ok(Driven::new((handle, run_loop), inputs))
    }

    /// Waits until the child rests. One that is to stop says itself when it has: it is never left to itself.
    async fn rested(
        &self,
        mut driven: Driven,
        own: &Context,
        left: &mut Option<Duration>,
    ) -> Result<RunResult, Stopped> {
        let since = Instant::now();
        let rested = match *left {
            None => driven.rest().await,
            Some(limit) => match tokio::time::timeout(limit, driven.rest()).await {
                Ok(rested) => {
                    *left = Some(limit.saturating_sub(since.elapsed()).max(Duration::from_millis(1)));
                    rested
                }
                Err(_) => {
                    *left = Some(Duration::ZERO);
                    own.cancel();
                    driven.rest().await
                }
            },
        };
        rested.map_err(Stopped::Driver)
    }

    /// Its parent waits for the same people, until one of them has answered, or the time for that is over.
    async fn answered(&self, questions: &[Question]) {
        let engine = self.carrier.engine();
        let since = Instant::now();
        questions.iter().for_each(|question| self.context.asked(question));
        let due = questions.iter().filter_map(|question| question.due).min();
        let expired = async {
            match due {
                Some(due) => {
                    tokio::time::sleep(Duration::from_millis(due.saturating_sub(engine.clock().now()))).await;
                }
                None => std::future::pending().await,
            }
        };
        let answers = questions.iter().map(|question| engine.questions().answered(&question.id));
        let answers: Vec<_> = answers.collect();
        let answered = async {
            if answers.is_empty() {
                return; // it goes on by itself
            }
            select_all(answers).await;
        };
        tokio::select! {
            biased;
            () = self.context.token().cancelled() => {}
            () = answered => {}
            () = expired => {}
        }
        for question in questions {
            self.context.closed(&question.id, Closing::GoneOn, since.elapsed());
        }
    }

    fn timed_out(&self) -> Error {
        let limit = self.limit.unwrap_or_default();
        Error::new(ErrorKind::Timeout, format!("its run `{}` took longer than {limit:?}", self.run))
    }
}

enum Found {
    Ended(Box<RunResult>),
    /// With what it is to be told.
    Open(Vec<Input>),
}
