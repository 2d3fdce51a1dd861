use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};

use ambidex_core::blocking::BlockingThreads;
use ambidex_core::{Context, Error, ErrorKind, Tool};
use ambidex_tools::{BlockingPool, BlockingTool, PoolThread, StartThread};
use futures_util::FutureExt;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

/// A tool that says that it began and ends when it is told to.
fn held(pool: &BlockingPool) -> (BlockingTool, mpsc::Receiver<Context>, mpsc::Sender<()>) {
    let (began, beginnings) = mpsc::channel();
    let (release, releases) = mpsc::channel::<()>();
    let releases = std::sync::Mutex::new(releases);
    let tool = BlockingTool::new("held", "", move |_: Nothing, context: Context| {
        began.send(context).unwrap();
        releases.lock().unwrap().recv().unwrap();
        Ok::<_, Error>(())
    });
    (tool.on(pool), beginnings, release)
}

#[tokio::test]
async fn eight_calls_on_a_pool_of_four_take_two_waves() {
    let pool = BlockingPool::new(4);
    // Nobody passes before four are inside, and the next four come only after all of them have left.
    let wave = Arc::new(Barrier::new(4));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tool = {
        let (inside, most) = (inside.clone(), most.clone());
        BlockingTool::new("wave", "", move |_: Nothing, _: Context| {
            most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            wave.wait();
            std::thread::sleep(std::time::Duration::from_millis(50));
            // Everybody of this wave is still counted when the first of it leaves.
            let leader = wave.wait().is_leader();
            inside.fetch_sub(1, SeqCst);
            Ok::<_, Error>(leader)
        })
        .on(&pool)
    };
    let calls = (0..8).map(|_| tool.call(json!({}), Context::detached()));
    let results = join_all(calls).await;
    let leaders = results.into_iter().filter(|result| result.as_ref().unwrap().to_text() == "true").count();
    assert_eq!(leaders, 2, "one leader per wave");
    assert_eq!(most.load(SeqCst), 4);
    let census = pool.census();
    assert_eq!((census.limit, census.peak, census.busy, census.waiting, census.abandoned), (4, 4, 0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_timed_out_keeps_its_permit_until_its_thread_ends() {
    let pool = BlockingPool::new(1);
    let (tool, began, release) = held(&pool);
    let first = tokio::spawn(tool.call(json!({}), Context::detached()));
    let context = tokio::task::spawn_blocking(move || (began.recv().unwrap(), began));
    let (context, began) = context.await.unwrap();
    assert!(!context.is_cancelled());

    // The driver reports a timeout and drops the call; the thread goes on and knows.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(context.is_cancelled());
    assert_eq!((pool.census().busy, pool.census().abandoned), (1, 1));

    // So the next one waits.
    let mut second = std::pin::pin!(pool.reserve());
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(pool.census().waiting, 1);

    release.send(()).unwrap();
    let thread = second.await.unwrap();
    assert_eq!((pool.census().busy, pool.census().abandoned, pool.census().waiting), (0, 0, 0));
    drop((thread, began));
}

#[tokio::test]
async fn a_call_that_gave_up_its_place_is_never_started() {
    let pool = BlockingPool::new(1);
    let taken = pool.reserve().await.unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    let tool = BlockingTool::new("a", "", move |_: Nothing, _: Context| {
        counted.fetch_add(1, SeqCst);
        Ok::<_, Error>(())
    })
    .on(&pool);
    {
        let mut call = tool.call(json!({}), Context::detached());
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(pool.census().waiting, 1);
    }
    assert_eq!(pool.census().waiting, 0);
    drop(taken);
    pool.reserve().await.unwrap();
    assert_eq!(ran.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_are_used_again_and_never_more_than_the_limit() {
    let pool = BlockingPool::new(2);
    let names = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    // Some ask the moment a permit is given back: then the thread that gave it must count as idle.
    let askers: tokio::task::JoinSet<()> = (0..8)
        .map(|_| {
            let (names, pool) = (names.clone(), pool.clone());
            async move {
                for _ in 0..2_000 {
                    let names = names.clone();
                    let name = move || {
                        names.lock().unwrap().insert(std::thread::current().name().map(str::to_owned))
                    };
                    pool.run(name).await.unwrap();
                }
            }
        })
        .collect();
    askers.join_all().await;
    assert!(pool.census().peak <= 2);
    let names = names.lock().unwrap();
    assert!(names.len() <= 2, "{names:?}");
    assert!(names.iter().all(|name| name.as_deref().is_some_and(|it| it.starts_with("ambidex-sync-"))));
}

#[tokio::test]
async fn a_tool_takes_the_thread_that_was_reserved_for_its_call() {
    let pool = BlockingPool::new(1);
    let tool = BlockingTool::new("a", "", |_: Nothing, _: Context| Ok::<_, Error>("ran"));
    assert!(tool.blocks());
    let context = Context::detached().with_thread(pool.reserve().await.unwrap());
    // The only thread is ours already: whoever waited for another would wait for ever.
    assert_eq!(tool.call(json!({}), context).await.unwrap().to_text(), "ran");
    let context = Context::detached().with_threads(Arc::new(pool.clone()));
    assert_eq!(tool.call(json!({}), context).await.unwrap().to_text(), "ran");
    assert_eq!(pool.census().peak, 1);
}

#[tokio::test]
async fn without_threads_the_error_says_so() {
    let tool = BlockingTool::new("a", "", |_: Nothing, _: Context| Ok::<_, Error>(()));
    let error = tool.call(json!({}), Context::detached()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.message().contains("with_threads"), "{error}");
}

#[tokio::test]
async fn a_reserved_thread_that_is_not_used_is_free_again() {
    let pool = BlockingPool::new(1);
    drop(pool.reserve().await.unwrap());
    assert_eq!(pool.run(|| 7).await, Ok(7));
}

/// Threads that go on with what was left to them, as Python's do.
struct Driven;

impl StartThread for Driven {
    fn start(&self, name: String, mut thread: PoolThread) -> std::io::Result<()> {
        let life = move || {
            while let Some(mut job) = thread.next_job() {
                loop {
                    job.begins();
                    job.carry_out();
                    match thread.next_left(job) {
                        Some(next) => job = next,
                        None => break,
                    }
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(life).map(drop)
    }
}

async fn leave(pool: &BlockingPool, job: impl FnOnce() + Send + 'static) {
    pool.reserve().await.unwrap().leave(Box::new(job)).await.unwrap();
}

/// A pool whose jobs were so quick, and came so fast, that others are left to whoever is at work.
async fn hurried() -> BlockingPool {
    let pool = BlockingPool::with_starter(4, Arc::new(Driven));
    for _ in 0..100 {
        join_all((0..4).map(|_| leave(&pool, || ()))).await;
    }
    pool
}

#[tokio::test]
async fn what_was_left_to_a_thread_is_done_though_that_thread_blocks() {
    let pool = hurried().await;
    for _ in 0..20 {
        let (send, receive) = mpsc::channel();
        let first = leave(&pool, move || receive.recv().unwrap());
        let second = leave(&pool, move || send.send(()).unwrap());
        tokio::join!(first, second);
    }
    let census = pool.census();
    assert_eq!((census.busy, census.waiting, census.abandoned), (0, 0, 0));
    assert!(census.peak <= 4, "{census:?}");
}

#[tokio::test]
async fn who_waits_for_a_job_hears_of_its_end_though_the_next_on_its_thread_blocks() {
    let pool = hurried().await;
    for _ in 0..20 {
        let (send, receive) = mpsc::channel();
        let first = async {
            leave(&pool, || ()).await;
            send.send(()).unwrap();
        };
        let second = leave(&pool, move || receive.recv().unwrap());
        tokio::join!(first, second);
    }
    assert_eq!(pool.census().busy, 0);
}

#[tokio::test]
async fn a_left_job_that_panics_fails_alone() {
    let pool = hurried().await;
    let panics = async { pool.reserve().await.unwrap().leave(Box::new(|| panic!("broken"))).await };
    let (failed, ()) = tokio::join!(panics, leave(&pool, || ()));
    assert!(failed.unwrap_err().message().contains("broken"));
    assert_eq!(pool.census().busy, 0);
}
