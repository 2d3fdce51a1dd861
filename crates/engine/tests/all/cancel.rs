//! Cancelling, proved by the upstream, the process table and the history. Never by our own word alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_core::event::{Event, EventKind, Status};
use ambidex_core::message::Message;
use ambidex_core::tool::{EffectClass, ToolSpec};
use ambidex_core::{Context, ErrorKind, Model};
use ambidex_engine::{Agent, Engine, Hook, RunOptions, ToolDecision, ToolInvocation};
use ambidex_fake_provider::{FakeProvider, Fault, Match, Part, Script, Turn, When, Wire};
use ambidex_http::{Client, Proxy};
use ambidex_models::{Format, ModelConfig, ProviderModel};
use ambidex_tools::{BlockingPool, BlockingTool, CommandSpec, CommandTool, FunctionTool};
use serde_json::json;

use crate::support::{Planned, assert_answered, call, heard, ms};

pub fn client() -> Client {
    Client::builder().proxy(Proxy::Off).build().unwrap()
}

/// The formats in which runs are cancelled.
pub const WIRES: [Wire; 2] = [Wire::OpenAi, Wire::Anthropic];

pub fn model(provider: &FakeProvider, wire: Wire, client: &Client) -> ProviderModel {
    let (format, base) = match wire {
        Wire::OpenAi => (Format::OpenAiChat, provider.base_url_openai()),
        Wire::Anthropic => (Format::Anthropic, provider.base_url_anthropic()),
        Wire::Responses | Wire::Gemini | Wire::Ollama => panic!("{wire:?} is not in WIRES"),
    };
    let mut config = ModelConfig::new(format, "fake", "fake-1", base);
    config.key = Some("sk-test".into());
    ProviderModel::new(config, client.clone()).unwrap()
}

fn bare(name: &str) -> ToolSpec {
    ToolSpec::new(name, "for tests")
}

const MARK: &str = "AMBIDEX_TEST_CANCEL";

/// Processes whose environment carries the mark.
fn marked(mark: &str) -> Vec<String> {
    let entry = format!("{MARK}={mark}").into_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let marked = processes.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == entry)
    });
    marked.map(|process| process.path().display().to_string()).collect()
}

fn agent(engine: &Engine, model: impl Model + 'static, mark: &str) -> Agent {
    let work = FunctionTool::dynamic(bare("work"), |_, _| async {
        ms(60).await;
        Ok("worked".into())
    });
    let block = BlockingTool::dynamic(bare("block"), |_, context: Context| {
        for _ in 0..60 {
            if context.is_cancelled() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok("blocked".into())
    });
    // A child and a grandchild that both outlive every patience.
    let mut program = CommandSpec::new(["sh", "-c", "sleep 300 & sleep 0.06"]);
    program.env.insert(MARK.into(), mark.into());
    Agent::builder()
        .engine(engine)
        .model(model)
        .tool(work.effect(EffectClass::Read))
        .tool(block.effect(EffectClass::Once))
        .tool(CommandTool::new("program", program).unwrap())
        .build()
        .unwrap()
}

fn script() -> Script {
    let calls = ["work", "block", "program", "work"].map(|name| Part::call(name, json!({})));
    let first = [Part::text("Let me see what there is to be done here.")].into_iter().chain(calls);
    Script::new([
        Turn::text("All is well.").when(Match::LastContains("and now?".into())),
        Turn::new(first).chunks(4).pace(Duration::from_millis(2)),
        // Half a minute: it ends in time only by a hang-up.
        Turn::text("a".repeat(1_500)).chunks(1).pace(Duration::from_millis(20)),
    ])
}

/// Small and seeded: a failing moment can be looked at again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// How late this process is given its turn: what a crowded machine adds to every time that is measured.
#[derive(Default)]
pub struct Lag(std::sync::Mutex<Duration>);

impl Lag {
    pub async fn watch(&self) {
        loop {
            let due = Instant::now() + Duration::from_millis(2);
            ms(2).await;
            let late = Instant::now().saturating_duration_since(due);
            let mut worst = self.0.lock().unwrap();
            *worst = late.max(*worst);
        }
    }

    pub fn worst(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

struct Cancelled {
    name: String,
    at: Instant,
    replies: usize,
    history: Vec<Arc<Message>>,
    wire: Wire,
}

/// Cancels so long after the nth event: where a run is then does not hang on the machine's speed.
async fn cancel_one(agent: Agent, name: String, nth: u64, after: Duration, wire: Wire) -> Cancelled {
    let mut handle = agent.start(format!("[run:{name}] go"), RunOptions::default()).unwrap();
    let mut events = handle.take_events();
    let (reached, moment) = tokio::sync::oneshot::channel();
    let watching = async move {
        let mut all: Vec<Event> = vec![];
        let mut reached = Some(reached);
        while let Some(event) = events.next().await {
            all.push(event);
            if all.len() as u64 >= nth {
                reached.take().map(|reached| reached.send(()));
            }
        }
        all
    };
    let cancelling = async {
        moment.await.unwrap();
        tokio::time::sleep(after).await;
        let at = Instant::now();
        handle.cancel();
        handle.cancel();
        (at, handle.outcome().await)
    };
    let (events, (at, outcome)) = tokio::join!(watching, cancelling);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{name}");
    let result = error.result.unwrap();
    assert_eq!(result.status, Status::Cancelled);
    for (seq, event) in (1..).zip(&events) {
        assert_eq!(event.seq, seq, "{name}");
    }
    let finished = events.iter().filter(|event| matches!(event.kind, EventKind::RunFinished { .. })).count();
    let last = &events.last().unwrap().kind;
    assert!(matches!(last, EventKind::RunFinished { status: Status::Cancelled, .. }), "{last:?}");
    assert_eq!(finished, 1, "{name}");
    assert_answered(&result.messages);
    let replies = result.iterations_used as usize;
    Cancelled { name, at, replies, history: result.messages.to_vec(), wire }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_random_moments() {
    const WAVE: usize = 10;
    let provider = FakeProvider::start(script()).await.unwrap();
    let (engine, client) = (Engine::default(), client());
    let mark = format!("moments-{}", std::process::id());
    let agents = WIRES.map(|wire| agent(&engine, model(&provider, wire, &client), &mark));
    let mut random = Random(20_261_120);
    let (mut latencies, mut ours, mut whole, mut phases) = (vec![], vec![], 0, [0; 3]);
    for wave in 0..20 {
        let runs = (0..WAVE).map(|n| {
            let which = n % 2;
            let after = Duration::from_micros(random.below(9_000));
            let nth = 1 + random.below(48);
            cancel_one(agents[which].clone(), format!("{wave}.{n}"), nth, after, WIRES[which])
        });
        let lag = Lag::default();
        let runs = tokio::select! {
            runs = futures_util::future::join_all(runs) => runs,
            () = lag.watch() => unreachable!(),
        };
        assert_eq!(marked(&mark), [""; 0], "wave {wave}: processes outlived their run");
        let idle = Duration::from_secs(2) + lag.worst() * 4;
        let idle = tokio::time::timeout(idle, provider.wait_until_idle()).await;
        assert!(idle.is_ok(), "wave {wave}: the upstream still answers {:?}", provider.census());
        for run in runs {
            let asked: Vec<_> =
                provider.requests().into_iter().filter(|request| request.run == run.name).collect();
            assert!(asked.iter().all(|request| request.refusal.is_none()), "{asked:?}");
            assert!(asked.len() <= run.replies + 1, "{}: nothing is asked after the cancel", run.name);
            phases[run.replies.min(1) + usize::from(asked.len() == 2)] += 1;
            if asked.len() > run.replies {
                let number = asked[run.replies].number;
                match provider.hangups().iter().find(|hangup| hangup.request == number) {
                    Some(hangup) => {
                        let took = hangup.at.saturating_duration_since(run.at);
                        latencies.push(took);
                        // From the wish to the upstream's record it passes through four threads' hands.
                        ours.push(took.saturating_sub(lag.worst() * 4));
                    }
                    None => {
                        // The short answer had been sent whole, or the client left before a byte of it.
                        let status = asked[run.replies].status;
                        assert!(run.replies == 0 || status == 0, "{}: no hang-up was seen", run.name);
                        whole += 1;
                    }
                }
            }
            // The vendors' rules, by who enforces them: the history goes on.
            let mut history = run.history;
            history.push(Message::user("and now?"));
            let lines = heard(&history);
            let agent = &agents[usize::from(run.wire == WIRES[1])];
            let next = agent.run(history).await;
            let next = next.unwrap_or_else(|error| panic!("{}: {error}\n{lines:#?}", run.name));
            assert_eq!(next.text, "All is well.");
        }
    }
    latencies.sort_unstable();
    ours.sort_unstable();
    let of = |all: &[Duration], percent: usize| all[(all.len() * percent).div_ceil(100).max(1) - 1];
    for (what, all) in [("as seen by the upstream", &latencies), ("without the machine's own lag", &ours)] {
        let [half, most, nearly, last] = [50, 90, 99, 100].map(|percent| of(all, percent));
        let count = all.len();
        println!(
            "{count} hang-ups, {what}: half within {half:?}, 90 % {most:?}, 99 % {nearly:?}, all {last:?}"
        );
    }
    println!("{whole} answers were whole; cancelled in answer, tools, answer: {phases:?}");
    assert!(phases.iter().all(|count| *count >= 15), "the moments miss a phase: {phases:?}");
    assert!(latencies.len() >= 60 && whole <= 6, "{} hang-ups, {whole} whole", latencies.len());
    assert!(of(&ours, 99) <= Duration::from_millis(250), "99 % within {:?}", of(&ours, 99));
    assert!(of(&ours, 100) <= Duration::from_secs(2), "all within {:?}", of(&ours, 100));

    engine.idle().await;
    assert_eq!(engine.active_runs(), 0);
    assert_eq!(client.census().in_flight, 0);
    drop((agents, engine, client));
    let closed = tokio::time::timeout(Duration::from_secs(5), provider.wait_for_open_connections(0)).await;
    assert!(closed.is_ok(), "sockets are left open: {:?}", provider.census());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_handle_a_stream_or_a_future_hangs_up_and_detaching_does_not() {
    let turn = Turn::text("a".repeat(400)).chunks(1).pace(Duration::from_millis(1));
    let provider = FakeProvider::start(Script::new([turn])).await.unwrap();
    let (engine, client) = (Engine::default(), client());
    let agent =
        Agent::builder().engine(&engine).model(model(&provider, Wire::OpenAi, &client)).build().unwrap();

    let handle = agent.start("[run:handle] go", RunOptions::default()).unwrap();
    provider.wait_for_requests(1).await;
    drop(handle);
    provider.wait_for_hangup_of("handle").await;

    let mut stream = agent.stream("[run:stream] go").unwrap();
    while !matches!(stream.next().await.unwrap().kind, EventKind::ModelDelta { .. }) {}
    drop(stream);
    provider.wait_for_hangup_of("stream").await;

    {
        let mut future = std::pin::pin!(agent.run("[run:future] go"));
        tokio::select! {
            _ = &mut future => panic!("it takes longer"),
            _ = provider.wait_for_requests(3) => {}
        }
    }
    provider.wait_for_hangup_of("future").await;

    let mut handle = agent.start("[run:detached] go", RunOptions::default()).unwrap();
    handle.detach();
    let run = handle.id().to_owned();
    drop(handle);
    engine.idle().await;
    assert_eq!(provider.hangups().len(), 3);
    let stored = engine.store().load(&run).await.unwrap();
    let file = ambidex_engine::RunFile::new(run, stored).to_text().unwrap();
    assert!(file.lines().last().unwrap().contains("succeeded"), "{file}");
}

#[tokio::test]
async fn a_stalled_upstream_is_left_at_once() {
    for fault in [Fault::StallBeforeHead, Fault::StallAfterHead, Fault::StallSilent, Fault::StallPings] {
        let provider = FakeProvider::start(Script::text("x").with_fault(fault, When::Always)).await.unwrap();
        let agent = Agent::builder().model(model(&provider, Wire::Anthropic, &client())).build().unwrap();
        let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
        provider.wait_for_requests(1).await;
        handle.cancel();
        assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
        provider.wait_for_hangup().await;
    }
}

struct Stuck;

impl Hook for Stuck {
    fn before_tool<'a>(
        &'a self,
        _: &'a Context,
        call: ToolInvocation,
    ) -> ambidex_core::BoxFuture<'a, Result<ToolDecision, ambidex_core::Error>> {
        Box::pin(async move {
            match call.name.as_str() {
                "before" => std::future::pending().await,
                _ => Ok(ToolDecision::Run(call)),
            }
        })
    }

    fn after_tool<'a>(
        &'a self,
        _: &'a Context,
        call: &'a ToolInvocation,
        result: Result<ambidex_core::ToolOutput, ambidex_core::Error>,
    ) -> ambidex_core::BoxFuture<'a, Result<ambidex_core::ToolOutput, ambidex_core::Error>> {
        Box::pin(async move {
            match call.name.as_str() {
                "after" => std::future::pending().await,
                _ => result,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_does_not_hold_up_a_cancel() {
    for name in ["before", "after"] {
        let tool = FunctionTool::dynamic(bare(name), |_, _| async { Ok("done".into()) });
        let agent = Agent::builder()
            .model(Planned::new(vec![vec![call(name, json!({}))]]))
            .tool(tool)
            .hook(Stuck)
            .build()
            .unwrap();
        let handle = agent.start_unwatched("go", RunOptions::default()).unwrap();
        ms(50).await;
        handle.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), handle.outcome()).await.expect(name);
        let result = ended.unwrap_err().result.unwrap();
        assert_answered(&result.messages);
        assert!(heard(&result.messages)[2].contains("cancelled"), "{:?}", heard(&result.messages));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_cancelled_before_its_effect_starts_starts_none() {
    let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = begun.clone();
    let tool = FunctionTool::dynamic(bare("work"), move |_, _| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async { Ok("done".into()) }
    });
    let agent = |token: Arc<std::sync::OnceLock<tokio_util::sync::CancellationToken>>| {
        // The wish comes with the model's last words: the calls are recorded, and not begun.
        let stop = move |_: &ambidex_core::reply::Reply| {
            token.get().unwrap().cancel();
            false
        };
        Agent::builder()
            .model(Planned::new(vec![vec![call("work", json!({})), call("work", json!({}))]]))
            .tool(tool.clone())
            .stop_when(stop)
            .build()
            .unwrap()
    };
    let token = Arc::new(std::sync::OnceLock::new());
    let handle = agent(token.clone()).start_unwatched("go", RunOptions::default()).unwrap();
    token.set(handle.token()).unwrap();
    let result = handle.outcome().await.unwrap_err().result.unwrap();
    assert_answered(&result.messages);
    assert_eq!((result.messages.len(), begun.load(std::sync::atomic::Ordering::SeqCst)), (4, 0));
}

#[tokio::test]
async fn a_thread_that_outlives_its_cancelled_run_says_nothing_more() {
    let pool = BlockingPool::new(1);
    let (leave, left) = std::sync::mpsc::sync_channel::<()>(1);
    let left = std::sync::Mutex::new(left);
    let tool = BlockingTool::dynamic(bare("block"), move |_, context: Context| {
        context.progress(json!("begun"));
        left.lock().unwrap().recv().unwrap();
        context.progress(json!("too late"));
        Ok("done".into())
    });
    let agent = Agent::builder()
        .engine(&Engine::builder().threads(Arc::new(pool.clone())).build())
        .model(Planned::new(vec![vec![call("block", json!({}))]]))
        .tool(tool)
        .build()
        .unwrap();
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let mut events = handle.take_events();
    while !matches!(events.next().await.unwrap().kind, EventKind::ToolProgress { .. }) {}
    handle.cancel();
    assert_eq!(handle.outcome().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(pool.census().abandoned, 1);
    leave.send(()).unwrap();
    crate::support::until("the thread is free", || pool.census().busy == 0).await;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.kind);
    }
    assert!(matches!(last, Some(EventKind::RunFinished { status: Status::Cancelled, .. })), "{last:?}");
}
