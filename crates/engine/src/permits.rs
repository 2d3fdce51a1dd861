//! Permits of tool calls: of the tool, of the process, of a thread. Taken before a call's intent is
//! recorded and held until the call has truly ended.

use std::sync::{Arc, Mutex, PoisonError};

use ambidex_core::blocking::{BlockingThread, BlockingThreads};
use ambidex_core::context::Place;
use ambidex_core::effect::EffectId;
use ambidex_core::graph::NodeDefinition;
use ambidex_core::run::Admission;
use ambidex_core::{BoxFuture, Error};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::carrier::Carrier;

/// What a call holds while it runs.
#[derive(Default)]
pub(crate) struct Permit {
    places: Places,
    thread: Option<Box<dyn BlockingThread>>,
}

/// Places among the calls of a tool and of the process. Free again when the last clone is gone.
#[derive(Clone, Default)]
pub(crate) struct Places {
    held: Arc<Held>,
}

/// What a call holds, but for its thread.
#[derive(Default)]
struct Held(Mutex<HeldPlaces>);

#[derive(Default)]
struct HeldPlaces {
    permits: [Option<OwnedSemaphorePermit>; 2],
    /// Where the places that were lent are taken back.
    lent: [Option<Arc<Semaphore>>; 2],
    /// Runs that this call waits for.
    lendings: u32,
}

impl Place for Held {
    fn lend(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.lendings += 1;
        if held.lendings == 1 {
            let permits = std::mem::take(&mut held.permits);
            held.lent = permits.map(|permit| permit.map(|permit| permit.semaphore().clone()));
        }
    }

    fn take_back(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.lendings = held.lendings.saturating_sub(1);
        if held.lendings == 0 {
            // Where others were faster, this call goes on without: it never waits here.
            let lent = std::mem::take(&mut held.lent);
            held.permits = lent.map(|place| place.and_then(|place| place.try_acquire_owned().ok()));
        }
    }
}

impl Permit {
    /// The places, and the thread, which keeps them too until its job has returned.
    pub(crate) fn into_parts(self) -> (Places, Option<Box<dyn BlockingThread>>) {
        let thread = self.thread.map(|thread| self.places.kept_by(thread));
        (self.places, thread)
    }
}

impl Places {
    pub(crate) fn as_place(&self) -> Arc<dyn Place> {
        self.held.clone()
    }

    /// The same thread; it keeps these places until its job has ended, also when nobody waits for it.
    pub(crate) fn kept_by(&self, mut thread: Box<dyn BlockingThread>) -> Box<dyn BlockingThread> {
        thread.keep(Box::new(self.clone()));
        thread
    }
}

/// The permits of one run's calls: granted ones and places in queues.
#[derive(Default)]
pub(crate) struct Permits {
    /// Ready for a call whose intent is about to be recorded or was.
    granted: Vec<(EffectId, Permit)>,
    queued: FuturesUnordered<BoxFuture<'static, (EffectId, Result<Permit, Error>)>>,
    waiting: Vec<EffectId>,
}

/// Where calls queue. Always taken in this order, so waiting for one while holding another cannot
/// deadlock.
#[derive(Clone)]
pub(crate) struct Gates {
    pub(crate) tool: Option<Arc<Semaphore>>,
    pub(crate) process: Option<Arc<Semaphore>>,
    pub(crate) threads: Option<Arc<dyn BlockingThreads>>,
}

impl Gates {
    pub(crate) async fn pass(self) -> Result<Permit, Error> {
        let closed = |_| Error::new(ambidex_core::ErrorKind::Busy, "the engine is shutting down");
        let tool = match self.tool {
            Some(tool) => Some(tool.acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let process = match self.process {
            Some(process) => Some(process.acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let thread = match self.threads {
            Some(threads) => Some(threads.reserve().await?),
            None => None,
        };
        let held = HeldPlaces { permits: [tool, process], ..HeldPlaces::default() };
        Ok(Permit { places: Places { held: Arc::new(Held(Mutex::new(held))) }, thread })
    }
}

impl Permits {
    /// The permit of a call that starts; without one it was admitted by another process.
    pub(crate) fn take(&mut self, effect: &EffectId) -> Option<Permit> {
        let at = self.granted.iter().position(|(granted, _)| granted == effect)?;
        Some(self.granted.swap_remove(at).1)
    }

    /// Whether a call waits in a queue.
    pub(crate) fn are_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ready when a queued call got its permit; pending for ever when none is queued.
    pub(crate) async fn granted(&mut self) {
        match self.queued.next().await {
            Some((effect, permit)) => {
                self.waiting.retain(|waiting| *waiting != effect);
                // Without a thread the call starts all the same and says so itself.
                self.granted.push((effect, permit.unwrap_or_default()));
            }
            None => std::future::pending().await,
        }
    }

    pub(crate) fn of<'a>(&'a mut self, carrier: &'a Carrier) -> RunPermits<'a> {
        RunPermits { permits: self, carrier }
    }
}

/// Permits as the machine sees them.
pub(crate) struct RunPermits<'a> {
    permits: &'a mut Permits,
    carrier: &'a Carrier,
}

impl RunPermits<'_> {
    fn pass(&mut self, effect: &EffectId, gates: Gates) -> bool {
        let mut passing = Box::pin(gates.pass());
        match passing.as_mut().now_or_never() {
            Some(permit) => {
                self.permits.granted.push((effect.clone(), permit.unwrap_or_default()));
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

    /// Whether it is known already that the effect may start, or that it has to wait.
    fn known(&self, effect: &EffectId) -> Option<bool> {
        if self.permits.granted.iter().any(|(granted, _)| granted == effect) {
            return Some(true);
        }
        self.permits.waiting.contains(effect).then_some(false)
    }
}

impl Admission for RunPermits<'_> {
    fn admit(&mut self, effect: &EffectId, tool: &str) -> bool {
        self.known(effect).unwrap_or_else(|| self.pass(effect, self.carrier.gates(tool)))
    }

    /// Functions that block need a thread; what else a node does needs no permit here.
    fn admit_node(&mut self, effect: &EffectId, node: &NodeDefinition) -> bool {
        let Some(gates) = self.carrier.gates_of_node(effect, node) else { return true };
        self.known(effect).unwrap_or_else(|| self.pass(effect, gates))
    }
}
