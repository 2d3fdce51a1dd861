//! What every store promises of threads and sessions.

use std::sync::Arc;

use ambidex_core::event::Status;
use ambidex_core::message::{Arguments, Message, Part, Role, ToolCall};
use ambidex_core::record::{Outcome, RecordKind};
use ambidex_core::session::{NewSession, SessionChange};
use ambidex_core::store::{AnyStore, Batch, RunStanding, StoreError};
use ambidex_core::thread::{
    Begin, End, Fork, NewThread, Shared, Signal, Summary, Thread, ThreadChange, ThreadMessage, ThreadQuery,
    ThreadStep, Unheard, Wait,
};
use futures_util::future::join_all;
use serde_json::json;

use crate::conformance::{for_all_stores, in_time};
use crate::support::*;

for_all_stores! {
    a_thread_is_given_as_it_was_made
    threads_are_listed_last_changed_first_a_page_at_a_time
    what_is_changed_is_another_and_the_rest_stays
    messages_are_numbered_on
    messages_that_no_provider_takes_are_refused
    a_fork_shares_what_was_said_before_it
    forks_of_forks_share_too
    a_fork_does_not_part_a_call_from_its_result
    what_forks_share_outlives_its_thread
    whole_words_are_found_whatever_their_case
    words_of_any_length_are_kept_and_found
    a_thread_whose_time_is_over_is_not_given_and_is_swept
    a_session_is_changed_where_it_has_the_version
    a_session_takes_its_threads_along
    runs_that_ended_long_ago_are_forgotten_and_what_they_said_stays
    a_child_is_kept_as_long_as_its_parent_is_open
}

pub fn said(text: &str) -> Arc<Message> {
    Message::user(text)
}

fn put_in(messages: &[Arc<Message>]) -> Vec<ThreadMessage> {
    let message =
        |message: &Arc<Message>| ThreadMessage { number: 0, run: None, at: 3, message: message.clone() };
    messages.iter().map(message).collect()
}

pub async fn made(store: &Arc<dyn AnyStore>, id: &str, texts: &[&str]) -> Thread {
    let messages: Vec<_> = texts.iter().map(|text| said(text)).collect();
    let new = NewThread { messages: put_in(&messages), ..NewThread::new(id) };
    store.create_thread(new, 10).await.unwrap()
}

/// All messages of a thread, as text.
pub async fn texts(store: &Arc<dyn AnyStore>, id: &str) -> Vec<String> {
    let messages = store.messages(id, 0, 1000, 11).await.unwrap();
    for (number, message) in (0..).zip(&messages) {
        assert_eq!(message.number, number);
    }
    assert_eq!(messages.len() as u64, store.thread(id, 11).await.unwrap().messages);
    messages.iter().map(|message| message.message.text()).collect()
}

async fn a_thread_is_given_as_it_was_made(place: Place) {
    let store = place.open().await;
    let message =
        ThreadMessage { number: 0, run: Some("r".into()), at: 7, message: said("nul \u{0} Zoë \"") };
    let summary = Summary { until: 1, text: "so \u{0} far".into() };
    let new = NewThread {
        title: "A title".into(),
        session: Some("s".into()),
        agent: Some("writer".into()),
        ttl: Some(100),
        metadata: json!({"a": [1, null, "\u{0}"]}),
        messages: vec![message.clone(), ThreadMessage { run: None, ..message.clone() }],
        summary: Some(summary.clone()),
        ..NewThread::new("t")
    };
    let thread = store.create_thread(new.clone(), 10).await.unwrap();
    let expected = Thread {
        id: "t".into(),
        number: thread.number,
        title: "A title".into(),
        session: Some("s".into()),
        agent: Some("writer".into()),
        created: 10,
        updated: 10,
        ttl: Some(100),
        version: 1,
        messages: 2,
        parent: None,
        summary: Some(summary),
        metadata: json!({"a": [1, null, "\u{0}"]}),
        holder: None,
    };
    assert_eq!(thread, expected);
    let other = place.open().await;
    assert_eq!(other.thread("t", 109).await.unwrap(), expected);
    let second = ThreadMessage { number: 1, run: None, ..message.clone() };
    assert_eq!(other.messages("t", 0, 9, 11).await.unwrap(), [message, second.clone()]);
    assert_eq!(other.messages("t", 1, 9, 11).await.unwrap(), [second]);
    assert_eq!(other.messages("t", 2, 9, 11).await.unwrap(), []);
    assert_eq!(other.create_thread(new, 11).await.unwrap_err(), StoreError::Exists("t".into()));
    let unknown = StoreError::UnknownThread("no".into());
    assert_eq!(other.thread("no", 1).await.unwrap_err(), unknown);
    assert_eq!(other.messages("no", 0, 1, 1).await.unwrap_err(), unknown);
    assert_eq!(other.line("no").await.unwrap_err(), unknown);
    assert_eq!(other.delete_thread("no").await.unwrap_err(), unknown);
    assert_eq!(other.change_thread("no", ThreadChange::default(), 1).await.unwrap_err(), unknown);
    assert_eq!(other.append_messages("no", 1, vec![said("x")], 1).await.unwrap_err(), unknown);
    let fork = Some(Fork { thread: "no".into(), messages: 0 });
    let new = NewThread { fork, ..NewThread::new("u") };
    assert_eq!(other.create_thread(new, 1).await.unwrap_err(), unknown);
    // Deleted and made again it is another.
    other.delete_thread("t").await.unwrap();
    assert_ne!(made(&other, "t", &[]).await.number, expected.number);
}

async fn threads_are_listed_last_changed_first_a_page_at_a_time(place: Place) {
    let store = place.open().await;
    for (n, at) in [(1, 5), (2, 5), (3, 9), (4, 1), (5, 7)] {
        let session = (n % 2 == 1).then(|| "odd".to_owned());
        let agent = (n < 3).then(|| "a".to_owned());
        let new = NewThread { session, agent, ..NewThread::new(format!("t{n}")) };
        store.create_thread(new, at).await.unwrap();
    }
    let mut query = ThreadQuery { limit: 2, ..ThreadQuery::default() };
    let mut pages = Vec::new();
    loop {
        let page = store.threads(query.clone(), 9).await.unwrap();
        pages.push(page.threads.iter().map(|thread| thread.id.clone()).collect::<Vec<_>>());
        let Some(next) = page.next else { break };
        assert_eq!(next.to_string().parse(), Ok(next.clone()));
        query.cursor = Some(next);
    }
    assert_eq!(pages, [vec!["t3", "t5"], vec!["t2", "t1"], vec!["t4"]]);
    let ids = async |query| {
        let page = store.threads(query, 9).await.unwrap();
        page.threads.into_iter().map(|thread| thread.id).collect::<Vec<_>>()
    };
    let session = Some("odd".into());
    assert_eq!(
        ids(ThreadQuery { session: session.clone(), ..ThreadQuery::default() }).await,
        ["t3", "t5", "t1"]
    );
    assert_eq!(ids(ThreadQuery { session, agent: Some("a".into()), ..ThreadQuery::default() }).await, ["t1"]);
}

async fn what_is_changed_is_another_and_the_rest_stays(place: Place) {
    let store = place.open().await;
    let before = made(&store, "t", &["one", "two"]).await;
    let change = ThreadChange { title: Some("new".into()), ttl: Some(Some(5)), ..ThreadChange::default() };
    let after = store.change_thread("t", change, 20).await.unwrap();
    assert_eq!(after, Thread { title: "new".into(), ttl: Some(5), updated: 20, ..before.clone() });
    let change = ThreadChange {
        ttl: Some(None),
        session: Some(Some("s".into())),
        agent: Some(Some("a".into())),
        metadata: Some(json!({"k": 1})),
        ..ThreadChange::default()
    };
    let after = store.change_thread("t", change, 21).await.unwrap();
    assert_eq!((after.ttl, after.title.as_str(), after.session.as_deref()), (None, "new", Some("s")));
    assert_eq!((after.metadata, after.version), (json!({"k": 1}), before.version));
    let change = ThreadChange { session: Some(None), agent: Some(None), ..ThreadChange::default() };
    let after = store.change_thread("t", change, 22).await.unwrap();
    assert_eq!((after.session, after.agent), (None, None));
    // A summary belongs to a version.
    let summary = Some(Summary { until: 1, text: "one".into() });
    let change =
        |version| ThreadChange { summary: Some((version, summary.clone())), ..ThreadChange::default() };
    assert_eq!(store.change_thread("t", change(9), 23).await.unwrap_err(), StoreError::ThreadChanged);
    let after = store.change_thread("t", change(before.version), 23).await.unwrap();
    assert_eq!((after.summary, after.version), (summary.clone(), before.version + 1));
    let change = ThreadChange { summary: Some((after.version, None)), ..ThreadChange::default() };
    assert_eq!(store.change_thread("t", change, 24).await.unwrap().summary, None);
    assert_eq!(texts(&store, "t").await, ["one", "two"]);
}

async fn messages_are_numbered_on(place: Place) {
    let store = place.open().await;
    let thread = made(&store, "t", &["one"]).await;
    let thread =
        store.append_messages("t", thread.version, vec![said("two"), said("three")], 20).await.unwrap();
    assert_eq!((thread.messages, thread.updated), (3, 20));
    let late = store.append_messages("t", thread.version - 1, vec![said("no")], 21).await;
    assert_eq!(late.unwrap_err(), StoreError::ThreadChanged);
    store.append_messages("t", thread.version, vec![said("four")], 21).await.unwrap();
    assert_eq!(texts(&store, "t").await, ["one", "two", "three", "four"]);
}

fn calls(id: &str) -> Arc<Message> {
    let arguments = Arguments::Json(json!({}));
    let call = ToolCall { id: id.into(), name: "look".into(), arguments, state: None };
    Message::new(Role::Assistant, vec![Part::ToolCall(call)])
}

fn answers(id: &str) -> Arc<Message> {
    let arguments = Arguments::Json(json!({}));
    let call = ToolCall { id: id.into(), name: "look".into(), arguments, state: None };
    Message::tool_result(&call, "seen", false)
}

async fn messages_that_no_provider_takes_are_refused(place: Place) {
    let store = place.open().await;
    let thread = made(&store, "t", &[]).await;
    for wrong in [
        vec![calls("c")],
        vec![answers("c")],
        vec![calls("c"), said("x"), answers("c")],
        vec![calls("c"), answers("d")],
        vec![Message::new(Role::User, vec![])],
    ] {
        let new = NewThread { messages: put_in(&wrong), ..NewThread::new("u") };
        let refused =
            [store.create_thread(new, 1).await, store.append_messages("t", thread.version, wrong, 1).await];
        for refused in refused {
            assert!(
                matches!(&refused, Err(StoreError::Malformed(why)) if why.contains("message")),
                "{refused:?}"
            );
        }
    }
    let right = vec![said("x"), calls("c"), answers("c"), said("y")];
    store.append_messages("t", thread.version, right, 1).await.unwrap();
}

async fn a_fork_shares_what_was_said_before_it(place: Place) {
    let store = place.open().await;
    made(&store, "t", &["one", "two", "three"]).await;
    let fork = Some(Fork { thread: "t".into(), messages: 2 });
    let new = NewThread { fork: fork.clone(), messages: put_in(&[said("other")]), ..NewThread::new("f") };
    let forked = store.create_thread(new, 12).await.unwrap();
    assert_eq!((forked.parent.clone(), forked.messages), (fork, 3));
    assert_eq!(texts(&store, "f").await, ["one", "two", "other"]);
    let thread = store.thread("t", 12).await.unwrap();
    store.append_messages("t", thread.version, vec![said("four")], 12).await.unwrap();
    store.append_messages("f", forked.version, vec![said("more")], 12).await.unwrap();
    assert_eq!(texts(&store, "t").await, ["one", "two", "three", "four"]);
    assert_eq!(texts(&store, "f").await, ["one", "two", "other", "more"]);
    let page = store.messages("f", 1, 2, 12).await.unwrap();
    assert_eq!(page.iter().map(|it| it.message.text()).collect::<Vec<_>>(), ["two", "other"]);
    let fork = Some(Fork { thread: "t".into(), messages: 5 });
    let refused = store.create_thread(NewThread { fork, ..NewThread::new("g") }, 12).await;
    assert!(matches!(&refused, Err(StoreError::Malformed(why)) if why.contains("4 messages")), "{refused:?}");
}

async fn forks_of_forks_share_too(place: Place) {
    let store = place.open().await;
    made(&store, "t0", &["0"]).await;
    for n in 1..5_u64 {
        let fork = Some(Fork { thread: format!("t{}", n - 1), messages: n });
        let new =
            NewThread { fork, messages: put_in(&[said(&n.to_string())]), ..NewThread::new(format!("t{n}")) };
        store.create_thread(new, 12).await.unwrap();
    }
    assert_eq!(texts(&store, "t4").await, ["0", "1", "2", "3", "4"]);
    for count in 0..=5 {
        let fork = Some(Fork { thread: "t4".into(), messages: count });
        let new = NewThread { fork, messages: put_in(&[said("x")]), ..NewThread::new(format!("f{count}")) };
        store.create_thread(new, 12).await.unwrap();
        let count = usize::try_from(count).unwrap();
        let expected: Vec<_> = ["0", "1", "2", "3", "4"][..count].iter().chain(&["x"]).copied().collect();
        assert_eq!(texts(&store, &format!("f{count}")).await, expected);
    }
}

async fn a_fork_does_not_part_a_call_from_its_result(place: Place) {
    let store = place.open().await;
    let messages = put_in(&[said("x"), calls("c"), answers("c"), said("y")]);
    store.create_thread(NewThread { messages, ..NewThread::new("t") }, 1).await.unwrap();
    for count in 0..=4 {
        let fork = Some(Fork { thread: "t".into(), messages: count });
        let made = store.create_thread(NewThread { fork, ..NewThread::new(format!("f{count}")) }, 1).await;
        assert_eq!(made.is_ok(), count != 2, "{made:?}");
    }
}

async fn what_forks_share_outlives_its_thread(place: Place) {
    let store = place.open().await;
    made(&store, "t", &["one", "two"]).await;
    for (id, thread) in [("f", "t"), ("g", "f")] {
        let fork = Some(Fork { thread: thread.into(), messages: 2 });
        store.create_thread(NewThread { fork, ..NewThread::new(id) }, 1).await.unwrap();
    }
    store.delete_thread("t").await.unwrap();
    store.delete_thread("f").await.unwrap();
    assert_eq!(store.thread("t", 1).await.unwrap_err(), StoreError::UnknownThread("t".into()));
    assert_eq!(store.search_threads("one", 9, 1).await.unwrap(), []);
    assert_eq!(texts(&store, "g").await, ["one", "two"]);
    // Its id is free, and the new one has nothing of it.
    assert_eq!(made(&store, "t", &["other"]).await.messages, 1);
    assert_eq!(texts(&store, "g").await, ["one", "two"]);
    store.delete_thread("g").await.unwrap();
    assert_eq!(texts(&store, "t").await, ["other"]);
}

async fn whole_words_are_found_whatever_their_case(place: Place) {
    let store = place.open().await;
    made(&store, "a", &["The quick brown FOX", "jumps over"]).await;
    made(&store, "b", &["Ein Füchslein; 3.5 v2 fox_hole", "日本語の本"]).await;
    let new = NewThread { title: "Foxes: quick notes".into(), ..NewThread::new("c") };
    store.create_thread(new, 12).await.unwrap();
    let found = async |text: &str| {
        let found = store.search_threads(text, 9, 12).await.unwrap();
        let found = found.into_iter().map(|it| (it.thread.id, it.message.map(|message| message.number)));
        found.collect::<Vec<_>>()
    };
    let hit = |id: &str, number| (id.to_owned(), number);
    assert_eq!(found("fox").await, [hit("b", Some(0)), hit("a", Some(0))]);
    assert_eq!(found("Fox QUICK").await, [hit("a", Some(0))]);
    assert_eq!(found("quick").await, [hit("c", None), hit("a", Some(0))]);
    assert_eq!(found("quick jumps").await, [], "in one message");
    assert_eq!(found("füchslein").await, [hit("b", Some(0))]);
    assert_eq!(found("日本").await, [hit("b", Some(1))]);
    assert_eq!(found("fo").await, []);
    assert_eq!(found("\"' OR (*").await, []);
    let change = ThreadChange { title: Some("hedgehogs".into()), ..ThreadChange::default() };
    store.change_thread("c", change, 12).await.unwrap();
    assert_eq!(found("quick").await, [hit("a", Some(0))]);
    assert_eq!(found("Hedgehogs").await, [hit("c", None)]);
    store.delete_thread("a").await.unwrap();
    assert_eq!(found("quick").await, []);
}

async fn words_of_any_length_are_kept_and_found(place: Place) {
    let store = place.open().await;
    // Nothing in them repeats: compression does not make them short.
    let mut die = 20_261_121_u64;
    let mut long = |letters: &[u8; 4]| -> String {
        let letter = |_| {
            die = die.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(letters[(die >> 62) as usize])
        };
        (0..20_000).map(letter).collect()
    };
    let (first, second) = (long(b"acgt"), long(b"0f7b"));
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    store.tell("t", "r1", Signal::Message(said(&first))).await.unwrap();
    let last = End { messages: vec![said(&second)], unheard: Unheard::Keep };
    end(&mut one, "t", 12, vec![], last).await.unwrap();
    assert_eq!(texts(&store, "t").await, [second.clone(), first.clone()]);
    for (number, text) in [(0, second), (1, first)] {
        let found = store.search_threads(&text, 9, 12).await.unwrap();
        let numbers: Vec<_> = found.iter().map(|it| it.message.as_ref().unwrap().number).collect();
        assert_eq!(numbers, [number]);
    }
}

async fn a_thread_whose_time_is_over_is_not_given_and_is_swept(place: Place) {
    let store = place.open().await;
    let new = |id: &str, ttl| NewThread { ttl, ..NewThread::new(id) };
    store.create_thread(new("short", Some(10)), 100).await.unwrap();
    store.create_thread(new("long", Some(1000)), 100).await.unwrap();
    store.create_thread(new("ever", None), 100).await.unwrap();
    let session = NewSession { ttl: Some(20), ..NewSession::new("s") };
    store.create_session(session.clone(), 100).await.unwrap();
    assert_eq!(store.sweep(109, 9).await, Ok(0));
    assert!(store.thread("short", 109).await.is_ok());
    assert!(store.thread("short", 110).await.is_err());
    assert!(store.session("s", 120).await.is_err());
    let threads = store.threads(ThreadQuery::default(), 110).await.unwrap().threads;
    assert_eq!(threads.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["long", "ever"]);
    assert_eq!(store.sweep(120, 1).await, Ok(1));
    assert_eq!(store.sweep(120, 9).await, Ok(1));
    assert_eq!(store.sweep(120, 9).await, Ok(0));
    // Each change puts it off.
    store.change_thread("long", ThreadChange::default(), 1099).await.unwrap();
    assert_eq!(store.sweep(2098, 9).await, Ok(0));
    // One that is over makes room.
    store.create_thread(new("long", None), 2099).await.unwrap();
    store.create_session(session, 2099).await.unwrap();
    // One that a run has is not over.
    let mut driver = driver(&store, "r");
    begins(&mut driver, "short", None, 200, Some(10)).await.unwrap();
    assert_eq!(store.sweep(2000, 9).await, Ok(0));
    ends(&mut driver, "short", 2000, &["x"]).await.unwrap();
    assert!(store.thread("short", 2009).await.is_ok());
    assert!(store.thread("short", 2010).await.is_err());
}

async fn a_session_is_changed_where_it_has_the_version(place: Place) {
    let store = place.open().await;
    let made = store.create_session(NewSession { state: json!({"n": 0}), ..NewSession::new("s") }, 5).await;
    let made = made.unwrap();
    assert_eq!((made.version, &made.state, made.created), (1, &json!({"n": 0}), 5));
    let again = store.create_session(NewSession::new("s"), 6).await;
    assert_eq!(again.unwrap_err(), StoreError::Exists("s".into()));
    let change =
        |n: u64| SessionChange { state: Some(json!({"n": n, "nul": "\u{0}"})), ..SessionChange::default() };
    let at_once = join_all((0..8).map(|n| store.change_session("s", Some(1), change(n), 7))).await;
    assert_eq!(at_once.iter().filter(|it| it.is_ok()).count(), 1);
    let late = StoreError::VersionConflict { expected: 1, found: 2 };
    assert!(at_once.iter().all(|it| it.is_ok() || *it == Err(late.clone())));
    let other =
        SessionChange { metadata: Some(json!({"k": 1})), ttl: Some(Some(9)), ..SessionChange::default() };
    let after = store.change_session("s", None, other, 8).await.unwrap();
    assert_eq!((after.version, after.ttl, after.updated), (2, Some(9), 8));
    assert_eq!(place.open().await.session("s", 9).await.unwrap(), after);
    store.create_session(NewSession::new("u"), 9).await.unwrap();
    let page = store.sessions(1, None, 9).await.unwrap();
    assert_eq!(page.sessions[0].id, "u");
    assert_eq!(store.sessions(1, page.next, 9).await.unwrap().sessions, [after]);
    let unknown = StoreError::UnknownSession("no".into());
    assert_eq!(store.session("no", 1).await.unwrap_err(), unknown);
    assert_eq!(store.change_session("no", None, change(1), 1).await.unwrap_err(), unknown);
    assert_eq!(store.delete_session("no").await.unwrap_err(), unknown);
}

async fn a_session_takes_its_threads_along(place: Place) {
    let store = place.open().await;
    store.create_session(NewSession::new("s"), 5).await.unwrap();
    for id in ["a", "b"] {
        let new = NewThread { session: Some("s".into()), ..NewThread::new(id) };
        store.create_thread(new, 5).await.unwrap();
    }
    made(&store, "other", &[]).await;
    let mut driver = driver(&store, "r");
    let a = store.thread("a", 5).await.unwrap();
    begins(&mut driver, "a", Some(&a), 6, None).await.unwrap();
    assert_eq!(store.delete_session("s").await, Err(StoreError::ThreadHeld("r".into())));
    ends(&mut driver, "a", 7, &[]).await.unwrap();
    store.delete_session("s").await.unwrap();
    let left = store.threads(ThreadQuery::default(), 11).await.unwrap().threads;
    assert_eq!(left.iter().map(|it| &*it.id).collect::<Vec<_>>(), ["other"]);
    assert!(store.session("s", 5).await.is_err());
}

pub fn driver(store: &Arc<dyn AnyStore>, run: &str) -> Driver {
    Driver { store: store.clone(), run: run.into(), epoch: 1, next: 0, at: 1 }
}

/// The first or, of a run in line, the second batch of a run.
pub async fn begins(
    driver: &mut Driver,
    thread: &str,
    known: Option<&Thread>,
    at: u64,
    ttl: Option<u64>,
) -> Result<(), StoreError> {
    let new = NewThread { ttl, ..NewThread::new(thread) };
    let known = known.map(|known| (known.number, known.version));
    let begin = Some(Begin { new, known, shared: Shared::default() });
    let step = ThreadStep { begin, ..ThreadStep::new(thread, at) };
    let mut batch = driver.acceptance("writer", Some(thread));
    batch.standing = standing(Status::Running);
    driver.commit(Batch { thread: Some(Box::new(step)), ..batch }).await
}

pub async fn waits(driver: &mut Driver, thread: &str, stop: Option<Signal>) -> Result<(), StoreError> {
    let wait = Some(Wait { new: NewThread::new(thread), stop });
    let step = ThreadStep { wait, ..ThreadStep::new(thread, 10) };
    let definition = pinned("writer");
    let queued = RecordKind::Queued {
        definition: definition.hash.clone(),
        input: vec![said("go")].into(),
        thread: Some(thread.to_owned()),
        deadline_ms: None,
        budget: None,
    };
    let batch = driver.batch(vec![queued]);
    let standing = Some(RunStanding { status: Status::Queued, due: None });
    let definition = Some(definition);
    driver.commit(Batch { thread: Some(Box::new(step)), definition, standing, ..batch }).await
}

pub async fn ends(driver: &mut Driver, thread: &str, at: u64, texts: &[&str]) -> Result<(), StoreError> {
    let messages = texts.iter().map(|text| said(text)).collect();
    end(driver, thread, at, vec![], End { messages, unheard: Unheard::Refuse }).await
}

pub async fn end(
    driver: &mut Driver,
    thread: &str,
    at: u64,
    heard: Vec<u64>,
    end: End,
) -> Result<(), StoreError> {
    let step = ThreadStep { heard, end: Some(end), ..ThreadStep::new(thread, at) };
    let batch = driver.batch(vec![RecordKind::Finished(Outcome::Cancelled)]);
    driver.commit(Batch { thread: Some(Box::new(step)), ..batch }).await
}

async fn runs_that_ended_long_ago_are_forgotten_and_what_they_said_stays(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    store.append_events("r1", 1, vec![note("r1", "seen")]).await.unwrap();
    ends(&mut one, "t", 12, &["said"]).await.unwrap();
    for (n, at) in [(2, 5), (3, 6), (4, 50)] {
        let mut driver = Driver::accept_as(&store, &format!("r{n}"), "writer", None, at).await;
        driver.ask(&["ask:1"]).await;
        driver.finish().await;
    }
    let mut open = Driver::accept_as(&store, "r5", "writer", None, 1).await;
    open.ask(&["ask:1"]).await;
    assert_eq!(store.forget_runs(5, 9).await, Ok(1), "its last record counts");
    assert_eq!(store.load("r1").await.unwrap_err(), StoreError::UnknownRun("r1".into()));
    assert_eq!(store.events("r1", 0, 9).await.unwrap(), []);
    assert_eq!(texts(&store, "t").await, ["said"]);
    assert_eq!(store.forget_runs(50, 1).await, Ok(1));
    assert_eq!(store.load("r2").await.unwrap_err(), StoreError::UnknownRun("r2".into()));
    assert_eq!(store.forget_runs(50, 9).await, Ok(1));
    assert_eq!(store.forget_runs(50, 9).await, Ok(0));
    for left in ["r4", "r5"] {
        assert!(store.load(left).await.is_ok());
    }
    assert_eq!(store.open(None).await.unwrap().len(), 1);
}

async fn a_child_is_kept_as_long_as_its_parent_is_open(place: Place) {
    let store = place.open().await;
    let mut parent = Driver::accept_as(&store, "parent", "writer", None, 1).await;
    for (id, of) in [("child", "parent"), ("orphan", "gone")] {
        let mut child = Driver { at: 2, ..driver(&store, id) };
        let mut batch = child.acceptance("writer", None);
        let RecordKind::Accepted { parent, .. } = &mut batch.records[0].kind else { unreachable!() };
        *parent = Some(of.into());
        child.commit(batch).await.unwrap();
        child.finish().await;
    }
    assert_eq!(store.forget_runs(50, 9).await, Ok(1));
    assert!(store.load("child").await.is_ok() && store.load("orphan").await.is_err());
    parent.finish().await;
    assert_eq!(store.forget_runs(50, 9).await, Ok(2));
}
