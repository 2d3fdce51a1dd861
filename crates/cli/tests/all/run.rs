use crate::support::Place;

const HELLO: &str = "[default]\ntext = \"Hello **you**.\"\n";

#[test]
fn the_result_goes_to_stdout_and_the_rest_to_stderr() {
    let place = Place::scripted(HELLO, "");
    let ran = place.ambidex(&["run", "Say hello"]).ends(0);
    assert_eq!(ran.out, "Hello **you**.\n");
    assert!(ran.err.starts_with("✓ done · 1 model call · "), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "colours off a terminal: {}", ran.err);
}

#[test]
fn quiet_is_quiet() {
    let ran = Place::scripted(HELLO, "").ambidex(&["run", "-q", "Say hello"]).ends(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("Hello **you**.\n", ""));
}

#[test]
fn stdin_and_files_are_appended_to_the_task() {
    let place = Place::scripted("[default]\ntext = \"{{ user }}\"\n", "");
    place.write("notes.txt", "one\ntwo\n");
    let ran =
        place.ambidex_reads(&["run", "-q", "Sum up:", "--file", "notes.txt"], "from the pipe\n").ends(0);
    assert_eq!(ran.out, "Sum up:\n\nfrom the pipe\n\n--- notes.txt ---\none\ntwo\n");
    let ran = place.ambidex_reads(&["run", "-q"], "only the pipe").ends(0);
    assert_eq!(ran.out, "only the pipe\n");
}

#[test]
fn an_image_is_known_by_its_first_bytes() {
    let place = Place::scripted(HELLO, "");
    std::fs::write(place.path().join("a.png"), b"\x89PNG\r\n\x1a\nrest").expect("written");
    place.ambidex(&["run", "Look", "--image", "a.png"]).ends(0);
    place.write("b.png", "no image");
    let refused = place.ambidex(&["run", "Look", "--image", "b.png"]).ends(2);
    refused.says("b.png is no image that models take").says("PNG, JPEG, GIF or WebP");
}

#[test]
fn result_json_is_one_object_with_every_field() {
    let ran = Place::scripted(HELLO, "").ambidex(&["run", "--result-json", "Say hello"]).ends(0);
    assert_eq!(ran.err, "");
    let object = ran.json();
    assert_eq!(object["status"], "succeeded");
    assert_eq!(object["text"], "Hello **you**.");
    assert_eq!((&object["task_completed"], &object["iterations_used"]), (&true.into(), &1.into()));
    let keys: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    let all = [
        "run",
        "thread",
        "status",
        "text",
        "output",
        "task_completed",
        "iterations_used",
        "execution_time",
        "usage",
        "error",
    ];
    assert_eq!(keys, all);
    assert!(object["usage"]["input_tokens"].as_u64() > Some(0));
}

#[test]
fn json_lines_are_events_of_the_published_schema() {
    let script = r#"
[[turns]]
reasoning = "Count first."
text = "I count."
calls = [{ name = "count", args = { file = "a.txt" } }, { name = "count", args = { file = "missing.txt" } }]
[[turns]]
text = "Done."
"#;
    let tool = r#"tools = ["count"]
[tools.count]
kind = "command"
command = ["wc", "-c", "{file}"]
input = { file = "string" }
effect = "read"
"#;
    let place = Place::scripted(script, tool);
    place.write("a.txt", "12345");
    let schema = place.ambidex(&["schema", "events"]).ends(0).json();
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let ran = place.ambidex(&["run", "--json", "Count"]).ends(0);
    let events = ran.json_lines();
    for (at, event) in events.iter().enumerate() {
        assert!(schema.is_valid(event), "{event}");
        assert_eq!(event["seq"], at + 1);
    }
    let types: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types.first(), Some(&"run.created"));
    assert_eq!(types.last(), Some(&"run.finished"));
    assert_eq!(types.iter().filter(|kind| **kind == "tool.finished").count(), 2);
    let ok = |wanted: bool| {
        let mut finished = events.iter().filter(|event| event["type"] == "tool.finished");
        finished.any(|event| event["data"]["ok"] == wanted)
    };
    assert!(ok(true) && ok(false));
}

#[test]
fn calls_are_told_in_one_line_each() {
    let script = r#"
[[turns]]
calls = [{ name = "read_file", args = { path = "a.txt" } }, { name = "read_file", args = { path = "no.txt" } }]
[[turns]]
text = "Read."
"#;
    let place = Place::new();
    place.write("a.txt", "text");
    place.write("script.toml", script);
    place.write("ambidex.toml", "[models.demo]\nkind = \"scripted\"\nscript = \"script.toml\"\n");
    let ran = place
        .ambidex(&["run", "Read"])
        .ends(0)
        .says("  ✓ read_file  a.txt  ")
        .says("  ✗ read_file  no.txt  ");
    let why = ran.err.lines().find(|line| line.contains("there is no `no.txt`")).expect("why it failed");
    assert!(why.starts_with("    tool_failed: "), "{why}");
    assert!(ran.err.contains("(No such file or directory, os error 2)"), "{}", ran.err);
    assert!(ran.err.contains("2 model calls · 2 tool calls"), "{}", ran.err);
}

#[test]
fn a_structured_result_is_printed_as_json() {
    let script = "[[turns]]\njson = { city = \"Oslo\", degrees = 7 }\n";
    let more = "output = { schema = { city = \"string\", degrees = \"integer\" } }\n";
    let ran = Place::scripted(script, more).ambidex(&["run", "-q", "Weather?"]).ends(0);
    assert_eq!(ran.json(), serde_json::json!({"city": "Oslo", "degrees": 7}));
}

#[test]
fn a_failed_run_says_why_and_what_to_do() {
    let script = "[default]\ntext = \"x\"\nfaults = [{ kind = \"rate_limited\", always = true }]\n";
    let place = Place::scripted(script, "");
    let ran = place.ambidex(&["run", "Go"]).ends(1).says("[rate_limited]").says("= help: try again later");
    assert_eq!(ran.out, "");
    let object = place.ambidex(&["run", "--result-json", "Go"]).ends(1).json();
    assert_eq!((&object["status"], &object["error"]["code"]), (&"failed".into(), &"rate_limited".into()));
}

#[test]
fn time_that_runs_out_is_exit_8() {
    let script = "[default]\ntext = \"x\"\nfaults = [{ kind = \"idle\", always = true }]\n";
    let ran =
        Place::scripted(script, "").ambidex(&["run", "--timeout", "150ms", "--result-json", "Go"]).ends(8);
    assert_eq!(ran.json()["error"]["code"], "timeout");
}

const LOOP: &str = r#"
[[turns]]
when = { turn = 1 }
calls = [{ name = "count", args = { file = "script.toml" } }]
[[turns]]
when = { turn = 2 }
calls = [{ name = "count", args = { file = "ambidex.toml" } }]
[default]
text = "Counted twice."
"#;
const COUNT: &str = r#"tools = ["count"]
[tools.count]
kind = "command"
command = ["wc", "-c", "{file}"]
input = { file = "string" }
effect = "read"
"#;

#[test]
fn a_run_at_its_limit_pauses_and_goes_on_with_more() {
    let place = Place::scripted(LOOP, COUNT);
    let ran = place.ambidex(&["run", "--max-iterations", "1", "Count"]).ends(4);
    assert_eq!(ran.out, "");
    let ran = ran.says("paused by max_iterations");
    let file = place.run_files().pop().expect("the run's file");
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(ran.err.contains(&format!("ambidex run --resume ./{name}")), "{}", ran.err);

    place.ambidex(&["run", "--resume", name, "--max-iterations", "1"]).ends(4);
    assert_eq!(place.run_files(), std::slice::from_ref(&file), "the file is replaced");
    let ran = place.ambidex(&["run", "--resume", name]).ends(0);
    assert_eq!(ran.out, "Counted twice.\n");
    assert!(place.run_files().is_empty(), "a run that has ended leaves no file");
    place.ambidex(&["run", "--resume", name]).ends(2).says("cannot read").says("= help:");
}

#[test]
fn without_a_configuration_the_offline_model_answers_with_file_tools() {
    let place = Place::new();
    place.write("hello.txt", "Hi there\n");
    let ran = place.ambidex(&["run", "list files in ."]).ends(0).prints("hello.txt (9 bytes)");
    let ran = ran.says("no agent is configured").says("ambidex config init");
    assert!(ran.err.contains("✓ list_files"), "{}", ran.err);
}

#[test]
fn the_demo_is_a_whole_run_on_real_files() {
    let place = Place::new();
    let ran = place.ambidex(&["demo"]).ends(0);
    let report = ran.json();
    assert_eq!(report["title"], "Ferry");
    assert_eq!(report["numbers"]["crates"], 2);
    assert_eq!(report["numbers"]["tests"], 3);
    assert_eq!(report["numbers"]["open_ends"], 2);
    let ran = ran.says("✗ read_file  docs/ARCHITECTURE.md").says("✓ read_file  ARCHITECTURE.md");
    ran.says("4 model calls · 9 tool calls").says("$0.00");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    use std::io::Read;
    let place = Place::new();
    let mut child = place.command(&["schema", "records"]).spawn().expect("started");
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut [0; 16]).expect("a beginning");
    drop(out);
    let ran = crate::support::wait(child).ends(0);
    assert_eq!(ran.err, "");
}
