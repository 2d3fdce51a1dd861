//! The events of a run.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ambidex_core::{BoxFuture, Event};
use ambidex_engine::{EventStream, RunError, RunHandle};
use futures_util::{FutureExt, Stream};

use super::{End, Source};
use crate::agent::RunStart;
use crate::asked::Asked;
use crate::bridge::Failure;
use crate::conversation::TakenTurn;
use crate::result::RunResult;

type Begun = Result<(RunHandle, Option<TakenTurn>), RunError>;

/// A run that begins when it is first polled, behind whatever runs on its thread.
pub(super) struct RunStream {
    asked: Arc<Asked>,
    state: RunState,
}

enum RunState {
    Beginning(BoxFuture<'static, Begun>),
    Running(EventStream, Box<RunHandle>, Option<TakenTurn>),
    Failed(RunError),
}

impl RunStream {
    pub(super) fn of_agent(start: RunStart, asked: Arc<Asked>) -> Self {
        let beginning = start.begin(asked.clone()).boxed();
        Self { asked, state: RunState::Beginning(beginning) }
    }

    pub(super) fn of_graph(
        begin: impl FnOnce(&Arc<Asked>) -> Result<RunHandle, RunError> + Send + 'static,
        asked: Arc<Asked>,
    ) -> Self {
        let again = asked.clone();
        // On the runtime, which the first poll is within.
        let beginning = async move { begin(&again).map(|handle| (handle, None)) }.boxed();
        Self { asked, state: RunState::Beginning(beginning) }
    }
}

impl Source for RunStream {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match &mut self.state {
                RunState::Beginning(beginning) => {
                    self.state = match ready!(beginning.as_mut().poll(cx)) {
                        Ok((mut handle, turn)) => {
                            let events = handle.take_events();
                            RunState::Running(events, Box::new(handle), turn)
                        }
                        Err(failed) => RunState::Failed(failed),
                    };
                }
                RunState::Running(events, ..) => return Pin::new(events).poll_next(cx),
                RunState::Failed(_) => return Poll::Ready(None),
            }
        }
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>> {
        let Self { asked, state } = *self;
        async move {
            let ended = match state {
                RunState::Running(_, handle, turn) => {
                    let ended = handle.outcome().await;
                    if let (Ok(result), Some(turn)) = (&ended, turn) {
                        turn.heard(result);
                    }
                    ended
                }
                RunState::Failed(failed) => Err(failed),
                RunState::Beginning(_) => Err(ambidex_core::Error::cancelled().into()),
            };
            asked.settle_run(ended).map(|result| End::Run(RunResult::new(result)))
        }
        .boxed()
    }
}
