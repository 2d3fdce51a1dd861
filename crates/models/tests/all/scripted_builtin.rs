//! The scripts that come along, and the manual's example.

use std::time::Duration;

use ambidex_core::Context;
use ambidex_core::model::Model;
use ambidex_models::scripted::{BUILTIN, DEMO_SCHEMA, ScriptedModel};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::scripted::{Talk, calls, chunks};

const TOOLS: [&str; 3] = ["list_files", "read_file", "search_files"];

fn builtin(name: &str) -> ScriptedModel {
    ScriptedModel::builtin(name).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_builtin_script_is_sound_and_carries_its_name() {
    for (name, _) in BUILTIN {
        assert_eq!(builtin(name).info().name, *name);
    }
}

#[tokio::test(start_paused = true)]
async fn the_tour_calls_the_tool_that_is_asked_for() {
    let cases = [
        ("list files", "list_files", json!({"path": "."})),
        ("Please list the files in ./src.", "list_files", json!({"path": "./src"})),
        ("ls crates/core", "list_files", json!({"path": "crates/core"})),
        ("read README.md", "read_file", json!({"path": "README.md"})),
        ("please read the file `src/lib.rs`!", "read_file", json!({"path": "src/lib.rs"})),
        ("search TODO", "search_files", json!({"pattern": "TODO", "path": "."})),
        ("search for 'fn main' in src", "search_files", json!({"pattern": "fn main", "path": "src"})),
    ];
    for (said, name, arguments) in cases {
        let mut talk = Talk::new(builtin("tour")).tools(&TOOLS);
        let reply = talk.say(said).await;
        assert_eq!(calls(&reply), [(name.to_owned(), arguments)], "{said}");
        assert!(talk.results(&[("a:1: one\n", false)]).await.text().contains("one"), "{said}");
        assert_eq!(calls(&talk.say(said).await).len(), 1, "{said}, again");
        assert!(talk.results(&[("no such file", true)]).await.text().contains("> no such file"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tour_calls_no_tool_that_is_not_offered() {
    for said in ["list files", "read README.md", "search TODO"] {
        let reply = Talk::new(builtin("tour")).say(said).await;
        assert!(calls(&reply).is_empty() && reply.text().contains("[agents.writer]"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tour_says_what_it_is_and_always_answers() {
    let mut talk = Talk::new(builtin("tour")).tools(&TOOLS);
    for said in ["help", "Hello", "what can you do?", "write a poem", ""] {
        assert!(talk.say(said).await.text().contains("offline model"), "{said}");
    }
    assert!(talk.say("{{ turn }} of\nmany").await.text().contains("“{{ turn }} of”"));
    let mut wanted = Talk::new(builtin("tour"))
        .output(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    assert_eq!(wanted.say("anything").await.text(), r#"{"n":1}"#);
}

#[tokio::test(start_paused = true)]
async fn the_demo_calls_three_tools_at_once_answers_a_failure_and_ends_with_its_numbers() {
    let schema: Value = serde_json::from_str(DEMO_SCHEMA).unwrap();
    let start = Instant::now();
    let mut talk = Talk::new(builtin("demo")).tools(&TOOLS).output(schema.clone());
    let names = |reply| calls(&reply).into_iter().map(|(name, _)| name).collect::<Vec<_>>();

    assert_eq!(names(talk.say("go").await), ["list_files", "search_files", "read_file"]);
    let listed = "a.rs (1 bytes)\nb.rs (22 bytes)\n";
    let second =
        talk.results(&[(listed, false), ("no matches\n", false), ("# Ambidex\n\nRuns.\n", false)]).await;
    assert!(second.text().starts_with("2 Rust files, 0 open ends."), "{}", second.text());
    assert_eq!(calls(&second)[2].1, json!({"path": "docs/ARCHITECTURE.md"}));

    let found = "a.rs:1: #[test]\nb.rs:2: #[test]\nb.rs:9: #[tokio::test]\n";
    let failure = "tool_failed: there is no `docs/ARCHITECTURE.md`";
    let third = talk.results(&[(found, false), ("[workspace]\n", false), (failure, true)]).await;
    assert!(third.text().contains(failure), "{}", third.text());
    assert_eq!(calls(&third)[0], ("read_file".to_owned(), json!({"path": "ARCHITECTURE.md"})));

    let crates = "crates/core/Cargo.toml (9 bytes)\n";
    let last =
        talk.results(&[("# How\nit is\nbuilt\n", false), (crates, false), ("no matches\n", false)]).await;
    let output: Value = serde_json::from_str(&last.text()).unwrap();
    assert_eq!(
        output["numbers"],
        json!({"crates": 1, "rust_files": 2, "tests": 3, "open_ends": 0, "unsafe_blocks": 0})
    );
    assert_eq!(output["title"], "Ambidex");
    assert_eq!(output["findings"][2]["note"], "3 lines, found at the second attempt");
    assert!(jsonschema::is_valid(&schema, &output), "{output}");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_demo_comes_to_its_end_where_nothing_is_found() {
    let schema: Value = serde_json::from_str(DEMO_SCHEMA).unwrap();
    let mut talk = Talk::new(builtin("demo")).tools(&TOOLS).output(schema.clone());
    let mut reply = talk.say("go").await;
    for _ in 0..3 {
        assert_eq!(calls(&reply).len(), 3);
        reply = talk.results(&[("nothing", true), ("nothing", true), ("nothing", true)]).await;
    }
    let output: Value = serde_json::from_str(&reply.text()).unwrap();
    assert!(jsonschema::is_valid(&schema, &output), "{output}");
    assert_eq!(output["findings"][2]["note"], "no lines, found at the second attempt");
}

#[tokio::test(start_paused = true)]
async fn the_manuals_example_does_what_the_manual_says() {
    let manual = include_str!("../../../../docs/scripted-models.md");
    let example = manual.split("```toml\n").find(|block| block.starts_with("# weather.toml")).unwrap();
    let example = example.split("```").next().unwrap();
    let model = ScriptedModel::from_toml_file("docs/scripted-models.md", example)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut talk = Talk::new(model.clone()).tools(&["forecast"]);

    let reply = talk.say("Weather in Lima?").await;
    assert_eq!(
        calls(&reply),
        [("forecast".into(), json!({"city": "Lima"})), ("forecast".into(), json!({"city": "Oslo"}))]
    );
    // The stream is cut once; the second attempt is whole.
    talk.push_results(&[(r#"{"celsius": 19}"#, false), ("no route", true)]);
    let (_, error) = chunks(&model, talk.request(), Context::detached()).await;
    assert_eq!(error.unwrap().code(), "stream_truncated");
    assert_eq!(talk.answer().await.text(), "Lima has 19 degrees; one call failed: no route");
    assert_eq!(talk.say("Thanks").await.text(), "You said: Thanks");
}
