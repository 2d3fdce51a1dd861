//! Workflows at the command line: the examples, what is refused, what waits, what survives its process.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Place;

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// A folder of the examples, copied.
pub fn example(name: &str) -> Place {
    let place = Place::new();
    copy(&examples().join(name), Path::new(""), &place);
    place
}

fn copy(from: &Path, to: &Path, place: &Place) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to, place);
        } else {
            place.write(&to.to_string_lossy(), &std::fs::read_to_string(&path).expect("text"));
        }
    }
}

fn output(ran: &crate::support::Ran) -> Value {
    ran.json()["output"].clone()
}

#[test]
fn every_example_is_without_fault_and_can_be_drawn() {
    for entry in std::fs::read_dir(examples()).expect("examples") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let place = example(&name);
        if !place.path().join("flow.toml").is_file() {
            continue;
        }
        let ran = place.ambidex(&["flow", "check", "flow.toml"]).ends(0);
        assert!(ran.out.starts_with(&format!("{name}: ")), "{}", ran.out);
        for format in ["text", "mermaid", "svg"] {
            place.ambidex(&["flow", "draw", "flow.toml", "--format", format]).ends(0);
        }
    }
}

#[test]
fn research_by_three_is_integrated_into_a_report() {
    let place = example("research");
    let ran = place.ambidex(&["flow", "run", "flow.toml", "tidal power", "--result-json"]).ends(0);
    let output = output(&ran);
    assert_eq!(output["report"], "# Report on tidal power\n\nIt rests on 3 findings.");
    assert_eq!(
        (&output["quality"], &output["actions"]),
        (&json!(7.0), &json!(["ask a utility for numbers"]))
    );
}

#[test]
fn a_team_builds_a_project_that_is_written_to_a_folder() {
    let place = example("team-project");
    let ran = place.ambidex(&["flow", "run", "flow.toml", "a word counter", "--result-json"]).ends(0);
    let built = std::fs::read_dir(place.path().join("built")).expect("the folder").count();
    assert!(built >= 2, "{built} files: {}", ran.err);
    assert!(output(&ran)["quality"].is_number(), "{}", ran.out);
}

#[test]
fn a_review_goes_back_until_the_score_is_good_or_a_person_decides() {
    let place = example("review");
    let ran = place.ambidex(&["flow", "run", "flow.toml", "-i", "topic=rivers", "--result-json"]).ends(0);
    assert_eq!(output(&ran), json!({ "text": "Published: Draft 2 on rivers", "score": 9, "rounds": 2 }));
    let ran = place.ambidex(&["run", "-w", "flow.toml", "never good"]).ends(3);
    let ran = ran.says("It scored 6. Publish all the same?");
    let file =
        ran.err.split("kept in ").nth(1).and_then(|rest| rest.lines().next()).expect("a file").to_owned();
    let wrong = ["run", "--resume", &file, "-w", "flow.toml", "--answer", "perhaps"];
    place.ambidex(&wrong).ends(2).says("the form is { publish: boolean }");
    let ran = place.ambidex(&["run", "--resume", &file, "-w", "flow.toml", "--yes", "--result-json"]).ends(0);
    assert_eq!(output(&ran), json!({ "text": "Published: Draft 3 on never good", "score": 6, "rounds": 3 }));
}

#[test]
fn a_person_in_the_middle_sends_changes_or_drops() {
    let place = example("approval");
    let db = ["--db", "sqlite:state.db"];
    let ran = place.ambidex(&["flow", "run", "flow.toml", "-i", "to=Ada", db[0], db[1]]).ends(3);
    ran.says("Dear Ada, all is well. Yours.").says("-w flow.toml");
    let resume = |answer: &str| {
        place.ambidex(&["runs", "resume", "@last", "-w", "flow.toml", "--answer", answer, db[0], db[1]])
    };
    resume(r#"{"decision": "burn"}"#).ends(2).says("decision: \"send\" or \"change\" or \"drop\"");
    resume(r#"{"decision": "change", "note": "warmer"}"#).ends(3).says("Dear Ada, warmer. Yours.");
    resume(r#"{"decision": "send"}"#).ends(0);
    let sent = std::fs::read_to_string(place.path().join("sent-to-Ada.txt")).expect("it was sent");
    assert_eq!(sent, "Dear Ada, warmer. Yours.");
    let shown = place.ambidex(&["runs", "show", "@last", db[0], db[1]]).ends(0);
    shown.prints("succeeded").prints("approval");
    place.ambidex(&["runs", "trace", "@last", db[0], db[1]]).ends(0).prints("letter#1 ended");
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let place = Place::new();
    let step = "id = \"gate\"\nhuman = { question = \"Go?\", form = { go = \"boolean\" }, expire = \"3s\" }";
    place.write("flow.toml", &format!("[[steps]]\n{step}\n"));
    let db = ["--db", "sqlite:state.db"];
    place.ambidex(&["flow", "run", "flow.toml", db[0], db[1]]).ends(3);
    // Its time passes while no process is there.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let late = ["runs", "resume", "@last", "-w", "flow.toml", "--answer", "{\"go\": true}", db[0], db[1]];
    place.ambidex(&late).ends(2).says("its time was over");
    place
        .ambidex(&["runs", "resume", "@last", "-w", "flow.toml", db[0], db[1]])
        .ends(8)
        .says("nobody answered until");
}

#[test]
fn two_hundred_items_of_which_some_fail() {
    let ran = example("map").ambidex(&["flow", "run", "flow.toml", "--result-json"]).ends(0);
    let output = output(&ran);
    assert_eq!((&output["done"], &output["failed"]), (&json!(190), &json!(10)));
    assert_eq!(output["first"], "Hello, person 001!");
    assert_eq!(output["report"], "200 greetings, of which 10 failed.");
}

#[test]
fn a_thousand_rounds() {
    let ran = example("loop").ambidex(&["flow", "run", "flow.toml", "--result-json"]).ends(0);
    assert_eq!(output(&ran), json!({ "rounds": 1000, "said": "Tock 1000" }));
}

#[test]
fn a_workflow_runs_another_for_each_word() {
    let place = example("nested");
    let words = r#"words=["sea", "hill"]"#;
    let ran = place.ambidex(&["flow", "run", "flow.toml", "-i", words, "--result-json"]).ends(0);
    assert_eq!(output(&ran), json!(["O sea!", "O hill!"]));
    let ran =
        place.ambidex(&["flow", "run", "flow.toml", "-i", "words=sea", "-i", "words=hill", "-i", "poem=yes"]);
    ran.ends(0).prints("O hill!");
}

#[test]
fn whoever_is_asked_about_a_call_sees_its_arguments() {
    let place = example("approval");
    let flow = std::fs::read_to_string(place.path().join("flow.toml")).expect("text");
    place.write("flow.toml", &flow.replace("once = \"allow\"", "once = \"ask\""));
    let db = ["--db", "sqlite:state.db"];
    place.ambidex(&["flow", "run", "flow.toml", "-i", "to=Ada", db[0], db[1]]).ends(3);
    let answer = ["--answer", r#"{"decision": "send"}"#];
    let resume = ["runs", "resume", "@last", "-w", "flow.toml", db[0], db[1], answer[0], answer[1]];
    let asked = place.ambidex(&resume).ends(3);
    asked.says("May `post` run?").says("\"to\": \"Ada\"").says("Dear Ada, all is well.");
    let resume = ["runs", "resume", "@last", "-w", "flow.toml", db[0], db[1], "--yes"];
    place.ambidex(&resume).ends(0);
    assert!(place.path().join("sent-to-Ada.txt").exists());
}

#[test]
fn a_failure_that_a_person_is_asked_about_is_left_out() {
    let place = example("triage");
    let ran = place.ambidex(&["flow", "run", "flow.toml", "fire in the hall"]).ends(3);
    let ran = ran.says("The step `page` failed");
    let file =
        ran.err.split("kept in ").nth(1).and_then(|rest| rest.lines().next()).expect("a file").to_owned();
    let resume = |answer: &str| {
        place.ambidex(&["run", "--resume", &file, "-w", "flow.toml", "--result-json", "--answer", answer])
    };
    assert_eq!(output(&resume("skip").ends(0)), json!({ "kind": "other", "answer": "nothing to do" }));
    let ran = place.ambidex(&["flow", "run", "flow.toml", "the broken printer", "--result-json"]).ends(0);
    assert_eq!(output(&ran)["answer"], "printer: turn it off and on\n");
}

#[test]
fn members_have_tasks_of_their_own_and_judges_choose() {
    let ran = example("brief").ambidex(&["flow", "run", "flow.toml", "rivers", "-i", "long=yes"]).ends(0);
    assert_eq!(ran.out, "Opening of rivers.\nMiddle of rivers.\nEnd of rivers, at length.\n");
    let languages = r#"languages=["fr", "de"]"#;
    let place = example("translate");
    let ran =
        place.ambidex(&["flow", "run", "flow.toml", "-i", "text=Hello", "-i", languages, "--result-json"]);
    assert_eq!(output(&ran.ends(0)), json!(["[fr] Hello", "[de] Hello"]));
}

#[test]
fn what_is_wrong_is_refused_with_a_word() {
    let place = example("review");
    place.ambidex(&["flow", "run", "flow.toml"]).ends(2).says("`topic` is missing").says("topic: string");
    place.ambidex(&["flow", "run", "flow.toml", "-i", "topc=x"]).ends(2).says("did you mean `topic`?");
    place.ambidex(&["flow", "run", "flow.toml", "-i", "topic"]).ends(2).says("it is no KEY=VALUE");
    place.ambidex(&["flow", "run", "nowhere.toml"]).ends(2).says("there is no file nowhere.toml");
    place.ambidex(&["run", "-w", "nothing"]).ends(2).says("there is no workflow `nothing`");
    place.ambidex(&["run", "x", "-i", "a=b"]).ends(2).says("none is named");
    place
        .ambidex(&["run", "-w", "flow.toml", "-a", "writer", "x"])
        .ends(2)
        .says("says itself which agents run");
    place.ambidex(&["flow", "run", "flow.toml", "--stage", "gate", "x"]).ends(2).says("no step `gate`");
    place.ambidex(&["flow", "check"]).ends(2).says("the configuration has no workflows");
    place.write("bad.toml", "[[steps]]\nid = \"a\"\nagent = \"b\"\nprompt = \"{{ input.x }}\"\n");
    let ran = place.ambidex(&["flow", "run", "bad.toml"]).ends(6);
    ran.says("bad.toml:3:9").says("there is no agent named \"b\"").says("bad.toml:4:");
    let ran = place.ambidex(&["flow", "check", "bad.toml", "--json"]).ends(6);
    assert_eq!(ran.json().as_array().expect("a list").len(), 2);
}

#[test]
fn one_stage_runs_alone_on_results_that_are_given() {
    let place = example("review");
    let stage = ["flow", "run", "flow.toml", "--stage", "publish", "-i", "steps.draft.text=My draft"];
    assert_eq!(place.ambidex(&stage).ends(0).out, "Published: My draft\n");
}

#[test]
fn an_agent_follows_its_workflow() {
    let place = example("loop");
    let flow = std::fs::read_to_string(place.path().join("flow.toml")).expect("text");
    let steps = flow.split("[[steps]]").nth(1).and_then(|rest| rest.split("[models").next()).expect("a step");
    place.write(
        "ambidex.toml",
        &format!(
            "default_agent = \"boss\"\n[models.clock]\nkind = \"scripted\"\nscript = \"clock.toml\"\n[agents.clock]\nmodel = \
             \"clock\"\n[agents.boss]\nmode = \"workflow\"\nworkflow = \"loop\"\n[workflows.loop]\ninput = {{ rounds = \
             {{ type = \"integer\", default = 2 }}, task = \"string\" }}\noutput = \"input.task + ': ' + steps.tick.text\"\n\
             [[workflows.loop.steps]]{steps}"
        ),
    );
    assert_eq!(place.ambidex(&["run", "hear"]).ends(0).out, "hear: Tock 2\n");
    assert_eq!(place.ambidex(&["run", "-w", "loop", "-i", "rounds=3", "hear"]).ends(0).out, "hear: Tock 3\n");
}

#[test]
fn a_killed_workflow_goes_on_where_it_stopped() {
    let place = Place::new();
    place
        .write("script.toml", "[[turns]]\nwhen = { matches = '(?<word>.+)' }\ntext = \"{{ match.word }}\"\n");
    place.write(
        "flow.toml",
        r#"
        output = "steps.all.map(it, it.text)"
        steps = [
            { id = "mark", tool = "mark" },
            { id = "nap", needs = ["mark"], tool = "nap" },
            { id = "all", needs = ["nap"], each = { over = "['a', 'b']", as = "it" }, agent = "w", prompt = "{{ it }}" },
        ]
        [tools.mark]
        kind = "command"
        command = ["sh", "-c", "echo x >> marks.txt"]
        effect = "once"
        [tools.nap]
        kind = "command"
        command = ["sh", "-c", "touch napping; test -e awake || exec sleep 600"]
        effect = "idempotent"
        timeout = "20m"
        [approvals]
        once = "allow"
        [models.w]
        kind = "scripted"
        script = "script.toml"
        [agents.w]
        model = "w"
        "#,
    );
    let mut child =
        place.command(&["flow", "run", "flow.toml", "--db", "sqlite:state.db"]).spawn().expect("started");
    let began = Instant::now();
    while !place.path().join("napping").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the second step never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    place.write("awake", "");
    // What the file says now is another matter: the run goes on as it began.
    let flow = std::fs::read_to_string(place.path().join("flow.toml")).expect("text");
    place.write("flow.toml", &flow.replace("prompt = \"{{ it }}\"", "prompt = \"changed {{ it }}\""));
    let ran = place.ambidex(&[
        "runs",
        "resume",
        "@last",
        "-w",
        "flow.toml",
        "--db",
        "sqlite:state.db",
        "--result-json",
    ]);
    assert_eq!(output(&ran.ends(0)), json!(["a", "b"]));
    let marks = std::fs::read_to_string(place.path().join("marks.txt")).expect("marks");
    assert_eq!(marks, "x\n", "the first step ran twice");
}
