//! Any nesting of routes over models with random faults: one outcome, nothing left behind, and no target asked
//! more often than configured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambidex_core::chunk::{AttemptOutcome, RouteNote};
use ambidex_core::context::{EventSink, RunScope};
use ambidex_core::reply::ReplyBuilder;
use ambidex_core::{Chunk, Context, Error, ErrorKind, EventKind, Model, Request};
use ambidex_models::route::{
    AfterFirstToken, Balance, Breaker, BreakerPolicy, Fallback, Hedge, Pick, Race, Stagger, Winner,
};
use ambidex_models::{Retry, RetryBudget, RetryPolicy};
use futures_util::StreamExt;
use proptest::prelude::*;

use super::support::*;

const TARGETS: usize = 4;

#[derive(Clone, Debug)]
enum Node {
    Target(usize),
    Fallback(Vec<Node>, bool),
    Race(Vec<Node>, Winner),
    Hedge(Vec<Node>, Option<u64>, bool),
    Balance(Vec<Node>, u8),
    Breaker(Box<Node>),
    Retry(Box<Node>, u32, bool),
}

fn nodes() -> impl Strategy<Value = Node> {
    let leaf = (0..TARGETS).prop_map(Node::Target);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let several = || prop::collection::vec(inner.clone(), 1..4);
        let winner =
            prop::sample::select(vec![Winner::FirstToken, Winner::FirstComplete, Winner::FirstValid]);
        prop_oneof![
            (several(), any::<bool>()).prop_map(|(nodes, fail)| Node::Fallback(nodes, fail)),
            (several(), winner).prop_map(|(nodes, winner)| Node::Race(nodes, winner)),
            (several(), prop::option::of(0_u64..400), any::<bool>())
                .prop_map(|(nodes, stagger, fail)| Node::Hedge(nodes, stagger, fail)),
            (several(), 0_u8..4).prop_map(|(nodes, pick)| Node::Balance(nodes, pick)),
            inner.clone().prop_map(|node| Node::Breaker(Box::new(node))),
            (inner.clone(), 1_u32..4, any::<bool>()).prop_map(|(node, attempts, fail)| Node::Retry(
                Box::new(node),
                attempts,
                fail
            )),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..500).prop_map(Step::Wait),
        3 => Just(say("word ")),
        1 => (1_u64..20).prop_map(used),
        1 => Just(Step::Say(Chunk::Start { request_id: None, model: None })),
    ]
}

fn play() -> impl Strategy<Value = Vec<Step>> {
    let kinds: Vec<ErrorKind> = ErrorKind::ALL.iter().map(|(kind, _, _)| *kind).collect();
    let fault = (prop::sample::select(kinds), prop::option::of(0_u64..90)).prop_map(|(kind, seconds)| {
        Step::Fail(Error::new(kind, "told").with_retry_after(seconds.map(Duration::from_secs)))
    });
    let last = prop_oneof![
        4 => Just(vec![say("."), used(30), end()]),
        4 => fault.prop_map(|fault| vec![fault]),
        // Without its end.
        1 => Just(vec![]),
        1 => Just(vec![Step::Hang]),
    ];
    (prop::collection::vec(step(), 0..5), last).prop_map(|(steps, last)| [steps, last].concat())
}

/// The words of a play, told apart by who says them.
fn marked(target: usize, plays: Vec<Vec<Step>>) -> Vec<Vec<Step>> {
    let mark = |number: usize, play: Vec<Step>| {
        let word = |step| match step {
            Step::Say(Chunk::Text { text, .. }) => say(&format!("{target}:{number}:{text}")),
            other => other,
        };
        play.into_iter().map(word).collect()
    };
    plays.into_iter().enumerate().map(|(number, play)| mark(number, play)).collect()
}

fn words(play: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::Say(Chunk::Text { text, .. }) => text.clone(),
        _ => String::new(),
    };
    play.iter().map(word).collect()
}

fn build(node: &Node, name: &str, told: &[Arc<Told>]) -> Arc<dyn Model> {
    let below = |nodes: &[Node]| -> Vec<Arc<dyn Model>> {
        nodes.iter().enumerate().map(|(index, node)| build(node, &format!("{name}.{index}"), told)).collect()
    };
    let rule = |fail: bool| if fail { AfterFirstToken::Fail } else { AfterFirstToken::Restart };
    match node {
        Node::Target(target) => told[*target].clone(),
        Node::Fallback(nodes, fail) => {
            Arc::new(Fallback::new(name, below(nodes)).after_first_token(rule(*fail)))
        }
        Node::Race(nodes, winner) => Arc::new(Race::new(name, *winner, below(nodes))),
        Node::Hedge(nodes, stagger, fail) => {
            let stagger = stagger.map_or(Stagger::default(), |ms| Stagger::Fixed(Duration::from_millis(ms)));
            Arc::new(Hedge::new(name, stagger, below(nodes)).after_first_token(rule(*fail)))
        }
        Node::Balance(nodes, pick) => {
            let pick = match pick {
                0 => Pick::RoundRobin,
                1 => Pick::Weighted(vec![2, 0, 1]),
                2 => Pick::LeastBusy,
                _ => Pick::LowestLatency,
            };
            Arc::new(Balance::new(name, pick, below(nodes)))
        }
        Node::Breaker(node) => {
            let policy = BreakerPolicy { failures: 2, ..BreakerPolicy::default() };
            Arc::new(Breaker::new(build(node, &format!("{name}.b"), told), policy))
        }
        Node::Retry(node, attempts, fail) => {
            let after_first_token = rule(*fail);
            let policy = RetryPolicy { attempts: *attempts, after_first_token, ..RetryPolicy::default() };
            let budget = Arc::new(RetryBudget::new(1.0, 100));
            Arc::new(Retry::new(build(node, &format!("{name}.r"), told), policy, budget))
        }
    }
}

/// How often a target may be asked by one call.
fn most(node: &Node, target: usize, in_retry: bool) -> u32 {
    match node {
        Node::Target(it) => u32::from(*it == target),
        Node::Fallback(nodes, _)
        | Node::Race(nodes, _)
        | Node::Hedge(nodes, _, _)
        | Node::Balance(nodes, _) => nodes.iter().map(|node| most(node, target, in_retry)).sum(),
        Node::Breaker(node) => most(node, target, in_retry),
        Node::Retry(node, attempts, _) if in_retry || *attempts <= 1 => most(node, target, in_retry),
        Node::Retry(node, attempts, _) => attempts * most(node, target, true),
    }
}

fn retries(node: &Node) -> bool {
    match node {
        Node::Target(_) => false,
        Node::Fallback(nodes, _)
        | Node::Race(nodes, _)
        | Node::Hedge(nodes, _, _)
        | Node::Balance(nodes, _) => nodes.iter().any(retries),
        Node::Breaker(node) => retries(node),
        Node::Retry(..) => true,
    }
}

/// Whether nothing around a target looks at its end.
fn bare(node: &Node) -> bool {
    match node {
        Node::Target(_) => true,
        Node::Breaker(node) | Node::Retry(node, 1, _) => bare(node),
        _ => false,
    }
}

#[derive(Default)]
struct Emitted(Mutex<Vec<EventKind>>);

impl EventSink for Emitted {
    fn emit(&self, _: &Arc<str>, _: u32, event: EventKind) {
        self.0.lock().unwrap().push(event);
    }
}

/// One call, dropped after a while if it has not ended by then.
async fn call(node: &Node, model: &dyn Model, told: &[Arc<Told>], wholes: &[String], patience: Duration) {
    let before: Vec<u32> = told.iter().map(|told| told.calls()).collect();
    let sink = Arc::new(Emitted::default());
    let scope = RunScope { run: "r".into(), sink: Some(sink.clone()), ..RunScope::default() };
    let context = Context::new(Arc::new(scope), "m0".into(), 1, Default::default(), None);
    let mut stream = model.stream(Request::user("Hi"), context);
    let mut items = Items::new();
    let all = async {
        while let Some(item) = stream.next().await {
            items.push(item);
        }
        // A stream that has ended stays so.
        assert!(stream.next().await.is_none());
    };
    let ended = tokio::time::timeout(patience, all).await.is_ok();
    drop(stream);

    for (target, told) in told.iter().enumerate() {
        assert_eq!((told.live(), told.permits.available_permits()), (0, PERMITS), "target {target}");
        let calls = told.calls() - before[target];
        assert!(calls <= most(node, target, false), "target {target} was asked {calls} times: {items:?}");
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);

    let errors = items.iter().filter(|item| item.is_err()).count();
    let ends = items.iter().filter(|item| matches!(item, Ok(Chunk::End(_)))).count();
    if ended && bare(node) && errors + ends == 0 {
        return; // a bare model that ends without its end; whoever collects it finds out
    }
    assert_eq!(errors + ends, usize::from(ended), "{items:?}");
    assert!(errors == 0 || items.last().unwrap().is_err(), "an error is the last item: {items:?}");
    if ends == 1 {
        let mut builder = ReplyBuilder::new();
        for item in &items {
            match item.clone().unwrap() {
                Chunk::Note(RouteNote::Restarted { .. }) => builder.restart(),
                chunk => builder.push(chunk).unwrap(),
            }
        }
        let reply = builder.finish().unwrap();
        assert!(
            wholes.contains(&reply.text()),
            "{} is no whole answer of one target: {items:?}",
            reply.text()
        );
        // The route accounts for all it asked.
        let sums = notes(&items).into_iter().filter_map(|note| match note {
            RouteNote::Attempt(note) if &*note.route == "top" => Some(note.usage.output_tokens),
            _ => None,
        });
        let sum: u64 = sums.sum();
        if sum > 0 {
            assert_eq!(sum, reply.usage.output_tokens, "{items:?}");
        }
    }
    if !retries(node) && !bare(node) {
        every_attempt_is_named(told, &before, &items, &sink);
    }
}

/// In the stream, or, where nobody listened any more, directly.
fn every_attempt_is_named(told: &[Arc<Told>], before: &[u32], items: &Items, sink: &Emitted) {
    let events = notes(items).into_iter().map(EventKind::from).collect::<Vec<_>>();
    let mut named: BTreeMap<String, u32> = BTreeMap::new();
    let mut skipped: BTreeMap<String, u32> = BTreeMap::new();
    for event in events.iter().chain(sink.0.lock().unwrap().iter()) {
        if let EventKind::RouteAttempt { target, outcome, .. } = event {
            let list = if *outcome == AttemptOutcome::Skipped { &mut skipped } else { &mut named };
            *list.entry(target.to_string()).or_default() += 1;
        }
    }
    for (told, before) in told.iter().zip(before) {
        let calls = told.calls() - before;
        let name = &told.info.name;
        let (sure, perhaps) =
            (named.get(name).copied().unwrap_or(0), skipped.get(name).copied().unwrap_or(0));
        // A target that itself says `busy` or `breaker_open` was asked, and passed over.
        assert!((sure..=sure + perhaps).contains(&calls), "{name}: {calls} calls, {sure} named, {items:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_nesting_ends_once_and_leaves_nothing(
        node in nodes(),
        plays in prop::collection::vec(prop::collection::vec(play(), 1..4), TARGETS),
        patience in prop::sample::select(vec![3, 250, 2_000, 400_000_u64]),
    ) {
        let told: Vec<_> = plays
            .into_iter()
            .enumerate()
            .map(|(target, plays)| Told::new(&format!("t{target}"), marked(target, plays)).arc())
            .collect();
        let wholes: Vec<String> =
            told.iter().flat_map(|told| told.plays.iter()).map(|play| words(play)).collect();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let model = build(&node, "top", &told);
            // The second call finds breakers, rests and averages as the first left them.
            for _ in 0..2 {
                call(&node, &*model, &told, &wholes, Duration::from_millis(patience)).await;
            }
        });
    }
}
