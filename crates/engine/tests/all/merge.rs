//! Merges that need no model, and settings as files give them.

use ambidex_core::{Error, ErrorKind};
use ambidex_engine::merge::{How, MemberOutput, Merge, Reduce};
use serde_json::{Value, json};

fn members(values: impl IntoIterator<Item = Value>) -> Vec<MemberOutput> {
    let names = ["ann", "ben", "cat", "dan", "eve"];
    names.iter().zip(values).map(|(name, value)| MemberOutput::new(*name, value)).collect()
}

fn failing(name: &str) -> MemberOutput {
    MemberOutput::failed(name, &Error::new(ErrorKind::Refused, "not today"))
}

fn vote(reduce: Option<Reduce>, votes: impl IntoIterator<Item = Value>) -> Value {
    let merge = Merge { reduce, ..Merge::vote("score") };
    let members = members(votes.into_iter().map(|vote| json!({ "score": vote })));
    merge.combine(&members).unwrap()
}

#[test]
fn a_vote_reduces_one_field_and_says_who_voted() {
    let mut members =
        members([json!({"score": 8, "why": "fine"}), json!("{\"score\": 6}"), json!({"score": 9.5})]);
    members.push(failing("dan"));
    let merged = Merge::vote("score").combine(&members).unwrap();
    assert_eq!(merged["score"], 8);
    assert_eq!(merged["text"], "8");
    assert_eq!(merged["voted"], 3);
    assert_eq!(merged["votes"][1], json!({"author": "ben", "value": 6}));
    assert_eq!(merged["failed"], json!([{"author": "dan", "code": "refused", "message": "not today"}]));
}

#[test]
fn numbers_are_reduced_as_is_said() {
    let votes = || [2, 9, 4, 3].map(Value::from);
    assert_eq!(vote(None, votes())["score"], 3.5);
    assert_eq!(vote(Some(Reduce::Mean), votes())["score"], 4.5);
    assert_eq!(vote(Some(Reduce::Min), votes())["score"], 2);
    assert_eq!(vote(Some(Reduce::Max), votes())["score"], 9);
    assert_eq!(vote(Some(Reduce::Sum), votes())["score"], 18);
}

#[test]
fn a_majority_decides_and_of_equals_the_first() {
    assert_eq!(vote(None, ["b", "a", "a"].map(Value::from))["score"], "a");
    assert_eq!(vote(None, ["b", "a", "a", "b"].map(Value::from))["score"], "b");
    assert_eq!(vote(Some(Reduce::Majority), [7, 3, 3].map(Value::from))["score"], 3);
    assert_eq!(vote(Some(Reduce::All), [true, true].map(Value::from))["score"], true);
    assert_eq!(vote(Some(Reduce::All), [true, false].map(Value::from))["score"], false);
    assert_eq!(vote(Some(Reduce::Any), [true, false].map(Value::from))["score"], true);
}

#[test]
fn who_gives_no_vote_counts_as_failed_and_too_few_are_an_error() {
    let given =
        members([json!("I like it"), json!({"points": 3}), json!({"score": "high"}), json!({"score": 4})]);
    let merged = Merge { reduce: Some(Reduce::Median), ..Merge::vote("score") }.combine(&given).unwrap();
    assert_eq!((&merged["score"], &merged["voted"]), (&json!(4), &json!(1)));
    let why: Vec<_> =
        merged["failed"].as_array().unwrap().iter().map(|f| f["author"].as_str().unwrap()).collect();
    assert_eq!(why, ["ann", "ben", "cat"]);
    let merge = Merge { at_least: Some(2), reduce: Some(Reduce::Median), ..Merge::vote("score") };
    let error = merge.combine(&given).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputInvalid);
    assert!(error.message().contains("1 of 4 members voted, and 2 have to"), "{error}");
    assert!(error.message().contains("ben: its output has no field `score`"), "{error}");
}

#[test]
fn a_field_may_be_a_path_and_its_result_stands_there_too() {
    let given = members([json!({"review": {"score": 3}}), json!({"review": {"score": 5}})]);
    assert_eq!(Merge::vote("review.score").combine(&given).unwrap()["review"]["score"], 4);
}

#[test]
fn whole_answers_are_voted_on_without_a_field() {
    let given = members([json!(" yes\n"), json!("no"), json!("yes")]);
    let merged = Merge::new(How::Vote).combine(&given).unwrap();
    assert_eq!((&merged["value"], &merged["text"]), (&json!("yes"), &json!("yes")));
    let given = members([json!("4"), json!("8"), json!("5")]);
    assert_eq!(Merge::new(How::Vote).combine(&given).unwrap()["value"], 5);
}

#[test]
fn texts_are_put_behind_each_other_in_the_order_of_members() {
    let mut given = members([json!("one"), json!({"text": "two", "n": 2})]);
    given.insert(1, failing("zoe"));
    let merged = Merge::concat().combine(&given).unwrap();
    assert_eq!(merged["text"], "one\n\ntwo");
    assert_eq!(merged["parts"][1]["output"]["n"], 2);
    assert_eq!(merged["failed"][0]["author"], "zoe");
    let merged = Merge { separator: Some(" / ".into()), ..Merge::concat() }.combine(&given).unwrap();
    assert_eq!(merged["text"], "one / two");
    let error = Merge::concat().combine(&[failing("zoe")]).unwrap_err();
    assert!(
        error.message().contains("0 of 1 members gave something") && error.message().contains("not today")
    );
}

#[test]
fn settings_are_read_strictly_and_checked() {
    let read = |value: Value| serde_json::from_value::<Merge>(value);
    let merge = read(json!({"how": "vote", "field": "score", "reduce": "median"})).unwrap();
    assert_eq!(merge, Merge { reduce: Some(Reduce::Median), ..Merge::vote("score") });
    assert!(read(json!({"how": "vote", "feild": "score"})).unwrap_err().to_string().contains("feild"));
    assert!(read(json!({"how": "poll"})).is_err());
    let wrong = [
        (json!({"how": "concat", "field": "a"}), "`field` is for vote"),
        (json!({"how": "vote", "judge": "m"}), "`judge` is for best_of, fuse and integrate"),
        (json!({"how": "vote", "field": "text"}), "vote on another"),
        (json!({"how": "vote", "field": "a..b"}), "no field, nor a path"),
        (json!({"how": "fuse"}), "name one with `model`"),
        (json!({"how": "integrate"}), "name one with `judge`"),
        (json!({"how": "best_of", "judge": "m", "judges": 0}), "from 1 to 15"),
        (json!({"how": "concat", "at_least": 0}), "`at_least` is 0"),
    ];
    for (settings, why) in wrong {
        let error = read(settings.clone()).unwrap().check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        assert!(error.message().contains(why), "{settings}: {error}");
    }
}

#[test]
fn judges_and_writers_are_known_by_their_names() {
    let read = |value: Value| serde_json::from_value::<Merge>(value).unwrap();
    assert_eq!(read(json!({"how": "best_of", "judge": "m"})).judges(), ["m", "m", "m"]);
    assert_eq!(read(json!({"how": "best_of", "judge": ["a", "b"]})).judges(), ["a", "b"]);
    assert_eq!(read(json!({"how": "best_of", "judge": ["a", "b"], "judges": 3})).judges(), ["a", "b", "a"]);
    let both = read(json!({"how": "integrate", "judge": "j", "model": "w", "judges": 1}));
    assert_eq!((both.judges(), both.writer()), (vec!["j"], Some("w")));
    assert_eq!(read(json!({"how": "integrate", "judge": "j"})).writer(), Some("j"));
    assert_eq!(read(json!({"how": "fuse", "model": "w"})).writer(), Some("w"));
    assert!(Merge::concat().judges().is_empty() && Merge::concat().writer().is_none());
}
