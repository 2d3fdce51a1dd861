//! What every store promises. Each rule is a function of a place, run for all of them.

use std::sync::Arc;
use std::time::Duration;

use ambidex_core::event::Status;
use ambidex_core::question::{Answer, AnswerError};
use ambidex_core::record::RecordKind;
use ambidex_core::store::{AnyStore, Batch, Claimable, RunCursor, RunQuery, Snapshot, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::support::*;

macro_rules! for_all_stores {
    ($($rule:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $rule() {
                super::in_time(super::$rule(super::Place::memory().await)).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $rule() {
                super::in_time(super::$rule(super::Place::sqlite().await)).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $rule() {
                super::in_time(super::$rule(super::Place::postgres().await)).await;
            })*
        }
    };
}

pub(crate) use for_all_stores;

/// A rule that is broken may make somebody wait for ever.
pub(crate) async fn in_time(rule: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(Duration::from_secs(300), rule).await;
    assert!(ended.is_ok(), "somebody waits for ever");
}

for_all_stores! {
    what_is_loaded_is_what_was_committed
    a_definition_is_stored_once_and_read_by_its_hash
    a_run_begins_once
    a_commit_is_refused_unless_it_is_the_next_of_its_owner
    a_refused_batch_leaves_nothing_behind
    a_batch_must_be_numbered_on
    a_refused_batch_does_not_spoil_those_beside_it
    a_lease_keeps_others_out_until_it_runs_out
    a_new_epoch_shuts_the_old_one_out
    those_who_claim_at_once_get_different_epochs
    a_working_run_can_be_claimed_once_nobody_holds_it
    a_waiting_run_can_be_claimed_once_it_has_something_to_go_on_with
    an_answer_that_was_taken_in_rouses_nobody
    a_question_that_is_due_rouses_its_run
    a_paused_run_is_roused_by_its_own_due_time_alone
    those_longest_ready_come_first
    a_question_takes_its_first_answer
    a_question_is_asked_once
    open_questions_come_in_the_order_they_were_asked
    a_run_that_ends_closes_its_questions
    who_waits_for_an_answer_gets_it
    answers_are_counted
    a_reply_can_be_watched_while_it_is_written
    a_snapshot_stands_for_the_records_before_it
    events_are_numbered_on_without_gaps
    a_later_epoch_shuts_the_old_one_out_of_the_log
    runs_are_listed_newest_first_a_page_at_a_time
    runs_are_filtered
    many_runs_at_once_lose_nothing
}

async fn load(store: &Arc<dyn AnyStore>, run: &str) -> Vec<ambidex_core::record::Record> {
    store.load(run).await.unwrap().records
}

async fn claimable(store: &Arc<dyn AnyStore>, now: u64) -> Vec<String> {
    store.claimable(now, 100).await.unwrap().runs
}

async fn open(store: &Arc<dyn AnyStore>, run: Option<&str>) -> Vec<String> {
    store.open(run).await.unwrap().into_iter().map(|question| question.id).collect()
}

async fn what_is_loaded_is_what_was_committed(place: Place) {
    let store = place.open().await;
    let mut driver = Driver { store: store.clone(), run: "a".into(), epoch: 1, next: 0, at: 5 };
    let first = driver.acceptance("writer", Some("t"));
    let second = Driver { next: 1, at: 7, store: store.clone(), run: "a".into(), epoch: 1 }
        .batch(vec![RecordKind::Claimed, RecordKind::Finished(ambidex_core::record::Outcome::Cancelled)]);
    let committed: Vec<_> = first.records.iter().chain(&second.records).cloned().collect();
    driver.commit(first).await.unwrap();
    driver.at = 7;
    driver.commit(second).await.unwrap();
    let other = place.open().await;
    for store in [&store, &other] {
        let stored = store.load("a").await.unwrap();
        assert_eq!(stored.records, committed);
        assert_eq!(stored.definition, pinned("writer"));
        assert_eq!(stored.snapshot, None);
        assert_eq!(store.records("a", 1, 1).await.unwrap(), committed[1..2]);
        assert_eq!(store.records("a", 3, 9).await.unwrap(), []);
    }
    let unknown = StoreError::UnknownRun("b".into());
    assert_eq!(store.load("b").await.unwrap_err(), unknown);
    assert_eq!(store.records("b", 0, 1).await.unwrap_err(), unknown);
    assert_eq!(store.claim("b", lease("x", 9), 1).await.unwrap_err(), unknown);
    assert_eq!(store.renew("b", 1, 9).await.unwrap_err(), unknown);
}

async fn a_definition_is_stored_once_and_read_by_its_hash(place: Place) {
    let store = place.open().await;
    for (run, agent) in [("a", "one"), ("b", "two"), ("c", "one")] {
        Driver::accept_as(&store, run, agent, None, 1).await;
    }
    for (run, agent) in [("a", "one"), ("b", "two"), ("c", "one")] {
        assert_eq!(store.load(run).await.unwrap().definition, pinned(agent));
    }
}

async fn a_run_begins_once(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let driver = |store: &Arc<dyn AnyStore>| Driver {
        store: store.clone(),
        run: "a".into(),
        epoch: 1,
        next: 0,
        at: 1,
    };
    let first = driver(&one);
    let no_definition = Batch { definition: None, ..first.acceptance("writer", None) };
    let unknown = Err(StoreError::UnknownRun("a".into()));
    assert_eq!(one.commit("a", 1, 0, no_definition).await, unknown);
    assert_eq!(one.commit("a", 1, 1, first.acceptance("writer", None)).await, unknown, "not its first");
    assert_eq!(one.commit("a", 2, 0, first.acceptance("writer", None)).await, unknown, "of no owner");
    let begun = join_all((0..8).map(|n| {
        let mut driver = driver(if n % 2 == 0 { &one } else { &two });
        async move {
            let batch = driver.acceptance("writer", None);
            driver.commit(batch).await
        }
    }));
    let mut begun = begun.await;
    begun.sort_by_key(Result::is_err);
    assert_eq!(begun[0], Ok(()));
    assert!(begun[1..].iter().all(|late| *late == Err(StoreError::Conflict { expected: 0, found: 1 })));
    assert_eq!(load(&two, "a").await.len(), 1);
}

async fn a_commit_is_refused_unless_it_is_the_next_of_its_owner(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.step().await.unwrap();
    for expected in [0, 2, 4] {
        let conflict = Err(StoreError::Conflict { expected, found: 3 });
        let refused = store.commit("a", 1, expected, driver.batch(vec![RecordKind::Claimed])).await;
        assert_eq!(refused, conflict);
    }
    for epoch in [0, 2] {
        let refused = store.commit("a", epoch, 3, driver.batch(vec![RecordKind::Claimed])).await;
        assert_eq!(refused, Err(StoreError::Fenced), "epoch {epoch}");
    }
    driver.step().await.unwrap();
    assert_eq!(load(&store, "a").await.len(), 5);
}

async fn a_refused_batch_leaves_nothing_behind(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.ask(&["ask:1"]).await;
    let before = (load(&store, "a").await, store.runs(RunQuery::default()).await.unwrap());
    let batch = Batch {
        definition: Some(pinned("other")),
        asked: vec![driver.question("ask:2")],
        withdrawn: vec!["a/ask:1".into()],
        standing: standing(Status::Paused),
        lease: Some(lease("x", 9)),
        snapshot: Some(Snapshot { seq: 1, state: vec![1] }),
        ..driver.batch(vec![RecordKind::Claimed])
    };
    assert_eq!(store.commit("a", 2, 2, batch.clone()).await, Err(StoreError::Fenced));
    let conflict = StoreError::Conflict { expected: 1, found: 2 };
    assert_eq!(store.commit("a", 1, 1, batch).await, Err(conflict));
    assert_eq!((load(&store, "a").await, store.runs(RunQuery::default()).await.unwrap()), before);
    assert_eq!(open(&store, None).await, ["a/ask:1"]);
    assert_eq!(store.load("a").await.unwrap().snapshot, None);
}

async fn a_batch_must_be_numbered_on(place: Place) {
    let store = place.open().await;
    let driver = Driver::accept(&store, "a").await;
    let whole = driver.batch(vec![RecordKind::Claimed, RecordKind::Claimed]);
    for spoil in
        [|batch: &mut Batch| batch.records[1].seq += 1, |batch: &mut Batch| batch.records[0].epoch = 2]
    {
        let mut batch = whole.clone();
        spoil(&mut batch);
        let refused = store.commit("a", 1, 1, batch).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Malformed(_)), "{refused:?}");
    }
    assert_eq!(load(&store, "a").await.len(), 1);
}

async fn a_refused_batch_does_not_spoil_those_beside_it(place: Place) {
    let store = place.open().await;
    let drivers = join_all((0..30).map(|n| {
        let store = store.clone();
        async move { Driver::accept(&store, &format!("r{n}")).await }
    }))
    .await;
    for driver in drivers.iter().skip(1).step_by(3) {
        store.claim(&driver.run, lease("x", 0), 1).await.unwrap();
    }
    let committed = join_all(drivers.into_iter().zip(0..).map(|(mut driver, n)| async move {
        if n % 3 == 2 {
            driver.next += 1;
        }
        (n % 3, driver.step().await)
    }))
    .await;
    for (kind, committed) in committed {
        let expected = match kind {
            0 => Ok(()),
            1 => Err(StoreError::Fenced),
            _ => Err(StoreError::Conflict { expected: 2, found: 1 }),
        };
        assert_eq!(committed, expected);
    }
}

async fn a_lease_keeps_others_out_until_it_runs_out(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let mut driver = Driver { store: one.clone(), run: "a".into(), epoch: 1, next: 0, at: 1 };
    let batch = Batch { lease: Some(lease("one", 100)), ..driver.acceptance("writer", None) };
    driver.commit(batch).await.unwrap();
    let held = |until| StoreError::Owned { owner: "one".into(), until };
    assert_eq!(two.claim("a", lease("two", 200), 99).await, Err(held(100)));
    one.renew("a", 1, 150).await.unwrap();
    assert_eq!(two.claim("a", lease("two", 200), 149).await, Err(held(150)));
    let batch = Batch { lease: Some(lease("one", 180)), ..driver.batch(vec![RecordKind::Claimed]) };
    driver.commit(batch).await.unwrap();
    assert_eq!(two.claim("a", lease("two", 200), 179).await, Err(held(180)), "a step renews");
    assert_eq!(one.claim("a", lease("one", 190), 100).await, Ok(2), "one's own");
    assert_eq!(two.claim("a", lease("two", 200), 190).await, Ok(3), "run out");
    assert_eq!(one.renew("a", 2, 300).await, Err(StoreError::Fenced));
    assert_eq!(one.release("a", 2).await, Err(StoreError::Fenced));
    two.release("a", 3).await.unwrap();
    assert_eq!(two.renew("a", 3, 400).await, Err(StoreError::Fenced), "what was let go of is nobody's");
    assert_eq!(two.release("a", 3).await, Ok(()), "twice is once");
    assert_eq!(one.claim("a", lease("one", 300), 191).await, Ok(4), "let go of");
    driver.epoch = 4;
    driver.finish().await;
    let run = one.runs(RunQuery::default()).await.unwrap().runs.remove(0);
    assert_eq!((run.lease, run.epoch), (None, 4), "a run that ended is held by nobody");
}

async fn a_new_epoch_shuts_the_old_one_out(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let mut old = Driver::accept(&one, "a").await;
    let mut new = old.taken_over(&two, lease("two", 9), 1).await;
    assert_eq!(old.step().await, Err(StoreError::Fenced), "before the new owner has written anything");
    new.step().await.unwrap();
    assert_eq!(old.step().await, Err(StoreError::Fenced));
    assert_eq!(load(&one, "a").await.iter().map(|record| record.epoch).collect::<Vec<_>>(), [1, 2, 2]);
}

async fn those_who_claim_at_once_get_different_epochs(place: Place) {
    let stores = [place.open().await, place.open().await];
    Driver::accept(&stores[0], "a").await;
    let claims = (0..20).map(|n| stores[n % 2].claim("a", lease("same", 0), 1));
    let mut epochs: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, (2..22).collect::<Vec<_>>());
    let claims = (0..20).map(|n| stores[n % 2].claim("a", lease(&format!("p{n}"), 9), 1));
    let won = join_all(claims).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1, "while its lease lasts");
}

async fn a_working_run_can_be_claimed_once_nobody_holds_it(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    assert_eq!(claimable(&store, 0).await, ["a"], "it was accepted, and its process is gone");
    store.claim("a", lease("one", 50), 0).await.unwrap();
    driver.epoch = 2;
    let found = store.claimable(49, 9).await.unwrap();
    assert_eq!(found, Claimable { runs: vec![], next: Some(50) });
    assert_eq!(claimable(&store, 50).await, ["a"]);
    store.renew("a", 2, 80).await.unwrap();
    assert_eq!(claimable(&store, 79).await, [""; 0]);
    store.release("a", 2).await.unwrap();
    assert_eq!(claimable(&store, 51).await, ["a"]);
    driver.finish().await;
    assert_eq!(store.claimable(u64::MAX / 4, 9).await.unwrap(), Claimable::default());
}

async fn a_waiting_run_can_be_claimed_once_it_has_something_to_go_on_with(place: Place) {
    let store = place.open().await;
    let mut asking = Driver::accept(&store, "asking").await;
    asking.ask(&["ask:1", "ask:2"]).await;
    let mut timed = Driver::accept(&store, "timed").await;
    timed.stand(Status::Waiting, Some(500)).await;
    assert_eq!(store.claimable(499, 9).await.unwrap(), Claimable { runs: vec![], next: Some(500) });
    asking.answer("ask:2").await;
    assert_eq!(claimable(&store, 1).await, ["asking"]);
    assert_eq!(claimable(&store, 500).await, ["asking", "timed"]);
    // Claimed, and dead before anything was taken in.
    let mut asking = asking.taken_over(&store, lease("two", 30), 1).await;
    assert_eq!(claimable(&store, 29).await, [""; 0]);
    assert_eq!(claimable(&store, 30).await, ["asking"]);
    // A step that says nothing of how the run stands changes nothing of it.
    asking.step().await.unwrap();
    assert_eq!(claimable(&store, 30).await, ["asking"]);
}

async fn an_answer_that_was_taken_in_rouses_nobody(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.ask(&["ask:1", "ask:2"]).await;
    driver.answer("ask:1").await;
    driver.take_in("ask:1", Status::Waiting).await;
    assert_eq!(claimable(&store, 9).await, [""; 0]);
    // The second comes while the run works on the first, and is there when it waits again.
    driver.stand(Status::Running, None).await;
    driver.answer("ask:2").await;
    driver.stand(Status::Waiting, None).await;
    assert_eq!(claimable(&store, 9).await, ["a"]);
    driver.take_in("ask:2", Status::Waiting).await;
    assert_eq!(claimable(&store, 9).await, [""; 0]);
}

async fn a_question_that_is_due_rouses_its_run(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.stand(Status::Waiting, Some(900)).await;
    let mut question = driver.question("late");
    question.due = Some(300);
    store.ask(question).await.unwrap();
    assert_eq!(store.claimable(299, 9).await.unwrap(), Claimable { runs: vec![], next: Some(300) });
    assert_eq!(claimable(&store, 300).await, ["a"]);
    assert_eq!(store.withdraw("a/late").await, Ok(None));
    assert_eq!(store.claimable(300, 9).await.unwrap(), Claimable { runs: vec![], next: Some(900) });
    let mut question = driver.question("soon");
    question.due = Some(100);
    let batch = driver.batch(vec![RecordKind::Claimed]);
    driver.commit(Batch { asked: vec![question], ..batch }).await.unwrap();
    assert_eq!(claimable(&store, 100).await, ["a"]);
    let batch = driver.batch(vec![RecordKind::Claimed]);
    driver.commit(Batch { withdrawn: vec!["a/soon".into()], ..batch }).await.unwrap();
    assert_eq!(claimable(&store, 100).await, [""; 0]);
}

async fn a_paused_run_is_roused_by_its_own_due_time_alone(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.ask(&["ask:1"]).await;
    driver.stand(Status::Paused, None).await;
    driver.answer("ask:1").await;
    assert_eq!(store.claimable(u64::MAX / 4, 9).await.unwrap(), Claimable::default());
    driver.stand(Status::Paused, Some(70)).await;
    assert_eq!((claimable(&store, 69).await.len(), claimable(&store, 70).await.len()), (0, 1));
}

async fn those_longest_ready_come_first(place: Place) {
    let store = place.open().await;
    for (run, due) in [("c", 30), ("a", 10), ("d", 40), ("b", 20)] {
        Driver::accept(&store, run).await.stand(Status::Waiting, Some(due)).await;
    }
    assert_eq!(claimable(&store, 35).await, ["a", "b", "c"]);
    let cut = store.claimable(35, 2).await.unwrap();
    assert_eq!(cut, Claimable { runs: vec!["a".into(), "b".into()], next: Some(40) });
}

async fn a_question_takes_its_first_answer(place: Place) {
    let stores = [place.open().await, place.open().await];
    let mut driver = Driver::accept(&stores[0], "a").await;
    driver.ask(&["ask:1", "ask:2"]).await;
    let reason = |n: usize| Answer::Reject { reason: format!("{n}") };
    let answers = (0..10).map(|n| stores[n % 2].answer("a/ask:1", reason(n)));
    let taken = join_all(answers).await;
    let first = taken.iter().position(Result::is_ok).unwrap();
    let late = taken.iter().filter(|taken| **taken == Err(AnswerError::AlreadyAnswered)).count();
    assert_eq!(late, 9, "{taken:?}");
    for store in &stores {
        assert_eq!(store.answered("a/ask:1").await, reason(first));
        assert_eq!(open(store, None).await, ["a/ask:2"]);
        assert_eq!(store.withdraw("a/ask:1").await, Ok(Some(reason(first))), "somebody was faster");
        assert_eq!(store.answer("a/none", Answer::Approve).await, Err(AnswerError::Unknown));
        assert_eq!(store.withdraw("a/none").await, Ok(None));
    }
    assert_eq!(stores[0].withdraw("a/ask:2").await, Ok(None));
    assert_eq!(stores[1].answer("a/ask:2", Answer::Approve).await, Err(AnswerError::Withdrawn));
}

async fn a_question_is_asked_once(place: Place) {
    let store = place.open().await;
    let driver = Driver::accept(&store, "a").await;
    let question = driver.question("q");
    let asked = join_all((0..5).map(|_| store.ask(question.clone()))).await;
    for standing in asked {
        let standing = standing.unwrap();
        assert_eq!((standing.question, standing.answer, standing.withdrawn), (question.clone(), None, false));
    }
    let mut again = question.clone();
    again.tool = "another".into();
    store.answer("a/q", Answer::Repeat).await.unwrap();
    let standing = store.ask(again).await.unwrap();
    assert_eq!((standing.question, standing.answer), (question.clone(), Some(Answer::Repeat)));
    let mut gone = question;
    gone.id = "a/gone".into();
    store.ask(gone.clone()).await.unwrap();
    store.withdraw("a/gone").await.unwrap();
    assert!(store.ask(gone).await.unwrap().withdrawn);
    assert_eq!(open(&store, None).await, [""; 0]);
}

async fn open_questions_come_in_the_order_they_were_asked(place: Place) {
    let store = place.open().await;
    let mut one = Driver::accept(&store, "one").await;
    let mut two = Driver::accept(&store, "two").await;
    one.ask(&["z", "a"]).await;
    two.ask(&["m"]).await;
    store.ask(one.question("b")).await.unwrap();
    assert_eq!(open(&store, None).await, ["one/z", "one/a", "two/m", "one/b"]);
    assert_eq!(open(&store, Some("one")).await, ["one/z", "one/a", "one/b"]);
    assert_eq!(open(&store, Some("none")).await, [""; 0]);
    assert_eq!(store.open(Some("two")).await.unwrap(), [two.question("m")]);
}

async fn a_run_that_ends_closes_its_questions(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.ask(&["ask:1", "ask:2"]).await;
    driver.answer("ask:1").await;
    driver.finish().await;
    assert_eq!(open(&store, None).await, [""; 0]);
    assert_eq!(store.answer("a/ask:2", Answer::Approve).await, Err(AnswerError::Withdrawn));
    assert_eq!(store.answer("a/ask:1", Answer::Approve).await, Err(AnswerError::AlreadyAnswered));
    assert_eq!(store.claimable(u64::MAX / 4, 9).await.unwrap(), Claimable::default());
}

async fn who_waits_for_an_answer_gets_it(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let mut driver = Driver::accept(&one, "a").await;
    driver.ask(&["ask:1", "ask:2", "ask:3"]).await;
    let first = one.answered("a/ask:1");
    let same = two.answered("a/ask:1");
    drop(one.answered("a/ask:1"));
    let mut third = two.answered("a/ask:3");
    two.answer("a/ask:1", Answer::Approve).await.unwrap();
    assert_eq!((first.await, same.await), (Answer::Approve, Answer::Approve), "here and elsewhere");
    assert_eq!(one.answered("a/ask:1").await, Answer::Approve, "before anybody waited");
    one.answer("a/ask:2", Answer::Repeat).await.unwrap();
    assert_eq!(two.answered("a/ask:2").await, Answer::Repeat);
    assert!((&mut third).now_or_never().is_none(), "another question was answered");
    one.answer("a/ask:3", Answer::Repeat).await.unwrap();
    assert_eq!(third.await, Answer::Repeat);
}

async fn answers_are_counted(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    let mut driver = Driver::accept(&one, "a").await;
    driver.ask(&["ask:1", "ask:2"]).await;
    let (mut here, mut there) = (one.answers_after(0), two.answers_after(0));
    assert!((&mut here).now_or_never().is_none() && (&mut there).now_or_never().is_none());
    driver.answer("ask:1").await;
    let (here, there) = (here.await, there.await);
    assert!(here > 0 && there > 0);
    assert!(one.answers_after(0).await > 0, "at once, where something came in");
    driver.answer("ask:2").await;
    assert!(one.answers_after(here).await > here);
    assert!(two.answers_after(there).await > there);
}

async fn a_reply_can_be_watched_while_it_is_written(place: Place) {
    let store = place.open().await;
    let driver = Driver::accept(&store, "a").await;
    assert_eq!(store.write("a/q", "too soon"), Err(AnswerError::Unknown));
    store.ask(driver.question("q")).await.unwrap();
    let watched = store.written("a/q", 0);
    store.write("a/q", "Dear ").unwrap();
    assert_eq!(watched.await, "Dear ");
    let mut watched = store.written("a/q", 5);
    assert!((&mut watched).now_or_never().is_none());
    store.write("a/q", "Zoë").unwrap();
    assert_eq!(watched.await, "Dear Zoë");
    store.answer("a/q", Answer::Approve).await.unwrap();
    assert!(store.write("a/q", "too late").is_err());
}

async fn a_snapshot_stands_for_the_records_before_it(place: Place) {
    let store = place.open().await;
    let mut driver = Driver::accept(&store, "a").await;
    driver.step().await.unwrap();
    let all = load(&store, "a").await;
    let state: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    for seq in [2, 4] {
        let snapshot = Snapshot { seq, state: state[seq as usize..].to_vec() };
        let batch = driver.batch(vec![RecordKind::Claimed]);
        driver.commit(Batch { snapshot: Some(snapshot.clone()), ..batch }).await.unwrap();
        let stored = store.load("a").await.unwrap();
        assert_eq!(stored.snapshot, Some(snapshot));
        let numbers: Vec<_> = stored.records.iter().map(|record| record.seq).collect();
        assert_eq!(numbers, (seq..driver.next).collect::<Vec<_>>());
    }
    driver.step().await.unwrap();
    assert_eq!(store.load("a").await.unwrap().records.len(), 3);
    assert_eq!(store.records("a", 0, 3).await.unwrap(), all, "nothing is taken away");
}

async fn events_are_numbered_on_without_gaps(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    assert_eq!(one.events("a", 0, 9).await.unwrap(), []);
    assert_eq!(one.append_events("a", 1, vec![note("a", "1"), note("a", "2")]).await, Ok(1));
    assert_eq!(one.append_events("a", 1, vec![]).await, Ok(3));
    assert_eq!(one.append_events("b", 1, vec![note("b", "1")]).await, Ok(1));
    let stores = [one, two];
    let appended = (0..20).map(|n| stores[n % 2].append_events("a", 1, vec![note("a", "x"), note("a", "y")]));
    let mut first: Vec<_> = join_all(appended).await.into_iter().map(Result::unwrap).collect();
    first.sort_unstable();
    assert_eq!(first, (3..43).step_by(2).collect::<Vec<_>>());
    for store in &stores {
        let events = store.events("a", 0, 99).await.unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=42).collect::<Vec<_>>());
        assert_eq!(events[1], ambidex_core::Event { seq: 2, ..note("a", "2") });
        let kinds = events[2..].chunks(2).map(|pair| (pair[0].kind.clone(), pair[1].kind.clone()));
        let pair = (note("a", "x").kind, note("a", "y").kind);
        assert!(kinds.into_iter().all(|kinds| kinds == pair), "what comes together stays together");
        let page = store.events("a", 40, 1).await.unwrap();
        assert_eq!((page.len(), page[0].seq), (1, 41));
        assert_eq!(store.events("a", 42, 9).await.unwrap(), []);
    }
}

async fn a_later_epoch_shuts_the_old_one_out_of_the_log(place: Place) {
    let store = place.open().await;
    store.append_events("a", 1, vec![note("a", "old")]).await.unwrap();
    store.append_events("a", 2, vec![note("a", "new")]).await.unwrap();
    assert_eq!(store.append_events("a", 1, vec![note("a", "late")]).await, Err(StoreError::Fenced));
    assert_eq!(store.append_events("a", 2, vec![note("a", "more")]).await, Ok(3));
}

async fn runs_are_listed_newest_first_a_page_at_a_time(place: Place) {
    let store = place.open().await;
    assert_eq!(store.runs(RunQuery::default()).await.unwrap().runs, []);
    // Some begin in the same moment.
    for (run, at) in [("b", 10), ("e", 20), ("a", 10), ("d", 20), ("c", 10)] {
        Driver::accept_as(&store, run, "writer", None, at).await;
    }
    for limit in [1, 2, 3, 5, 9] {
        let mut query = RunQuery { limit, ..RunQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.runs(query.clone()).await.unwrap();
            assert!(page.runs.len() <= limit);
            seen.extend(page.runs.into_iter().map(|run| run.id));
            match page.next {
                Some(next) => query.cursor = Some(next.to_string().parse::<RunCursor>().unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, ["e", "d", "c", "b", "a"], "pages of {limit}");
    }
}

async fn runs_are_filtered(place: Place) {
    let store = place.open().await;
    let mut a = Driver::accept_as(&store, "a", "writer", Some("t1"), 10).await;
    let mut b = Driver::accept_as(&store, "b", "critic", Some("t1"), 20).await;
    let mut c = Driver::accept_as(&store, "c", "writer", None, 30).await;
    a.ask(&["ask:1"]).await;
    (b.at, c.at) = (25, 35);
    b.finish().await;
    c.step().await.unwrap();
    store.claim("c", lease("one", 50), 0).await.unwrap();
    let ids = async |query: RunQuery| -> Vec<String> {
        store.runs(query).await.unwrap().runs.into_iter().map(|run| run.id).collect()
    };
    let all = RunQuery::default;
    assert_eq!(ids(RunQuery { status: vec![Status::Waiting, Status::Cancelled], ..all() }).await, ["b", "a"]);
    assert_eq!(ids(RunQuery { status: vec![Status::Running], ..all() }).await, ["c"]);
    assert_eq!(ids(RunQuery { thread: Some("t1".into()), ..all() }).await, ["b", "a"]);
    assert_eq!(ids(RunQuery { agent: Some("writer".into()), ..all() }).await, ["c", "a"]);
    assert_eq!(ids(RunQuery { run: Some("b".into()), ..all() }).await, ["b"]);
    let both = RunQuery {
        agent: Some("critic".into()),
        thread: Some("t1".into()),
        status: vec![Status::Waiting],
        ..all()
    };
    assert_eq!(ids(both).await, [""; 0]);
    let run = store.runs(RunQuery { run: Some("c".into()), ..all() }).await.unwrap().runs.remove(0);
    assert_eq!((run.created, run.updated, run.records, run.epoch), (30, 35, 3, 2));
    assert_eq!((&*run.agent, run.thread, run.lease), ("writer", None, Some(lease("one", 50))));
    let run = store.runs(RunQuery { run: Some("b".into()), ..all() }).await.unwrap().runs.remove(0);
    assert_eq!((run.status, run.updated, run.thread.as_deref()), (Status::Cancelled, 25, Some("t1")));
}

async fn many_runs_at_once_lose_nothing(place: Place) {
    const STEPS: u64 = 12;
    let stores = [place.open().await, place.open().await];
    let runs = (0..48).map(|n| {
        let stores = &stores;
        async move {
            let run = format!("run-{n}");
            let mut driver = Driver::accept(&stores[n % 2], &run).await;
            for step in 0..STEPS {
                if step % 5 == 4 {
                    // Handed over to the other store.
                    driver = driver.taken_over(&stores[(n + step as usize) % 2], lease("x", 0), step).await;
                }
                driver.step().await.unwrap();
            }
            driver.stand(Status::Waiting, Some(7)).await;
            run
        }
    });
    let runs = join_all(runs).await;
    for store in &stores {
        for run in &runs {
            let records = load(store, run).await;
            let numbers: Vec<_> = records.iter().map(|record| record.seq).collect();
            assert_eq!(numbers, (0..2 * STEPS + 2).collect::<Vec<_>>());
            assert!(records.windows(2).all(|pair| pair[0].epoch <= pair[1].epoch));
        }
    }
    assert_eq!(claimable(&stores[0], 7).await.len(), 48);
    assert_eq!(claimable(&stores[1], 6).await, [""; 0]);
}
