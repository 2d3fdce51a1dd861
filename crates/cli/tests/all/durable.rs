//! Runs in a store on disk: what a process leaves behind when it is killed, and what the next one makes of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ambidex_core::store::Lease;
use ambidex_fake_provider::{FakeProvider, Fault, Script, Turn, When};
use ambidex_store::{Durability, OpenStore};
use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;

use crate::support::{Place, signal, wait};

const STORE: &str = "[store]\nurl = \"sqlite:.ambidex/state.db\"\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// A server behind a tool: it takes notes of each call's key, and leaves the first calls without an answer.
struct Desk {
    port: u16,
    keys: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl Desk {
    fn open(unanswered: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let keys = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let notes = keys.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(key) = key_of(&stream) else { continue };
                let (list, changed) = &*notes;
                let count = {
                    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push(key);
                    list.len()
                };
                changed.notify_all();
                if count <= unanswered {
                    held.push(stream);
                    continue;
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone";
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { port, keys }
    }

    /// The keys so far, once there are this many.
    fn keys(&self, count: usize) -> Vec<String> {
        let (list, changed) = &*self.keys;
        let list = list.lock().expect("sound");
        let (list, waited) =
            changed.wait_timeout_while(list, PATIENCE, |list| list.len() < count).expect("sound");
        assert!(!waited.timed_out(), "only {} calls came", list.len());
        list.clone()
    }

    /// A place whose agent calls the desk once, by a tool of this effect.
    fn place(&self, effect: &str) -> Place {
        let script = "[[turns]]\ncalls = [{ name = \"desk\", args = { id = \"7\" } }]\n[[turns]]\ntext = \"It says: {{ result.desk | or nothing }}{{ failure.desk | or . }}\"\n";
        let more = format!(
            "tools = [\"desk\"]\n{STORE}[approvals]\nonce = \"allow\"\n[tools.desk]\nkind = \"http\"\nmethod = \"POST\"\n\
             url = \"http://127.0.0.1:{}/{{id}}\"\ninput = {{ id = \"string\" }}\neffect = \"{effect}\"\nallow_private = true\n",
            self.port
        );
        Place::scripted(script, &more)
    }
}

fn key_of(stream: &TcpStream) -> Option<String> {
    let mut key = None;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("idempotency-key")
        {
            key = Some(value.trim().to_owned());
        }
    }
    key
}

/// `kill -9`, and the child is buried.
fn kill(mut child: Child) {
    signal(child.id(), SIGKILL);
    child.wait().expect("ended");
}

fn only_run(place: &Place) -> Value {
    let lines = place.ambidex(&["runs", "list", "--json"]).ends(0).json_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_while_its_model_speaks_is_finished_by_the_next_process() {
    let script = Script::new([Turn::text("All is well.")]).with_fault(Fault::StallSilent, When::First);
    let provider = FakeProvider::start(script).await.expect("started");
    let place = Place::new();
    place.write(
        "ambidex.toml",
        &format!(
            "{STORE}[providers.fake]\nkind = \"openai\"\nbase_url = \"{}\"\nkey = {{ env = \"FAKE_KEY\" }}\n\
             [agents.worker]\nmodel = \"fake:fake-1\"\n",
            provider.base_url_openai()
        ),
    );
    let key = [("FAKE_KEY", "secret")];
    let mut child = place.command(&["run", "--json", "Speak"]).envs(key).spawn().expect("started");
    // Until some of the reply was shown.
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let shown = out.lines().map_while(Result::ok).any(|line| line.contains("\"model.delta\""));
    assert!(shown, "it ended before the model spoke");
    kill(child);
    let run = only_run(&place);
    assert_eq!((&run["status"], &run["driven"]), (&"running".into(), &false.into()));
    place.ambidex(&["runs", "list"]).ends(0).prints("interrupted");
    let ran = place.ambidex_with(&["runs", "resume", "@last"], &key).ends(0);
    assert_eq!(ran.out.trim(), "All is well.");
    assert_eq!(only_run(&place)["status"], "succeeded");
    place.ambidex(&["doctor"]).prints("sound");
    provider.shutdown().await;
}

#[test]
fn an_idempotent_call_is_repeated_under_its_key_also_after_a_second_kill() {
    let desk = Desk::open(2);
    let place = desk.place("idempotent");
    let child = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    kill(child);
    let again = place.command(&["runs", "resume", "@last"]).spawn().expect("started");
    desk.keys(2);
    kill(again);
    place.ambidex(&["runs", "resume", "@last"]).ends(0).prints("It says: done");
    let keys = desk.keys(3);
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let run = only_run(&place)["run"].as_str().expect("an id").to_owned();
    assert!(keys[0].starts_with(&run), "{keys:?}");
}

#[test]
fn a_call_that_may_happen_once_is_put_before_a_person() {
    let desk = Desk::open(1);
    let place = desk.place("once");
    let child = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    kill(child);
    place
        .ambidex(&["runs", "resume", "@last"])
        .ends(3)
        .says("May `desk` run again?")
        .says("runs resume run_");
    assert_eq!(desk.keys(1).len(), 1, "it was repeated without a word");
    assert_eq!(only_run(&place)["status"], "waiting");
    place.ambidex(&["runs", "show", "@last"]).ends(0).prints("May `desk` run again?");
    let edit = ["runs", "resume", "@last", "--edit", "{\"id\": \"8\"}"];
    place.ambidex(&edit).ends(2).says("the run asks whether a call happened");
    place.ambidex(&["runs", "resume", "@last", "--answer", "it did"]).ends(0).prints("it did");
    assert_eq!(desk.keys(1).len(), 1);
}

#[test]
fn an_interrupted_call_is_answered_by_the_command_that_goes_on_with_its_run() {
    let answers: [(&[&str], usize, &str); 2] =
        [(&["--yes"], 2, "It says: done."), (&["--answer", "it did"], 1, "It says: it did.")];
    for (answer, calls, text) in answers {
        let desk = Desk::open(1);
        let place = desk.place("once");
        let child = place.command(&["run", "Go"]).spawn().expect("started");
        desk.keys(1);
        kill(child);
        let command = [&["runs", "resume", "@last", "--json"], answer].concat();
        let events = place.ambidex(&command).ends(0).json_lines();
        assert_eq!(events.last().map(|event| &event["data"]["text"]), Some(&text.into()));
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().expect("a number")).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert_eq!(desk.keys(calls).len(), calls);
        assert_eq!(only_run(&place)["status"], "succeeded");
    }
}

#[test]
fn what_an_interrupted_run_has_no_use_for_is_refused() {
    let desk = Desk::open(1);
    let place = desk.place("idempotent");
    let child = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    kill(child);
    place.ambidex(&["runs", "resume", "@last", "--yes"]).ends(2).says("asks nothing");
    let ran = place.ambidex(&["runs", "resume", "@last", "--max-iterations", "3"]).ends(2);
    assert!(!ran.err.contains("waits"), "{}", ran.err);
    ran.says("it was interrupted");
    assert_eq!(desk.keys(1).len(), 1, "the run went on all the same");
    place.ambidex(&["runs", "resume", "@last"]).ends(0).prints("It says: done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_not_driven_by_a_process_whose_lease_ran_out() {
    let desk = Desk::open(1);
    let place = desk.place("idempotent");
    let child = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    kill(child);
    let run = only_run(&place)["run"].as_str().expect("an id").to_owned();
    let file = ambidex_store::Place::Sqlite(place.path().join(".ambidex/state.db"));
    let store = OpenStore::open(&file, Durability::Sync).await.expect("opened");
    let far = 4_000_000_000_000;
    // Of another machine nobody here knows whether it is gone.
    let lease = |until| Lease { owner: "elsewhere/7/1/other-1/u".into(), until };
    store.as_any().claim(&run, lease(far), far - 1).await.expect("claimed");
    assert_eq!(only_run(&place)["driven"], true);
    place.ambidex(&["runs", "list"]).ends(0).prints("running");
    place.ambidex(&["runs", "show", &run]).ends(0).prints("process 7 on elsewhere");
    place.ambidex(&["runs", "resume", &run]).ends(1).says("driven by process 7 on elsewhere");
    store.as_any().claim(&run, lease(1000), far).await.expect("claimed");
    store.close().await;
    assert_eq!(only_run(&place)["driven"], false);
    place.ambidex(&["runs", "list"]).ends(0).prints("interrupted");
    place.ambidex(&["runs", "show", &run]).ends(0).prints("nobody");
    place.ambidex(&["runs", "trace", &run]).ends(0).prints("accepted, 1 message\n");
    place.ambidex(&["runs", "resume", &run]).ends(0).prints("It says: done");
}

#[test]
fn two_processes_share_a_file_and_neither_takes_the_others_run() {
    let desk = Desk::open(1);
    let place = desk.place("idempotent");
    let first = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    let run = only_run(&place);
    assert_eq!(run["driven"], true);
    let id = run["run"].as_str().expect("an id");
    let driver = format!("driven by process {}", first.id());
    place.ambidex(&["runs", "resume", id]).ends(1).says(&driver);
    place.ambidex(&["runs", "cancel", id]).ends(1).says(&driver);
    // The second process works beside it.
    place.ambidex(&["run", "Go"]).ends(0).prints("It says: done");
    assert_eq!(desk.keys(2).len(), 2, "the first run's call was repeated while it was under way");
    kill(first);
    let end = &id[id.len() - 8..];
    place.ambidex(&["runs", "resume", end]).ends(0).prints("It says: done");
    let keys = desk.keys(3);
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "{keys:?}");
    let lines = place.ambidex(&["runs", "list", "--json", "--status", "succeeded"]).ends(0).json_lines();
    assert_eq!(lines.len(), 2);
}

const ASKS: &str = r#"tools = ["make"]
[tools.make]
kind = "command"
command = ["sh", "-c", "touch \"$1\" && echo made \"$1\"", "sh", "{name}"]
input = { name = "string" }
effect = "once"
"#;
const MAKES: &str = r#"
[[turns]]
calls = [{ name = "make", args = { name = "a.txt" } }]
[[turns]]
text = "It says: {{ result.make | or refused }}"
"#;

#[test]
fn a_run_that_waits_is_answered_by_another_process() {
    let place = Place::scripted(MAKES, &format!("{ASKS}{STORE}"));
    let ran = place.ambidex(&["run", "--result-json", "Make it"]).ends(3);
    let id = ran.json()["run"].as_str().expect("an id").to_owned();
    ran.says(&format!("ambidex runs resume {id} --yes"));
    assert!(place.run_files().is_empty(), "it is in the store, and in a file too");
    let shown = place.ambidex(&["runs", "show", &id, "--json"]).ends(0).json();
    assert_eq!(shown["questions"][0]["tool"], "make");
    // Nothing was said, so it goes on waiting.
    place.ambidex(&["runs", "resume", &id]).ends(3).says("May `make` run?");
    let ran = place.ambidex(&["runs", "resume", &id, "--yes", "--result-json"]).ends(0);
    assert_eq!(ran.json()["text"], "It says: made a.txt\n");
    assert!(place.has("a.txt"));
    place.ambidex(&["runs", "resume", &id]).ends(2).says("the run has ended");
    place.ambidex(&["runs", "retry", &id]).ends(3).says("May `make` run?");
    place.ambidex(&["runs", "cancel", "@last"]).ends(0);
    let lines = place.ambidex(&["runs", "list", "--json"]).ends(0).json_lines();
    let stand: Vec<_> = lines.iter().map(|line| line["status"].as_str().expect("a status")).collect();
    assert_eq!(stand, ["cancelled", "succeeded"]);
    place.ambidex(&["runs", "trace", &id]).ends(0).prints("ask:t0.0 begins").prints("succeeded");
}

#[test]
fn a_run_that_is_paused_goes_on_with_more() {
    let place = Place::scripted(MAKES, &format!("{ASKS}{STORE}[approvals]\nonce = \"allow\"\n"));
    place.ambidex(&["run", "--max-iterations", "1", "Make it"]).ends(4).says("in the store");
    place.ambidex(&["runs", "resume", "@last", "--max-iterations", "3"]).ends(0).prints("made a.txt");
}

#[test]
fn a_run_keeps_its_agent_and_a_retry_has_the_one_of_now() {
    let settings = |model: &str| {
        format!(
            "[models.first]\nkind = \"scripted\"\nscript = \"first.toml\"\n\
             [models.second]\nkind = \"scripted\"\nscript = \"second.toml\"\nprice = {{ input = 1e6, output = 1e6 }}\n\
             [agents.worker]\nmodel = \"{model}\"\ntools = [\"make\"]\n\
             [agents.other]\nmodel = \"first\"\ninstructions = \"Be another.\"\n\
             [approvals]\nonce = \"allow\"\n\
             [tools.make]\nkind = \"command\"\ncommand = [\"echo\", \"made\", \"{{name}}\"]\n\
             input = {{ name = \"string\" }}\neffect = \"once\"\n{STORE}"
        )
    };
    let place = Place::new();
    place.write("first.toml", "[[turns]]\ntext = \"Of the first.\"\n");
    place.write("second.toml", MAKES);
    place.write("ambidex.toml", &settings("first"));
    let run = place.ambidex(&["run", "-a", "worker", "--result-json", "Go"]).ends(0).json();
    let id = run["run"].as_str().expect("an id");
    place.write("ambidex.toml", &settings("second"));
    let retry = |more: &[&str], code| {
        let command: Vec<_> = ["runs", "retry", id, "--result-json"].iter().chain(more).copied().collect();
        place.ambidex(&command).ends(code)
    };
    assert_eq!(retry(&[], 0).json()["text"], "It says: made a.txt\n");
    assert_eq!(retry(&["-m", "first"], 0).json()["text"], "Of the first.");
    assert_eq!(retry(&["-a", "other"], 0).json()["text"], "Of the first.");
    let lines = place.ambidex(&["runs", "list", "--json", "--agent", "other"]).ends(0).json_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    retry(&["-a", "nobody"], 2).says("there is no agent `nobody`");
    retry(&["-m", "nothing"], 2).says("there is no model `nothing`");
    retry(&["--max-usd", "0.01"], 4).says("the budget of US dollars");
    retry(&["--max-iterations", "1"], 4).says("max_iterations");
    let refused = place.ambidex(&["runs", "resume", "@last", "-a", "other"]).ends(2);
    refused.says("the run keeps the agent it began with, `worker`");
    place.ambidex(&["runs", "resume", "@last"]).ends(0).prints("made a.txt");
}

#[test]
fn a_store_is_named_on_the_command_line_too() {
    let place = Place::scripted("[[turns]]\ntext = \"Hello.\"\n", "");
    place.ambidex(&["runs", "list"]).ends(2).says("there is no store on disk").says("[store]");
    place.ambidex(&["run", "--db", "sqlite:here.db", "Hi"]).ends(0).prints("Hello.");
    assert!(place.has("here.db"));
    place.ambidex(&["runs", "list", "--db", "sqlite:here.db"]).ends(0).prints("succeeded");
    place
        .ambidex(&["runs", "show", "nothing", "--db", "sqlite:here.db"])
        .ends(2)
        .says("there is no run `nothing`");
    let password = "postgres://me:hunter2@127.0.0.1/runs";
    let ran = place.ambidex(&["run", "--db", password, "Hi"]).ends(6).says("plain text");
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}

#[test]
fn a_store_that_cannot_be_used_is_said_before_anything_is_spent() {
    let place = Place::scripted("[[turns]]\ntext = \"Hello.\"\n", STORE);
    place.ambidex(&["doctor"]).prints("is made by the first run");
    place.write(".ambidex/state.db", &"this is no store ".repeat(1000));
    let ran = place.ambidex(&["run", "Hi"]).ends(1).says("state.db");
    assert_eq!(ran.out, "");
    let doctor = place.ambidex(&["doctor"]).ends(1);
    assert!(doctor.out.contains("state.db"), "{}", doctor.out);
    let mut text = String::new();
    std::fs::File::open(place.path().join(".ambidex/state.db"))
        .expect("there")
        .read_to_string(&mut text)
        .expect("as it was");
    assert!(text.starts_with("this is no store"), "the file of somebody else was written to");
}

#[test]
fn ctrl_c_cancels_and_the_store_says_so() {
    let desk = Desk::open(1);
    let place = desk.place("idempotent");
    let child = place.command(&["run", "Go"]).spawn().expect("started");
    desk.keys(1);
    signal(child.id(), nix::sys::signal::Signal::SIGINT);
    wait(child).ends(5);
    assert_eq!(only_run(&place)["status"], "cancelled");
}
