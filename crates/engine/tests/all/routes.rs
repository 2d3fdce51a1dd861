//! Routes under a run: what watchers see, what the history keeps, what the upstreams see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambidex_core::chunk::AttemptOutcome;
use ambidex_core::event::{Event, EventKind};
use ambidex_core::message::{Part, Role};
use ambidex_core::{ErrorKind, Model};
use ambidex_engine::{Agent, Engine, RunError, RunOptions, RunResult};
use ambidex_fake_provider::{FakeProvider, Fault, Match, Script, Turn, When};
use ambidex_http::Client;
use ambidex_models::route::{AfterFirstToken, Fallback, Race, Winner};
use ambidex_models::{Format, ModelConfig, ProviderModel, Retry, RetryBudget, RetryPolicy};

use crate::cancel::{Lag, client};

fn target(provider: &FakeProvider, name: &str, client: &Client) -> Arc<dyn Model> {
    let mut config = ModelConfig::new(Format::OpenAiChat, "fake", name, provider.base_url_openai());
    config.name = name.into();
    config.key = Some("sk-test".into());
    config.price = Some(ambidex_core::usage::Price { input: 1.0, output: 1.0, cached_input: None });
    Arc::new(ProviderModel::new(config, client.clone()).unwrap())
}

const TARGETS: [&str; 3] = ["m0", "m1", "m2"];

/// One answers; of the others one says nothing at all and one nothing after its head.
fn race_script() -> Script {
    let turns = (0..3).flat_map(|winner| {
        (0..3).map(move |target| {
            let when = Match::All(vec![
                Match::Model(TARGETS[target].into()),
                Match::LastContains(format!("let {} win", TARGETS[winner])),
            ]);
            let turn = match (target + 3 - winner) % 3 {
                0 => Turn::text(format!("I am {} and I have won.", TARGETS[winner]))
                    .chunks(5)
                    .delay(Duration::from_millis(15)),
                1 => Turn::text("too late").delay(Duration::from_secs(300)),
                _ => Turn::text("too late").fault(Fault::StallAfterHead, When::Always),
            };
            turn.when(when)
        })
    });
    Script::new(turns)
}

struct Raced {
    name: String,
    winner: &'static str,
    /// When the race was decided, or a moment later.
    won: Instant,
    result: RunResult,
    events: Vec<Event>,
}

async fn race_one(agent: Agent, number: usize) -> Raced {
    let winner = TARGETS[number % 3];
    let name = format!("r{number}");
    let task = format!("[run:{name}] let {winner} win");
    let mut handle = agent.start(task, RunOptions::default()).unwrap();
    let mut stream = handle.take_events();
    let (mut events, mut won) = (vec![], None);
    while let Some(event) = stream.next().await {
        if matches!(event.kind, EventKind::RouteRace { .. }) {
            won = Some(Instant::now());
        }
        events.push(event);
    }
    Raced { name, winner, won: won.unwrap(), result: handle.outcome().await.unwrap(), events }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_races_hang_up_on_every_loser() {
    const WAVE: usize = 20;
    let provider = FakeProvider::start(race_script()).await.unwrap();
    provider.keep_bodies(false);
    let (engine, client) = (Engine::default(), client());
    let targets = TARGETS.map(|name| target(&provider, name, &client));
    let race = Race::new("race", Winner::FirstToken, targets);
    let agent = Agent::builder().engine(&engine).model(race).build().unwrap();
    let (mut slowest, mut losers) = (Duration::ZERO, 0);
    for wave in 0..1_000 / WAVE {
        let lag = Lag::default();
        let runs =
            futures_util::future::join_all((0..WAVE).map(|n| race_one(agent.clone(), wave * WAVE + n)));
        let runs = tokio::select! {
            runs = runs => runs,
            () = lag.watch() => unreachable!(),
        };
        let patience = Duration::from_secs(1) + lag.worst() * 4;
        let idle = tokio::time::timeout(patience, provider.wait_until_idle()).await;
        assert!(idle.is_ok(), "wave {wave}: the upstream still answers {:?}", provider.census());
        let (requests, hangups) = (provider.requests(), provider.hangups());
        for run in runs {
            check_history(&run);
            check_cost(&run);
            let asked: Vec<_> = requests.iter().filter(|request| request.run == run.name).collect();
            assert!(asked.iter().all(|request| request.refusal.is_none()), "{asked:?}");
            let left: Vec<_> = hangups.iter().filter(|hangup| hangup.run == run.name).collect();
            assert_eq!(left.len() + 1, asked.len(), "{}: {asked:?} {left:?}", run.name);
            for hangup in left {
                let took = hangup.at.saturating_duration_since(run.won);
                assert!(took <= patience, "{}: seen {took:?} after the win", run.name);
                slowest = slowest.max(took);
                losers += 1;
            }
        }
        assert_eq!(client.census().in_flight, 0, "wave {wave}");
        assert_eq!(client.census().open, client.census().idle, "wave {wave}: a socket that nobody rests");
        provider.forget();
    }
    println!("{losers} losers were hung up on, the last {slowest:?} after its race was decided");
    assert!(losers >= 1_900, "{losers} of 2000 had arrived");
    engine.idle().await;
    drop((agent, engine, client));
    let closed = tokio::time::timeout(Duration::from_secs(5), provider.wait_for_open_connections(0)).await;
    assert!(closed.is_ok(), "sockets are left open: {:?}", provider.census());
}

/// Only the winner's tokens.
fn check_history(run: &Raced) {
    let wanted = format!("I am {} and I have won.", run.winner);
    assert_eq!(run.result.text, wanted);
    let answers: Vec<_> =
        run.result.messages.iter().filter(|message| message.role == Role::Assistant).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].parts, [Part::text(&wanted)]);
    let shown: String = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ModelDelta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, wanted);
}

/// Every attempt is named with what it cost, and the sum is the run's.
fn check_cost(run: &Raced) {
    let (mut tokens, mut usd, mut lost) = (0, 0.0, 0);
    for event in &run.events {
        if let EventKind::RouteAttempt { target, outcome, usage, .. } = &event.kind {
            tokens += usage.total_tokens();
            usd += usage.usd.unwrap();
            match outcome {
                AttemptOutcome::Answered => assert_eq!(&**target, run.winner),
                AttemptOutcome::Lost => {
                    lost += 1;
                    assert!(
                        usage.estimated && usage.input_tokens > 0 && &**target != run.winner,
                        "{usage:?}"
                    );
                }
                _ => panic!("{event:?}"),
            }
        }
    }
    assert_eq!((lost, tokens), (2, run.result.usage.total_tokens()));
    assert!(run.result.usage.estimated && (usd - run.result.usage.usd.unwrap()).abs() < 1e-9);
}

/// Asks a target whose answers are cut after some words, and what follows it.
async fn cut(build: impl Fn(Arc<dyn Model>, Arc<dyn Model>) -> Arc<dyn Model>) -> (Vec<Event>, Outcome) {
    let turns = [
        Turn::text("The first answer, which is never whole.")
            .chunks(6)
            .fault(Fault::TruncateReset, When::First)
            .when(Match::Model("cut".into())),
        Turn::text("The second answer.").chunks(6).when(Match::Model("whole".into())),
    ];
    let provider = FakeProvider::start(Script::new(turns)).await.unwrap();
    let client = client();
    let model = build(target(&provider, "cut", &client), target(&provider, "whole", &client));
    let agent = Agent::builder().shared_model(model).build().unwrap();
    let mut handle = agent.start("go", RunOptions::default()).unwrap();
    let mut stream = handle.take_events();
    let mut events = vec![];
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    (events, handle.outcome().await)
}

type Outcome = Result<RunResult, RunError>;

#[tokio::test]
async fn a_cut_answer_is_void_and_history_has_the_second_only() {
    let (events, outcome) = cut(|cut, whole| Arc::new(Fallback::new("r", [cut, whole]))).await;
    let kinds: Vec<_> = events.iter().map(|event| &event.kind).collect();
    let restarted = kinds.iter().position(|kind| matches!(kind, EventKind::ModelRestarted { .. })).unwrap();
    let shown = |kinds: &[&EventKind]| -> String {
        let text = |kind: &&EventKind| match kind {
            EventKind::ModelDelta { text } => text.clone(),
            _ => String::new(),
        };
        kinds.iter().map(text).collect()
    };
    let before = shown(&kinds[..restarted]);
    assert!(before.starts_with("The fi") && before.len() < 39, "{before}");
    assert_eq!(shown(&kinds[restarted..]), "The second answer.");
    let switched = |kind: &&EventKind| matches!(kind, EventKind::RouteSwitched { from, target, .. } if &**from == "cut" && &**target == "whole");
    assert!(kinds.iter().any(switched), "{kinds:?}");
    let result = outcome.unwrap();
    assert_eq!(result.text, "The second answer.");
    assert_eq!(result.messages.len(), 2);
    assert_eq!(result.messages[1].parts, [Part::text("The second answer.")]);
    assert!(result.usage.estimated, "the cut answer was paid for, and nobody said how much");

    // The same by a retry of one target.
    let policy = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
    let retry =
        |cut, _| -> Arc<dyn Model> { Arc::new(Retry::new(cut, policy, Arc::new(RetryBudget::default()))) };
    let (events, outcome) = cut(retry).await;
    assert_eq!(events.iter().filter(|it| matches!(it.kind, EventKind::ModelRestarted { .. })).count(), 1);
    assert_eq!(outcome.unwrap().messages[1].parts, [Part::text("The first answer, which is never whole.")]);
}

#[tokio::test]
async fn with_fail_the_error_names_what_was_shown() {
    let fallback = |cut, whole| -> Arc<dyn Model> {
        Arc::new(Fallback::new("r", [cut, whole]).after_first_token(AfterFirstToken::Fail))
    };
    let policy = RetryPolicy { after_first_token: AfterFirstToken::Fail, ..RetryPolicy::default() };
    let retry =
        |cut, _| -> Arc<dyn Model> { Arc::new(Retry::new(cut, policy, Arc::new(RetryBudget::default()))) };
    for (events, outcome) in [cut(fallback).await, cut(retry).await] {
        let shown: usize = events
            .iter()
            .map(|event| match &event.kind {
                EventKind::ModelDelta { text } => text.chars().count(),
                _ => 0,
            })
            .sum();
        assert!(shown > 0 && !events.iter().any(|it| matches!(it.kind, EventKind::ModelRestarted { .. })));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamTruncated);
        let result = error.result.unwrap();
        let usage = result.usage;
        assert!(usage.estimated && usage.usd > Some(0.0), "what failed cost something: {usage:?}");
        let error = result.error.unwrap();
        assert_eq!(error.usage(), Some(&usage));
        assert_eq!(error.shown(), Some(shown as u64));
        assert!(error.message().contains(&format!("{shown} characters")), "{error}");
    }
}
