//! Each message is encoded once per wire format, and the body costs what a turn added.

use std::sync::Arc;

use ambidex_core::message::{History, Message};
use ambidex_core::wire::WireCache;
use ambidex_core::{Error, ErrorKind};
use proptest::prelude::*;

fn joined(cache: &WireCache, format: &str, history: &History) -> Vec<u8> {
    let segments = cache.encode(format, history, |before, message, out| {
        out.extend_from_slice(if before.is_some() { b"," } else { b"" });
        out.extend_from_slice(&serde_json::to_vec(message).unwrap());
        Ok(())
    });
    segments.unwrap().concat()
}

fn whole(history: &History) -> Vec<u8> {
    let messages: Vec<_> = history.iter().map(|message| serde_json::to_vec(message).unwrap()).collect();
    messages.join(&b","[..])
}

fn user(n: usize) -> Arc<Message> {
    Message::user(format!("message {n}"))
}

#[test]
fn a_turn_encodes_its_own_messages_only() {
    let cache = WireCache::default();
    let mut history = vec![];
    for n in 0..200 {
        history.push(user(n));
        let now = Arc::new(history.clone());
        assert_eq!(joined(&cache, "a", &now), whole(&now));
        assert_eq!(joined(&cache, "a", &now), whole(&now), "asked again, as a retry does");
        assert_eq!(cache.encoded(), n as u64 + 1);
    }
}

#[test]
fn a_message_replaced_in_the_middle_is_encoded() {
    let cache = WireCache::default();
    let mut history: Vec<_> = (0..4).map(user).collect();
    joined(&cache, "a", &Arc::new(history.clone()));
    // As a hook does that takes something back; all before and behind it is as it was.
    history[1] = Message::user("[removed]");
    history.push(user(4));
    let now = Arc::new(history);
    assert_eq!(joined(&cache, "a", &now), whole(&now));
}

#[test]
fn each_format_has_its_own_bytes() {
    let cache = WireCache::default();
    let history = Arc::new(vec![user(0), user(1)]);
    joined(&cache, "a", &history);
    joined(&cache, "b", &history);
    assert_eq!(cache.encoded(), 4);
    joined(&cache, "a", &history);
    assert_eq!(cache.encoded(), 4);
}

#[test]
fn the_one_before_is_given_also_across_turns() {
    let cache = WireCache::default();
    let mut seen = vec![];
    for length in [2, 3] {
        let history = Arc::new((0..length).map(user).collect::<Vec<_>>());
        // Other messages of equal text are another history.
        let _ = cache.encode("a", &history, |before, message, _| {
            seen.push((before.map(Message::text), message.text()));
            Ok(())
        });
    }
    assert_eq!(seen.len(), 5);
    let (cache, mut seen) = (WireCache::default(), vec![]);
    let mut history = vec![user(0)];
    for n in 1..3 {
        history.push(user(n));
        let _ = cache.encode("a", &Arc::new(history.clone()), |before, _, _| {
            seen.push(before.map(Message::text));
            Ok(())
        });
    }
    assert_eq!(seen, [None, Some("message 0".into()), Some("message 1".into())]);
}

#[test]
fn a_changed_history_is_encoded_anew() {
    let cache = WireCache::default();
    let messages: Vec<_> = (0..4).map(user).collect();
    joined(&cache, "a", &Arc::new(messages.clone()));
    let shorter = Arc::new(messages[..2].to_vec());
    assert_eq!(joined(&cache, "a", &shorter), whole(&shorter));
    let mut changed = messages.clone();
    changed[3] = user(9);
    let changed = Arc::new(changed);
    assert_eq!(joined(&cache, "a", &changed), whole(&changed));
    let mut last = changed.to_vec();
    last[3] = user(10);
    let last = Arc::new(last);
    assert_eq!(joined(&cache, "a", &last), whole(&last));
    assert_eq!(joined(&cache, "a", &History::default()), b"");
    assert_eq!(cache.encoded(), 4 + 2 + 2 + 4, "what is unchanged at its head is kept");
}

#[test]
fn a_message_that_cannot_be_encoded_leaves_the_rest_as_it_was() {
    let cache = WireCache::default();
    let mut history = vec![user(0)];
    joined(&cache, "a", &Arc::new(history.clone()));
    history.push(user(1));
    let history = Arc::new(history);
    let failed = cache.encode("a", &history, |_, _, out| {
        out.extend_from_slice(b"half");
        Err(Error::new(ErrorKind::Unsupported, "no images"))
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(joined(&cache, "a", &history), whole(&history));
}

#[test]
fn a_long_history_is_few_segments() {
    let cache = WireCache::default();
    let mut history = vec![];
    for n in 0..1000 {
        history.push(user(n));
        let segments = cache.encode("a", &Arc::new(history.clone()), |_, message, out| {
            out.extend_from_slice(message.text().as_bytes());
            Ok(())
        });
        let most = (n + 1).ilog2() as usize + 2;
        let segments = segments.unwrap().len();
        assert!(segments <= most, "{segments} segments of {} messages", n + 1);
    }
}

fn digest(cache: &WireCache, history: &[Arc<Message>]) -> [u8; 32] {
    let write = |message: &Message, out: &mut Vec<u8>| {
        out.extend_from_slice(message.text().as_bytes());
        Ok(())
    };
    cache.digest("d", &Arc::new(history.to_vec()), write).unwrap()
}

#[test]
fn a_turn_hashes_its_own_messages_only_and_comes_to_the_digest_of_the_whole() {
    let cache = WireCache::default();
    let mut history = vec![];
    let mut seen = vec![digest(&cache, &history)];
    for n in 0..200 {
        history.push(user(n));
        let now = digest(&cache, &history);
        assert_eq!(digest(&cache, &history), now, "asked again, as a retry does");
        assert_eq!(cache.encoded(), n as u64 + 1);
        assert_eq!(digest(&WireCache::default(), &history), now, "however many came at a time");
        assert!(!seen.contains(&now));
        seen.push(now);
    }
}

#[test]
fn a_digest_is_that_of_the_messages_as_they_are_now() {
    let fresh = |history: &[Arc<Message>]| digest(&WireCache::default(), history);
    let cache = WireCache::default();
    let mut history: Vec<_> = (0..4).map(user).collect();
    let before = digest(&cache, &history);
    // As a hook does that takes something back, and a summary that takes a part's place.
    history[1] = Message::user("[removed]");
    let changed = digest(&cache, &history);
    assert_eq!(changed, fresh(&history));
    assert_ne!(changed, before);
    history.remove(0);
    assert_eq!(digest(&cache, &history), fresh(&history));
    // Texts that join to the same are other messages.
    let (ab, a) = (["ab", ""].map(Message::user), ["a", "b"].map(Message::user));
    assert_ne!(digest(&cache, &ab), digest(&cache, &a));
}

#[test]
fn a_message_that_cannot_be_hashed_leaves_the_digest_as_it_was() {
    let cache = WireCache::default();
    let mut history = vec![user(0)];
    digest(&cache, &history);
    history.extend([user(1), user(2)]);
    let failed = cache.digest("d", &Arc::new(history.clone()), |message, out| {
        out.extend_from_slice(b"half");
        match message.text().as_str() {
            "message 1" => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, "no images")),
        }
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(digest(&cache, &history), digest(&WireCache::default(), &history));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_concatenate_to_the_same_bytes(turns in prop::collection::vec(prop::collection::vec(0usize..2000, 0..4), 1..40)) {
        let cache = WireCache::default();
        let mut history: Vec<Arc<Message>> = vec![];
        for turn in turns {
            history.extend(turn.iter().map(|length| Message::user("x".repeat(*length))));
            let history = Arc::new(history.clone());
            prop_assert_eq!(joined(&cache, "a", &history), whole(&history));
        }
        prop_assert_eq!(cache.encoded(), history.len() as u64);
    }
}
