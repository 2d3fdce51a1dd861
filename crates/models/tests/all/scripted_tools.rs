//! The calls of the built-in scripts, made to the real tools.

use std::path::Path;
use std::sync::Arc;

use ambidex_core::message::Arguments;
use ambidex_core::{Context, Tool};
use ambidex_models::scripted::{DEMO_SCHEMA, ScriptedModel};
use ambidex_tools::BlockingPool;
use ambidex_tools::files::{self, Root};
use serde_json::Value;

use crate::scripted::Talk;

/// The results of a reply's calls: what the tools say, and whether they failed. Arguments that do not fit
/// a tool's schema are no result.
async fn call_all(reply: &ambidex_core::reply::Reply) -> Vec<(String, bool)> {
    let root = Root::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let tools = files::all(&root);
    let threads = Arc::new(BlockingPool::new(2));
    let mut results = vec![];
    for call in reply.message.tool_calls() {
        let tool = tools.iter().find(|tool| tool.spec().name == call.name).unwrap();
        let Arguments::Json(arguments) = call.arguments.clone() else {
            panic!("{:?} is no JSON", call.arguments)
        };
        let faults =
            jsonschema::validate(&tool.spec().input, &arguments).err().map(|fault| fault.to_string());
        assert_eq!(faults, None, "{} with {arguments}", call.name);
        results.push(match tool.call(arguments, Context::detached().with_threads(threads.clone())).await {
            Ok(output) => (output.to_text(), false),
            Err(error) => (error.to_string(), true),
        });
    }
    results
}

#[tokio::test]
async fn the_demo_runs_on_real_files_and_one_call_fails_in_the_operating_system() {
    let schema: Value = serde_json::from_str(DEMO_SCHEMA).unwrap();
    let model = ScriptedModel::builtin("demo").unwrap();
    let mut talk = Talk::new(model).output(schema.clone());
    let mut reply = talk.say("go").await;
    let mut failures = vec![];
    while reply.message.tool_calls().count() > 0 {
        let results = call_all(&reply).await;
        failures.extend(results.iter().filter(|(_, failed)| *failed).map(|(text, _)| text.clone()));
        let results: Vec<_> = results.iter().map(|(text, failed)| (text.as_str(), *failed)).collect();
        reply = talk.results(&results).await;
    }
    let output: Value = serde_json::from_str(&reply.text()).unwrap();
    assert!(jsonschema::is_valid(&schema, &output), "{output}");
    assert!(failures.iter().any(|text| text.contains("docs/ARCHITECTURE.md")), "{failures:?}");
    for number in ["crates", "rust_files", "tests"] {
        assert!(output["numbers"][number].as_u64().unwrap() > 5, "{output}");
    }
}

#[tokio::test]
async fn the_tours_calls_fit_the_real_tools() {
    for said in [
        "list files in crates/models/scripts",
        "read Cargo.toml",
        "search offline model in crates/models/scripts",
    ] {
        let mut talk = Talk::new(ScriptedModel::builtin("tour").unwrap()).tools(&[
            "list_files",
            "read_file",
            "search_files",
        ]);
        let reply = talk.say(said).await;
        let results = call_all(&reply).await;
        assert!(matches!(&results[..], [(text, false)] if !text.is_empty()), "{said}: {results:?}");
    }
}
