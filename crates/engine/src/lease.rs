//! How a process holds the runs it drives, where others may drive them too.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ambidex_core::store::{AnyStore, Lease, RunQuery, StoreError};
use ambidex_core::{BoxFuture, Error, ErrorKind};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::agent::unique;
use crate::clock::{Clock, millis};
use crate::engine::store_error;
use crate::weight::SinceSnapshot;

/// How long a run belongs to its process after it was last heard of, and what follows from that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term(Duration);

impl Term {
    /// Where it is not set.
    pub(crate) const DEFAULT: Self = Self(Duration::from_secs(30));

    pub(crate) fn new(lease: Duration) -> Self {
        Self(lease.max(Duration::from_millis(30)))
    }

    fn length(self) -> u64 {
        millis(self.0)
    }

    /// From one renewal to the next: two may fail.
    fn renewal(self) -> Duration {
        self.0 / 3
    }

    /// From a renewal that failed to the next attempt.
    fn again(self) -> Duration {
        self.0 / 30
    }
}

/// A store that other processes use too, and the name this engine has in it.
pub(crate) struct Durable {
    pub(crate) store: Arc<dyn AnyStore>,
    owner: Arc<str>,
    term: Term,
    /// A run of this engine was let go of.
    pub(crate) released: Arc<Notify>,
    /// A run of this engine came to rest or to its end: there is room for another.
    pub(crate) ended: Notify,
}

impl Durable {
    pub(crate) fn new(store: Arc<dyn AnyStore>, term: Term) -> Self {
        Self {
            store,
            owner: Owner::here().to_string().into(),
            term,
            released: Arc::default(),
            ended: Notify::new(),
        }
    }

    pub(crate) fn lease(&self, now: u64) -> Lease {
        Lease { owner: self.owner.clone(), until: now + self.term.length() }
    }

    /// Makes this engine the owner of a run. The lease of a process that is known to be gone is not waited for.
    pub(crate) async fn claim(&self, run: &str, now: u64) -> Result<u64, StoreError> {
        match self.store.claim(run, self.lease(now), now).await {
            // Whoever was faster has a later lease, and this is refused again.
            Err(StoreError::Owned { owner, until }) if Owner::parse(&owner).is_some_and(|o| o.is_gone()) => {
                self.store.claim(run, self.lease(now), now.max(until)).await
            }
            claimed => claimed,
        }
    }
}

/// The lease of a run under way.
pub(crate) struct HeldLease {
    store: Arc<dyn AnyStore>,
    owner: Arc<str>,
    run: Arc<str>,
    epoch: u64,
    clock: Clock,
    term: Term,
    /// In milliseconds since 1970. Tasks of the run look at it.
    until: watch::Sender<u64>,
    /// Not before the store has it: the run of a new driver may turn out to be another's.
    is_held: bool,
    /// What a batch carries that is not known to be stored yet: until then nothing may rely on it.
    committing: Option<u64>,
    released: Arc<Notify>,
    /// What was written since the last snapshot.
    pub(crate) since: SinceSnapshot,
    renewal: Pin<Box<Sleep>>,
    renewing: Option<(u64, BoxFuture<'static, Result<(), StoreError>>)>,
}

impl HeldLease {
    /// Of a run that was just claimed (`is_held`), or is created with its first batch.
    pub(crate) fn new(durable: &Durable, run: Arc<str>, epoch: u64, clock: Clock, is_held: bool) -> Self {
        Self {
            store: durable.store.clone(),
            owner: durable.owner.clone(),
            run,
            epoch,
            clock,
            term: durable.term,
            until: watch::Sender::new(clock.now() + durable.term.length()),
            is_held,
            committing: None,
            since: SinceSnapshot::default(),
            released: durable.released.clone(),
            renewal: Box::pin(sleep(durable.term.renewal())),
            renewing: None,
        }
    }

    /// What a batch has to carry: the lease at its first, and later where it would be renewed soon anyway.
    pub(crate) fn of_batch(&mut self, first: bool) -> Option<Lease> {
        let now = self.clock.now();
        if !first && now + millis(self.term.0 - self.term.renewal()) < *self.until.borrow() {
            return None;
        }
        let until = now + self.term.length();
        self.committing = Some(until);
        self.renewing = None;
        self.renewal.as_mut().reset(Instant::now() + self.term.renewal());
        Some(Lease { owner: self.owner.clone(), until })
    }

    /// The batch was stored, and with it what it carried.
    pub(crate) fn stored(&mut self) {
        self.is_held = true;
        if let Some(until) = self.committing.take() {
            self.until.send_replace(until);
        }
    }

    /// The batch was not stored, as far as is known.
    pub(crate) fn refused(&mut self, error: &StoreError) {
        if !matches!(error, StoreError::Unavailable(_) | StoreError::Broken(_)) {
            self.committing = None;
        }
    }

    /// Renews the lease for as long as it is polled, and resolves when the run is no longer ours. Dropping the future
    /// loses nothing.
    pub(crate) async fn lost(&mut self) -> Error {
        loop {
            let Some((until, renewing)) = &mut self.renewing else {
                self.renewal.as_mut().await;
                let until = self.clock.now() + self.term.length();
                self.renewing = Some((until, self.store.renew(&self.run, self.epoch, until)));
                continue;
            };
            let left = match self.until.borrow().saturating_sub(self.clock.now()) {
                // The process stood still: whether the run is still ours the store knows. Nothing starts meanwhile.
                0 => self.term.renewal(),
                left => Duration::from_millis(left),
            };
            let renewed = tokio::select! {
                biased;
                renewed = renewing => renewed,
                // Whoever cannot say that he is there has lost it.
                () = sleep_until(Instant::now() + left) => return unheard(),
            };
            let until = *until;
            self.renewing = None;
            let next = match renewed {
                Ok(()) => {
                    self.until.send_replace(until);
                    self.term.renewal()
                }
                Err(error) if error.is_retryable() && !self.is_over() => self.term.again(),
                Err(error) => return store_error(error),
            };
            self.renewal.as_mut().reset(Instant::now() + next);
        }
    }

    /// Whether the lease is over as far as is known here: the process stood still, or a commit took that long. Then
    /// nothing may start before it is [confirmed](Self::confirm).
    pub(crate) fn is_over(&self) -> bool {
        self.clock.now() >= *self.until.borrow()
    }

    /// Takes the run again where nobody else has.
    ///
    /// # Errors
    /// Somebody has, or the store does not say.
    pub(crate) async fn confirm(&mut self) -> Result<(), Error> {
        self.renewing = None;
        let until = self.clock.now() + self.term.length();
        self.store.renew(&self.run, self.epoch, until).await.map_err(store_error)?;
        self.until.send_replace(until);
        self.renewal.as_mut().reset(Instant::now() + self.term.renewal());
        Ok(())
    }

    /// Work that has not begun when the lease is over does not begin: a task may get its turn late, and a process may
    /// stand still in between.
    pub(crate) fn during<F>(&self, work: F) -> impl Future<Output = F::Output> + Send + use<F>
    where
        F: Future + Send + 'static,
    {
        let (mut until, clock, work) = (self.until.subscribe(), self.clock, Box::pin(work));
        async move {
            if until.wait_for(|until| clock.now() < *until).await.is_err() {
                // The driver is gone, and takes this with it.
                std::future::pending::<()>().await;
            }
            work.await
        }
    }

    /// Lets go of a run that rests. Where that fails, the lease runs out by itself.
    pub(crate) async fn release(mut self, rests: bool) {
        self.renewing = None;
        if self.is_held || self.is_stored().await {
            drop(self.store.release(&self.run, self.epoch).await);
            if rests {
                // Answered at the last moment, it was not to be had for who heard of that.
                self.released.notify_one();
            }
        }
    }

    /// Whether a first batch was written although its commit failed. The lease it carried tells: the epoch alone may be
    /// that of another, who has begun a run of the same name.
    async fn is_stored(&mut self) -> bool {
        let Some(until) = self.committing else { return false };
        let query = RunQuery { run: Some(self.run.to_string()), ..RunQuery::default() };
        let Ok(page) = self.store.runs(query).await else { return false };
        let own = Lease { owner: self.owner.clone(), until };
        page.runs.iter().any(|row| row.epoch == self.epoch && row.lease.as_ref() == Some(&own))
    }
}

fn unheard() -> Error {
    let text = "the run's lease could not be renewed before it was over, so another process may have the run; it goes \
                on from what is stored";
    Error::new(ErrorKind::StoreFailed, text).retryable(true)
}

/// The name of a process in a store, from which others on its machine can tell whether it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// When it began, in ticks since the machine did; with the id it names a process for good.
    start: String,
    /// The machine since it was last started, and the space the id belongs to. Empty where it is not known.
    machine: String,
    unique: String,
}

impl Owner {
    /// This process; another name each time.
    pub(crate) fn here() -> Self {
        let word = |text: String| text.trim().replace('/', "-");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").map(word).unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: if host.is_empty() { "here".into() } else { host },
            pid,
            start: Process::of(pid).map(|process| process.start).unwrap_or_default(),
            machine: machine().unwrap_or_default(),
            unique: unique().to_string(),
        }
    }

    /// The owner that a lease names.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(str::to_owned);
        let owner = Self {
            host: parts.next()?,
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?,
            machine: parts.next()?,
            unique: parts.next()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether it is this process.
    pub fn is_here(&self) -> bool {
        self.pid == std::process::id() && machine().is_some_and(|machine| machine == self.machine)
    }

    /// Whether the process is known to have ended. False for those of other machines.
    pub fn is_gone(&self) -> bool {
        let known = !self.start.is_empty() && !self.machine.is_empty();
        if !known || machine().is_none_or(|machine| machine != self.machine) {
            return false;
        }
        match Process::of(self.pid) {
            Some(process) => process.ended || process.start != self.start,
            // What cannot be read may still be there.
            None => i32::try_from(self.pid)
                .ok()
                .and_then(Pid::from_raw)
                .is_some_and(|pid| matches!(test_kill_process(pid), Err(Errno::SRCH))),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, pid, start, machine, unique } = self;
        write!(f, "{host}/{pid}/{start}/{machine}/{unique}")
    }
}

/// Within which process ids mean the same.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    let digits: String = space.to_str()?.chars().filter(char::is_ascii_digit).collect();
    Some(format!("{}-{digits}", boot.trim()))
}

struct Process {
    start: String,
    ended: bool,
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program stands in brackets and may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let ended = matches!(fields.next()?, "Z" | "X");
        Some(Self { start: fields.nth(18)?.to_owned(), ended })
    }
}
