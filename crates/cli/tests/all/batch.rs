//! Many tasks from a file: each result once, whatever happens to the process.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal::{SIGINT, SIGKILL};
use serde_json::{Value, json};

use crate::interrupts::{busy, goes, process_of};
use crate::support::{Place, code, signal, wait};

/// Says what it was told, and which call of the conversation it is.
const ECHO: &str = "[[turns]]\nwhen = { last = \"break\" }\nfaults = [{ kind = \"content_filter\", always = true }]\n\
    text = \"-\"\n[default]\ntext = \"{{ last }} / {{ turn }}\"\n";

fn echo() -> Place {
    Place::scripted(ECHO, "")
}

/// With a wait before each answer.
fn slow_echo(delay: &str) -> Place {
    Place::scripted(&format!("delay = \"{delay}\"\n{ECHO}"), "")
}

fn tasks(count: usize) -> String {
    (0..count).map(|n| format!("{}\n", json!({"task": format!("task {n}"), "id": format!("t{n}")}))).collect()
}

fn whole_lines(place: &Place, name: &str) -> String {
    let text = if place.has(name) { place.read(name) } else { String::new() };
    text[..text.rfind('\n').map_or(0, |end| end + 1)].to_owned()
}

/// The results by their index: each once.
#[track_caller]
fn results(text: &str) -> BTreeMap<u64, Value> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let result: Value = serde_json::from_str(line).expect(line);
        let index = result["index"].as_u64().expect("an index");
        assert!(all.insert(index, result).is_none(), "index {index} twice");
    }
    all
}

/// Another number each time, below this one.
fn any(below: usize) -> usize {
    usize::try_from(RandomState::new().hash_one(0) % below.max(1) as u64).expect("it fits")
}

fn nap() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Kills the command when it has written so many lines more.
fn kill_after(place: &Place, args: &[&str], more: usize) {
    let before = whole_lines(place, "out.jsonl");
    let until = before.lines().count() + more;
    let mut child = place.command(args).stderr(Stdio::null()).spawn().expect("started");
    while whole_lines(place, "out.jsonl").lines().count() < until {
        assert!(child.try_wait().expect("asked").is_none(), "it ended before it could be killed");
        nap();
    }
    signal(child.id(), SIGKILL);
    assert_eq!(code(child.wait().expect("gone")), -9);
    let after = whole_lines(place, "out.jsonl");
    assert!(after.starts_with(&before), "a result of an earlier start was lost");
}

fn killed(kills: usize) {
    const TASKS: usize = 2_000;
    let place = slow_echo("1ms");
    place.write("tasks.jsonl", &tasks(TASKS));
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl", "--concurrency", "16"];
    for _ in 0..kills {
        let left = TASKS - whole_lines(&place, "out.jsonl").lines().count();
        let more = 1 + any(left / (kills + 1));
        println!("killed after {more} of {left}");
        kill_after(&place, &args, more);
    }
    place.ambidex(&args).ends(0).says("goes on: ").says("2,000 of 2,000 done");
    let all = results(&place.read("out.jsonl"));
    assert_eq!(all.len(), TASKS);
    for (index, result) in all {
        assert_eq!(result["text"], format!("task {index} / 1"));
        assert_eq!(result["id"], format!("t{index}"));
    }
    // All is done: nothing is run, nothing is written.
    let before = place.read("out.jsonl");
    place.ambidex(&args).ends(0);
    assert_eq!(place.read("out.jsonl"), before);
}

#[test]
fn a_batch_of_2000_killed_at_a_random_moment_goes_on_and_has_each_result_once() {
    killed(1);
}

#[test]
fn a_batch_killed_again_and_again_has_each_result_once() {
    killed(6);
}

#[test]
fn a_sequential_batch_killed_at_a_random_moment_goes_on_with_its_conversation() {
    let place = slow_echo("3ms");
    let mut lines = tasks(80);
    lines.push_str("\"break\"\n\"the end\"\n");
    place.write("tasks.jsonl", &lines);
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl", "--sequential"];
    kill_after(&place, &args, 1 + any(30));
    kill_after(&place, &args, 1 + any(30));
    place.ambidex(&args).ends(1).says("82 of 82 done · 1 failed");
    let text = place.read("out.jsonl");
    let all = results(&text);
    let order: Vec<u64> = text.lines().map(|line| results(line).into_keys().next().unwrap()).collect();
    assert_eq!(order, (0..82).collect::<Vec<_>>());
    for index in 0..80 {
        // As if nothing had happened: each is the next turn of one conversation.
        assert_eq!(all[&index]["text"], format!("task {index} / {}", index + 1));
        assert_eq!(all[&index]["thread"], all[&0]["thread"]);
    }
    assert_eq!(all[&80]["status"], "failed");
    assert_eq!(all[&81]["text"], "the end / 81", "what failed was not said");
    place.ambidex(&args[..5]).ends(2).says("was sequential").says("with --sequential");
}

#[test]
fn a_result_is_what_run_prints_with_the_place_and_the_id_of_its_task() {
    let place = echo();
    let lines = "\u{feff}\"plain\"\n\n{\"input\": \"two\", \"id\": 7, \"metadata\": {\"of\": \"mine\"}}\r\n{\"task\": \"break\"}";
    place.write("tasks.jsonl", lines);
    let ran = place.ambidex(&["batch", "--from", "tasks.jsonl"]).ends(1);
    let ran = ran.says("cannot go on where it stopped").says("3 of 3 done · 1 failed");
    let all = results(&ran.out);
    let single = place.ambidex(&["run", "--result-json", "plain"]).ends(0).json();
    let mut fields: Vec<_> = single.as_object().unwrap().keys().cloned().collect();
    fields.splice(0..0, ["index", "id", "fingerprint"].map(String::from));
    assert_eq!(all[&0].as_object().unwrap().keys().cloned().collect::<Vec<_>>(), fields);
    assert_eq!((&all[&0]["id"], &all[&0]["text"]), (&Value::Null, &json!("plain / 1")));
    assert_eq!((&all[&1]["id"], &all[&1]["metadata"]), (&json!(7), &json!({"of": "mine"})));
    assert_eq!((&all[&2]["status"], &all[&2]["error"]["code"]), (&json!("failed"), &json!("content_filter")));
    // A pipe does as well.
    let ran = place.ambidex_reads(&["batch", "-q", "--from", "-"], "\"a\"\n\"b\"").ends(0);
    assert_eq!((results(&ran.out).len(), ran.err.as_str()), (2, ""));
}

#[test]
fn what_failed_is_run_again_only_where_that_is_wanted() {
    let place = echo();
    place.write("tasks.jsonl", "\"one\"\n\"break\"\n\"three\"\n");
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl", "--retry-failed"];
    place.ambidex(&args[..5]).ends(1).says("--retry-failed");
    let first = results(&place.read("out.jsonl"));
    place.write("script.toml", "[default]\ntext = \"now {{ last }}\"\n");
    // Exit codes are of the whole batch.
    place.ambidex(&args[..5]).ends(1);
    assert_eq!(results(&place.read("out.jsonl")), first);
    place.ambidex(&args).ends(0).says("goes on: 2 of 3").says("3 of 3 done");
    let all = results(&place.read("out.jsonl"));
    assert_eq!(all[&1]["text"], "now break");
    assert_eq!((&all[&0], &all[&2]), (&first[&0], &first[&2]));
    place.ambidex(&["batch", "--from", "tasks.jsonl", "--retry-failed"]).ends(2).says("--out");
}

#[test]
fn a_changed_input_is_noticed_and_tasks_may_be_added_at_its_end() {
    let place = echo();
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl"];
    place.write("tasks.jsonl", "\"one\"\n{\"task\":\"two\",\"id\":1}\n");
    place.ambidex(&args).ends(0);
    let before = place.read("out.jsonl");
    place.write("tasks.jsonl", "\"one\"\n{\"task\":\"too\",\"id\":1}\n");
    place.ambidex(&args).ends(2).says("tasks.jsonl:2: this is not the task").says("out.jsonl (index 1)");
    place.write("tasks.jsonl", "\"one\"\n");
    place.ambidex(&args).ends(2).says("tasks.jsonl has 1 tasks").says("index 1");
    assert_eq!(place.read("out.jsonl"), before);
    // Only laid out in another way, and longer.
    place.write("tasks.jsonl", "{\"input\": \"one\"}\n\n{\"id\": 1, \"task\": \"two\"}\n\"three\"\n");
    place.ambidex(&args).ends(0).says("goes on: 2 of 3");
    assert_eq!(results(&place.read("out.jsonl"))[&2]["text"], "three / 1");
}

#[test]
fn a_torn_last_line_is_taken_out_and_its_task_run_again() {
    let place = echo();
    place.write("tasks.jsonl", &tasks(5));
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl"];
    place.ambidex(&args).ends(0);
    let whole = place.read("out.jsonl");
    for cut in [1, 30, whole.lines().last().unwrap().len() - 2] {
        place.write("out.jsonl", &whole[..whole.len() - cut]);
        place.ambidex(&args).ends(0).says("was cut in the middle").says("goes on: 4 of 5");
        assert_eq!(results(&place.read("out.jsonl")).len(), 5);
    }
}

#[test]
fn a_file_that_is_none_of_ours_is_left_alone() {
    let place = echo();
    place.write("tasks.jsonl", "\"one\"\n");
    for foreign in ["notes without an end", "{\"name\": 1}\n", "{\"index\": 1}\n"] {
        place.write("notes", foreign);
        let ran = place.ambidex(&["batch", "--from", "tasks.jsonl", "--out", "notes"]).ends(2);
        ran.says("notes:1: this is no result of a batch");
        assert_eq!(place.read("notes"), foreign);
    }
    place.ambidex(&["batch", "--from", "tasks.jsonl", "--out", "/dev/null"]).ends(2).says("no regular file");
    place.ambidex(&["batch", "--from", "tasks.jsonl", "--out", "no/folder"]).ends(1).says("cannot open");
    place.ambidex(&["batch", "--from", "none.jsonl"]).ends(2).says("cannot read none.jsonl");
}

#[test]
fn what_is_wrong_in_a_line_is_said_before_anything_runs() {
    let place = echo();
    let wrong = [
        ("{\"task\": \"x\"", "this is no JSON"),
        ("[1]", "a list is no task"),
        ("\"  \"", "the task is empty"),
        ("{\"id\": 1}", "the task is empty"),
        ("{\"task\": 5}", "`task` must be a text, not a number"),
        ("{\"task\": \"x\", \"input\": \"y\"}", "give one of them"),
        ("{\"task\": \"x\", \"id\": []}", "`id` must be a text or a number"),
        ("{\"task\": \"x\", \"modle\": \"y\"}", "did you mean `model`?"),
        ("{\"task\": \"x\", \"agent\": \"nobody\"}", "there is no agent `nobody`"),
        ("{\"task\": \"x\", \"model\": \"big\"}", "there is no model `big`"),
    ];
    for (line, why) in wrong {
        place.write("tasks.jsonl", &format!("\"fine\"\n{line}\n"));
        let ran = place.ambidex(&["batch", "--from", "tasks.jsonl"]).ends(2);
        let ran = ran.says("tasks.jsonl:2: ").says(why);
        assert_eq!(ran.out, "", "{line}");
    }
    // A pipe cannot be looked through first: what came before is run, and kept.
    let args = ["batch", "--from", "-", "--out", "out.jsonl"];
    place.ambidex_reads(&args, "\"fine\"\nnonsense\n\"more\"\n").ends(2).says("stdin:2: this is no JSON");
    assert_eq!(results(&place.read("out.jsonl")).len(), 1);
    place.ambidex_reads(&args, "\"fine\"\n\"mended\"\n\"more\"\n").ends(0).says("3 of 3 done");
    place.ambidex_reads(&args, "\"fine\"\n").ends(2).says("stdin has 1 tasks").says("index 2");
}

#[test]
fn tasks_may_name_their_agent_and_model() {
    let more =
        "[models.other]\nkind = \"scripted\"\nscript = \"other.toml\"\n[agents.second]\nmodel = \"other\"\n";
    let place = Place::scripted(ECHO, more);
    place.write("other.toml", "[default]\ntext = \"other\"\n");
    let lines = "\"a\"\n{\"task\": \"b\", \"agent\": \"second\"}\n{\"task\": \"c\", \"model\": \"other\"}\n";
    place.write("tasks.jsonl", lines);
    let all = results(&place.ambidex(&["batch", "--from", "tasks.jsonl", "-a", "worker"]).ends(0).out);
    let texts: Vec<_> = all.values().map(|result| result["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a / 1", "other", "other"]);
}

const PAY: &str = "[[turns]]\ncalls = [{ name = \"pay\", args = {} }]\n[default]\ntext = \"Paid.\"\n";
const TOOL: &str =
    "tools = [\"pay\"]\n[tools.pay]\nkind = \"command\"\ncommand = [\"true\"]\neffect = \"once\"\n";

#[test]
fn a_run_that_waits_for_a_person_is_kept_and_its_result_names_its_file() {
    let place = Place::scripted(PAY, TOOL);
    place.write("tasks.jsonl", "\"a\"\n\"b\"\n");
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl"];
    place.ambidex(&args).ends(3).says("2 wait").says("ambidex run --resume FILE");
    let before = place.read("out.jsonl");
    let all = results(&before);
    assert!(all.values().all(|result| result["status"] == "waiting"), "{all:?}");
    let file = all[&0]["file"].as_str().expect("a file");
    assert!(file.starts_with("out.jsonl.runs/"), "{file}");
    place.ambidex(&["run", "--resume", file, "--yes"]).ends(0).prints("Paid.");
    place.ambidex(&args).ends(3);
    assert_eq!(place.read("out.jsonl"), before);
}

#[test]
fn a_run_that_is_paused_is_kept_too() {
    let place = Place::scripted(PAY, &format!("{TOOL}[approvals]\nonce = \"allow\"\n"));
    place.write("tasks.jsonl", "\"a\"\n");
    let args = ["batch", "--from", "tasks.jsonl", "--max-iterations", "1"];
    let ran = place.ambidex(&args).ends(4).says("1 paused");
    let all = results(&ran.out);
    assert_eq!((&all[&0]["status"], &all[&0]["iterations_used"]), (&json!("paused"), &json!(1)));
    place.ambidex(&["run", "--resume", all[&0]["file"].as_str().unwrap()]).ends(0).prints("Paid.");
}

#[test]
fn one_process_writes_a_file_and_ctrl_c_keeps_what_is_done() {
    let script = "[[turns]]\nwhen = { last = \"quick\" }\ntext = \"done\"\n[default]\ndelay = \"10m\"\ntext = \"late\"\n";
    let place = Place::scripted(script, "");
    place.write("tasks.jsonl", "\"quick\"\n\"slow\"\n\"slow\"\n\"never begun\"\n");
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl", "--concurrency", "2"];
    let child = place.command(&args).spawn().expect("started");
    while whole_lines(&place, "out.jsonl").is_empty() {
        nap();
    }
    place.ambidex(&args).ends(1).says("out.jsonl is being written by another process");
    signal(child.id(), SIGINT);
    let ran = wait(child).ends(5).says("cancelling; Ctrl-C again").says("1 of 4 done");
    ran.says("the same command goes on where it stopped");
    let kept = place.read("out.jsonl");
    assert_eq!(results(&kept).len(), 1, "what was cancelled has no result: {kept}");
    place.write("script.toml", "[default]\ntext = \"late\"\n");
    place.ambidex(&args).ends(0).says("goes on: 1 of 4");
    assert!(place.read("out.jsonl").starts_with(&kept));
    assert_eq!(results(&place.read("out.jsonl")).len(), 4);
}

#[test]
fn ctrl_c_twice_ends_a_batch_at_once() {
    let place = busy("trap '' INT TERM; sleep 600 & echo $! > below;");
    place.write("tasks.jsonl", "\"Sleep\"\n");
    let args = ["batch", "--from", "tasks.jsonl", "--out", "out.jsonl"];
    let mut child = place.command(&args).spawn().expect("started");
    process_of(&place);
    let below = place.read("below").trim().parse().expect("a process id");
    signal(child.id(), SIGINT);
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("a line");
    assert!(line.contains("cancelling"), "{line}");
    signal(child.id(), SIGINT);
    assert_eq!(code(child.wait().expect("ended")), 5);
    goes(below);
    assert_eq!(place.read("out.jsonl"), "");
}

#[test]
fn a_full_disk_stops_the_batch_and_loses_nothing_that_was_written() {
    let place = echo();
    place.write("tasks.jsonl", &tasks(40));
    let binary = env!("CARGO_BIN_EXE_ambidex");
    // A limit of the size of files stands for it: 8 blocks of 512 bytes.
    let line = format!("trap '' XFSZ; ulimit -f 8; exec {binary} batch --from tasks.jsonl --out out.jsonl");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(place.path()).env("HOME", place.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = wait(command.spawn().expect("started")).ends(1);
    ran.says("cannot write to out.jsonl").says("it goes on where it stopped");
    let kept = whole_lines(&place, "out.jsonl");
    assert!((1..40).contains(&kept.lines().count()), "{kept}");
    place.ambidex(&["batch", "--from", "tasks.jsonl", "--out", "out.jsonl"]).ends(0);
    let text = place.read("out.jsonl");
    assert!(text.starts_with(&kept));
    assert_eq!(results(&text).len(), 40);
}

#[test]
fn a_reader_who_goes_away_ends_the_batch_quietly() {
    let place = slow_echo("2ms");
    place.write("tasks.jsonl", &tasks(2_000));
    let mut child = place.command(&["batch", "--from", "tasks.jsonl"]).spawn().expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut String::new()).expect("a line");
    drop(out);
    let ran = wait(child).ends(5);
    assert!(!ran.err.contains("error"), "{}", ran.err);
}

#[test]
fn tasks_are_taken_from_a_pipe_as_they_come() {
    let place = echo();
    let mut command = place.command(&["batch", "--from", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("started");
    let (mut to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut from = BufReader::new(from);
    for n in 0..20 {
        writeln!(to, "\"task {n}\"").expect("taken");
        let mut line = String::new();
        from.read_line(&mut line).expect("a line");
        assert_eq!(results(&line)[&n]["text"], format!("task {n} / 1"));
    }
    drop(to);
    wait(child).ends(0).says("20 of 20 done");
}
