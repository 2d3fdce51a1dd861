//! The exact cache over models that count their calls, on a paused clock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::RouteNote;
use ambidex_core::message::{Part, ProviderState, Role};
use ambidex_core::model::{ModelInfo, OutputSchema, Reasoning, Settings, ToolChoice};
use ambidex_core::{
    BoxStream, Chunk, Context, Error, ErrorKind, Finish, Message, Model, Request, ToolSpec, Usage,
};
use ambidex_models::cache::{Cached, Counts, ReplyCache};
use ambidex_models::collect;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const HOUR: Duration = Duration::from_secs(3600);

type Items = Vec<Result<Chunk, Error>>;

/// Gives the n-th list of items to the n-th call, the last one for ever, each item after a while.
struct Told {
    info: ModelInfo,
    calls: AtomicU32,
    dropped: Arc<AtomicU32>,
    answers: Mutex<Vec<Items>>,
    pace: Duration,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = Items>) -> Arc<Self> {
        Self::paced(answers, Duration::ZERO)
    }

    fn paced(answers: impl IntoIterator<Item = Items>, pace: Duration) -> Arc<Self> {
        Self::named("m", answers, pace)
    }

    fn named(name: &str, answers: impl IntoIterator<Item = Items>, pace: Duration) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo::new(name, "p"),
            calls: AtomicU32::new(0),
            dropped: Arc::default(),
            answers: Mutex::new(answers.into_iter().collect()),
            pace,
        })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Guard(Arc<AtomicU32>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Model for Told {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn stream(&self, _: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) as usize;
        let answers = self.answers.lock().unwrap();
        let items = answers.get(call).or(answers.last()).unwrap().clone();
        let (guard, pace) = (Guard(self.dropped.clone()), self.pace);
        Box::pin(stream::iter(items).then(move |item| {
            let _ = &guard;
            async move {
                sleep(pace).await;
                item
            }
        }))
    }
}

fn text(text: &str) -> Result<Chunk, Error> {
    Ok(Chunk::Text { part: 0, text: text.into() })
}

fn paid() -> Usage {
    Usage { input_tokens: 10, output_tokens: 5, usd: Some(0.25), ..Usage::default() }
}

fn end(finish: Finish) -> Items {
    vec![Ok(Chunk::Usage(paid())), Ok(Chunk::End(finish))]
}

fn good() -> Items {
    let start = Ok(Chunk::Start { request_id: Some("r1".into()), model: Some("m-1".into()) });
    [vec![start, text("go"), text("od")], end(Finish::Stop)].concat()
}

fn failed(kind: ErrorKind) -> Result<Chunk, Error> {
    Err(Error::new(kind, "told"))
}

fn cache() -> Arc<ReplyCache> {
    Arc::new(ReplyCache::new(HOUR, 100))
}

fn cached(model: &Arc<Told>, cache: &Arc<ReplyCache>) -> Cached {
    Cached::new(model.clone(), cache.clone())
}

async fn items(model: &Cached, request: Request) -> Items {
    model.stream(request, Context::detached()).collect().await
}

async fn ask(model: &Cached) -> Items {
    items(model, Request::user("Hi")).await
}

async fn reply(model: &Cached) -> (String, Usage) {
    let stream = model.stream(Request::user("Hi"), Context::detached());
    let reply = collect(stream).await.unwrap();
    (reply.text(), reply.usage)
}

/// How long ago the reply ended that was given; none for a call of the model.
fn age(items: &Items) -> Option<Option<Duration>> {
    items.iter().find_map(|item| match item {
        Ok(Chunk::Note(RouteNote::Cached(note))) => Some(note.age),
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn an_equal_request_gets_the_kept_reply_which_costs_nothing_and_says_so() {
    let told = Told::new([good()]);
    let cache = cache();
    let model = cached(&told, &cache);
    let first = ask(&model).await;
    assert_eq!(first, good(), "the first answer is passed on as it comes");
    sleep(Duration::from_secs(5)).await;
    let second = ask(&model).await;
    assert_eq!(told.calls(), 1);
    assert_eq!(age(&second).unwrap().unwrap().as_secs(), 5);
    let rest: Items = second.into_iter().skip(1).collect();
    let free = Usage { usd: Some(0.0), ..Usage::default() };
    let expected: Items = vec![
        Ok(Chunk::Start { request_id: None, model: Some("m-1".into()) }),
        text("good"),
        Ok(Chunk::Usage(free)),
        Ok(Chunk::End(Finish::Stop)),
    ];
    assert_eq!(rest, expected);
    assert_eq!(cache.counts(), Counts { hits: 1, shared: 0, misses: 1 });
}

#[tokio::test(start_paused = true)]
async fn calls_and_provider_state_come_back_as_they_were() {
    let state = ProviderState { format: "anthropic".into(), json: r#"{"signature":"s"}"#.into() };
    let said: Items = vec![
        Ok(Chunk::Reasoning { part: 0, text: "thi".into() }),
        Ok(Chunk::ToolCall { part: 1, id: "c1".into(), name: "look".into() }),
        Ok(Chunk::Reasoning { part: 0, text: "nk".into() }),
        Ok(Chunk::State { part: 0, state }),
        Ok(Chunk::Arguments { part: 1, text: "{\"a\"".into() }),
        Ok(Chunk::Arguments { part: 1, text: ":1}".into() }),
        Ok(Chunk::PartEnd { part: 1 }),
        Ok(Chunk::End(Finish::ToolCalls)),
    ];
    let told = Told::new([said]);
    let model = cached(&told, &cache());
    let ask = || collect(model.stream(Request::user("Hi"), Context::detached()));
    let (first, second) = (ask().await.unwrap(), ask().await.unwrap());
    assert_eq!((first.message, first.finish, told.calls()), (second.message, second.finish, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_kept_for_its_time_and_within_the_capacity() {
    let told = Told::new([good()]);
    let model = cached(&told, &cache());
    ask(&model).await;
    sleep(HOUR - Duration::from_secs(1)).await;
    assert!(age(&ask(&model).await).is_some());
    sleep(Duration::from_secs(1)).await;
    assert!(age(&ask(&model).await).is_none(), "it is too old now");
    assert_eq!(told.calls(), 2);

    let cache = Arc::new(ReplyCache::new(HOUR, 10));
    let model = cached(&told, &cache);
    for number in 0..100 {
        items(&model, Request::user(format!("{number}"))).await;
    }
    assert!((1..=10).contains(&cache.len()), "{}", cache.len());
    // A reply of 100 KiB takes the room of seven.
    let cache = Arc::new(ReplyCache::new(HOUR, 10));
    let long = Told::new([[vec![text(&"x".repeat(100 * 1024))], end(Finish::Stop)].concat()]);
    let model = cached(&long, &cache);
    for number in 0..4 {
        items(&model, Request::user(format!("{number}"))).await;
    }
    assert!(cache.len() <= 1, "{}", cache.len());
}

#[tokio::test(start_paused = true)]
async fn whatever_decides_the_answer_makes_another_request() {
    let told = Told::new([good()]);
    let cache = cache();
    let model = cached(&told, &cache);
    let settings = |settings: Settings| Request { settings: Arc::new(settings), ..Request::user("Hi") };
    let tools = |tools: Vec<ToolSpec>| Request {
        tools: tools.into_iter().map(Arc::new).collect(),
        ..Request::user("Hi")
    };
    let output = |name: &str, schema| Request {
        output: Some(Arc::new(OutputSchema { name: name.into(), schema })),
        ..Request::user("Hi")
    };
    let history = |history| Request { history: Arc::new(history), ..Request::default() };
    let other_input = ToolSpec { input: json!({"type": "object"}), ..ToolSpec::new("a", "b") };
    let requests = || {
        vec![
            Request::user("Hi"),
            Request::user("Hi "),
            history(vec![Message::system("Hi")]),
            history(vec![Message::user("Hi"), Message::user("Hi")]),
            history(vec![Message::user("HiHi")]),
            history(vec![Message::new(Role::User, vec![Part::text("Hi"), Part::text("Hi")])]),
            history(vec![Message::new(Role::User, vec![Part::text("Hi"), Part::text("")])]),
            history(vec![Message::new(Role::User, vec![Part::Refusal { text: "Hi".into() }])]),
            history(vec![Message::new(Role::User, vec![]), Message::user("Hi")]),
            history(vec![]),
            Request { instructions: Some("Hi".into()), ..Request::default() },
            Request { instructions: Some("".into()), ..Request::user("Hi") },
            Request { tool_choice: ToolChoice::Required, ..Request::user("Hi") },
            Request { tool_choice: ToolChoice::Tool("a".into()), ..Request::user("Hi") },
            tools(vec![ToolSpec::new("a", "b")]),
            tools(vec![ToolSpec::new("ab", "")]),
            tools(vec![ToolSpec::new("a", "b"), ToolSpec::new("a", "b")]),
            tools(vec![other_input.clone()]),
            output("o", json!({})),
            output("o", json!({"type": "object"})),
            output("p", json!({})),
            settings(Settings { temperature: Some(0.0), ..Settings::default() }),
            settings(Settings { temperature: Some(0.5), ..Settings::default() }),
            settings(Settings { top_p: Some(0.5), ..Settings::default() }),
            settings(Settings { seed: Some(1), ..Settings::default() }),
            settings(Settings { max_tokens: Some(1), ..Settings::default() }),
            settings(Settings { stop_sequences: vec!["x".into()], ..Settings::default() }),
            settings(Settings { reasoning: Some(Reasoning::BudgetTokens(1)), ..Settings::default() }),
            settings(Settings { parallel_tool_calls: Some(true), ..Settings::default() }),
            settings(Settings { extra: json!({"x": 1}).as_object().unwrap().clone(), ..Settings::default() }),
        ]
    };
    let all = u32::try_from(requests().len()).unwrap();
    for request in requests() {
        assert!(age(&items(&model, request.clone()).await).is_none(), "{request:?}");
    }
    assert_eq!(told.calls(), all);
    // Made anew, with other pointers, they are the same.
    for request in requests() {
        assert!(age(&items(&model, request.clone()).await).is_some(), "{request:?}");
    }
    assert_eq!(told.calls(), all);
    // Another model does not answer for this one.
    let other = Told::named("n", [good()], Duration::ZERO);
    assert!(age(&ask(&cached(&other, &cache)).await).is_none());
    assert_eq!(other.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_a_run_hashes_what_it_added() {
    let told = Told::new([good()]);
    let model = cached(&told, &cache());
    let context = Context::detached();
    let mut history = Vec::new();
    for turn in 0..50 {
        history.push(Message::user(format!("turn {turn}")));
        let request = Request { history: Arc::new(history.clone()), ..Request::default() };
        model.stream(request, context.clone()).collect::<Items>().await;
    }
    assert_eq!((told.calls(), context.wire().encoded()), (50, 50));
    // A run that begins with all of it asks the same.
    let request = Request { history: Arc::new(history), ..Request::default() };
    assert!(age(&items(&model, request).await).is_some());
    assert_eq!(told.calls(), 50);
}

#[tokio::test(start_paused = true)]
async fn only_what_the_model_wanted_to_say_is_kept() {
    let never: Vec<(&str, Items)> = vec![
        ("an error", vec![failed(ErrorKind::Overloaded)]),
        ("an error after content", vec![text("go"), failed(ErrorKind::StreamTruncated)]),
        ("no end", vec![text("good")]),
        ("nothing", end(Finish::Stop)),
        ("cut by the limit", [vec![text("go")], end(Finish::Length)].concat()),
        ("filtered", [vec![text("go")], end(Finish::ContentFilter)].concat()),
        ("paused", [vec![text("go")], end(Finish::Paused)].concat()),
        ("refused", [vec![Ok(Chunk::Refusal { part: 0, text: "no".into() })], end(Finish::Stop)].concat()),
        (
            "malformed",
            [vec![Ok(Chunk::Arguments { part: 0, text: "{}".into() })], end(Finish::Stop)].concat(),
        ),
    ];
    for (what, answer) in never {
        let told = Told::new([answer.clone()]);
        let cache = cache();
        let model = cached(&told, &cache);
        assert_eq!(ask(&model).await, answer, "{what}");
        assert_eq!(ask(&model).await, answer, "{what}");
        assert_eq!((told.calls(), cache.len(), cache.in_flight()), (2, 0, 0), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restart_voided_is_not_kept() {
    let error = Error::new(ErrorKind::StreamTruncated, "told");
    let restarted = Ok(Chunk::Note(RouteNote::Restarted { target: "m".into(), error }));
    let told = Told::new([[vec![text("half"), restarted], good()].concat()]);
    let model = cached(&told, &cache());
    assert_eq!(ask(&model).await.len(), 7);
    assert_eq!(reply(&model).await.0, "good");
    assert_eq!(told.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn equal_requests_under_way_are_one_call_and_one_cost() {
    let told = Told::paced([good()], Duration::from_secs(1));
    let cache = cache();
    let mut tasks = JoinSet::new();
    for number in 0..100_u64 {
        let model = cached(&told, &cache);
        tasks.spawn(async move {
            // Some come late.
            sleep(Duration::from_millis(number * 30)).await;
            let stream = model.stream(Request::user("Hi"), Context::detached());
            let at = Instant::now();
            let reply = collect(stream).await.unwrap();
            (reply.text(), reply.usage.usd.unwrap(), at.elapsed() + Duration::from_millis(number * 30))
        });
    }
    let started = Instant::now();
    let replies = tasks.join_all().await;
    assert_eq!((told.calls(), told.dropped()), (1, 1));
    assert!(replies.iter().all(|(text, _, _)| text == "good"));
    let cost: f64 = replies.iter().map(|(_, usd, _)| usd).sum();
    assert!((cost - 0.25).abs() < 1e-9, "one of them pays: {cost}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(cache.counts(), Counts { hits: 0, shared: 99, misses: 1 });
    assert_eq!(cache.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn followers_see_the_answer_as_it_comes() {
    let told = Told::paced([good()], Duration::from_secs(1));
    let cache = cache();
    let (first, second) = (cached(&told, &cache), cached(&told, &cache));
    let mut leads = first.stream(Request::user("Hi"), Context::detached());
    leads.next().await.unwrap().unwrap();
    assert_eq!(leads.next().await.unwrap(), text("go"));
    let mut follows = second.stream(Request::user("Hi"), Context::detached());
    let note = follows.next().await.unwrap();
    assert_eq!(age(&vec![note]), Some(None), "it says where the answer comes from");
    let at = Instant::now();
    follows.next().await.unwrap().unwrap();
    assert_eq!(follows.next().await.unwrap(), text("go"));
    assert_eq!(at.elapsed(), Duration::ZERO, "what was said is there");
    // Who began it does not poll any more; the other one goes on.
    assert_eq!(follows.next().await.unwrap(), text("od"));
    assert_eq!(leads.next().await.unwrap(), text("od"));
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_when_who_began_it_leaves_and_ends_with_the_last() {
    let told = Told::paced([good()], Duration::from_secs(1));
    let cache = cache();
    let model = cached(&told, &cache);
    let mut leads = model.stream(Request::user("Hi"), Context::detached());
    leads.next().await.unwrap().unwrap();
    let follower = tokio::spawn({
        let model = model.clone();
        async move { reply(&model).await }
    });
    tokio::task::yield_now().await;
    drop(leads);
    assert_eq!(follower.await.unwrap(), ("good".into(), paid()), "whoever is left pays");
    assert_eq!((told.calls(), told.dropped()), (1, 1));

    let told = Told::paced([good()], Duration::from_secs(1));
    let model = cached(&told, &self::cache());
    let mut one = model.stream(Request::user("Hi"), Context::detached());
    let mut two = model.stream(Request::user("Hi"), Context::detached());
    one.next().await.unwrap().unwrap();
    two.next().await.unwrap().unwrap();
    drop(one);
    assert_eq!(told.dropped(), 0);
    drop(two);
    assert_eq!(told.dropped(), 1, "nobody waits, so the call is hung up on");
    ask(&model).await;
    assert_eq!(told.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_waits_for_a_shared_call_as_long_as_his_own_time() {
    let told = Told::paced([good()], Duration::from_secs(10));
    let model = cached(&told, &cache());
    let within = |seconds| {
        let context = Context::detached().with_time_left(Duration::from_secs(seconds));
        collect(model.stream(Request::user("Hi"), context))
    };
    let started = Instant::now();
    let (short, long) = tokio::join!(
        async {
            let error = within(5).await.unwrap_err();
            (error.kind(), started.elapsed().as_secs())
        },
        within(100)
    );
    assert_eq!(short, (ErrorKind::Timeout, 5));
    assert_eq!(long.unwrap().text(), "good");
    assert_eq!(told.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_his_who_began_and_the_others_try_once_more_together() {
    let outcome = async |answers: Vec<Items>| {
        let told = Told::paced(answers, Duration::from_secs(1));
        let cache = cache();
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let model = cached(&told, &cache);
            tasks.spawn(async move {
                let stream = model.stream(Request::user("Hi"), Context::detached());
                collect(stream).await.map(|reply| reply.text())
            });
        }
        let replies = tasks.join_all().await;
        assert_eq!(cache.in_flight(), 0);
        (told.calls(), replies.iter().filter(|reply| reply.is_ok()).count())
    };
    let overloaded = || vec![failed(ErrorKind::Overloaded)];
    assert_eq!(outcome(vec![overloaded(), good()]).await, (2, 19));
    // Nobody waits for twenty failures in a row.
    assert_eq!(outcome(vec![overloaded()]).await, (2, 0));
    // What no retry helps is everybody's at once.
    assert_eq!(outcome(vec![vec![failed(ErrorKind::Unauthorized)], good()]).await, (1, 0));
    // What was shown cannot be taken back here.
    assert_eq!(outcome(vec![vec![text("go"), failed(ErrorKind::StreamTruncated)], good()]).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_panics_takes_only_its_caller_along() {
    struct Panics(ModelInfo);
    impl Model for Panics {
        fn info(&self) -> &ModelInfo {
            &self.0
        }
        fn stream(&self, _: Request, _: Context) -> BoxStream<'static, Result<Chunk, Error>> {
            let mut polls = 0;
            Box::pin(stream::poll_fn(move |cx| {
                polls += 1;
                assert!(polls < 2, "told");
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }))
        }
    }
    let cache = cache();
    let model = Cached::new(Arc::new(Panics(ModelInfo::new("m", "p"))), cache.clone());
    let mut waits = model.stream(Request::user("Hi"), Context::detached());
    assert!(waits.next().now_or_never().is_none());
    let caller = tokio::spawn({
        let model = model.clone();
        async move { ask(&model).await }
    });
    assert!(caller.await.unwrap_err().is_panic());
    assert_eq!(waits.next().await.unwrap().unwrap_err().kind(), ErrorKind::Internal);
    assert!(waits.next().await.is_none());
    assert_eq!(cache.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_answered_by_nobody() {
    let told = Told::new([good()]);
    let model = cached(&told, &cache());
    ask(&model).await;
    let context = Context::detached();
    context.token().cancel();
    let items: Items = model.stream(Request::user("Hi"), context).collect().await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].clone().unwrap_err().kind(), ErrorKind::Cancelled);
}
