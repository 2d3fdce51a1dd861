//! What all calls of one process share: runtime, engine, HTTP client. Made at first use, never at import, and
//! remade after a fork.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};

use ambidex_config::Runtime as Settings;
use ambidex_core::memory::MemoryStore;
use ambidex_engine::Engine;
use ambidex_http::Client;
use ambidex_tools::BlockingPool;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};
use tokio_util::task::TaskTracker;

use crate::bridge::Background;
use crate::held::Releases;
use crate::project::Projects;
use crate::resting::Resting;
use crate::store::{LazyStore, Location};
use crate::threads::PythonThreads;
use crate::watch::Watch;
use crate::{failure, fork, project};

/// Threads of the runtime. They only drive I/O and our own code; more of them would only share its caches.
const RUNTIME_THREADS: usize = 2;

pub(crate) struct Process {
    runtime: Runtime,
    engine: Engine,
    /// The engine's, where it is one in memory.
    memory: Option<Arc<MemoryStore>>,
    projects: Projects,
    resting: Resting,
    threads: BlockingPool,
    client: Client,
    background: Background,
    releases: Releases,
    operations: TaskTracker,
    watch: Watch,
    streams: AtomicUsize,
    settings: Settings,
    generation: u64,
}

static BLOCK: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

impl Process {
    fn make() -> PyResult<Self> {
        // Its exit hook stands before any thread of ours can be inside of Python.
        Python::attach(|py| py.import("ambidex._bridge").map(drop))?;
        let (settings, location) = settings()?;
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            PyRuntimeError::new_err(format!("Ambidex cannot start: {what}: {error}"))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("ambidex")
            .on_thread_start(block_signals)
            .enable_all()
            .build()
            .map_err(|error| failed("its threads cannot be started", &error))?;
        let threads = BlockingPool::with_starter(settings.sync_workers as usize, Arc::new(PythonThreads));
        let client = Client::builder().build().map_err(|error| failed("the HTTP client", &error))?;
        let builder = Engine::builder().threads(Arc::new(threads.clone()));
        let (engine, memory) = match location {
            Some(location) => (builder.durable_store(Arc::new(LazyStore::new(location))).build(), None),
            None => {
                let memory = Arc::new(MemoryStore::keeping(Engine::FINISHED_RUNS));
                (builder.store(memory.clone()).build(), Some(memory))
            }
        };
        Ok(Self {
            runtime,
            engine,
            memory,
            projects: Projects::default(),
            resting: Resting::default(),
            threads,
            client,
            background: Background::default(),
            releases: Releases::default(),
            operations: TaskTracker::new(),
            watch: Watch::new(),
            streams: AtomicUsize::new(0),
            settings,
            generation: fork::generation(),
        })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine's store, where it is one in memory.
    pub(crate) fn memory(&self) -> Option<&Arc<MemoryStore>> {
        self.memory.as_ref()
    }

    /// An engine of this process over another store.
    pub(crate) fn engine_over(&self, store: LazyStore) -> Engine {
        Engine::builder().threads(Arc::new(self.threads.clone())).durable_store(Arc::new(store)).build()
    }

    /// Runs that wait or are paused, of which the store keeps so many.
    pub(crate) fn resting(&self) -> &Resting {
        &self.resting
    }

    /// What the configuration builds.
    pub(crate) fn projects(&self) -> &Projects {
        &self.projects
    }

    /// Drives a future on the runtime. It belongs to whoever waits for what it gives, and ends with that.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.operations.spawn_on(future, self.runtime.handle());
    }

    /// Operations of the async door under way.
    pub(crate) fn operations(&self) -> usize {
        self.operations.len()
    }

    /// Where sync tools run.
    pub(crate) fn threads(&self) -> &BlockingPool {
        &self.threads
    }

    /// The one HTTP client: models and tools share its pools.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// The watcher of loops.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Event streams that are open.
    pub(crate) fn streams(&self) -> &AtomicUsize {
        &self.streams
    }

    pub(crate) fn releases(&self) -> &Releases {
        &self.releases
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

/// The block of this process.
///
/// # Errors
/// The runtime's threads cannot be started, or the environment sets something that is not understood.
#[expect(unsafe_code, reason = "a fork hook may only use atomics, so the block is behind a plain pointer")]
pub(crate) fn process() -> PyResult<&'static Process> {
    let there = BLOCK.load(SeqCst);
    if !there.is_null() {
        // SAFETY: a block that was stored here is never freed.
        return Ok(unsafe { &*there });
    }
    let made = Box::into_raw(Box::new(Process::make()?));
    match BLOCK.compare_exchange(std::ptr::null_mut(), made, SeqCst, SeqCst) {
        // SAFETY: just made, and from now on never freed.
        Ok(_) => Ok(unsafe { &*made }),
        Err(first) => {
            // SAFETY: nobody else has seen the one made here; the other is never freed.
            let (made, first) = unsafe { (Box::from_raw(made), &*first) };
            made.runtime.shutdown_background();
            Ok(first)
        }
    }
}

/// The block, if it was made already.
#[expect(unsafe_code, reason = "see `process`")]
pub(crate) fn existing() -> Option<&'static Process> {
    // SAFETY: a block that was stored here is never freed.
    unsafe { BLOCK.load(SeqCst).as_ref() }
}

/// In the child of a fork: what the parent had is left alone, threads and locks and all.
pub(crate) fn forget() {
    BLOCK.store(std::ptr::null_mut(), SeqCst);
}

/// Refuses to be loaded by a second interpreter of the process.
///
/// # Errors
/// It is one.
#[expect(unsafe_code, reason = "PyO3 asks this on CPython 3.12 and later only")]
pub(crate) fn refuse_subinterpreters() -> PyResult<()> {
    // SAFETY: a module is initialised attached, and the main interpreter's number is 0.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(pyo3::exceptions::PyImportError::new_err(
        "ambidex does not work in a subinterpreter; use threads or processes",
    ))
}

/// Signals are for the thread that waits in Python.
#[expect(unsafe_code, reason = "there is no safe door to a thread's signal mask")]
pub(crate) fn block_signals() {
    // SAFETY: the set is filled before it is used, and only this thread's mask changes.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut());
    }
}

/// `[runtime]` as it is configured where this process works, and where `[store]` keeps runs, if not in memory.
fn settings() -> PyResult<(Settings, Option<Location>)> {
    // A folder that is gone configures nothing.
    let Ok(options) = project::options() else { return Ok((Settings::default(), None)) };
    let raised = |error| Python::attach(|py| failure::of_core(py, &error));
    let loaded = project::load(&options).map_err(raised)?;
    let location = Location::configured(&loaded, &options.environment).map_err(raised)?;
    Ok((loaded.config.runtime, location.place.is_some().then_some(location)))
}

/// Whether sync calls under a running loop are errors, and whether blocked loops are told of.
#[pyfunction]
pub(crate) fn _loop_settings() -> PyResult<(bool, bool)> {
    let settings = &process()?.settings;
    Ok((settings.strict_sync, settings.debug_loops))
}
