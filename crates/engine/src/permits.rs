//! Permits of tool calls: of the tool, of the process, of a thread. Taken before a call's intent is
//! recorded and held until the call has truly ended.

use std::collections::HashMap;
use std::sync::Arc;

use ambidex_core::blocking::{BlockingThread, BlockingThreads};
use ambidex_core::effect::EffectId;
use ambidex_core::run::Admission;
use ambidex_core::{BoxFuture, Error};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::agent::AgentRuntime;

/// What a call holds while it runs.
#[derive(Default)]
pub(crate) struct Permit {
    _tool: Option<OwnedSemaphorePermit>,
    _process: Option<OwnedSemaphorePermit>,
    pub(crate) thread: Option<Box<dyn BlockingThread>>,
}

/// The permits of one run's calls: granted ones and places in queues.
#[derive(Default)]
pub(crate) struct Permits {
    /// Ready for a call whose intent is about to be recorded or was.
    granted: HashMap<EffectId, Permit>,
    queued: FuturesUnordered<BoxFuture<'static, (EffectId, Result<Permit, Error>)>>,
    waiting: Vec<EffectId>,
}

/// Where calls queue. Always taken in this order, so waiting for one while holding another cannot
/// deadlock.
#[derive(Clone)]
pub(crate) struct Gates {
    pub(crate) tool: Option<Arc<Semaphore>>,
    pub(crate) process: Arc<Semaphore>,
    pub(crate) threads: Option<Arc<dyn BlockingThreads>>,
}

impl Gates {
    async fn pass(self) -> Result<Permit, Error> {
        let closed = |_| Error::new(ambidex_core::ErrorKind::Busy, "the engine is shutting down");
        let tool = match self.tool {
            Some(tool) => Some(tool.acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let process = Some(self.process.acquire_owned().await.map_err(closed)?);
        let thread = match self.threads {
            Some(threads) => Some(threads.reserve().await?),
            None => None,
        };
        Ok(Permit { _tool: tool, _process: process, thread })
    }
}

impl Permits {
    /// The permit of a call that starts; without one it was admitted by another process.
    pub(crate) fn take(&mut self, effect: &EffectId) -> Option<Permit> {
        self.granted.remove(effect)
    }

    /// Ready when a queued call got its permit; pending for ever when none is queued.
    pub(crate) async fn granted(&mut self) {
        match self.queued.next().await {
            Some((effect, permit)) => {
                self.waiting.retain(|waiting| *waiting != effect);
                // Without a thread the call starts all the same and says so itself.
                self.granted.insert(effect, permit.unwrap_or_default());
            }
            None => std::future::pending().await,
        }
    }

    pub(crate) fn for_agent<'a>(&'a mut self, agent: &'a AgentRuntime) -> AgentPermits<'a> {
        AgentPermits { permits: self, agent }
    }
}

/// Permits as the machine sees them.
pub(crate) struct AgentPermits<'a> {
    permits: &'a mut Permits,
    agent: &'a AgentRuntime,
}

impl Admission for AgentPermits<'_> {
    fn admit(&mut self, effect: &EffectId, tool: &str) -> bool {
        if self.permits.granted.contains_key(effect) {
            return true;
        }
        if self.permits.waiting.contains(effect) {
            return false;
        }
        let mut passing = Box::pin(self.agent.gates(tool).pass());
        match passing.as_mut().now_or_never() {
            Some(permit) => {
                self.permits.granted.insert(effect.clone(), permit.unwrap_or_default());
                true
            }
            None => {
                let id = effect.clone();
                self.permits.waiting.push(id.clone());
                self.permits.queued.push(Box::pin(async move { (id, passing.await) }));
                false
            }
        }
    }
}
