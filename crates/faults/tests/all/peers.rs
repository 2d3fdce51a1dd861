//! What other libraries return is judged as it is said.

use ambidex_fake_provider::Fault;
use ambidex_faults::peers::Outcome;
use ambidex_faults::scenario::turns;
use serde_json::{Value, json};

fn answer(text: &str, first: &str) -> Value {
    let [says, ..] = turns();
    let second = says.calls[1].1.to_string();
    json!({"id": 1, "text": text, "calls": [["list", first], ["size", second]]})
}

#[test]
fn an_answer_is_whole_only_as_the_model_said_it() {
    let [says, ..] = turns();
    let arguments = says.calls[0].1.to_string();
    let of = |text: &str, first: &str, fault| Outcome::of(&answer(text, first), fault);
    assert_eq!(of(says.text, &arguments, Fault::Crlf), Outcome::Whole);
    assert_eq!(of("I list", &arguments, Fault::Crlf), Outcome::Other);
    assert_eq!(of(says.text, "{\"path\":", Fault::TruncateClean), Outcome::Other);
    assert_eq!(of(says.text, "{}", Fault::TruncateClean), Outcome::Other);
    // No arguments are an empty object, and here they were sent empty.
    assert_eq!(of(says.text, "", Fault::ArgumentsEmpty), Outcome::Whole);
    assert_eq!(of(says.text, "", Fault::Crlf), Outcome::Other);
    let nothing = json!({"id": 1, "text": "", "calls": []});
    assert_eq!(Outcome::of(&nothing, Fault::Html200), Outcome::Nothing);
}

#[test]
fn arguments_that_were_made_whole_are_seen() {
    let [says, ..] = turns();
    let of = |first: &str, fault| Outcome::of(&answer(says.text, first), fault);
    for fault in [Fault::ArgumentsCut, Fault::ArgumentsCutUnsaid, Fault::ArgumentsNotJson] {
        assert_eq!(of("{}", fault), Outcome::Repaired);
        assert_eq!(of("{\"path\":", fault), Outcome::Other);
    }
}

#[test]
fn errors_and_silence_are_what_they_are() {
    let error = json!({"id": 1, "error": "APIError", "detail": "no"});
    assert_eq!(Outcome::of(&error, Fault::Status500), Outcome::Error("APIError".into()));
    assert_eq!(Outcome::of(&json!({"id": 1, "hang": true}), Fault::StallSilent), Outcome::Hang);
}
