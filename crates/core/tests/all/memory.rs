//! The store in memory keeps what any store must keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ambidex_core::BoxFuture;
use ambidex_core::definition::Pinned;
use ambidex_core::memory::MemoryStore;
use ambidex_core::message::Message;
use ambidex_core::question::{Answer, AnswerError, Question, Questions};
use ambidex_core::record::{Input, Record, RecordKind, Stamp};
use ambidex_core::run::{Run, Unlimited};
use ambidex_core::store::{Batch, Lease, Store, StoreError, Stored};
use ambidex_core::tool::EffectClass;
use futures_util::FutureExt;
use serde_json::json;

use crate::support::*;

fn now<T>(future: BoxFuture<'static, T>) -> T {
    future.now_or_never().expect("memory answers at once")
}

/// Holds nothing up.
fn anybody() -> Lease {
    Lease { owner: "anybody".into(), until: 0 }
}

/// A run in a store.
struct Kept {
    store: MemoryStore,
    run: Run,
    epoch: u64,
}

impl Kept {
    fn begin(store: &MemoryStore, id: &str, definition: Pinned) -> Self {
        let mut kept = Self { store: store.clone(), run: Run::new(id, definition), epoch: 1 };
        let input = vec![Message::user("go")];
        kept.input(Input::Accept {
            input: input.into(),
            thread: None,
            deadline_ms: None,
            parent: None,
            budget: None,
        })
        .unwrap();
        kept
    }

    fn asking(store: &MemoryStore, id: &str) -> Self {
        let mut kept = Self::begin(store, id, pinned(agent(vec![asking("pay", EffectClass::Once)])));
        kept.reply(calls(&[("pay", json!({"n": 1})), ("pay", json!({"n": 2}))]));
        kept
    }

    fn batch(&self, records: Vec<Record>) -> Batch {
        Batch {
            definition: records
                .first()
                .filter(|record| record.seq == 0)
                .map(|_| self.run.definition().clone()),
            asked: self.run.asked(&records).collect(),
            withdrawn: self.run.withdrawn(&records).collect(),
            records,
            ..Batch::default()
        }
    }

    fn input(&mut self, input: Input) -> Result<(), StoreError> {
        let expected = self.run.next_seq();
        let stamp = Stamp { at: 1, epoch: self.epoch };
        let records = self.run.advance(input, stamp, &mut Unlimited, None).unwrap();
        now(self.store.commit(self.run.id(), self.epoch, expected, self.batch(records)))
    }

    fn reply(&mut self, reply: ambidex_core::reply::Reply) {
        let effect = self.run.effects().next().unwrap().intent.id.clone();
        let result = Ok(ambidex_core::record::Output::Reply(Box::new(reply)));
        self.input(Input::Done { effect, attempt: 1, result }).unwrap();
    }

    fn cancel(&mut self) {
        self.input(Input::Cancel).unwrap();
        let open: Vec<_> = self.run.effects().cloned().collect();
        for open in open {
            let result = Err(ambidex_core::Error::cancelled());
            self.input(Input::Done { effect: open.intent.id, attempt: open.attempt, result }).unwrap();
        }
    }
}

fn ids(questions: Vec<Question>) -> Vec<String> {
    questions.into_iter().map(|question| question.id).collect()
}

#[test]
fn what_is_loaded_is_what_was_committed() {
    let store = MemoryStore::new();
    let kept = Kept::asking(&store, "a");
    let stored = now(store.load("a")).unwrap();
    assert_eq!(Run::fold("a", stored.definition, &stored.records).unwrap(), kept.run);
    assert_eq!(stored.records.len(), store.sizes("a").len());
    let first = serde_json::to_vec(&stored.records[0]).unwrap();
    assert_eq!(store.sizes("a")[0], first.len(), "stored bytes are the record's own");
    assert_eq!(store.commits(), 2, "one per step");
    assert_eq!(now(store.load("b")).unwrap_err(), StoreError::UnknownRun("b".into()));
}

#[test]
fn a_commit_is_refused_unless_it_is_the_next_of_its_owner() {
    let store = MemoryStore::new();
    let kept = Kept::asking(&store, "a");
    let length = kept.run.next_seq();
    let record = |epoch| Record { v: 1, seq: length, epoch, at: 1, kind: RecordKind::Claimed };
    let batch = |epoch| Batch { records: vec![record(epoch)], ..Batch::default() };
    for expected in [0, length - 1, length + 1] {
        let conflict = StoreError::Conflict { expected, found: length };
        assert_eq!(now(store.commit("a", 1, expected, batch(1))), Err(conflict));
    }
    assert_eq!(now(store.claim("a", anybody(), 0)), Ok(2));
    assert_eq!(now(store.commit("a", 1, length, batch(1))), Err(StoreError::Fenced), "the old owner");
    assert_eq!(now(store.commit("a", 3, length, batch(3))), Err(StoreError::Fenced), "an owner to come");
    assert_eq!(now(store.commit("a", 2, length, batch(2))), Ok(()));
    assert_eq!(
        now(store.commit("a", 2, length, batch(2))).unwrap_err(),
        StoreError::Conflict { expected: length, found: length + 1 }
    );
    assert_eq!(now(store.claim("b", anybody(), 0)), Err(StoreError::UnknownRun("b".into())));
}

#[test]
fn a_refused_batch_leaves_nothing_behind() {
    let store = MemoryStore::new();
    let mut kept = Kept::asking(&store, "a");
    now(store.claim("a", anybody(), 0)).unwrap();
    let (sizes, commits, open) = (store.sizes("a"), store.commits(), ids(now(store.open(None)).unwrap()));
    let asked = Question { id: "a/ask:t9.9".into(), ..now(store.open(None)).unwrap().remove(0) };
    let records = vec![Record { v: 1, seq: kept.run.next_seq(), epoch: 1, at: 1, kind: RecordKind::Claimed }];
    let batch = Batch {
        definition: None,
        records,
        asked: vec![asked],
        withdrawn: vec![open[0].clone()],
        ..Batch::default()
    };
    assert_eq!(now(store.commit("a", 1, kept.run.next_seq(), batch.clone())), Err(StoreError::Fenced));
    assert_eq!(kept.input(Input::Cancel), Err(StoreError::Fenced));
    assert_eq!(
        (store.sizes("a"), store.commits(), ids(now(store.open(None)).unwrap())),
        (sizes, commits, open.clone())
    );
    assert_eq!(now(store.answer(&open[0], Answer::Approve)), Ok(()), "it was not withdrawn");
}

#[test]
fn a_run_is_created_by_its_first_batch_only() {
    let store = MemoryStore::new();
    let definition = pinned(agent(vec![]));
    let kind = RecordKind::Accepted {
        definition: definition.hash.clone(),
        input: vec![].into(),
        thread: None,
        deadline_ms: None,
        parent: None,
        budget: None,
    };
    let records = vec![Record { v: 1, seq: 0, epoch: 1, at: 1, kind }];
    let first = Batch { definition: Some(definition), records, ..Batch::default() };
    let unknown = Err(StoreError::UnknownRun("a".into()));
    assert_eq!(now(store.commit("a", 1, 0, Batch { definition: None, ..first.clone() })), unknown);
    assert_eq!(now(store.commit("a", 1, 1, first.clone())), unknown);
    assert_eq!(now(store.commit("a", 2, 0, first.clone())), unknown);
    assert_eq!(now(store.commit("a", 1, 0, first.clone())), Ok(()));
    let again = now(store.commit("a", 1, 0, first));
    assert_eq!(again, Err(StoreError::Conflict { expected: 0, found: 1 }), "two that begin one run");
}

#[test]
fn a_question_is_answered_once() {
    let store = MemoryStore::new();
    let _kept = Kept::asking(&store, "a");
    let first = "a/ask:t0.0";
    assert_eq!(now(store.answer(first, Answer::Approve)), Ok(()));
    assert_eq!(now(store.answer(first, Answer::Repeat)), Err(AnswerError::AlreadyAnswered));
    assert_eq!(now(store.answered(first)), Answer::Approve, "the first counts");
    assert_eq!(ids(now(store.open(None)).unwrap()), ["a/ask:t0.1"]);
    assert_eq!(now(store.answer("a/ask:t7.7", Answer::Approve)), Err(AnswerError::Unknown));
}

#[test]
fn asking_twice_is_asking_once() {
    let store = MemoryStore::new();
    let mut kept = Kept::asking(&store, "a");
    let question = now(store.open(None)).unwrap().remove(0);
    now(store.answer(&question.id, Answer::Approve)).unwrap();
    kept.epoch = now(store.claim("a", anybody(), 0)).unwrap();
    let kind = RecordKind::Claimed;
    let records = vec![Record { v: 1, seq: kept.run.next_seq(), epoch: kept.epoch, at: 1, kind }];
    let batch = Batch { records, asked: vec![question.clone()], ..Batch::default() };
    now(store.commit("a", kept.epoch, kept.run.next_seq(), batch)).unwrap();
    assert_eq!(ids(now(store.open(None)).unwrap()), ["a/ask:t0.1"]);
    assert_eq!(now(store.answered(&question.id)), Answer::Approve, "and keeps its answer");
}

#[test]
fn a_run_that_ends_withdraws_its_questions() {
    let store = MemoryStore::new();
    let mut kept = Kept::asking(&store, "a");
    let other = Kept::asking(&store, "b");
    now(store.answer("a/ask:t0.0", Answer::Approve)).unwrap();
    kept.cancel();
    assert_eq!(now(store.answer("a/ask:t0.1", Answer::Approve)), Err(AnswerError::Withdrawn));
    assert_eq!(now(store.answer("a/ask:t0.0", Answer::Approve)), Err(AnswerError::AlreadyAnswered));
    assert_eq!(ids(now(store.open(Some("a"))).unwrap()), [""; 0]);
    assert_eq!(ids(now(store.open(Some("b"))).unwrap()).len(), other.run.questions().count());
}

#[test]
fn open_questions_come_oldest_first() {
    let store = MemoryStore::new();
    for id in ["z", "a", "m"] {
        Kept::asking(&store, id);
    }
    let order = ["z/ask:t0.0", "z/ask:t0.1", "a/ask:t0.0", "a/ask:t0.1", "m/ask:t0.0", "m/ask:t0.1"];
    assert_eq!(ids(now(store.open(None)).unwrap()), order);
    assert_eq!(ids(now(store.open(Some("a"))).unwrap()), order[2..4]);
}

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_answer_wakes_who_waits_for_it() {
    let store = MemoryStore::new();
    let _kept = Kept::asking(&store, "a");
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut first = store.answered("a/ask:t0.0");
    let mut second = store.clone().answered("a/ask:t0.1");
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    now(store.answer("a/ask:t0.1", Answer::Repeat)).unwrap();
    assert!(wakes.0.load(Ordering::SeqCst) > 0);
    assert!(first.as_mut().poll(&mut context).is_pending(), "another question was answered");
    assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(Answer::Repeat));
    let before = wakes.0.load(Ordering::SeqCst);
    now(store.answer("a/ask:t0.0", Answer::Approve)).unwrap();
    assert!(wakes.0.load(Ordering::SeqCst) > before, "it still listens");
    assert_eq!(first.as_mut().poll(&mut context), Poll::Ready(Answer::Approve));
}

#[test]
fn a_store_that_keeps_some_forgets_the_oldest_finished_runs_whole() {
    let store = MemoryStore::keeping(2);
    let unfinished = Kept::asking(&store, "working");
    let lonely = pinned(ambidex_core::definition::AgentDefinition { name: "lonely".into(), ..agent(vec![]) });
    let shared = pinned(agent(vec![asking("pay", EffectClass::Once)]));
    let mut first = Kept::begin(&store, "first", lonely.clone());
    first.cancel();
    for id in ["second", "third"] {
        let mut kept = Kept::asking(&store, id);
        assert_eq!(kept.run.definition(), &shared);
        kept.cancel();
    }
    assert_eq!(now(store.load("first")).unwrap_err(), StoreError::UnknownRun("first".into()));
    let mut fourth = Kept::asking(&store, "fourth");
    fourth.cancel();
    assert!(now(store.load("second")).is_err());
    assert_eq!(now(store.answer("second/ask:t0.0", Answer::Approve)), Err(AnswerError::Unknown));
    assert_eq!(now(store.answer("third/ask:t0.0", Answer::Approve)), Err(AnswerError::Withdrawn));
    for id in ["third", "fourth", "working"] {
        let stored = now(store.load(id)).unwrap();
        assert_eq!(stored.definition, shared, "a definition in use is kept");
    }
    assert_eq!(ids(now(store.open(None)).unwrap()).len(), unfinished.run.questions().count());
}

fn taken_out(store: &MemoryStore, id: &str) -> (Stored, Vec<Question>) {
    (now(store.load(id)).unwrap(), now(store.open(Some(id))).unwrap())
}

#[test]
fn a_restored_run_goes_on_in_another_store() {
    let store = MemoryStore::new();
    let mut kept = Kept::asking(&store, "a");
    kept.epoch = now(store.claim("a", anybody(), 0)).unwrap();
    kept.input(Input::Claim).unwrap();
    let (stored, open) = taken_out(&store, "a");

    let other = MemoryStore::new();
    other.restore("a", &stored, open.clone()).unwrap();
    assert_eq!(now(other.load("a")).unwrap().records, stored.records);
    assert_eq!(ids(now(other.open(None)).unwrap()), ids(open.clone()));
    assert_eq!(
        other.restore("a", &stored, open),
        Err(StoreError::Conflict { expected: 0, found: stored.records.len() as u64 })
    );
    assert_eq!(now(other.claim("a", anybody(), 0)), Ok(3), "above every epoch that wrote");
    kept.store = other.clone();
    kept.epoch = 3;
    kept.input(Input::Claim).unwrap();
    kept.cancel();
    assert_eq!(ids(now(other.open(None)).unwrap()), [""; 0]);
}

#[test]
fn a_restored_finished_run_is_forgotten_like_any_other() {
    let store = MemoryStore::new();
    Kept::asking(&store, "a").cancel();
    let (stored, _) = taken_out(&store, "a");
    let other = MemoryStore::keeping(1);
    other.restore("a", &stored, vec![]).unwrap();
    other.restore("b", &stored, vec![]).unwrap();
    assert!(now(other.load("a")).is_err() && now(other.load("b")).is_ok());
}

#[test]
fn a_definition_is_read_back_by_its_stored_text() {
    let definition = pinned(agent(vec![read("look")]));
    assert_eq!(Pinned::read(&definition.hash, &definition.text).unwrap(), definition);
    assert!(Pinned::read("00", &definition.text).is_err());
    // As an older or newer version wrote it: other spacing, a field more.
    let text = definition.text.replacen("{\"name\"", "{ \"later\": 1, \"name\"", 1);
    let hash = {
        use sha2::{Digest, Sha256};
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let read = Pinned::read(&hash, &text).unwrap();
    assert_eq!((&*read.hash, &*read.text, &read.definition), (&*hash, &*text, &definition.definition));
    // A store that takes it in keeps it so.
    let store = MemoryStore::new();
    Kept::asking(&store, "a");
    let (mut stored, _) = taken_out(&store, "a");
    stored.definition = read.clone();
    let other = MemoryStore::new();
    other.restore("a", &stored, vec![]).unwrap();
    assert_eq!(now(other.load("a")).unwrap().definition, read);
}
