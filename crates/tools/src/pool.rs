//! Work that blocks: a bounded pool of threads.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ambidex_core::blocking::{BlockingJob, BlockingThread, BlockingThreads};
use ambidex_core::{BoxFuture, Error, ErrorKind};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::output::panicked;
use crate::pace::{Comes, LOOK, Pace};

/// Jobs that ended one right after the other, of which those who wait hear at once: that wakes them less often.
const TOLD_AT_ONCE: usize = 8;
/// How long a thread without work is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A bounded number of threads, started on demand. Cheap to clone; when the last clone is gone the threads
/// end, each after its job.
///
/// A thread is taken until its job has returned, also when nobody waits for the result any more.
#[derive(Clone)]
pub struct BlockingPool {
    shared: Arc<Shared>,
    /// Tells the threads that the pool is gone.
    _owner: Arc<Owner>,
}

/// Threads of a pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolCensus {
    pub limit: usize,
    /// Jobs under way.
    pub busy: usize,
    /// Calls that wait for a thread.
    pub waiting: usize,
    /// The most jobs that were ever under way at once.
    pub peak: usize,
    /// Jobs under way whose caller has gone: timed out or cancelled.
    pub abandoned: usize,
}

/// Starts the threads of a pool.
pub trait StartThread: Send + Sync {
    /// Starts one that carries out jobs for as long as [`PoolThread::next_job`] gives some.
    ///
    /// # Errors
    /// No thread can be started.
    fn start(&self, name: String, thread: PoolThread) -> std::io::Result<()>;

    /// Starts a thread of the pool's own, which carries out no jobs.
    ///
    /// # Errors
    /// No thread can be started.
    fn start_own(&self, name: String, life: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        thread::Builder::new().name(name).spawn(life).map(drop)
    }
}

/// Plain threads.
struct PlainThreads;

impl StartThread for PlainThreads {
    fn start(&self, name: String, mut thread: PoolThread) -> std::io::Result<()> {
        let life = move || {
            while let Some(mut job) = thread.next_job() {
                job.carry_out();
            }
        };
        thread::Builder::new().name(name).spawn(life).map(drop)
    }
}

thread_local! {
    /// The pool whose job this thread is carrying out.
    static OWN_POOL: RefCell<Option<Weak<Shared>>> = const { RefCell::new(None) };
}

struct Shared {
    limit: usize,
    starter: Arc<dyn StartThread>,
    permits: Arc<Semaphore>,
    /// Places that were lent and must be taken back from whoever returns one next.
    owed: AtomicUsize,
    queue: Mutex<Queue>,
    ready: Condvar,
    /// Of the thread that looks whether jobs wait in vain.
    look: Condvar,
    busy: AtomicUsize,
    waiting: AtomicUsize,
    peak: AtomicUsize,
    abandoned: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Work>,
    idle: usize,
    started: usize,
    closed: bool,
    pace: Pace,
    /// Somebody is there to look, if only he is asked to.
    has_watcher: bool,
    /// Ended while the next was at hand.
    untold: Vec<Untold>,
}

impl Queue {
    /// Those who wait for these hear of it when what is returned is dropped, outside of the lock.
    fn told(&mut self) -> Vec<Untold> {
        std::mem::take(&mut self.untold)
    }
}

struct Work {
    job: BlockingJob,
    /// It only says what its thread's driver does next.
    is_left: bool,
    kept: Kept,
    permit: OwnedSemaphorePermit,
    watch: Arc<Watch>,
    done: oneshot::Sender<Result<(), Error>>,
}

/// What a call holds for as long as its job runs.
type Kept = Vec<Box<dyn Any + Send>>;

impl BlockingPool {
    /// A pool of at most `threads` threads, one at least.
    pub fn new(threads: usize) -> Self {
        Self::with_starter(threads, Arc::new(PlainThreads))
    }

    /// A pool whose threads are started by somebody else.
    pub fn with_starter(threads: usize, starter: Arc<dyn StartThread>) -> Self {
        let limit = threads.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            limit,
            starter,
            permits: Arc::new(Semaphore::new(limit)),
            owed: AtomicUsize::new(0),
            queue: Mutex::default(),
            ready: Condvar::new(),
            look: Condvar::new(),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
        });
        Self { _owner: Arc::new(Owner(shared.clone())), shared }
    }

    /// Gives the place of the calling thread, if it is one of a pool, to others while it only waits. Without it
    /// jobs that wait for jobs of the same pool would stand still at the limit.
    pub fn lend() -> Lent {
        let shared = OWN_POOL.with_borrow(|own| own.as_ref().and_then(Weak::upgrade));
        if let Some(shared) = &shared {
            shared.permits.add_permits(1);
        }
        Lent(shared)
    }

    pub fn census(&self) -> PoolCensus {
        PoolCensus {
            limit: self.shared.limit,
            busy: self.shared.busy.load(SeqCst),
            waiting: self.shared.waiting.load(SeqCst),
            peak: self.shared.peak.load(SeqCst),
            abandoned: self.shared.abandoned.load(SeqCst),
        }
    }

    /// Runs something that blocks and gives its value. Dropping the future does not end it.
    ///
    /// # Errors
    /// No thread could be started, or it panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        run_on(self.reserve().await?, job).await
    }
}

impl BlockingThreads for BlockingPool {
    fn reserve(&self) -> BoxFuture<'static, Result<Box<dyn BlockingThread>, Error>> {
        let pool = self.clone();
        async move {
            let waiting = Counted::new(&pool.shared, |shared| &shared.waiting);
            let permit = pool.shared.permits.clone().acquire_owned().await;
            drop(waiting);
            let permit = permit
                .map_err(|_| Error::new(ErrorKind::Internal, "the threads for blocking work are gone"))?;
            Ok(Box::new(Reserved { pool, permit, kept: Kept::new() }) as Box<dyn BlockingThread>)
        }
        .boxed()
    }
}

struct Reserved {
    pool: BlockingPool,
    permit: OwnedSemaphorePermit,
    kept: Kept,
}

impl BlockingThread for Reserved {
    fn keep(&mut self, kept: Box<dyn Any + Send>) {
        self.kept.push(kept);
    }

    fn run(self: Box<Self>, job: BlockingJob) -> BoxFuture<'static, Result<(), Error>> {
        self.start(job, false)
    }

    fn leave(self: Box<Self>, job: BlockingJob) -> BoxFuture<'static, Result<(), Error>> {
        self.start(job, true)
    }
}

impl Reserved {
    fn start(self, job: BlockingJob, is_left: bool) -> BoxFuture<'static, Result<(), Error>> {
        let Self { pool, permit, kept } = self;
        let watch = Arc::new(Watch { shared: pool.shared.clone(), state: Mutex::new(JobState::Running) });
        let (done, ended) = oneshot::channel();
        let started = start(&pool.shared, Work { job, is_left, kept, permit, watch: watch.clone(), done });
        let caller = Caller(watch);
        async move {
            // The pool stays while somebody waits for its work.
            let _pool = pool;
            started?;
            let result = ended.await;
            caller.0.finished();
            result.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "a job for a blocking thread was lost"))
            })
        }
        .boxed()
    }
}

/// Hands the work to an idle thread, else starts one; or leaves it to one that is at work. Since a thread counts as idle
/// before it gives its permit back, a holder of a permit who finds none idle finds fewer than the limit started.
fn start(shared: &Arc<Shared>, work: Work) -> Result<(), Error> {
    let mut queue = shared.lock();
    let comes = if work.is_left { queue.pace.comes(Instant::now()) } else { Comes::Woken };
    match comes {
        Comes::Left => {
            queue.jobs.push_back(work);
            return Ok(());
        }
        Comes::Woken => {}
        Comes::Watched => queue = watched(shared, queue),
    }
    queue.pace.woken(1);
    if queue.idle > queue.jobs.len() {
        queue.jobs.push_back(work);
        drop(queue);
        shared.ready.notify_one();
        return Ok(());
    }
    let watch = work.watch.clone();
    start_thread(shared, queue, Some(work)).map_err(|error| {
        watch.finished();
        let error = crate::system::tool_error(&error);
        error.context("no thread for blocking work could be started; raise the limit of threads (ulimit -u)")
    })
}

fn start_thread(
    shared: &Arc<Shared>,
    mut queue: MutexGuard<'_, Queue>,
    first: Option<Work>,
) -> std::io::Result<()> {
    let number = queue.started;
    queue.started += 1;
    drop(queue);
    let thread = PoolThread { shared: shared.clone(), begun: false, first, era: None };
    // Named so that a debugger and `top` show who blocks.
    shared.starter.start(format!("ambidex-sync-{number}"), thread)
}

/// Has somebody look whether jobs wait in vain, or nobody leave any.
fn watched<'a>(shared: &'a Arc<Shared>, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    if queue.has_watcher {
        shared.look.notify_one();
        return queue;
    }
    queue.has_watcher = true;
    drop(queue);
    let watched = shared.clone();
    let started = shared.starter.start_own("ambidex-sync-watch".into(), Box::new(move || look(&watched)));
    let mut queue = shared.lock();
    if started.is_err() {
        queue.has_watcher = false;
        queue.pace.unwatched();
    }
    queue
}

/// The whole life of whoever looks.
fn look(shared: &Arc<Shared>) {
    let mut queue = shared.lock();
    while !queue.closed {
        let is_watched = queue.pace.is_watched();
        let limit = if is_watched { LOOK } else { KEEP_ALIVE };
        let (woken, waited) = shared.look.wait_timeout(queue, limit).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        if !is_watched {
            if waited.timed_out() && !queue.pace.is_watched() {
                break;
            }
            continue;
        }
        let waiting = queue.jobs.len() + queue.untold.len();
        if queue.pace.looks(waiting) {
            let told = queue.told();
            drop(queue);
            drop(told);
            queue = shared.lock();
            let idle = queue.jobs.len().min(queue.idle);
            queue.pace.woken(idle);
            (0..idle).for_each(|_| shared.ready.notify_one());
            while queue.idle < queue.jobs.len() {
                queue.idle += 1;
                queue.pace.woken(1);
                let started = start_thread(shared, queue, None);
                queue = shared.lock();
                if started.is_err() {
                    queue.idle -= 1;
                    queue.pace.has_come();
                    // What waits is taken by whoever ends first, or, where nobody is at work, lost, and its callers told.
                    let lost = if shared.busy.load(SeqCst) == 0 {
                        std::mem::take(&mut queue.jobs)
                    } else {
                        VecDeque::new()
                    };
                    drop(queue);
                    drop(lost);
                    queue = shared.lock();
                    break;
                }
            }
        }
    }
    queue.has_watcher = false;
}

/// A thread of a pool, from its inside.
pub struct PoolThread {
    shared: Arc<Shared>,
    begun: bool,
    first: Option<Work>,
    /// When it took its first job since it rested, as its pool counts.
    era: Option<u64>,
}

impl PoolThread {
    /// Waits for a job; none when the thread should end. Called on the thread itself, after the job before has
    /// ended.
    pub fn next_job(&mut self) -> Option<PoolJob> {
        if !self.begun {
            self.begun = true;
            OWN_POOL.set(Some(Arc::downgrade(&self.shared)));
            self.shared.lock().pace.has_come();
        }
        let work = match self.first.take() {
            Some(first) => {
                self.shared.lock().pace.takes(&mut self.era, first.is_left);
                first
            }
            None => self.wait_for_work()?,
        };
        Some(PoolJob::new(self.shared.clone(), work, None))
    }

    /// A job that was left to whoever is at work, if there is one; it has begun. `ended` is the one before, which has
    /// ended: who waits for that hears of it with those that come right after it, a few at once.
    pub fn next_left(&mut self, mut ended: PoolJob) -> Option<PoolJob> {
        let mut queue = self.shared.lock();
        let untold = ended.end(&mut queue);
        let left = queue.jobs.front().is_some_and(|work| work.is_left);
        let work = if left { queue.jobs.pop_front() } else { None };
        let Some(work) = work else {
            let told = queue.told();
            drop(queue);
            drop((told, untold));
            return None;
        };
        queue.idle -= 1;
        queue.pace.takes(&mut self.era, true);
        let begun = (queue.pace.begins(), Instant::now());
        queue.untold.extend(untold);
        // Only what somebody looks after may wait.
        let told = if queue.untold.len() < TOLD_AT_ONCE && queue.pace.is_watched() {
            Vec::new()
        } else {
            queue.told()
        };
        drop(queue);
        drop(told);
        Some(PoolJob::new(self.shared.clone(), work, Some(begun)))
    }

    /// The next piece of work; none when the thread should end. The thread counts as idle already.
    fn wait_for_work(&mut self) -> Option<Work> {
        let mut queue = self.shared.lock();
        let mut timed_out = false;
        loop {
            let work = queue.jobs.pop_front();
            if let Some(work) = work {
                queue.idle -= 1;
                queue.pace.takes(&mut self.era, work.is_left);
                return Some(work);
            }
            queue.pace.rests(&mut self.era);
            if queue.closed || timed_out {
                queue.idle -= 1;
                return None;
            }
            let (woken, waited) =
                self.shared.ready.wait_timeout(queue, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            timed_out = waited.timed_out();
            if !timed_out {
                queue.pace.has_come();
            }
        }
    }
}

/// A job under way. It ends when this is dropped: then its caller hears of it, and its thread is free.
pub struct PoolJob {
    shared: Arc<Shared>,
    job: Option<BlockingJob>,
    permit: Option<OwnedSemaphorePermit>,
    watch: Arc<Watch>,
    done: Option<oneshot::Sender<Result<(), Error>>>,
    result: Result<(), Error>,
    kept: Kept,
    is_left: bool,
    /// The era of its pool, and when.
    begun: Option<(u64, Instant)>,
}

impl PoolJob {
    fn new(shared: Arc<Shared>, work: Work, begun: Option<(u64, Instant)>) -> Self {
        let Work { job, is_left, kept, permit, watch, done } = work;
        let busy = shared.busy.fetch_add(1, SeqCst) + 1;
        shared.peak.fetch_max(busy, SeqCst);
        let (job, permit, done) = (Some(job), Some(permit), Some(done));
        Self { shared, job, permit, watch, done, result: Ok(()), kept, is_left, begun }
    }

    /// Whether it only says what whoever drives the thread does next.
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// Said by whoever drives the thread, when he begins what was left to him.
    pub fn begins(&mut self) {
        if self.is_left && self.begun.is_none() {
            self.begun = Some((self.shared.lock().pace.begins(), Instant::now()));
        }
    }

    /// Calls it. A job may leave a part of its work to whoever drives the thread.
    pub fn carry_out(&mut self) {
        if let Some(job) = self.job.take() {
            let result = catch_unwind(AssertUnwindSafe(job));
            self.result = result.map_err(|payload| panicked("blocking work", &*payload));
        }
    }
}

impl Drop for PoolJob {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        let mut queue = shared.lock();
        let ended = self.end(&mut queue);
        // Those before it on its thread have waited for it.
        let told = if ended.is_some() { queue.told() } else { Vec::new() };
        drop(queue);
        drop((told, ended));
    }
}

impl PoolJob {
    /// Its thread is idle again; who waits for it hears of it when what is returned is dropped.
    fn end(&mut self, queue: &mut Queue) -> Option<Untold> {
        if let Some((era, at)) = self.begun.take() {
            queue.pace.ended(era, at.elapsed());
        }
        let (permit, done) = (self.permit.take()?, self.done.take()?);
        queue.idle += 1;
        self.shared.busy.fetch_sub(1, SeqCst);
        self.watch.finished();
        let (kept, result) = (std::mem::take(&mut self.kept), std::mem::replace(&mut self.result, Ok(())));
        Some(Untold { shared: self.shared.clone(), kept, permit: Some(permit), done: Some(done), result })
    }
}

/// A job that has ended, before anybody hears of it.
struct Untold {
    shared: Arc<Shared>,
    kept: Kept,
    permit: Option<OwnedSemaphorePermit>,
    done: Option<oneshot::Sender<Result<(), Error>>>,
    result: Result<(), Error>,
}

impl Drop for Untold {
    fn drop(&mut self) {
        self.kept.clear();
        if let Some(permit) = self.permit.take() {
            self.shared.give_back(permit);
        }
        if let Some(done) = self.done.take() {
            // Nobody listens when the caller has gone.
            let _ = done.send(std::mem::replace(&mut self.result, Ok(())));
        }
    }
}

impl Shared {
    /// A place that is free again, unless it is owed to a thread that lent its own and needs it back.
    fn give_back(&self, permit: OwnedSemaphorePermit) {
        let paid = self.owed.fetch_update(SeqCst, SeqCst, |owed| owed.checked_sub(1)).is_ok();
        if paid {
            permit.forget();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's place that others may take meanwhile.
pub struct Lent(Option<Arc<Shared>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(shared) = &self.0
            && shared.permits.forget_permits(1) == 0
        {
            shared.owed.fetch_add(1, SeqCst);
        }
    }
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.ready.notify_all();
        self.0.look.notify_all();
    }
}

/// Whether a job is awaited, so that an abandoned one is counted exactly as long as it runs.
struct Watch {
    shared: Arc<Shared>,
    state: Mutex<JobState>,
}

#[derive(Clone, Copy, PartialEq)]
enum JobState {
    Running,
    Abandoned,
    Finished,
}

impl Watch {
    fn finished(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == JobState::Abandoned {
            self.shared.abandoned.fetch_sub(1, SeqCst);
        }
        *state = JobState::Finished;
    }

    fn abandoned(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == JobState::Running {
            self.shared.abandoned.fetch_add(1, SeqCst);
            *state = JobState::Abandoned;
        }
    }
}

struct Caller(Arc<Watch>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.abandoned();
    }
}

/// Counts one while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, counter: impl FnOnce(&'a Shared) -> &'a AtomicUsize) -> Self {
        let counter = counter(shared);
        counter.fetch_add(1, SeqCst);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Runs a job that gives a value on a thread that was reserved.
pub async fn run_on<T: Send + 'static>(
    thread: Box<dyn BlockingThread>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (give, taken) = oneshot::channel();
    thread
        .run(Box::new(move || {
            // Nobody takes it when the caller has gone.
            let _ = give.send(job());
        }))
        .await?;
    taken.await.map_err(|_| Error::new(ErrorKind::Internal, "blocking work ended without its value"))
}
