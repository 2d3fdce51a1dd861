//! Ctrl-C and SIGTERM, sent to the real process.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use nix::sys::signal::Signal::{self, SIGINT, SIGTERM};
use serde_json::Value;

use crate::support::{Place, code, signal};

/// Calls a tool that leaves the id of its process in `pid` and then does nothing for long.
pub fn busy(trap: &str) -> Place {
    let script = "[[turns]]\ncalls = [{ name = \"nap\", args = {} }]\n[[turns]]\ntext = \"Awake.\"\n";
    let tool = format!(
        "tools = [\"nap\"]\n[tools.nap]\nkind = \"command\"\n\
         command = [\"sh\", \"-c\", \"{trap} echo $$ > pid.new; mv pid.new pid; while :; do sleep 1; done\"]\n\
         effect = \"read\"\ntimeout = \"5m\"\n"
    );
    Place::scripted(script, &tool)
}

/// Starts a run and reads its events until the tool was called.
fn started(place: &Place) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = place.command(&["run", "--json", "Sleep"]).spawn().expect("started");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    read_to_the_call(&mut out);
    (child, out)
}

fn read_to_the_call(out: &mut impl BufRead) {
    let mut event = Value::Null;
    while event["type"] != "tool.called" {
        let mut line = String::new();
        assert!(out.read_line(&mut line).expect("a line") > 0, "it ended before the tool was called");
        event = serde_json::from_str(&line).expect("an event");
    }
}

/// The tool's process, once it has said its id.
pub fn process_of(place: &Place) -> i32 {
    for _ in 0..2_000 {
        if place.has("pid") {
            return place.read("pid").trim().parse().expect("a process id");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the tool never started");
}

fn is_there(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
}

/// A process that was killed and that nobody has asked about yet does not run.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Waits for a killed process to be gone: the kernel takes its time.
#[track_caller]
pub fn goes(pid: i32) {
    for _ in 0..2_000 {
        if !runs(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("what the tool started is still there");
}

fn ends_cleanly(how: Signal) {
    let place = busy("");
    let (mut child, mut out) = started(&place);
    let tool = process_of(&place);
    signal(child.id(), how);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the other events");
    assert_eq!(code(child.wait().expect("ended")), 5);
    let last: Value = serde_json::from_str(rest.lines().last().expect("a last event")).expect("an event");
    assert_eq!(last["type"], "run.finished");
    assert_eq!(last["data"]["status"], "cancelled");
    let answered = rest.lines().filter(|line| line.contains("tool.finished")).count();
    assert_eq!(answered, 1, "the open call is answered: {rest}");
    assert!(!is_there(tool), "the tool's process is still there");
}

#[test]
fn ctrl_c_once_ends_the_run_cleanly() {
    ends_cleanly(SIGINT);
}

#[test]
fn sigterm_is_the_same() {
    ends_cleanly(SIGTERM);
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    // The tool does not listen, so the clean end takes as long as its grace.
    let place = busy("trap '' INT TERM; sleep 600 & echo $! > below;");
    let (mut child, mut out) = started(&place);
    process_of(&place);
    let below = place.read("below").trim().parse().expect("a process id");
    signal(child.id(), SIGINT);
    // The first is heard when it is said so.
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("a line");
    assert!(line.contains("cancelling"), "{line}");
    signal(child.id(), SIGINT);
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the other events");
    assert_eq!(code(child.wait().expect("ended")), 5);
    assert!(!rest.contains("run.finished"), "it waited for the clean end: {rest}");
    goes(below);
}

#[test]
fn while_stdin_is_read_ctrl_c_ends_it() {
    let place = Place::new();
    let mut command = place.command(&["run"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("started");
    // `wait` would close it.
    let stdin = child.stdin.take().expect("a pipe");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("a line");
    assert!(line.contains("reading stdin"), "{line}");
    signal(child.id(), SIGINT);
    let mut said = String::new();
    err.read_to_string(&mut said).expect("the rest");
    assert_eq!(said.trim(), "error: cancelled before the run began");
    assert_eq!(code(child.wait().expect("ended")), 5);
    drop(stdin);
}
