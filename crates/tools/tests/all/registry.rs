use std::time::Duration;

use ambidex_core::{ErrorKind, Tool, ToolOutput, ToolSpec};
use ambidex_tools::{FunctionTool, Toolbox};
use serde_json::json;

fn tool(name: &str) -> FunctionTool {
    FunctionTool::dynamic(ToolSpec::new(name, "Does nothing."), async |_, _| Ok(ToolOutput::from("done")))
}

#[test]
fn tools_are_found_by_name_in_the_order_they_came() {
    let mut tools = Toolbox::new();
    tools.add(tool("b")).unwrap().add(tool("a")).unwrap();
    assert_eq!(tools.names().collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(tools.get("a").unwrap().spec().name, "a");
}

#[test]
fn a_name_is_taken_once() {
    let mut tools = Toolbox::new();
    tools.add(tool("a")).unwrap();
    let error = tools.add(tool("a")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    assert!(error.message().contains("two tools named `a`"), "{error}");
}

#[test]
fn only_names_that_every_provider_takes() {
    let mut tools = Toolbox::new();
    for name in ["", "with space", "ünicode", "a.b", &"x".repeat(65)] {
        let error = tools.add(tool(name)).err().unwrap();
        assert!(error.message().contains("letters, digits"), "{name}: {error}");
    }
    tools.add(tool(&"x".repeat(64))).unwrap().add(tool("get-it_2")).unwrap();
}

#[test]
fn an_unknown_tool_names_the_nearest_and_all() {
    let mut tools = Toolbox::new();
    tools.add(tool("read_file")).unwrap().add(tool("search")).unwrap();
    let error = tools.get("ReadFile").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnknownTool);
    assert!(error.message().contains("Did you mean `read_file`?"), "{error}");
    let error = tools.get("launch_rocket").err().unwrap();
    assert!(error.message().contains("the tools are read_file, search"), "{error}");
    assert!(!error.message().contains("Did you mean"), "{error}");
}

#[test]
fn an_input_schema_must_be_one_of_an_object() {
    let mut tools = Toolbox::new();
    let mut spec = ToolSpec::new("a", "");
    spec.input = json!({"type": "string"});
    let error = tools.add(FunctionTool::dynamic(spec.clone(), async |_, _| Ok("".into()))).err().unwrap();
    assert!(error.message().contains("\"type\": \"object\""), "{error}");
    spec.input = json!({"type": "object", "properties": {"x": {"type": "text"}}});
    let error = tools.add(FunctionTool::dynamic(spec, async |_, _| Ok("".into()))).err().unwrap();
    assert!(error.message().starts_with("tool `a`: "), "{error}");
}

#[test]
fn arguments_are_checked_against_the_schema() {
    let mut tools = Toolbox::new();
    tools.add(tool("a")).unwrap();
    let registered = tools.get("a").unwrap();
    assert_eq!(registered.check(&json!({})), Ok(()));
    let error = registered.check(&json!({"x": 1})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArguments);
    assert!(error.message().contains("`x` not expected"), "{error}");
}

#[test]
fn a_tool_has_as_many_permits_as_it_may_have_calls() {
    let mut tools = Toolbox::new();
    tools.add(tool("a")).unwrap().add(tool("b").concurrency(2)).unwrap();
    assert_eq!(tools.get("a").unwrap().permits().available_permits(), 8);
    assert_eq!(tools.get("b").unwrap().permits().available_permits(), 2);
    assert_eq!(tools.get("b").unwrap().tool().spec().concurrency, Some(2));
}

#[tokio::test]
async fn a_tool_computes_until_a_call_of_it_was_short() {
    let mut tools = Toolbox::new();
    tools.add(tool("a")).unwrap();
    let a = tools.get("a").unwrap();
    assert!(a.computes(), "nothing is known of it yet");
    // A busy machine may stretch some of them.
    for _ in 0..10_000 {
        a.timed(async {}).await;
        if !a.computes() {
            break;
        }
    }
    assert!(!a.computes());
    a.timed(async { std::thread::sleep(Duration::from_millis(1)) }).await;
    assert!(a.computes(), "it keeps its thread");
}
