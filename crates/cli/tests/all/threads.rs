//! Stored threads and sessions, as they are typed.

use serde_json::{Value, json};

use crate::support::Place;

const SCRIPT: &str = "[[turns]]\nwhen = { matches = \"name is (?<name>\\\\w+)\" }\ntext = \"Hello {{ match.name }}.\"\n\
    [default]\ntext = \"Turn {{ turn }}: {{ last }}\"\n";
const STORE: &str = "mode = \"chat\"\n[store]\nurl = \"sqlite:.ambidex/state.db\"\n";

fn place() -> Place {
    Place::scripted(SCRIPT, STORE)
}

#[test]
fn a_thread_goes_on_from_process_to_process() {
    let place = place();
    let ran = place.ambidex(&["run", "--thread", "talk", "my name is Ada"]).ends(0).prints("Hello Ada.");
    ran.says("a new thread: talk");
    let ran = place.ambidex(&["run", "--thread", "talk", "--result-json", "and now?"]).ends(0);
    assert_eq!((&ran.json()["text"], &ran.json()["thread"]), (&json!("Turn 2: and now?"), &json!("talk")));
    let ran =
        place.ambidex_reads(&["chat", "-q", "--thread", "@last"], "go on\n/clear\n/save talk.md\n").ends(0);
    assert_eq!(ran.out, "Turn 3: go on\n");
    ran.says("what is stored stays");
    assert!(place.read("talk.md").starts_with("**You**\n\nmy name is Ada\n"));
    let ran = place.ambidex(&["threads", "show", "talk"]).ends(0);
    ran.prints("**You**\n\nand now?\n\n**Model**\n\nTurn 2: and now?").says("talk: 6 messages");
    let lines = place.ambidex(&["threads", "show", "talk", "--json"]).ends(0).json_lines();
    assert_eq!((lines.len(), &lines[0]["messages"]), (7, &json!(6)));
    assert_eq!(lines[1]["message"]["parts"][0]["text"], "my name is Ada");
    place.ambidex(&["doctor"]).prints("state.db: sound");
}

#[test]
fn threads_are_listed_found_renamed_and_forgotten() {
    let place = place();
    for (thread, task) in [("a", "the quick fox"), ("b", "a slow hedgehog")] {
        place.ambidex(&["run", "-q", "--thread", thread, task]).ends(0);
    }
    let lines = place.ambidex(&["threads", "list", "--json"]).ends(0).json_lines();
    assert_eq!(lines.iter().map(|line| line["thread"].clone()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((&lines[1]["title"], &lines[1]["messages"]), (&json!("the quick fox"), &json!(2)));
    place.ambidex(&["threads", "list"]).ends(0).prints("a slow hedgehog");
    place.ambidex(&["threads", "search", "HEDGEHOG", "slow"]).ends(0).prints("b  1: Turn 1: a slow hedgehog");
    place.ambidex(&["threads", "search", "fox", "slow"]).ends(0).says("no thread has all these words");
    place.ambidex(&["threads", "rename", "a", "Animals"]).ends(0);
    place.ambidex(&["threads", "search", "animals"]).ends(0).prints("a  Animals");
    place.ambidex(&["threads", "delete", "a"]).ends(0).says("forgotten: a");
    place.ambidex(&["threads", "show", "a"]).ends(2).says("there is no thread `a`");
    assert_eq!(place.ambidex(&["threads", "list", "--json"]).ends(0).json_lines().len(), 1);
}

#[test]
fn a_thread_is_forked_exported_and_imported() {
    let place = place();
    for task in ["one", "two"] {
        place.ambidex(&["run", "-q", "--thread", "talk", task]).ends(0);
    }
    let id = place.ambidex(&["threads", "fork", "talk", "--messages", "2"]).ends(0).out;
    let id = id.trim();
    assert!(id.starts_with("thread_"));
    place.ambidex(&["run", "--thread", &id[id.len() - 6..], "other"]).ends(0).prints("Turn 2: other");
    place.ambidex(&["threads", "fork", "talk", "--messages", "9"]).ends(1).says("4 messages");
    let text = place.ambidex(&["threads", "export", id]).ends(0).out;
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&file["ambidex_thread"], file["messages"].as_array().unwrap().len()), (&json!(1), 4));
    place.ambidex(&["threads", "export", id, "--out", "fork.json"]).ends(0);
    assert_eq!(place.read("fork.json"), text);
    let there = place.ambidex(&["threads", "import", "fork.json"]).ends(1);
    there.says("is there already");
    place.ambidex(&["threads", "import", "fork.json", "--id", "copy"]).ends(0).prints("copy");
    let db = ["--db", "sqlite:other.db"];
    let ran = place.ambidex_reads(&["threads", "import", "-", db[0], db[1]], &text).ends(0);
    ran.prints(id);
    place
        .ambidex(&["run", "--db", "sqlite:other.db", "--thread", id, "again"])
        .ends(0)
        .prints("Turn 3: again");
    place.write("broken.json", "{\"ambidex_thread\": 1}");
    place.ambidex(&["threads", "import", "broken.json"]).ends(2).says("broken.json: this is no thread");
    place.ambidex(&["threads", "import", "missing.json"]).ends(2).says("cannot read missing.json");
}

#[test]
fn a_thread_is_summarised_and_stays() {
    let place = place();
    for task in ["one", "two", "three"] {
        place.ambidex(&["run", "-q", "--thread", "talk", task]).ends(0);
    }
    place
        .ambidex(&["threads", "compact", "talk", "--keep", "2"])
        .ends(0)
        .says("in place of the first 4 messages");
    place.ambidex(&["threads", "show", "talk"]).ends(0).prints("one").says("the first 4 of them summarised");
    place.ambidex(&["threads", "compact", "talk", "--keep", "2"]).ends(0).says("nothing to summarise");
    place.ambidex(&["run", "--thread", "talk", "four"]).ends(0).prints("Turn 2: four");
}

#[test]
fn sessions_hold_state() {
    let place = place();
    let create = ["sessions", "create", "desk", "--state", "{\"n\": 1}", "--ttl", "30d"];
    place.ambidex(&create).ends(0).prints("desk");
    place.ambidex(&create).ends(1).says("is there already");
    let shown = place.ambidex(&["sessions", "show", "desk", "--json"]).ends(0).json();
    assert_eq!(
        (&shown["state"]["n"], &shown["version"], &shown["threads"]),
        (&json!(1), &json!(1), &json!([]))
    );
    assert!(shown["expires_at"].is_string());
    place.ambidex(&["sessions", "list"]).ends(0).prints("{\"n\":1}");
    place.ambidex(&["sessions", "create", "--state", "{"]).ends(2).says("--state is no JSON");
    place.ambidex(&["sessions", "delete", "desk"]).ends(0);
    place.ambidex(&["sessions", "show", "desk"]).ends(2).says("there is no session `desk`");
}

#[test]
fn without_a_store_there_are_none() {
    let place = Place::scripted(SCRIPT, "mode = \"chat\"\n");
    for args in [
        &["threads", "list"][..],
        &["sessions", "list"],
        &["run", "--thread", "talk", "hello"],
        &["chat", "--thread", "talk"],
    ] {
        place.ambidex(args).ends(2).says("there is no store on disk").says("[store]");
    }
    place.ambidex(&["run", "--thread", "t", "--on-busy", "wait", "x"]).ends(2).says("enqueue, reject");
    place.ambidex(&["run", "--thread", "t", "-w", "flow"]).ends(2).says("--thread");
}
