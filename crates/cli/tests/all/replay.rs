//! Runs of a store done again without anybody being asked, and taken out of it.

use ambidex_fake_provider::{FakeProvider, Script, Turn};

use crate::support::Place;

const STORE: &str = "[store]\nurl = \"sqlite:.ambidex/state.db\"\n";
const SCRIPT: &str =
    "[[turns]]\ncalls = [{ name = \"put\", args = { text = \"a\" } }]\n[[turns]]\ntext = \"It is put.\"\n";

/// A place whose agent writes a line into `put.txt`, after a person has said yes.
fn desk() -> Place {
    let more = format!(
        "instructions = \"Be brief.\"\ntools = [\"put\"]\n{STORE}[approvals]\nonce = \"ask\"\n[tools.put]\nkind = \"command\"\n\
         command = [\"tee\", \"-a\", \"{{text}}.txt\"]\ninput = {{ text = \"string\" }}\neffect = \"once\"\n"
    );
    Place::scripted(SCRIPT, &more)
}

/// With one run that waited, was answered, and ended.
fn with_a_run() -> Place {
    let place = desk();
    place.ambidex(&["run", "Go"]).ends(3);
    place.ambidex(&["runs", "resume", "@last", "--yes"]).ends(0);
    assert!(place.has("a.txt"));
    std::fs::remove_file(place.path().join("a.txt")).expect("removed");
    place
}

#[test]
fn a_run_is_replayed_from_its_store_and_from_a_file_and_no_tool_is_called() {
    let place = with_a_run();
    let shown = place.ambidex(&["replay", "@last", "--strict"]).ends(0);
    assert_eq!(shown.out.trim(), "It is put.");
    assert!(shown.err.contains("answered: approve"), "{}", shown.err);
    place.ambidex(&["runs", "export", "@last", "put.jsonl"]).ends(0);
    let printed = place.ambidex(&["runs", "export", "@last"]).ends(0);
    assert_eq!(printed.out, place.read("put.jsonl"));
    // Elsewhere there is neither the agent nor the store.
    let elsewhere = Place::new();
    elsewhere.write("put.jsonl", &place.read("put.jsonl"));
    let ran = elsewhere.ambidex(&["replay", "put.jsonl", "--strict"]).ends(0).says("not configured here");
    assert_eq!(ran.out.trim(), "It is put.");
    let events = place.ambidex(&["replay", "./put.jsonl", "--json"]).ends(0).json_lines();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    for kind in ["run.created", "approval.asked", "approval.answered", "tool.finished", "model.delta"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    assert_eq!(kinds.last(), Some(&"run.finished"));
    let result = place.ambidex(&["replay", "@last", "--result-json"]).ends(0).json();
    assert_eq!((&result["status"], &result["text"]), (&"succeeded".into(), &"It is put.".into()));
    assert!(!place.has("a.txt"), "nothing was put");
    // The store has one run still.
    assert_eq!(place.ambidex(&["runs", "list", "--json"]).ends(0).json_lines().len(), 1);
}

#[test]
fn what_is_configured_otherwise_is_shown_and_stops_a_strict_replay() {
    let place = with_a_run();
    let config = place.read("ambidex.toml").replace("Be brief.", "Be long.");
    place.write("ambidex.toml", &config);
    let line = "instructions: recorded \"Be brief.\", now \"Be long.\"";
    place.ambidex(&["replay", "@last", "--strict"]).ends(1).says(line).says("--ignore PLACE");
    place.ambidex(&["replay", "@last"]).ends(0).says(line).prints("It is put.");
    let quiet = place.ambidex(&["replay", "@last", "--strict", "--ignore", "instructions"]).ends(0);
    assert!(!quiet.err.contains("recorded"), "{}", quiet.err);
    place.ambidex(&["replay", "@last", "--strict", "--as-recorded"]).ends(0);
    // Nobody asks a person any more: the call would run.
    place.write("ambidex.toml", &config.replace("Be long.", "Be brief.").replace("\"ask\"", "\"allow\""));
    place
        .ambidex(&["replay", "@last", "--strict"])
        .ends(1)
        .says("ask:t0.0")
        .says("ask a person about `t0.0`");
}

#[test]
fn from_a_point_on_it_happens_for_real_as_a_new_run() {
    let place = with_a_run();
    let ran = place.ambidex(&["replay", "@last", "--live-from", "m1"]).ends(0);
    assert!(ran.out.contains("It is put."), "{}", ran.out);
    assert!(!place.has("a.txt"), "the call is from the recording");
    assert_eq!(place.ambidex(&["runs", "list", "--json"]).ends(0).json_lines().len(), 2);
    place.ambidex(&["replay", "@last", "--live-from", "t0.0"]).ends(0);
    assert_eq!(place.read("a.txt"), "", "now it was called");
    let forked = place.ambidex(&["runs", "fork", "@last", "--at", "m1", "--message", "again"]).ends(0);
    assert_eq!(forked.out.trim(), "It is put.");
    assert!(place.ambidex(&["runs", "export", "@last"]).ends(0).out.contains("\"text\":\"again\""));
    assert_eq!(place.ambidex(&["runs", "list", "--json"]).ends(0).json_lines().len(), 4);
    place.ambidex(&["replay", "@last", "--strict"]).ends(0);
    place.ambidex(&["doctor"]).prints("sound");
    place
        .ambidex(&["runs", "fork", "@last", "--at", "m9"])
        .ends(2)
        .says("effect `m9` is not in the recording");
    place.ambidex(&["replay", "nothing.jsonl"]).ends(2).says("there is no run `nothing.jsonl`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fully_recorded_replay_sends_nothing() {
    let provider = FakeProvider::start(Script::new([Turn::text("All is well.")])).await.expect("started");
    let place = Place::new();
    place.write(
        "ambidex.toml",
        &format!(
            "{STORE}[providers.fake]\nkind = \"openai\"\nbase_url = \"{}\"\nkey = {{ env = \"FAKE_KEY\" }}\n\
             [agents.worker]\nmodel = \"fake:fake-1\"\n",
            provider.base_url_openai()
        ),
    );
    place.ambidex_with(&["run", "Speak"], &[("FAKE_KEY", "secret")]).ends(0);
    // Nobody listens any more, and there is no key.
    provider.shutdown().await;
    let ran = place.ambidex(&["replay", "@last", "--strict"]).ends(0);
    assert_eq!(ran.out.trim(), "All is well.");
}
