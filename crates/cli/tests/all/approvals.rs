//! Calls that need a person's word, where no terminal is there to ask at.

use crate::support::{Place, Ran};

const SCRIPT: &str = r#"
[[turns]]
calls = [{ name = "make", args = { name = "a.txt" } }, { name = "look", args = { name = "script.toml" } }]
[[turns]]
text = "It says: {{ result.make | or refused }} {{ failure.make | or -- }}"
"#;
const TOOLS: &str = r#"tools = ["make", "look"]
[tools.make]
kind = "command"
command = ["sh", "-c", "touch \"$1\" && echo made \"$1\"", "sh", "{name}"]
input = { name = "string" }
effect = "once"
[tools.look]
kind = "command"
command = ["wc", "-c", "{name}"]
input = { name = "string" }
effect = "read"
"#;

/// A run that waits, and the name of its file.
fn waiting() -> (Place, String, Ran) {
    let place = Place::scripted(SCRIPT, TOOLS);
    let ran = place.ambidex(&["run", "Make it"]).ends(3);
    assert!(!place.has("a.txt"), "it ran before anybody said yes");
    let file = place.run_files().pop().expect("the run's file");
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    (place, name, ran)
}

#[test]
fn the_run_waits_in_a_file_that_the_message_names() {
    let (_place, name, ran) = waiting();
    assert_eq!(ran.out, "");
    let ran = ran.says("May `make` run?").says("\"name\": \"a.txt\"").says("✓ look");
    assert!(ran.err.contains(&format!("ambidex run --resume ./{name} --yes")), "{}", ran.err);
}

#[test]
fn yes_runs_the_call() {
    let (place, name, _) = waiting();
    let ran = place.ambidex(&["run", "--resume", &name, "--yes"]).ends(0);
    assert!(place.has("a.txt"));
    assert_eq!(ran.out.trim_end(), "It says: made a.txt\n --".trim_end(), "{}", ran.err);
    assert!(place.run_files().is_empty());
}

#[test]
fn no_tells_the_model_the_reason() {
    let (place, name, _) = waiting();
    let ran = place.ambidex(&["run", "--resume", &name, "--no", "not today"]).ends(0);
    assert!(!place.has("a.txt"));
    ran.prints("refused").prints("not today");
}

#[test]
fn edit_runs_the_call_with_other_arguments() {
    let (place, name, _) = waiting();
    place.ambidex(&["run", "--resume", &name, "--edit", r#"{"name": "b.txt"}"#]).ends(0).prints("made b.txt");
    assert!(place.has("b.txt") && !place.has("a.txt"));
}

#[test]
fn answer_stands_in_for_the_call() {
    let (place, name, _) = waiting();
    place.ambidex(&["run", "--resume", &name, "--answer", "\"made by hand\""]).ends(0).prints("made by hand");
    assert!(!place.has("a.txt"));
}

#[test]
fn without_an_answer_it_goes_on_waiting() {
    let (place, name, _) = waiting();
    place.ambidex(&["run", "--resume", &name]).ends(3).says("May `make` run?").says(&name);
    assert_eq!(place.run_files().len(), 1);
}

#[test]
fn an_answer_that_fits_nothing_is_refused() {
    let (place, name, _) = waiting();
    place
        .ambidex(&["run", "--resume", &name, "--edit", "{"])
        .ends(2)
        .says("--edit: this is not JSON")
        .says("in quotes");
    let ran = place.ambidex(&["run", "--resume", &name, "--edit", r#"{"nam": "b.txt"}"#]).ends(2);
    ran.says("`name` is missing").says("ambidex tools schema make");
    place.ambidex(&["run", "--resume", &name, "--yes", "--question", "x"]).ends(2).says("it asks: run_");
    place
        .ambidex(&["run", "--resume", &name, "--max-iterations", "3"])
        .ends(2)
        .says("it waits for an answer");
    place.ambidex(&["run", "--yes", "Task"]).ends(2).says("--resume");
    assert_eq!(place.run_files().len(), 1, "a mistake must not cost the run");
}

#[test]
fn one_of_several_questions_is_answered_by_its_id() {
    let script = r#"
[[turns]]
calls = [{ name = "make", args = { name = "a.txt" } }, { name = "make", args = { name = "b.txt" } }]
[[turns]]
text = "Over."
"#;
    let place = Place::scripted(script, TOOLS);
    let ran = place.ambidex(&["run", "Make both"]).ends(3);
    let ids: Vec<&str> =
        ran.err.split("--question ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    assert_eq!(ids.len(), 2, "{}", ran.err);
    let file = place.run_files().pop().expect("a file");
    let file = file.to_str().expect("UTF-8");
    place.ambidex(&["run", "--resume", file, "--edit", r#"{"name": "c.txt"}"#]).ends(2).says(ids[1]);
    place.ambidex(&["run", "--resume", file, "--yes", "--question", ids[1]]).ends(3);
    assert!(place.has("b.txt") && !place.has("a.txt"));
    place.ambidex(&["run", "--resume", file, "--no", "--question", ids[0]]).ends(0).prints("Over.");
    assert!(!place.has("a.txt"));
}
