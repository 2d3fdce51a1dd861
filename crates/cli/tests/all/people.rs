//! A person as the model, where no terminal is there to ask at.

use crate::support::{Place, Ran};

pub const PEOPLE: &str = r#"[models.desk]
kind = "human"
queue = "editors"
[tools.size]
kind = "command"
command = ["wc", "-c", "{name}"]
input = { name = "string" }
effect = "read"
[agents.desk]
model = "desk"
instructions = "Be brief."
tools = ["size"]
[agents.form]
model = "desk"
output = { schema = { n = "integer" } }
"#;

pub fn people() -> Place {
    let place = Place::new();
    place.write("ambidex.toml", PEOPLE);
    place
}

/// A run that waits, and the name of its file.
fn waiting(agent: &str) -> (Place, String, Ran) {
    let place = people();
    let ran = place.ambidex(&["run", "-a", agent, "How large is ambidex.toml?"]).ends(3);
    let name = file(&place);
    (place, name, ran)
}

fn file(place: &Place) -> String {
    let file = place.run_files().pop().expect("the run's file");
    file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
}

#[test]
fn the_run_waits_for_a_reply_and_says_how_to_give_it() {
    let (_place, name, ran) = waiting("desk");
    assert_eq!(ran.out, "");
    let ran = ran.says("You are the model `desk` (editors)").says("user: How large is ambidex.toml?");
    let ran = ran.says("instructions: Be brief.").says("tools: size").says("--no REASON");
    assert!(ran.err.contains(&format!("ambidex run --resume ./{name} --answer TEXT")), "{}", ran.err);
}

#[test]
fn a_tool_call_and_then_a_text_end_it() {
    let (place, name, _) = waiting("desk");
    let call = r#"{"tool_calls": [{"name": "size", "arguments": {"name": "ambidex.toml"}}]}"#;
    let ran = place.ambidex(&["run", "--resume", &name, "--answer", call]).ends(3);
    ran.says("tool: size gave").says("You are the model");
    let ran = place.ambidex(&["run", "--resume", &file(&place), "--answer", "It is small."]).ends(0);
    assert_eq!(ran.out.trim_end(), "It is small.");
    assert!(place.run_files().is_empty());
}

#[test]
fn what_is_no_reply_is_not_taken_and_the_question_stays() {
    let (place, name, _) = waiting("desk");
    let refused = |args: &[&str], why: &str| {
        let mut all = vec!["run", "--resume", name.as_str()];
        all.extend(args);
        place.ambidex(&all).ends(2).says(why);
        assert_eq!(place.run_files().len(), 1);
    };
    refused(&["--answer", r#"{"tool_calls": [{"name": "sise"}]}"#], "there is no tool `sise`; tools: size");
    refused(&["--answer", r#"{"tool_calls": [{"name": "size", "arguments": {"name": 1}}]}"#], "do not fit");
    refused(&["--answer", ""], "the reply is empty");
    refused(&["--yes"], "wants a model's reply");
    refused(&["--edit", "{}"], "wants a model's reply");
    place.ambidex(&["run", "--resume", &name, "--answer", "done"]).ends(0).prints("done");
}

#[test]
fn an_output_is_given_as_json() {
    let (place, name, _) = waiting("form");
    place.ambidex(&["run", "--resume", &name, "--answer", r#"{"n": "x"}"#]).ends(2).says("does not fit");
    place.ambidex(&["run", "--resume", &name, "--answer", r#"{"n": 4}"#]).ends(0).prints("\"n\"").prints("4");
}

#[test]
fn a_person_may_decline() {
    let (place, name, _) = waiting("desk");
    place.ambidex(&["run", "--resume", &name, "--no", "not today"]).ends(1).says("not today");
    assert!(place.run_files().is_empty());
}

#[test]
fn a_route_goes_on_when_his_time_is_over_also_while_no_process_runs() {
    let place = Place::scripted(
        "[default]\ntext = \"I took over.\"\n",
        "[models.desk]\nkind = \"human\"\ntimeout = \"1s\"\n[routes.smart]\nstrategy = \"fallback\"\nuse = [\"desk\", \"script\"]\n",
    );
    place.ambidex(&["run", "-m", "smart", "go"]).ends(3).says("You are the model `desk` (desk)");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    place.ambidex(&["run", "--resume", &file(&place)]).ends(0).prints("I took over.");
}

#[test]
fn people_are_listed_and_not_called_for_nothing() {
    let place = people();
    place.ambidex(&["models", "list"]).ends(0).prints("editors").prints("human");
    place.ambidex(&["models", "test", "desk"]).ends(2).says("is a person");
}

#[test]
fn without_a_terminal_a_chat_cannot_wait() {
    let place = people();
    place
        .ambidex_reads(&["chat", "-a", "desk"], "hello\n")
        .ends(3)
        .says("a person answers as the model here");
}
