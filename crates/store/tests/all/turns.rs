//! What every store promises of runs on threads: whose turn it is, what they are told, what stays.

use ambidex_core::effect::{EffectId, Intent, Task};
use ambidex_core::event::Status;
use ambidex_core::record::{RecordKind, RunInput};
use ambidex_core::store::{Batch, StoreError};
use ambidex_core::thread::{Begin, End, Line, NewThread, Shared, Signal, ThreadChange, ThreadStep, Unheard};
use ambidex_core::tool::EffectClass;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::conformance::{for_all_stores, in_time};
use crate::conversations::{begins, driver, end, ends, made, said, texts, waits};
use crate::support::*;

for_all_stores! {
    a_run_has_its_thread_from_beginning_to_end
    a_run_that_begins_must_know_the_thread_as_it_is
    those_in_line_have_their_turn_in_order
    a_refused_step_leaves_nothing_behind
    what_the_thread_has_is_not_kept_twice
    a_run_is_told_things_as_long_as_it_has_the_thread
    a_run_that_rests_with_what_it_heard_is_looked_at
    a_run_does_not_end_with_messages_it_has_not_heard_of
    messages_that_came_too_late_are_kept
    whoever_stops_the_run_before_gets_in_line
    who_leaves_the_line_leaves_no_trace
    those_who_wait_hear_of_other_processes
    many_who_come_at_once_have_it_one_after_another
}

async fn a_run_has_its_thread_from_beginning_to_end(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let thread = other.thread("t", 11).await.unwrap();
    assert_eq!((thread.holder.as_deref(), thread.messages), (Some("r1"), 0));
    assert_eq!(store.line("t").await.unwrap(), Line { holder: Some("r1".into()), waiting: vec![] });
    let held = StoreError::ThreadHeld("r1".into());
    assert!(held.is_retryable());
    let mut two = driver(&other, "r2");
    assert_eq!(begins(&mut two, "t", Some(&thread), 11, None).await, Err(held.clone()));
    assert_eq!(other.load("r2").await.unwrap_err(), StoreError::UnknownRun("r2".into()));
    assert_eq!(other.append_messages("t", 1, vec![said("x")], 11).await, Err(held.clone()));
    assert_eq!(other.delete_thread("t").await, Err(held.clone()));
    let summary = Some((thread.version, None));
    let change = ThreadChange { summary, ..ThreadChange::default() };
    assert_eq!(other.change_thread("t", change, 11).await, Err(held));
    ends(&mut one, "t", 20, &["asked", "said"]).await.unwrap();
    let thread = other.thread("t", 21).await.unwrap();
    assert_eq!((thread.holder.clone(), thread.messages, thread.updated), (None, 2, 20));
    let messages = store.messages("t", 0, 9, 21).await.unwrap();
    assert!(messages.iter().all(|it| it.run.as_deref() == Some("r1") && it.at == 20));
    assert_eq!(texts(&store, "t").await, ["asked", "said"]);
    begins(&mut two, "t", Some(&thread), 22, None).await.unwrap();
    ends(&mut two, "t", 23, &[]).await.unwrap();
    assert_eq!(store.thread("t", 23).await.unwrap().version, thread.version, "nothing was added");
}

async fn a_run_that_begins_must_know_the_thread_as_it_is(place: Place) {
    let store = place.open().await;
    let before = made(&store, "t", &["one"]).await;
    let mut one = driver(&store, "r1");
    assert_eq!(begins(&mut one, "t", None, 11, None).await, Err(StoreError::ThreadChanged));
    let after = store.append_messages("t", before.version, vec![said("two")], 11).await.unwrap();
    assert_eq!(begins(&mut one, "t", Some(&before), 11, None).await, Err(StoreError::ThreadChanged));
    assert_eq!(begins(&mut one, "no", Some(&after), 11, None).await, Err(StoreError::ThreadChanged));
    store.delete_thread("t").await.unwrap();
    let again = made(&store, "t", &["one"]).await;
    assert_eq!(begins(&mut one, "t", Some(&before), 11, None).await, Err(StoreError::ThreadChanged));
    begins(&mut one, "t", Some(&again), 11, None).await.unwrap();
}

async fn those_in_line_have_their_turn_in_order(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let mut waiting = Vec::new();
    for n in 2..6 {
        let mut driver = driver(if n % 2 == 0 { &store } else { &other }, &format!("r{n}"));
        waits(&mut driver, "t", None).await.unwrap();
        waiting.push(driver);
    }
    let row = store.runs(ambidex_core::store::RunQuery::default()).await.unwrap().runs;
    assert_eq!(row.iter().filter(|run| run.status == Status::Queued).count(), 4);
    assert_eq!(store.line("t").await.unwrap().waiting, ["r2", "r3", "r4", "r5"]);
    ends(&mut one, "t", 20, &["1"]).await.unwrap();
    // Nobody gets past them.
    let thread = store.thread("t", 20).await.unwrap();
    assert_eq!(thread.holder, None);
    let held = Err(StoreError::ThreadHeld("r2".into()));
    assert_eq!(begins(&mut waiting[1], "t", Some(&thread), 21, None).await, held);
    assert_eq!(begins(&mut driver(&other, "r9"), "t", Some(&thread), 21, None).await, held);
    for (n, mut driver) in (2..).zip(waiting) {
        let thread = store.thread("t", 20).await.unwrap();
        assert!(store.line("t").await.unwrap().is_turn_of(&driver.run));
        begins(&mut driver, "t", Some(&thread), 21, None).await.unwrap();
        ends(&mut driver, "t", 21, &[&n.to_string()]).await.unwrap();
    }
    assert_eq!(store.line("t").await.unwrap(), Line::default());
    assert_eq!(texts(&store, "t").await, ["1", "2", "3", "4", "5"]);
}

async fn a_refused_step_leaves_nothing_behind(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let owner = one.taken_over(&store, lease("new", 99), 1).await;
    assert_eq!(ends(&mut one, "t", 12, &["lost"]).await, Err(StoreError::Fenced));
    let mut owner = owner;
    owner.next += 1;
    let conflict = StoreError::Conflict { expected: 2, found: 1 };
    assert_eq!(ends(&mut owner, "t", 12, &["lost"]).await, Err(conflict));
    owner.next -= 1;
    let thread = store.thread("t", 12).await.unwrap();
    assert_eq!((thread.holder.as_deref(), thread.messages), (Some("r1"), 0));
    ends(&mut owner, "t", 13, &["kept"]).await.unwrap();
    assert_eq!(texts(&store, "t").await, ["kept"]);
}

async fn what_the_thread_has_is_not_kept_twice(place: Place) {
    let store = place.open().await;
    let thread = made(&store, "t", &["one", "two", "three"]).await;
    let mut one = driver(&store, "r1");
    let summary = said("summary");
    let messages = store.messages("t", 1, 9, 11).await.unwrap();
    let shared = messages.iter().map(|message| message.message.clone());
    let input: Vec<_> = [summary].into_iter().chain(shared).chain([said("new")]).collect();
    let mut batch = one.acceptance("writer", Some("t"));
    let RecordKind::Accepted { input: first, .. } = &mut batch.records[0].kind else { panic!() };
    *first = RunInput::Messages(input);
    let records = batch.records.clone();
    let shared = Shared { place: 1, from: 1, until: 3 };
    let known = Some((thread.number, thread.version));
    let begin = Some(Begin { new: NewThread::new("t"), known, shared });
    batch.thread = Some(Box::new(ThreadStep { begin, ..ThreadStep::new("t", 11) }));
    one.commit(batch).await.unwrap();
    for store in [&store, &place.open().await] {
        assert_eq!(store.load("r1").await.unwrap().records, records);
        assert_eq!(store.records("r1", 0, 1).await.unwrap(), records);
    }
    one.step().await.unwrap();
    ends(&mut one, "t", 12, &["new", "four"]).await.unwrap();
    assert_eq!(store.load("r1").await.unwrap().records[..1], records);
    assert_eq!(store.records("r1", 1, 1).await.unwrap()[0].seq, 1);
}

async fn a_run_is_told_things_as_long_as_it_has_the_thread(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let told = Signal::Message(said("nul \u{0}"));
    let first = other.tell("t", "r1", told.clone()).await.unwrap();
    let second = store.tell("t", "r1", Signal::Stop).await.unwrap();
    assert!(0 < first && first < second);
    assert_eq!(store.signals("r1", 0).await.unwrap(), [(first, told), (second, Signal::Stop)]);
    assert_eq!(store.signals("r1", first).await.unwrap(), [(second, Signal::Stop)]);
    let step = ThreadStep { heard: vec![first], ..ThreadStep::new("t", 11) };
    let batch = one.batch(vec![RecordKind::Message(said("nul \u{0}"))]);
    one.commit(Batch { thread: Some(Box::new(step)), ..batch }).await.unwrap();
    assert_eq!(other.signals("r1", 0).await.unwrap(), [(second, Signal::Stop)]);
    assert_eq!(store.tell("t", "r2", Signal::Stop).await, Err(StoreError::ThreadChanged));
    ends(&mut one, "t", 12, &[]).await.unwrap();
    assert_eq!(store.tell("t", "r1", Signal::Stop).await, Err(StoreError::ThreadChanged));
    assert_eq!(store.signals("r1", 0).await.unwrap(), []);
}

async fn a_run_that_rests_with_what_it_heard_is_looked_at(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let before = store.stirred(0);
    let no = store.tell("t", "r1", Signal::Message(said("and this"))).await.unwrap();
    let seen = before.await;
    let step = ThreadStep { heard: vec![no], ..ThreadStep::new("t", 11) };
    let standing = standing(Status::Waiting);
    let batch = one.batch(vec![RecordKind::Message(said("and this"))]);
    one.commit(Batch { standing, thread: Some(Box::new(step)), ..batch }).await.unwrap();
    assert!(store.stirred(seen).await > seen);
}

async fn a_run_does_not_end_with_messages_it_has_not_heard_of(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let no = store.tell("t", "r1", Signal::Message(said("and this"))).await.unwrap();
    assert_eq!(ends(&mut one, "t", 12, &["x"]).await, Err(StoreError::Unheard));
    assert_eq!(store.thread("t", 12).await.unwrap().messages, 0);
    let last = End { messages: vec![said("x"), said("and this")], unheard: Unheard::Refuse };
    end(&mut one, "t", 12, vec![no], last).await.unwrap();
    assert_eq!(texts(&store, "t").await, ["x", "and this"]);
}

async fn messages_that_came_too_late_are_kept(place: Place) {
    let store = place.open().await;
    for (run, unheard) in [("r1", Unheard::Keep), ("r2", Unheard::Drop)] {
        let mut driver = driver(&store, run);
        let known = store.thread("t", 10).await.ok();
        begins(&mut driver, "t", known.as_ref(), 10, None).await.unwrap();
        for text in ["late", "later"] {
            store.tell("t", run, Signal::Message(said(text))).await.unwrap();
        }
        store.tell("t", run, Signal::RollBack).await.unwrap();
        end(&mut driver, "t", 12, vec![], End { messages: vec![said(run)], unheard }).await.unwrap();
        assert_eq!(store.signals(run, 0).await.unwrap(), []);
    }
    assert_eq!(texts(&store, "t").await, ["r1", "late", "later", "r2"]);
    assert_eq!(store.search_threads("later", 9, 12).await.unwrap().len(), 1);
}

async fn whoever_stops_the_run_before_gets_in_line(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    waits(&mut driver(&store, "r2"), "t", Some(Signal::Stop)).await.unwrap();
    waits(&mut driver(&store, "r3"), "t", Some(Signal::RollBack)).await.unwrap();
    let told: Vec<_> = store.signals("r1", 0).await.unwrap().into_iter().map(|(_, signal)| signal).collect();
    assert_eq!(told, [Signal::Stop, Signal::RollBack]);
    assert_eq!(store.line("t").await.unwrap().waiting, ["r2", "r3"]);
    assert_eq!(store.signals("r2", 0).await.unwrap(), []);
}

async fn who_leaves_the_line_leaves_no_trace(place: Place) {
    let store = place.open().await;
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let mut two = driver(&store, "r2");
    waits(&mut two, "t", None).await.unwrap();
    let last = End { messages: vec![said("never")], unheard: Unheard::Keep };
    end(&mut two, "t", 12, vec![], last).await.unwrap();
    assert_eq!(store.line("t").await.unwrap(), Line { holder: Some("r1".into()), waiting: vec![] });
    ends(&mut one, "t", 13, &["one"]).await.unwrap();
    assert_eq!(texts(&store, "t").await, ["one"]);
    // Where nobody has it, they stand in a line of their own.
    let mut three = driver(&store, "r3");
    waits(&mut three, "new", None).await.unwrap();
    assert_eq!(store.line("new").await.unwrap().waiting, ["r3"]);
    let thread = store.thread("new", 13).await.unwrap();
    begins(&mut three, "new", Some(&thread), 14, None).await.unwrap();
    ends(&mut three, "new", 14, &["three"]).await.unwrap();
    assert_eq!(texts(&store, "new").await, ["three"]);
}

async fn those_who_wait_hear_of_other_processes(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let mut one = driver(&store, "r1");
    begins(&mut one, "t", None, 10, None).await.unwrap();
    let mut seen = 0;
    // What came before is heard, too, at the latest with what comes now.
    let stirred = other.stirred(seen);
    store.tell("t", "r1", Signal::Stop).await.unwrap();
    seen = seen.max(stirred.await);
    let mut signals = other.signals("r1", 0).await.unwrap();
    while signals.is_empty() {
        seen = other.stirred(seen).await;
        signals = other.signals("r1", 0).await.unwrap();
    }
    ends(&mut one, "t", 11, &["x"]).await.unwrap();
    while other.line("t").await.unwrap().holder.is_some() {
        seen = other.stirred(seen).await;
    }
    assert!(other.stirred(u64::MAX).now_or_never().is_none());
}

async fn many_who_come_at_once_have_it_one_after_another(place: Place) {
    let (store, other) = (place.open().await, place.open().await);
    let turn = |n: usize| {
        let store = if n.is_multiple_of(2) { store.clone() } else { other.clone() };
        async move {
            let mut driver = driver(&store, &format!("r{n}"));
            waits(&mut driver, "t", None).await.unwrap();
            let mut seen = 0;
            while !store.line("t").await.unwrap().is_turn_of(&driver.run) {
                seen = store.stirred(seen).await;
            }
            let thread = store.thread("t", 10).await.unwrap();
            begins(&mut driver, "t", Some(&thread), 11, None).await.unwrap();
            let intent = Intent { id: EffectId::new("m0"), class: EffectClass::Read, task: Task::Model };
            let batch = driver.batch(vec![RecordKind::Intent(intent)]);
            driver.commit(batch).await.unwrap();
            ends(&mut driver, "t", 12, &[&format!("asked {n}"), &format!("said {n}")]).await.unwrap();
        }
    };
    join_all((0..20).map(turn)).await;
    let texts = texts(&store, "t").await;
    let mut asked = Vec::new();
    for pair in texts.chunks(2) {
        let n = pair[0].strip_prefix("asked ").unwrap();
        assert_eq!(pair[1], format!("said {n}"));
        asked.push(n.parse::<usize>().unwrap());
    }
    asked.sort_unstable();
    assert_eq!(asked, (0..20).collect::<Vec<_>>());
}
