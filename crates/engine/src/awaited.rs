//! A run driven by the task that awaits it.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use ambidex_core::record::Input;
use ambidex_core::{BoxFuture, Error};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::handle::{RunHandle, lost};
use crate::result::RunResult;
use crate::run_loop::RunLoop;

thread_local! {
    /// Whether this thread is inside of a run that its awaiting task drives.
    static DRIVES: Cell<bool> = const { Cell::new(false) };
}

/// Whether a run that starts here would be driven from within another. Runs in runs, deep enough, would not fit on
/// the stack.
pub(crate) fn is_nested() -> bool {
    DRIVES.get()
}

/// One run, without a task of its own: nothing stands between its caller and what it waits for. Dropped
/// before its end it is cancelled, and goes on as a task of the engine until that is done and stored.
pub(crate) struct AwaitedRun {
    driving: Option<BoxFuture<'static, Result<RunResult, Error>>>,
    handle: RunHandle,
    runtime: Handle,
    _counted: TaskTrackerToken,
}

impl AwaitedRun {
    /// Needs a runtime to be entered.
    pub(crate) fn new(handle: RunHandle, run_loop: Box<RunLoop>, first: Vec<Input>) -> Self {
        let driving = AssertUnwindSafe(run_loop.run_to_rest(first)).catch_unwind();
        let driving = driving.map(|driven| driven.unwrap_or_else(|_| Err(lost())));
        let counted = handle.engine().runs().token();
        Self { driving: Some(Box::pin(driving)), handle, runtime: Handle::current(), _counted: counted }
    }
}

impl Future for AwaitedRun {
    type Output = Result<RunResult, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(driving) = &mut self.driving else { return Poll::Ready(Err(lost())) };
        let outside = DRIVES.replace(true);
        let driven = driving.as_mut().poll(cx);
        DRIVES.set(outside);
        let driven = std::task::ready!(driven);
        self.driving = None;
        self.handle.detach();
        Poll::Ready(driven)
    }
}

impl Drop for AwaitedRun {
    fn drop(&mut self) {
        if let Some(driving) = self.driving.take() {
            self.handle.cancel();
            self.handle.engine().runs().spawn_on(driving.map(drop), &self.runtime);
        }
    }
}
